"""What happens when things die: they come back, and nothing that was promised is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cscale_cli.demo.session import HubSession
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation, FederationError
from cscale_hub.local.slurm.packages import missing_packages
from tests.e2e.processes import mounts_below, processes_of
from tests.waiting import until

pytestmark = pytest.mark.timeout(900)

SERVICES = (
    *("issuer", "s3", "catalogue", "site-b", "openeo", "broker"),
    *(() if missing_packages() else ("slurm",)),
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation of this module's own: what is killed here is nobody else's."""
    running = Federation(tmp_path_factory.mktemp("resilience"))
    running.start(print)
    try:
        yield running
    finally:
        running.stop(print)


@pytest.fixture(scope="module")
def session(own: Federation) -> Iterator[HubSession]:
    with HubSession(own.hub_url) as signed_in:
        signed_in.sign_in("both", own.passwords["both"])
        signed_in.start_server(print)
        yield signed_in


@pytest.fixture(scope="module")
def staged(session: HubSession) -> list[dict]:
    """Two scenes, staged and registered before anything dies."""
    workspace = session.workspace
    found = workspace.search(
        bbox=list(simulate.BBOX), collections=[simulate.COLLECTION], limit=2, providers=["site-b"]
    )
    job = workspace.stage(found["items"][:2], ["B03"], register=True)
    items: list[dict] = job.wait().results().items
    return items


def states(federation: Federation) -> dict:
    return {service.name: service for service in federation.state().services}


@pytest.mark.parametrize("name", SERVICES)
def test_killed_service_comes_back_with_its_data(
    own: Federation, session: HubSession, staged: list[dict], name: str
) -> None:
    before = states(own)[name]
    os.kill(before.pid, signal.SIGKILL)
    until(
        lambda: states(own)[name],
        f"another {name}",
        fits=lambda now: now.healthy and now.pid != before.pid,
        pause=0.5,
    )
    workspace = session.workspace
    found = workspace.search(ids=[item["id"] for item in staged], providers=["catalogue"])
    assert {item["id"] for item in found["items"]} == {item["id"] for item in staged}
    href = staged[0]["assets"]["B03"]["href"].replace("s3://", "s3/")
    assert len(session.read_file(href)) == staged[0]["assets"]["B03"]["file:size"]


def test_killed_user_server_starts_again_with_its_jobs(
    own: Federation, session: HubSession, staged: list[dict]
) -> None:
    jobs = {job.id for job in session.workspace.jobs}
    assert jobs
    session.stop_server()

    def started() -> bool:
        session.start_server(print)
        return True

    until(started, "a new server", despite=Exception, pause=1)
    assert {job.id for job in session.workspace.jobs} >= jobs


def test_killed_hub_takes_everything_with_it_and_the_next_start_goes_on(
    own: Federation, session: HubSession, staged: list[dict]
) -> None:
    """Also with one of the kept ports taken by a stranger: another is used, and said."""
    hub = states(own)["hub"]
    launcher = json.loads((own.layout.programs / "hub.state.json").read_text())["launcher"]
    os.kill(launcher, signal.SIGKILL)
    os.kill(hub.pid, signal.SIGKILL)
    until(
        lambda: processes_of(own.data),
        "the end of every process",
        30,
        fits=lambda left: not left,
        pause=0.5,
    )
    own.stop()
    assert mounts_below(own.data) == []
    taken = own.ports["catalogue"]
    again = Federation(own.data)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", taken))
        stranger.listen()
        again.start(print)
    try:
        assert again.ports["catalogue"] != taken
        assert any(str(taken) in note for note in again.notes)
        with HubSession(again.hub_url) as back:
            back.sign_in("both", again.passwords["both"])
            back.start_server(print)
            found = back.workspace.search(
                ids=[item["id"] for item in staged], providers=["catalogue"]
            )
            assert len(found["items"]) == len(staged)
            href = staged[0]["assets"]["B03"]["href"].replace("s3://", "s3/")
            assert len(back.read_file(href)) == staged[0]["assets"]["B03"]["file:size"]
    finally:
        again.stop(print)


def test_two_federations_on_one_folder_are_refused(federation: Federation) -> None:
    with pytest.raises(FederationError, match="already runs"):
        Federation(federation.data).start()


def test_secrets_are_private(federation: Federation) -> None:
    secrets = federation.data / "secrets"
    assert secrets.stat().st_mode & 0o077 == 0
    for path in secrets.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_logs_and_configuration_hold_no_secret(
    federation: Federation, researcher: HubSession
) -> None:
    researcher.workspace.search(bbox=list(simulate.BBOX), limit=1)
    secrets: set[str] = set()
    for path in (federation.data / "secrets").rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            secrets |= {text} if len(text) < 200 else set()
    secrets |= set(federation.passwords.values())
    secrets = {secret for secret in secrets if len(secret) >= 12}
    assert len(secrets) >= 5
    looked_at = 0
    for folder in (federation.log_dir, federation.layout.config):
        for path in Path(folder).rglob("*"):
            if not path.is_file():
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            looked_at += 1
            for secret in secrets:
                assert secret not in text, path
            assert "eyJhbGciOi" not in text, f"{path} holds a token"
    assert looked_at > 8


def test_everything_listens_on_loopback_only(federation: Federation) -> None:
    """No port of ours is open on another address (Spark's UI and SeaweedFS like to)."""
    ours = set(federation.ports.values())
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, port = address.split(":")
            if state == "0A" and int(port, 16) in ours:
                assert host in ("0100007F", "00000000000000000000000001000000"), line


def test_health_is_open_and_nothing_else_is(federation: Federation) -> None:
    base = federation.hub_url
    assert httpx.get(f"{base}/services/openeo/healthz").status_code == 200
    assert httpx.get(f"{base}/services/openeo/jobs").status_code == 401
    assert httpx.get(f"{base}/services/broker/v1/s3").status_code in (401, 403)
    item = {"type": "Feature", "id": "x"}
    address = f"{base}/services/catalogue/collections/{simulate.COLLECTION}/items"
    assert httpx.post(address, json=item).status_code == 401
