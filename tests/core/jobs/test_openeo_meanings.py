"""What back ends say, in words that help: error codes, failures of jobs, and what a back end is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openeo_double import Double, Refusal
from openeo_world import Tokens, World, backend, finish

from cscale_core.backends import OpenEOBackend, shipped_backends
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.jobs.engines.openeo.codes import MEANINGS, NO_PLACE, NOT_READY, RENEWABLE, meaning
from cscale_core.jobs.engines.openeo.explain import explain
from cscale_core.jobs.engines.openeo.failures import code_of, translated
from cscale_core.jobs.engines.openeo.login import account_of
from cscale_core.jobs.engines.openeo.results import any_expired, expiry
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site

auth = pytest.importorskip("openeo.rest.auth.config", reason="install cscale-hub[lab]")

# Every code of errors.json of openEO API 1.2.
DOCUMENTED = re.findall(
    r"\w+",
    """
Internal NotFound FeatureUnsupported InfrastructureMaintenance InfrastructureBusy
UnsupportedApiVersion RequestTimeout BudgetInvalid EstimateComplexity NoDataForUpdate
PropertyNotEditable CollectionNotFound StorageFailure StorageQuotaExceeded FileNotFound
FilePathInvalid FileOperationUnsupported FolderOperationUnsupported ContentTypeInvalid
FileTypeInvalid FileSizeExceeded FileContentInvalid FileLocked ProcessGraphNotFound ProcessInvalid
ProcessGraphMissing ProcessGraphInvalid PredefinedProcessExists ProcessGraphComplexity
ProcessUnsupported ProcessParameterUnsupported ProcessParameterInvalid ProcessParameterRequired
JobNotFound JobLocked JobNotFinished JobNotStarted ResultLinkExpired PaymentRequired
BillingPlanInvalid BillingPlanMissing AuthenticationRequired AuthenticationSchemeInvalid
TokenInvalid CredentialsInvalid PermissionsInsufficient ServiceNotFound ServiceUnsupported
ServiceConfigUnsupported ServiceConfigInvalid ServiceConfigRequired
    """,
)

PLACE = OpenEOBackend(id="b", title="B", url="https://b.example", audience="openeo")


class Answer(Exception):
    """Shaped like the client's ``OpenEoApiError``."""

    def __init__(self, status: int, code: str = "", message: str = "so") -> None:
        super().__init__(message)
        self.http_status_code, self.code, self.message = status, code, message


@pytest.mark.parametrize("code", [*DOCUMENTED, "ConcurrentJobLimit"])
def test_every_documented_code_says_what_to_do(code: str) -> None:
    error = translated(Answer(400, code), PLACE)
    assert error.hint
    assert "so" in error.message
    assert error.message.startswith("B ")
    assert code_of(error) == code


def test_web_page_of_something_else_is_named_and_not_shown() -> None:
    error = translated(Answer(404, message="<!DOCTYPE HTML>\n<html>Nothing here"), PLACE)
    assert error.message == "B does not know it: a web page came instead of an answer (status 404)."


def test_sets_of_codes_are_of_known_codes() -> None:
    assert MEANINGS.keys() >= NO_PLACE | NOT_READY | RENEWABLE


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, LoginRequired, False),
        (402, Forbidden, False),
        (403, Forbidden, False),
        (404, NotFound, False),
        (408, UpstreamTimeout, True),
        (429, UpstreamError, True),
        (500, UpstreamError, True),
        (502, UpstreamError, True),
        (504, UpstreamTimeout, True),
    ],
)
def test_code_that_nobody_knows_is_judged_by_its_status(
    status: int, kind: type[CScaleError], retryable: bool
) -> None:
    means = meaning("SomethingOfTheirs", status)
    assert (means.kind, means.retryable) == (kind, retryable)


