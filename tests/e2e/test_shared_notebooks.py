"""A notebook goes from one member to another by a link, and to nobody of another VO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_cli.demo.session import HubSession
from cscale_hub.local.lifecycle import Federation

VO = "aquamonitor.c-scale.eu"
NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Turbidity"},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "1 + 1",
            "outputs": [],
            "execution_count": None,
        },
    ],
}


class Member(HubSession):
    """Somebody at work, by HTTP."""

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self._api.request(method, self._server_url(path), json=body, timeout=60)


@pytest.fixture
def member(federation: Federation) -> Iterator[Any]:
    made: list[Member] = []

    def sign_in(name: str) -> Member:
        session = Member(federation.hub_url)
        made.append(session)
        session.__enter__()
        session.sign_in(name, federation.passwords[name])
        session.start_server(print)
        return session

    yield sign_in
    for session in made:
        session.__exit__(None, None, None)


def test_a_link_opens_it_for_members_and_for_nobody_else(
    federation: Federation, member: Any
) -> None:
    author, colleague, stranger = member("aqua"), member("both"), member("water")
    model = {"type": "notebook", "format": "json", "content": NOTEBOOK}
    assert author.api("PUT", "api/contents/turbidity.ipynb", model).is_success
    asked = {"path": "turbidity.ipynb", "vo": VO, "title": "Turbidity of lakes"}
    published = author.api("POST", "cscale/api/v1/shared/notebooks", asked)
    assert published.status_code == 201, published.text
    ref = published.json()["ref"].replace("|", "%7C")
    link = author.api("GET", f"cscale/api/v1/shared/notebooks/{ref}/link").json()["url"]
    assert link.startswith("/hub/user-redirect/cscale/notebooks/")
    page = link.removeprefix("/hub/user-redirect/")

    seen = colleague.api("GET", page)
    assert seen.status_code == 200
    assert "Turbidity" in seen.text
    copied = colleague.api("POST", f"cscale/api/v1/shared/notebooks/{ref}/copies", {})
    copy = colleague.api("GET", f"api/contents/{copied.json()['path']}").json()
    assert copy["content"]["cells"][1]["source"] == "1 + 1"
    shown = colleague.api("GET", f"api/contents/shared/{VO}/published/{author.user}").json()
    assert [entry["name"] for entry in shown["content"]] == ["turbidity-of-lakes"]

    assert stranger.api("GET", page).status_code == 404
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/copies"), ("GET", "/link")):
        answer = stranger.api(method, f"cscale/api/v1/shared/notebooks/{ref}{path}", {})
        assert answer.status_code == 404, (path, answer.text)
    assert stranger.api("GET", f"api/contents/shared/{VO}").status_code == 404
    listed = stranger.api("GET", "cscale/api/v1/shared/notebooks").json()
    assert listed["notebooks"] == []

    # Their own servers are closed to each other, whatever is published.
    own = f"{federation.hub_url}/user/{author.user}/{page}"
    assert colleague.get(own).status_code in (302, 403, 404)
    nobody = httpx.get(federation.hub_url + link, follow_redirects=False)
    assert "/hub/login?next=" in nobody.headers["Location"]

    events = _on_record(federation.data)
    assert ("notebook.publish", author.user) in events
    assert ("notebook.open", colleague.user) in events


def _on_record(data: Path) -> set[tuple[str, str]]:
    from cscale_hub.local.layout import Layout

    lines = Layout(data).audit.read_text(encoding="utf-8").splitlines()
    return {(event["action"], event["user"]) for event in map(json.loads, lines)}
