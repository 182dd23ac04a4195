"""Shared notebooks over HTTP: from the file browser to the library and back, and the page."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import threading
from logging import getLogger
from pathlib import Path
from typing import Any

import httpx
import pytest
from jupyter_server.auth import Authorizer
from traitlets.config import Config

from cscale_core.errors import LoginRequired
from cscale_core.notebooks.places import NotebookRef
from cscale_hub.sharing.publications import Told
from cscale_server.backend import Backend, Surroundings, made_with
from cscale_server.routes.sharing import notebooks as routes
from cscale_server.sharing import own
from cscale_server.sharing import telling as telling_module
from cscale_server.sharing.held import held_secrets
from cscale_server.sharing.link import link
from cscale_server.sharing.models import OwnNotebooks
from cscale_server.sharing.telling import Telling
from tests.core.notebooks.doubles import ALICE, BOB, VO, code, notebook, output
from tests.server.sharing_doubles import (
    FILE,
    MISSING,
    NOTEBOOK,
    Sharing,
    sharing,
    write_notebook,
)
from tests.waiting import soon

PAGE = f"cscale/notebooks/{VO}/{BOB}/water-quality"
BODY = {"path": FILE, "vo": VO, "title": "An analysis"}
REF = NotebookRef(VO, BOB, "water-quality")


class SharingBackend(Backend):
    """Shared notebooks over an object store in memory, and nothing else."""

    problem = None  # type: ignore[assignment]

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.world = sharing(surroundings.tokens)
        self.sharing = self.world.service

    async def start(self) -> None:
        """Nothing to open."""


@pytest.fixture
async def server(start_server: Any, make_site: Any) -> Any:
    config = Config({"CScaleExtension": {"backend_class": SharingBackend}})
    started = await start_server(make_site(), config)
    await started.extension.backend()
    write_notebook(started.home)
    return started


@pytest.fixture
async def world(server: Any) -> Sharing:
    found: Sharing = (await server.extension.backend()).world
    return found


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    return (answer.status_code, body["code"]) == (status, code) and bool(body["message"])


# -- choosing ----------------------------------------------------------------------------------


async def test_own_notebooks_are_listed_the_newest_first(server: Any, tmp_path: Path) -> None:
    for number, name in enumerate(
        (
            "project/deep/old.ipynb",
            "project/new.ipynb",
            ".hidden/no.ipynb",
            "project/.ipynb_checkpoints/no-checkpoint.ipynb",
            "env/lib/no.ipynb",
            "conda/share/no.ipynb",
            "node_modules/no.ipynb",
            "no.ipynb.txt",
        )
    ):
        path = write_notebook(server.home, name=name)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    (server.home / "env/pyvenv.cfg").touch()
    (server.home / "conda/conda-meta").mkdir()
    (server.home / "folder.ipynb").mkdir()
    elsewhere = tmp_path / "elsewhere"
    write_notebook(elsewhere)
    (server.home / "link").symlink_to(elsewhere)
    (server.home / "link.ipynb").symlink_to(elsewhere / FILE)
    os.utime(server.home / FILE, (1_600_000_000, 1_600_000_000))
    Path(os.fsdecode(os.fsencode(server.home) + b"/\xff.ipynb")).touch()
    told = (await server.api("GET", "shared/own-notebooks")).json()
    listed = [each["path"] for each in told["notebooks"]]
    assert listed == ["project/new.ipynb", "project/deep/old.ipynb", FILE]
    assert told["notebooks"][2]["modified"] == "2020-09-13T12:26:40Z"
    assert told["complete"] is True


async def test_own_notebooks_are_looked_for_within_bounds(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_notebook(server.home, name=f"{name}.ipynb")
    monkeypatch.setattr(own, "MOST", 2)
    told = (await server.api("GET", "shared/own-notebooks")).json()
    assert (len(told["notebooks"]), told["complete"]) == (2, False)
    assert own.own_notebooks(server.home, seconds=-1) == OwnNotebooks(notebooks=[], complete=False)


async def test_mounted_buckets_are_not_looked_through(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(server.home / "buckets" / "aqua")
    monkeypatch.setattr(own, "mount_points", lambda root: [root / "buckets" / "aqua"])
    told = (await server.api("GET", "shared/own-notebooks")).json()
    assert [each["path"] for each in told["notebooks"]] == [FILE]


async def test_a_home_folder_that_hangs_is_told(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = threading.Event()
    monkeypatch.setattr(routes, "SECONDS", 0.05)
    monkeypatch.setattr(routes, "own_notebooks", lambda _: awake.wait(30))
    answer = await server.api("GET", "shared/own-notebooks")
    awake.set()
    assert is_problem(answer, 504, "upstream_timeout")
    assert "by hand" in answer.json()["hint"]


# -- publishing --------------------------------------------------------------------------------


async def test_a_notebook_of_the_file_browser_is_published_and_found(
    server: Any, world: Sharing
) -> None:
    folder = server.home / "project"
    write_notebook(folder, notebook(code("x", output(**{"text/plain": "42"}))), "lake.ipynb")
    body = BODY | {"path": "project/lake.ipynb", "description": "D", "outputs": True}
    answer = await server.api("POST", "shared/notebooks", json=body)
    assert answer.status_code == 201, answer.text
    entry = answer.json()
    assert (entry["ref"], entry["version"]) == (f"{VO}|{ALICE}|an-analysis", 1)
    assert answer.headers["Location"].endswith(entry["ref"])
    found = world.bob.show(NotebookRef(VO, ALICE, "an-analysis"))
    assert found.provenance is not None
    assert found.provenance.source == "lake.ipynb"
    assert found.preview.cells[0].outputs[0].text == "42"
    gallery = (await server.api("GET", "shared/notebooks?mine=true")).json()
    assert [one["title"] for one in gallery["notebooks"]] == ["An analysis"]
    assert gallery["publish"] == [VO]
    again = await server.api("POST", "shared/notebooks", json=body)
    assert again.json()["version"] == 2


async def test_outputs_are_taken_out_unless_they_are_wanted(server: Any, world: Sharing) -> None:
    write_notebook(server.home, notebook(code("x", output(**{"text/plain": "42"}))))
    await server.api("POST", "shared/notebooks", json=BODY)
    found = world.bob.show(NotebookRef(VO, ALICE, "an-analysis"))
    assert found.preview.cells[0].outputs == []


async def test_several_at_once_become_several_versions(server: Any) -> None:
    answers = await asyncio.gather(
        *(server.api("POST", "shared/notebooks", json=BODY) for _ in range(5))
    )
    assert sorted(answer.json()["version"] for answer in answers) == [1, 2, 3, 4, 5]


async def test_a_secret_is_refused_with_its_place_and_not_repeated(server: Any) -> None:
    secret = "Zk3vQ9xB7mT1wL5cZk3vQ9xB7mT1wL5c"
    write_notebook(server.home, notebook(code(f"h = 'Bearer {secret}'")))
    answer = await server.api("POST", "shared/notebooks", json=BODY)
    assert is_problem(answer, 422, "secrets_found")
    assert answer.json()["details"]["findings"] == [
        {"place": "cell 1", "line": 1, "kind": "bearer token"}
    ]
    assert secret not in answer.text
    assert "Nothing was published" in answer.json()["hint"]


async def test_what_the_server_itself_holds_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "seven words that look like nothing")
    made = notebook(code("# seven words that look like nothing"))
    write_notebook(server.home, made)
    answer = await server.api("POST", "shared/notebooks", json=BODY)
    assert is_problem(answer, 422, "secrets_found")


async def test_the_secrets_of_a_server_are_known(tmp_path: Path, broker: Any) -> None:
    (tmp_path / "password").write_text("of the endpoint\n", encoding="utf-8")
    environment = {
        "JUPYTERHUB_API_TOKEN": "of the hub",
        "MY_DB_PASSWORD": "of mine",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "password"),
        "CSCALE_TOKEN_URL": "http://127.0.0.1:1",
        "PATH": "/bin",
    }
    held = await held_secrets(broker, environment)
    assert set(held) >= {"of the hub", "of mine", "of the endpoint", "testsecret0123456789"}
    assert not {"/bin", str(tmp_path / "password"), "http://127.0.0.1:1"} & set(held)
    broker.failure = LoginRequired("Log in again.")
    assert set(await held_secrets(broker, environment)) == set(held) - {"testsecret0123456789", ""}


@pytest.mark.parametrize(
    "path",
    [
        "missing.ipynb",
        "../outside.ipynb",
        "folder/../../outside.ipynb",
        "/etc/passwd",
        "analysis.txt",
        ".hidden/analysis.ipynb",
        "link.ipynb\x00",
        "s3/elsewhere/x.ipynb",
        "folder.ipynb",
    ],
)
async def test_only_notebooks_of_the_file_browser_are_published(
    server: Any, world: Sharing, path: str
) -> None:
    write_notebook(server.home.parent, name="outside.ipynb")
    write_notebook(server.home, name="analysis.txt")
    write_notebook(server.home / ".hidden")
    (server.home / "folder.ipynb").mkdir()
    answer = await server.api("POST", "shared/notebooks", json=BODY | {"path": path})
    assert answer.status_code in (400, 403, 404, 422), answer.text
    assert {"code", "message", "hint"} <= answer.json().keys()
    assert str(server.home) not in answer.text
    assert world.bob.gallery().total == 1


@pytest.mark.parametrize(
    ("content", "status"), [("", 422), ("{}", 422), ("[" * 100_000, 422), ("\udcff", 400)]
)
async def test_a_broken_file_is_said_to_be_none(server: Any, content: str, status: int) -> None:
    (server.home / FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    answer = await server.api("POST", "shared/notebooks", json=BODY)
    assert answer.status_code == status, answer.text
    assert {"code", "message", "hint"} <= answer.json().keys()


async def test_a_file_too_large_is_not_read(server: Any) -> None:
    with (server.home / FILE).open("wb") as file:
        file.truncate(25 * 1024**2)
    answer = await server.api("POST", "shared/notebooks", json=BODY)
    assert is_problem(answer, 422, "invalid_input")
    assert "24 MiB" in answer.json()["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"title": ""},
        {"title": "x" * 201},
        {"title": "水"},
        {"vo": "water.example"},
        {"vo": "../aqua"},
        {"outputs": "perhaps"},
        {"author": BOB},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(server: Any, change: Any) -> None:
    answer = await server.api("POST", "shared/notebooks", json=BODY | change)
    assert is_problem(answer, 422, "invalid_input")


# -- looking, opening, taking down -------------------------------------------------------------


async def test_one_is_looked_at_with_a_preview_in_which_nothing_acts(server: Any) -> None:
    shown = (await server.api("GET", f"shared/notebooks/{NOTEBOOK}")).json()
    assert shown["notebook"]["title"] == "Water quality"
    assert shown["provenance"]["author"] == BOB
    html = shown["preview"]["cells"][0]["html"]
    assert "Turbidity" in html
    assert not re.search(r"<(script|img)", html)
    picture = await server.api("GET", f"shared/notebooks/{NOTEBOOK}/picture")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in picture.headers["Content-Security-Policy"]
    assert picture.content.startswith(b"\x89PNG")


async def test_a_copy_is_made_for_each_time_it_is_opened(server: Any) -> None:
    first = await server.api("POST", f"shared/notebooks/{NOTEBOOK}/copies", json={})
    assert first.status_code == 201
    assert first.json() == {"path": "Opened notebooks/water-quality.ipynb"}
    second = await server.api("POST", f"shared/notebooks/{NOTEBOOK}/copies", json={"version": 1})
    assert second.json() == {"path": "Opened notebooks/water-quality-1.ipynb"}
    model = (await server.contents("GET", first.json()["path"])).json()
    assert model["content"]["metadata"]["cscale"]["opened"]["ref"] == str(REF)
    untrusted = [cell["metadata"].get("trusted") for cell in model["content"]["cells"][1:]]
    assert untrusted == [False, False]


async def test_a_folder_for_copies_that_leads_elsewhere_is_the_owners_choice_alone(
    server: Any, tmp_path: Path
) -> None:
    answer = await server.api("POST", f"shared/notebooks/{NOTEBOOK}/copies", json={"folder": "/"})
    assert is_problem(answer, 422, "invalid_input")
    assert not (server.home / "Opened notebooks").exists()


async def test_versions_and_taking_down(server: Any, world: Sharing) -> None:
    for _ in range(2):
        await server.api("POST", "shared/notebooks", json=BODY)
    mine = f"{VO}%7C{ALICE}%7Can-analysis"
    listed = (await server.api("GET", f"shared/notebooks/{mine}/versions")).json()["versions"]
    assert [one["version"] for one in listed] == [2, 1]
    one = await server.api("DELETE", f"shared/notebooks/{mine}?version=1")
    assert one.json() == {"versions": [1]}
    assert (await server.api("DELETE", f"shared/notebooks/{mine}")).json() == {"versions": [2]}
    assert (await server.api("GET", f"shared/notebooks/{mine}")).status_code == 404
    answer = await server.api("DELETE", f"shared/notebooks/{NOTEBOOK}")
    assert is_problem(answer, 403, "forbidden")
    assert world.bob.gallery().total == 1


@pytest.mark.parametrize(
    "ref", ["x", "..", "a%7Cb", f"{VO}%7C..%7Cx", f"{VO}%7C{BOB}%7C..%252F..%252Fx", "%00%7C%00%7C"]
)
async def test_what_is_no_reference_is_refused(server: Any, ref: str) -> None:
    for method, path in (
        ("GET", f"shared/notebooks/{ref}"),
        ("DELETE", f"shared/notebooks/{ref}"),
        ("POST", f"shared/notebooks/{ref}/copies"),
        ("GET", f"shared/notebooks/{ref}/picture"),
        ("GET", f"shared/notebooks/{ref}/link"),
    ):
        answer = await server.api(method, path)
        assert answer.status_code in (404, 405, 422), (method, path, answer.text)


async def test_of_another_vo_everything_looks_as_if_it_were_not_there(
    start_server: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stranger(SharingBackend):
        def __init__(self, surroundings: Surroundings) -> None:
            super().__init__(surroundings)
            self.world = sharing(surroundings.tokens, water="member")
            self.sharing = self.world.service

    config = Config({"CScaleExtension": {"backend_class": Stranger}})
    server = await start_server(make_site(), config)
    await server.extension.backend()
    assert (await server.api("GET", "shared/notebooks")).json()["notebooks"] == []
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/versions"),
        ("GET", "/picture"),
        ("POST", "/copies"),
        ("GET", "/link"),
        ("GET", "/link?version=1"),
    ):
        there = await server.api(method, f"shared/notebooks/{NOTEBOOK}{path}", json={})
        missing = await server.api(method, f"shared/notebooks/{MISSING}{path}", json={})
        assert is_problem(there, 404, "not_found"), path
        assert there.json()["message"] == missing.json()["message"]
    page = await server.http.get(PAGE)
    assert page.status_code == 404
    assert "Turbidity" not in page.text
    assert (await server.http.post(PAGE)).status_code == 404
    assert not (server.home / "Opened notebooks").exists()


async def test_who_was_let_into_the_server_gets_nothing_of_it(
    server: Any, world: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "the-owner")
    calls = [
        ("GET", "shared/notebooks"),
        ("GET", "shared/own-notebooks"),
        ("POST", "shared/notebooks"),
        ("GET", f"shared/notebooks/{NOTEBOOK}"),
        ("DELETE", f"shared/notebooks/{NOTEBOOK}"),
        ("GET", f"shared/notebooks/{NOTEBOOK}/versions"),
        ("GET", f"shared/notebooks/{NOTEBOOK}/picture"),
        ("POST", f"shared/notebooks/{NOTEBOOK}/copies"),
        ("GET", f"shared/notebooks/{NOTEBOOK}/link"),
    ]
    for method, path in calls:
        answer = await server.api(method, path, json=BODY)
        assert is_problem(answer, 403, "forbidden"), path
    for method in ("GET", "POST"):
        answer = await server.http.request(method, PAGE)
        assert answer.status_code == 403
        assert "Turbidity" not in answer.text
    assert world.bob.gallery().total == 1


# -- the link and its page ---------------------------------------------------------------------


def test_a_link_goes_through_the_hub_to_everybodys_own_server() -> None:
    page = f"{VO}/{BOB}/water-quality"
    base = {"JUPYTERHUB_BASE_URL": "/jupyter/"}
    assert link(REF, None, "/user/me/", {}) == f"/user/me/cscale/notebooks/{page}"
    assert link(REF, 3, "/user/me/", base) == (
        f"/jupyter/hub/user-redirect/cscale/notebooks/{page}?version=3"
    )
    public = base | {"JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example/jupyter/hub/"}
    assert link(REF, None, "/user/me/", public) == (
        f"https://hub.example/jupyter/hub/user-redirect/cscale/notebooks/{page}"
    )


async def test_a_link_is_given_of_what_is_there(server: Any) -> None:
    answer = await server.api("GET", f"shared/notebooks/{NOTEBOOK}/link")
    assert answer.json()["url"].endswith(PAGE)
    page = await server.http.get(server.http.base_url.join(answer.json()["url"]))
    assert page.status_code == 200
    missing = await server.api("GET", f"shared/notebooks/{NOTEBOOK}/link?version=2")
    assert is_problem(missing, 404, "not_found")


async def test_the_page_shows_it_and_nothing_in_it_can_act(server: Any) -> None:
    page = await server.http.get(PAGE)
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    nonce = re.search(r'style nonce="([^"]+)"', page.text)
    assert nonce is not None
    assert policy.startswith(f"default-src 'none'; style-src 'nonce-{nonce[1]}'; img-src data:;")
    assert "frame-ancestors 'none'" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    for shown in ("Water quality", "Turbidity", "&lt;i&gt;The lake&lt;/i&gt;", "data:image/png"):
        assert shown in page.text
    assert "&lt;b&gt;" in page.text  # of the author's name
    assert not re.search(r"<script|<i>|tracker\.example|alert\(2\)|<img src=x", page.text)


async def test_the_page_gives_a_copy_and_goes_to_jupyterlab(server: Any) -> None:
    answer = await server.http.post(PAGE + "?version=1", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"].endswith("/lab/tree/Opened%20notebooks/water-quality.ipynb")
    made = server.home / "Opened notebooks" / "water-quality.ipynb"
    assert json.loads(made.read_text(encoding="utf-8"))["metadata"]["cscale"]["opened"]


async def test_a_foreign_page_cannot_take_a_copy(server: Any) -> None:
    # As a browser that is logged in by its cookie, and has not the token of the form.
    async with httpx.AsyncClient(base_url=server.http.base_url, trust_env=False) as browser:
        await browser.get("?token=only-for-tests")
        assert (await browser.get(PAGE)).status_code == 200
        for headers in ({"Origin": "https://evil.example"}, {}):
            refused = await browser.post(PAGE, headers=headers)
            assert refused.status_code in (403, 404)
        assert not (server.home / "Opened notebooks").exists()
        form = re.search(r'name="_xsrf" value="([^"]+)"', (await browser.get(PAGE)).text)
        assert form is not None
        allowed = await browser.post(PAGE, data={"_xsrf": form[1]})
        assert allowed.status_code == 303


async def test_the_page_needs_a_login(server: Any) -> None:
    async with httpx.AsyncClient(base_url=server.http.base_url, trust_env=False) as browser:
        answer = await browser.get(PAGE)
        assert answer.status_code == 302
        assert "/login?next=" in answer.headers["Location"]
        assert (await browser.post(PAGE)).status_code in (302, 403)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PAGE + "?version=9", 404),
        (PAGE + "?version=x", 422),
        (PAGE + "?version=-1", 422),
        (PAGE + "?version=٣", 422),
        (f"cscale/notebooks/{VO}/..%2F{BOB}/x", 422),
        (f"cscale/notebooks/{VO}/{BOB}/%3Cscript%3E", 422),
        (f"cscale/notebooks/{VO}/{BOB}/missing", 404),
    ],
)
async def test_a_link_that_leads_nowhere_is_explained(server: Any, path: str, status: int) -> None:
    answer = await server.http.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Go to JupyterLab" in answer.text
    assert "<script" not in answer.text
    assert "style-src 'nonce-" in answer.headers["Content-Security-Policy"]


class Denying(Authorizer):
    """Says no."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return resource != "cscale:sharing"


