"""What a staging notes down, and how it says how fast it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import StorageFull
from cscale_core.ingest import notes as notes_module
from cscale_core.ingest.notes import StagingNotes, UploadNote
from cscale_core.ingest.pace import WINDOW_SECONDS, Pace, bytes_in_words, seconds_in_words

ONE, TWO = ObjectAddress("b", "one"), ObjectAddress("b", "a key/with s3://in it")
NOTE = UploadNote("id", "mark", '"etag"', 10)


class Kept:
    """What was saved."""

    def __init__(self) -> None:
        self.saves = 0
        self.value: dict[str, Any] = {}
        self.full = False

    async def save(self, value: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        if self.full:
            raise StorageFull("no room for the list")
        self.saves += 1
        self.value = json.loads(json.dumps(value))


async def test_an_upload_is_written_at_once_and_read_back() -> None:
    kept = Kept()
    await StagingNotes(None, kept.save).began(TWO, NOTE)
    again = StagingNotes(kept.value, kept.save)
    assert again.upload(TWO) == NOTE
    assert again.upload(ONE) is None
    await again.done(TWO, "ab")
    await again.flush()
    third = StagingNotes(kept.value, kept.save)
    assert third.upload(TWO) is None
    assert third.verified(TWO) == "ab"


async def test_many_small_files_are_written_down_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notes_module, "SAVE_SECONDS", 3600.0)
    kept = Kept()
    made = StagingNotes(None, kept.save)
    await made.began(ONE, NOTE)
    for number in range(1000):
        await made.done(ObjectAddress("b", str(number)), "ab")
    assert kept.saves == 1
    await made.flush()
    await made.flush()
    assert kept.saves == 2
    assert len(kept.value["verified"]) == 1000


async def test_notes_that_cannot_be_written_do_not_stop_a_staging_and_are_tried_again() -> None:
    kept = Kept()
    kept.full = True
    made = StagingNotes(None, kept.save)
    await made.began(ONE, NOTE)
    kept.full = False
    await made.flush()
    assert set(kept.value["uploads"]) == {ONE.s3}


async def test_of_many_at_once_the_last_state_is_the_one_that_is_kept() -> None:
    kept = Kept()
    made = StagingNotes(None, kept.save)
    await asyncio.gather(*(made.began(ObjectAddress("b", str(n)), NOTE) for n in range(50)))
    assert len(kept.value["uploads"]) == 50
    assert kept.saves < 50


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_950, "10 kB"), (1_340_000_000, "1.3 GB")],
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "less than a minute"),
        (60, "about 1 minute"),
        (200, "about 3 minutes"),
        (7300, "about 2 hours"),
        (3e6, "about 35 days"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


@given(st.floats(0, 1e15))
def test_there_are_words_for_everything(number: float) -> None:
    assert bytes_in_words(number)
    assert seconds_in_words(number)


def test_the_speed_is_that_of_the_last_seconds() -> None:
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    assert pace.words(100) == "", "nothing can be said yet"
    for _ in range(60):
        clock[0] += 1
        pace.add(1_000_000)
    assert pace.words(600_000_000) == "1.0 MB/s, about 10 minutes left"
    for _ in range(2 * round(WINDOW_SECONDS)):
        clock[0] += 1
        pace.add(10_000_000)
    assert pace.words(None) == "10 MB/s"
    clock[0] += 10_000
    pace.add(0)
    assert (pace.rate() or 0) < 100_000, "a source that stands still is not called fast"
