"""No way of starting a server leads past what a person's VOs offer; asked of a real JupyterHub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from cscale_core.site import Site
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.spawn.conftest import RunningHub

MEMBER, MANAGER, WATER, SPENT = (
    "aqua.example:member",
    "aqua.example:manager",
    "water.example:member",
    "spent.example:member",
)


@contextmanager
def browser(hub: RunningHub, name: str) -> Iterator[httpx.Client]:
    """Somebody who is signed in at the hub's pages."""
    with httpx.Client(
        base_url=hub.url, follow_redirects=True, timeout=60, trust_env=False
    ) as client:
        client.get("/hub/login")
        form = {"username": name, "password": "x", "_xsrf": client.cookies["_xsrf"]}
        client.post("/hub/login", data=form)
        assert "jupyterhub-session-id" in client.cookies
        yield client


def until_running(hub: RunningHub, name: str) -> None:
    def ready() -> bool:
        model = hub.api("GET", f"/users/{name}").json()["servers"].get("")
        return bool(model and model["ready"])

    until(ready, f"the server of {name}", beside=lambda: hub.log)


@pytest.mark.parametrize("body", [None, {}, {"profile": ""}, {"user_options": None}])
def test_without_a_profile_the_first_allowed_one_starts(hub: RunningHub, body: object) -> None:
    name = hub.person(MANAGER)
    assert hub.start(name, body).status_code in (201, 202)
    until_running(hub, name)
    assert hub.options(name) == {"profile": "small", "vo": "aqua.example"}


@pytest.mark.parametrize(
    "body",
    [
        {"profile": "large"},
        {"user_options": {"profile": "large"}},
        {"profile": "gpu"},
        {"profile": "never-heard-of"},
        {"profile": "small", "vo": "water.example"},
        {"profile": ["small"]},
        {"profile": {"small": 1}},
        {"vo": "../aqua.example"},
        {"image": "evil.example/image"},
        {"profile": "small", "cpu_limit": 64},
        {"profile-option-small--image": "x"},
    ],
)
def test_what_is_not_offered_is_refused_with_words(hub: RunningHub, body: object) -> None:
    name = hub.person(MEMBER)
    answer = hub.start(name, body)
    assert answer.status_code == 403, answer.text
    said = answer.json()["message"]
    assert "small (aqua.example)" in said or "profile and vo" in said
    assert "Traceback" not in answer.text
    # It is not remembered either: the next start has the first allowed one.
    assert hub.start(name).status_code in (201, 202)
    until_running(hub, name)
    assert hub.options(name) == {"profile": "small", "vo": "aqua.example"}


def test_options_put_beside_the_start_are_no_way_around(hub: RunningHub) -> None:
    name = hub.person(MEMBER)
    hub.start(name)
    until_running(hub, name)
    hub.api("DELETE", f"/users/{name}/server")
    put = hub.api("PATCH", f"/users/{name}/server", {"user_options": {"profile": "gpu"}})
    assert put.status_code == 200, put.text
    answer = hub.start(name)
    assert answer.status_code == 403
    assert "no server 'gpu' for you" in answer.json()["message"]


def test_a_forbidden_profile_and_one_that_never_was_get_the_same_answer(hub: RunningHub) -> None:
    name = hub.person(MEMBER)
    forbidden = hub.start(name, {"profile": "large"}).json()["message"]
    invented = hub.start(name, {"profile": "xxxxx"}).json()["message"]
    assert forbidden.replace("large", "xxxxx") == invented


def test_a_role_that_is_lost_takes_its_profile_along(hub: RunningHub) -> None:
    name = hub.person(MEMBER, MANAGER)
    assert hub.start(name, {"profile": "large"}).status_code in (201, 202)
    until_running(hub, name)
    hub.api("DELETE", f"/users/{name}/server")
    hub.api("DELETE", f"/groups/vo:{MANAGER}/users", {"users": [name]})
    assert hub.start(name).status_code == 403  # what it had before, which is not said again
    assert hub.start(name).status_code in (201, 202)
    until_running(hub, name)
    assert hub.options(name)["profile"] == "small"


