"""What the broker gives, to whom, how long, how often, and what it says when it does not."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from cscale_hub.audit import AuditEvent, AuditLog
from cscale_hub.broker.app import create_app
from cscale_hub.broker.config import BrokerConfig
from cscale_hub.broker.limits import RateLimiter
from cscale_hub.settings import SettingsError

HUB, TOKENS, S3 = "http://127.0.0.1:1/hub/api", "http://127.0.0.1:2/token", "http://127.0.0.1:3"
ROLE = "arn:aws:iam::role/cscale-researcher"
AQUA, WATER = "aquamonitor.c-scale.eu", "waterwatch.c-scale.eu"
SLUG, SERVER_TOKEN = "uabcdefgh234", "server-token-of-the-user"
SCOPE = "custom:cscale-broker:use"

VOS = {
    "vos": {"vo.example": {"title": "V", "entitlement": {"group": "vo.example"}, "bucket": "own"}}
}


def problem(answer: httpx.Response, status: int, code: str, *, retryable: bool = False) -> Any:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"code", "message", "hint", "retryable", "request_id"}
    assert (body["code"], body["retryable"]) == (code, retryable)
    assert answer.headers["X-Request-Id"] == body["request_id"]
    return body


def seconds_until(text: str) -> float:
    return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()


# -- what is given ---------------------------------------------------------------------------------


async def test_health_needs_no_login_and_asks_nobody(broker: Any) -> None:
    answer = await broker.get("/healthz", token="")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert broker.world.asked == []


async def test_a_token_for_one_audience(broker: Any) -> None:
    answer = await broker.get("/v1/token?audience=openeo")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "audience", "expires_at"}
    assert (body["access_token"], body["token_type"]) == ("openeo-token-1", "Bearer")
    assert 3500 < seconds_until(body["expires_at"]) <= 3600
    (form,) = broker.world.forms
    assert form["subject_token"] == f"login-of-{SLUG}"
    assert form["audience"] == "openeo"
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"


async def test_s3_credentials_in_the_container_format_with_a_policy_of_the_user(
    broker: Any,
) -> None:
    answer = await broker.get("/v1/s3")
    assert set(answer.json()) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert answer.json()["Expiration"].endswith("Z")
    exchange, sts = broker.world.forms
    assert exchange["audience"] == "s3"
    assert sts["WebIdentityToken"] == "s3-token-1"
    assert sts["RoleArn"] == "arn:aws:iam::role/cscale-researcher"
    assert sts["RoleSessionName"] == SLUG
    assert 3500 < int(sts["DurationSeconds"]) <= 3600
    assert f"aquamonitor/users/{SLUG}/*" in sts["Policy"]
    assert "waterwatch" not in sts["Policy"]


@pytest.mark.parametrize("audience", ["s3", "hub", "", "openeo catalogue", "x" * 65])
async def test_other_audiences_are_not_offered(broker: Any, audience: str) -> None:
    problem(await broker.get(f"/v1/token?audience={audience}"), 400, "invalid_input")
    problem(await broker.get("/v1/token"), 400, "invalid_input")
    assert broker.world.forms == []


async def test_unknown_paths_and_methods_are_problems_too(broker: Any) -> None:
    problem(await broker.get("/v1/other"), 404, "not_found")
    post = await broker.http.post("/services/broker/v1/s3")
    problem(post, 405, "invalid_input")


# -- who asks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "token ", "token short", "Basic eDp5", "token a b c d e f"])
async def test_without_a_token_nothing(broker: Any, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    answer = await broker.http.get("/services/broker/v1/s3", headers=headers)
    problem(answer, 401, "login_required")
    assert broker.world.asked == []


async def test_an_unknown_token_is_asked_for_every_time(broker: Any) -> None:
    for _ in range(3):
        problem(await broker.get("/v1/s3", token="unknown-token"), 401, "login_required")
    assert broker.world.count(f"{HUB}/user") == 3
    assert broker.audit() == []


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": []},
        {"scopes": [SCOPE]},
        {"scopes": [f"{SCOPE}!user={SLUG}"]},
        {"scopes": [f"{SCOPE}!server=someone/"]},
        {"scopes": [f"{SCOPE}!server={SLUG}x/"]},
        {"scopes": [f"{SCOPE}x!server={SLUG}/"]},
        {"kind": "service", "scopes": [f"{SCOPE}!server={SLUG}/"]},
        {"name": ""},
    ],
)
async def test_only_the_token_of_a_server_is_taken(broker: Any, change: dict[str, Any]) -> None:
    broker.world.tokens[SERVER_TOKEN] |= change
    problem(await broker.get("/v1/token?audience=openeo"), 403, "forbidden")
    assert broker.world.forms == []


async def test_who_asks_with_another_token_of_theirs_is_on_record(broker: Any) -> None:
    broker.world.tokens[SERVER_TOKEN] |= {"scopes": [f"{SCOPE}!user={SLUG}"]}
    problem(await broker.get("/v1/token?audience=openeo"), 403, "forbidden")
    (event,) = broker.audit()
    assert (event["user"], event["outcome"], event["code"]) == (SLUG, "refused", "forbidden")


async def test_a_known_caller_is_asked_for_again_after_some_seconds(make_broker: Any) -> None:
    broker = make_broker(identity_cache=0.2)
    for _ in range(3):
        assert (await broker.get("/v1/s3")).status_code == 200
    assert broker.world.count(f"{HUB}/user") <= 2
    await asyncio.sleep(0.25)
    del broker.world.tokens[SERVER_TOKEN]
    problem(await broker.get("/v1/s3"), 401, "login_required")


async def test_users_never_get_each_others_things(broker: Any) -> None:
    broker.world.add_user("uother234567", "token-of-the-other")
    mine = (await broker.get("/v1/token?audience=openeo")).json()
    theirs = (await broker.get("/v1/token?audience=openeo", "token-of-the-other")).json()
    assert mine["access_token"] != theirs["access_token"]
    keys = {
        (await broker.get("/v1/s3", token)).text for token in (SERVER_TOKEN, "token-of-the-other")
    }
    assert len(keys) == 2


# -- logins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, ""])
async def test_no_login_kept_by_the_hub(broker: Any, token: Any) -> None:
    broker.world.users[SLUG]["access_token"] = token
    problem(await broker.get("/v1/s3"), 401, "login_required")
    assert [(e["user"], e["outcome"]) for e in broker.audit()] == [(SLUG, "refused")]


@pytest.mark.parametrize("mode", ["web-identity", "assume-role", "static"])
async def test_an_ended_login_means_log_in_again(
    make_broker: Any, tmp_path: Path, mode: str
) -> None:
    broker = make_broker(s3=s3_access(tmp_path, mode))
    broker.world.log_in(SLUG, "ended", 0)
    for path in ("/v1/token?audience=openeo", "/v1/s3"):
        body = problem(await broker.get(path), 401, "login_required")
        assert "Log in" in body["hint"]
    assert broker.audit()[-1]["outcome"] == "refused"
    assert broker.world.forms == []


async def test_a_login_that_the_provider_ended_early_means_log_in_again(broker: Any) -> None:
    broker.world.lives[f"login-of-{SLUG}"] = 0
    problem(await broker.get("/v1/token?audience=openeo"), 401, "login_required")


@pytest.mark.parametrize("mode", ["web-identity", "assume-role", "static"])
@pytest.mark.parametrize("life", [0, 300, 1100])
async def test_with_little_life_left_the_hub_is_asked_to_renew_first(
    make_broker: Any, tmp_path: Path, life: float, mode: str
) -> None:
    broker = make_broker(s3=s3_access(tmp_path, mode))
    broker.world.log_in(SLUG, "old-login", life)
    renewing = broker.world.handle

    async def handle(request: httpx.Request) -> httpx.Response:
        # The first look at the user does not renew; the second, which the broker provokes, does.
        if broker.world.count(f"{HUB}/user"):
            broker.world.renew_to = "renewed-login"
        return await renewing(request)  # type: ignore[no-any-return]

    broker.answers_with(handle)
    body = (await broker.get("/v1/s3")).json()
    assert seconds_until(body["Expiration"]) > 3500
    exchanged = [form["subject_token"] for form in broker.world.forms if "subject_token" in form]
    assert exchanged == (["renewed-login"] if mode == "web-identity" else [])


@pytest.mark.parametrize(("life", "status"), [(25, 200), (5, 401)])
async def test_a_login_that_lives_a_minute_is_not_taken_for_one_that_ended(
    broker: Any, life: float, status: int
) -> None:
    """The hub has not renewed it yet."""
    broker.world.log_in(SLUG, "short-login", life)
    assert (await broker.get("/v1/token?audience=openeo")).status_code == status


async def test_a_login_renewed_a_moment_ago_is_taken_from_the_hub(broker: Any) -> None:
    """The broker knows the old one for some seconds; the provider does not take it any more."""
    assert (await broker.get("/v1/token?audience=openeo")).status_code == 200
    broker.world.lives[f"login-of-{SLUG}"] = 0
    broker.world.log_in(SLUG, "renewed-login")
    assert (await broker.get("/v1/s3")).status_code == 200
    assert [f["subject_token"] for f in broker.world.forms if "subject_token" in f] == [
        f"login-of-{SLUG}",
        f"login-of-{SLUG}",
        "renewed-login",
    ]


async def test_credentials_do_not_outlive_the_token_but_for_the_sts_minimum(
    make_broker: Any,
) -> None:
    for life, expected in ((1500, 1500), (300, 900)):
        broker = make_broker()
        broker.world.log_in(SLUG, "short-login", life)
        await broker.get("/v1/s3")
        duration = int(broker.world.forms[-1]["DurationSeconds"])
        assert expected - 5 <= duration <= expected


# -- membership ------------------------------------------------------------------------------------


async def test_no_vo_no_s3_but_tokens(broker: Any) -> None:
    broker.world.users[SLUG]["groups"] = ["vo:unknown.c-scale.eu:member", "staff"]
    problem(await broker.get("/v1/s3"), 403, "forbidden")
    assert (await broker.get("/v1/token?audience=catalogue")).status_code == 200


async def test_a_changed_membership_gives_other_credentials_at_once(make_broker: Any) -> None:
    broker = make_broker(identity_cache=0)
    first = (await broker.get("/v1/s3")).json()
    broker.world.users[SLUG]["groups"].append("vo:waterwatch.c-scale.eu:member")
    second = (await broker.get("/v1/s3")).json()
    assert first["AccessKeyId"] != second["AccessKeyId"]
    assert "waterwatch" in broker.world.forms[-1]["Policy"]
    broker.world.users[SLUG]["groups"] = []
    problem(await broker.get("/v1/s3"), 403, "forbidden")


async def test_a_new_login_never_gets_what_the_old_one_had(make_broker: Any) -> None:
    broker = make_broker(identity_cache=0)
    first = (await broker.get("/v1/token?audience=openeo")).json()
    broker.world.log_in(SLUG, "second-login")
    second = (await broker.get("/v1/token?audience=openeo")).json()
    assert first["access_token"] != second["access_token"]


async def test_groups_without_a_role_or_a_name_give_nothing(broker: Any) -> None:
    vo = "aquamonitor.c-scale.eu"
    broker.world.users[SLUG]["groups"] = [
        "vo:",
        f"vo:{vo}",
        f"vo:{vo}:",
        "vo::member",
        f"{vo}:member",
    ]
    problem(await broker.get("/v1/s3"), 403, "forbidden")


async def test_a_user_name_that_is_no_slug_gets_no_policy(broker: Any) -> None:
    broker.world.add_user("u*", "token-of-a-star")
    broker.world.tokens["token-of-a-star"]["scopes"] = [f"{SCOPE}!server=u*/"]
    body = problem(await broker.get("/v1/s3", "token-of-a-star"), 403, "forbidden")
    assert "prefix" in body["message"]
    assert not any("Policy" in form for form in broker.world.forms)


# -- sharing ---------------------------------------------------------------------------------------


async def test_a_shared_server_gets_nothing(broker: Any) -> None:
    broker.world.shared.add(SLUG)
    for path in ("/v1/s3", "/v1/token?audience=openeo"):
        body = problem(await broker.get(path), 409, "conflict")
        assert "shared" in body["message"]
        assert AQUA in body["message"]
    assert broker.world.forms == []
    assert {event["code"] for event in broker.audit()} == {"conflict"}


def open_to_visitors(*allowing: str) -> dict[str, Any]:
    """A VO file in which some VOs give credentials to servers that are shared."""
    return {
        "vos": {
            name: {
                "title": name,
                "entitlement": {"group": name},
                "bucket": name.split(".")[0],
                "shared_notebooks": {"tokens_while_shared": name in allowing},
            }
            for name in (AQUA, WATER)
        }
    }


async def test_a_vo_may_allow_credentials_while_shared(make_broker: Any) -> None:
    broker = make_broker(vos=open_to_visitors(AQUA))
    broker.world.shared.add(SLUG)
    assert (await broker.get("/v1/s3")).status_code == 200
    assert (await broker.get("/v1/token?audience=openeo")).status_code == 200


async def test_visitors_get_nothing_of_a_vo_that_does_not_allow_it(make_broker: Any) -> None:
    """One VO allows it, the person is in another one too that does not."""
    broker = make_broker(vos=open_to_visitors(AQUA), identity_cache=0)
    broker.world.users[SLUG]["groups"] += [f"vo:{WATER}", f"vo:{WATER}:member"]
    assert (await broker.get("/v1/s3")).status_code == 200
    assert "waterwatch" in broker.world.forms[-1]["Policy"]
    broker.world.shared.add(SLUG)
    assert (await broker.get("/v1/s3")).status_code == 200
    assert "waterwatch" not in broker.world.forms[-1]["Policy"]
    assert broker.audit()[-1]["vos"] == [AQUA]
    # A token cannot be narrowed to a VO.
    problem(await broker.get("/v1/token?audience=openeo"), 409, "conflict")


@pytest.mark.parametrize("vo", [WATER, "", "unknown.c-scale.eu"])
async def test_what_a_shared_server_is_for_decides(make_broker: Any, vo: str) -> None:
    broker = make_broker(vos=open_to_visitors(AQUA))
    broker.world.shared.add(SLUG)
    broker.world.vo = vo
    problem(await broker.get("/v1/s3"), 409, "conflict")


async def test_another_server_of_the_user_that_is_shared_counts_too(make_broker: Any) -> None:
    """All of a person's servers have the same home folder."""
    broker = make_broker(vos=open_to_visitors(AQUA))
    broker.world.users[SLUG]["servers"] = {
        "": {"vo": AQUA, "shared": False},
        "second": {"vo": WATER, "shared": True},
    }
    problem(await broker.get("/v1/s3"), 409, "conflict")


