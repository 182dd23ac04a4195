"""What a job may ask of Slurm: the options of a spec, validated before anything is sent.

Names and formats are those of sbatch(1). Every value has a form that needs no quoting, in a script
or on a command line.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from cscale_core.errors import InvalidInput

#: Tasks of one array; Slurm's own limit (MaxArraySize) is 1001 unless the cluster raised it.
LARGEST_ARRAY = 10_000

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_NAMES = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(,[A-Za-z0-9][A-Za-z0-9_.-]*)*$"
_MEMORY = re.compile(r"^([1-9]\d{0,8})([KMGT]?)B?$", re.IGNORECASE)
_MEGABYTES = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}
_RANGE = re.compile(r"^(\d{1,7})(?:-(\d{1,7})(?::([1-9]\d{0,6}))?)?$")
_CONDITIONS = ("after", "afterany", "afterok", "afternotok", "aftercorr")
_JOB = re.compile(r"^(\d{1,10}(_\d{1,7})?|j-\d{12}-[0-9a-f]{8})$")

Count = Annotated[int, Field(ge=1, le=1_000_000)]


def minutes(text: str | int) -> int:
    """Minutes of a time limit as sbatch writes it, begun minutes counted whole.

    Forms: minutes, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` and ``D-H:M:S``.

    :raises ValueError: when it is none of them, or nothing.
    """
    days, dash, rest = str(text).strip().rpartition("-")
    parts = rest.split(":")
    if not all(re.fullmatch(r"\d{1,7}", part) for part in [*parts, *([days] if dash else [])]):
        raise ValueError(f"{text!r} is not a time such as 90, 1:30:00 or 2-12:00:00")
    numbers = [int(part) for part in parts]
    if len(numbers) > 3:
        raise ValueError(f"{text!r} has too many parts for a time")
    if dash:
        hours, mins, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, mins, seconds = numbers
    else:
        hours, (mins, seconds) = 0, [*numbers, 0][:2]
    total = math.ceil(((int(days or 0) * 24 + hours) * 60 + mins) + seconds / 60)
    if total < 1:
        raise ValueError("a time limit is at least a minute")
    return total


def duration(total: int) -> str:
    """Minutes as Slurm writes them: ``D-HH:MM:00``, without the days where there are none."""
    days, rest = divmod(total, 24 * 60)
    clock = f"{rest // 60:02}:{rest % 60:02}:00"
    return f"{days}-{clock}" if days else clock


def megabytes(text: str | int) -> int:
    """Megabytes of an amount of memory such as ``4000``, ``512M`` or ``8G``.

    :raises ValueError: when it is not one.
    """
    match = _MEMORY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory such as 4000, 512M or 8G")
    return max(1, math.ceil(int(match[1]) * _MEGABYTES[match[2].upper()]))


def indexes(array: str) -> list[int]:
    """The tasks of an array such as ``0-9``, ``1,3,5-9:2`` or ``0-99%4``.

    :raises ValueError: when it is not one, or is too large.
    """
    text, percent, together = array.partition("%")
    if percent and not re.fullmatch(r"[1-9]\d{0,5}", together):
        raise ValueError(f"{array!r}: after % stands how many tasks may run together")
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{array!r} is not an array such as 0-9, 1,3,5 or 0-99%4")
        first, last = int(match[1]), int(match[2] or match[1])
        several = range(first, last + 1, int(match[3] or 1))
        if not several or len(several) > LARGEST_ARRAY:
            raise ValueError(f"{array!r} has no task, or more than {LARGEST_ARRAY}")
        found.update(several)
        if len(found) > LARGEST_ARRAY:
            raise ValueError(f"{array!r} has more than {LARGEST_ARRAY} tasks")
    return sorted(found)


class SlurmOptions(BaseModel):
    """The resources of one job; what is not said is left to the cluster's defaults."""

    model_config = ConfigDict(extra="forbid")

    partition: str = Field(default="", pattern=_NAMES + "|^$", description="One, or several by ,")
    account: str = Field(default="", pattern=_NAME + "|^$", description="Charged for the job.")
    qos: str = Field(default="", pattern=_NAME + "|^$", description="Quality of service.")
    reservation: str = Field(default="", pattern=_NAME + "|^$")
    constraint: str = Field(
        default="", pattern=r"^[A-Za-z0-9_.,&|()\[\]*-]*$", description="Features of the nodes."
    )
    time: str = Field(default="", description="Time limit: minutes, H:M:S or D-H:M:S.")
    memory: str = Field(default="", description="On each node: 4000 (megabytes), 512M, 8G.")
    memory_per_cpu: str = Field(default="", description="Instead of memory.")
    cpus: Count | None = Field(default=None, description="Processors of each task.")
    tasks: Count | None = Field(default=None, description="Processes (MPI ranks).")
    nodes: Count | None = None
    gpus: str = Field(
        default="",
        pattern=r"^(([A-Za-z0-9_.-]+:)?[1-9]\d{0,3})?$",
        description="On each node: 2, or a type and a number, a100:2.",
    )
    array: str = Field(default="", description="Indexes of an array: 0-9, 1,3,5 or 0-99%4.")
    dependency: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Condition (afterok, afterany, afternotok, after, aftercorr) to jobs, by our "
        "id or Slurm's; the text form afterok:1:2,afterany:3 is understood too.",
    )
    requeue: bool | None = Field(default=None, description="Whether Slurm may start it again.")
    driver_memory: str = Field(
        default="",
        pattern=r"^([1-9]\d{0,5}[mg])?$",
        description="Of a named application; default: three quarters of memory.",
    )
    collection: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="Collection of the result item."
    )
    results: bool = Field(
        default=True, description="Whether the files in $CSCALE_OUTPUT are brought to the bucket."
    )

    @field_validator("time", "memory", "memory_per_cpu", "gpus", mode="before")
    @classmethod
    def _number_is_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("time")
    @classmethod
    def _time(cls, value: str) -> str:
        return duration(minutes(value)) if value else ""

    @field_validator("memory", "memory_per_cpu")
    @classmethod
    def _memory(cls, value: str) -> str:
        return f"{megabytes(value)}M" if value else ""

    @field_validator("array")
    @classmethod
    def _array(cls, value: str) -> str:
        if value:
            indexes(value)
        return value

    @field_validator("dependency", mode="before")
    @classmethod
    def _dependency(cls, value: Any) -> Any:
        if isinstance(value, str):
            conditions: dict[str, list[str]] = {}
            for part in filter(None, value.split(",")):
                condition, *jobs = part.split(":")
                conditions.setdefault(condition, []).extend(jobs)
            value = conditions
        if isinstance(value, dict):
            value = {key: [jobs] if isinstance(jobs, str) else jobs for key, jobs in value.items()}
        return value

    @field_validator("dependency")
    @classmethod
    def _known(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for condition, jobs in value.items():
            if condition not in _CONDITIONS:
                raise ValueError(f"{condition!r} is none of {', '.join(_CONDITIONS)}")
            if not jobs or not all(_JOB.fullmatch(job) for job in jobs):
                raise ValueError(f"{condition} names no job, or something that is no job's id")
        return value

    @model_validator(mode="after")
    def _one_memory(self) -> SlurmOptions:
        if self.memory and self.memory_per_cpu:
            raise ValueError("memory and memory_per_cpu exclude each other")
        return self

    @property
    def time_limit(self) -> int | None:
        """The time limit in minutes."""
        return minutes(self.time) if self.time else None

    @property
    def task_indexes(self) -> list[int | None]:
        """The indexes of the array's tasks; one None where there is no array."""
        return [*indexes(self.array)] if self.array else [None]

    @property
    def count(self) -> int:
        """How many tasks the array has; 1 where there is none."""
        return len(self.task_indexes)

    def directives(self) -> list[str]:
        """The arguments of sbatch, dependencies left out: they name jobs by our ids."""
        said: list[tuple[str, Any]] = [
            ("partition", self.partition),
            ("account", self.account),
            ("qos", self.qos),
            ("reservation", self.reservation),
            ("constraint", self.constraint),
            ("time", self.time),
            ("mem", self.memory),
            ("mem-per-cpu", self.memory_per_cpu),
            ("cpus-per-task", self.cpus),
            ("ntasks", self.tasks),
            ("nodes", self.nodes),
            ("gres", self.gpus and f"gpu:{self.gpus}"),
            ("array", self.array),
        ]
        arguments = [f"--{name}={value}" for name, value in said if value]
        if self.requeue is not None:
            arguments.append("--requeue" if self.requeue else "--no-requeue")
        return arguments


def resources(options: dict[str, Any]) -> SlurmOptions:
    """The options of a spec.

    :raises InvalidInput: with the first mistakes in the message, all in ``details``.
    """
    try:
        return SlurmOptions.model_validate(options)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, mistake['loc'])) or 'options'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidInput(
            f"The options for Slurm are not right: {'; '.join(mistakes[:5])}", mistakes=mistakes
        ) from error
