"""Figures of the records of use, as Prometheus gets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.exc import OperationalError

from cscale_hub.accounting.records import UsageRecord
from cscale_hub.accounting.store import Stored, UsageStore
from cscale_hub.metrics.usage import KEPT_SECONDS, UsageCollector

NOVEMBER = 1_793_491_200.0


@dataclass
class Store:
    """A store that counts how often it is asked, and can break."""

    real: UsageStore
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        if self.broken:
            raise OperationalError("SELECT", {}, Exception("postgresql://hub:secret@db"))
        return getattr(self.real, name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    real = UsageStore(f"sqlite:///{tmp_path / 'usage.sqlite'}")
    common: dict[str, Any] = {"person": "p1", "vo": "aqua.example", "started": NOVEMBER}
    seen = NOVEMBER + 7200
    server = UsageRecord(
        id="s",
        kind="server",
        profile="small",
        machine="m",
        seen=seen,
        cpus=2,
        memory=2**30,
        **common,
    )
    job = UsageRecord(
        id="j", kind="job", profile="openeo", machine="j", seen=seen, ended=seen, **common
    )
    real.add(server)
    real.add(job)
    real.store_sizes([Stored("2026-11-01", "aqua", "aqua.example", 5)])
    return Store(real)


def test_use_is_by_vo_and_without_people(store: Store) -> None:
    registry = CollectorRegistry()
    registry.register(UsageCollector(store, lambda: NOVEMBER + 9000))  # type: ignore[arg-type]
    text = generate_latest(registry).decode()
    for line in (
        'cscale_servers_running{profile="small",vo="aqua.example"} 1.0',
        'cscale_month_cpu_hours{vo="aqua.example"} 4.0',
        'cscale_month_memory_gib_hours{vo="aqua.example"} 2.0',
        'cscale_month_people{vo="aqua.example"} 1.0',
        'cscale_month_jobs{engine="openeo",vo="aqua.example"} 1.0',
        'cscale_stored_bytes{bucket="aqua",vo="aqua.example"} 5.0',
        "cscale_accounting_readable 1.0",
    ):
        assert line in text
    assert "p1" not in text


def test_records_that_cannot_be_read_are_told_and_take_nothing_else_away(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.broken = True
    registry = CollectorRegistry()
    registry.register(UsageCollector(store, lambda: NOVEMBER))  # type: ignore[arg-type]
    assert "cscale_accounting_readable 0.0" in generate_latest(registry).decode()
    assert "secret" not in caplog.text


def test_the_database_is_not_asked_for_each_question(store: Store) -> None:
    now = [NOVEMBER]
    collector = UsageCollector(store, lambda: now[0])  # type: ignore[arg-type]
    list(collector.collect())
    once = len(store.asked)
    now[0] += KEPT_SECONDS - 1
    list(collector.collect())
    assert len(store.asked) == once
    now[0] += 2
    list(collector.collect())
    assert len(store.asked) == 2 * once