@pytest.mark.parametrize(
    "change",
    [{"servers": None}, {"servers": {"": None}}, {"groups": None}, {"expires_at": None}],
)
async def test_when_the_hub_does_not_tell_all_nothing_is_given(broker: Any, change: Any) -> None:
    broker.world.users[SLUG] |= change
    problem(await broker.get("/v1/s3"), 502, "upstream_error")


async def test_when_the_login_may_not_be_read_nothing_is_given(broker: Any) -> None:
    broker.world.answers[f"{HUB}/cscale"] = httpx.Response(403, json={})
    body = problem(await broker.get("/v1/s3"), 502, "upstream_error")
    assert "custom:cscale-broker:read" in body["hint"]


# -- how often -------------------------------------------------------------------------------------


async def test_what_was_given_is_given_again_and_both_are_on_record(broker: Any) -> None:
    first = (await broker.get("/v1/s3")).json()
    assert (await broker.get("/v1/s3")).json() == first
    assert broker.world.count(S3) == 1
    assert [event["cached"] for event in broker.audit()] == [False, True]


async def test_a_cache_gives_again_until_80_per_cent_and_forgets_failures() -> None:
    from cscale_hub.broker.issue import Once

    now, made = [1000.0], []
    cache: Once[float] = Once(clock=lambda: now[0])

    async def make() -> float:
        made.append(now[0])
        if len(made) == 1:
            raise ValueError("first")
        return now[0] + 100

    with pytest.raises(ValueError, match="first"):
        await cache.get("k", make, lambda value: value)
    assert await cache.get("k", make, lambda value: value) == (1100, False)
    now[0] = 1079
    assert await cache.get("k", make, lambda value: value) == (1100, True)
    now[0] = 1081
    assert await cache.get("k", make, lambda value: value) == (1181, False)


