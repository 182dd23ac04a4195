"""What Slurm says of a job, in our vocabulary: its states, and why it waits or ended.

The states are those of squeue(1), sacct(1) and slurmrestd, up to Slurm 25.11 (section JOB STATE
CODES); a cluster's squeue shows one word, its REST API from v0.0.40 on a list of a state and flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cscale_core.jobs.engines.slurm.options import SlurmOptions
from cscale_core.jobs.model import JobError, JobStatus

STATES = {
    "PENDING": JobStatus.QUEUED,
    "CONFIGURING": JobStatus.QUEUED,
    "POWER_UP_NODE": JobStatus.QUEUED,
    "REQUEUED": JobStatus.QUEUED,
    "REQUEUE_FED": JobStatus.QUEUED,
    "REQUEUE_HOLD": JobStatus.QUEUED,
    "RESV_DEL_HOLD": JobStatus.QUEUED,
    "SPECIAL_EXIT": JobStatus.QUEUED,
    "EXPEDITING": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "COMPLETING": JobStatus.RUNNING,
    "RESIZING": JobStatus.RUNNING,
    "SIGNALING": JobStatus.RUNNING,
    "STAGE_OUT": JobStatus.RUNNING,
    "UPDATE_DB": JobStatus.RUNNING,
    "SUSPENDED": JobStatus.PAUSED,
    "STOPPED": JobStatus.PAUSED,
    "COMPLETED": JobStatus.FINISHED,
    "CANCELLED": JobStatus.CANCELED,
    "REVOKED": JobStatus.CANCELED,
    "BOOT_FAIL": JobStatus.ERROR,
    "DEADLINE": JobStatus.ERROR,
    "FAILED": JobStatus.ERROR,
    "LAUNCH_FAILED": JobStatus.ERROR,
    "NODE_FAIL": JobStatus.ERROR,
    "OUT_OF_MEMORY": JobStatus.ERROR,
    "POWER_DOWN_NODE": JobStatus.ERROR,
    "PREEMPTED": JobStatus.ERROR,
    "RECONFIG_FAIL": JobStatus.ERROR,
    "TIMEOUT": JobStatus.ERROR,
}
#: Flags that say more of a job than the state they stand beside.
_FLAGS = (
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
    "CONFIGURING",
    "POWER_UP_NODE",
    "COMPLETING",
    "STAGE_OUT",
    "SIGNALING",
    "RESIZING",
    "STOPPED",
    "LAUNCH_FAILED",
    "RECONFIG_FAIL",
)
#: Reasons (section JOB REASON CODES) for which waiting alone may not help; a key that ends in *
#: is a prefix.
_WAITING = {
    "Resources": "waiting for free resources",
    "Priority": "waiting for jobs of higher priority",
    "Dependency": "waiting for the jobs it depends on",
    "BeginTime": "waiting for its begin time",
    "JobArrayTaskLimit": "waiting for other tasks of its array",
    "Licenses": "waiting for a license",
    "Reservation": "waiting for its reservation to begin",
    "Cleaning": "waiting for its previous run to be cleaned up",
    "Prolog": "waiting for its node to be prepared",
    "JobHeldUser": "held by you; release it with scontrol release",
    "JobHeldAdmin": "held by the cluster's administrators",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs at present",
    "PartitionTimeLimit": "it asks for more time than its partition ever gives: cancel it and "
    "ask for less time, or another partition",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives: cancel it and ask "
    "for fewer, or another partition",
    "PartitionConfig": "its partition never gives what it asks for: cancel it and ask for less, "
    "or another partition",
    "BadConstraints": "no node has what its constraint asks for: cancel it and change that",
    "InvalidAccount": "its account is not valid: cancel it and name another",
    "InvalidQOS": "its quality of service is not valid: cancel it and name another",
    "ReqNodeNotAvail*": "the nodes it needs are not available; perhaps there is a maintenance",
    "NodeDown": "the nodes it needs are down",
    "Assoc*": "your account has reached a limit",
    "QOS*": "its quality of service has reached a limit",
    "Max*": "your account has reached a limit",
    "JobLaunchFailure": "it could not be launched and waits to be tried again",
    "launch failed requeued held": "it could not be launched on its node and is held; release it "
    "with scontrol release, or cancel it",
}
_OUT_OF_MEMORY = re.compile(
    r"oom.?kill|out.of.memory|exceeded (?:job )?memory limit|cannot allocate memory|MemoryError",
    re.IGNORECASE,
)
#: Exit codes of the script we write, before the user's program begins.
TWICE, NO_FOLDER, NO_MODULE, NO_CONTAINER = 73, 74, 75, 76


@dataclass(frozen=True)
class Task:
    """One job, or one task of an array, as Slurm has it at one moment.

    :ivar slurm_id: the id it was submitted under; tasks of an array have the array's.
    :ivar index: of an array's task; None where there is no array.
    :ivar state: Slurm's word, in capitals.
    :ivar signal: that ended it; 0 for none.
    :ivar seconds: it has run, where known.
    :ivar memory: bytes that it used at most, where known.
    """

    slurm_id: str
    state: str
    name: str = ""
    index: int | None = None
    reason: str = ""
    exit_code: int | None = None
    signal: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    nodes: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    memory: int | None = None

    @property
    def status(self) -> JobStatus:
        """In our vocabulary; a word that is not known counts as running, so it is asked again."""
        return STATES.get(self.state, JobStatus.RUNNING)


def state_word(said: str | Iterable[str]) -> str:
    """The one word that says most: of ``CANCELLED by 1000``, or of a state and its flags."""
    words = [said] if isinstance(said, str) else [str(word) for word in said]
    plain = [word.strip().upper().split(" ")[0].rstrip("+") for word in words if word.strip()]
    for flag in _FLAGS:
        if flag in plain:
            return flag
    return plain[0] if plain else ""


def together(tasks: Sequence[Task]) -> JobStatus:
    """The status of a job made of these tasks.

    It has ended when all have; then one failure makes it an error, and it has finished only when
    all have.
    """
    statuses = {task.status for task in tasks}
    for status in (JobStatus.RUNNING, JobStatus.PAUSED):
        if status in statuses:
            return status
    if JobStatus.QUEUED in statuses:
        # Some of its tasks may have ended: the whole is under way.
        return JobStatus.RUNNING if len(statuses) > 1 else JobStatus.QUEUED
    for status in (JobStatus.ERROR, JobStatus.CANCELED):
        if status in statuses:
            return status
    return JobStatus.FINISHED


def waiting(task: Task) -> str:
    """Why it waits, for the job's message."""
    reason = task.reason.strip("()").replace("_", " ")
    if reason in ("", "None", "none"):
        return "waiting in the queue"
    for known, text in _WAITING.items():
        if reason == known or (known.endswith("*") and reason.startswith(known[:-1])):
            return text
    return f"waiting in the queue ({reason[:100]})"


