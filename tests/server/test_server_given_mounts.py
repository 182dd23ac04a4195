"""Buckets that somebody else mounts are looked at, and hold nothing up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cscale_core.site import Site
from cscale_server import given_mounts
from cscale_server.given_mounts import GivenMount, GivenMounts


def site(root: Path, **members: Any) -> Site:
    grant = {"access": "rw", "vo": "aqua", "purpose": "home"}
    return Site.model_validate(
        {
            "user": "u",
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": "http://127.0.0.1:9"},
            "mount": str(root),
            "mount_mode": "given",
            "grants": [
                {**grant, "bucket": "aqua", "prefix": "users/u/"},
                {**grant, "bucket": "other", "prefix": ""},
            ],
            "unmounted": ["other"],
            **members,
        }
    )


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "aqua/users/u"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(place)], check=False)


async def test_what_is_mounted_is_told_from_what_is_not(mounted: Path) -> None:
    mounts = GivenMounts(site(mounted))
    await mounts.refresh()
    states = {each.bucket: each.state for each in mounts.status()}
    assert states == {"aqua": "ok", "other": "off"}
    assert mounts.mode == "given"


async def test_a_place_in_another_is_seen_through_it(mounted: Path) -> None:
    outer = {"access": "ro", "vo": "aqua", "purpose": "shared", "bucket": "aqua"}
    grants = [
        {**outer, "access": "rw", "prefix": "users/u/published/"},
        {**outer, "prefix": "users/u/"},
    ]
    mounts = GivenMounts(site(mounted, grants=grants))
    await mounts.refresh()
    first, inside = mounts.status()
    assert (first.state, inside.state) == ("ok", "ok")
    assert inside.path == str(mounted / "aqua/users/u/published")
    assert inside.access == "ro"
    assert "written by publishing" in inside.detail


async def test_a_plain_folder_is_no_mount(tmp_path: Path) -> None:
    """It is what is there before the node binds the bucket, and after a mount has gone."""
    mounts = GivenMounts(site(tmp_path))
    await mounts.refresh()
    assert mounts.status()[0].state == "starting"
    (tmp_path / "aqua/users/u").mkdir(parents=True)
    await mounts.refresh()
    assert mounts.status()[0].state == "starting"


async def test_one_that_hangs_is_shown_and_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_mounts, "PROBE_LIMIT", 0.1)
    go_on, asked = threading.Event(), []
    found = GivenMount(site(tmp_path).grants[0], site(tmp_path))
    answers = found._answers

    def hang() -> bool:
        asked.append(1)
        go_on.wait(30)
        return answers()

    monkeypatch.setattr(found, "_answers", hang)
    for _ in range(3):
        await found.look()
        assert found.state == "stalled"
        assert "has not answered" in found.detail
    assert len(asked) == 1
    go_on.set()
    async with asyncio.timeout(20):
        while found.state == "stalled":
            await asyncio.sleep(0.05)
            await found.look()
    assert found.state == "starting"


async def test_looking_ends_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    mounts = GivenMounts(site(tmp_path))
    await mounts.start()
    await asyncio.sleep(0)
    await mounts.stop()
    await mounts.stop()