async def test_many_questions_at_once_are_one_question_upstream(make_broker: Any) -> None:
    broker = make_broker(rate_limit={"burst": 100, "per_minute": 100})
    broker.world.delay = 0.05
    answers = await asyncio.gather(*(broker.get("/v1/s3") for _ in range(25)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert broker.world.count(TOKENS) == 1
    assert broker.world.count(S3) == 1
    assert broker.world.count(HUB) == 2  # who is it, and what is known of them


async def test_one_who_goes_away_does_not_spoil_it_for_the_others(broker: Any) -> None:
    broker.world.delay = 0.1
    first = asyncio.create_task(broker.get("/v1/token?audience=openeo"))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(broker.get("/v1/token?audience=openeo"))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).status_code == 200


async def test_asking_too_often_is_slowed_per_user(make_broker: Any) -> None:
    broker = make_broker(rate_limit={"burst": 3, "per_minute": 30})
    broker.world.add_user("uother234567", "token-of-the-other")
    for _ in range(3):
        assert (await broker.get("/v1/s3")).status_code == 200
    answer = await broker.get("/v1/s3")
    problem(answer, 429, "too_many_requests", retryable=True)
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    assert (await broker.get("/v1/s3", "token-of-the-other")).status_code == 200


def test_the_rate_limit_fills_again() -> None:
    from cscale_hub.broker.config import RateLimit
    from cscale_hub.broker.errors import TooManyRequestsError

    now = [0.0]
    limiter = RateLimiter(RateLimit(burst=2, per_minute=60), clock=lambda: now[0])
    limiter.take("u")
    limiter.take("u")
    with pytest.raises(TooManyRequestsError) as caught:
        limiter.take("u")
    assert caught.value.retry_after == pytest.approx(1.0)
    now[0] = 1.0
    limiter.take("u")


# -- upstreams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [f"{HUB}/user", f"{HUB}/cscale", TOKENS, S3])
async def test_an_upstream_that_is_down_is_told_as_retryable(broker: Any, part: str) -> None:
    broker.world.down.add(part)
    answer = await broker.get("/v1/s3")
    problem(answer, 503, "upstream_error", retryable=True)
    assert int(answer.headers["Retry-After"]) >= 1
    broker.world.down.clear()
    assert (await broker.get("/v1/s3")).status_code == 200


@pytest.mark.parametrize("part", [f"{HUB}/user", TOKENS, S3])
async def test_an_upstream_that_fails_is_told_as_retryable(broker: Any, part: str) -> None:
    broker.world.answers[part] = httpx.Response(500, text="<h1>oops</h1>")
    problem(await broker.get("/v1/s3"), 503, "upstream_error", retryable=True)


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        (TOKENS, httpx.Response(401, json={"error": "invalid_client"})),
        (TOKENS, httpx.Response(400, json={"error": "invalid_target"})),
        (TOKENS, httpx.Response(200, text="no json")),
        (TOKENS, httpx.Response(200, json={"access_token": "x"})),
        (S3, httpx.Response(200, text="no xml")),
        (S3, httpx.Response(200, text="<a><AccessKeyId>x</AccessKeyId></a>")),
        (S3, httpx.Response(403, text="<E><Code>AccessDenied</Code></E>")),
        (f"{HUB}/cscale", httpx.Response(200, json={"access_token": "x"})),
        (f"{HUB}/cscale", httpx.Response(200, json=[])),
    ],
)
async def test_an_answer_that_waiting_does_not_mend_is_not_retryable(
    broker: Any, part: str, answer: httpx.Response
) -> None:
    broker.world.answers[part] = answer
    problem(await broker.get("/v1/s3"), 502, "upstream_error")


