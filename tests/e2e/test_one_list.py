"""Jobs of every engine in one list, and what a killed server makes of them: nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cscale_cli.demo.session import HubSession, JourneyError
from cscale_core.objects import PART_SIZE
from cscale_core.workflows.aqua_monitor import AquaMonitorParameters, process_graph
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from cscale_hub.local.processes import federation_processes, start_ticks, user_servers
from cscale_hub.local.slurm.daemons import CONF_VARIABLE
from cscale_hub.local.slurm.packages import missing_packages, program
from tests.e2e.slow_source import SlowSource, slow_source
from tests.waiting import until

pytestmark = [pytest.mark.spark, pytest.mark.slurm, pytest.mark.timeout(1500)]

BANDS = ["B11", "B08", "B03"]
YEARS = ("2019", "2020", "2021")
ENGINES = {"openeo", "spark", "slurm", "staging"}
ENDED = {"finished", "error", "canceled", "lost"}
SIZE, HELD_AT = 40 * 2**20, 20 * 2**20


@pytest.fixture(scope="module")
def source() -> Iterator[SlowSource]:
    with slow_source(SIZE, HELD_AT) as running:
        yield running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, source: SlowSource) -> Iterator[Federation]:
    """A federation of this module's own: what is killed here is nobody else's."""
    absent = missing_packages()
    if absent:
        pytest.skip(f"Slurm is absent: install the Debian packages {' '.join(absent)}")
    running = Federation(tmp_path_factory.mktemp("one"), extra_hosts=(source.host,))
    running.start(print)
    try:
        yield running
    finally:
        running.stop(print)


@pytest.fixture(scope="module")
def session(own: Federation) -> Iterator[HubSession]:
    with HubSession(own.hub_url) as signed_in:
        signed_in.sign_in("aqua", own.passwords["aqua"])
        signed_in.start_server(print)
        yield signed_in


def call(session: HubSession, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    return session.workspace.call(method, path, json=body)


def jobs(session: HubSession) -> dict[str, dict[str, Any]]:
    return {job["id"]: job for job in call(session, "GET", "jobs")["jobs"]}


def ended(session: HubSession, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: call(session, "GET", f"jobs/{job_id}"),
        f"the end of {job_id}",
        600,
        fits=lambda job: job["status"] in ENDED,
        pause=0.3,
    )
    return found


def told(session: HubSession, job: dict[str, Any]) -> str:
    """What is known of a job that did not end as it should."""
    lines = call(session, "GET", f"jobs/{job['id']}/logs?limit=5000")["logs"]
    text = "\n".join(line["message"] for line in lines[-40:])
    return f"{job['spec']['engine']}: {json.dumps(job['error'])}\n{text}"


@pytest.fixture(scope="module")
def scenes(session: HubSession) -> list[dict[str, Any]]:
    """Scenes of every year, staged and registered: what openEO and Spark compute on."""
    question = {
        "bbox": list(simulate.BBOX),
        "collections": [simulate.COLLECTION],
        "limit": 100,
        "providers": ["site-b"],
        "max_cloud_cover": 20,
    }
    body = {"query": question, "assets": BANDS, "title": "Scenes"}
    job = ended(session, call(session, "POST", "stage", body)["id"])
    assert job["status"] == "finished", told(session, job)
    results: list[dict[str, Any]] = job["results"]
    return results


class Four:
    """One job of each engine, in the middle of its work."""

    def __init__(self, own: Federation, session: HubSession, source: SlowSource) -> None:
        self.own, self.session, self.source = own, session, source
        self.ids: dict[str, str] = {}

    def submit(self, scenes: list[dict[str, Any]]) -> None:
        parameters = AquaMonitorParameters.model_validate(
            {
                "bbox": list(simulate.BBOX),
                "intervals": [[f"{year}-01-01", f"{int(year) + 1}-01-01"] for year in YEARS],
                "min_images": 1,
                "collection": simulate.COLLECTION,
                "bands": BANDS,
            }
        )
        waiting = "until [ -e ../go ]; do sleep 0.2; done; echo through > $CSCALE_OUTPUT/out.txt"
        self._new("slurm", {"command": ["bash", "-c", waiting]}, {"time": 30, "memory": "50M"})
        self.ids["staging"] = call(
            self.session,
            "POST",
            "stage",
            {"items": [self.source.item("slow-product")], "title": "The staging job"},
        )["id"]
        until(lambda: self.source.farthest > HELD_AT, "the middle of the copy", 240)
        self._new("openeo", {"process_graph": process_graph(parameters)})
        arguments = {"parameters": parameters.model_dump(mode="json"), "items": scenes}
        self._new("spark", {"application": "aqua-monitor", "arguments": arguments})

    def _new(
        self, engine: str, process: dict[str, Any], options: dict[str, Any] | None = None
    ) -> None:
        spec = {
            "engine": engine,
            "title": f"The {engine} job",
            "process": process,
            "options": options or {},
        }
        self.ids[engine] = call(self.session, "POST", "jobs", spec)["id"]

    def status(self) -> dict[str, str]:
        now = jobs(self.session)
        return {engine: now[job_id]["status"] for engine, job_id in self.ids.items()}

    # -- what there is at the engines ----------------------------------------------------------

    def at_openeo(self) -> list[str]:
        """Ids of the jobs at the back end that carry our mark."""
        store = next(self.own.layout.service("openeo").glob("*.sqlite"))
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT id, body FROM jobs").fetchall()
        return [name for name, body in rows if self.ids["openeo"] in body]

    def at_slurm(self) -> list[str]:
        """Ids of the jobs at the cluster that carry our name, ended ones too."""
        conf = str(self.own.layout.service("slurm") / "slurm.conf")
        listed = subprocess.run(
            [program("squeue"), "-h", "--states=all", "-o", "%A %j"],
            env={"PATH": os.environ["PATH"], CONF_VARIABLE: conf},
            capture_output=True,
            text=True,
            check=True,
        )
        named = [line.split() for line in listed.stdout.splitlines()]
        return [number for number, name in named if name == f"cscale-{self.ids['slurm']}"]

    def spark_folders(self) -> list[Path]:
        found = self.own.layout.users.rglob(f"cscale/spark/*{self.ids['spark']}*")
        return [path for path in found if path.is_dir()]

    def spark_drivers(self) -> dict[int, int | None]:
        """Processes of the Spark application that no other of them started, and when they began."""
        parents = {}
        for pid in federation_processes(self.own.data):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we looked
            if self.ids["spark"] in command:
                parents[pid] = int(stat[1])
        return {pid: start_ticks(pid) for pid, parent in parents.items() if parent not in parents}


@pytest.fixture(scope="module")
def four(
    own: Federation, session: HubSession, source: SlowSource, scenes: list[dict[str, Any]]
) -> Four:
    made = Four(own, session, source)
    made.submit(scenes)
    return made


def start_again(own: Federation, session: HubSession) -> None:
    """A new server, as soon as the hub has seen that the old one is gone."""

    def gone() -> bool:
        user = session.get(f"{own.hub_url}/hub/api/users/{session.user}").json()
        return not user["servers"]

    until(gone, "that the hub sees the end of the server", 240, pause=0.3)

    def started() -> bool:
        session.start_server(print)
        return True

    # It is refused while the hub is still clearing away.
    until(started, "a new server", 240, despite=JourneyError, pause=0.3)


def test_after_kill_9_each_job_shows_its_true_state_and_none_was_submitted_twice(
    own: Federation, session: HubSession, source: SlowSource, four: Four
) -> None:
    until(
        four.status,
        "that all four run",
        240,
        fits=lambda seen: set(seen.values()) == {"running"},
        pause=0.3,
    )
    listed = jobs(session)
    assert {listed[job_id]["spec"]["engine"] for job_id in four.ids.values()} == ENGINES
    before = (four.at_openeo(), four.at_slurm(), four.spark_folders())
    assert [len(each) for each in before] == [1, 1, 1], before
    drivers = four.spark_drivers()
    assert drivers

    (server,) = user_servers(own.data)
    started = start_ticks(server)
    os.kill(server, signal.SIGKILL)
    until(lambda: start_ticks(server) != started, "the end of the server", 30)
    sent_before = source.farthest
    start_again(own, session)

    now = jobs(session)
    assert {*four.ids.values()} <= {*now}
    status = {engine: now[job_id]["status"] for engine, job_id in four.ids.items()}
    assert status["slurm"] == "running"
    assert status["staging"] in ("queued", "running")
    assert status["openeo"] in ("running", "finished")
    assert status["spark"] in ("running", "finished")
    # A driver that is still there is the one of before.
    assert four.spark_drivers().items() <= drivers.items()

    (own.layout.service("slurm") / "work" / "go").touch()
    source.let_go()
    for engine, job_id in four.ids.items():
        job = ended(session, job_id)
        assert job["status"] == "finished", told(session, job)
        assert job["results"], engine
        phases = [phase["status"] for phase in job["phases"]]
        assert phases[-1] == "finished"
        assert "running" in phases

    assert (four.at_openeo(), four.at_slurm(), four.spark_folders()) == before
    assert sent_before > HELD_AT
    # What had arrived as a whole part was not fetched again, and what came after it once more.
    assert [source.times_sent(place) for place in (0, PART_SIZE // 2, PART_SIZE - 1)] == [1, 1, 1]
    assert source.times_sent(SIZE - 1) == 1


def test_the_command_line_shows_all_four_in_one_list(own: Federation, four: Four) -> None:
    command = [sys.executable, "-m", "cscale_cli.main", "jobs", "list", "--data", str(own.data)]
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    listed = shown["jobs"] if isinstance(shown, dict) else shown
    ours = {job["id"]: job for job in listed if job["id"] in four.ids.values()}
    assert {job["spec"]["engine"] for job in ours.values()} == ENGINES
    table = subprocess.run(
        command,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert table.returncode == 0, table.stderr
    for engine in ENGINES:
        assert engine in table.stdout


def test_what_was_copied_is_whole_and_there_once(
    session: HubSession, source: SlowSource, four: Four
) -> None:
    (item,) = ended(session, four.ids["staging"])["results"]
    asset = item["assets"]["product"]
    assert asset["file:size"] == SIZE
    path = asset["href"].replace("s3://", "s3/")
    names = [entry["name"] for entry in session.list_folder(path.rpartition("/")[0])]
    assert sorted(names) == sorted([path.rpartition("/")[2], "item.json"])
    copied = session.run_in_kernel(
        "import boto3, hashlib\n"
        f"bucket, _, key = {asset['href'].removeprefix('s3://')!r}.partition('/')\n"
        "body = boto3.client('s3').get_object(Bucket=bucket, Key=key)['Body'].read()\n"
        "print(hashlib.sha256(body).hexdigest())\n"
    )
    assert copied.strip() == hashlib.sha256(source.data).hexdigest()
    found = session.workspace.search(ids=["slow-product"], providers=["catalogue"])
    assert [each["id"] for each in found["items"]] == ["slow-product"]


def test_results_of_every_engine_are_in_the_bucket(session: HubSession, four: Four) -> None:
    for engine in ENGINES:
        answer = call(session, "GET", f"jobs/{four.ids[engine]}/results")
        hrefs = [asset["href"] for item in answer["features"] for asset in item["assets"].values()]
        assert hrefs, engine
        assert json.dumps(answer).count("X-Amz-Signature") == 0 or engine == "openeo"
