"""The library of a user, over an object store in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cscale_core.notebooks.library import SharedNotebooks
from tests.core.notebooks.doubles import ALICE, MemoryStore, site_of


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def library(memory: MemoryStore) -> Callable[..., SharedNotebooks]:
    """The library of a user, by role in each VO."""

    def make(user: str = ALICE, **roles: str) -> SharedNotebooks:
        site = site_of(user, **(roles or {"aqua": "member"}))
        return SharedNotebooks(site, memory.of(site), image="image@sha256:1")  # type: ignore[arg-type]

    return make