async def test_sts_that_cannot_reach_the_issuer_is_retryable(broker: Any) -> None:
    text = (
        "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Code>AccessDenied"
        "</Code><Message>failed to get public key: failed to fetch JWKS</Message></Error>"
        "</ErrorResponse>"
    )
    broker.world.answers[S3] = httpx.Response(403, text=text)
    problem(await broker.get("/v1/s3"), 503, "upstream_error", retryable=True)


async def test_sts_that_finds_the_token_expired_means_log_in(broker: Any) -> None:
    text = "<E><Error><Code>ExpiredTokenException</Code><Message>x</Message></Error></E>"
    broker.world.answers[S3] = httpx.Response(400, text=text)
    problem(await broker.get("/v1/s3"), 401, "login_required")


async def test_a_fault_of_our_own_shows_no_inside(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("inside")

    monkeypatch.setattr("cscale_hub.broker.issue.session_policy", broken)
    body = problem(await broker.get("/v1/s3"), 500, "internal")
    assert body["message"] == "The broker failed."


# -- keys of the operator's ------------------------------------------------------------------------


def s3_access(folder: Path, mode: str, permissions: int = 0o600) -> dict[str, Any]:
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"access_key_id": "AKIA", "secret_access_key": "secret-of-role"}))
    keys.chmod(permissions)
    return {"mode": mode, "endpoint": S3, "role_arn": ROLE, "key_file": str(keys)}


