"""Who comes into whose running server: members of the VO it runs for, by no way anybody else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests.hub.spawn.conftest import RunningHub
from tests.waiting import until

AQUA, WATER = "aqua.example", "water.example"
PAGE = "/hub/shared-server"


def rest(hub: RunningHub, person: str, method: str, path: str, body: Any = None) -> httpx.Response:
    """With a token of the person's own."""
    made = hub.api("POST", f"/users/{person}/tokens", {"note": "share"})
    assert made.status_code == 201, made.text
    token = made.json()["token"]
    return httpx.request(
        method,
        f"{hub.url}/hub/api{path}",
        headers={"Authorization": f"token {token}"},
        json=body,
        timeout=60,
        trust_env=False,
    )


def started(hub: RunningHub, *roles: str, vo: str = AQUA) -> str:
    name = hub.person(*(roles or (f"{AQUA}:member",)))
    profile = {AQUA: "small", WATER: "gpu"}[vo]
    answer = hub.start(name, {"vo": vo, "profile": profile})
    assert answer.status_code in (201, 202), answer.text
    hub.said(name)
    return name


def form(browser: httpx.Client, **fields: str) -> httpx.Response:
    browser.get(PAGE)
    xsrf = {cookie.path: cookie.value for cookie in browser.cookies.jar if cookie.name == "_xsrf"}
    return browser.post(PAGE, data={"_xsrf": xsrf["/hub/"], "server": "", **fields})


# -- by the page -------------------------------------------------------------------------------


def test_a_colleague_is_let_in_by_name_and_sent_out_again(
    hub: RunningHub, browser: Any, reaches: Any
) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    assert not reaches(colleague, owner)
    own = browser(owner)
    assert f'href="{PAGE}"' in own.get("/hub/home").text
    assert "Nobody else is let in" in own.get(PAGE).text
    assert form(own, person=colleague).status_code == 302
    assert reaches(colleague, owner)
    page = own.get(PAGE).text
    assert colleague in page
    number = page.split('name="end" value="')[1].split('"')[0]
    stranger = browser(hub.person(f"{AQUA}:member"))
    assert form(stranger, end=number).status_code == 404  # has no server, and not this share
    assert form(own, end=number).status_code == 302
    assert not reaches(colleague, owner)
    assert "Nobody else is let in" in own.get(PAGE).text


def test_who_is_elsewhere_and_who_is_not_there_are_told_the_same(
    hub: RunningHub, browser: Any
) -> None:
    owner, stranger = started(hub), hub.person(f"{WATER}:member")
    own = browser(owner)
    said = set()
    for person in (
        stranger,
        "unobodyatall",
        owner,
        "",
        f"vo:{AQUA}",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
    ):
        answer = form(own, person=person)
        assert answer.status_code == 403
        assert "<script>alert" not in answer.text
        said.add(answer.text.split('role="alert">')[1].split("<")[0])
    assert said == {f"There is no member of {AQUA} with that short name. Nobody was let in."}


def test_a_foreign_page_cannot_let_anybody_in(hub: RunningHub, browser: Any, reaches: Any) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    own = browser(owner)
    for token in ({}, {"_xsrf": "made-up"}):
        answer = own.post(PAGE, data={"server": "", "person": colleague, **token})
        assert answer.status_code == 403
    assert not reaches(colleague, owner)


def test_no_cookie_goes_along_with_what_a_foreign_page_asks(hub: RunningHub) -> None:
    owner = started(hub)
    with httpx.Client(base_url=hub.url, timeout=60, trust_env=False) as client:
        client.get("/hub/login")
        body = {"username": owner, "password": "", "_xsrf": client.cookies["_xsrf"]}
        login = client.post("/hub/login", data=body)
    cookies = login.headers.get_list("Set-Cookie")
    assert any(cookie.startswith("jupyterhub-hub-login=") for cookie in cookies)
    for cookie in cookies:
        assert "samesite=lax" in cookie.lower(), cookie.partition("=")[0]
    # And those of servers: where notebooks are edited together they answer to any origin.
    told = hub.said(owner)["environment"]["JUPYTERHUB_COOKIE_OPTIONS"]
    assert json.loads(told) == {"SameSite": "Lax"}


def test_the_page_needs_a_login_and_a_server(hub: RunningHub, browser: Any) -> None:
    answer = httpx.get(hub.url + PAGE, trust_env=False)
    assert answer.status_code == 302
    assert "/hub/login" in answer.headers["Location"]
    idle = browser(hub.person(f"{AQUA}:member"))
    assert "no server running" in idle.get(PAGE).text
    assert form(idle, person="somebody").status_code == 404


def test_a_vo_that_does_not_want_it_says_so(hub: RunningHub, browser: Any) -> None:
    hub.person(f"{WATER}:member")
    owner = started(hub, f"{WATER}:member", vo=WATER)
    own = browser(owner)
    assert "Water does not let others into this server" in own.get(PAGE).text
    assert form(own, person=hub.person(f"{WATER}:member")).status_code == 403


# -- by the REST API, which knows nothing of VOs -----------------------------------------------


