"""``map_jobs``: limits, several back ends, retries, and going on after a kill."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from cscale_core.client import Jobs, JobSpec, NotEnded, map_jobs
from cscale_core.client.areas import Tile
from cscale_core.errors import Conflict, InvalidInput, UpstreamError
from tests.core.client.played_server import ROOT, PlayedServer, play
from tests.core.client.server_process import TOKEN
from tests.waiting import until

AREA = [0.0, 40.0, 2.0, 41.0]
Build = Callable[[Tile], JobSpec]


def builder(**what: Any) -> Build:
    return lambda tile: JobSpec(engine="openeo", process=play(tile=tile.id, **what))


def of(jobs: Jobs, name: str) -> list[str]:
    return sorted(job.title.removeprefix(f"{name}: ") for job in jobs.list(search=f"{name}: "))


def test_every_part_has_a_job_with_its_area_and_results(jobs: Jobs) -> None:
    mapped = map_jobs(
        builder(), AREA, grid=1, name="Whole", period="2024-01-01/2024-02-01", jobs=jobs
    )
    assert mapped.ended
    assert [state.id for state in mapped.tiles] == ["N40E0", "N40E1"]
    spec = mapped["N40E1"].job.spec  # type: ignore[union-attr]
    assert spec.title == "Whole: N40E1"
    assert spec.period == "2024-01-01/2024-02-01"
    assert spec.area is not None
    assert spec.area["type"] == "Polygon"
    assert mapped.results().keys() == {"N40E0", "N40E1"}
    assert mapped.failed == []
    assert "2 finished" in repr(mapped)


def test_no_more_than_the_limit_is_open_at_each_back_end_and_both_are_used(
    jobs: Jobs, server: PlayedServer
) -> None:
    mapped = map_jobs(
        builder(hold="limits"),
        AREA,
        grid=0.25,
        name="Limits",
        backends=["near", "far"],
        parallel={"near": 2, "far": 1},
        jobs=jobs,
        wait=False,
    )
    assert of(jobs, "Limits") == []
    with pytest.raises(NotEnded):
        mapped.wait(2, progress=False)
    places = [job.backend for job in jobs.list(search="Limits: ")]
    assert sorted(places) == ["far", "near", "near"]
    server.release("limits")
    mapped.wait(120, progress=False)
    assert len(of(jobs, "Limits")) == len(mapped.finished) == 32


def test_what_fails_is_repeated_as_a_clone_with_what_was_suggested(jobs: Jobs) -> None:
    mapped = map_jobs(builder(fails=2), AREA, grid=2, name="Again", jobs=jobs, progress=False)
    (state,) = mapped.tiles
    assert (state.status, state.tries) == ("finished", 3)
    assert of(jobs, "Again") == ["N40E0", "N40E0 (try 2)", "N40E0 (try 3)"]
    assert state.job is not None
    assert state.job.spec.options == {"memory": 2}
    assert state.job.cloned_from == jobs.list(search="Again: N40E0 (try 2)")[0].id


def test_what_fails_for_good_is_named_and_can_be_tried_again(jobs: Jobs) -> None:
    mapped = map_jobs(
        builder(breaks="internal"), AREA, grid=2, name="Hopeless", retries=1, jobs=jobs
    )
    (state,) = mapped.failed
    assert state.status == "error"
    assert "for good" in state.why
    assert "tried 2 times" in state.why
    assert mapped.results() == {}
    mapped.retry(progress=False)
    assert mapped.tiles[0].tries == 4
    assert len(of(jobs, "Hopeless")) == 4


def test_a_back_end_that_is_down_or_refuses_is_left_out_and_said(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    mapped = map_jobs(
        builder(refuse_at="far"),
        AREA,
        grid=1,
        name="Partly",
        backends=["down", "far", "near"],
        jobs=jobs,
    )
    assert {job.backend for job in jobs.list(search="Partly: ")} == {"near"}
    assert len(mapped.finished) == 2
    assert sorted(mapped.notes) == [
        "down is left out: It is being repaired.",
        "far is left out: You may not use far.",
    ]
    assert "It is being repaired." in capsys.readouterr().err


def test_when_no_back_end_is_left_it_is_an_error_that_names_them(jobs: Jobs) -> None:
    with pytest.raises(UpstreamError, match=r"down: It is being repaired\."):
        map_jobs(builder(), AREA, grid=2, name="Nowhere", backends=["down"], jobs=jobs)
    with pytest.raises(InvalidInput, match="no back end mars"):
        map_jobs(builder(), AREA, grid=2, name="Nowhere", backends=["mars"], jobs=jobs)


def test_a_failure_of_the_back_end_goes_to_another_one(jobs: Jobs) -> None:
    mapped = map_jobs(
        builder(breaks="upstream_error"),
        AREA,
        grid=2,
        name="Elsewhere",
        backends=["near", "far"],
        retries=1,
        jobs=jobs,
        progress=False,
    )
    assert mapped.failed
    assert {job.backend for job in jobs.list(search="Elsewhere: ")} == {"near", "far"}


def test_a_part_that_cannot_be_right_costs_the_others_nothing(jobs: Jobs) -> None:
    def build(tile: Tile) -> JobSpec:
        return JobSpec(engine="openeo", process=play(invalid=tile.id == "N40E0"))

    mapped = map_jobs(build, AREA, grid=1, name="One wrong", jobs=jobs, progress=False)
    assert [state.id for state in mapped.failed] == ["N40E0"]
    assert [state.id for state in mapped.finished] == ["N40E1"]


def test_asked_again_nothing_is_computed_again_and_another_computation_is_refused(
    jobs: Jobs,
) -> None:
    first = map_jobs(builder(), AREA, grid=1, name="Resumed", jobs=jobs, progress=False)
    again = map_jobs(builder(), AREA, grid=1, name="Resumed", jobs=jobs, progress=False)
    assert [state.job for state in again.tiles] == [state.job for state in first.tiles]
    assert len(of(jobs, "Resumed")) == 2
    # A larger area: only what is new.
    wider = [0.0, 40.0, 3.0, 41.0]
    map_jobs(builder(), wider, grid=1, name="Resumed", jobs=jobs, progress=False)
    assert of(jobs, "Resumed") == ["N40E0", "N40E1", "N40E2"]
    with pytest.raises(Conflict, match="something else"):
        map_jobs(builder(says=["new"]), AREA, grid=1, name="Resumed", jobs=jobs, progress=False)
    with pytest.raises(Conflict, match="already"):
        map_jobs(builder(), AREA, grid=1, name="Resumed", jobs=jobs, resume=False)


def test_a_job_canceled_or_deleted_elsewhere_is_not_repeated(
    jobs: Jobs, server: PlayedServer
) -> None:
    mapped = map_jobs(builder(hold="never"), AREA, grid=1, name="Stopped", jobs=jobs, wait=False)
    with pytest.raises(NotEnded):
        mapped.wait(1, progress=False)
    for job in server.workspace().jobs.list(search="Stopped: "):
        job.cancel()
    mapped.wait(30, progress=False)
    assert {state.why for state in mapped.failed} == {"its job was canceled"}
    assert len(of(jobs, "Stopped")) == 2


async def test_a_map_can_be_awaited(jobs: Jobs) -> None:
    mapped = map_jobs(builder(), AREA, grid=1, name="Awaited map", jobs=jobs, wait=False)
    assert (await mapped).ended
    assert await asyncio.gather(mapped)


SCRIPT = """
    import sys
    import httpx
    from cscale_core.client import JobSpec, Workspace, map_jobs

    http = httpx.Client(headers={"Authorization": "token " + sys.argv[2]}, trust_env=False)

    def build(tile):
        graph = {"one": {"process_id": "add", "arguments": {}, "result": True}}
        play = {"hold": sys.argv[3], "tile": tile.id}
        return JobSpec(engine="openeo", process={"process_graph": graph, "play": play})

    mapped = map_jobs(build, [0, 40, 2, 41], grid=0.5, name=sys.argv[3], backends=["near", "far"],
                      parallel=3, jobs=Workspace(sys.argv[1], http).jobs)
    print(len(mapped.finished))
"""


def started(server: PlayedServer, name: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(SCRIPT)
    return subprocess.Popen(
        [sys.executable, "-c", script, server.url, TOKEN, name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_in_the_middle_it_goes_on_and_submits_nothing_twice(
    jobs: Jobs, server: PlayedServer
) -> None:
    first = started(server, "Killed")
    until(lambda: len(of(jobs, "Killed")) >= 3, "the third job", pause=0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = of(jobs, "Killed")
    server.release("Killed")
    second = started(server, "Killed")
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.split() == ["8"]
    after = of(jobs, "Killed")
    assert set(before) <= set(after)
    assert len(after) == len(set(after)) == 8


def test_interrupted_its_jobs_go_on_and_it_says_so(jobs: Jobs, server: PlayedServer) -> None:
    process = started(server, "Interrupted")
    until(lambda: len(of(jobs, "Interrupted")) == 6, "the sixth job", pause=0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Its jobs go on" in err
    assert {str(job.status) for job in jobs.list(search="Interrupted: ")} <= {"queued", "running"}
    server.release("Interrupted")
