"""The journey itself: sign in, search, stage, register, compute twice, compare, publish, look.

Each step is what a researcher would do, over HTTP through the hub's proxy; only the comparison
and the picture are the demo's own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cscale_cli.demo import picture
from cscale_cli.demo.compare import Outputs, compare, read_outputs
from cscale_cli.demo.plan import Plan, Question, choose
from cscale_cli.demo.reference import AquaMonitor, aqua_monitor
from cscale_cli.demo.report import Report, StepView
from cscale_cli.demo.session import HubSession
from cscale_cli.hub_login import JourneyError
from cscale_core.client import Job, Workspace
from cscale_core.grids import Grid
from cscale_core.raster import Source, read
from cscale_core.workflows.aqua_monitor import AquaMonitorParameters, process_graph
from cscale_hub.local.system import fuse

# Multihash prefix of SHA-256 (STAC File Extension v2.1.0, file:checksum).
SHA256 = "1220"
# What a kernel runs to read files on their mounted paths.
READ_BACK = """
import hashlib, pathlib
for path in {paths!r}:
    print("1220" + hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest())
"""
# Longest time a job may take before the demo gives up.
PATIENCE = 600.0


@dataclass
class JobsSeen:
    """How many changes of jobs the event stream told."""

    count: int = 0

    def receive(self, event: dict[str, Any]) -> None:
        if "revision" in event and "id" in event:
            self.count += 1


class Journey:
    """One researcher's way through the product.

    :param folder: where the picture and the jobs' logs go.
    """

    def __init__(
        self,
        report: Report,
        session: HubSession,
        question: Question,
        folder: Path,
    ) -> None:
        self.report = report
        self.session = session
        self.question = question
        self.folder = folder
        self.jobs = JobsSeen()
        self.mount_mode = ""

    def walk(self, username: str, password: str, dead_provider: str) -> None:
        """Every step in order; the first that fails raises."""
        report = self.report
        with report.step("sign in") as view:
            view.say("authorization code flow with PKCE")
            slug = self.session.sign_in(username, password)
            view.say(f"{username} is {slug} here")
        with report.step("start the server") as view:
            self.session.start_server(view.say)
            status = self._wait_for_mounts(view)
            view.say(status)
        with self.session.events(self.jobs.receive):
            found = self._search(dead_provider)
            plan = self._choose(found)
            staged = self._stage(plan)
            self._register(staged)
            parameters = self._parameters(plan)
            openeo = self._openeo(parameters)
            spark = self._spark(parameters, plan, staged)
            reference = self._compare(plan, found, {"openeo": openeo, "spark": spark})
            self._publish({"openeo": openeo, "spark": spark})
            self._picture(plan, staged, reference)
        with report.step("stop the server") as view:
            self.session.stop_server()
            view.say("the server stops; results stay in the bucket and the catalogue")

    @property
    def workspace(self) -> Workspace:
        return self.session.workspace

    # -- steps ---------------------------------------------------------------------------------

    def _wait_for_mounts(self, view: StepView) -> str:
        deadline = time.monotonic() + 30
        while True:
            status = self.workspace.call("GET", "status")
            mounts = status.get("mounts", [])
            waiting = [mount for mount in mounts if mount["state"] not in ("ok", "off")]
            if not waiting or time.monotonic() > deadline:
                break
            view.say("mounting the buckets")
            time.sleep(0.5)
        shown = ", ".join(
            f"s3/{mount['bucket']}/{mount['prefix']} {mount['access']}" for mount in mounts
        )
        self.mount_mode = str(status["mount_mode"])
        if self.mount_mode == "fuse":
            if waiting:
                raise JourneyError(f"{waiting[0]['path']} is not mounted: {waiting[0]['detail']}")
            return f"JupyterLab is up; mounted: {shown}"
        machine = fuse()
        why = status["mount_detail"] or (
            "as the settings say" if machine.present else machine.detail
        )
        return f"JupyterLab is up; not mounted ({why}), in the file browser: {shown}"

    def _search(self, dead_provider: str) -> list[dict[str, Any]]:
        with self.report.step("search the federation") as view:
            view.say("asking every archive at once")
            query: dict[str, Any] = {
                "bbox": list(self.question.bbox),
                "datetime": self.question.datetime,
                "limit": 500,
            }
            if self.question.collections:
                query["collections"] = list(self.question.collections)
            answer = self.workspace.search(**query)
            said = []
            for provider in answer["providers"]:
                if provider["status"] == "ok":
                    said.append(f"{provider['id']} {provider['returned']}")
                else:
                    said.append(f"{provider['id']} {provider['status']}: {provider['error']}")
            view.say(f"{len(answer['items'])} items ({'; '.join(said)})")
            statuses = {provider["id"]: provider["status"] for provider in answer["providers"]}
            if statuses.get(dead_provider) not in ("error", "timeout"):
                raise JourneyError(f"the dead archive {dead_provider} was not reported")
            if not answer["items"]:
                raise JourneyError("no archive has a scene of this area and period")
            items: list[dict[str, Any]] = answer["items"]
            return items

    def _choose(self, found: list[dict[str, Any]]) -> Plan:
        with self.report.step("choose scenes") as view:
            plan = choose(found, self.question)
            view.say(
                f"{len(plan.items)} of {len(found)} scenes, bands {', '.join(plan.assets)}; "
                f"{len(plan.intervals)} intervals from {plan.labels[0]}, "
                f"at least {plan.min_images} images each"
            )
            return plan

    def _stage(self, plan: Plan) -> list[dict[str, Any]]:
        with self.report.step("stage to the bucket") as view:
            job = self.workspace.stage(list(plan.items), plan.assets, register=False)
            staged = self._follow(job, view).results().items
            sizes = [
                int(asset.get("file:size", 0)) for item in staged for asset in _data(item, plan)
            ]
            view.say(
                f"{len(staged)} items, {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB, "
                "every checksum verified"
            )
            if len(staged) != len(plan.items):
                raise JourneyError(f"{len(plan.items)} items were asked, {len(staged)} arrived")
            return staged

    def _register(self, staged: list[dict[str, Any]]) -> None:
        with self.report.step("register in the catalogue") as view:
            answer = self.workspace.register(staged)
            outcomes = [outcome["outcome"] for outcome in answer["items"]]
            counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
            summary = ", ".join(f"{count} {name}" for name, count in counts.items())
            view.say(summary)
            if set(outcomes) - {"created", "updated", "unchanged"}:
                raise JourneyError(f"not every item was registered: {summary}")

    def _parameters(self, plan: Plan) -> AquaMonitorParameters:
        return AquaMonitorParameters.model_validate(
            {
                "bbox": list(self.question.bbox),
                "intervals": [[start, end] for start, end in plan.intervals],
                "min_images": plan.min_images,
                "collection": plan.items[0]["collection"],
                "bands": list(plan.bands),
            }
        )

    def _openeo(self, parameters: AquaMonitorParameters) -> Job:
        with self.report.step("Aqua Monitor by openEO") as view:
            jobs = self.workspace.jobs
            return self._run(
                jobs.openeo(process_graph(parameters), title="Aqua Monitor (openEO)"), view
            )

    def _spark(
        self, parameters: AquaMonitorParameters, plan: Plan, staged: list[dict[str, Any]]
    ) -> Job:
        with self.report.step("Aqua Monitor by PySpark") as view:
            job = self.workspace.jobs.spark(
                "aqua-monitor",
                parameters=parameters.model_dump(mode="json"),
                items=staged,
                title="Aqua Monitor (PySpark)",
            )
            return self._run(job, view)

    def _run(self, job: Job, view: StepView) -> Job:
        before = self.jobs.count
        self._follow(job, view)
        lines = list(job.logs(level="debug"))
        files = job.results().addresses()
        events = self.jobs.count - before
        view.say(f"job {job.id}: {len(files)} files, {len(lines)} log lines, {events} events")
        if not events:
            raise JourneyError("the job changed and no event said so")
        if not lines:
            raise JourneyError("the job left no log")
        return job

    def _follow(self, job: Job, view: StepView) -> Job:
        def tell(job: Job) -> None:
            view.say(f"{job.status}: {job.message}" if job.message else str(job.status))
            view.share(job.progress)

        try:
            return job.wait(PATIENCE, progress=tell)
        finally:
            self._keep_log(job)

    def _keep_log(self, job: Job) -> None:
        text = "".join(
            f"{line.time} {line.level:<7} {line.message}\n" for line in job.logs(level="debug")
        )
        (self.folder / f"job-{job.id}.log").write_text(text, encoding="utf-8")

    def _outputs(self, job: Job, plan: Plan) -> Outputs:
        paths = {Path(href).name: href for href in job.results().addresses()}

        def fetch(name: str) -> bytes:
            if name not in paths:
                raise JourneyError(f"{name} is not among the results: {', '.join(sorted(paths))}")
            return self.session.read_file(contents_path(paths[name]))

        return read_outputs(fetch, plan.labels)

    def _compare(
        self, plan: Plan, found: list[dict[str, Any]], jobs: dict[str, Job]
    ) -> AquaMonitor:
        with self.report.step("compare with NumPy") as view:
            view.say("computing the reference on whole scenes")
            hrefs = {
                (item["id"], key): readable(item["assets"][key]["href"])
                for item in plan.items
                for key in plan.assets
            }
            reference = aqua_monitor(
                plan.items,
                hrefs,
                plan.bands,
                self.question.bbox,
                plan.intervals,
                plan.min_images,
            )
            for engine, job in jobs.items():
                view.say(f"reading the results of {engine}")
                self.report.comparison[engine] = compare(self._outputs(job, plan), reference)
            worst = max(
                figures["max_slope_difference"] for figures in self.report.comparison.values()
            )
            view.say(
                f"{reference.slope.size} pixels, {int(reference.keep.sum())} kept; "
                f"largest slope difference {worst:.1e}; "
                + "; ".join(
                    f"{engine} {'agrees' if figures['agree'] else 'DIFFERS'}"
                    for engine, figures in self.report.comparison.items()
                )
            )
            if not all(figures["agree"] for figures in self.report.comparison.values()):
                raise JourneyError(f"the engines differ: {self.report.comparison}")
            return reference

    def _publish(self, jobs: dict[str, Job]) -> None:
        with self.report.step("publish the results") as view:
            published = []
            for job in jobs.values():
                copied = self._follow(job.publish(), view)
                published += [item["id"] for item in copied.results()]
            answer = self.workspace.search(ids=published, limit=100, providers=["catalogue"])
            seen = {item["id"] for item in answer["items"]}
            if missing := set(published) - seen:
                raise JourneyError(f"not found in the catalogue: {', '.join(sorted(missing))}")
            view.say("reading the published change maps back")
            how = self._read_back(
                [
                    asset
                    for item in answer["items"]
                    for asset in item["assets"].values()
                    if str(asset["href"]).endswith("change.tif")
                ],
                expected=len(jobs),
            )
            view.say(f"{len(published)} items found again in the catalogue; change maps {how}")

    def _read_back(self, assets: list[dict[str, Any]], expected: int) -> str:
        """Read files as a notebook would, on the mounted path, and compare their checksums."""
        if len(assets) != expected:
            raise JourneyError(f"{expected} change maps were published, {len(assets)} were found")
        wanted = [str(asset["file:checksum"]) for asset in assets]
        if self.mount_mode == "fuse":
            paths = [asset["alternate"]["mount"]["href"] for asset in assets]
            found = self.session.run_in_kernel(READ_BACK.format(paths=paths)).split()
            how = "read back through the mount by a kernel"
        else:
            found = [
                SHA256 + hashlib.sha256(self.session.read_file(path)).hexdigest()
                for path in (contents_path(asset["href"]) for asset in assets)
            ]
            how = "read back through the file browser (nothing is mounted here)"
        if found != wanted:
            raise JourneyError(f"the files read back differ: {found}, expected {wanted}")
        return how

    def _picture(
        self, plan: Plan, staged: Sequence[dict[str, Any]], reference: AquaMonitor
    ) -> None:
        with self.report.step("draw the picture") as view:
            path = self.folder / "aqua-monitor.png"
            picture.draw(self._scene(plan, staged, reference), path)
            self.report.facts["picture"] = str(path)
            view.say(str(path))

    def _scene(
        self, plan: Plan, staged: Sequence[dict[str, Any]], reference: AquaMonitor
    ) -> picture.Scene:
        grid = reference.grid

        def values(item: dict[str, Any], key: str, part: Grid) -> Any:
            asset = item["assets"][key]
            return read(Source.from_asset(asset, readable(asset["href"])), part, "cubic")

        def clearness(item: dict[str, Any]) -> tuple[float, float]:
            green = values(item, plan.bands[2], grid)
            missing = float(np.isnan(green).mean())
            return (
                missing + (item["properties"].get("eo:cloud_cover") or 0) / 100,
                float(np.nan_to_num(green).mean()),
            )

        clear = min(plan.items, key=clearness)
        true_colour = np.stack([values(clear, key, grid) for key in plan.colours], axis=-1)
        composites = reference.composites
        mndwi = (composites[:, 2] - composites[:, 0]) / (composites[:, 2] + composites[:, 0])
        middles = [
            datetime.combine(start, datetime.min.time()) + (end - start) / 2
            for start, end in plan.intervals
        ]
        change = reference.change if np.isfinite(reference.change).any() else reference.slope
        series = []
        for name, colour, flat in (
            ("becomes wetter", picture.WETTER, np.nanargmax(change)),
            ("becomes drier", picture.DRIER, np.nanargmin(change)),
        ):
            row, column = (int(index) for index in np.unravel_index(flat, change.shape))
            cell = grid.window(column, row, 1, 1)
            points = []
            for item in plan.items:
                green = float(values(item, plan.bands[2], cell)[0, 0])
                swir = float(values(item, plan.bands[0], cell)[0, 0])
                points.append((green - swir) / (green + swir))
            series.append(
                picture.Series(
                    name=name,
                    colour=colour,
                    column=column,
                    row=row,
                    times=[_time(item) for item in plan.items],
                    values=points,
                    composite_times=middles,
                    composites=[float(value) for value in mndwi[:, row, column]],
                )
            )
        label = "Simulated scenes, not observations. " if self.question.simulated else ""
        return picture.Scene(
            title=self.question.title,
            subtitle=self.question.subtitle,
            true_colour=true_colour,
            change=reference.change,
            bounds=grid.bounds,
            crs=grid.crs,
            unit=plan.unit,
            series=series,
            footer=f"{label}openEO and PySpark agree with NumPy on all "
            f"{reference.slope.size} pixels. C-SCALE Hub {version('cscale-hub')}",
        )


def readable(href: str) -> str:
    """An address as rasterio takes it."""
    return f"/vsicurl/{href}" if href.startswith("http") else href


def contents_path(href: str) -> str:
    """The path in Jupyter's file browser of an object named by ``s3://bucket/key``."""
    return "s3/" + href.removeprefix("s3://")


def _time(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["properties"]["datetime"]).replace(tzinfo=None)


def _data(item: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    return [asset for key, asset in item["assets"].items() if key in plan.assets]
