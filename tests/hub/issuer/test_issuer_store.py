"""One-time secrets are spent once, also by two requests that have both read them before."""

from __future__ import annotations

import sqlite3
import time

import pytest

from cscale_hub.local.issuer.store import Spent, Store

# Later than anything a test makes, however long the tests before it took.
LATER = int(time.time()) + 86_400


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def session(store):
    found = store.session(store.start_session("someone", 600))
    assert found is not None
    return found


def issue(store, session, code="code", seconds=600):
    store.issue_code(
        client_id="client",
        subject=session.subject,
        scope="openid",
        session=session,
        redirect_uri="http://127.0.0.1:1/callback",
        nonce=None,
        challenge="challenge",
        code=code,
        seconds=seconds,
    )


def test_code_is_spent_once(store, session):
    issue(store, session)
    first, second = store.code("code"), store.code("code")
    store.spend_code(first, LATER, ("refresh-1", LATER))
    with pytest.raises(Spent):
        store.spend_code(second, LATER, ("refresh-2", LATER))
    assert store.refresh_token("refresh-1") is not None
    assert store.refresh_token("refresh-2") is None
    assert store.code("code").used


def test_refresh_token_is_spent_once(store, session):
    issue(store, session)
    store.spend_code(store.code("code"), LATER, ("refresh", LATER))
    first, second = store.refresh_token("refresh"), store.refresh_token("refresh")
    store.spend_refresh_token(first, LATER, ("next-1", LATER))
    with pytest.raises(Spent):
        store.spend_refresh_token(second, LATER, ("next-2", LATER))
    assert store.refresh_token("next-2") is None


def test_device_code_is_answered_once_and_spent_once(store, session):
    store.issue_device_code(
        device_code="device",
        user_code="BBBB-CCCC",
        client_id="client",
        scope="openid",
        challenge=None,
        seconds=600,
        interval=5,
    )
    waiting = store.device_by_user_code("BBBB-CCCC")
    assert store.decide_device(waiting, session, allowed=True)
    assert not store.decide_device(waiting, session, allowed=False)
    approved = store.device_code("device")
    store.spend_device_code(approved, LATER, None)
    with pytest.raises(Spent):
        store.spend_device_code(approved, LATER, None)


def test_what_has_ended_long_ago_is_forgotten_and_the_rest_is_kept(store, session, tmp_path):
    issue(store, session, "kept")
    issue(store, session, "ended")
    with sqlite3.connect(tmp_path / "issuer.sqlite3") as db:
        past = int(time.time()) - 7200
        ended = store.code("ended")
        db.execute("UPDATE grants SET expires_at = ? WHERE id = ?", (past, ended.grant.id))
    store.prune()
    assert store.code("kept") is not None
    assert store.code("ended") is None  # with its grant


def test_spent_code_is_remembered_as_long_as_its_tokens_live(store, session, tmp_path):
    issue(store, session, seconds=1)
    store.spend_code(store.code("code"), LATER, ("refresh", LATER))
    assert store.code("code").expires_at == LATER
