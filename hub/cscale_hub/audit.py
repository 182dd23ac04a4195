"""Who got what, when: one JSON object a line, appended to a file only the service can read.

The members of an event are fixed, so no token, key or policy can be put in by accident. An event
that cannot be written is an error for the caller: what is not on record does not happen.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AuditEvent(BaseModel):
    """One thing that was given or refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["token.issue", "s3.issue"]
    outcome: Literal["issued", "refused", "failed"]
    user: str = Field(description="The user's slug.")
    server: str = Field(default="", description="Which of the user's servers asked.")
    audience: str = ""
    vos: tuple[str, ...] = ()
    code: str = Field(default="", description="Why it was refused.")
    cached: bool = Field(default=False, description="The same credentials as some time before.")
    expires_at: str = ""
    access_key_id: str = Field(default="", description="Names the S3 credentials; not secret.")
    token_id: str = Field(default="", description="JupyterHub's name for the token that asked.")
    request_id: str = ""
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


class AuditLog:
    """Appends events to one file, made with mode 0600 in a folder that exists or is made 0700.

    Each event is one ``write`` to a descriptor opened for appending, so several processes may
    share the file, and a log rotation by rename is noticed at the next event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._append(b"")  # fail at the start, not at the first event

    def record(self, event: AuditEvent) -> None:
        """Append one event.

        :raises OSError: when it cannot be written whole.
        """
        self._append(event.model_dump_json(exclude_defaults=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with self._lock:
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                if os.write(descriptor, line) != len(line):
                    raise OSError(f"{self.path}: the event was not written whole")
            finally:
                os.close(descriptor)
