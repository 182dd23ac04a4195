"""Fixtures of the openEO tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Tests are imported by path (import-mode=importlib); their builders are a module beside them.
sys.path.insert(0, str(Path(__file__).parent))

from openeo_builders import Scene, build_scenes, scene_times


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Nine acquisitions in three years."""
    return build_scenes(tmp_path_factory.mktemp("scenes"), scene_times())
