"""The job list on disk: revisions, idempotency, logs, damage, other versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cscale_core.errors import Conflict, InvalidInput, NotFound
from cscale_core.jobs.model import Job, JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore, logs, rows
from cscale_core.jobs.store import store as store_module


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


def test_every_status_and_its_beginning_are_kept(store: JobStore) -> None:
    job, _ = store.create(spec())
    for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.RUNNING):
        store.update(job.id, status=status)
        store.update(job.id, status=status, message="the same")
    phases = store.update(job.id, status=JobStatus.FINISHED).phases
    assert [phase.status for phase in phases] == [
        "created",
        "queued",
        "running",
        "paused",
        "running",
        "finished",
    ]
    assert [phase.since for phase in phases] == sorted(phase.since for phase in phases)


def test_clock_that_is_set_back_makes_no_time_go_back(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = store.create(spec())
    for hours, status in ((2, "queued"), (-5, "running"), (1, "paused"), (-48, "error")):
        monkeypatch.setattr(
            store_module, "utc_now", lambda hours=hours: utc_now() + timedelta(hours=hours)
        )
        job = store.update(job.id, status=JobStatus(status))
    times = [phase.since for phase in job.phases]
    assert times == sorted(times)
    assert job.started is not None
    assert job.ended is not None
    assert job.created <= job.started <= job.ended <= job.updated


def test_times_that_a_back_end_tells_make_no_duration_negative(store: JobStore) -> None:
    job, _ = store.create(spec())
    early = utc_now() - timedelta(days=1)
    job = store.update(job.id, status=JobStatus.RUNNING, started=early)
    job = store.update(job.id, status=JobStatus.FINISHED, ended=early)
    assert job.started == job.created
    assert job.ended == job.started


def test_changes_tell_what_was_deleted(store: JobStore) -> None:
    jobs = [store.create(spec(title=str(number)))[0] for number in range(3)]
    store.update(jobs[1].id, status=JobStatus.FINISHED)
    seen = store.changes()
    assert (seen.whole, seen.revision, len(seen.jobs)) == (True, 4, 3)
    store.delete(jobs[1].id)
    store.update(jobs[0].id, message="x")
    now = store.changes(seen.revision)
    assert not now.whole
    assert ([job.id for job in now.jobs], now.deleted) == ([jobs[0].id], [jobs[1].id])
    assert now.revision == 6
    nothing = store.changes(now.revision)
    assert (nothing.jobs, nothing.deleted, nothing.revision) == ([], [], 6)


def test_who_asks_for_longer_ago_than_the_marks_gets_the_whole_list(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "DELETION_MARKS", 3)
    kept, _ = store.create(spec())
    revisions = []
    for _ in range(5):
        job, _ = store.create(spec())
        store.update(job.id, status=JobStatus.CANCELED)
        revisions.append(store.update(job.id, message="x").revision)
        store.delete(job.id)
    old = store.changes(revisions[0])
    assert old.whole
    assert [job.id for job in old.jobs] == [kept.id]
    recent = store.changes(revisions[2])
    assert not recent.whole
    assert len(recent.deleted) == 3
    assert store.changes(10_000).whole, "a revision that this list never had"


def test_log_is_read_by_level(store: JobStore) -> None:
    job, _ = store.create(spec())
    levels = ["debug", "info", "warning", "error", "info", "error"]
    store.append_logs(job.id, [(utc_now(), level, level) for level in levels])
    assert [line.id for line in store.logs(job.id, level="warning")] == [3, 4, 6]
    assert [line.id for line in store.logs(job.id, after=3, limit=1, level="error")] == [4]
    assert len(store.logs(job.id)) == 6
    with pytest.raises(InvalidInput, match="shouting"):
        store.logs(job.id, level="shouting")


def test_long_list_is_parsed_once(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        store.create(spec(title=str(number)))
    store.list()
    parsed: list[str] = []
    real = Job.model_validate
    monkeypatch.setattr(Job, "model_validate", lambda one: parsed.append(one["id"]) or real(one))
    assert len(store.list()) == len(store.changes().jobs) == 30
    assert parsed == []
    other = JobStore(store.path)
    changed = other.update(store.list()[7].id, message="by another process")
    parsed.clear()
    assert [job.message for job in store.changes(30).jobs] == ["by another process"]
    assert parsed == [changed.id]


def test_parsed_jobs_are_kept_within_a_bound(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "KEPT", 20_000)
    for _ in range(20):
        store.create(spec(process={"items": [{"id": "y" * 3000}]}))
    assert len(store.list()) == 20
    assert 1 <= len(store._parsed.all()) < 7


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
    monkeypatch.setattr(logs, "LOG_LINES", 10)
    job, _ = store.create(spec())
    for start in range(0, 40, 8):
        store.append_logs(job.id, [(utc_now(), "info", str(start + i)) for i in range(8)])
    lines = store.logs(job.id)
    assert [line.message for line in lines] == [str(i) for i in range(30, 40)]
    assert [line.id for line in lines] == list(range(31, 41))


def test_endless_log_line_is_cut(store: JobStore) -> None:
    job, _ = store.create(spec())
    store.append_logs(job.id, [(utc_now(), "info", "x" * 100_000)])
    assert len(store.logs(job.id)[0].message) < logs.LOG_LINE_LENGTH + 50


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
from cscale_core.jobs.store import JobStore, logs, rows
from cscale_core.jobs.store import store as store_module
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
