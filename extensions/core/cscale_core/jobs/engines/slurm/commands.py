"""Slurm by its commands on a login node: sbatch, squeue, sacct, scancel."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.jobs.engines.slurm.script import Submission
from cscale_core.jobs.engines.slurm.ssh import Done, Ssh
from cscale_core.jobs.engines.slurm.states import Task, state_word

# Times as seconds since 1970 whatever the cluster's zone, messages in English.
_ENVIRONMENT = ("env", "LC_ALL=C", "SLURM_TIME_FORMAT=%s")
_SQUEUE = (
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "exit_code",
    "StartTime",
    "EndTime",
    "NodeList",
    "Name",
    "Reason",
)
_SACCT = (
    "JobID",
    "JobName",
    "State",
    "ExitCode",
    "Start",
    "End",
    "ElapsedRaw",
    "TotalCPU",
    "MaxRSS",
    "NodeList",
    "Reason",
)
#: Ids of one call, well below the length of a command line.
_TOGETHER = 2000

# Takes the script whole, or not at all, before Slurm hears of it.
_SUBMIT = """\
set -e
umask 077
mkdir -p -- "$1"
cat > "$2.part"
if [ "$(wc -c < "$2.part")" -ne "$3" ]; then
  rm -f -- "$2.part"; echo "the script did not arrive whole" >&2; exit 75