def test_somebody_without_a_role_gets_no_server(hub: RunningHub) -> None:
    answer = hub.start(hub.person())
    assert answer.status_code == 403
    assert "Ask the managers" in answer.json()["message"]


def test_an_allowance_that_is_used_up_is_told(hub: RunningHub) -> None:
    answer = hub.start(hub.person(SPENT))
    assert answer.status_code == 403
    assert "first day of the month" in answer.json()["message"]


def test_the_server_is_held_to_its_profile_and_knows_its_vo(hub: RunningHub) -> None:
    name = hub.person(MEMBER, MANAGER, WATER)
    assert hub.start(name, {"profile": "large"}).status_code in (201, 202)
    said = hub.said(name)
    assert said["processors"] == min(2, len(os.sched_getaffinity(0)))
    assert said["memory"] == 4 * 2**30
    environment = said["environment"]
    assert environment["MEM_LIMIT"] == str(4 * 2**30)
    assert environment["CPU_LIMIT"] == "2.0"
    assert environment["COMMUNITY"] == "aqua"
    assert (environment["CSCALE_VO"], environment["CSCALE_PROFILE"]) == ("aqua.example", "large")
    site = Site.model_validate(
        yaml.safe_load(Path(environment["CSCALE_SITE_FILE"]).read_text(encoding="utf-8"))
    )
    assert site.mount_mode == "none"
    assert "tiles.example.org" in site.allowed_hosts
    assert {grant.vo for grant in site.grants} == {"aqua.example", "water.example"}


def test_the_page_offers_what_is_allowed_escaped_and_nothing_else(hub: RunningHub) -> None:
    name = hub.person(MEMBER, WATER, SPENT)
    with browser(hub, name) as client:
        page = client.get("/hub/spawn").text
    assert re.findall(r'name="server" value="([^"]+)"', page) == [
        "aqua.example:small",
        "spent.example:small",
        "water.example:gpu",
    ]
    assert "Small &lt;b&gt;&amp;&lt;/b&gt; quick" in page
    assert "<b>&" not in page
    assert "Large" not in page
    assert "6 of your 10 CPU hours are left this month." in page
    assert "Each hour counts 1 CPU hour for" in page
    assert "GiB of memory and" in page
    (refused,) = re.findall(r"<input[^>]*\bdisabled\b[^>]*>", page)
    assert "spent.example:small" in refused


def test_one_choice_needs_no_page(hub: RunningHub) -> None:
    name = hub.person(MEMBER)
    with browser(hub, name) as client:
        client.get("/hub/spawn")
    until_running(hub, name)


def test_the_form_starts_what_was_chosen_and_shows_a_refusal_with_the_page(
    hub: RunningHub,
) -> None:
    name = hub.person(MEMBER, MANAGER)
    with browser(hub, name) as client:
        action = re.search(r'action="([^"]+)"', client.get("/hub/spawn").text)
        assert action is not None
        address = action[1].replace("&amp;", "&")
        refused = client.post(address, data={"server": "water.example:gpu"})
        assert refused.status_code == 403
        assert "There is no server &#39;gpu&#39; of &#39;water.example&#39; for you" in refused.text
        assert "SpawnException" not in refused.text
        assert 'value="aqua.example:large"' in refused.text
        client.post(address, data={"server": "aqua.example:large"})
    until_running(hub, name)
    assert hub.options(name) == {"profile": "large", "vo": "aqua.example"}


def test_an_address_chooses_too_and_is_no_way_around(hub: RunningHub) -> None:
    name = hub.person(MEMBER, MANAGER)
    with browser(hub, name) as client:
        assert client.get("/hub/spawn", params={"profile": "gpu"}).status_code == 403
        client.get("/hub/spawn", params={"profile": "large"})
    until_running(hub, name)
    assert hub.options(name)["profile"] == "large"
