"""Downloads: resumed, verified, several at a time, and nowhere but in the folder."""

from __future__ import annotations

import _thread
import asyncio
import errno
import json
import os
import threading
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import CScaleError, DamagedData, Forbidden, InvalidInput, StorageFull
from cscale_core.ingest import downloads, local_parts
from cscale_core.ingest.downloads import download
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

DATA = bytes(range(256)) * 4000  # a megabyte in more than one chunk


def item(identifier: str = "i", **assets: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": identifier,
        "collection": "c",
        "geometry": None,
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": assets,
    }


def asset(href: str, data: bytes | None = None) -> dict[str, Any]:
    """An asset, with size and checksum when its bytes are given."""
    if data is None:
        return {"href": href}
    return {
        "href": href,
        "file:size": len(data),
        "file:checksum": "1220" + sha256(data).hexdigest(),
    }


@pytest.fixture
def site(source: Any, make_site: Callable[..., Site]) -> Site:
    return make_site(allowed_hosts=[source.url.removeprefix("http://")])


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def test_files_come_to_the_items_folder_and_are_not_fetched_twice(
    source: Any, site: Site, tmp_path: Path
) -> None:
    items = [
        item(str(n), a=asset(source.add(f"/{n}/a.tif", DATA + bytes([n])), DATA + bytes([n])))
        for n in range(9)
    ]
    news: list[tuple[Any, ...]] = []
    threads = set()

    def progress(*said: Any) -> None:
        news.append(said)
        threads.add(threading.current_thread())

    paths = download(items, tmp_path / "d", site=site, progress=progress)
    assert paths == [tmp_path / "d" / str(n) / "a.tif" for n in range(9)]
    assert [path.read_bytes()[-1] for path in paths] == list(range(9))
    assert leftovers(tmp_path) == []
    whole = 9 * (len(DATA) + 1)
    assert news[-1][:4] == (9, 9, whole, whole)
    assert threads == {threading.current_thread()}
    asked = len(source.requests)
    assert download(items, tmp_path / "d", site=site) == paths
    assert len(source.requests) == asked