def hopeless(tasks: Iterable[Task]) -> bool:
    """Whether it waits for a job that has ended otherwise than it needs, so that it never runs."""
    return any(
        task.status == JobStatus.QUEUED and "DependencyNeverSatisfied" in task.reason
        for task in tasks
    )


def explained(task: Task, options: SlurmOptions, output: str = "") -> JobError:
    """Why it ended in error, and what to change.

    :param output: the end of its standard error.
    """
    facts = {
        "state": task.state,
        "reason": task.reason,
        "exit_code": task.exit_code,
        "signal": task.signal,
        "task": task.index,
    }
    details = {name: value for name, value in facts.items() if value not in (None, "", 0, "None")}
    which = "The job" if task.index is None else f"Task {task.index} of the job"

    def error(code: str, message: str, hint: str, *, retryable: bool = False) -> JobError:
        return JobError(
            code=code,
            message=f"{which} {message}",
            hint=hint,
            retryable=retryable,
            details=details,
        )

    # Where Slurm runs without cgroups it says so on standard error only.
    starved = task.state == "FAILED" and _OUT_OF_MEMORY.search(output)
    if task.state == "OUT_OF_MEMORY" or starved:
        asked = options.memory or options.memory_per_cpu
        return error(
            "out_of_memory",
            "needed more memory than it was given" + (f" ({asked})." if asked else "."),
            "Ask for more with the option memory"
            + (f", at first twice as much as {asked}" if asked else " (8G, say)")
            + "; or give it less to do at a time. What it wrote is kept.",
        )
    if task.state == "TIMEOUT":
        return error(
            "time_limit",
            "reached its time limit" + (f" of {options.time}." if options.time else "."),
            "Ask for more with the option time, as far as the partition allows it; or split the "
            "work, for example in an array. What it wrote is kept.",
        )
    if task.state == "DEADLINE":
        return error(
            "time_limit",
            "could not end before its deadline.",
            "Ask for less time, or submit it earlier.",
        )
    if task.state == "NODE_FAIL":
        return error(
            "node_failed",
            f"lost its node{' ' + task.nodes if task.nodes else ''}.",
            "This was not the job's fault: submit it again; with the option requeue Slurm does so "
            "by itself.",
            retryable=True,
        )
    if task.state == "PREEMPTED":
        return error(
            "preempted",
            "was ended to make room for a job of higher priority.",
            "Submit it again, in a partition or quality of service that is not preempted; with "
            "the option requeue Slurm starts it again by itself where the cluster allows it.",
            retryable=True,
        )
    if task.state in ("BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL", "POWER_DOWN_NODE"):
        return error(
            "node_failed",
            "could not be started on its node.",
            "Submit it again; when it happens again, tell the cluster's administrators.",
            retryable=True,
        )
    return _failed(task, error)


def _failed(task: Task, error: Callable[[str, str, str], JobError]) -> JobError:
    """The ends that the program or our script made."""
    if task.exit_code == NO_FOLDER:
        return error(
            "failed",
            "could not make its folder on the cluster.",
            "The working folder may be full or not be yours: look at it, or tell the operator.",
        )
    if task.exit_code == NO_MODULE:
        return error(
            "failed",
            "could not load one of its modules.",
            "The log says which; module avail on the cluster lists them.",
        )
    if task.exit_code == NO_CONTAINER:
        return error(
            "failed",
            "found no Apptainer on its node.",
            "Load it as a module, or ask the cluster how containers are run there.",
        )
    if task.exit_code == 127:
        return error(
            "failed",
            "names a program that is not there (exit code 127).",
            "Give its whole path, the module that brings it, or a container.",
        )
    if task.reason == "JobLaunchFailure" or (task.signal == 9 and not task.exit_code):
        return error(
            "failed",
            "was killed (signal 9)." if task.signal == 9 else "could not be launched.",
            "Perhaps it needed more memory than it was given: ask for more with the option "
            "memory. The job's log says more.",
        )
    if task.signal:
        return error("failed", f"ended by signal {task.signal}.", "The job's log says more.")
    code = "" if task.exit_code is None else f" with exit code {task.exit_code}"
    return error("failed", f"failed{code}.", "The job's log has what it said.")
