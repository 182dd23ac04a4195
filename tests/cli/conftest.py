"""Archives that are started for a test and stopped after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.archives import Archive


@pytest.fixture
def archive() -> Iterator[Callable[..., Archive]]:
    """Start an archive of items; all are stopped at the end."""
    running: list[Archive] = []

    def start(*items: dict[str, Any]) -> Archive:
        running.append(Archive(list(items)))
        running[-1].start()
        return running[-1]

    yield start
    for each in running:
        each.kill()


@pytest.fixture
def providers_file(tmp_path: Path) -> Callable[..., Path]:
    """A file of providers, named as the arguments are."""

    def write(**archives: Archive) -> Path:
        path = tmp_path / "providers.yaml"
        entries = [
            {"id": name, "title": f"Archive {name}", "url": each.url, "deadline": 10, "limit": 20}
            for name, each in archives.items()
        ]
        path.write_text(yaml.safe_dump({"providers": entries}), encoding="utf-8")
        return path

    return write
