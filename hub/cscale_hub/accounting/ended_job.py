"""A job that has ended, as a user's server tells it: what can be believed at all."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_OLDEST_SECONDS = 400 * 86400
_AHEAD_SECONDS = 300
_MOST_CPUS = 100_000


class EndedJob(BaseModel):
    """One job that has ended; times in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str = Field(min_length=1, max_length=100)
    engine: Literal["staging", "openeo", "spark", "slurm"]
    vo: str = Field(max_length=64)
    started: float
    ended: float
    cpu_seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _possible(self) -> EndedJob:
        now = time.time()
        if not now - _OLDEST_SECONDS <= self.started <= self.ended <= now + _AHEAD_SECONDS:
            raise ValueError("the times cannot be")
        if self.cpu_seconds > (self.ended - self.started + 60) * _MOST_CPUS:
            raise ValueError("so much cannot be used in this time")
        return self
