"""Slurm jobs when something dies: our server, the controller, the way there, the token."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_server
from slurm_server import SlurmServer
from slurm_world import World, cluster, spec

from cscale_core.jobs.engines.slurm import following, rest, submitting
from cscale_core.jobs.model import JobStatus
from cscale_core.site import Site
from tests.waiting import soon, until

pytestmark = pytest.mark.slurm
PROGRAM = 'echo $SLURM_JOB_ID >> "$CSCALE_WORK/../ran-$CSCALE_JOB_ID"; sleep 1'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOG_SECONDS", 0.2)
    monkeypatch.setattr(submitting, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(submitting, "LONGEST_SECONDS", 0.5)


@pytest.fixture(params=["ssh", "rest"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- our server is killed ------------------------------------------------------------------------

SERVER = """
import asyncio, json, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from slurm_world import PACE, Tokens, spec
from cscale_core.jobs.engines.slurm import commands, rest, ssh
from cscale_core.jobs.engines.slurm.engine import SlurmEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site

step = {step!r}
def die(*_): os.kill(os.getpid(), 9)

real_state = JobStore.set_state
def set_state(self, *given, **more):
    if step == "before it is noted": die()
    real_state(self, *given, **more)
    if step == "noted, not sent": die()
JobStore.set_state = set_state

real_update = JobStore.update
def update(self, *given, **changes):
    if step == "sent, id not noted" and changes.get("engine_id"): die()
    job = real_update(self, *given, **changes)
    if step == "id noted" and changes.get("engine_id"): die()
    if step == "running" and str(changes.get("status")) == "running": die()
    return job
JobStore.update = update

for slurm in (commands.CommandSlurm, rest.RestSlurm):
    def wrapped(real):
        async def submit(self, submission):
            if step == "while it is sent":
                asyncio.get_running_loop().call_later({delay}, die)
            return await real(self, submission)
        return submit
    slurm.submit = wrapped(slurm.submit)

async def main():
    site = Site.model_validate_json(Path({site!r}).read_text())
    engine = SlurmEngine(site, Tokens({token!r}), pace=PACE)
    store = JobStore(Path({path!r}))
    manager = JobManager(site, store, {{"slurm": engine}}, lambda job: None)
    await manager.start()
    await manager.submit(spec("bash", "-c", {program!r}), "key")
    await asyncio.sleep(60)

