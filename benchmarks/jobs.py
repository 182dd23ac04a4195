"""Watching jobs at openEO back ends: ``python -m benchmarks.jobs [--json FILE]``, six minutes.

Three back ends, each a process of its own (``tests/core/jobs/openeo_double.py``), hold 1,000 open
jobs of one user, some of which change while they are watched: requests a second at the back end,
seconds from a change to the event, CPU of the watcher. In the same run the same 20 jobs are
submitted and followed to their ends by ours and, in another process, by the official client's
``MultiBackendJobManager`` with its defaults: seconds from the end of a job to its notice, and
requests. Ours counts until the results are read and stored, theirs until ``on_job_done`` is called.
As at the public back ends, usage and costs of a job are in its description and not in the list.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Figure, figure, quantile, report
from cscale_core.backends import OpenEOBackend
from cscale_core.jobs.engines.openeo import OpenEOEngine
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site

DOUBLE = Path(__file__).parents[1] / "tests/core/jobs/openeo_double.py"
BACKENDS = ("alpha", "beta", "gamma")
OPEN_JOBS = 1000
SAME_JOBS = 20
GRAPH = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
PAGE = 100
BILL = {"usage": {"cpu": {"value": 60, "unit": "cpu-seconds"}}, "costs": 4.0}

#: Seconds the same jobs run: from three quarters of a minute to four minutes, spread (by the
#: golden ratio) so that they are in step with nobody's way of asking.
DURATIONS = {
    f"task {number}": 45.0 + 190.0 * (number * 0.6180339887 % 1.0) for number in range(SAME_JOBS)
}
#: Seconds before anything is measured, in which 1,000 jobs are taken up.
SETTLE = 30.0
#: Seconds between two changes among the 1,000.
CHANGE_EVERY = 1.5
MEASURED = 270.0

#: How our program names itself; the rival's requests without a login name other programs.
OURS = "cscale"
THEIRS = "openeo-python-client"

GOAL_RATE = 1.0
GOAL_CPU = 10.0
GOAL_FASTER = 5.0


class Tokens:
    """A token that names its user."""

    def __init__(self, user: str) -> None:
        self._user = user

    async def token(self, audience: str) -> str:
        return f"{self._user}-{audience}-1"


@contextmanager
def doubles() -> Iterator[dict[str, str]]:
    """The addresses of the back ends, each a process."""
    processes = {
        name: subprocess.Popen([sys.executable, DOUBLE], stdout=subprocess.PIPE, text=True)
        for name in BACKENDS
    }
    try:
        yield {
            name: process.stdout.readline().strip()
            for name, process in processes.items()
            if process.stdout is not None
        }
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()


def control(url: str, what: str, body: Any = None) -> Any:
    """Steer or ask a double."""
    with httpx.Client(trust_env=False, timeout=60) as http:
        address = f"{url}/control/{what}"
        answer = http.get(address) if body is None else http.post(address, json=body)
        answer.raise_for_status()
        return answer.json()


def make_site(urls: dict[str, str]) -> Site:
    """A site with the back ends and nothing else of use."""
    backends = [
        OpenEOBackend(id=name, title=name, url=url, audience="openeo") for name, url in urls.items()
    ]
    nowhere = "http://127.0.0.1:9"
    return Site.model_validate(
        {
            "user": "bench",
            "s3": {"endpoint": nowhere},
            "catalogue": {"url": nowhere},
            "openeo": backends,
        }
    )


# -- the 1,000 -----------------------------------------------------------------------------------


def changes_to_come(began: float) -> list[list[tuple[float, str]]]:
    """For each of the 1,000 what happens to it: nothing, or it begins, or it ends."""
    plans: list[list[tuple[float, str]]] = [[] for _ in range(OPEN_JOBS)]
    number = 0
    moment = 0.0
    while moment < MEASURED - 30:
        status = "finished" if number % 4 == 0 else "running"  # evenly over the back ends
        plans[(number * 7) % OPEN_JOBS].append((began + moment, status))
        number += 1
        moment += CHANGE_EVERY
    return plans


def seed(urls: dict[str, str], store: JobStore, began: float) -> None:
    """Put the 1,000 at the back ends and in the list, some hours old."""
    plans = changes_to_come(began)
    store.open()
    for index, (name, url) in enumerate(urls.items()):
        control(url, "switches", {"page": PAGE, "starts_as": "queued"})
        mine = range(index, OPEN_JOBS, len(urls))
        entries = [
            {
                "owner": "many",
                "title": f"job {number}",
                "status": "queued"
                if plans[number][:1] and plans[number][0][1] == "running"
                else "running",
                "schedule": plans[number],
            }
            for number in mine
        ]
        for number, entry, engine_id in zip(
            mine, entries, control(url, "jobs", entries), strict=True
        ):
            spec = JobSpec(
                engine="openeo",
                title=f"job {number}",
                backend=name,
                process={"process_graph": GRAPH},
            )
            job, _ = store.create(spec)
            store.update(
                job.id,
                engine_id=engine_id,
                status=JobStatus(str(entry["status"])),
                created=utc_now() - timedelta(hours=1 + number % 20),
            )
            store.set_state(job.id, {"started": utc_now().isoformat(), "told_queued": True})
    store.close()


# -- the rival -----------------------------------------------------------------------------------


def rival(urls: dict[str, str], folder: str, noticed: Any) -> None:
    """The same jobs by the official client's manager; its notices go to a queue."""
    import openeo
    import pandas
    from openeo.extra.job_management import MultiBackendJobManager

    logging.disable(logging.WARNING)

    class Manager(MultiBackendJobManager):  # type: ignore[misc]  # openeo is untyped
        def on_job_done(self, job: Any, row: Any) -> None:
            noticed.put((str(row["title"]), time.time()))
            super().on_job_done(job, row)

    def start_job(row: Any, connection: Any, **_: Any) -> Any:
        return connection.create_job(GRAPH, title=row["title"], validate=False)

    manager = Manager(root_dir=folder)
    for name, url in urls.items():
        connection = openeo.connect(url, auto_validate=False)
        connection.authenticate_bearer_token("oidc/egi/theirs-openeo-1")
        manager.add_backend(name, connection=connection, parallel_jobs=7)
    manager.run_jobs(
        df=pandas.DataFrame({"title": list(DURATIONS)}),
        start_job=start_job,
        job_db=Path(folder) / "jobs.csv",
    )


