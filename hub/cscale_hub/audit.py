"""Who came in, who got what, when: one JSON object a line, in a file only the service can read.

Each kind of event is a model with fixed members, so no token, key or policy can be put in by
accident, and a jupyter_events schema (:func:`schemas`) by which every line is checked before it is
written. An event that cannot be written is an error for the caller: what is not on record does
not happen.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from jupyter_events import EventLogger
from pydantic import BaseModel, ConfigDict, Field

from cscale_hub.local.layout import Layout
from cscale_hub.metrics import count_event
from cscale_hub.settings import Settings

SCHEMA_ROOT = "https://schema.c-scale.eu/hub"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Event(BaseModel):
    """What all events have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_name: ClassVar[str]
    action: str
    outcome: str
    user: str = Field(default="", description="The user's slug; empty where nobody is known.")
    code: str = Field(default="", description="Why it was refused or failed.")
    request_id: str = ""
    time: str = Field(default_factory=_now)

    @classmethod
    def schema_id(cls) -> str:
        """The ``$id`` of the event's schema."""
        return f"{SCHEMA_ROOT}/{cls.schema_name}/v1"


class AuditEvent(Event):
    """A token or S3 credentials were given to a user's server, or refused."""

    schema_name: ClassVar[str] = "credentials"
    action: Literal["token.issue", "s3.issue"]
    outcome: Literal["issued", "refused", "failed"]
    server: str = Field(default="", description="Which of the user's servers asked.")
    audience: str = ""
    vos: tuple[str, ...] = ()
    cached: bool = Field(default=False, description="The same credentials as some time before.")
    expires_at: str = ""
    access_key_id: str = Field(default="", description="Names the S3 credentials; not secret.")
    token_id: str = Field(default="", description="JupyterHub's name for the token that asked.")


class LoginEvent(Event):
    """Somebody came back from the identity provider and was let in, or not."""

    schema_name: ClassVar[str] = "login"
    action: Literal["login"] = "login"
    outcome: Literal["allowed", "refused", "failed"]
    vos: tuple[str, ...] = Field(default=(), description="The accepted VOs they are in.")


class ServerEvent(Event):
    """A user's server was asked for, or ended."""

    schema_name: ClassVar[str] = "server"
    action: Literal["server.start", "server.stop"]
    outcome: Literal["allowed", "refused", "failed", "done"]
    server: str = Field(default="", description="The server's name; empty for the usual one.")
    vo: str = ""
    profile: str = ""


class ShareEvent(Event):
    """Others were let into a running server, or sent out again."""

    schema_name: ClassVar[str] = "share"
    action: Literal["share.create", "share.revoke"]
    outcome: Literal["done", "refused", "failed"]
    server: str = Field(default="", description="The server that is shared.")
    vo: str = ""
    shared_with: tuple[str, ...] = Field(default=(), description="Groups and slugs.")


class PublicationEvent(Event):
    """A notebook was published in a VO, taken down, or copied from there."""

    schema_name: ClassVar[str] = "publication"
    action: Literal["notebook.publish", "notebook.unpublish", "notebook.open"]
    outcome: Literal["done", "refused", "failed"]
    vo: str = ""
    author: str = Field(default="", description="Whose notebook it is, by slug.")
    notebook: str = Field(default="", description="Its path below the VO's shared folder.")
    version: str = ""
    source_hash: str = ""


KINDS: tuple[type[Event], ...] = (
    AuditEvent,
    LoginEvent,
    ServerEvent,
    ShareEvent,
    PublicationEvent,
)


def schemas() -> list[dict[str, Any]]:
    """The jupyter_events schema of each kind of event."""
    return [
        {
            **kind.model_json_schema(),
            "$id": kind.schema_id(),
            "version": "1",
            "title": kind.schema_name.capitalize(),
            "personal-data": True,
        }
        for kind in KINDS
    ]


def audit_file(settings: Settings) -> Path:
    """Where the hub and the broker write their events."""
    return settings.audit.file or Layout(settings.data).audit


class AuditLog:
    """Appends events to one file, made with mode 0600 in a folder that exists or is made 0700.

    Each event is one ``write`` to a descriptor opened for appending, so several processes may
    share the file, and a log rotation by rename is noticed at the next event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = _Appending(path)
        file.append(b"")  # fail at the start, not at the first event
        self._logger = EventLogger(handlers=[file])
        for schema in schemas():
            self._logger.register_event_schema(schema)

    def __deepcopy__(self, memo: Any) -> AuditLog:
        return self  # one for all servers: traitlets copies what it is configured with

    def record(self, event: Event) -> None:
        """Append one event.

        :raises OSError: when it cannot be written whole.
        """
        self._logger.emit(schema_id=event.schema_id(), data=event.model_dump(mode="json"))
        count_event(event.action, event.outcome)


class _Appending(logging.Handler):
    """Unlike the handlers of the standard library it lets errors through."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self.append(self.format(record).encode() + b"\n")

    def append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with self._lock:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                if os.write(descriptor, line) != len(line):
                    raise OSError(f"{self._path}: the event was not written whole")
            finally:
                os.close(descriptor)