asyncio.run(main())
"""
STEPS = [
    ("before it is noted", 0.0),
    ("noted, not sent", 0.0),
    ("while it is sent", 0.005),
    ("while it is sent", 0.03),
    ("while it is sent", 0.1),
    ("sent, id not noted", 0.0),
    ("id noted", 0.0),
    ("running", 0.0),
]


@pytest.mark.parametrize(("step", "delay"), STEPS)
async def test_killed_server_loses_no_job_and_nothing_runs_twice(
    slurm: SlurmServer,
    tmp_path: Path,
    make_site: Callable[..., Site],
    way: str,
    step: str,
    delay: float,
) -> None:
    world = World(slurm, tmp_path, make_site, way)
    (tmp_path / "site.json").write_text(world.site.model_dump_json())
    text = SERVER.format(
        tests=str(Path(__file__).parent),
        step=step,
        delay=delay,
        site=str(tmp_path / "site.json"),
        token=world.tokens.value,
        path=str(tmp_path / "jobs.sqlite"),
        program=PROGRAM,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", text),
        # What it cannot remove lies where all is removed.
        env={**os.environ, "TMPDIR": str(slurm.folder)},
    )
    assert await process.wait() == -signal.SIGKILL
    await world.manager.start()
    (job,) = (await world.manager.changes()).jobs
    again = await world.manager.submit(spec("bash", "-c", PROGRAM), "key")
    assert again.id == job.id
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED, ended
    ran = (slurm.work / f"ran-{job.id}").read_text().split()
    assert ran == [ended.engine_id]
    assert slurm.names().count(f"cscale-{job.id}") == 1
    await world.manager.stop()


async def test_of_two_that_were_sent_one_runs_and_is_the_one_followed(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site], way: str
) -> None:
    """The first was still under way when the new server looked, and overtakes the second."""
    world = World(slurm, tmp_path, make_site, way)
    await world.manager.start()
    slurm.run("scontrol", "update", "PartitionName=short", "State=DOWN")
    try:
        job = await world.manager.submit(spec("bash", "-c", PROGRAM))
        queued = await world.until(job.id, lambda job: job.engine_id)
        script = slurm.folder / "twin.sh"
        script.write_text(world.engine.render_script(job.spec, job.id))
        twin = slurm.run("sbatch", "--parsable", "--partition=first", str(script)).strip()
        until((slurm.work / job.id / "owner").exists, "the twin's start")
    finally:
        slurm.run("scontrol", "update", "PartitionName=short", "State=UP")
    ended = await world.ended(job.id)
    assert (ended.status, ended.engine_id) == (JobStatus.FINISHED, twin)
    assert (slurm.work / f"ran-{job.id}").read_text().split() == [twin]
    assert f"job {twin} does the work; it is followed instead" in await world.log(job.id)
    assert "ExitCode=73" in slurm.run("scontrol", "show", "job", queued.engine_id)
    await world.manager.stop()


async def test_canceled_while_no_server_ran(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site], way: str
) -> None:
    world = World(slurm, tmp_path, make_site, way)
    await world.manager.start()
    job = await world.submit("sleep", "300")
    await world.running(job.id)
    await world.manager.stop()
    await asyncio.to_thread(world.manager.store.open)
    state = world.manager.store.state(job.id)
    world.manager.store.set_state(job.id, {**state, "cancel": True})
    await asyncio.to_thread(world.manager.store.close)
    await world.restart()
    assert (await world.ended(job.id)).status == JobStatus.CANCELED
    await world.manager.stop()


# -- Slurm is restarted, or forgets ---------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[SlurmServer]:
    """A Slurm that may be broken."""
    absent = slurm_server.missing_packages()
    if absent:
        pytest.skip(f"Slurm is absent: install the Debian packages {' '.join(absent)}")
    with slurm_server.running(forget=2, patience=3) as server:
        yield server


async def test_controller_restarted_in_the_middle(
    other: SlurmServer, tmp_path: Path, make_site: Callable[..., Site], way: str
) -> None:
    world = World(other, tmp_path, make_site, way)
    await world.manager.start()
    job = await world.submit("bash", "-c", "sleep 12; echo survived")
    await world.running(job.id)
    other.kill("slurmctld")
    await world.until(job.id, lambda job: "no news of the job" in job.message)
    while_away = await world.submit("echo", "patient")
    await world.until(while_away.id, lambda job: "not" in job.message)
    other.start_controller()
    for identifier, word in ((job.id, "survived"), (while_away.id, "patient")):
        ended = await world.ended(identifier)
        assert ended.status == JobStatus.FINISHED, ended
        assert word in await world.log(identifier)
    await world.manager.stop()


async def test_job_that_slurm_forgot_is_known_by_what_its_script_noted(
    other: SlurmServer, tmp_path: Path, make_site: Callable[..., Site], way: str
) -> None:
    world = World(other, tmp_path, make_site, way)
    await world.manager.start()
    well = await world.submit("bash", "-c", "sleep 1; echo well")
    badly = await world.submit("bash", "-c", "sleep 1; exit 4")
    array = await world.submit(
        "bash", "-c", 'sleep 1; [ "$0" != 2 ]', "{task}", array="1-3", memory="20M"
    )
    jobs = (well, badly, array)
    for job in jobs:
        await world.running(job.id)
    await world.manager.stop()

    def forgotten() -> bool:
        # The controller drops old jobs when it is asked to look, twice a minute by itself.
        return not other.run("squeue", "-h", "--states=all")

    await asyncio.to_thread(until, forgotten, "that all is forgotten", 120)
    await world.restart()
    assert (await world.ended(well.id)).status == JobStatus.FINISHED
    assert "well" in await world.log(well.id)
    ended = await world.ended(badly.id)
    assert ended.error is not None
    assert ended.error.message == "The job failed with exit code 4."
    ended = await world.ended(array.id)
    assert ended.error is not None
    assert ended.error.message.startswith("1 of 3 tasks failed. Task 2")
    await world.manager.stop()


async def test_job_that_nobody_knows_is_lost(
    other: SlurmServer,
    tmp_path: Path,
    make_site: Callable[..., Site],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LOST_SECONDS", 1.0)
    world = World(other, tmp_path, make_site, way)
    await world.manager.start()
    job = await world.submit("bash", "-c", "echo $PPID $$ > ../pids-$CSCALE_JOB_ID; exec sleep 300")
    running = await world.running(job.id)
    noted = other.work / f"pids-{job.id}"
    pids = await soon(noted.read_text, "its processes", despite=FileNotFoundError)
    for name in ("slurmctld", "slurmd"):
        other.kill(name, signal.SIGKILL)
    # A new controller ends jobs that it does not know, and then the script may leave its word.
    for pid in pids.split():
        os.kill(int(pid), signal.SIGKILL)
    shutil.rmtree(other.folder / "state")
    (other.folder / "state").mkdir()
    other.start_controller()
    other.start_node()
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.LOST
    assert ended.error is not None
    assert running.engine_id in ended.error.message
    assert str(other.work / job.id) in ended.error.hint
    await world.manager.stop()


# -- the way there --------------------------------------------------------------------------------


async def first_error(world: World, **options: Any) -> dict[str, Any]:
    await world.manager.start()
    job = await world.submit("true", **options)
    ended = await world.ended(job.id)
    await world.manager.stop()
    assert ended.error is not None
    assert f"cscale-{job.id}" not in world.server.names()
    return ended.error.model_dump()


async def test_host_key_that_is_not_the_known_one_ends_it(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    for name in ("wrong_hosts", "no_hosts"):
        hosts = str(slurm.folder / name)
        world = World(slurm, tmp_path / name, make_site, known_hosts=hosts)
        error = await first_error(world)
        assert error["code"] == "forbidden"
        assert "host key" in error["message"]
        assert "Nothing was sent" in error["hint"]


async def test_key_that_is_not_accepted_ends_it(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    key = str(slurm.folder / "other_key")
    error = await first_error(World(slurm, tmp_path, make_site, identity_file=key))
    assert error["code"] == "login_required"
    assert "does not accept your key" in error["message"]


@pytest.mark.parametrize("way", ["ssh", "rest", "socket"])
async def test_cluster_that_is_away_is_waited_for_and_can_be_given_up(
    slurm: SlurmServer,
    tmp_path: Path,
    make_site: Callable[..., Site],
    free_port: int,
    way: str,
) -> None:
    away = {
        "ssh": {"port": free_port},
        "rest": {"url": f"http://127.0.0.1:{free_port}"},
        "socket": {"url": f"unix:{slurm.folder}/nothing"},
    }
    world = World(slurm, tmp_path, make_site, way, **away[way])
    await world.manager.start()
    job = await world.submit("true")
    seen = await world.until(job.id, lambda job: "cannot be reached" in job.message)
    assert seen.status == JobStatus.CREATED
    monkey = submitting.CANCEL_SECONDS
    submitting.CANCEL_SECONDS = 0.5
    try:
        await world.manager.cancel(job.id)
        ended = await world.ended(job.id)
    finally:
        submitting.CANCEL_SECONDS = monkey
    # Whether an attempt got through cannot be known before it answers.
    assert ended.status in (JobStatus.CANCELED, JobStatus.LOST)
    await world.manager.stop()


def expired_token(slurm: SlurmServer) -> str:
    token = slurm.run("scontrol", "token", "lifespan=1").strip().removeprefix("SLURM_JWT=")
    until(lambda: rest.expired(token), "the end of a token")
    # In the very second of its end Slurm takes it yet.
    time.sleep(1.5)
    return token


async def test_expired_token_is_renewed(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    world = World(slurm, tmp_path, make_site, "rest")
    world.tokens.next, world.tokens.value = world.tokens.value, expired_token(slurm)
    await world.manager.start()
    job = await world.submit("true")
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    assert world.tokens.forgotten == 1
    await world.manager.stop()


async def test_token_that_is_never_good_is_told_and_the_job_waits(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    world = World(slurm, tmp_path, make_site, "rest")
    good, world.tokens.next = world.tokens.value, "bad"
    world.tokens.value = "bad"
    await world.manager.start()
    job = await world.submit("true")
    await world.until(job.id, lambda job: "does not accept the token" in job.message)
    world.tokens.value = world.tokens.next = good
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    await world.manager.stop()


async def test_token_from_a_file_is_read_anew_at_each_request(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    file = tmp_path / "token"
    world = World(slurm, tmp_path, make_site, "rest", audience="", token_file=str(file))
    error = await first_error(world)
    assert error["code"] == "login_required"
    assert str(file) in error["hint"]
    file.write_text(f"SLURM_JWT={slurm.token()}\n")
    world.manager = world.new_manager()
    await world.manager.start()
    job = await world.submit("sleep", "1.5")
    await world.running(job.id)
    file.write_text(expired_token(slurm))
    await world.until(job.id, lambda job: "does not accept the token" in job.message)
    file.write_text(slurm.token())
    assert (await world.ended(job.id)).status == JobStatus.FINISHED
    await world.manager.stop()


async def test_cluster_whose_files_are_not_seen_says_so_once(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    world = World(slurm, tmp_path, make_site, "rest", local_folder="")
    await world.manager.start()
    job = await world.submit("echo", "unseen")
    ended = await world.ended(job.id)
    assert ended.status == JobStatus.FINISHED
    said = [line for line in await world.log(job.id) if "not seen from here" in line]
    assert len(said) == 1
    await world.manager.stop()


async def test_way_is_one_connection_and_nothing_is_left_of_it(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    world = World(slurm, tmp_path, make_site, "ssh")
    before = slurm.log("sshd").count("Accepted publickey")
    await world.manager.start()
    job = await world.submit("sleep", "1")
    await world.ended(job.id)
    ssh = next(iter(world.engine._clusters.values())).files._ssh  # type: ignore[attr-defined]
    sockets = ssh._sockets
    assert list(sockets.iterdir())
    await world.manager.stop()
    assert slurm.log("sshd").count("Accepted publickey") - before <= 3
    assert not sockets.exists()


async def test_no_secret_is_in_the_script_or_the_arguments_of_ssh(
    slurm: SlurmServer, tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    world = World(slurm, tmp_path, make_site, "rest")
    await world.manager.start()
    job = await world.submit("true")
    await world.ended(job.id)
    said = json.dumps(await world.log(job.id))
    assert world.tokens.value not in said
    assert world.tokens.value not in world.site.model_dump_json()
    assert cluster(slurm, "rest") == world.site.slurm[0]
    await world.manager.stop()
