"""A meter on a file, with a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cscale_hub.accounting.meter import Meter
from cscale_hub.accounting.store import UsageStore
from cscale_hub.profiles import Offer, Profile

NOVEMBER = 1_793_491_200.0
"""2026-11-01T00:00:00Z."""
HOUR = 3600.0


@dataclass
class Clock:
    now: float = NOVEMBER

    def __call__(self) -> float:
        return self.now


@dataclass
class Metered:
    path: Path
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = UsageStore(f"sqlite:///{self.path}")
        self.meter = Meter(self.store, b"key", self.clock)

    def after_a_restart(self) -> Metered:
        """The same file in another process of the hub."""
        self.store.close()
        return Metered(self.path, self.clock)


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    made = Metered(tmp_path / "usage.sqlite")
    yield made
    made.store.close()


def offer(vo: str = "aqua.example", cpu: float = 2, memory: str = "4Gi", gpu: int = 0) -> Offer:
    return Offer(vo, "small", Profile(title="Small", cpu=cpu, memory=memory, gpu=gpu))
