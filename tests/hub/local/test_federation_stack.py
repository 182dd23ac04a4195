"""The federation as a whole: login, spawn, killed services, a second start, a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_cli.demo.session import HubSession, JourneyError
from cscale_hub.local import lifecycle, processes, system
from cscale_hub.local.lifecycle import Federation, FederationError
from cscale_hub.local.people import passwords_file, users_file
from cscale_hub.local.ports import choose
from cscale_hub.local.secrets import write_secret
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

WITHOUT = ("openeo", "site-b")
SETTINGS = {"catalogue": {"backend": "sqlite"}}


def make(data: Path) -> Federation:
    # Scenes are not needed here: an empty archive spares their simulation.
    (data.parent / "scenes").mkdir(exist_ok=True)
    return Federation(data, archive_root=data.parent / "scenes", without=WITHOUT, settings=SETTINGS)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = make(tmp_path_factory.mktemp("federation") / "data")
    with made:
        yield made


@pytest.fixture(scope="module")
def session(federation: Federation) -> Iterator[HubSession]:
    with HubSession(federation.hub_url) as made:
        made.sign_in("aqua", federation.passwords["aqua"])
        made.start_server(lambda message: None)
        yield made


def server_environment(federation: Federation) -> dict[str, str]:
    """The variables the user's server was started with."""
    for pid in processes.federation_processes(federation.data):
        try:
            raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
        except OSError:
            continue  # it ended meanwhile
        variables = dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)
        if "CSCALE_SITE_FILE" in variables and "JPY_PARENT_PID" not in variables:
            return variables
    raise AssertionError("no user server runs")


def state_pid(federation: Federation, name: str) -> int:
    path = federation.layout.programs / f"{name}.state.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["pid"])


def test_wrong_password_does_not_come_in(federation: Federation) -> None:
    with HubSession(federation.hub_url) as other, pytest.raises(JourneyError):
        other.sign_in("aqua", "not-the-password")


def test_member_of_another_vo_gets_a_page_that_explains(federation: Federation) -> None:
    with HubSession(federation.hub_url) as other:
        with pytest.raises(JourneyError, match="403"):
            other.sign_in("outsider", federation.passwords["outsider"])
        # The provider remembers the person, so this walks the flow again to the same page.
        page = other._browser.get(f"{federation.hub_url}/hub/oauth_login")
    assert page.status_code == 403
    assert "vo.notebooks.egi.eu" in page.text
    assert "aquamonitor.c-scale.eu" in page.text
    assert "Traceback" not in page.text


def test_login_page_has_one_way_in(federation: Federation) -> None:
    page = httpx.get(f"{federation.hub_url}/hub/login")
    assert page.text.count("Sign in with EGI Check-in (demonstration)") == 1


def test_server_has_no_secret_in_its_environment_but_jupyterhubs_own(
    federation: Federation, session: HubSession
) -> None:
    variables = server_environment(federation)
    stored = [
        path.read_text(encoding="utf-8", errors="replace").strip()
        for path in federation.layout.secrets.iterdir()
        if path.is_file()
    ]
    assert not any(secret and secret in value for value in variables.values() for secret in stored)
    assert variables["HOME"].startswith(str(federation.data))
    site = Path(variables["CSCALE_SITE_FILE"])
    assert stat.S_IMODE(site.stat().st_mode) == 0o600


def test_broker_takes_the_servers_token_and_no_other(
    federation: Federation, session: HubSession
) -> None:
    url = f"{federation.urls['broker']}/v1/token?audience=openeo"
    own = server_environment(federation)["JUPYTERHUB_API_TOKEN"]
    answer = httpx.get(url, headers={"Authorization": f"token {own}"}, timeout=20)
    assert answer.status_code == 200
    assert answer.json()["audience"] == "openeo"
    # What the session holds was made like a token of the token page: all the user may do.
    assert session.get(url).status_code == 403
    assert httpx.get(url).status_code == 401


def test_second_start_in_the_same_folder_is_refused(federation: Federation) -> None:
    with pytest.raises(FederationError, match="already runs"):
        make(federation.data).start()
    assert federation.is_running()


def test_doctor_finds_nothing_wrong(federation: Federation) -> None:
    state = federation.state()
    assert state.running
    assert [service.name for service in state.services if not service.healthy] == []
    assert all(service.memory > 0 for service in state.services)


@pytest.mark.parametrize("name", ["broker", "catalogue", "issuer", "s3"])
def test_killed_service_comes_back(federation: Federation, session: HubSession, name: str) -> None:
    first = state_pid(federation, name)
    os.kill(first, signal.SIGKILL)
    until(
        lambda: {each.name: each.healthy for each in federation.state().services}[name],
        f"health of {name}",
        40,
    )
    assert state_pid(federation, name) != first


