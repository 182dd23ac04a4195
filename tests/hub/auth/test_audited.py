"""Every login is on record, whatever comes of it; one that cannot be is no login."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.web import HTTPError

from cscale_core.identity.slug import user_slug
from cscale_hub.audit import AuditLog
from cscale_hub.auth.audited import AuditedAuthenticator, NotOnRecord
from cscale_hub.auth.checkin import NoAcceptedVO
from tests.hub.auth.test_checkin_authenticator import SUBJECT, Handler


@pytest.fixture
def audited(tmp_path: Path, make_authenticator: Callable[..., Any]) -> AuditedAuthenticator:
    made: AuditedAuthenticator = make_authenticator(kind=AuditedAuthenticator)
    made.cscale_audit = AuditLog(tmp_path / "audit.jsonl")
    return made


def events(audited: AuditedAuthenticator) -> list[tuple[str, str, list[str], str]]:
    assert audited.cscale_audit is not None
    lines = audited.cscale_audit.path.read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert {each["action"] for each in told} == {"login"}
    return [(each["outcome"], each["user"], each["vos"], each["code"]) for each in told]


async def test_who_is_let_in_is_on_record_with_the_vos(
    provider: Any, audited: AuditedAuthenticator
) -> None:
    assert await audited.get_authenticated_user(Handler(), None)
    assert events(audited) == [("allowed", user_slug(SUBJECT), ["aquamonitor.c-scale.eu"], "")]


async def test_who_is_in_no_accepted_vo_is_on_record_by_slug(
    provider: Any, audited: AuditedAuthenticator
) -> None:
    provider.entitlements = []
    with pytest.raises(NoAcceptedVO):
        await audited.get_authenticated_user(Handler(), None)
    assert events(audited) == [("refused", user_slug(SUBJECT), [], "no-accepted-vo")]


@pytest.mark.parametrize(
    ("claims", "outage", "outcome", "code"),
    [({"aud": "x"}, False, "refused", "http-403"), ({}, True, "failed", "http-503")],
)
async def test_login_that_fails_is_on_record_without_a_name(
    provider: Any,
    audited: AuditedAuthenticator,
    claims: dict[str, Any],
    outage: bool,
    outcome: str,
    code: str,
) -> None:
    provider.claims, provider.outage = claims, outage
    with pytest.raises(HTTPError):
        await audited.get_authenticated_user(Handler(), None)
    assert events(audited) == [(outcome, "", [], code)]


async def test_login_that_cannot_be_put_on_record_does_not_happen(
    provider: Any, audited: AuditedAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(event: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(audited.cscale_audit, "record", full)
    with pytest.raises(NotOnRecord) as caught:
        await audited.get_authenticated_user(Handler(), None)
    assert caught.value.status_code == 503
    assert "nobody is let in" in caught.value.jupyterhub_message
