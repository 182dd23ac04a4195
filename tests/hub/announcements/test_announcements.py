"""Announcements: shown in their time, on their pages, and never lost to a slip of the pen."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cscale_hub.announcement_feed import feed
from cscale_hub.announcements import (
    LARGEST_FILE,
    MOST,
    Announcements,
    AnnouncementsError,
    read_announcements,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Board:
    path: Path
    now: datetime = NOON
    count: int = 0
    shown: Announcements = field(init=False)

    def __post_init__(self) -> None:
        self.shown = Announcements(self.path, lambda: self.now)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        # Two writes within one tick of the file system's clock look the same.
        self.count += 1
        os.utime(self.path, ns=(self.count, self.count))

    def texts(self, page: str = "home") -> list[str]:
        return [each.text for each in self.shown.on(page)]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "announcements.yaml")


def test_without_a_file_there_is_nothing(board: Board) -> None:
    assert board.texts() == []
    board.write("")
    assert board.texts() == []


def test_a_change_is_seen_without_a_restart(board: Board) -> None:
    board.write("- text: one")
    assert board.texts() == ["one"]
    board.write("- text: two")
    assert board.texts() == ["two"]
    board.path.unlink()
    assert board.texts() == []


def test_each_is_shown_in_its_time_also_without_a_zone(board: Board) -> None:
    board.write("- {text: x, begins: 2026-11-21T11:00:00, ends: 2026-11-21T14:00:00+01:00}")
    assert board.texts() == ["x"]
    board.now = NOON - timedelta(hours=2)
    assert board.texts() == []
    board.now = NOON + timedelta(hours=1)
    assert board.texts() == []


def test_each_is_shown_on_its_pages(board: Board) -> None:
    board.write("- {text: x, pages: [login]}\n- {text: y}")
    assert board.texts("login") == ["x", "y"]
    assert board.texts("home") == board.texts("") == ["y"]


@pytest.mark.parametrize(
    "text",
    [
        "- {text: x, level: loud}",
        "- {text: x, link: 'javascript:alert(1)'}",
        "- {text: ''}",
        "- {text: x, colour: red}",
        "- {text: x, begins: 2026-11-21T12:00:00Z, ends: 2026-11-21T12:00:00}",
        "text: x",
        "- [",
        "\n".join(["- text: x"] * (MOST + 1)),
        "# " + "x" * LARGEST_FILE,
    ],
)
def test_what_is_wrong_keeps_what_was_shown(
    board: Board, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    board.write("- text: before")
    assert board.texts() == ["before"]
    board.write(text)
    assert board.texts() == ["before"]
    assert board.texts() == ["before"]
    assert caplog.text.count("stay as they were") == 1  # not with every page
    with pytest.raises(AnnouncementsError, match=r"is larger|is not valid|cannot be read|at most"):
        read_announcements(board.path)


def test_the_feed_has_what_is_for_jupyterlab_and_text_stays_text(board: Board) -> None:
    board.write(
        "- {text: 'a <b> & c', link: 'https://example.org/?a=1&b=2', begins: 2026-11-21T11:00:00}\n"
        "- {text: login only, pages: [login]}\n- {text: lab only, pages: [lab]}"
    )
    assert board.texts("home") == ["a <b> & c"]
    text = feed(board.shown.on("lab"), board.shown.changed)
    space = {"a": "http://www.w3.org/2005/Atom"}
    root = ElementTree.fromstring(text)  # noqa: S314
    entries = root.findall("a:entry", space)
    assert [each.findtext("a:title", None, space) for each in entries] == ["a <b> & c", "lab only"]
    link = entries[0].find("a:link", space)
    assert link is not None
    assert link.get("href") == "https://example.org/?a=1&b=2"
    assert entries[0].findtext("a:updated", None, space) == "2026-11-21T11:00:00Z"
    ids = [each.findtext("a:id", None, space) for each in entries]
    assert len(set(ids)) == 2
    assert feed(board.shown.on("lab"), board.shown.changed) == text