def test_login_while_the_identity_provider_is_down_is_an_explained_page(
    federation: Federation,
) -> None:
    state = json.loads(
        (federation.layout.programs / "issuer.state.json").read_text(encoding="utf-8")
    )
    os.kill(state["launcher"], signal.SIGSTOP)  # so that it stays down
    try:
        os.kill(state["pid"], signal.SIGKILL)
        login = f"{federation.hub_url}/hub/oauth_login"
        # Where the provider was seen a moment ago, it is not asked whether it is there.
        until(
            lambda: httpx.get(login, timeout=40).status_code,
            "the refusal",
            fits=lambda status: status != 302,
        )
        page = httpx.get(login, timeout=40)
    finally:
        os.kill(state["launcher"], signal.SIGCONT)
    assert page.status_code == 503
    assert "does not answer at the moment" in page.text
    until(lambda: federation.state().problems, "health", 40, fits=lambda problems: not problems)


def test_credentials_are_given_after_everything_was_killed(
    federation: Federation, session: HubSession
) -> None:
    own = server_environment(federation)["JUPYTERHUB_API_TOKEN"]
    url = f"{federation.urls['broker']}/v1/s3"

    def given() -> bool:
        answer = httpx.get(url, headers={"Authorization": f"token {own}"}, timeout=20)
        return answer.status_code == 200 and answer.json()["AccessKeyId"].startswith("ASIA")

    until(given, "the keys", 20)


def test_killed_proxy_comes_back_with_its_routes(
    federation: Federation, session: HubSession
) -> None:
    pid = int((federation.layout.run / "proxy.pid").read_text(encoding="utf-8"))
    os.kill(pid, signal.SIGKILL)
    url = f"{federation.urls['catalogue']}/healthz"

    def routed() -> bool:
        return httpx.get(url).status_code == 200

    until(routed, "the route", 20, despite=httpx.TransportError)


def test_killed_hub_takes_everything_with_it_and_comes_back(
    federation: Federation, session: HubSession
) -> None:
    hub = state_pid(federation, "hub")
    before = {name: state_pid(federation, name) for name in ("issuer", "s3", "broker")}
    server = [
        pid
        for pid in processes.federation_processes(federation.data)
        if b"jupyterhub.singleuser" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert server
    os.kill(hub, signal.SIGKILL)
    gone = [*before.values(), *server]
    until(lambda: all(processes.start_ticks(pid) is None for pid in gone), "the end of all", 30)
    until(lambda: federation.state().problems, "health", fits=lambda problems: not problems)
    # And people come in again, as the same user.
    with HubSession(federation.hub_url) as again:
        assert again.sign_in("aqua", federation.passwords["aqua"]) == session.user


def test_stopped_federation_leaves_nothing_and_starts_again_on_the_same_data(
    tmp_path: Path,
) -> None:
    first = make(tmp_path / "data")
    with first:
        ports, passwords = dict(first.ports), first.passwords
        with HubSession(first.hub_url) as person:
            name = person.sign_in("water", passwords["water"])
            person.start_server(lambda message: None)
        (first.layout.user_home(name) / "mine.txt").write_text("kept", encoding="utf-8")
    assert processes.federation_processes(first.data) == []
    assert system.mounts_below(first.data) == []
    assert not first.is_running()

    with socket.socket() as other:
        # As servers do: connections that were closed a moment ago do not hold the port.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", ports["catalogue"]))
        other.listen()
        second = make(tmp_path / "data")
        with second:
            changed = {key for key, port in second.ports.items() if port != ports[key]}
            assert changed == {"catalogue"}
            assert [str(ports["catalogue"]) in note for note in second.notes] == [True]
            assert second.passwords == passwords
            with HubSession(second.hub_url) as person:
                assert person.sign_in("water", passwords["water"]) == name
            assert (second.layout.user_home(name) / "mine.txt").read_text() == "kept"


def test_port_that_another_hub_took_in_the_meantime_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherHub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/hub/health" else 403)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: it is not what is tested."""

    chosen: list[int] = []

    def too_late(names: Any, file: Path, preferred: Any) -> tuple[dict[str, int], list[str]]:
        ports, notes = choose(names, file, preferred)
        if not chosen:
            ports["hub"] = other.server_port
        chosen.append(ports["hub"])
        return ports, notes

    monkeypatch.setattr(lifecycle, "choose", too_late)
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherHub) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        try:
            with make(tmp_path / "data") as federation:
                assert len(chosen) == 2
                assert federation.hub_url.endswith(f":{chosen[1]}")
                assert federation.state().problems == ()
        finally:
            other.shutdown()


def test_service_that_cannot_start_is_named_with_its_log(tmp_path: Path) -> None:
    made = make(tmp_path / "data")
    made.layout.create()
    for path in (users_file(made.layout), passwords_file(made.layout)):
        write_secret(path, "{}")  # not the list of users that the issuer wants
    with pytest.raises(FederationError, match="issuer keeps ending") as caught:
        made.start()
    assert "valid array" in str(caught.value)
    assert processes.federation_processes(made.data) == []
