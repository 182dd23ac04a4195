"""What can happen to the file of the job list: damage, locks, a full disk, other versions."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cscale_core.errors import Conflict, CScaleError, DamagedData, InvalidInput, StorageFull
from cscale_core.jobs.model import JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore, backup
from cscale_core.jobs.store import file as file_module
from cscale_core.jobs.store.schema import VERSION

PAGE = 4096


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"engine": "staging", "process": {"items": [{"id": "a"}]}, **changes}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "jobs.sqlite"


def filled(path: Path, count: int = 40) -> list[str]:
    """A closed list of jobs with logs and notes; their ids."""
    store = JobStore(path)
    ids = []
    for number in range(count):
        job, _ = store.create(
            spec(title=f"job {number}", process={"items": [{"id": "y" * 2000}]}), f"key {number}"
        )
        store.append_logs(job.id, [(utc_now(), "info", f"line of {number}")], {"cursor": number})
        ids.append(job.id)
    store.close()
    return ids


def opened(path: Path) -> JobStore:
    store = JobStore(path)
    store.open()
    return store


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "header":
        data[:PAGE] = b"\xff" * PAGE
    elif kind == "pages":
        data[PAGE * 12 : PAGE * 24] = b"\x00" * PAGE * 12
    elif kind == "cut":
        del data[len(data) // 2 :]
    elif kind == "noise":
        data[PAGE * 10 : PAGE * 14] = os.urandom(PAGE * 4)
    elif kind == "empty":
        data.clear()
    path.write_bytes(data)


# -- backups -------------------------------------------------------------------------------------


def test_backup_is_made_once_a_day_and_two_are_kept(path: Path) -> None:
    ids = filled(path)
    assert not opened(path).problem
    newest, older = (path.with_name(f"jobs.sqlite.backup-{number}") for number in (1, 2))
    assert newest.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(newest)) as connection:
        assert {row[0] for row in connection.execute("SELECT id FROM jobs")} == set(ids)
    made = newest.stat().st_mtime_ns
    opened(path)
    assert newest.stat().st_mtime_ns == made
    for days in (2, -3):  # a clock that was wrong does not end the backups
        moment = newest.stat().st_mtime - days * 86_400
        os.utime(newest, (moment, moment))
        opened(path)
        assert newest.stat().st_mtime != moment
        assert older.stat().st_mtime == moment
    names = {one.name for one in path.parent.iterdir()}
    assert names == {"jobs.sqlite", newest.name, older.name}


def test_empty_list_is_not_backed_up(path: Path) -> None:
    opened(path).close()
    assert opened(path).backups() == []


def test_no_backup_on_a_full_disk_and_the_log_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filled(path)
    full = shutil.disk_usage(path.parent)._replace(free=1000)
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda _: full)
    store = opened(path)
    assert store.problem is None
    assert store.backups() == []
    assert "no backup of the job list" in caplog.text


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["header", "pages", "cut", "noise", "empty"])
def test_damaged_list_is_shown_from_what_is_left_and_recovered_whole(path: Path, kind: str) -> None:
    ids = filled(path)
    store = opened(path)  # makes the backup
    late, _ = store.create(spec(title="after the backup"), "late")
    store.update(ids[3], status=JobStatus.CANCELED)
    store.close()
    damage(path, kind)
    before = path.read_bytes()

    for _ in range(2):  # the second time is a restart of the server
        store = opened(path)
        assert isinstance(store.problem, DamagedData)
        assert "Recover" in store.problem.hint
        assert str(path) in store.problem.hint
        shown = {job.id for job in store.list()}
        assert set(ids) <= shown
        assert store.changes().whole
        assert store.state(ids[5]) == {"cursor": 5}
        assert store.logs(ids[5])[0].message == "line of 5"
        for write in (
            lambda store=store: store.create(spec()),
            lambda store=store: store.update(ids[0], message="x"),
            lambda store=store: store.append_logs(ids[0], [(utc_now(), "info", "x")]),
            lambda store=store: store.take_lease("t", "{}", None),
        ):
            with pytest.raises(DamagedData):
                write()
        store.close()
        assert path.read_bytes() == before, "nothing is written to a damaged file"

    store.recover()
    assert store.problem is None
    assert set(ids) <= {job.id for job in store.list()}
    if kind == "header":
        assert store.get(late.id).spec.title == "after the backup"
        assert store.get(ids[3]).status == JobStatus.CANCELED
    again, new = store.create(spec(title="job 7", process={"items": [{"id": "y" * 2000}]}), "key 7")
    assert (again.id, new) == (ids[7], False), "keys hold over a recovery"
    asides = list(path.parent.glob("jobs.sqlite.damaged-*"))
    assert [one.read_bytes() for one in asides] == ([before] if before else [])
    with pytest.raises(Conflict, match="not damaged"):
        store.recover()
    store.close()
    assert opened(path).problem is None


def test_damaged_list_without_a_backup_gives_the_rows_that_can_be_read(path: Path) -> None:
    ids = filled(path)
    damage(path, "pages")
    store = opened(path)
    found = {job.id for job in store.list()}
    assert 10 < len(found) < len(ids)
    assert found < set(ids)
    assert f"{len(found)} jobs could be read" in store.problem.hint  # type: ignore[union-attr]


def test_first_page_of_the_backup_opens_a_list_whose_own_is_lost(path: Path) -> None:
    filled(path)
    store = opened(path)
    newer, _ = store.create(spec(title="newer than the backup"))
    store.close()
    damage(path, "header")
    assert opened(path).get(newer.id).spec.title == "newer than the backup"


def test_deleted_job_does_not_come_back_from_the_backup(path: Path) -> None:
    ids = filled(path, 10)
    store = opened(path)
    store.update(ids[2], status=JobStatus.CANCELED)
    store.delete(ids[2])
    store.close()
    damage(path, "header")
    store = opened(path)
    assert {job.id for job in store.list()} == set(ids) - {ids[2]}


def test_job_from_the_backup_says_so_in_its_log(path: Path) -> None:
    ids = filled(path)
    opened(path).close()
    path.unlink()
    store = opened(path)
    assert isinstance(store.problem, DamagedData)
    assert "backup" in store.logs(ids[0])[-1].message


def test_damage_that_shows_while_in_use_loses_nothing_that_was_read(path: Path) -> None:
    ids = filled(path)
    store = opened(path)
    for one in store.backups():
        one.unlink()
    assert len(store.list()) == len(ids)
    data = bytearray(path.read_bytes())
    data[PAGE * 2 :] = b"\x07" * (len(data) - PAGE * 2)
    path.write_bytes(data)
    assert store._connection is not None
    store._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(DamagedData):
        store.get(ids[0])
    assert {job.id for job in store.list()} == set(ids)
    store.recover()
    assert {job.id for job in store.list()} == set(ids)


def test_reader_of_before_a_recovery_gets_the_whole_list(path: Path) -> None:
    filled(path)
    store = opened(path)
    seen = store.changes().revision
    store.close()
    damage(path, "noise")
    store = opened(path)
    store.recover()
    for since in (seen - 1, seen, seen + 3):
        assert store.changes(since).whole


def test_other_server_finds_the_recovered_list_by_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "AGAIN_SECONDS", 0.0)
    ids = filled(path)
    running = opened(path)
    damage(path, "pages")
    one, two = opened(path), opened(path)
    assert one.problem
    assert two.problem
    one.recover()
    two.look_again()
    assert two.problem is None
    assert {job.id for job in two.list()} == set(ids)
    # One that still has the old file open notices that it is no longer the list.
    with contextlib.suppress(CScaleError):
        running.update(ids[1], message="to the old file?")
    running.update(ids[1], message="to the new one")
    assert two.get(ids[1]).message == "to the new one"


# -- locks ---------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(file_module, "AGAIN_SECONDS", 0.0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.usefixtures("impatient")
def test_list_that_another_process_writes_can_be_retried(path: Path) -> None:
    (job_id,) = filled(path, 1)
    store = opened(path)
    with locked(path):
        with pytest.raises(Conflict) as caught:
            store.create(spec())
        assert caught.value.retryable
        assert store.problem is not None
        assert store.problem.retryable
    store.look_again()
    assert store.problem is None
    assert store.get(job_id)


@pytest.mark.usefixtures("impatient")
def test_list_that_is_locked_at_open_shows_its_backup_until_it_is_free(path: Path) -> None:
    ids = filled(path)
    opened(path).close()
    with locked(path):
        store = opened(path)
        assert isinstance(store.problem, Conflict)
        assert store.problem.retryable
        assert "backup" in store.problem.hint
        assert {job.id for job in store.list()} == set(ids)
        store.look_again()
        assert store.problem is not None
    store.look_again()
    assert store.problem is None
    assert store.create(spec())[1]


# -- disks ---------------------------------------------------------------------------------------


def test_full_disk_is_said_and_nothing_is_lost(path: Path) -> None:
    (job_id,) = filled(path, 1)
    store = opened(path)
    assert store._connection is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull, match="no room"):
        store.create(spec(process={"items": [{"id": "z" * 100_000}]}))
    assert isinstance(store.problem, StorageFull)
    assert [one.id for one in store.list()] == [job_id]
    assert store.update(job_id, message="what fits is written").message
    assert store.problem is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_list_on_a_disk_that_is_really_full(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "AGAIN_SECONDS", 0.0)
    store = opened(small_disk / "jobs.sqlite")
    job, _ = store.create(spec())
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(b"\x00" * 1024)
            file.flush()
    with pytest.raises(StorageFull):
        store.create(spec(process={"items": [{"id": "z" * 50_000}]}))
    assert isinstance(store.problem, StorageFull)
    assert store.get(job.id) == job
    store.close()
    store = opened(store.path)  # a server that starts on a full disk
    assert store.get(job.id) == job
    with pytest.raises(StorageFull):
        store.create(spec(process={"items": [{"id": "z" * 50_000}]}))
    store.look_again()
    filler.unlink()
    store.look_again()
    assert store.problem is None
    assert store.create(spec(process={"items": [{"id": "z" * 50_000}]}))[1]


def test_list_on_a_read_only_file_system(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "AGAIN_SECONDS", 0.0)
    path = small_disk / "jobs.sqlite"
    ids = filled(path, 5)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = opened(path)
    assert store.problem is not None
    assert store.problem.retryable
    assert {job.id for job in store.list()} == set(ids)
    with pytest.raises(CScaleError, match="only be read"):
        store.create(spec())
    store.look_again()
    assert store.problem is not None
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    store.look_again()
    assert store.problem is None
    assert store.create(spec())[1]


# -- other versions ------------------------------------------------------------------------------

VERSION_ONE = """
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (12);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL UNIQUE,
    status TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    spec TEXT NOT NULL,
    results TEXT NOT NULL DEFAULT '[]',
    state TEXT NOT NULL DEFAULT '{}',
    document TEXT NOT NULL
);
CREATE TABLE logs (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    time TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (job_id, id)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def version_one(path: Path) -> None:
    """A list as the first version wrote it: one job finished, one being canceled, one failed."""
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_ONE)

    def row(
        number: int, spec: dict[str, Any], state: dict[str, Any], results: str, **members: Any
    ) -> None:
        document = {
            "id": f"j-26010112000{number}-0000000{number}",
            "revision": number,
            "status": "created",
            "progress": None,
            "message": "",
            "created": "2026-01-01T12:00:00Z",
            "updated": "2026-01-01T12:30:00Z",
            "started": None,
            "ended": None,
            "engine_id": "",
            "ui_path": "",
            "usage": {},
            "error": None,
            "idempotency_key": "",
            **members,
        }
        whole = {"title": "", "backend": "", "vo": "", "options": {}, "inputs": [], "output": ""}
        connection.execute(
            "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document["id"],
                number,
                document["status"],
                document["idempotency_key"] or None,
                json.dumps({**whole, **spec}),
                results,
                json.dumps(state),
                json.dumps(document),
            ),
        )
        connection.execute(
            "INSERT INTO logs VALUES (?, 1, '2026-01-01T12:00:01+00:00', 'info', 'began')",
            (document["id"],),
        )

    row(
        1,
        {"engine": "staging", "title": "old", "process": {"items": [{"id": "i"}]}},
        {},
        '[{"id": "r"}]',
        status="finished",
        progress=1.0,
        started="2026-01-01T12:01:00Z",
        ended="2026-01-01T12:30:00Z",
        usage={"bytes": 5},
        idempotency_key="k1",
    )
    graph = {"process_graph": {"a": {"process_id": "add"}}}
    row(
        2,
        {"engine": "openeo", "backend": "here", "process": graph},
        {"cancel": True, "creating": 5},
        "[]",
        status="running",
        started="2026-01-01T12:02:00Z",
        engine_id="remote-7",
    )
    row(
        3,
        {"engine": "spark", "process": {"application": "ndvi", "arguments": {}}},
        {},
        "[]",
        status="error",
        ended="2026-01-01T12:10:00Z",
        error={"code": "internal", "message": "m", "hint": "h", "retryable": False, "details": {}},
    )
    connection.commit()
    connection.close()


