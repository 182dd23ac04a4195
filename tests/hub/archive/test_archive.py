"""Site B over HTTP: a STAC API of a folder, its files in part, and nothing else of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cscale_hub.local.archive import simulate
from cscale_hub.local.archive.items import FolderError, hold, read_items


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "scenes"
    simulate.simulate(path, per_year=1)
    (path / "private.txt").write_text("not part of any item")
    return path


@pytest.fixture(scope="module")
def archive(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    config = {"port": free_port(), "root": str(root), "data_dir": str(folder / "index")}
    (folder / "config.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "cscale_hub.local.archive", "--config", folder / "config.json"]
    )
    address = f"http://127.0.0.1:{config['port']}"
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{address}/healthz").raise_for_status()
            break
        except httpx.HTTPError:
            assert process.poll() is None, "the archive ended"
            assert time.monotonic() < deadline, "the archive did not come up"
            time.sleep(0.2)
    yield address
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=10) in (0, -signal.SIGTERM)  # uvicorn passes the signal on


def test_search_finds_the_scenes(archive: str) -> None:
    answer = httpx.post(f"{archive}/search", json={"bbox": [-5.71, 36.4, -5.67, 36.44]})
    assert answer.status_code == 200
    body = answer.json()
    assert body["numberMatched"] == 3
    hrefs = [asset["href"] for asset in body["features"][0]["assets"].values()]
    assert all(href.startswith(f"{archive}/data/") for href in hrefs)


def test_files_are_served_in_part(archive: str, root: Path) -> None:
    item = read_items(root)[0]
    path = item["assets"]["B03"]["href"].removeprefix("./")
    answer = httpx.get(f"{archive}/data/{path}", headers={"Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.content == (root / path).read_bytes()[10:20]


@pytest.mark.parametrize(
    "path", ["private.txt", "truth.npz", "items.json", "..%2f..%2fetc%2fpasswd", "%2e%2e/x"]
)
def test_other_files_of_the_folder_are_not_served(archive: str, path: str) -> None:
    assert httpx.get(f"{archive}/data/{path}").status_code == 404


def test_nothing_can_be_written(archive: str, root: Path) -> None:
    item = read_items(root)[0] | {"id": "new"}
    address = f"{archive}/collections/{simulate.COLLECTION}/items"
    assert httpx.post(address, json=item).status_code in (403, 404, 405)


def test_asset_outside_the_folder_is_not_offered(tmp_path: Path) -> None:
    item = {
        "type": "Feature",
        "id": "a",
        "collection": "c",
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "assets": {"up": {"href": "../secret.tif"}, "root": {"href": "/etc/passwd"}},
    }
    (tmp_path / "a.json").write_text(json.dumps(item))
    assert hold(tmp_path, "http://x/data").files == frozenset()


def test_folder_without_items_is_refused_with_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"items\.json"):
        read_items(tmp_path)


def test_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(FolderError, match=r"broken\.json"):
        read_items(tmp_path)
