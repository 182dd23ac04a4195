"""The log of a job: one JSON object a line, appended by the service and by the job's processes.

The id of an entry is its line number, so a reader's cursor stays right while lines are added.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import Any

LEVELS = ("debug", "info", "warning", "error")

# What a library's message might carry by mistake: bearer tokens, keys and signatures in URLs.
_SECRET = re.compile(
    r"(?i)(bearer\s+(?:oidc/[^/\s]+/)?|x-amz-(?:signature|security-token|credential)=|"
    r"(?:secret[_ ]?access[_ ]?key|session[_ ]?token|client_secret)[\"'=: ]+)[^\s\"'&,}]+"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
)


def without_secrets(text: str) -> str:
    """The text with anything that looks like a credential blotted out."""
    return _SECRET.sub(lambda match: (match[1] or "") + "…", text)


class JobLog:
    """Appends entries to a job's ``log.jsonl``; lines of several processes do not mix."""

    def __init__(self, path: Path, level: str = "debug") -> None:
        self.path = path
        self._minimum = LEVELS.index(level)

    def write(self, level: str, message: str, **members: Any) -> None:
        """Add one entry; ``code`` and ``data`` are the members openEO knows.

        Errors are always kept, others from the job's own level on.
        """
        if LEVELS.index(level) < self._minimum:
            return
        entry = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": level,
            "message": without_secrets(message),
            **members,
        }
        line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def debug(self, message: str, **members: Any) -> None:
        """Add a debug entry."""
        self.write("debug", message, **members)

    def info(self, message: str, **members: Any) -> None:
        """Add an info entry."""
        self.write("info", message, **members)

    def warning(self, message: str, **members: Any) -> None:
        """Add a warning."""
        self.write("warning", message, **members)

    def error(self, message: str, **members: Any) -> None:
        """Add an error."""
        self.write("error", message, **members)

    def entries(self, after: int = 0, level: str = "debug") -> list[dict[str, Any]]:
        """Entries with an id above ``after``, of the level or worse, with their ids."""
        minimum = LEVELS.index(level)
        found = []
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        for number, line in enumerate(lines[:-1], start=1):
            if number <= after:
                continue
            try:
                entry = json.loads(line)
                wanted = LEVELS.index(entry["level"]) >= minimum
            except (ValueError, KeyError):
                # A line cut short by a full disk or a killed process; the others are still good.
                continue
            if wanted:
                found.append({"id": str(number), **entry})
        return found