async def test_static_keys_where_there_is_no_sts(make_broker: Any, tmp_path: Path) -> None:
    broker = make_broker(s3=s3_access(tmp_path, "static"))
    body = (await broker.get("/v1/s3")).json()
    assert (body["AccessKeyId"], body["Token"]) == ("AKIA", "")
    assert 3500 < seconds_until(body["Expiration"]) <= 3600
    assert broker.world.forms == []


async def test_assume_role_with_the_broker_s_own_keys(make_broker: Any, tmp_path: Path) -> None:
    broker = make_broker(s3=s3_access(tmp_path, "assume-role"))
    broker.world.log_in(SLUG, "some-login", 1800)
    body = (await broker.get("/v1/s3")).json()
    assert body["AccessKeyId"].startswith("ASIA")
    (form,) = broker.world.forms
    assert (form["Action"], form["RoleArn"]) == ("AssumeRole", ROLE)
    assert form["RoleSessionName"] == SLUG
    assert f"aquamonitor/users/{SLUG}/*" in form["Policy"]
    assert 1700 < int(form["DurationSeconds"]) <= 1800
    # No token of the person and no secret key goes there; the request is signed.
    assert "some-login" not in str(form)
    assert "secret-of-role" not in str(form)
    signed = broker.world.headers["Authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIA/")
    assert "/us-east-1/sts/aws4_request" in signed