def test_list_of_the_first_version_is_migrated_with_all_it_has(path: Path) -> None:
    version_one(path)
    before = path.read_bytes()
    store = opened(path)
    assert store.problem is None
    assert store.backups() != []
    assert sqlite3.connect(store.backups()[0]).execute("PRAGMA user_version").fetchone() == (1,)
    done, canceling, failed = store.list()
    assert [phase.status for phase in done.phases] == ["created", "running", "finished"]
    assert [phase.since for phase in done.phases] == [done.created, done.started, done.ended]
    assert (done.results, done.usage) == ([{"id": "r"}], {"bytes": 5})
    assert (canceling.wanted, canceling.engine_id) == ("cancel", "remote-7")
    assert store.state(canceling.id)["creating"] == 5
    assert [phase.status for phase in failed.phases] == ["created", "error"]
    assert failed.error is not None
    assert store.logs(failed.id)[0].message == "began"
    assert store.keyed("k1", "whatever") is not None
    assert store.update(canceling.id, status=JobStatus.CANCELED).revision == 13
    store.close()
    assert opened(path).changes(12).jobs[0].id == canceling.id
    assert store.path.read_bytes() != before


def test_damaged_list_of_the_first_version_is_recovered_too(path: Path) -> None:
    version_one(path)
    data = path.read_bytes()
    path.write_bytes(data[:-PAGE] + b"\x00" * PAGE)
    store = opened(path)
    assert isinstance(store.problem, DamagedData)
    assert len(store.list()) == 3
    store.recover()
    assert store.list()[1].wanted == "cancel"