# -- the run -------------------------------------------------------------------------------------


class Notes:
    """When which job was told to have which status."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, JobStatus], float] = {}

    def __call__(self, job: Job) -> None:
        self.told.setdefault((job.spec.title, job.status), time.time())


def manager_of(site: Site, user: str, file: Path, notes: Notes) -> tuple[JobManager, OpenEOEngine]:
    engine = OpenEOEngine(site, Tokens(user))
    return JobManager(site, JobStore(file), {"openeo": engine}, notes), engine


async def run(urls: dict[str, str], folder: Path) -> dict[str, Any]:
    """Everything at once; gives what was seen."""
    site = make_site(urls)
    for url in urls.values():
        delays = {t: [(5.0, "running"), (after, "finished")] for t, after in DURATIONS.items()}
        control(url, "switches", {"options": {"delays": delays, "bill": BILL}})
    seeding = time.time()
    store = JobStore(folder / "many.sqlite")
    # The changes begin after the seeding, which is not measured, and after the settling.
    began = seeding + SETTLE + 40
    await asyncio.to_thread(seed, urls, store, began)
    many_notes, same_notes = Notes(), Notes()
    many, _ = manager_of(site, "many", folder / "many.sqlite", many_notes)
    same, same_engine = manager_of(site, "ours", folder / "same.sqlite", same_notes)
    await many.start()
    await same.start()
    # So that what is asked without a login before the beginning is ours, whoever it names.
    await same_engine.backends()
    await asyncio.sleep(max(0.0, began - time.time()))
    cpu, wall = time.process_time(), time.monotonic()
    context = multiprocessing.get_context("spawn")
    noticed = context.Queue()
    process = context.Process(target=rival, args=(urls, str(folder / "theirs"), noticed))
    (folder / "theirs").mkdir()
    process.start()
    for title, name in zip(DURATIONS, cycle(BACKENDS), strict=False):
        spec = JobSpec(engine="openeo", title=title, backend=name, process={"process_graph": GRAPH})
        await same.submit(spec)
    await asyncio.sleep(MEASURED)
    share = 100 * (time.process_time() - cpu) / (time.monotonic() - wall)
    ended = time.time()
    theirs: dict[str, float] = {}
    while len(theirs) < SAME_JOBS:
        title, moment = await asyncio.to_thread(noticed.get, timeout=180)
        theirs[title] = moment
    await asyncio.to_thread(process.join, 180)
    await many.stop()
    await same.stop()
    seen = {
        name: {"changes": control(url, "changes"), "requests": control(url, "requests")}
        for name, url in urls.items()
    }
    return {
        "began": began,
        "ended": ended,
        "share": share,
        "many": many_notes.told,
        "ours": same_notes.told,
        "theirs": theirs,
        "seen": seen,
    }


# -- figures -------------------------------------------------------------------------------------


def busiest(seen: dict[str, Any], user: str, began: float, ended: float) -> float:
    """Requests a second of a user, at the back end that had most."""
    counts = [
        sum(1 for moment, _, _, who in one["requests"] if who == user and began <= moment <= ended)
        for one in seen.values()
    ]
    return max(counts) / (ended - began)


def latencies(found: dict[str, Any], user: str, told: dict[str, float]) -> list[float]:
    """Seconds from the end of each job at the back end to its notice."""
    rows = [row for one in found["seen"].values() for row in one["changes"] if row[0] == user]
    return [told[title] - changed for _, title, status, changed in rows if status == "finished"]


def event_latencies(found: dict[str, Any]) -> list[float]:
    """Seconds from each change among the 1,000 to its event."""
    waits = []
    for plan, number in zip(changes_to_come(found["began"]), range(OPEN_JOBS), strict=True):
        for moment, status in plan[:1]:
            told = found["many"].get((f"job {number}", JobStatus(status)))
            waits.append((told if told is not None else found["ended"]) - moment)
    return waits


def requests_of(found: dict[str, Any], user: str, *, program: str = "") -> float:
    """Requests for the same jobs by a user, and those without a login of a program.

    What ours asked without a login, for the 1,000 too, was before the beginning.
    """

    def counts(moment: float, who: str) -> bool:
        if moment < found["began"]:
            return program == OURS and who.startswith("?")
        if who.startswith("?"):
            return bool(program) and (who == f"?{OURS}") == (program == OURS)
        return bool(who == user)

    requests = [row for one in found["seen"].values() for row in one["requests"]]
    return float(sum(1 for moment, _, _, who in requests if counts(moment, who)))


def rows(found: dict[str, Any]) -> Iterator[Figure]:
    """The figures of what was found."""

    def row(
        name: str, ours: float, other: float, other_name: str, unit: str, *, faster: bool = False
    ) -> Figure:
        goal = GOAL_FASTER if faster else 1.0
        return figure(name, ours, other, other_name, unit, goal, times_less=faster)

    events = event_latencies(found)
    rate = busiest(found["seen"], "many", found["began"], found["ended"])
    # What asking for each job by itself would take at the same bound.
    alone = OPEN_JOBS / len(BACKENDS) / GOAL_RATE
    computed = "one by one at 1/s (computed)"
    yield row("1,000 jobs: busiest back end", rate, GOAL_RATE, "bound", "1/s")
    yield row("1,000 jobs: change to event, p50", quantile(events, 0.5), alone * 0.5, computed, "s")
    yield row(
        "1,000 jobs: change to event, p95", quantile(events, 0.95), alone * 0.95, computed, "s"
    )
    yield row("1,000 jobs: CPU of the watcher", found["share"], GOAL_CPU, "bound", "%")
    rival_name = "MultiBackendJobManager"
    told = {t: moment for (t, status), moment in found["ours"].items() if status == "finished"}
    ours = latencies(found, "ours", told)
    theirs = latencies(found, "theirs", found["theirs"])
    for name, statistic in (
        ("mean", statistics.mean),
        ("p50", statistics.median),
        ("p95", lambda values: quantile(values, 0.95)),
    ):
        yield row(
            f"20 jobs: end to notice, {name}",
            statistic(ours),
            statistic(theirs),
            rival_name,
            "s",
            faster=name != "p95",
        )
    logged_in = requests_of(found, "ours"), requests_of(found, "theirs")
    yield row("20 jobs: requests with a login", *logged_in, rival_name, "")
    in_all = (
        requests_of(found, "ours", program=OURS),
        requests_of(found, "theirs", program=THEIRS),
    )
    yield row("20 jobs: requests in all", *in_all, rival_name, "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder, doubles() as urls:
        found = asyncio.run(run(urls, Path(folder)))
    return report(
        "Jobs at three openEO back ends",
        rows(found),
        arguments.json,
        caption="Other: the promised bound; for events, asking one by one at one request a "
        "second; for the 20 jobs, MultiBackendJobManager.",
    )


if __name__ == "__main__":
    sys.exit(main())
