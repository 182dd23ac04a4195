"""Signing in: the right people come in, others are told why not, strangers get nothing."""

from __future__ import annotations

import httpx
import pytest

from cscale_cli.demo.session import HubSession, JourneyError
from cscale_hub.local.lifecycle import Federation
from tests.e2e.processes import environment_of_server


def test_wrong_password_is_refused(federation: Federation) -> None:
    with HubSession(federation.hub_url) as session, pytest.raises(JourneyError, match="refused"):
        session.sign_in("aqua", "not the password")


def test_person_without_an_accepted_vo_is_told_how_to_enrol(federation: Federation) -> None:
    with HubSession(federation.hub_url) as session, pytest.raises(JourneyError, match="403"):
        session.sign_in("outsider", federation.passwords["outsider"])


@pytest.mark.parametrize("path", ["status", "site", "jobs", "jobs/x", "jobs/x/logs"])
def test_strangers_get_nothing_from_a_server(
    federation: Federation, researcher: HubSession, path: str
) -> None:
    address = f"{federation.hub_url}/user/{researcher.user}/cscale/api/v1/{path}"
    answer = httpx.get(address, follow_redirects=False)
    assert answer.status_code in (302, 403)


def test_colleague_cannot_use_another_ones_server(
    federation: Federation, researcher: HubSession
) -> None:
    with HubSession(federation.hub_url) as other:
        other.sign_in("water", federation.passwords["water"])
        answer = other.get(f"{federation.hub_url}/user/{researcher.user}/cscale/api/v1/jobs")
        assert answer.status_code in (403, 404)


def test_broker_gives_nothing_to_a_persons_own_token(
    federation: Federation, researcher: HubSession
) -> None:
    """Only a user's server holds the scope; what a person can request does not."""
    answer = researcher.get(f"{federation.hub_url}/services/broker/v1/s3")
    assert answer.status_code == 403
    assert answer.json()["code"]


def test_server_knows_its_user_and_their_grants(researcher: HubSession) -> None:
    site = researcher.workspace.call("GET", "site")
    assert site["user"] == researcher.user
    assert site["vos"] == ["aquamonitor.c-scale.eu"]
    assert {grant["bucket"] for grant in site["grants"]} == {"aquamonitor"}


def test_no_secret_is_in_the_environment_of_a_server(
    federation: Federation, researcher: HubSession
) -> None:
    """Not the client's secret, not an access key: only JupyterHub's own API token."""
    environment = environment_of_server(federation.data, researcher.user)
    secrets = [
        path.read_text(encoding="utf-8", errors="replace").strip()
        for path in (federation.data / "secrets").rglob("*")
        if path.is_file()
    ]
    for name, value in environment.items():
        assert not any(len(secret) > 8 and secret in value for secret in secrets), name
        assert "SECRET" not in name
        assert name not in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")