def test_list_of_a_newer_version_is_shown_and_left_alone(path: Path) -> None:
    ids = filled(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE jobs ADD COLUMN mood TEXT")
        document = json.loads(
            connection.execute("SELECT document FROM jobs WHERE id = ?", ids[:1]).fetchone()[0]
        )
        connection.execute(
            "UPDATE jobs SET document = ? WHERE id = ?",
            (json.dumps({**document, "mood": "good"}), ids[0]),
        )
        document["status"] = "dreaming"
        document["id"] = ids[1]
        connection.execute(
            "UPDATE jobs SET document = ? WHERE id = ?", (json.dumps(document), ids[1])
        )
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.commit()
    before = path.read_bytes()
    store = opened(path)
    assert isinstance(store.problem, InvalidInput)
    with pytest.raises(InvalidInput, match="newer"):
        store.create(spec())
    assert {job.id for job in store.list()} == {ids[0], ids[2]}
    store.close()
    assert path.read_bytes() == before


def test_two_processes_that_start_at_once_migrate_once(path: Path) -> None:
    version_one(path)
    program = (
        "import sys; from pathlib import Path; from cscale_core.jobs.store import JobStore\n"
        "store = JobStore(Path(sys.argv[1])); store.open()\n"
        "print(store.problem, len(store.list()))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == ["None 3\n"] * 2
