"""Servers that nobody uses are stopped, others are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from cscale_cli.demo.session import HubSession
from cscale_hub.culling import culler_command
from cscale_hub.local.processes import federation_processes
from cscale_hub.settings import CullingSettings
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.operating.conftest import Operated


def options(culling: CullingSettings) -> dict[str, str]:
    command = culler_command(culling)
    return dict(part[2:].split("=", 1) for part in command[command.index("--") + 1 :])


def test_times_of_the_settings_are_the_cullers() -> None:
    found = options(CullingSettings(idle_minutes=30, longest_days=2))
    assert found["timeout"] == "1800"
    assert found["max-age"] == "172800"
    assert found["cull-every"] == "450"


def test_either_bound_can_be_without_the_other() -> None:
    assert options(CullingSettings(idle_minutes=30, longest_days=0))["max-age"] == "0"
    aged = options(CullingSettings(idle_minutes=0, longest_days=1))
    assert int(aged["timeout"]) > 10 * int(aged["max-age"])


def test_without_bounds_there_is_no_culler() -> None:
    assert culler_command(CullingSettings(idle_minutes=0, longest_days=0)) == []


def test_a_time_shorter_than_servers_report_is_refused() -> None:
    with pytest.raises(ValidationError, match="every 5 minutes"):
        CullingSettings(idle_minutes=5)


@contextmanager
def culler(operated: Operated, *bounds: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another culler, with the rights of the hub's own and other times."""
    [own] = [
        pid
        for pid in federation_processes(operated.federation.data)
        if b"cscale_hub.culling" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    raw = Path(f"/proc/{own}/environ").read_bytes().decode()
    variables = dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)
    command = [sys.executable, "-m", "cscale_hub.culling", "--parent", str(os.getpid()), "--"]
    process = subprocess.Popen(
        [*command, *bounds, "--cull-every=1"], env=variables, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.stack
@pytest.mark.timeout(400)
def test_use_that_a_server_reports_keeps_it_and_idleness_or_age_ends_it(
    operated: Operated,
) -> None:
    with HubSession(operated.url) as session:
        name = session.sign_in("water", operated.federation.passwords["water"])
        path = f"{operated.url}/hub/api/users/{name}"
        session._api.post(f"{path}/server", json={"profile": "small"})
        session.start_server(lambda message: None)

        def active() -> bool:
            return bool(session._api.get(path).json()["servers"])

        # As the server itself tells of a copy that runs in it.
        later = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
        told = session._api.post(
            f"{path}/activity",
            json={"last_activity": later, "servers": {"": {"last_activity": later}}},
        )
        assert told.status_code == 200, told.text
        with culler(operated, "--timeout=1"), pytest.raises(AssertionError, match="did not come"):
            until(lambda: not active(), "the end of a server that works", 6)
        with culler(operated, "--timeout=3600", "--max-age=1"):
            until(lambda: not active(), "the end of a server that is old")
