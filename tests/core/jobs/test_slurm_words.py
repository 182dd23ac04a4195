"""What Slurm and ssh say, in our words: states, reasons, records of each API, errors."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.jobs.engines.slurm import commands, ssh
from cscale_core.jobs.engines.slurm.logs import log_entries
from cscale_core.jobs.engines.slurm.options import resources
from cscale_core.jobs.engines.slurm.rest import RestSlurm, accounted_task, expired, task_of
from cscale_core.jobs.engines.slurm.states import (
    STATES,
    Task,
    explained,
    hopeless,
    state_word,
    together,
    waiting,
)
from cscale_core.jobs.model import JobStatus

REST = SlurmCluster(
    id="r", title="R", kind="rest", url="http://127.0.0.1:9", audience="slurm", folder="/w"
)
SSH = SlurmCluster(id="s", title="S", kind="ssh", host="login", folder="/w")

# JOB STATE CODES of squeue(1) in 22.05, and what sacct(1) and the REST API have beside them.
DOCUMENTED = """
    BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY
    PENDING PREEMPTED RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED
    SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT
    LAUNCH_FAILED RECONFIG_FAIL POWER_UP_NODE POWER_DOWN_NODE UPDATE_DB EXPEDITING
""".split()  # noqa: SIM905 - thirty names, one a line, would hide the list


def test_every_documented_state_is_known() -> None:
    assert set(DOCUMENTED) == set(STATES)


@pytest.mark.parametrize(
    ("said", "word", "status"),
    [
        ("RUNNING", "RUNNING", JobStatus.RUNNING),
        ("CANCELLED by 1000", "CANCELLED", JobStatus.CANCELED),
        ("CANCELLED+", "CANCELLED", JobStatus.CANCELED),
        (["COMPLETED"], "COMPLETED", JobStatus.FINISHED),
        (["COMPLETED", "COMPLETING"], "COMPLETING", JobStatus.RUNNING),
        (["NODE_FAIL", "REQUEUED"], "REQUEUED", JobStatus.QUEUED),
        (["FAILED", "LAUNCH_FAILED"], "LAUNCH_FAILED", JobStatus.ERROR),
        (["PENDING", "REQUEUE_HOLD"], "REQUEUE_HOLD", JobStatus.QUEUED),
        ("SOMETHING_NEW", "SOMETHING_NEW", JobStatus.RUNNING),
        ([], "", JobStatus.RUNNING),
    ],
)
def test_words_of_every_source_are_read(
    said: str | list[str], word: str, status: JobStatus
) -> None:
    assert state_word(said) == word
    assert Task("1", word).status == status


def tasks(*states: str) -> list[Task]:
    return [Task("1", state, index=number) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["PENDING"], JobStatus.QUEUED),
        (["PENDING", "RUNNING"], JobStatus.RUNNING),
        (["PENDING", "COMPLETED"], JobStatus.RUNNING),
        (["SUSPENDED", "COMPLETED"], JobStatus.PAUSED),
        (["COMPLETED", "COMPLETED"], JobStatus.FINISHED),
        (["COMPLETED", "FAILED", "CANCELLED"], JobStatus.ERROR),
        (["COMPLETED", "CANCELLED"], JobStatus.CANCELED),
    ],
)
def test_status_of_an_array(states: list[str], status: JobStatus) -> None:
    assert together(tasks(*states)) == status


def test_reasons_to_wait_are_said_in_words() -> None:
    def words(reason: str) -> str:
        return waiting(Task("1", "PENDING", reason=reason))

    assert words("None") == "waiting in the queue"
    assert words("Resources") == "waiting for free resources"
    assert words("ReqNodeNotAvail, UnavailableNodes:n[1-2]").startswith("the nodes it needs")
    assert words("QOSMaxCpuPerUserLimit") == "its quality of service has reached a limit"
    assert "cancel it" in words("PartitionTimeLimit")
    assert "scontrol release" in words("launch_failed_requeued_held")
    assert words("launch_failed_requeued_held") == words("launch failed requeued held")
    assert words("SomethingNew") == "waiting in the queue (SomethingNew)"


def test_dependency_that_never_comes_about_is_seen() -> None:
    assert hopeless([Task("1", "PENDING", reason="DependencyNeverSatisfied")])
    assert not hopeless([Task("1", "PENDING", reason="Dependency")])


@pytest.mark.parametrize(
    ("task", "output", "code", "words"),
    [
        (Task("1", "OUT_OF_MEMORY"), "", "out_of_memory", "memory"),
        (Task("1", "FAILED", exit_code=137), "oom-kill event", "out_of_memory", "memory"),
        (Task("1", "FAILED", exit_code=1), "MemoryError\n", "out_of_memory", "memory"),
        (Task("1", "TIMEOUT"), "", "time_limit", "time"),
        (Task("1", "DEADLINE"), "", "time_limit", "deadline"),
        (Task("1", "NODE_FAIL", nodes="n7"), "", "node_failed", "n7"),
        (Task("1", "BOOT_FAIL"), "", "node_failed", "started"),
        (Task("1", "PREEMPTED"), "", "preempted", "priority"),
        (Task("1", "FAILED", exit_code=127), "", "failed", "program that is not there"),
        (Task("1", "FAILED", exit_code=75), "", "failed", "modules"),
        (Task("1", "FAILED", exit_code=74), "", "failed", "folder"),
        (Task("1", "FAILED", exit_code=76), "", "failed", "Apptainer"),
        (Task("1", "FAILED", exit_code=0, signal=11), "", "failed", "signal 11"),
        (Task("1", "FAILED", exit_code=0, signal=9), "", "failed", "killed"),
        (Task("1", "FAILED", index=4, exit_code=2), "", "failed", "Task 4"),
    ],
)
def test_every_end_says_what_to_change(task: Task, output: str, code: str, words: str) -> None:
    error = explained(task, resources({"memory": "1G", "time": 5}), output)
    assert error.code == code
    assert words in error.message
    assert error.hint


# -- what the commands print --------------------------------------------------------------------


def test_lines_of_squeue() -> None:
    text = (
        "7|3|PENDING|0|N/A|N/A||cscale-j|Resources|\n"
        "7|1|FAILED|512|1795224659|1795224661|n1|cscale-j|NonZeroExitCode|\n"
        "8|N/A|FAILED|9|1795224659|1795224661|n[1-2]|x|None|\n"
        "slurm_load_jobs warning\n"
    )
    waits, failed, killed = commands.queued_tasks(text)
    assert (waits.slurm_id, waits.index, waits.state, waits.reason) == (
        "7",
        3,
        "PENDING",
        "Resources",
    )
    assert (failed.exit_code, failed.signal) == (2, 0)
    assert failed.ended == datetime(2026, 11, 21, 1, 31, 1, tzinfo=UTC)
    assert (killed.index, killed.exit_code, killed.signal, killed.nodes) == (None, 0, 9, "n[1-2]")


def test_lines_of_sacct() -> None:
    text = (
        "7_1|cscale-j|COMPLETED|0:0|1795224659|1795224779|120|01:02.500||n1|None\n"
        "7_1.batch|batch|COMPLETED|0:0|1795224659|1795224779|120|01:02.500|2048K|n1|\n"
        "7_1.extern|extern|COMPLETED|0:0|1795224659|1795224779|120|00:00:00|1.5M|n1|\n"
        "7_[2-3]|cscale-j|PENDING|0:0|Unknown|Unknown|0|00:00:00||None assigned|Resources\n"
        "9|x|CANCELLED by 1000|0:15|1795224659|1795224661|2|1-00:00:01||n1|None\n"
    )
    done, canceled = commands.accounted_tasks(text)
    assert (done.slurm_id, done.index, done.state) == ("7", 1, "COMPLETED")
    assert (done.seconds, done.cpu_seconds, done.memory) == (120.0, 62.5, 2048 * 1024)
    assert (canceled.state, canceled.signal, canceled.cpu_seconds) == ("CANCELLED", 15, 86401.0)


@pytest.mark.parametrize(
    ("said", "code", "kind", "retryable"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name", 1, InvalidInput, 0),
        (
            "sbatch: error: Unable to contact slurm controller (connect failure)",
            1,
            UpstreamError,
            1,
        ),
        ("sbatch: error: Socket timed out on send/recv operation", 1, UpstreamTimeout, 1),
        ("the script did not arrive whole", 75, UpstreamError, 1),
        ("scancel: error: Access/permission denied", 1, Forbidden, 0),
        ("sh: 1: squeue: not found", 127, UpstreamError, 0),
        ("mkdir: cannot create directory: No space left on device", 1, InvalidInput, 0),
    ],
)
def test_refusals_of_the_commands(
    said: str, code: int, kind: type[CScaleError], retryable: int
) -> None:
    error = commands.refusal(ssh.Done(code, b"", said), "S", "refuses the job")
    assert type(error) is kind
    assert error.retryable == bool(retryable)


@pytest.mark.parametrize(
    ("said", "kind", "retryable"),
    [
        ("No ED25519 host key is known.\nHost key verification failed.", Forbidden, False),
        ("u@login: Permission denied (publickey).", LoginRequired, False),
        ("ssh: Could not resolve hostname login: Name unknown", UpstreamError, True),
        ("ssh: connect to host login port 22: Connection refused", UpstreamError, True),
        ("ssh: connect to host login port 22: Connection timed out", UpstreamTimeout, True),
        ("kex_exchange_identification: Connection closed by remote host", UpstreamError, True),
    ],
)
def test_troubles_of_ssh(said: str, kind: type[CScaleError], retryable: bool) -> None:
    error = ssh.explained(said, SSH)
    assert type(error) is kind
    assert error.retryable is retryable


def test_ssh_is_given_an_argument_list_that_asks_nothing_and_checks_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = SSH.model_copy(update={"user": "sram-{user}", "port": 2222, "known_hosts": "/k"})
    given = ssh.Ssh(settings, "anna").arguments()
    assert given[-2:] == ["--", "login"]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=/k"):
        assert given[given.index(option) - 1] == "-o"
    assert given[given.index("-l") + 1] == "sram-anna"
    assert given[given.index("-p") + 1] == "2222"


def test_folder_too_long_for_a_socket_means_a_connection_for_each_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    given = ssh.Ssh(SSH, "anna").arguments()
    assert "ControlPath=none" in given
    assert "ControlMaster=no" in given


@pytest.mark.parametrize(
    "changes", [{"host": "-oProxyCommand=x"}, {"host": ""}, {"folder": "x"}, {"folder": "/a b"}]
)
def test_cluster_that_could_be_misunderstood_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        SlurmCluster.model_validate({**SSH.model_dump(), **changes})


# -- records of the REST API --------------------------------------------------------------------


def test_record_of_the_older_api() -> None:
    task = task_of(
        {
            "job_id": 10,
            "array_job_id": 7,
            "array_task_id": 1,
            "job_state": "FAILED",
            "state_reason": "NonZeroExitCode",
            "exit_code": 512,
            "start_time": 1795224659,
            "end_time": 0,
            "name": "n",
            "nodes": "n1",
        }
    )
    assert (task.slurm_id, task.index, task.exit_code, task.signal) == ("7", 1, 2, 0)
    assert task.started is not None
    assert task.ended is None


def test_record_of_the_newer_api() -> None:
    unset = {"set": False, "infinite": False, "number": 0}
    task = task_of(
        {
            "job_id": 10,
            "array_job_id": {"set": True, "infinite": False, "number": 0},
            "array_task_id": unset,
            "job_state": ["FAILED"],
            "exit_code": {
                "status": ["SIGNALED"],
                "return_code": unset,
                "signal": {"id": {"set": True, "infinite": False, "number": 9}, "name": "KILL"},
            },
            "start_time": {"set": True, "infinite": False, "number": 1795224659},
            "end_time": unset,
        }
    )
    assert (task.slurm_id, task.index, task.state) == ("10", None, "FAILED")
    assert (task.exit_code, task.signal) == (None, 9)


def test_record_of_accounting() -> None:
    task = accounted_task(
        {
            "job_id": 10,
            "array": {"job_id": 7, "task_id": {"set": True, "infinite": False, "number": 3}},
            "state": {"current": ["TIMEOUT"], "reason": "TimeLimit"},
            "exit_code": {"status": ["SUCCESS"], "return_code": {"set": True, "number": 0}},
            "time": {
                "start": 1795224659,
                "end": 1795224719,
                "elapsed": 60,
                "total": {"seconds": 55, "microseconds": 0},
            },
            "steps": [{"tres": {"requested": {"max": [{"type": "mem", "count": 4096}]}}}],
        }
    )
    assert (task.slurm_id, task.index, task.state) == ("7", 3, "TIMEOUT")
    assert (task.seconds, task.cpu_seconds, task.memory) == (60, 55, 4096)


class Tokens:
    async def token(self, audience: str) -> str:
        return "t"


def rest(answer: Any) -> RestSlurm:
    slurm = RestSlurm(REST, "u", Tokens())
    slurm._http = httpx.AsyncClient(
        base_url="http://127.0.0.1:9", transport=httpx.MockTransport(answer)
    )
    return slurm


def description(*paths: str) -> httpx.Response:
    return httpx.Response(200, json={"paths": {path: {} for path in paths}})


async def test_newest_version_that_is_known_is_used() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        assert request.headers["X-SLURM-USER-NAME"] == "u"
        assert request.headers["X-SLURM-USER-TOKEN"] == "t"
        if request.url.path == "/openapi/v3":
            return description(
                "/slurm/v0.0.38/job/submit",
                "/slurm/v0.0.41/job/submit",
                "/slurm/v0.0.99/job/submit",
                "/slurm/v0.1.0/job/submit",
                "/slurmdb/v0.0.41/jobs/",
            )
        record = {"job_id": 5, "state": {"current": ["COMPLETED"]}, "name": "n"}
        return httpx.Response(200, json={"jobs": [record], "errors": []})

    slurm = rest(answer)
    assert [task.state for task in await slurm.ended("5")] == ["COMPLETED"]
    assert await slurm.ended("6") == ()
    assert asked == ["/openapi/v3", "/slurmdb/v0.0.41/job/5", "/slurmdb/v0.0.41/job/6"]


async def test_api_that_is_too_new_is_named() -> None:
    slurm = rest(lambda _: description("/slurm/v0.0.99/job/submit"))
    with pytest.raises(UpstreamError, match="no version"):
        await slurm.jobs({"1"})


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, "Authentication failure", LoginRequired, False),
        (500, {"errors": [{"error_number": 2017, "error": "Invalid job id"}]}, NotFound, False),
        (
            500,
            {"errors": [{"error_code": 2000, "error": "Invalid partition"}]},
            InvalidInput,
            False,
        ),
        (200, {"errors": [{"error_number": 2002, "error": "denied"}]}, Forbidden, False),
        (500, {"errors": [{"error_number": 6001, "error": "cred"}]}, LoginRequired, False),
        (500, {"errors": [{"error_number": -1, "error": "Unspecified"}]}, UpstreamError, True),
        (500, {"errors": [{"error_code": 1800, "error": "connect"}]}, UpstreamError, True),
        (400, {"errors": [{"error": "Failure during parsing"}]}, InvalidInput, False),
        (503, "<html>maintenance", UpstreamError, True),
        (504, "", UpstreamTimeout, True),
    ],
)
async def test_errors_of_the_rest_api(
    status: int, body: Any, kind: type[CScaleError], retryable: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/openapi"):
            return description("/slurm/v0.0.38/job/submit")
        text = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(status, text=text)

    with pytest.raises(CScaleError) as caught:
        await rest(answer).jobs({"1", "2"})
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable


def test_token_that_says_its_time_is_over() -> None:
    assert expired("e30.eyJleHAiOjF9.x")
    assert not expired("e30.eyJleHAiOjk5OTk5OTk5OTl9.x")
    assert not expired("not a token")


# -- output -------------------------------------------------------------------------------------


def test_lines_keep_the_level_they_name() -> None:
    text = (
        "plain\n\n"
        '{"time": "2026-01-01T00:00:00+00:00", "level": "error", "message": "ours"}\n'
        '{"level": "error"}\n'
        "slurmstepd-n1: error: *** JOB 1 CANCELLED ***\n"
    )
    entries = [(level, message) for _, level, message in log_entries(text, "warning", "[2] ")]
    assert entries == [
        ("warning", "[2] plain"),
        ("error", "[2] ours"),
        ("warning", '[2] {"level": "error"}'),
        ("error", "[2] slurmstepd-n1: error: *** JOB 1 CANCELLED ***"),
    ]
