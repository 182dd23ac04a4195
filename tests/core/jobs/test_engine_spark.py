"""Spark jobs with a spark-submit of a few shell lines: life, restart, cancel, ends of all kinds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cscale_core.errors import InvalidInput
from cscale_core.jobs import spark_submit
from cscale_core.jobs.engines.spark import SparkEngine, results
from cscale_core.jobs.engines.spark.local import running as engine_module
from cscale_core.jobs.engines.spark.output import log_entries
from cscale_core.jobs.engines.spark.results import Left
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus
from cscale_core.jobs.spark_submit import SparkProcess
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from cscale_core.workflows.applications import Application
from tests.waiting import soon

SUBMIT = f"""#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in --*) shift 2 ;; *) break ;; esac
done
exec {sys.executable} "$@"
"""
HEAD = """
import json, sys, time
from pathlib import Path
here = Path(sys.argv[2]).parent
asked = json.loads(Path(sys.argv[2]).read_text())
def say(message, level="info"):
    print(json.dumps({"time": "2026-01-01T00:00:00+00:00", "level": level, "message": message}),
          flush=True)
def progress(done, total):
    (here / ".p").write_text(json.dumps({"done": done, "total": total, "message": "tiles"}))
    (here / ".p").rename(here / "progress.json")
def items():
    item = {"id": "r", "assets": {"a": {"href": asked["output"] + "a.tif"}}}
    (here / "items.json").write_text(json.dumps({"features": [item]}))
"""


class Arguments(BaseModel):
    """What the test's application takes."""

    count: int = 3
    items: list[dict[str, Any]] = []


