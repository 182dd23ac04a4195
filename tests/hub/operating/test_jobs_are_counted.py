"""Jobs in the records of use: by the server that runs them, for the person's own VOs, once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cscale_cli.demo.session import HubSession
from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.place import open_store
from cscale_hub.local.processes import federation_processes
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.operating.conftest import Operated

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
VO = "waterwatch.c-scale.eu"


def counted(operated: Operated, vo: str = VO) -> dict[str, int]:
    """Jobs of this month, by engine."""
    store = open_store(operated.federation.settings)
    month = Month.of(time.time())
    try:
        totals = store.totals(month.start, month.end)
    finally:
        store.close()
    return next((total.jobs for total in totals if total.vo == vo), {})


def server_token(operated: Operated, name: str) -> str:
    """The token that JupyterHub gave the person's server."""
    for pid in federation_processes(operated.federation.data):
        try:
            raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
        except OSError:
            continue  # it ended meanwhile
        variables = dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)
        if variables.get("JUPYTERHUB_USER") == name:
            return variables["JUPYTERHUB_API_TOKEN"]
    raise AssertionError("no server runs")


def test_jobs_are_told_by_servers_and_taken_once(operated: Operated) -> None:
    with HubSession(operated.url) as session:
        name = session.sign_in("water", operated.federation.passwords["water"])
        path = f"{operated.url}/hub/api/users/{name}"
        session._api.post(f"{path}/server", json={"profile": "small"})
        session.start_server(lambda message: None)
        own = server_token(operated, name)
        session_token = session._token

        def tell(token: str, *jobs: dict[str, Any]) -> httpx.Response:
            return httpx.post(
                f"{operated.url}/hub/api/cscale/jobs",
                json={"jobs": list(jobs)},
                headers={"Authorization": f"token {token}"},
                timeout=30,
            )

        now = time.time()
        job = {
            "id": "j1",
            "engine": "openeo",
            "vo": VO,
            "started": now - 60,
            "ended": now,
            "cpu_seconds": 120.0,
        }
        for _ in range(2):
            answer = tell(own, job, {**job, "id": "j2", "vo": "aquamonitor.c-scale.eu"})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"taken": 1, "refused": 1}
        assert counted(operated)["openeo"] == 1
        assert "openeo" not in counted(operated, "aquamonitor.c-scale.eu")
        # Neither a person's own token nor what cannot be.
        assert tell(session_token, job).status_code == 403
        for wrong in (
            {**job, "ended": now - 120},
            {**job, "ended": now + 9999},
            {**job, "cpu_seconds": 1e12},
            {**job, "engine": "magic"},
            {**job, "more": 1},
        ):
            assert tell(own, wrong).status_code == 400

        # And a job of the server itself, which ends in an error here: there is no object store.
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": "scene",
            "geometry": None,
            "properties": {"datetime": "2026-11-01T00:00:00Z"},
            "links": [],
            "assets": {"data": {"href": f"http://127.0.0.1:{operated.federation.ports['s3']}/x"}},
        }
        spec = {"engine": "staging", "process": {"items": [item]}}
        address = f"{operated.url}/user/{name}/cscale/api/v1/jobs"
        submitted = session._api.post(address, json=spec, timeout=60)
        assert submitted.is_success, submitted.text
        until(
            lambda: counted(operated).get("staging") == 1,
            "the count of the job",
            90,
            beside=lambda: session._api.get(address).text,
        )
        session._api.delete(f"{path}/server")
