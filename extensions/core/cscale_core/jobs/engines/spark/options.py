"""What a job may ask of Spark: the options of a spec, validated before anything is started.

Spark properties are taken from an allow-list: none of those that name credentials, change who the
pods are or what they may do, or have an option here.
"""

from __future__ import annotations

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
from cscale_core.jobs.engines.programs import SECRET, mistakes

_UNITS = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
_MEMORY = re.compile(r"^([1-9]\d{0,8})\s?([kmgt])(i?b)?$", re.IGNORECASE)
_CLOCK = re.compile(r"^(\d{1,4}):([0-5]\d):([0-5]\d)$")

_TUNING = re.compile(
    r"^spark\.("
    r"default\.parallelism|serializer|driver\.maxResultSize|speculation|locality\.wait"
    r"|executor\.heartbeatInterval|network\.timeout|memory\.(storageF|f)raction"
    r"|memory\.offHeap\.(enabled|size)|python\.worker\.(reuse|memory)|task\.(cpus|maxFailures)"
    r"|(sql|kryo|kryoserializer|shuffle|speculation|reducer|broadcast|rdd|stage|io|files|cleaner"
    r"|scheduler|excludeOnFailure|locality\.wait)\.[A-Za-z0-9_.-]+"
    r"|dynamicAllocation\.(executorIdleTimeout|cachedExecutorIdleTimeout|schedulerBacklogTimeout"
    r"|executorAllocationRatio)"
    r"|hadoop\.fs\.s3a\.(block\.size|buffer\.dir|connection\.maximum|fast\.upload\.[a-z.]+"
    r"|input\.fadvise|experimental\.input\.fadvise|multipart\.[a-z.]+|paging\.maximum"
    r"|readahead\.range|threads\.max)"
    r")$"
)
# Where Spark keeps its own things on the machine that runs it.
_NOT_TUNING = re.compile(r"^spark\.(sql\.(warehouse|hive)|io\.encryption|shuffle\.service)\b")

Cores = Annotated[int, Field(ge=1, le=256)]
Executors = Annotated[int, Field(ge=1, le=1000)]


def mebibytes(text: str | int) -> int:
    """MiB of an amount of memory as Spark writes it: ``512m``, ``8g``.

    :raises ValueError: when it is not one, or below one MiB.
    """
    match = _MEMORY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory such as 512m or 8g")
    amount = int(match[1]) * _UNITS[match[2].lower()]
    if amount < 1:
        raise ValueError(f"{text!r} is less than a mebibyte")
    return int(amount)


def memory_text(amount: int) -> str:
    """MiB as Spark writes them."""
    return f"{amount // 1024}g" if amount % 1024 == 0 else f"{amount}m"


class SparkOptions(BaseModel):
    """The resources of one job; what is not said is left to the site and to Spark."""

    model_config = ConfigDict(extra="forbid")

    driver_memory: str = Field(default="", description="Of the driver's Java: 1g, 512m.")
    driver_memory_overhead: str = Field(default="", description="Beside it, for Python and GDAL.")
    driver_cores: Cores | None = None
    executor_memory: str = Field(default="", description="Of an executor's Java.")
    executor_memory_overhead: str = Field(default="", description="Beside it, for Python and GDAL.")
    python_memory: str = Field(
        default="",
        description="Limit of an executor's Python, asked for beside memory and overhead.",
    )
    executor_cores: Cores | None = None
    executors: Executors | None = Field(default=None, description="How many, all the time.")
    min_executors: Annotated[int, Field(ge=0, le=1000)] | None = None
    max_executors: Executors | None = Field(
        default=None, description="As many as the work needs, up to this."
    )
    time_limit: str = Field(default="", description="Minutes, or H:MM:SS; the job ends then.")
    collection: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="Collection of the result item."
    )
    conf: dict[str, str] = Field(default_factory=dict, description="Spark properties, for tuning.")

    @field_validator(
        "driver_memory",
        "driver_memory_overhead",
        "executor_memory",
        "executor_memory_overhead",
        "python_memory",
    )
    @classmethod
    def _memory(cls, value: str) -> str:
        return memory_text(mebibytes(value)) if value else ""

    @field_validator("time_limit", mode="before")
    @classmethod
    def _number_is_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("time_limit")
    @classmethod
    def _time(cls, value: str) -> str:
        clock = _CLOCK.fullmatch(value)
        if value and not clock and not re.fullmatch(r"[1-9]\d{0,5}", value):
            raise ValueError(f"{value!r} is not a time such as 90 (minutes) or 1:30:00")
        if clock and not any(map(int, clock.groups())):
            raise ValueError("a time limit of nothing")
        return value

    @field_validator("conf", mode="before")
    @classmethod
    def _values_are_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        words = {True: "true", False: "false"}
        return {
            key: words[inner]
            if isinstance(inner, bool)
            else str(inner)
            if isinstance(inner, int | float)
            else inner
            for key, inner in value.items()
        }

    @field_validator("conf")
    @classmethod
    def _tuning(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if SECRET.search(key):
                raise ValueError(f"{key} looks like a secret, and others can read the properties")
            if not _TUNING.fullmatch(key) or _NOT_TUNING.match(key):
                raise ValueError(
                    f"{key} cannot be set by a job; memory, cores and executors have options"
                )
            if len(text) > 1000 or not text.isprintable():
                raise ValueError(f"the value of {key} cannot be used")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> SparkOptions:
        if self.executors and (self.min_executors is not None or self.max_executors):
            raise ValueError("executors excludes min_executors and max_executors")
        if self.min_executors is not None and not self.max_executors:
            raise ValueError("min_executors needs max_executors")
        if self.max_executors and (self.min_executors or 0) > self.max_executors:
            raise ValueError("min_executors is more than max_executors")
        return self

    @property
    def seconds(self) -> int | None:
        """The time limit in seconds."""
        if clock := _CLOCK.fullmatch(self.time_limit):
            hours, minutes, seconds = map(int, clock.groups())
            return (hours * 60 + minutes) * 60 + seconds
        return int(self.time_limit) * 60 if self.time_limit else None

    @property
    def of_executors(self) -> list[str]:
        """The options said that are about executors."""
        names = (
            "executor_memory",
            "executor_memory_overhead",
            "python_memory",
            "executor_cores",
            "executors",
            "min_executors",
            "max_executors",
        )
        return [name for name in names if getattr(self, name) not in (None, "")]


def options_of(options: dict[str, Any]) -> SparkOptions:
    """The options of a spec.

    :raises InvalidInput: with the first mistakes in the message, all in ``details``.
    """
    try:
        return SparkOptions.model_validate(options)
    except ValidationError as error:
        wrong = mistakes(error, "options")
        raise InvalidInput(
            f"The options for Spark are not right: {'; '.join(wrong[:5])}", mistakes=wrong
        ) from error
