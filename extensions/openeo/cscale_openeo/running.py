"""Running a task: plan, compute part by part (by Spark or here), assemble, write, upload.

A :class:`Task` is everything the run needs, in one file without secrets; the catalogue and the
service are not asked any more.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import xarray as xr

from cscale_core.addresses import ObjectAddress, asset_addresses
from cscale_core.grids import Grid
from cscale_core.jobs.spark_wrapper import write_atomically
from cscale_core.raster import ObjectStoreAccess
from cscale_core.site import Catalogue, S3Site, Site
from cscale_core.workflows.results.items import described_items, item_id
from cscale_core.workflows.results.provenance import Lineage
from cscale_openeo import graph as graphs
from cscale_openeo.cube_processes import CUBE_PROCESSES
from cscale_openeo.errors import OpenEOError
from cscale_openeo.evaluation import Evaluation
from cscale_openeo.freezing import digest
from cscale_openeo.joblog import JobLog
from cscale_openeo.loading import LoadPlan, load_cube, plan_load
from cscale_openeo.outputs import Assembly, write_output
from cscale_openeo.tasks import Task

#: Input values that a graph which cannot be cut may have in memory (4 bytes each, and copies).
WHOLE_VALUES = 150_000_000

Window = tuple[int, int, Grid]
#: Computes parts: (plan, windows, parts already done are reported to) -> (window, outputs).
Parts = Iterator[tuple[Window, dict[str, xr.DataArray]]]
Computer = Callable[["RunPlan", list[Window]], Parts]


@dataclass(frozen=True)
class RunPlan:
    """A graph ready to run, whole or cut.

    :param grid: the pixels all parts together make up; None when the graph runs whole.
    :param reasons: why it runs whole.
    """

    graph: graphs.Graph
    loads: dict[str, LoadPlan]
    access: ObjectStoreAccess | None
    grid: Grid | None
    reasons: tuple[str, ...]


def access_of(task: Task) -> ObjectStoreAccess | None:
    """How the task's rasters in the object store are read."""
    return ObjectStoreAccess(task.s3_endpoint, task.s3_region) if task.s3_endpoint else None


def plan_run(task: Task) -> RunPlan:
    """Push resampling into the loads, find every load's grid, and decide whether to cut.

    :raises OpenEOError: when inputs are missing, changed or unreadable.
    """
    if digest(task.frozen) != task.frozen_digest:
        raise OpenEOError("InputUnreadable", "The frozen inputs were changed after submission.")
    graph = graphs.push_down(task.process_graph)
    loads = {
        name: plan_load(node, task.frozen[node.get("source", name)], access_of(task))
        for name, node in graph.items()
        if node["process_id"] in graphs.LOADERS
    }
    reasons = graphs.uncuttable(graph)
    grids = {load.grid for load in loads.values()}
    if not loads:
        reasons.append("the graph loads nothing")
    elif len(grids) > 1:
        reasons.append("its loads lie on different pixels")
    grid = next(iter(grids)) if not reasons else None
    return RunPlan(graph, loads, access_of(task), grid, tuple(reasons))


def values_to_read(plan: RunPlan) -> int:
    """Input values of the run: output pixels x bands x dates, of all loads."""
    return sum(
        load.grid.width * load.grid.height * len(load.bands) * len(load.slices)
        for load in plan.loads.values()
    )


def compute(plan: RunPlan, part: Grid | None = None) -> dict[str, Any]:
    """The outputs for one part, or of the whole."""

    def load(name: str, _node: dict[str, Any]) -> xr.DataArray:
        return load_cube(plan.loads[name], part, plan.access)

    return Evaluation(load, CUBE_PROCESSES).outputs(plan.graph)


def compute_part(plan: RunPlan, window: Window) -> dict[str, xr.DataArray]:
    """The outputs for one tile, as float32, ready to travel."""
    outputs = compute(plan, window[2])
    return {
        name: cube.astype("float32").drop_vars(["x", "y"], errors="ignore")
        for name, cube in outputs.items()
    }


def here(plan: RunPlan, windows: list[Window]) -> Parts:
    """Compute parts in this process, one after the other."""
    for window in windows:
        yield window, compute_part(plan, window)


