"""The audit log, the records of use and the metrics of a hub that runs."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cscale_cli.demo.session import HubSession, JourneyError
from cscale_cli.main import build
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.operating.conftest import Operated

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
RUNNER = CliRunner()
VO = "aquamonitor.c-scale.eu"


@pytest.fixture(scope="module")
def worked(operated: Operated) -> str:
    """Somebody signed in, was refused a server, had one, shared it, and stopped it."""
    with HubSession(operated.url) as other, pytest.raises(JourneyError):
        other.sign_in("outsider", operated.federation.passwords["outsider"])
    with HubSession(operated.url) as session:
        name = session.sign_in("aqua-manager", operated.federation.passwords["aqua-manager"])
        refused = session._api.post(
            f"{operated.url}/hub/api/users/{name}/server",
            json={"vo": VO, "profile": "huge" * 100},
        )
        assert refused.status_code == 403
        started = session._api.post(
            f"{operated.url}/hub/api/users/{name}/server", json={"vo": VO, "profile": "small"}
        )
        assert started.status_code in (201, 202), started.text
        session.start_server(lambda message: None)
        shares = f"{operated.url}/hub/api/shares/{name}/"
        shared = session._api.post(shares, json={"group": f"vo:{VO}"})
        assert shared.status_code == 200, shared.text
        assert session._api.delete(shares).status_code == 204
        stopped = session._api.delete(f"{operated.url}/hub/api/users/{name}/server")
        assert stopped.status_code in (202, 204)
    return name


def of(operated: Operated, **members: Any) -> list[dict[str, Any]]:
    return [
        event
        for event in operated.events()
        if all(event.get(name) == value for name, value in members.items())
    ]


def test_logins_are_on_record_with_who_was_refused(operated: Operated, worked: str) -> None:
    allowed, *_ = of(operated, action="login", outcome="allowed", user=worked)
    assert allowed["vos"] == [VO]
    [refused] = of(operated, action="login", outcome="refused")
    assert refused["code"] == "no-accepted-vo"
    assert refused["user"] not in ("", worked)


def test_servers_are_on_record_with_what_was_asked_for(operated: Operated, worked: str) -> None:
    [refused] = of(operated, action="server.start", outcome="refused", user=worked)
    assert refused["code"] == "profile"
    assert refused["profile"].startswith("hugehuge")
    assert len(refused["profile"]) <= 80
    [allowed] = of(operated, action="server.start", outcome="allowed", user=worked)
    assert (allowed["vo"], allowed["profile"], allowed["user"]) == (VO, "small", worked)
    until(
        lambda: of(operated, action="server.stop", outcome="done", user=worked),
        "the stop on record",
    )


def test_shares_are_on_record_also_when_all_are_taken_back_at_once(
    operated: Operated, worked: str
) -> None:
    [created] = of(operated, action="share.create", user=worked)
    [revoked] = of(operated, action="share.revoke", user=worked)
    for event in (created, revoked):
        assert event["user"] == worked
        assert event["vo"] == VO
        assert event["shared_with"] == [f"group:vo:{VO}"]


def test_the_log_is_private_and_holds_no_secret(operated: Operated, worked: str) -> None:
    layout = operated.federation.layout
    assert stat.S_IMODE(layout.audit.stat().st_mode) == 0o600
    text = layout.audit.read_text(encoding="utf-8")
    for path in layout.secrets.iterdir():
        if path.is_file():
            assert path.read_text(encoding="utf-8").strip() not in text
    assert "eyJ" not in text  # nothing that begins like a token


def test_use_is_counted_under_a_pseudonym(operated: Operated, worked: str) -> None:
    data = ["--data", str(operated.federation.data)]
    shown = RUNNER.invoke(build(), ["accounting", "summary", "--json", *data])
    assert shown.exit_code == 0, shown.output
    [total] = [each for each in json.loads(shown.stdout)["vos"] if each["vo"] == VO]
    assert min(total["people"], total["servers"]) >= 1
    assert 0 < total["cpu_hours"] < 1
    for form in ("csv", "apel"):
        listed = RUNNER.invoke(build(), ["accounting", "records", "--format", form, *data])
        assert listed.exit_code == 0, listed.output
        assert worked not in listed.stdout
        assert re.search(r"\bp[0-9a-f]{24}\b", listed.stdout)
        assert VO in listed.stdout


def test_metrics_are_for_who_has_the_token(operated: Operated, worked: str) -> None:
    import httpx

    assert httpx.get(f"{operated.url}/hub/metrics").status_code == 403
    text = operated.metrics()
    assert re.search(r'cscale_events_total{action="login",outcome="refused"} [1-9]', text)
    assert re.search(r'cscale_events_total{action="server.start",outcome="allowed"} [1-9]', text)
    assert re.search(rf'cscale_month_people{{vo="{re.escape(VO)}"}} [1-9]', text)
    assert "cscale_accounting_readable 1.0" in text
    assert worked not in text


def test_every_metric_of_the_dashboard_is_shown_by_the_hub_or_the_broker(
    operated: Operated, worked: str
) -> None:
    import httpx

    from cscale_hub.metrics.dashboard import ROWS

    port = operated.federation.ports["broker"]
    shown = operated.metrics() + httpx.get(f"http://127.0.0.1:{port}/metrics").text
    # Without labels there is a family but no sample, until something happens.
    known = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    known |= {f"{name}{end}" for name in known for end in ("_total", "_bucket", "_count")}
    asked = {
        name
        for _, panels in ROWS
        for panel in panels
        for query in panel.queries
        for name in re.findall(r"\b(?:cscale|jupyterhub|process)_\w+", query.expression)
    }
    assert asked - known == set()
    # Nothing of it is open to the world.
    assert httpx.get(f"{operated.url}/services/broker/metrics").status_code == 404


def test_the_culler_runs_and_may_do_little(operated: Operated, worked: str) -> None:
    from cscale_hub.local.processes import federation_processes

    commands = [
        Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        for pid in federation_processes(operated.federation.data)
    ]
    [culler] = [command for command in commands if b"cscale_hub.culling" in command]
    assert b"--timeout=3600" in culler
    assert b"--max-age=604800" in culler
    log = (operated.federation.log_dir / "hub.log").read_text(encoding="utf-8")
    asked = re.findall(r" (\d{3}) \w+ \S+ \(idle-culler@", log)
    assert asked
    assert set(asked) <= {"200", "202", "204"}  # its rights are enough