class World:
    """A manager with the Spark engine and one application."""

    def __init__(self, tmp_path: Path, site: Site) -> None:
        self.tmp_path = tmp_path
        self.site = site
        self.main = tmp_path / "application.py"
        self.engine = self.new_engine()
        self.manager = self.new_manager()

    def new_engine(self) -> SparkEngine:
        applications = {"test": Application("test", "Test", self.main, Arguments)}
        return SparkEngine(
            self.site,
            self.tmp_path / "spark",
            ui_base="/user/u/proxy/{port}",
            applications=applications,
        )

    def new_manager(self) -> JobManager:
        self.engine = self.new_engine()
        store = JobStore(self.tmp_path / "jobs.sqlite")
        return JobManager(self.site, store, {"spark": self.engine}, lambda job: None)

    def program(self, body: str) -> None:
        self.main.write_text(HEAD + textwrap.dedent(body))

    async def restart(self) -> None:
        await self.manager.stop()
        self.manager = self.new_manager()
        await self.manager.start()

    async def until(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        return await soon(
            lambda: self.manager.get(job_id), f"what is awaited of {job_id}", fits=condition
        )

    async def ended(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.ended)


@pytest.fixture
async def world(
    tmp_path: Path, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    submit = home / "bin" / "spark-submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    monkeypatch.setattr(spark_submit, "spark_home", lambda: home)
    monkeypatch.setattr(spark_submit, "find_java", lambda: Path("/none/bin/java"))
    monkeypatch.setattr(engine_module, "LOOK_SECONDS", 0.05)
    made = World(tmp_path, make_site())
    await made.manager.start()
    yield made
    await made.manager.stop()
    for folder in (tmp_path / "spark").glob("*"):
        if (folder / "pid").exists():
            SparkProcess.attach(folder).terminate(grace=1)


def spec(**changes: Any) -> JobSpec:
    process = {"application": "test", "arguments": {}}
    return JobSpec.model_validate({"engine": "spark", "process": process, **changes})


async def test_application_runs_to_its_result_item(world: World) -> None:
    world.program("say('hello'); progress(1, 4); time.sleep(0.4); items()")
    job = await world.manager.submit(spec())
    assert job.spec.title == "Test"
    assert job.spec.process["arguments"]["count"] == 3
    seen = await world.until(job.id, lambda job: job.progress == 0.25)
    assert seen.ui_path.startswith("/user/u/proxy/")
    assert seen.ui_path.endswith("/jobs/")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    assert ended.ui_path == ""
    href = ended.results[0]["assets"]["a"]["href"]
    assert href == f"s3://vobucket/users/utest/jobs/{job.id}/a.tif"
    lines = await world.manager.logs(job.id)
    assert [line.message for line in lines].count("hello") == 1


async def test_restarted_server_finds_the_application_running(world: World) -> None:
    world.program(
        "say('one'); time.sleep(0.5)\n"
        "while not (here / 'go').exists(): time.sleep(0.02)\n"
        "say('two'); items()"
    )
    job = await world.manager.submit(spec())
    running = await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    pid = running.engine_id
    await world.restart()
    (world.engine.local.work_dir(job.id) / "go").touch()
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    assert ended.engine_id == pid
    said = [line.message for line in await world.manager.logs(job.id)]
    assert said.count("one") == said.count("two") == 1
    assert any("found running" in message for message in said)


async def test_application_that_ended_while_no_server_ran_is_still_a_result(
    world: World,
) -> None:
    world.program("time.sleep(0.3); say('late'); items()")
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.stop()
    process = SparkProcess.attach(world.engine.local.work_dir(job.id))
    await soon(process.poll, "the end", 240, fits=lambda status: status is not None)
    world.manager = world.new_manager()
    await world.manager.start()
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert "late" in [line.message for line in await world.manager.logs(job.id)]


async def test_application_that_vanished_is_lost_with_an_explanation(world: World) -> None:
    world.program("say('up'); time.sleep(60)")
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    await world.manager.stop()
    os.killpg(SparkProcess.attach(world.engine.local.work_dir(job.id)).pid, signal.SIGKILL)
    world.manager = world.new_manager()
    await world.manager.start()
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.LOST
    assert ended.error is not None
    assert "Submit the job again" in ended.error.hint


async def test_error_the_application_wrote_is_the_jobs(world: World) -> None:
    world.program("""
        (here / "error.json").write_text(json.dumps(
            {"code": "damaged_data", "message": "a.tif is cut", "hint": "stage again",
             "retryable": False}))
        sys.exit(1)
    """)
    ended = await world.ended((await world.manager.submit(spec())).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert (ended.error.code, ended.error.hint) == ("damaged_data", "stage again")


async def test_application_that_crashes_leaves_its_log(world: World) -> None:
    world.program("raise SystemError('deep')")
    ended = await world.ended((await world.manager.submit(spec())).id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert "status 1" in ended.error.message
    lines = await world.manager.logs(ended.id)
    assert any("SystemError: deep" in line.message for line in lines)


async def test_cancel_stops_the_application(world: World) -> None:
    world.program("say('up'); time.sleep(60)")
    job = await world.manager.submit(spec())
    await world.until(job.id, lambda job: job.status == JobStatus.RUNNING)
    process = SparkProcess.attach(world.engine.local.work_dir(job.id))
    await world.manager.cancel(job.id)
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    assert process.poll() is not None
    assert process._members() == []


async def test_second_application_waits_and_can_be_canceled_while_it_waits(world: World) -> None:
    world.program("time.sleep(60)")
    one = await world.manager.submit(spec())
    await world.until(one.id, lambda job: job.status == JobStatus.RUNNING)
    two = await world.manager.submit(spec())
    await world.until(two.id, lambda job: job.status == JobStatus.QUEUED)
    await world.manager.cancel(two.id)
    assert (await world.ended(two.id)).status == JobStatus.CANCELED
    assert not world.engine.local.work_dir(two.id).exists()
    three = await world.manager.submit(spec())
    await world.manager.cancel(one.id)
    await world.ended(one.id)
    await world.until(three.id, lambda job: job.status == JobStatus.RUNNING)


async def test_work_folder_goes_with_the_job(world: World) -> None:
    world.program("items()")
    job = await world.manager.submit(spec())
    await world.ended(job.id)
    assert world.engine.local.work_dir(job.id).exists()
    await asyncio.sleep(0.1)
    await world.manager.delete(job.id)
    assert not world.engine.local.work_dir(job.id).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"process": {"application": "none"}}, "Known: test"),
        ({"process": {"application": "test", "arguments": {"count": "x"}}}, "count"),
        ({"process": {"application": "test", "argument": {}}}, "argument"),
        ({"vo": "other.example.eu"}, "other.example.eu"),
    ],
)
async def test_job_that_makes_no_sense_is_refused_before_anything_starts(
    world: World, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await world.manager.submit(spec(**changes))
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert (await world.manager.changes()).jobs == []


async def test_inputs_are_noted_with_their_checksums(world: World) -> None:
    world.program("items()")
    item = {
        "id": "a",
        "collection": "c",
        "assets": {"B": {"href": "s3://x/y", "file:checksum": "1"}},
    }
    process = {"application": "test", "arguments": {"items": [item]}}
    job = await world.manager.submit(spec(process=process))
    noted = {"B": {"href": "s3://x/y", "checksum": "1"}}
    assert job.spec.inputs == [{"id": "a", "collection": "c", "assets": noted}]
    await world.ended(job.id)


def test_output_of_an_application_becomes_log_lines() -> None:
    entries = log_entries(
        '{"time": "2026-01-01T00:00:00+00:00", "level": "warning", "message": "own"}\n'
        "2026-01-01T00:00:00 WARN TaskSetManager: slow\n"
        "2026-01-01T00:00:00 ERROR Executor: bad\n"
        "Traceback (most recent call last):\n"
        "  File main.py, line 3\n"
        "pyspark.errors.AnalysisException: no such column\n"
        '{"not": "ours"}\n'
        "Tile 3 of 4\n"
        " 50 %\r100 %\n"
        "\n"
    )
    assert [(level, message) for _, level, message in entries] == [
        ("warning", "own"),
        ("warning", "TaskSetManager: slow"),
        ("error", "Executor: bad"),
        ("debug", "Traceback (most recent call last):"),
        ("debug", "  File main.py, line 3"),
        ("error", "pyspark.errors.AnalysisException: no such column"),
        ("debug", '{"not": "ours"}'),
        ("info", "Tile 3 of 4"),
        ("debug", " 50 %\r100 %"),
    ]


# -- programs of one's own -----------------------------------------------------------------------

PROGRAM = """
import json, os, sys, time
from pathlib import Path
Path(sys.argv[1], "r.txt").write_text(" ".join(sys.argv[2:]))
Path(sys.argv[1], "_SUCCESS").touch()
print(os.environ["LEVEL"], json.loads(Path(os.environ["CSCALE_INPUTS"]).read_text()))
"""


def left(work: Any, site: Site, folder: Path, report: Any) -> Left:
    """What of_folder would bring to a bucket, which is tried on a real one elsewhere."""
    assets = {path.name: {"href": work.output + path.name} for path in results._files(folder)}
    return Left([{"id": "r", "assets": assets}])


async def test_program_of_ones_own_leaves_its_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "of_folder", left)
    main = world.tmp_path / "mine.py"
    main.write_text(PROGRAM)
    item = {"id": "a", "assets": {"B": {"href": "s3://vobucket/x"}}}
    process = {
        "main": str(main),
        "arguments": ["{output}", "--in=/home/test/s3/vobucket/x"],
        "environment": {"LEVEL": "level-3"},
    }
    output = "s3://vobucket/products/mine"
    job = await world.manager.submit(spec(process=process, inputs=[item], output=output))
    assert job.spec.title == "mine.py"
    assert job.spec.backend == "local"
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    assert ended.results[0]["assets"] == {"r.txt": {"href": f"{output}/r.txt"}}
    written = world.engine.local.work_dir(job.id) / "output" / "r.txt"
    assert written.read_text() == "--in=s3://vobucket/x"
    said = [line.message for line in await world.manager.logs(job.id)]
    assert any("level-3" in line and "'id': 'a'" in line for line in said)


