"""The life of the process: start, links, sudden death, second start, and the private PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_hub.local.postgres import PostgresUnavailable, PrivateCluster, find_installation
from tests.waiting import until


def postmasters(folder: Path) -> list[int]:
    """Process ids of PostgreSQL servers and their children that work below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                here = (process / "cwd").readlink()
            except OSError:
                continue
            if here.is_relative_to(folder.resolve()):
                found.append(int(process.name))
    return found


def test_what_was_answered_survives_kill_9(launch: Callable[..., Any], builders: Any) -> None:
    service = launch().start()
    service.add("kept")
    for number in range(40):
        answer = service.write("POST", "/collections/kept/items", builders.item(f"i{number:02d}"))
        assert answer.status_code == 201
    service.kill()
    again = launch().start()
    found = again.search(collections=["kept"], limit=100)
    assert builders.ids(found) == [f"i{number:02d}" for number in range(40)]
    assert again.search(bbox=[14.5, 46.5, 14.6, 46.6])["numberMatched"] == 40


def test_kill_9_in_the_midst_of_writing_leaves_whole_items(
    launch: Callable[..., Any], builders: Any
) -> None:
    from threading import Thread

    import httpx

    service = launch().start()
    service.add("kept")
    answered: list[str] = []

    def register() -> None:
        for number in range(1000):
            item = builders.item(f"i{number:04d}")
            try:
                status = service.write("POST", "/collections/kept/items", item).status_code
            except httpx.TransportError:
                return
            if status == 201:
                answered.append(item["id"])

    writer = Thread(target=register)
    writer.start()
    until(lambda: len(answered) >= 15, "the fifteenth answer", 10, pause=0.05)
    service.kill()
    writer.join(20)
    again = launch().start()
    found = builders.ids(again.search(collections=["kept"], limit=2000))
    assert set(answered) <= set(found)
    assert len(found) <= len(answered) + 1  # the one that was on its way may have arrived
    assert builders.ids(again.search(bbox=[14, 46, 15, 47], limit=2000)) == found


def test_an_orderly_stop_is_quick_and_the_next_start_finds_all(
    launch: Callable[..., Any], builders: Any
) -> None:
    service = launch(ensure_collections=[builders.collection("given", title="First")]).start()
    service.write("POST", "/collections/given/items", builders.item("a"))
    assert service.stop() < 5
    assert postmasters(service.folder) == []
    again = launch(
        ensure_collections=[
            builders.collection("given", title="Second"),
            builders.collection("more"),
        ]
    ).start()
    assert again.get("/collections/given/items/a").status_code == 200
    assert again.get("/collections/given").json()["title"] == "First"
    assert again.get("/collections/more").status_code == 200


def test_links_carry_the_public_address(launch_sqlite: Callable[..., Any], builders: Any) -> None:
    public = f"https://hub.example.org{builders.prefix}"
    service = launch_sqlite(public_url=public).start()
    service.add("a", *[builders.item(f"i{n}") for n in range(3)])
    for path in ("/", "/collections", "/collections/a", "/collections/a/items?limit=1"):
        for link in service.http.get(f"{service.root}{path}").json()["links"]:
            assert link["href"].startswith(public), (path, link)
    found = service.search(limit=1)
    assert builders.link(found, "next")["href"] == f"{public}/search"
    answer = service.http.get(
        f"{service.root}/", headers={"X-Forwarded-Host": "evil.example", "Host": "evil.example"}
    )
    assert "evil" not in answer.text


