"""What an application prints, as lines of a job's log."""

from __future__ import annotations

import json
import re
from datetime import datetime

from cscale_core.jobs.engine import LogEntry
from cscale_core.jobs.model import utc_now

_LEVELS = {"WARN": "warning", "ERROR": "error", "FATAL": "error", "INFO": "info", "DEBUG": "debug"}
# Our own layout of log4j, and the one that Spark's images come with.
_LOG4J = re.compile(
    r"^(?:\d{4}-\d\d-\d\dT[\d:]+|\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (DEBUG|INFO|WARN|ERROR|FATAL) (.*)$"
)

#: The last line of what Python or Java says of an exception that nobody caught.
UNCAUGHT = r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)\b.*$"
_UNCAUGHT = re.compile(UNCAUGHT)
_WAY_TO_IT = re.compile(r"^(?:\s|Traceback \(|Caused by: )")


def log_entry(line: str, moment: datetime, *, quiet: bool = False) -> LogEntry:
    """One line of an application's output as a log line.

    A JSON object with ``level`` and ``message`` is the application's own word; Spark's lines keep
    their level; an exception that nobody caught is an ``error``, the way to it ``debug``, and what
    the program prints is ``info``.

    :param moment: when it was said, unless the line tells.
    :param quiet: what Spark itself says as information is of no interest.
    """
    level, message = "info", line.rstrip()
    if line.startswith("{"):
        try:
            said = json.loads(line)
            message, level = str(said["message"]), str(said["level"])
            moment = datetime.fromisoformat(str(said["time"]))
        except (ValueError, KeyError, TypeError):
            # Some other program's JSON: kept as it is.
            level, message = "debug", line.rstrip()
    elif match := _LOG4J.match(line):
        level, message = _LEVELS[match[1]], match[2]
        if quiet and level == "info":
            level = "debug"
    elif _WAY_TO_IT.match(line):
        level = "debug"
    elif _UNCAUGHT.match(line):
        level = "error"
    if level not in ("debug", "info", "warning", "error"):
        level = "info"
    return moment, level, message


def log_entries(text: str) -> list[LogEntry]:
    """Lines of an application's output as log lines, all of this moment unless they tell.

    What a bar of progress wrote over stays in its line.
    """
    now = utc_now()
    return [log_entry(line, now) for line in text.split("\n") if line.strip()]
