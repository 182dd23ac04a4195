"""A command that ends at once renews the list of the site registry all the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cscale_cli.search import asking


class Registry:
    """Its list was read so long ago; reading it anew may take for ever."""

    def __init__(self, age: timedelta | None, *, hangs: bool = False) -> None:
        read_at = None if age is None else datetime.now(UTC) - age
        self.state = SimpleNamespace(read_at=read_at)
        self.asked = 0
        self._hangs = hangs

    async def refresh(self) -> None:
        self.asked += 1
        if self._hangs:
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("age", "asked"), [(None, 1), (timedelta(hours=2), 0), (timedelta(days=2), 1)]
)
async def test_a_list_that_is_missing_or_old_is_read(age: timedelta | None, asked: int) -> None:
    registry: Any = Registry(age)
    await asking._renew(registry)
    assert registry.asked == asked


async def test_a_registry_that_hangs_costs_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PATIENCE", 0.05)
    registry: Any = Registry(timedelta(days=2), hangs=True)
    async with asyncio.timeout(5):
        await asking._renew(registry)
    assert registry.asked == 1
