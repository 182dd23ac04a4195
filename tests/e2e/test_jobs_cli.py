"""``cscale jobs`` on the machine of the federation, and from within a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cscale_cli.demo.session import HubSession
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation


def cscale(federation: Federation, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from cscale_cli.main import main; main()"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("JUPYTERHUB_")
    }
    return subprocess.run(
        [sys.executable, "-c", code, "jobs", *arguments, "--data", str(federation.data)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.spark
def test_a_graph_from_a_file_is_run_listed_and_its_results_opened_in_a_kernel(
    federation: Federation, researcher: HubSession, tmp_path: Path
) -> None:
    west, south, east, north = simulate.BBOX
    load = {
        "process_id": "load_collection",
        "arguments": {
            "id": simulate.COLLECTION,
            "spatial_extent": {"west": west, "south": south, "east": east, "north": north},
            "temporal_extent": ["2019-01-01", "2019-03-01"],
            "bands": ["B03"],
        },
        "result": True,
    }
    staged = researcher.workspace.search(
        bbox=list(simulate.BBOX),
        collections=[simulate.COLLECTION],
        datetime="2019-01-01T00:00:00Z/2019-03-01T00:00:00Z",
        providers=["site-b"],
    )["items"]
    researcher.workspace.stage(staged, ["B03"], register=True).wait(progress=False)
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps({"load": load}), encoding="utf-8")
    made = cscale(federation, "submit", str(graph), "--title", "From a terminal", "--wait")
    assert made.returncode == 0, made.stderr
    job_id = made.stdout.split()[0]
    listed = cscale(federation, "list", "--json")
    by_id = {job["id"]: job for job in json.loads(listed.stdout)}
    assert by_id[job_id]["status"] == "finished"
    assert {job["spec"]["engine"] for job in by_id.values()} >= {"openeo", "staging"}
    opened = researcher.run_in_kernel(
        "from cscale_core.client import jobs\n"
        f"print(float(jobs[{job_id!r}].results().open().to_dataarray().max()))\n"
        "import subprocess\n"
        f"print(subprocess.run(['cscale', 'jobs', 'show', {job_id!r}], text=True,"
        " capture_output=True).stdout)\n"
    )
    assert 0 < float(opened.split()[0]) <= 1
    assert "From a terminal" in opened
    assert "\x1b" not in opened


def test_another_demonstration_user_sees_another_list(federation: Federation) -> None:
    stranger = cscale(federation, "list", "--user", "both", "--start", "--json")
    assert stranger.returncode == 0, stranger.stderr
    assert json.loads(stranger.stdout) == []
    nobody = cscale(federation, "list", "--user", "nobody")
    assert nobody.returncode == 2
    assert "no demonstration user nobody" in nobody.stderr
    for secret in federation.passwords.values():
        assert secret not in stranger.stdout + stranger.stderr + nobody.stderr
