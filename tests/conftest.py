"""What may run beside what, where several processes share the tests (``pytest -n 2``).

Tests of one folder share servers that are started once, so that they stay together. The folder
that takes longest begins first: the others fill the time beside it.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = "tests/e2e"


def folder(nodeid: str) -> str:
    """Where a test is."""
    return nodeid.partition("::")[0].rpartition("/")[0]


class ByFolder(LoadScopeScheduling):
    """Gives each process a folder at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return folder(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    return ByFolder(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: folder(item.nodeid) != LONGEST)
