"""A Slurm for the tests that need one, started once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import slurm_server


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_server.SlurmServer]:
    """A running Slurm of one node."""
    absent = slurm_server.missing_packages()
    if absent:
        pytest.skip(f"Slurm is absent: install the Debian packages {' '.join(absent)}")
    with slurm_server.running() as server:
        yield server