def test_links_follow_the_proxy_when_no_address_is_set(shared: Any, builders: Any) -> None:
    headers = {"X-Forwarded-Host": "hub.example.org:8443", "X-Forwarded-Proto": "https,http"}
    page = shared.http.get(f"{shared.root}/collections", headers=headers).json()
    expected = f"https://hub.example.org:8443{builders.prefix}/collections"
    assert builders.link(page, "self")["href"] == expected
    odd = {"X-Forwarded-Host": 'a/../b"><x', "X-Forwarded-Proto": "javascript"}
    page = shared.http.get(f"{shared.root}/collections", headers=odd).json()
    assert builders.link(page, "self")["href"] == f"{shared.root}/collections"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"host": "0.0.0.0"}, "loopback"),
        ({"host": "192.0.2.1"}, "loopback"),
        ({"unknown": 1}, "unknown"),
        ({"public_url": "https://hub.example.org/elsewhere"}, "prefix"),
        ({"public_url": "hub.example.org"}, "absolute"),
        ({"userinfo_seconds": 3600}, "userinfo_seconds"),
        ({"backend": "mongo"}, "backend"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    config = {"port": 9, "data_dir": str(tmp_path / "d"), "issuer": "http://127.0.0.1:9"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**config, **changes}))
    ended = subprocess.run(
        [sys.executable, "-m", "cscale_hub.local.catalogue", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert word in ended.stderr
    assert not (tmp_path / "d").exists()


def skip_without_postgres() -> None:
    try:
        find_installation()
    except PostgresUnavailable as error:
        pytest.skip(str(error))


def without_postgres(folder: Path) -> dict[str, str]:
    """An environment in which no user namespace can be made: as root, PostgreSQL cannot run."""
    tools = folder / "tools"
    tools.mkdir(parents=True)
    fake = tools / "unshare"
    fake.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root needs a user namespace")
def test_auto_falls_back_to_sqlite_says_why_and_keeps_to_it(
    launch_sqlite: Callable[..., Any], builders: Any, tmp_path: Path
) -> None:
    service = launch_sqlite(backend="auto").start(without_postgres(tmp_path))
    service.add("a", builders.item("one"))
    [line] = [line for line in service.log.read_text().splitlines() if "using SQLite" in line]
    assert "Operation not permitted" in line or "not installed" in line
    assert "would add" in line
    service.stop()
    again = launch_sqlite(backend="auto").start()
    assert again.get("/collections/a/items/one").status_code == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root needs a user namespace")
def test_a_catalogue_in_postgresql_is_not_forgotten_when_postgresql_is_gone(
    launch_pgstac: Callable[..., Any], builders: Any, tmp_path: Path
) -> None:
    service = launch_pgstac(backend="auto").start()
    assert "store pgstac" in service.log.read_text()
    service.add("a", builders.item("one"))
    service.stop()
    with pytest.raises(RuntimeError, match="ended at once"):
        launch_pgstac(backend="auto").start(without_postgres(tmp_path))
    assert "CSCALE_CATALOGUE__BACKEND=sqlite" in service.log.read_text()
    again = launch_pgstac(backend="auto").start()
    assert again.get("/collections/a/items/one").status_code == 200


class TestPrivatePostgres:
    """What is true of the pgstac store only."""

    def test_postgres_dies_with_a_killed_catalogue(self, launch_pgstac: Callable[..., Any]) -> None:
        service = launch_pgstac().start()
        assert postmasters(service.folder)
        service.kill()
        until(lambda: not postmasters(service.folder), "the end of PostgreSQL", 15)

    def test_a_new_start_right_after_kill_9_works(self, launch_pgstac: Callable[..., Any]) -> None:
        launch_pgstac().start().kill()
        launch_pgstac().start().kill()
        assert launch_pgstac().start().get("/healthz").status_code == 200

    def test_a_catalogue_whose_postgres_dies_ends_to_be_started_again(
        self, launch_pgstac: Callable[..., Any]
    ) -> None:
        service = launch_pgstac().start()
        lines = (service.folder / "data/pg/data/postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)
        until(lambda: service.process.poll() is not None, "the end of the catalogue", 10)
        assert launch_pgstac().start().get("/search").status_code == 200

    def test_an_old_pid_file_of_another_process_does_not_stop_the_start(
        self, launch_pgstac: Callable[..., Any]
    ) -> None:
        service = launch_pgstac().start()
        service.stop()
        stale = service.folder / "data/pg/data/postmaster.pid"
        stale.write_text(f"{os.getpid()}\n{stale.parent}\n1700000000\n5432\n\n\n\nready\n")
        assert launch_pgstac().start().get("/healthz").status_code == 200

    def test_the_cluster_is_private(self, launch_pgstac: Callable[..., Any]) -> None:
        service = launch_pgstac().start()
        pg = service.folder / "data/pg"
        assert stat.S_IMODE((pg / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(pg.stat().st_mode) == 0o700
        password = (pg / "password").read_text().strip()
        assert len(password) >= 32
        import psycopg

        place = {"host": str(pg / "socket"), "user": "cscale", "dbname": "catalogue"}
        with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
            psycopg.connect(**place, password="wrong")
        with psycopg.connect(**place, password=password) as db:
            listening = db.execute("SHOW listen_addresses").fetchone()
            buffers = db.execute("SHOW shared_buffers").fetchone()
        assert listening == ("",)
        assert buffers == ("64MB",)
        for process in [service.process.pid, *postmasters(service.folder)]:
            for name in ("cmdline", "environ"):
                try:
                    text = Path(f"/proc/{process}/{name}").read_text()
                except FileNotFoundError:
                    continue  # one of PostgreSQL's short-lived workers, gone by now
                assert password not in text

    def test_a_long_path_still_has_a_socket(self, tmp_path: Path) -> None:
        skip_without_postgres()
        folder = tmp_path / ("long" * 25)
        cluster = PrivateCluster(folder, find_installation())
        cluster.start()
        try:
            assert cluster.pid is not None
            assert not cluster.socket_folder.is_relative_to(folder)
            assert stat.S_IMODE(cluster.socket_folder.stat().st_mode) == 0o700
        finally:
            cluster.stop()
        assert cluster.pid is None
        assert not cluster.socket_folder.exists()

    def test_data_of_another_version_are_left_alone(self, tmp_path: Path) -> None:
        skip_without_postgres()
        (tmp_path / "data").mkdir()
        (tmp_path / "data/PG_VERSION").write_text("9\n")
        with pytest.raises(PostgresUnavailable, match="postgresql-9"):
            PrivateCluster(tmp_path, find_installation()).start()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(PostgresUnavailable, match="no_such_extension"):
        find_installation(("no_such_extension",))
