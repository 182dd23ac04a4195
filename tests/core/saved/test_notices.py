"""Jobs that have ended are told of until somebody has seen it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cscale_core.jobs.model import Job, JobError, JobSpec, JobStatus
from cscale_core.saved import notices as module
from cscale_core.saved.file import SavedFile
from cscale_core.saved.notices import Notice, NoticeStore, notice_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str = "j-1", status: JobStatus = JobStatus.FINISHED, **more: Any) -> Job:
    spec = JobSpec(engine="openeo", title="<i>Water</i>", process={})
    times = {"created": NOW, "updated": NOW, "ended": NOW if status.ended else None}
    return Job(**{"id": name, "revision": 1, "spec": spec, "status": status, **times, **more})


def notice(name: str = "j-1", **more: Any) -> Notice:
    made = notice_of(job(name, **more))
    assert made is not None
    return made


@pytest.fixture
def store(tmp_path: Path) -> NoticeStore:
    return NoticeStore(SavedFile(tmp_path / "saved.sqlite"))


@pytest.mark.parametrize("status", list(JobStatus))
def test_only_ends_that_nobody_asked_for_are_told(status: JobStatus) -> None:
    told = status in (JobStatus.FINISHED, JobStatus.ERROR, JobStatus.LOST)
    assert (notice_of(job(status=status)) is not None) == told


def test_an_error_says_what_to_do() -> None:
    error = JobError(code="x", message="Too little memory.", hint="Take 4g." * 100)
    made = notice("j-1", status=JobStatus.ERROR, error=error)
    assert made.message == "Too little memory."
    assert made.hint.startswith("Take 4g.")
    assert len(made.hint) == 300
    assert made.title == "<i>Water</i>"


def test_a_notice_is_kept_once_until_it_is_seen(store: NoticeStore) -> None:
    assert store.add(notice()) is True
    assert store.add(notice()) is True  # another server of the same person tells it, too
    assert [one.job for one in store.list(unseen=True)] == ["j-1"]
    store.see(["j-1", "none"])
    assert store.add(notice()) is False
    assert store.list(unseen=True) == []
    assert [one.seen for one in store.list()] == [True]
    store.remove("j-1")
    assert store.list() == []


def test_the_latest_comes_first_and_the_oldest_goes(
    store: NoticeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for number in range(4):
        store.add(notice(f"j-{number}", ended=NOW + timedelta(hours=number)))
    assert [one.job for one in store.list()] == ["j-3", "j-2"]
