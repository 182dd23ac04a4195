"""The audit log: whole lines of known shape, for one reader, or an error for who would write."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jupyter_events import EventLogger
from pydantic import ValidationError

from cscale_hub.audit import (
    KINDS,
    AuditEvent,
    AuditLog,
    LoginEvent,
    PublicationEvent,
    ServerEvent,
    ShareEvent,
    schemas,
)

EVENTS = [
    LoginEvent(outcome="refused", user="u1", code="no-accepted-vo"),
    ServerEvent(action="server.start", outcome="refused", user="u1", code="quota", vo="a.example"),
    AuditEvent(action="s3.issue", outcome="issued", user="u1", vos=("a.example",)),
    ShareEvent(action="share.create", outcome="done", user="u1", shared_with=("group:vo:a",)),
    PublicationEvent(action="notebook.publish", outcome="done", user="u1", notebook="x.ipynb"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_kind_is_written_as_its_schema_says(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "new" / "audit.jsonl")
    for event in EVENTS:
        log.record(event)
    assert {type(event) for event in EVENTS} == set(KINDS)
    by_id = {schema["$id"]: schema for schema in schemas()}
    for line, event in zip(lines(log.path), EVENTS, strict=True):
        schema = by_id[line["__schema__"]]
        members = {name: value for name, value in line.items() if not name.startswith("__")}
        Draft202012Validator(schema).validate(members)
        assert members["action"] == event.action
        assert members["user"] == "u1"
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_jupyter_events_takes_the_schemas() -> None:
    logger = EventLogger()
    for schema in schemas():
        logger.register_event_schema(schema)
    assert len(logger.schemas.schema_ids) == len(KINDS)


@pytest.mark.parametrize(
    "members",
    [
        {"action": "login", "outcome": "allowed", "token": "secret"},
        {"action": "login", "outcome": "perhaps"},
        {"action": "logout", "outcome": "allowed"},
    ],
)
def test_what_no_schema_knows_cannot_be_put_in(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoginEvent(**members)


def test_words_of_others_stay_in_their_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record(ServerEvent(action="server.start", outcome="refused", profile='x"}\n{"action": "'))
    log.record(EVENTS[0])
    assert [line["action"] for line in lines(log.path)] == ["server.start", "login"]


def test_a_log_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record(EVENTS[0])
    log.path.rename(tmp_path / "audit.jsonl.1")
    log.record(EVENTS[1])
    assert [line["action"] for line in lines(log.path)] == ["server.start"]
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "logs" / "audit.jsonl")
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(OSError, match=r"audit\.jsonl"):
        log.record(EVENTS[0])
    with pytest.raises(OSError, match=r"audit\.jsonl"):
        AuditLog(log.path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"audit\.jsonl"):
        AuditLog(tmp_path / "audit.jsonl")
    assert (tmp_path / "elsewhere").read_text() == ""


def test_many_write_at_once_and_no_line_is_torn(tmp_path: Path) -> None:
    logs = [AuditLog(tmp_path / "audit.jsonl") for _ in range(2)]

    def write(log: AuditLog) -> None:
        for number in range(50):
            log.record(LoginEvent(outcome="allowed", user=f"u{number}", vos=("a.example",) * 20))

    writers = [threading.Thread(target=write, args=(log,)) for log in logs * 3]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(lines(tmp_path / "audit.jsonl")) == 300