async def test_program_that_is_not_there_is_said(world: World) -> None:
    ended = await world.ended((await world.manager.submit(spec(process={"main": "/no.py"}))).id)
    assert ended.error is not None
    assert "There is no file /no.py" in ended.error.message


async def test_time_limit_ends_the_application(world: World) -> None:
    world.program("say('up'); time.sleep(60)")
    job = await world.manager.submit(spec(options={"time_limit": "0:00:01"}))
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.ERROR
    assert ended.error is not None
    assert ended.error.code == "time_limit"


async def test_what_spark_is_given(world: World, tmp_path: Path) -> None:
    submit = tmp_path / "home" / "bin" / "spark-submit"
    submit.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\nexit 7\n')
    for name in ("a.py", "b.zip", "c.jar"):
        (tmp_path / name).touch()
    process = {
        "main": str(tmp_path / "a.py"),
        "py_files": [str(tmp_path / "b.zip")],
        "jars": [str(tmp_path / "c.jar")],
        "packages": ["org.example:x:1"],
    }
    conf = {"spark.sql.shuffle.partitions": "9"}
    options = {"driver_memory": "2g", "conf": conf}
    ended = await world.ended(
        (await world.manager.submit(spec(process=process, options=options))).id
    )
    assert ended.error is not None
    given = (tmp_path / "given").read_text().splitlines()
    for option, value in (
        ("--driver-memory", "2g"),
        ("--py-files", str(tmp_path / "b.zip")),
        ("--jars", str(tmp_path / "c.jar")),
        ("--packages", "org.example:x:1"),
    ):
        assert given[given.index(option) + 1] == value
    assert "spark.sql.shuffle.partitions=9" in given
    assert given[-1] == str(tmp_path / "a.py")


async def test_packages_without_a_repository_are_explained(world: World, tmp_path: Path) -> None:
    submit = tmp_path / "home" / "bin" / "spark-submit"
    submit.write_text("#!/bin/sh\necho ':: UNRESOLVED DEPENDENCIES ::'\nexit 1\n")
    (tmp_path / "a.py").touch()
    process = {"main": str(tmp_path / "a.py"), "packages": ["org.example:x:1"]}
    ended = await world.ended((await world.manager.submit(spec(process=process))).id)
    assert ended.error is not None
    assert ended.error.code == "packages_not_found"