async def test_sts_may_have_an_address_of_its_own(make_broker: Any, tmp_path: Path) -> None:
    access = s3_access(tmp_path, "assume-role") | {"sts_endpoint": "http://127.0.0.1:4"}
    broker = make_broker(s3=access)
    assert (await broker.get("/v1/s3")).status_code == 200
    assert (broker.world.count(S3), broker.world.count("http://127.0.0.1:4/")) == (0, 1)


@pytest.mark.parametrize("mode", ["static", "assume-role"])
async def test_keys_open_to_others_or_not_there_are_not_used(
    make_broker: Any, tmp_path: Path, mode: str
) -> None:
    broker = make_broker(s3=s3_access(tmp_path, mode, 0o644))
    body = problem(await broker.get("/v1/s3"), 502, "upstream_error")
    assert "open to others" in body["message"]
    (tmp_path / "keys.json").unlink()
    problem(await broker.get("/v1/s3"), 502, "upstream_error")


# -- providers without token exchange --------------------------------------------------------------


async def test_without_exchange_the_login_s_own_token_is_given(
    make_broker: Any, tmp_path: Path
) -> None:
    broker = make_broker(token_exchange=False, s3=s3_access(tmp_path, "assume-role"))
    body = (await broker.get("/v1/token?audience=openeo")).json()
    assert body["access_token"] == f"login-of-{SLUG}"
    assert 3500 < seconds_until(body["expires_at"]) <= 3600
    assert broker.world.count(TOKENS) == 0


async def test_without_exchange_and_audiences_sts_takes_the_login_s_own_token(
    make_broker: Any,
) -> None:
    broker = make_broker(token_exchange=False, audiences=[])
    assert (await broker.get("/v1/s3")).status_code == 200
    assert broker.world.forms[-1]["WebIdentityToken"] == f"login-of-{SLUG}"
    problem(await broker.get("/v1/token?audience=openeo"), 400, "invalid_input")


