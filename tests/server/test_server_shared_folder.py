"""``~/shared/<vo>``: in the file browser and as folders, read-only but for what is one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import pytest

from cscale_core.site import Grant, Site
from cscale_server import app as app_module
from cscale_server import shared_folder
from cscale_server.listener import LoopbackListener
from cscale_server.mounts import Mounts, in_thread, mounted, why_no_fuse
from tests.waiting import soon

VO, BUCKET = "aqua.example", "aquamonitor"
MINE = f"shared/{VO}/published/utest"
TEXT = {"type": "file", "format": "text", "content": "x"}


def grants(*given: tuple[str, str, str]) -> tuple[Grant, ...]:
    return tuple(
        Grant(bucket=BUCKET, prefix=prefix, access=access, vo=VO, purpose=purpose)
        for prefix, access, purpose in given
    )


MEMBER = grants(
    ("products/", "rw", "products"),
    ("shared/", "ro", "shared"),
    ("shared/published/utest/", "rw", "shared"),
)


@pytest.fixture
def member(make_site: Any) -> Callable[..., Site]:
    def make(endpoint: str = "http://127.0.0.1:9", **changes: Any) -> Site:
        return make_site(endpoint, **{"vos": (VO,), "grants": MEMBER} | changes)  # type: ignore[no-any-return]

    return make


@pytest.fixture
async def server(
    start_server: Any, store: Any, member: Any, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setattr(app_module, "NoBroker", lambda: broker)
    store.write("shared/examples/lake.ipynb", b"{}")
    store.write("shared/published/uother/x/v0001.ipynb", b"{}")
    return await start_server(member(store.endpoint))


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(entry["name"] for entry in answer.json()["content"])


# -- the file browser --------------------------------------------------------------------------


async def test_the_vo_s_shared_folder_is_read_and_the_own_part_of_it_written(
    server: Any, store: Any
) -> None:
    assert {"s3", "shared"} <= set(names(await server.contents("GET", "")))
    assert names(await server.contents("GET", "shared")) == [VO]
    assert names(await server.contents("GET", f"shared/{VO}")) == ["examples", "published"]
    assert names(await server.contents("GET", f"shared/{VO}/published")) == ["uother", "utest"]
    assert names(await server.contents("GET", f"shared/{VO}/examples")) == ["lake.ipynb"]

    made = await server.contents("PUT", f"{MINE}/notes.txt", json=TEXT)
    assert made.status_code == 201, made.text
    assert made.json()["path"] == f"{MINE}/notes.txt"
    assert store.read("shared/published/utest/notes.txt") == b"x"
    assert (await server.contents("DELETE", f"{MINE}/notes.txt")).status_code == 204
    file = await server.http.get(f"files/shared/{VO}/examples/lake.ipynb")
    assert file.content == b"{}"


@pytest.mark.parametrize(
    "path",
    [
        f"shared/{VO}/new.txt",
        f"shared/{VO}/examples/lake.txt",
        f"shared/{VO}/published/uother/x/evil.txt",
        f"shared/{VO}/published/new.txt",
        f"shared/{VO}",
        "shared/new.txt",
        "shared",
    ],
)
async def test_nothing_else_is_written(server: Any, store: Any, path: str) -> None:
    before = store.keys()
    answer = await server.contents("PUT", path, json=TEXT)
    assert answer.status_code in (403, 404), answer.text
    assert (await server.contents("DELETE", path)).status_code in (403, 404)
    moved = await server.contents("PATCH", path, json={"path": f"{MINE}/moved"})
    assert moved.status_code in (403, 404, 409), moved.text
    assert store.keys() == before
    assert not (server.home / "shared").exists()


@pytest.mark.parametrize(
    "path",
    [
        "shared/other.example",
        f"shared/{BUCKET}",
        f"shared/{VO}/%2E%2E/products",
        f"shared/{VO}/../../s3/{BUCKET}/users",
        f"shared/{VO}/published/%2E%2E/%2E%2E/users",
        f"shared//{VO}",
    ],
)
async def test_no_path_leads_out_of_it(server: Any, store: Any, path: str) -> None:
    store.write("users/uother/secret.txt", b"no")
    answer = await server.contents("GET", path)
    assert answer.status_code in (400, 404), (path, answer.text)


async def test_a_folder_of_that_name_that_is_the_users_own_stays_theirs(
    start_server: Any, store: Any, member: Any, tmp_path: Path
) -> None:
    own = tmp_path / "home" / "shared" / "photos"
    own.mkdir(parents=True)
    server = await start_server(member(store.endpoint))
    assert names(await server.contents("GET", "shared")) == ["photos"]
    assert (await server.contents("PUT", "shared/x.txt", json=TEXT)).status_code == 201
    assert (tmp_path / "home" / "shared" / "x.txt").exists()


async def test_without_shared_places_there_is_no_such_folder(
    start_server: Any, store: Any, make_site: Any
) -> None:
    server = await start_server(make_site(store.endpoint))
    assert "shared" not in names(await server.contents("GET", ""))
    assert (await server.contents("GET", "shared")).status_code == 404


# -- links for kernels and terminals -----------------------------------------------------------


def test_links_lead_to_the_mount_and_follow_the_vos(tmp_path: Path, member: Any) -> None:
    site = member()
    shared_folder.make_links(tmp_path, site)
    link = tmp_path / "shared" / VO
    assert link.readlink() == Path(site.mount) / BUCKET / "shared"
    assert shared_folder.is_ours(tmp_path, site)
    shared_folder.make_links(tmp_path, site)
    (tmp_path / "shared" / "left.example").symlink_to(Path(site.mount) / "left" / "shared")
    shared_folder.make_links(tmp_path, site)
    assert [entry.name for entry in (tmp_path / "shared").iterdir()] == [VO]
    shared_folder.make_links(tmp_path, site.model_copy(update={"grants": (), "vos": ()}))
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link elsewhere", "file itself", "link itself"])
def test_what_is_the_users_own_is_left_alone(tmp_path: Path, member: Any, kind: str) -> None:
    home = tmp_path / "h"
    folder = home / "shared"
    home.mkdir()
    if kind == "file itself":
        folder.write_text("x", encoding="utf-8")
    elif kind == "link itself":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        entry = folder / VO
        if kind == "file":
            entry.write_text("x", encoding="utf-8")
        elif kind == "folder":
            entry.mkdir()
        else:
            entry.symlink_to(tmp_path)
    before = sorted(home.rglob("*"))
    shared_folder.make_links(home, member())
    assert not shared_folder.is_ours(home, member())
    assert sorted(home.rglob("*")) == before


# -- mounts ------------------------------------------------------------------------------------


@pytest.fixture
async def mounts(
    tmp_path: Path, broker: Any, store: Any, member: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mounts]:
    if missing := why_no_fuse():
        pytest.skip(missing)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    site = member(store.endpoint, mount_mode="fuse")
    listener = LoopbackListener(broker, tmp_path / "runtime")
    listener.bind()
    await listener.start()
    made = Mounts(site, tmp_path / "runtime", listener.environment(site), getLogger("mounts"))
    await made.start()
    yield made
    await made.stop()
    await listener.stop()
    assert mounted(tmp_path) == []


async def test_the_shared_folder_is_mounted_read_only_with_what_is_published(
    mounts: Mounts, store: Any, tmp_path: Path
) -> None:
    store.write("shared/published/utest/lake/v0001.ipynb", b"{}")
    store.write("shared/published/uother/sea/v0001.ipynb", b"[]")
    await soon(lambda: all(grant.state == "ok" for grant in mounts.status()), "every mount")
    assert [str(mount.grant.prefix) for mount in mounts.mounts] == ["products/", "shared/"]
    status = {grant.prefix: grant for grant in mounts.status()}
    own = status["shared/published/utest/"]
    assert (own.access, own.path) == (
        "ro",
        str(tmp_path / "home" / "s3" / BUCKET / "shared/published/utest"),
    )
    assert "written by publishing" in own.detail
    await mounts.refresh()

    def look() -> list[str]:
        folder = tmp_path / "home" / "shared" / VO
        with pytest.raises(OSError):
            (folder / "published" / "uother" / "sea" / "evil.ipynb").write_bytes(b"x")
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ipynb"))

    assert await in_thread(look, 15) == [
        "published/uother/sea/v0001.ipynb",
        "published/utest/lake/v0001.ipynb",
    ]
