"""What operators tell everybody: a YAML list that is read again when it changes.

.. code-block:: yaml

    - text: The object store is maintained on Tuesday from 6 to 8 UTC.
      level: warning            # info, warning or danger
      begins: 2026-11-20T08:00:00Z
      ends: 2026-11-24T08:00:00Z
      link: https://status.example.org/
      pages: [login, home]      # nothing: everywhere; lab: as a notification in JupyterLab

A file that cannot be read takes nothing away: what was last read stays, and the log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from cscale_hub.settings import describe

log = logging.getLogger("cscale_hub.announcements")

MOST = 10
LARGEST_FILE = 64 * 1024
PageName = Literal["login", "home", "spawn", "token", "error", "lab"]


class Announcement(BaseModel):
    """One announcement. Times without a zone are UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1, max_length=500, description="Plain text.")
    level: Literal["info", "warning", "danger"] = "info"
    begins: datetime | None = Field(default=None, description="None: at once.")
    ends: datetime | None = Field(default=None, description="None: it stays.")
    link: str = Field(default="", pattern=r"^(https?://[^\s]+)?$", description="Where more is.")
    pages: tuple[PageName, ...] = Field(default=(), description="Empty: all pages.")

    @model_validator(mode="after")
    def _in_order(self) -> Announcement:
        if self.begins and self.ends and _utc(self.ends) <= _utc(self.begins):
            raise ValueError("ends before it begins")
        return self

    def shown(self, page: str, now: datetime) -> bool:
        """Whether it belongs on this page at this moment."""
        return (
            (not self.pages or page in self.pages)
            and (self.begins is None or _utc(self.begins) <= now)
            and (self.ends is None or now < _utc(self.ends))
        )


_FILE = TypeAdapter(list[Announcement])


class AnnouncementsError(Exception):
    """The file of announcements cannot be used; the message says why."""


def read_announcements(path: Path) -> list[Announcement]:
    """The announcements of a file; none when there is no file.

    :raises AnnouncementsError: when it cannot be read or has wrong members.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise AnnouncementsError(f"{path} is larger than {LARGEST_FILE // 1024} KiB")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AnnouncementsError(f"{path} cannot be read: {error}") from error
    try:
        found = _FILE.validate_python(content or [])
    except ValidationError as error:
        raise AnnouncementsError(f"{path} is not valid: {describe(error)}") from error
    if len(found) > MOST:
        raise AnnouncementsError(f"{path} has {len(found)} announcements, at most {MOST} are shown")
    return found


class Announcements:
    """The announcements of a hub, for its pages' templates."""

    def __init__(
        self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.path = path
        self._clock = clock
        self._seen: object = ()
        self._found: list[Announcement] = []

    def __deepcopy__(self, memo: Any) -> Announcements:
        return self  # what it read last goes with it

    def on(self, page: str) -> list[Announcement]:
        """What is to be shown on a page now."""
        self._look()
        now = self._clock()
        return [each for each in self._found if each.shown(page, now)]

    @property
    def changed(self) -> datetime:
        """When the file was changed last; the beginning of time when there is none."""
        try:
            return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        except OSError:
            return datetime.fromtimestamp(0, UTC)

    def _look(self) -> None:
        try:
            state = self.path.stat()
            seen: object = (state.st_mtime_ns, state.st_size, state.st_ino)
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._found = read_announcements(self.path)
        except AnnouncementsError as error:
            log.error("Announcements stay as they were: %s", error)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