def test_answer_without_status_is_not_understood_and_may_be_asked_again() -> None:
    error = translated(ValueError("no json"), PLACE)
    assert isinstance(error, UpstreamError)
    assert error.retryable


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    [
        (["Exit code: 137"], {}, {"python-memory": "6G"}),
        (["Exit code: 137"], {"executor-memoryOverhead": "5G"}, {"python-memory": "10G"}),
        (["Exit code: 137"], {"python-memory": "1800m"}, {"python-memory": "3600m"}),
        (["Exit code: 137"], {"python-memory": "30G"}, {"python-memory": "32G"}),
        (["Java heap space"], {"executor-memory": "3G"}, {"executor-memory": "6G"}),
        (
            ["the driver exited with exit code 137"],
            {},
            {"driver-memory": "16G", "driver-memoryOverhead": "4G"},
        ),
        (["Read timed out"], {}, {"soft-errors": 0.3}),
        (["Read timed out"], {"soft-errors": 0.3}, {}),
        (["first", "NoDataAvailable: nothing"], {}, {}),
    ],
)
def test_failure_is_explained_by_its_log(
    lines: list[str], options: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = explain(lines, options)
    assert found is not None
    assert found.options == expected
    assert all(f"{name} = {value}" in found.hint for name, value in expected.items())


@pytest.mark.parametrize("lines", [[], ["division by zero"], ["band B9 is not in the cube"]])
def test_failure_nobody_knows_is_not_explained(lines: list[str]) -> None:
    assert explain(lines, {}) is None


def test_links_say_when_they_end() -> None:
    assert expiry("https://h/f?expires=1700000000&x=1") == datetime.fromtimestamp(1700000000, UTC)
    assert expiry("https://h/f?X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600") == datetime(
        2026, 1, 1, 1, tzinfo=UTC
    )
    assert expiry("s3://bucket/key") is None
    assert expiry("https://h/f?expires=soon") is None
    now = datetime.fromtimestamp(1700000000, UTC)
    items = [{"assets": {"a": {"href": "https://h/f?expires=1700000000"}}}]
    assert any_expired(items, now - timedelta(minutes=1))
    assert not any_expired(items, now - timedelta(hours=1))


def test_shipped_back_ends_are_the_federation_s_and_off() -> None:
    shipped = shipped_backends()
    assert shipped.keys() >= {"cdse", "openeo-platform", "terrascope", "eodc"}
    assert all(entry.url.startswith("https://") for entry in shipped.values())


# -- a back end over HTTP --------------------------------------------------------------------------

Maker = Callable[..., Any]


@pytest.fixture
async def make_world(
    tmp_path: Path, serve: Callable[[Any], str], make_site: Callable[..., Site]
) -> AsyncIterator[Maker]:
    """Starts a world whose back end has other members."""
    made: list[World] = []

    async def make(**members: Any) -> World:
        double = Double()
        double.url = serve(double.app)
        world = World(tmp_path, make_site(openeo=[backend(double, **members)]), double, Tokens())
        await world.manager.start()
        made.append(world)
        return world

    yield make
    for world in made:
        await world.manager.stop()


async def test_back_end_says_what_it_is_once_and_not_at_every_question(make_world: Maker) -> None:
    world = await make_world()
    (state,) = await world.engine.backends()
    assert (state.online, state.version, state.logins) == (True, "openEO 1.2.0", ("hub",))
    assert state.estimates
    asked = len(world.double.requests)
    assert await world.engine.backends() == [state]
    assert len(world.double.requests) == asked


async def test_back_end_is_online_also_when_the_session_is_over(make_world: Maker) -> None:
    world = await make_world()
    world.tokens.ended = True
    (state,) = await world.engine.backends()
    assert state.online


@pytest.mark.parametrize(("login", "limits"), [(True, {"budget": 12.5}), (False, {})])
async def test_credits_that_are_left_are_the_limit_of_the_budget(
    make_world: Maker, login: bool, limits: dict[str, Any]
) -> None:
    world = await make_world()
    world.double.switches.budget = 12.5
    world.tokens.ended = not login
    (state,) = await world.engine.backends()
    assert state.online
    assert state.limits == limits


async def test_back_end_is_told_which_program_asks(make_world: Maker) -> None:
    world = await make_world()
    await world.engine.backends()
    asking = {who for _, _, path, who in world.double.requests if path == "/health"}
    assert asking == {"?cscale"}


async def test_back_end_that_is_not_well_is_not_online(make_world: Maker) -> None:
    world = await make_world()
    world.double.switches.health = 503
    (state,) = await world.engine.backends()
    assert not state.online
    assert "503" in state.problem


async def test_back_end_that_does_not_answer_is_told_and_does_not_raise(
    make_world: Maker, free_port: int
) -> None:
    world = await make_world(url=f"http://127.0.0.1:{free_port}")
    (state,) = await world.engine.backends()
    assert not state.online
    assert state.problem == "Back end cannot be reached."


async def test_back_end_without_a_list_of_versions_is_used_at_its_address(
    make_world: Maker,
) -> None:
    world = await make_world()
    world.double.switches.discovery = False
    (state,) = await world.engine.backends()
    assert not state.online  # the double's API lies below a version


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a netrc file for the double."""
    folder = tmp_path / "home"
    folder.mkdir()
    file = folder / ".netrc"
    file.write_text("machine 127.0.0.1 login ada password secret\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(folder))
    return folder


async def test_back_end_with_user_names_only_gets_the_one_of_netrc(
    make_world: Maker, home: Path
) -> None:
    world = await make_world(audience="")
    world.double.switches.logins = ("basic",)
    running, remote = await world.running()
    assert world.double.bearers[0] == "Bearer basic//u-1"
    assert world.tokens.count == 0
    world.double.switches.oldest_token = 2
    finish(remote)
    ended = await world.ended(running.id)
    assert ended.status == JobStatus.FINISHED
    assert "Bearer basic//u-2" in world.double.bearers
    assert world.double.count("GET", "/credentials/basic") == 2


async def test_login_kept_on_the_machine_is_used_and_renewed(
    make_world: Maker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_DATA_HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    world = await make_world(audience="", auth="stored")
    kept = auth.RefreshTokenStore()
    kept.set_refresh_token(f"{world.double.url}/issuer", "client", "refresh-0")
    running, remote = await world.running()
    assert world.double.bearers[0] == "Bearer oidc/egi/u-1"
    world.double.switches.oldest_token = 2
    finish(remote)
    assert (await world.ended(running.id)).status == JobStatus.FINISHED
    assert world.double.bearers[-1] == "Bearer oidc/egi/u-2"
    refreshed = kept.get_refresh_token(f"{world.double.url}/issuer", "client")
    assert refreshed == "refresh-2"


async def test_login_that_nobody_kept_is_asked_for(
    make_world: Maker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    world = await make_world(audience="", auth="stored")
    job = await world.submit()
    waiting = await world.until(job.id, lambda job: "not sent yet" in job.message)
    assert "no valid login kept" in waiting.message
    assert world.double.count("POST", "/jobs") == 0


async def test_login_that_is_kept_later_is_found_without_a_restart(
    make_world: Maker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_DATA_HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    world = await make_world(audience="", auth="stored")
    (state,) = await world.engine.backends()
    assert state.online
    job = await world.submit()
    await world.until(job.id, lambda job: "no valid login kept" in job.message)
    auth.RefreshTokenStore().set_refresh_token(f"{world.double.url}/issuer", "client", "refresh-0")
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)


async def test_user_name_that_is_missing_is_asked_for(make_world: Maker, home: Path) -> None:
    (home / ".netrc").unlink()
    assert account_of("https://h.example") is None
    world = await make_world(audience="", auth="basic")
    job = await world.submit()
    waiting = await world.until(job.id, lambda job: "not sent yet" in job.message)
    assert "no user name and password" in waiting.message
    assert world.double.count("POST", "/jobs") == 0


async def test_back_end_without_any_login_is_asked_without_one(
    make_world: Maker, home: Path
) -> None:
    (home / ".netrc").unlink()
    world = await make_world(audience="")
    world.double.switches.logins = ()
    job = await world.submit()
    told = await world.until(job.id, lambda job: job.message)
    assert "does not accept the login" in told.message
    assert set(world.double.bearers) == {""}


async def test_money_that_is_short_does_not_stop_other_jobs(make_world: Maker) -> None:
    world = await make_world()
    world.double.switches.refuse["start"] = Refusal(402, "PaymentRequired", "No credits.")
    poor = await world.submit(title="poor")
    assert (await world.ended(poor.id)).status == JobStatus.ERROR
    world.double.switches.refuse.clear()
    await world.running(title="rich")