# -- audit -----------------------------------------------------------------------------------------


async def test_every_issue_is_on_record_without_secrets(broker: Any) -> None:
    token = (await broker.get("/v1/token?audience=openeo")).json()
    s3 = await broker.get("/v1/s3")
    events = broker.audit()
    assert [(e["action"], e["outcome"], e["audience"]) for e in events] == [
        ("token.issue", "issued", "openeo"),
        ("s3.issue", "issued", "s3"),
    ]
    assert events[1]["user"] == SLUG
    assert events[1]["vos"] == ["aquamonitor.c-scale.eu"]
    assert events[1]["access_key_id"] == s3.json()["AccessKeyId"]
    assert events[1]["request_id"] == s3.headers["X-Request-Id"]
    assert events[1]["token_id"] == f"id-of-{SLUG}"
    text = broker.audit_file.read_text()
    secrets = (token["access_token"], s3.json()["SecretAccessKey"], s3.json()["Token"])
    for secret in (*secrets, SERVER_TOKEN, f"login-of-{SLUG}", "client-secret"):
        assert secret not in text
    assert stat.S_IMODE(broker.audit_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(broker.audit_file.parent.stat().st_mode) == 0o700


async def test_what_cannot_be_put_on_record_is_not_given(broker: Any) -> None:
    broker.audit_file.unlink()
    broker.audit_file.mkdir()
    answer = await broker.get("/v1/s3")
    problem(answer, 503, "upstream_error", retryable=True)
    assert "secret" not in answer.text


def test_the_audit_log_survives_rotation_and_does_not_follow_links(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    event = AuditEvent(action="s3.issue", outcome="issued", user="u1")
    log.record(event)
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.1")
    log.record(event)
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 1
    (tmp_path / "audit.jsonl").unlink()
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="audit"):
        log.record(event)


def test_an_event_takes_no_members_of_its_own() -> None:
    with pytest.raises(ValidationError):
        AuditEvent(action="s3.issue", outcome="issued", user="u", secret="x")  # type: ignore[call-arg]


async def test_nothing_secret_reaches_the_log(
    broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await broker.get("/v1/s3")
    broker.world.answers[S3] = httpx.Response(500, text="x")
    await broker.get("/v1/token?audience=openeo")
    for secret in ("very-secret", "session-1", "s3-token-1", SERVER_TOKEN, "client-secret"):
        assert secret not in caplog.text


# -- configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"host": "0.0.0.0"},
        {"audiences": ["openeo", "s3"]},
        {"token_url": "http://elsewhere.example/token"},
        {"s3": {"endpoint": S3}},
        {"s3": {"endpoint": S3, "mode": "static"}},
        {"s3": {"endpoint": S3, "mode": "assume-role", "role_arn": "x"}},
        {"s3": {"endpoint": S3, "mode": "assume-role", "key_file": "/k"}},
        {"s3": {"endpoint": S3, "role_arn": "x", "duration": 7200}},
        {"token_exchange": False},
        {"s3": {"endpoint": S3, "role_arn": "x", "duration": 600}},
        {"prefix": "services/broker/"},
        {"identity_cache": 60},
        {"extra": 1},
    ],
)
def test_unusable_configurations_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    from_scratch = {
        "port": 8001,
        "token_url": TOKENS,
        "client_id": "cscale-hub",
        "client_secret_file": str(tmp_path / "secret"),
        "s3": {"endpoint": S3, "role_arn": "arn"},
        "vos": VOS,
        "audit_log": str(tmp_path / "audit"),
    }
    assert BrokerConfig.model_validate(from_scratch)
    with pytest.raises(ValidationError):
        BrokerConfig.model_validate(from_scratch | change)


def test_without_the_hub_s_variables_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    config = BrokerConfig.model_validate(
        {
            "port": 8001,
            "token_url": TOKENS,
            "client_id": "cscale-hub",
            "client_secret_file": str(tmp_path / "secret"),
            "s3": {"endpoint": S3, "role_arn": "arn"},
            "vos": VOS,
            "audit_log": str(tmp_path / "audit"),
        }
    )
    with pytest.raises(SettingsError, match="JUPYTERHUB_API_URL"):
        create_app(config, {})
