"""The use of virtual organisations for Prometheus, read from the records when it asks.

Names of VOs and profiles are labels; people are not, so that there are few series and nobody can be
told from them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.store import UsageStore

log = logging.getLogger("cscale_hub.metrics")

KEPT_SECONDS = 30.0
"""A further question within this time gets the same answer: the database is not asked for each."""


class UsageCollector(Collector):
    """Figures of the records of use."""

    def __init__(self, store: UsageStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._asked = float("-inf")
        self._found: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing: the registry then does not collect when it is told of this collector."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures, at most :data:`KEPT_SECONDS` old."""
        now = self._clock()
        if not 0 <= now - self._asked < KEPT_SECONDS:
            readable = GaugeMetricFamily(
                "cscale_accounting_readable", "1 when the records of use can be read, else 0"
            )
            try:
                self._found = self._figures(now)
                readable.add_metric([], 1)
            except SQLAlchemyError as error:
                log.error("Records of use cannot be read: %s", type(error).__name__)
                self._found = []
                readable.add_metric([], 0)
            self._found.append(readable)
            self._asked = now
        yield from self._found

    def _figures(self, now: float) -> list[Metric]:
        month = Month.of(now)
        servers = GaugeMetricFamily(
            "cscale_servers_running", "Users' servers that run", labels=["vo", "profile"]
        )
        for (vo, profile), count in self._store.running().items():
            servers.add_metric([vo, profile], count)
        cpu, memory, people = (
            GaugeMetricFamily(name, words, labels=["vo"])
            for name, words in (
                ("cscale_month_cpu_hours", "CPU hours of servers and jobs since the month began"),
                ("cscale_month_memory_gib_hours", "Memory held since the month began, in GiB h"),
                ("cscale_month_people", "People who used anything since the month began"),
            )
        )
        jobs = GaugeMetricFamily(
            "cscale_month_jobs", "Jobs that ended since the month began", labels=["vo", "engine"]
        )
        for total in self._store.totals(month.start, month.end):
            cpu.add_metric([total.vo], total.cpu_hours)
            memory.add_metric([total.vo], total.memory_gib_hours)
            people.add_metric([total.vo], total.people)
            for engine, count in total.jobs.items():
                jobs.add_metric([total.vo, engine], count)
        stored = GaugeMetricFamily(
            "cscale_stored_bytes", "What a bucket held when last looked at", labels=["vo", "bucket"]
        )
        for each in self._store.last_stored():
            stored.add_metric([each.vo, each.bucket], each.bytes)
        return [servers, cpu, memory, people, jobs, stored]


def show_usage(store: UsageStore, registry: CollectorRegistry = REGISTRY) -> None:
    """Show the figures among those of this process."""
    registry.register(UsageCollector(store))
