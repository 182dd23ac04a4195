"""The job list on disk: revisions, idempotency, logs, damage, other versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cscale_core.errors import Conflict, DamagedData, InvalidInput, NotFound, StorageFull
from cscale_core.jobs import store as store_module
from cscale_core.jobs.model import JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"engine": "staging", "process": {"items": [{"id": "a"}]}, **changes}
    )


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    made = JobStore(tmp_path / "data" / "jobs.sqlite")
    made.open()
    return made


def test_file_and_folder_are_the_users_alone(store: JobStore) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_no_write_ahead_log_since_the_home_may_be_nfs(store: JobStore) -> None:
    store.create(spec())
    mode = sqlite3.connect(store.path).execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "delete"
    assert {path.name for path in store.path.parent.iterdir()} == {"jobs.sqlite"}


def test_every_change_takes_the_next_revision_of_all_jobs(store: JobStore) -> None:
    one, _ = store.create(spec())
    two, _ = store.create(spec())
    assert (one.revision, two.revision) == (1, 2)
    assert store.update(one.id, message="x").revision == 3
    assert [job.id for job in store.list(since=2)] == [one.id]
    assert [job.id for job in store.list()] == [two.id, one.id]


def test_change_that_changes_nothing_takes_no_revision(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.update(job.id, message="x", progress=0.5)
    assert store.update(job.id, message="x", progress=0.5).revision == 2


def test_revisions_go_on_after_a_delete_and_a_restart(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.update(job.id, status=JobStatus.FINISHED)
    store.delete(job.id)
    store.close()
    again = JobStore(store.path)
    again.open()
    assert again.create(spec())[0].revision == 4


def test_same_key_gives_the_same_job_and_another_job_under_it_is_refused(store: JobStore) -> None:
    one, new = store.create(spec(title="a"), "key")
    two, again = store.create(spec(title="a"), "key")
    assert (new, again) == (True, False)
    assert one.id == two.id
    with pytest.raises(Conflict, match="key"):
        store.create(spec(title="b"), "key")
    assert len(store.list()) == 1


def test_start_and_end_times_follow_the_status(store: JobStore) -> None:
    job, _ = store.create(spec())
    assert job.started is None
    running = store.update(job.id, status=JobStatus.RUNNING)
    assert running.started is not None
    assert running.ended is None
    assert store.update(job.id, status=JobStatus.ERROR).ended is not None


def test_ended_job_stays_ended(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.update(job.id, status=JobStatus.CANCELED)
    with pytest.raises(Conflict):
        store.update(job.id, status=JobStatus.RUNNING)
    assert store.update(job.id, message="still may say something").status == JobStatus.CANCELED


def test_only_an_ended_job_can_be_deleted(store: JobStore) -> None:
    job, _ = store.create(spec())
    with pytest.raises(Conflict):
        store.delete(job.id)
    store.update(job.id, status=JobStatus.LOST)
    store.append_logs(job.id, [(utc_now(), "info", "x")])
    store.delete(job.id)
    with pytest.raises(NotFound):
        store.get(job.id)
    with pytest.raises(NotFound):
        store.logs(job.id)


def test_everything_of_a_job_comes_back_after_a_restart(store: JobStore) -> None:
    job, _ = store.create(spec(title="a", inputs=[{"id": "i"}]), "key")
    changed = store.update(
        job.id, status=JobStatus.FINISHED, progress=1.0, results=[{"id": "r"}], usage={"n": 1}
    )
    store.set_state(job.id, {"cursor": 7})
    store.close()
    again = JobStore(store.path)
    assert again.get(job.id) == changed
    assert again.state(job.id) == {"cursor": 7}


def test_log_is_read_by_cursor(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.append_logs(job.id, [(utc_now(), "info", f"line {i}") for i in range(5)])
    first = store.logs(job.id, limit=3)
    assert [line.message for line in first] == ["line 0", "line 1", "line 2"]
    rest = store.logs(job.id, after=first[-1].id)
    assert [line.message for line in rest] == ["line 3", "line 4"]


def test_log_is_bounded_and_its_cursor_never_goes_back(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOG_LINES", 10)
    job, _ = store.create(spec())
    for start in range(0, 40, 8):
        store.append_logs(job.id, [(utc_now(), "info", str(start + i)) for i in range(8)])
    lines = store.logs(job.id)
    assert [line.message for line in lines] == [str(i) for i in range(30, 40)]
    assert [line.id for line in lines] == list(range(31, 41))


def test_endless_log_line_is_cut(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.append_logs(job.id, [(utc_now(), "info", "x" * 100_000)])
    assert len(store.logs(job.id)[0].message) < store_module.LOG_LINE_LENGTH + 50


@pytest.mark.parametrize("damage", ["header", "page"])
def test_damaged_list_is_moved_aside_and_nothing_pretends_it_is_empty(
    store: JobStore, damage: str
) -> None:
    for _ in range(50):
        store.create(spec(title="x" * 150, process={"items": [{"id": "y" * 3000}]}))
    store.close()
    data = bytearray(store.path.read_bytes())
    if damage == "header":
        data[:100] = b"\xff" * 100
    else:
        data[4096 * 3 : 4096 * 20] = b"\x00" * 4096 * 17
    store.path.write_bytes(data)

    for _ in range(2):  # the second time is a restart of the server
        again = JobStore(store.path)
        again.open()
        assert isinstance(again.problem, DamagedData)
        assert again.list() == []
        with pytest.raises(DamagedData, match="moved aside"):
            again.create(spec())
        (backup,) = store.path.parent.glob("jobs.sqlite.damaged-*")
        assert str(backup) in again.problem.hint
        assert backup.read_bytes() == bytes(data)
        assert not store.path.exists()

    again.start_anew()
    assert again.problem is None
    assert again.create(spec())[1]
    assert backup.exists()


def test_damage_that_shows_while_in_use_is_said_too(store: JobStore) -> None:
    for _ in range(60):
        store.create(spec(process={"items": [{"id": "y" * 3000}]}))
    data = bytearray(store.path.read_bytes())
    data[4096 * 2 :] = b"\x07" * (len(data) - 4096 * 2)
    store.path.write_bytes(data)
    assert store._connection is not None
    store._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(DamagedData):
        store.list()
    assert store.problem is not None
    assert list(store.path.parent.glob("jobs.sqlite.damaged-*"))


def test_list_of_a_newer_version_is_left_alone(store: JobStore) -> None:
    store.create(spec())
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    again = JobStore(store.path)
    again.open()
    assert isinstance(again.problem, InvalidInput)
    with pytest.raises(InvalidInput, match="newer"):
        again.create(spec())
    assert store.path.read_bytes() == before


def test_list_in_use_by_another_process_can_be_retried(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    quick = JobStore(store.path)
    quick.open()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Conflict) as caught:
        quick.create(spec())
    assert caught.value.retryable
    other.execute("ROLLBACK")
    assert quick.create(spec())[1]


def test_full_disk_is_said_and_nothing_is_lost(store: JobStore) -> None:
    job, _ = store.create(spec())
    assert store._connection is not None
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFull):
        store.create(spec(process={"items": [{"id": "z" * 100_000}]}))
    assert [one.id for one in store.list()] == [job.id]


def test_threads_do_not_lose_changes(store: JobStore) -> None:
    job, _ = store.create(spec())

    def work(name: int) -> None:
        for index in range(20):
            store.append_logs(job.id, [(utc_now(), "info", f"{name} {index}")])
            store.update(job.id, message=f"{name} {index}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.logs(job.id)) == 80
    assert store.get(job.id).revision == 81


def test_kill_in_the_middle_of_writing_loses_nothing_committed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    program = f"""
import os
from pathlib import Path
from cscale_core.jobs.model import JobSpec
from cscale_core.jobs.store import JobStore
store = JobStore(Path({str(path)!r}))
for index in range(10_000):
    job, _ = store.create(JobSpec(engine="staging", title=str(index), process={{}}))
    print(job.id, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    said += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    store = JobStore(path)
    store.open()
    assert store.problem is None
    assert set(said) <= {job.id for job in store.list()}
