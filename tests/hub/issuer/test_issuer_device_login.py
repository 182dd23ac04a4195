"""Logging in by device code at an openEO back end that has no broker: the job list's engine, our
own identity provider, and a person with a browser."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parents[2] / "core" / "jobs"))

from openeo_double import Double
from openeo_world import Tokens, World, backend, finish

from cscale_core.errors import InvalidInput, UpstreamError
from cscale_core.jobs.engines.openeo import device_login
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site
from tests.waiting import soon

config = pytest.importorskip("openeo.rest.auth.config", reason="install cscale-hub[lab]")

CLIENT = {
    "id": "cscale-openeo",
    "grant_types": ["urn:ietf:params:oauth:grant-type:device_code+pkce", "refresh_token"],
}


class OneUser(Double):
    """A back end that takes every token for the same user's."""

    @staticmethod
    def _user(bearer: str) -> str:
        return "aqua" if bearer else ""


@pytest.fixture
async def double(issuer) -> AsyncIterator[Double]:
    """A back end whose users log in at our identity provider."""
    made = OneUser()
    made.switches.issuer = issuer.issuer
    made.switches.client = CLIENT
    made.switches.scopes = ("openid", "profile", "email")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(made.app, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    yield made
    server.should_exit = True
    await task


@pytest.fixture
async def world(
    tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    for name in ("HOME", "XDG_DATA_HOME", "OPENEO_DATA_HOME", "OPENEO_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    nowhere = "http://127.0.0.1:9"
    site = Site.model_validate(
        {
            "user": "u",
            "s3": {"endpoint": nowhere},
            "catalogue": {"url": nowhere},
            "openeo": [backend(double, audience="", auth="stored"), backend(double, id="hub")],
        }
    )
    made = World(tmp_path, site, double, Tokens())
    await made.manager.start()
    yield made
    await made.manager.stop()


async def answer(browser: Any, address: str, action: str) -> str:
    """What a person does who is sent to the identity provider."""

    def at_the_browser() -> str:
        page = browser.login(browser.http.get(address), "aqua")
        return str(browser.submit(page, action=action).text)

    return await asyncio.to_thread(at_the_browser)


def files_with(folder: Path, text: str) -> list[Path]:
    return [
        file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()
    ]


async def test_job_that_waits_for_a_login_goes_on_when_its_user_has_typed_the_code(
    world: World, double: Double, browser, claims_of: Callable[[str], dict[str, Any]]
) -> None:
    job = await world.submit(backend="here")
    await world.until(job.id, lambda job: "no valid login kept" in job.message)
    begun = await world.engine.begin_login("here")
    assert (begun.state, begun.kept) == ("pending", False)
    assert begun.user_code in begun.verification_uri_complete
    assert await world.engine.begin_login("here") == begun
    assert "connected" in await answer(browser, begun.verification_uri_complete, "allow")
    running = await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    login = world.engine.login("here")
    assert login is not None
    assert (login.state, login.problem) == ("done", "")

    bearer = double.bearers[-1]
    assert bearer.startswith("Bearer oidc/egi/")
    assert claims_of(bearer.rpartition("/")[2])["aud"] == ["openeo"]
    double.switches.refused = set(double.bearers)
    finish(double.jobs[running.engine_id])
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert double.bearers[-1] not in double.switches.refused
    # The login is in memory only.
    assert not config.RefreshTokenStore().path.exists()
    assert files_with(world.folder, "refresh") == []


async def test_login_outlives_the_server_where_its_user_asked_for_that(
    world: World, double: Double, browser
) -> None:
    begun = await world.engine.begin_login("here", keep=True)
    await answer(browser, begun.verification_uri_complete, "allow")
    await soon(lambda: world.engine.login("here").state == "done", "the login")
    file = config.RefreshTokenStore().path
    assert file.is_relative_to(world.folder)
    assert file.stat().st_mode & 0o777 == 0o600
    await world.restart()
    assert world.engine.login("here") is None
    job = await world.submit(backend="here")
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)


async def test_login_that_is_refused_says_so_and_can_be_begun_again(world: World, browser) -> None:
    begun = await world.engine.begin_login("here")
    await answer(browser, begun.verification_uri_complete, "deny")
    await soon(lambda: world.engine.login("here").state != "pending", "the end of the login")
    assert world.engine.login("here").state == "denied"
    again = await world.engine.begin_login("here")
    assert again.state == "pending"
    assert again.user_code != begun.user_code


async def test_back_end_of_the_hub_s_login_gives_no_code(world: World) -> None:
    with pytest.raises(InvalidInput, match="does not log in at Back end by a code"):
        await world.engine.begin_login("hub")
    with pytest.raises(InvalidInput, match="no openEO back end"):
        await world.engine.begin_login("nowhere")


async def test_provider_without_device_codes_is_told(world: World, double: Double) -> None:
    double.switches.client = {"id": "cscale-openeo", "grant_types": ["authorization_code"]}
    with pytest.raises(InvalidInput, match="offers no login by a code"):
        await world.engine.begin_login("here")


async def test_code_that_nobody_typed_ends(
    world: World, double: Double, make_issuer: Callable[..., Any]
) -> None:
    other = make_issuer(device_code_seconds=2)
    await asyncio.to_thread(other.start)
    double.switches.issuer = other.issuer
    begun = await world.engine.begin_login("here")
    await soon(lambda: world.engine.login("here").state != "pending", "the end of the login")
    login = world.engine.login("here")
    assert (login.state, login.user_code) == ("expired", begun.user_code)


async def test_provider_that_does_not_answer_for_a_while_is_asked_again(
    world: World, double: Double, browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    poll = device_login._poll

    def sometimes(connection: Any, begun: Any) -> Any:
        asked.append(begun)
        if len(asked) == 1:
            raise UpstreamError("The identity provider does not answer.", retryable=True)
        return poll(connection, begun)

    monkeypatch.setattr(device_login, "_poll", sometimes)
    begun = await world.engine.begin_login("here")
    await answer(browser, begun.verification_uri_complete, "allow")
    await soon(lambda: world.engine.login("here").state == "done", "the login")


async def test_codes_and_tokens_go_over_https_only(world: World, double: Double) -> None:
    double.switches.issuer = "http://login.example/auth"
    with pytest.raises(UpstreamError, match="not https"):
        await world.engine.begin_login("here")
    assert world.engine.login("here") is None