async def test_the_authorizer_is_asked_for_the_page(start_server: Any, make_site: Any) -> None:
    config = Config(
        {
            "CScaleExtension": {"backend_class": SharingBackend},
            "ServerApp": {"authorizer_class": Denying},
        }
    )
    server = await start_server(make_site(), config)
    await server.extension.backend()
    for method in ("GET", "POST"):
        assert (await server.http.request(method, PAGE)).status_code == 403


def test_what_a_notebook_was_made_with_is_told() -> None:
    assert made_with({"JUPYTER_IMAGE_SPEC": "registry.example/lab@sha256:1"}).endswith("sha256:1")
    assert made_with({}).startswith("cscale-hub ")


# -- what the hub is told ----------------------------------------------------------------------


class Hub:
    """Takes what it is told, or answers as it is told to."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.told: list[dict[str, Any]] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "token of-the-server"
        self.told.append(json.loads(request.content))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)


def telling_to(hub: Hub) -> Telling:
    http = httpx.AsyncClient(transport=httpx.MockTransport(hub))
    return Telling(http, "http://hub/hub/api/cscale/notebooks", "of-the-server", getLogger("t"))


async def test_the_hub_is_told_what_became_of_notebooks(server: Any, world: Sharing) -> None:
    hub = Hub()
    world.service.telling = telling_to(hub)
    data = write_notebook(server.home).read_bytes()
    await server.api("POST", "shared/notebooks", json=BODY)
    await server.api("POST", f"shared/notebooks/{NOTEBOOK}/copies", json={})
    await server.api("DELETE", f"shared/notebooks/{NOTEBOOK}")
    write_notebook(server.home, notebook(code("t = 'Bearer Zk3vQ9xB7mT1wL5cZk3vQ9xB7mT1wL5c'")))
    await server.api("POST", "shared/notebooks", json=BODY)
    await server.api("DELETE", f"shared/notebooks/{VO}%7C{ALICE}%7Can-analysis?version=1")
    await soon(lambda: len(hub.told) == 5, "five acts, told")
    acts = {(one["action"], one["outcome"], one["code"], one["version"]) for one in hub.told}
    assert acts == {
        ("notebook.publish", "done", "", "1"),
        ("notebook.open", "done", "", ""),
        ("notebook.unpublish", "refused", "forbidden", ""),
        ("notebook.publish", "refused", "secrets_found", ""),
        ("notebook.unpublish", "done", "", "1"),
    }
    published = next(one for one in hub.told if one["version"] == "1" and one["source_hash"])
    assert published["source_hash"] == hashlib.sha256(data).hexdigest()
    assert (published["vo"], published["author"], published["notebook"]) == (
        VO,
        ALICE,
        "an-analysis",
    )
    for one in hub.told:  # exactly what the hub takes
        Told.model_validate(one)


async def test_a_hub_that_is_away_is_told_later_and_one_that_refuses_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling_module, "_FIRST_PAUSE", 0.01)
    away = Hub(httpx.ConnectError("down"), 503)
    telling_to(away).tell("notebook.open", REF)
    await soon(lambda: len(away.told) == 3, "the third attempt")
    refusing = Hub(404)
    told = telling_to(refusing)
    told.tell("notebook.open", REF)
    await soon(lambda: not told._under_way, "the end of telling")
    assert len(refusing.told) == 1
    hanging = telling_to(Hub(*[httpx.ConnectError("down")] * 9))
    hanging.tell("notebook.open", REF)
    await hanging.stop()
    assert not hanging._under_way