class Progress:
    """``progress.json`` beside the log: a fraction and one line, for the service to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def report(self, fraction: float, message: str) -> None:
        """Replace the last report."""
        write_atomically(
            self._path, json.dumps({"fraction": round(fraction, 4), "message": message})
        )


def run(
    task: Task, folder: Path, log: JobLog, computer: Computer, upload: Callable[[Path], None] | None
) -> dict[str, Any]:
    """Run a task to its end and describe the results (also in ``folder/results.json``).

    :param computer: computes the parts of a cut graph, :func:`here` or on Spark.
    :param upload: takes each finished file; None leaves them in ``folder/results``.
    :raises OpenEOError: with what the user can know and do.
    """
    started = time.monotonic()
    progress = Progress(folder / "progress.json")
    progress.report(0.01, "planning")
    plan = plan_run(task)
    count = values_to_read(plan)
    if task.max_values and count > task.max_values:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"The process graph reads {count:,} values, synchronous processing takes up to "
            f"{task.max_values:,}. Please use a batch job instead.",
        )
    items = sum(len(frozen["items"]) for frozen in task.frozen.values())
    log.info(f"{items} items are read; {count:,} values after resampling.")
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    if plan.grid is None and count > WHOLE_VALUES:
        raise OpenEOError(
            "ProcessGraphComplexity",
            f"The graph cannot be cut into tiles ({'; '.join(plan.reasons)}), and {count:,} values "
            "are too many to compute at once; choose a smaller area or a coarser resolution.",
        )
    if plan.grid is None:
        log.info("The graph runs whole: " + "; ".join(plan.reasons) + ".")
        progress.report(0.05, "computing the whole")
        outputs: dict[str, Any] = compute(plan)
        tiles = 1
    else:
        windows = list(plan.grid.tiles(task.tile_size))
        tiles = len(windows)
        log.info(
            f"The graph is cut into {tiles} tiles of {task.tile_size} pixels: "
            f"{plan.grid.width} x {plan.grid.height} pixels of {plan.grid.xres:g} x "
            f"{plan.grid.yres:g} in {plan.grid.crs}."
        )
        outputs = _assemble(plan.grid, windows, computer(plan, windows), scratch, progress, log)
    progress.report(0.92, "writing results")
    files: list[dict[str, Any]] = []
    for name, cube in outputs.items():
        files += write_output(cube, plan.graph[name], folder / "results")
    for number, file in enumerate(files):
        progress.report(0.93 + 0.06 * number / len(files), f"storing {file['name']}")
        if upload is not None:
            upload(folder / "results" / file["name"])
    seconds = time.monotonic() - started
    log.info(f"Files written: {len(files)}, in {seconds:.1f} s.")
    results = {
        "files": files,
        "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "usage": _usage(seconds, tiles),
        "derived_from": _derived(task),
        "items": describe(task, files),
        **_extent(task),
    }
    write_atomically(folder / "results.json", json.dumps(results))
    progress.report(1.0, "finished")
    for path in scratch.glob("*.npy"):
        path.unlink()
    return results


def _assemble(
    grid: Grid,
    windows: list[Window],
    parts: Iterable[tuple[Window, dict[str, xr.DataArray]]],
    scratch: Path,
    progress: Progress,
    log: JobLog,
) -> dict[str, xr.DataArray]:
    assemblies: dict[str, Assembly] = {}
    for done, (window, outputs) in enumerate(parts, start=1):
        for name, part in outputs.items():
            if name not in assemblies:
                assemblies[name] = Assembly(scratch, len(assemblies), grid, part)
            assemblies[name].put(window[0], window[1], part)
        progress.report(0.05 + 0.85 * done / len(windows), f"{done} of {len(windows)} tiles")
        log.debug(f"Tile {done} of {len(windows)} is done.")
    return {name: assembly.cube() for name, assembly in assemblies.items()}


def describe(task: Task, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The STAC items of a run's files, as every engine describes results: one for each time."""
    if not files or not task.bucket:
        return []
    site = Site(
        user="cscale-openeo",
        s3=S3Site(endpoint=task.s3_endpoint, region=task.s3_region, public_url=task.s3_public_url),
        mount_root=task.mount_root,
        mount=task.mount_root,
        catalogue=Catalogue(url=task.catalogue_url),
    )
    assets = {}
    for file in files:
        path = PurePosixPath(file["name"])
        address = ObjectAddress(task.bucket, task.key_prefix + file["name"])
        members = {key: value for key, value in file.items() if key != "name" and value is not None}
        # Files of one stem and two formats keep their suffix.
        key = file["name"] if path.stem in assets else path.stem
        assets[key] = {**members, **asset_addresses(address, site)}
    extent = _extent(task)
    start, end = (dt.datetime.fromisoformat(m) if m else None for m in extent["interval"])
    return described_items(
        assets,
        identifier=item_id(task.title, task.job),
        collection="results",
        site=site,
        title=task.title,
        period=(start, end) if start and end else None,
        bbox=extent["bbox"],
        lineage=Lineage(
            engine="openeo",
            job_id=task.job,
            expression={"process_graph": task.process_graph},
            inputs=[
                {
                    "id": item["id"],
                    "collection": item["collection"],
                    "properties": {"datetime": item["datetime"]},
                    "links": [{"rel": "self", "href": item["href"]}] if item["href"] else [],
                }
                for frozen in task.frozen.values()
                for item in frozen["items"]
            ],
            software={"cscale-hub": importlib.metadata.version("cscale-hub")},
        ),
    )


def _usage(seconds: float, tiles: int) -> dict[str, Any]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "duration": {"value": round(seconds, 1), "unit": "seconds"},
        "memory": {"value": round(own.ru_maxrss / 1024), "unit": "mb"},
        "tiles": {"value": tiles, "unit": "tiles"},
    }


def _derived(task: Task) -> list[dict[str, str]]:
    seen: dict[str, dict[str, str]] = {}
    for frozen in task.frozen.values():
        for item in frozen["items"]:
            seen[f"{item['collection']}/{item['id']}"] = {
                "collection": item["collection"],
                "id": item["id"],
                "href": item.get("href", ""),
            }
    return list(seen.values())


def _extent(task: Task) -> dict[str, Any]:
    from cscale_openeo.freezing import temporal_bounds, wgs84_box

    boxes, starts, ends = [], [], []
    for name in graphs.loads(task.process_graph):
        arguments = task.process_graph[name]["arguments"]
        boxes.append(wgs84_box(arguments["spatial_extent"]))
        start, end = temporal_bounds(arguments["temporal_extent"])
        starts.append(start)
        ends.append(end)
    if not boxes:
        return {"bbox": [-180.0, -90.0, 180.0, 90.0], "interval": [None, None]}
    low = None if None in starts else min(s for s in starts if s is not None)
    high = None if None in ends else max(e for e in ends if e is not None)
    return {
        "bbox": [
            min(b[0] for b in boxes),
            min(b[1] for b in boxes),
            max(b[2] for b in boxes),
            max(b[3] for b in boxes),
        ],
        "interval": [
            None if m is None else m.isoformat().replace("+00:00", "Z") for m in (low, high)
        ],
    }