fi
mv -- "$2.part" "$2"
cd -- "$1"
exec env LC_ALL=C sbatch --parsable "$2"
"""
_UNSURE = re.compile(
    r"unable to contact slurm controller|socket timed out|connection refused|zero bytes were"
    r"|communication|controller not responding|temporarily unable|resource temporarily"
    r"|in standby mode|try again later|did not arrive whole|unexpected message",
    re.IGNORECASE,
)
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
_UNKNOWN = re.compile(r"invalid job id", re.IGNORECASE)
_REFUSED = re.compile(r"access/permission denied|user not allowed|not permitted", re.IGNORECASE)


def refusal(done: Done, title: str, what: str) -> CScaleError:
    """Our error for a command that failed."""
    said = " ".join(
        line.partition("error: ")[2] or line for line in done.said.splitlines() if line.strip()
    )[:500]
    if done.code == 127 or "command not found" in said:
        return UpstreamError(
            f"{title} has no Slurm commands for a login without a terminal.",
            hint="They have to be on the PATH of such a login (~/.bashrc); ask the operator.",
            said=said,
        )
    if "timed out" in said.lower():
        return UpstreamTimeout(f"Slurm at {title} did not answer in time.", retryable=True)
    if _UNSURE.search(said):
        return UpstreamError(
            f"Slurm at {title} does not answer at present.", retryable=True, said=said
        )
    if _REFUSED.search(said):
        return Forbidden(f"{title} does not allow it: {said}")
    if "No space left" in said or "quota exceeded" in said.lower():
        return InvalidInput(f"Your folder at {title} is full.", hint="Free some space.", said=said)
    return InvalidInput(f"{title} {what}: {said or f'exit status {done.code}'}", said=said)


def moment(text: str) -> datetime | None:
    """A time in seconds since 1970; None for those Slurm does not know."""
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() and int(text) else None


def _wait_status(text: str) -> tuple[int | None, int]:
    """Exit code and signal of a status as wait(2) has it."""
    if not text.isdigit():
        return None, 0
    status = int(text)
    return (status >> 8) & 0xFF, status & 0x7F


def _clock(text: str) -> float | None:
    """Seconds of ``D-HH:MM:SS.mmm``, its larger parts left out where they are nothing."""
    days, _, rest = text.rpartition("-")
    try:
        seconds = 0.0
        for part in rest.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds + int(days or 0) * 86400
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else None


def queued_tasks(text: str) -> Iterable[Task]:
    """Lines of squeue in the format of ``_SQUEUE``."""
    for line in text.splitlines():
        fields = line.split("|", len(_SQUEUE) - 1)
        if len(fields) != len(_SQUEUE):
            continue
        array, index, state, status, start, end, nodes, name, reason = fields
        code, number = _wait_status(status)
        yield Task(
            slurm_id=array,
            index=int(index) if index.isdigit() else None,
            state=state_word(state),
            name=name,
            reason=reason.rstrip("|"),
            exit_code=code,
            signal=number,
            started=moment(start),
            ended=moment(end),
            nodes=nodes,
        )


def accounted_tasks(text: str) -> list[Task]:
    """Lines of sacct in the format of ``_SACCT``: a job's own, and one for each of its steps.

    A step knows how much memory was used; pending tasks of an array share one line.
    """
    jobs: dict[tuple[str, int | None], Task] = {}
    memory: dict[tuple[str, int | None], int] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) < len(_SACCT):
            continue
        identifier, name, state, status, start, end, elapsed, cpu, used, nodes, *reason = fields
        match = re.match(r"^(\d+)(?:_(\d+))?(\..+)?$", identifier)
        if match is None:
            continue
        key = (match[1], int(match[2]) if match[2] else None)
        if match[3]:
            memory[key] = max(memory.get(key, 0), _bytes(used) or 0)
            continue
        code, _, number = status.partition(":")
        jobs[key] = Task(
            slurm_id=match[1],
            index=key[1],
            state=state_word(state),
            name=name,
            reason="|".join(reason),
            exit_code=int(code) if code.isdigit() else None,
            signal=int(number) if number.isdigit() else 0,
            started=moment(start),
            ended=moment(end),
            nodes=nodes,
            seconds=float(elapsed) if elapsed.isdigit() else None,
            cpu_seconds=_clock(cpu),
        )
    return [
        Task(**{**task.__dict__, "memory": memory[key]}) if memory.get(key) else task
        for key, task in jobs.items()
    ]


class CommandSlurm:
    """A cluster's Slurm by its commands, over ssh."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh
        self._title = ssh.cluster.title
        self._accounting = True

    async def submit(self, submission: Submission) -> str:
        script = submission.script.encode()
        where = submission.places
        done = await self._ssh.script(
            _SUBMIT, [where.base, where.script, str(len(script))], data=script
        )
        if done.code:
            raise refusal(done, self._title, "refuses the job")
        identifier = done.text.strip().splitlines()[-1].partition(";")[0] if done.out else ""
        if not identifier.isdigit():
            raise UpstreamError(
                f"{self._title} gave no id for the job.", retryable=True, said=done.text[:300]
            )
        return identifier

    async def _squeue(self, *arguments: str) -> list[Task]:
        form = ",".join(f"{name}:|" for name in _SQUEUE)
        done = await self._ssh.run(
            [*_ENVIRONMENT, "squeue", "-h", "--array", "--states=all", *arguments, "-O", form]
        )
        if done.code and not _UNKNOWN.search(done.said):
            raise refusal(done, self._title, "does not list jobs")
        return list(queued_tasks(done.text))

    async def jobs(self, identifiers: Collection[str]) -> dict[str, tuple[Task, ...]]:
        found: dict[str, list[Task]] = {}
        wanted = sorted(identifiers)
        for first in range(0, len(wanted), _TOGETHER):
            part = wanted[first : first + _TOGETHER]
            for task in await self._squeue("--jobs=" + ",".join(part)):
                found.setdefault(task.slurm_id, []).append(task)
        return {identifier: tuple(tasks) for identifier, tasks in found.items()}

    async def _sacct(self, *arguments: str) -> list[Task]:
        if not self._accounting:
            return []
        form = "--format=" + ",".join(_SACCT)
        done = await self._ssh.run(
            [*_ENVIRONMENT, "sacct", "--noheader", "--parsable2", *arguments, form]
        )
        if done.code:
            if _NO_ACCOUNTING.search(done.said) or done.code == 127:
                self._accounting = False
                return []
            raise refusal(done, self._title, "does not say what became of jobs")
        return accounted_tasks(done.text)

    async def ended(self, identifier: str) -> tuple[Task, ...]:
        return tuple(
            task
            for task in await self._sacct(f"--jobs={identifier}")
            if task.slurm_id == identifier
        )

    async def find(self, name: str) -> tuple[str, ...]:
        tasks: Sequence[Task] = await self._squeue(f"--name={name}")
        if not tasks:
            tasks = await self._sacct(f"--name={name}", "--starttime=now-30days")
        return tuple(sorted({task.slurm_id for task in tasks if task.name == name}, key=int))

    async def cancel(self, identifier: str) -> None:
        done = await self._ssh.run(["env", "LC_ALL=C", "scancel", identifier])
        if done.code and not _UNKNOWN.search(done.said) and "already" not in done.said:
            raise refusal(done, self._title, "does not cancel the job")

    async def close(self) -> None:
        await self._ssh.close()