def test_the_vo_of_the_server_decides_not_the_vos_of_the_owner(
    hub: RunningHub, reaches: Any
) -> None:
    both = (f"{AQUA}:member", f"{WATER}:member")
    in_aqua, in_water = hub.person(both[0]), hub.person(both[1])
    owner = started(hub, *both, vo=WATER)
    for share in ({"group": f"vo:{AQUA}"}, {"group": f"vo:{WATER}"}, {"user": in_aqua}):
        answer = rest(hub, owner, "POST", f"/shares/{owner}/", share)
        assert answer.status_code == 403, answer.text
    assert (
        "Water does not let others"
        in rest(hub, owner, "POST", f"/shares/{owner}/", {"group": f"vo:{AQUA}"}).json()["message"]
    )
    assert not reaches(in_aqua, owner)
    assert not reaches(in_water, owner)


def test_codes_which_would_let_in_anybody_are_not_made(hub: RunningHub) -> None:
    owner = started(hub)
    answer = rest(hub, owner, "POST", f"/share-codes/{owner}/", {})
    assert answer.status_code == 403, answer.text
    assert "code" not in answer.json()
    assert rest(hub, owner, "GET", f"/share-codes/{owner}/").json()["items"] == []


@pytest.mark.parametrize("more", ["servers", "shares", "admin:servers", "read:servers"])
def test_more_than_access_is_not_given(hub: RunningHub, reaches: Any, more: str) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    scopes = [f"{name}!server={owner}/" for name in ("access:servers", more)]
    body = {"user": colleague, "scopes": scopes}
    answer = rest(hub, owner, "POST", f"/shares/{owner}/", body)
    assert answer.status_code in (400, 403), answer.text
    assert not reaches(colleague, owner)


def test_nobody_lets_people_into_the_server_of_somebody_else(hub: RunningHub, reaches: Any) -> None:
    owner, other = started(hub), hub.person(f"{AQUA}:member")
    answer = rest(hub, other, "POST", f"/shares/{owner}/", {"user": other})
    assert answer.status_code in (403, 404)
    assert not reaches(other, owner)
    # Who was let in lets nobody else in.
    assert rest(hub, owner, "POST", f"/shares/{owner}/", {"user": other}).status_code == 200
    third = hub.person(f"{AQUA}:member")
    assert rest(hub, other, "POST", f"/shares/{owner}/", {"user": third}).status_code in (403, 404)
    assert not reaches(third, owner)


# -- how it ends -------------------------------------------------------------------------------


def test_who_leaves_the_vo_is_sent_out(hub: RunningHub, reaches: Any) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    assert rest(hub, owner, "POST", f"/shares/{owner}/", {"user": colleague}).status_code == 200
    assert reaches(colleague, owner)
    hub.api("DELETE", f"/groups/vo:{AQUA}/users", {"users": [colleague]})
    until(lambda: not reaches(colleague, owner), "the end of the access", pause=0.3)


def test_when_the_owner_leaves_the_vo_everybody_is_sent_out(hub: RunningHub, reaches: Any) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    assert rest(hub, owner, "POST", f"/shares/{owner}/", {"user": colleague}).status_code == 200
    assert reaches(colleague, owner)
    hub.api("DELETE", f"/groups/vo:{AQUA}/users", {"users": [owner]})
    until(lambda: not reaches(colleague, owner), "the end of the access", pause=0.3)


def test_what_is_shared_ends_with_the_server(hub: RunningHub, reaches: Any) -> None:
    owner, colleague = started(hub), hub.person(f"{AQUA}:member")
    assert rest(hub, owner, "POST", f"/shares/{owner}/", {"user": colleague}).status_code == 200
    assert hub.api("DELETE", f"/users/{owner}/server").status_code in (202, 204)
    until(
        lambda: not hub.api("GET", f"/users/{owner}").json()["servers"],
        "the end of the server",
        pause=0.3,
    )
    until(lambda: not reaches(colleague, owner), "the end of the access", pause=0.3)
    assert hub.start(owner, {"vo": AQUA, "profile": "small"}).status_code in (201, 202)
    assert not reaches(colleague, owner)


# -- the link of a published notebook ----------------------------------------------------------


def test_a_copied_link_leads_everybody_to_their_own_server_after_a_login(
    hub: RunningHub, browser: Any
) -> None:
    link = f"/hub/user-redirect/cscale/notebooks/{AQUA}/ualiceaaaaaa/water-quality"
    anonymous = httpx.get(f"{hub.url}{link}?version=2", trust_env=False)
    assert anonymous.status_code == 302
    asked = anonymous.headers["Location"]
    assert asked.startswith("/hub/login?next=")
    assert "water-quality%3Fversion%3D2" in asked

    for reader in (hub.person(f"{AQUA}:member"), hub.person(f"{WATER}:member")):
        sent = browser(reader).get(f"{link}?version=2")
        own = f"/user/{reader}/cscale/notebooks/{AQUA}/ualiceaaaaaa/water-quality?version=2"
        assert sent.status_code == 302
        # Their server is not running: it is started, and goes on from there.
        assert unquote(sent.headers["Location"]) == f"/hub/spawn/{reader}?next={own}"