def test_broken_download_goes_on_where_it_ended_also_in_another_run(
    source: Any, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = source.add("/a.bin", DATA)
    source.broken_after["/a.bin"] = [300_000]

    def full(*_: Any, **__: Any) -> Any:
        raise StorageFull("no room")

    # The first run ends in the middle.
    real = local_parts.Part.add
    written = []

    def add(self: Any, data: bytes) -> None:
        if sum(written) + len(data) > 500_000:
            full()
        written.append(len(data))
        real(self, data)

    monkeypatch.setattr(local_parts.Part, "add", add)
    with pytest.raises(StorageFull) as caught:
        download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert "0 of 1 files" in caught.value.hint
    assert leftovers(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    assert not (tmp_path / "i/a.bin").exists()
    monkeypatch.setattr(local_parts.Part, "add", real)
    (path,) = download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA
    first, second, third = source.gets("/a.bin")
    assert first == ""
    assert int(second.removeprefix("bytes=").rstrip("-")) > 0
    assert third == f"bytes={sum(written)}-"
    assert leftovers(tmp_path) == []


def test_changed_source_starts_anew(source: Any, site: Site, tmp_path: Path) -> None:
    old = bytes(len(DATA))
    (tmp_path / "i").mkdir()
    (tmp_path / "i/.a.bin.part").write_bytes(old[:500_000])
    (tmp_path / "i/.a.bin.part.json").write_text(
        json.dumps({"size": len(DATA), "validator": '"of another version"'})
    )
    (path,) = download([item(a=asset(source.add("/a.bin", DATA)))], tmp_path, site=site)
    assert path.read_bytes() == DATA


def test_part_that_nobody_can_vouch_for_is_fetched_again(
    source: Any, site: Site, tmp_path: Path
) -> None:
    source.without_etag.add("/a.bin")
    url = source.add("/a.bin", DATA)
    (tmp_path / "i").mkdir()
    (tmp_path / "i/.a.bin.part").write_bytes(b"x" * 500_000)
    (tmp_path / "i/.a.bin.part.json").write_text(json.dumps({"size": len(DATA), "validator": ""}))
    # With a checksum it is tried, found wrong, and fetched again.
    (path,) = download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA
    assert source.gets("/a.bin") == ["bytes=500000-", ""]


def test_damaged_file_is_told_others_are_kept_and_nothing_wrong_gets_its_name(
    source: Any, site: Site, tmp_path: Path
) -> None:
    good, bad = source.add("/good.bin", DATA), source.add("/bad.bin", DATA)
    wrong = asset(bad, DATA) | {"file:checksum": "1220" + sha256(b"other").hexdigest()}
    items = [item(good=asset(good, DATA), bad=wrong)]
    with pytest.raises(DamagedData, match="bad of i") as caught:
        download(items, tmp_path, site=site)
    assert "1 of 2 files" in caught.value.hint
    assert (tmp_path / "i/good.bin").read_bytes() == DATA
    assert not (tmp_path / "i/bad.bin").exists()
    assert leftovers(tmp_path) == []


def test_file_of_another_size_is_damaged(source: Any, site: Site, tmp_path: Path) -> None:
    short = asset(source.add("/a.bin", DATA)) | {"file:size": len(DATA) + 5}
    with pytest.raises(DamagedData, match="bytes"):
        download([item(a=short)], tmp_path, site=site)
    assert not (tmp_path / "i/a.bin").exists()


def test_changed_copy_is_replaced_and_a_right_one_of_unknown_checksum_is_kept(
    source: Any, site: Site, tmp_path: Path
) -> None:
    url = source.add("/a.bin", DATA)
    (path,) = download([item(a=asset(url, DATA))], tmp_path, site=site)
    path.write_bytes(DATA[:-1] + b"!")
    download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA
    before = path.stat().st_mtime_ns
    # Nothing is stated: the source's size decides.
    download([item(a=asset(url))], tmp_path, site=site)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"cut")
    download([item(a=asset(url))], tmp_path, site=site)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("status", [401, 403, 410])
def test_links_that_ended_are_asked_for_once_for_all_files(
    source: Any, site: Site, tmp_path: Path, status: int
) -> None:
    names = [f"f{n}" for n in range(6)]
    for name in names:
        source.add(f"/new/{name}.bin", DATA)
        source.add(f"/old/{name}.bin", DATA)
        source.statuses[f"/old/{name}.bin"] = [status] * 9
    old = item(**{n: asset(f"{source.url}/old/{n}.bin", DATA) for n in names})
    new = item(**{n: asset(f"{source.url}/new/{n}.bin", DATA) for n in names})
    asked = []

    def fresh() -> list[dict[str, Any]]:
        asked.append(1)
        return [new]

    paths = download([old], tmp_path, site=site, fresh=fresh)
    assert all(path.read_bytes() == DATA for path in paths)
    assert len(asked) == 1


def test_fresh_link_that_does_not_work_either_ends_it(
    source: Any, site: Site, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        source.add(f"/{name}.bin", DATA)
        source.statuses[f"/{name}.bin"] = [403] * 9
    asked = []

    def fresh() -> list[dict[str, Any]]:
        asked.append(1)
        return [item(a=asset(f"{source.url}/new.bin?sig=secret", DATA))]

    with pytest.raises(CScaleError) as caught:
        download([item(a=asset(f"{source.url}/old.bin", DATA))], tmp_path, site=site, fresh=fresh)
    assert len(asked) == 1
    assert "secret" not in json.dumps(caught.value.as_dict())


def test_nothing_is_written_outside_the_folder(source: Any, site: Site, tmp_path: Path) -> None:
    source.add("/a/../../evil.bin", DATA)
    url = f"{source.url}/a/..%2F..%2Fevil.bin"
    folder = tmp_path / "d"
    bad = item("../../up", **{"../../a": asset(url, DATA), "/etc/x": asset(url, DATA)})
    paths = download([bad], folder, site=site)
    assert len(set(paths)) == 2
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in paths)
    assert {path.name for path in tmp_path.iterdir()} == {"d"}


def test_links_in_the_folder_are_not_followed(source: Any, site: Site, tmp_path: Path) -> None:
    url = source.add("/a.bin", DATA)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    folder = tmp_path / "d"
    (folder / "i").mkdir(parents=True)
    (folder / "i/.a.bin.part").symlink_to(outside / "precious")
    (folder / "i/a.bin").symlink_to(outside / "precious")
    download([item(a=asset(url, DATA))], folder, site=site)
    assert (outside / "precious").read_text() == "mine"
    assert not (folder / "i/a.bin").is_symlink()
    (folder / "j").symlink_to(outside)
    with pytest.raises(Forbidden, match="leads out"):
        download([item("j", a=asset(url, DATA))], folder, site=site)
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_folder_without_room_is_said_before_anything_is_fetched(
    source: Any, site: Site, tmp_path: Path
) -> None:
    huge = asset(source.add("/a.bin", DATA)) | {"file:size": 10**18}
    with pytest.raises(StorageFull, match="has room for"):
        download([item(a=huge)], tmp_path, site=site)
    assert source.requests == []


def test_full_disk_keeps_what_arrived(
    source: Any, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = source.add("/a.bin", DATA)
    with monkeypatch.context() as patched:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="no room left"):
            download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert (tmp_path / "i/.a.bin.part").stat().st_size == len(DATA)
    (path,) = download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA
    assert len(source.gets("/a.bin")) == 1


def test_interrupt_keeps_the_parts(source: Any, site: Site, tmp_path: Path) -> None:
    url = source.add("/a.bin", DATA)
    source.slow["/a.bin"] = 0.05

    def progress(done: int, of: int, here: int, total: int | None, message: str) -> None:
        if here > 300_000:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        download([item(a=asset(url, DATA))], tmp_path, site=site, progress=progress)
    assert (tmp_path / "i/.a.bin.part").stat().st_size > 300_000
    assert not (tmp_path / "i/a.bin").exists()
    source.slow.clear()
    (path,) = download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA
    assert source.gets("/a.bin")[1].startswith("bytes=")


def test_progress_that_fails_ends_it(source: Any, site: Site, tmp_path: Path) -> None:
    def progress(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        download(
            [item(a=asset(source.add("/a", DATA), DATA))], tmp_path, site=site, progress=progress
        )
    assert not any(thread.name == "download" for thread in threading.enumerate())


async def test_it_works_where_a_loop_of_events_is_running(
    source: Any, site: Site, tmp_path: Path
) -> None:
    assert asyncio.get_running_loop().is_running()
    (path,) = download([item(a=asset(source.add("/a.bin", DATA), DATA))], tmp_path, site=site)
    assert path.read_bytes() == DATA


def test_hosts_that_are_not_allowed_are_not_asked(
    source: Any, make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = source.add("/a.bin", DATA)
    monkeypatch.delenv("CSCALE_SITE_FILE", raising=False)
    for site in (make_site(), None):
        with pytest.raises(Forbidden):
            download([item(a=asset(url, DATA))], tmp_path, site=site)
    assert source.requests == []


def test_only_what_was_chosen_comes_and_what_cannot_is_said(
    source: Any, site: Site, tmp_path: Path
) -> None:
    url = source.add("/a.bin", DATA)
    both = item(a=asset(url, DATA), b=asset("s3://others/b.bin"), c=asset(url + "?c", DATA))
    (path,) = download([both], tmp_path, assets=["a"], site=site)
    assert path.name.startswith("a")
    with pytest.warns(UserWarning, match="b of i cannot be read"):
        assert len(download([both], tmp_path, site=site)) == 2
    with pytest.raises(InvalidInput, match="no asset x"):
        download([both], tmp_path, assets=["x"], site=site)
    with warnings.catch_warnings(), pytest.raises(InvalidInput):
        download([item(b=asset("s3://others/b.bin"))], tmp_path, site=site)


def test_items_of_one_id_do_not_share_a_folder(source: Any, site: Site, tmp_path: Path) -> None:
    one = item(a=asset(source.add("/1/a.bin", DATA), DATA))
    other = DATA + b"2"
    two = item(a=asset(source.add("/2/a.bin", other), other)) | {"collection": "d"}
    first, second = download([one, two], tmp_path, site=site)
    assert (first.read_bytes(), second.read_bytes()) == (DATA, other)


def test_objects_of_our_store_come_by_s3_and_go_on(
    weed: Any, make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_PIECE", 300_000)
    site = make_site(s3={"endpoint": weed.endpoint})
    store = ObjectStore(site)
    address = ObjectAddress("vobucket", "users/utest/jobs/j/a b.bin")
    store.put(address, DATA, metadata={"sha256": sha256(DATA).hexdigest()})
    one = item(a={"href": "https://elsewhere.example/a", "alternate": {"s3": {"href": address.s3}}})
    ranges = []
    real = ObjectStore.get

    def get(self: Any, address: ObjectAddress, *, start: int = 0, length: int | None = None) -> Any:
        ranges.append(start)
        if len(ranges) == 3:
            raise CScaleError("the store is away", retryable=True)
        return real(self, address, start=start, length=length)

    monkeypatch.setattr(ObjectStore, "get", get)
    with pytest.raises(CScaleError, match="away"):
        download([one], tmp_path, site=site)
    (path,) = download([one], tmp_path, site=site)
    assert path.read_bytes() == DATA
    assert ranges == [0, 300_000, 600_000, 600_000, 900_000]
    download([one], tmp_path, site=site)
    assert len(ranges) == 5
    # Its bytes are compared with what was noted when they were verified.
    store.put(address, DATA[::-1], metadata={"sha256": sha256(DATA).hexdigest()})
    path.unlink()
    with pytest.raises(DamagedData, match="checksum"):
        download([one], tmp_path, site=site)
