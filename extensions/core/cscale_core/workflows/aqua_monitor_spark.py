"""Aqua Monitor as a PySpark application: tiles of the area are the elements of an RDD.

Started by :mod:`cscale_core.jobs.spark_submit` with ``--parameters FILE.json``
(:class:`~cscale_core.workflows.applications.ApplicationRun`, arguments
:class:`~cscale_core.workflows.aqua_monitor.AquaMonitorArguments`). The scenes are frozen in that
file; no catalogue is asked. Each tile reads its window of every scene, an interval at a time, so
memory is bounded by the scenes of one interval times the tile; the driver holds one batch of
finished tiles.

In its work folder it leaves ``progress.json`` (``done``, ``total``, ``message``), ``items.json``
(the result item, once everything is in place) or ``error.json`` (the shape of
:class:`~cscale_core.errors.CScaleError`); its log lines on standard output are JSON objects with
``time``, ``level`` and ``message``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from cscale_core import addresses, raster
from cscale_core.errors import CScaleError, InvalidInput
from cscale_core.grids import Grid, native_grid, resampled, stated_lattice
from cscale_core.raster import FloatArray, Source
from cscale_core.site import Site
from cscale_core.workflows.applications import ApplicationRun
from cscale_core.workflows.aqua_monitor import (
    BAND_NAMES,
    MNDWI_MAX_ABOVE,
    MNDWI_MIN_BELOW,
    QUANTILE,
    RESCALE_FROM,
    RESCALE_TO,
    AquaMonitorArguments,
    AquaMonitorParameters,
    output_names,
    scene_day,
)
from cscale_core.workflows.results.files import ResultFile
from cscale_core.workflows.results.items import item_id, result_item
from cscale_core.workflows.results.provenance import Lineage

Floats = npt.NDArray[np.float64]

# --- the algorithm ---------------------------------------------------------------------------


def quantile(stack: FloatArray, probability: float) -> FloatArray:
    """The quantile along the first axis, NaN left out, linear between values (type 7).

    The same numbers, bit for bit, as ``numpy.nanquantile(stack, probability, axis=0)``, which
    goes through the pixels one at a time in Python.

    :param stack: float32, shape (images, ...).
    :returns: float32, shape (...); NaN where no image has a value.
    """
    if stack.shape[0] == 0:
        return np.full(stack.shape[1:], np.nan, np.float32)
    ordered = np.sort(stack, axis=0)  # NaN goes last
    count = np.isfinite(stack).sum(axis=0)
    position = np.maximum(count - 1, 0) * probability
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low = np.take_along_axis(ordered, below[np.newaxis], axis=0)[0]
    high = np.take_along_axis(ordered, above[np.newaxis], axis=0)[0]
    part = position - below
    with np.errstate(invalid="ignore"):
        step = high - low
        value = np.where(
            part >= 0.5,
            high - step * (1 - part).astype(np.float32),
            low + step * part.astype(np.float32),
        )
    return np.where(count > 0, value, np.nan).astype(np.float32)


def slope(values: Floats, steps: Sequence[float]) -> Floats:
    """Slope of the regression line through (steps, values) along the first axis.

    Not-finite values are left out.

    :param values: shape (intervals, ...).
    :param steps: one number for each interval.
    :returns: shape (...); NaN where fewer than two values are left.
    """
    shape = (-1,) + (1,) * (values.ndim - 1)
    valid = np.isfinite(values)
    x = np.where(valid, np.asarray(steps, dtype=np.float64).reshape(shape), 0.0)
    y = np.where(valid, values, 0.0)
    count = valid.sum(axis=0)
    some = np.maximum(count, 1)
    deviation = np.where(valid, x - x.sum(axis=0) / some, 0.0)
    products = (deviation * (y - y.sum(axis=0) / some)).sum(axis=0)
    squares = (deviation * deviation).sum(axis=0)
    result: Floats = np.where(count >= 2, products / np.where(squares > 0, squares, 1.0), np.nan)
    return result


def mndwi(composites: FloatArray) -> Floats:
    """(green - swir) / (green + swir) of composites with bands (swir, nir, green) on axis 1."""
    values = composites.astype(np.float64)
    swir, green = values[:, 0], values[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        index: Floats = (green - swir) / (green + swir)
    return index


def keep(
    trend: Floats, index: Floats, counts: npt.NDArray[Any], threshold: float, min_images: int
) -> npt.NDArray[np.bool_]:
    """The pixels whose change can be trusted: all four conditions of the algorithm hold.

    :param trend: slope of rescaled MNDWI, shape (height, width).
    :param index: MNDWI, shape (intervals, height, width).
    :param counts: valid images, shape (intervals, height, width).
    """
    lowest = np.fmin.reduce(index, axis=0)
    highest = np.fmax.reduce(index, axis=0)
    kept: npt.NDArray[np.bool_] = (
        (np.abs(trend) >= threshold)
        & (lowest < MNDWI_MIN_BELOW)
        & (highest > MNDWI_MAX_ABOVE)
        & (counts >= min_images).all(axis=0)
    )
    return kept


# --- scenes and tiles ------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """One item's three bands as rasterio opens them; ``bounds`` in ``crs`` when known."""

    bands: tuple[Source, Source, Source]
    crs: str = ""
    bounds: tuple[float, float, float, float] | None = None

    def may_touch(self, grid: Grid) -> bool:
        """False when the scene surely gives no pixel of the grid."""
        if self.bounds is None or self.crs != grid.crs:
            return True
        left, bottom, right, top = grid.bounds
        reach = 4 * max(grid.xres, grid.yres)  # of the cubic kernel, and more
        return (
            self.bounds[0] < right + reach
            and self.bounds[2] > left - reach
            and self.bounds[1] < top + reach
            and self.bounds[3] > bottom - reach
        )


def gdal_path(href: str) -> str:
    """The name under which GDAL opens an address."""
    if href.startswith("s3://"):
        return "/vsis3/" + href.removeprefix("s3://")
    if href.startswith(("http://", "https://")):
        return "/vsicurl/" + href
    return href


def scene(item: dict[str, Any], bands: Sequence[str]) -> Scene:
    """The bands of an item, in the order of ``bands``."""
    sources = [
        Source.from_asset(item["assets"][band], gdal_path(str(item["assets"][band]["href"])))
        for band in bands
    ]
    properties = item["properties"]
    bounds = properties.get("proj:bbox")
    return Scene(
        (sources[0], sources[1], sources[2]),
        str(properties.get("proj:code") or ""),
        tuple(bounds) if bounds and len(bounds) == 4 else None,
    )


def ordered(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By time, then id: the order that decides the grid, the same for every engine."""

    def key(item: dict[str, Any]) -> tuple[str, str]:
        properties = item["properties"]
        return (str(properties.get("datetime") or properties.get("start_datetime")), item["id"])

    return sorted(items, key=key)


def output_grid(items: Sequence[dict[str, Any]], parameters: AquaMonitorParameters) -> Grid:
    """The first item's lattice over the area, at the resolution asked for.

    It is what the item states, else what the finest of the bands states, else its file.

    :raises InvalidInput: when the source is not a north-up grid.
    """
    item = items[0]
    lattices = []
    for band in parameters.bands:
        lattice = stated_lattice(item["properties"], item["assets"][band])
        if lattice is None:
            with rasterio.open(gdal_path(str(item["assets"][band]["href"]))) as dataset:
                lattice = dataset.crs.to_string(), tuple(dataset.transform)[:6]
        lattices.append(lattice)
    crs, transform = min(lattices, key=lambda lattice: lattice[1][0])
    bounds = transform_bounds("EPSG:4326", crs, *parameters.bbox)
    try:
        native = native_grid(crs, transform, bounds)
    except ValueError as error:
        raise InvalidInput(f"Item {item['id']} cannot give the grid: {error}.") from error
    return resampled(native, parameters.resolution)


def by_interval(
    items: Sequence[dict[str, Any]], parameters: AquaMonitorParameters
) -> list[list[Scene]]:
    """The scenes of each interval [start, end); those outside all of them are left out."""
    return [
        [scene(item, parameters.bands) for item in items if start <= scene_day(item) < end]
        for start, end in parameters.intervals
    ]


def compute_tile(
    grid: Grid, intervals: Sequence[Sequence[Scene]], parameters: AquaMonitorParameters
) -> FloatArray:
    """All outputs of one tile.

    :returns: float32, shape (layers, height, width): per interval the composite's three bands,
        then the counts, slope, keep and change, as :func:`layers` lists them.
    :raises DamagedData: when a scene cannot be read.
    """
    shape = (grid.height, grid.width)
    composites = np.full((len(intervals), 3, *shape), np.nan, np.float32)
    counts = np.zeros((len(intervals), *shape), np.float32)
    with ThreadPoolExecutor(max_workers=3) as pool:
        for index, scenes in enumerate(intervals):
            touching = [scene for scene in scenes if scene.may_touch(grid)]
            for band in range(3):
                sources = [scene.bands[band] for scene in touching]
                stack = np.empty((len(sources), *shape), np.float32)
                read = pool.map(lambda source: raster.read(source, grid, "cubic"), sources)
                for row, values in enumerate(read):
                    stack[row] = values
                composites[index, band] = quantile(stack, QUANTILE)
                if BAND_NAMES[band] == "green":
                    counts[index] = np.isfinite(stack).sum(axis=0)
    index_values = mndwi(composites)
    rescaled = (index_values - RESCALE_FROM) / (RESCALE_TO - RESCALE_FROM)
    trend = slope(rescaled, parameters.steps)
    kept = keep(trend, index_values, counts, parameters.threshold, parameters.min_images)
    return np.concatenate(
        [
            composites.reshape(-1, *shape),
            counts,
            trend[np.newaxis].astype(np.float32),
            kept[np.newaxis].astype(np.float32),
            np.where(kept, trend, np.nan)[np.newaxis].astype(np.float32),
        ]
    )


def layers(labels: tuple[str, ...]) -> dict[str, slice]:
    """Which layers of :func:`compute_tile` each output file has."""
    where: dict[str, slice] = {}
    first = 0
    for name in output_names(labels):
        width = 3 if name.startswith("composite_") else 1
        where[name] = slice(first, first + width)
        first += width
    return where


def gdal_environment(site: Site) -> dict[str, str]:
    """GDAL's settings for reading scenes, where the environment does not say otherwise.

    GDAL reads them from the process's environment at each use; credentials come from its own
    chain (the container credentials endpoint) and are renewed by it.
    """
    endpoint = urlsplit(site.s3.endpoint)
    return {
        "AWS_S3_ENDPOINT": endpoint.netloc,
        "AWS_HTTPS": "YES" if endpoint.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_REGION": site.s3.region,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": "4",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_TIMEOUT": "120",
        "GDAL_CACHEMAX": "64",
        # Bands cut to an area are some hundred kilobytes: one request each, kept for the next tile.
        "CPL_VSIL_CURL_CHUNK_SIZE": "262144",
        "CPL_VSIL_CURL_CACHE_SIZE": "134217728",
        "VSI_CACHE": "TRUE",
    }


def _prepare(environment: dict[str, str]) -> None:
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore", NotGeoreferencedWarning)


# --- the application -------------------------------------------------------------------------


class Reporter:
    """Tells the engine, through the log and ``progress.json``, how far the work is."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir

    def say(self, message: str, level: str = "info", **more: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(), "level": level, "message": message, **more}
        print(json.dumps(line), flush=True)

    def progress(self, done: int, total: int, message: str) -> None:
        self._write("progress.json", {"done": done, "total": total, "message": message})

    def failed(self, error: CScaleError) -> None:
        self._write("error.json", error.as_dict())
        self.say(error.message, "error")

    def finished(self, items: list[dict[str, Any]]) -> None:
        self._write("items.json", {"type": "FeatureCollection", "features": items})

    def _write(self, name: str, content: Any) -> None:
        temporary = self._work_dir / f".{name}"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self._work_dir / name)


class Mosaic:
    """The output files while tiles arrive: plain tiled GeoTIFFs, made COGs at the end."""

    def __init__(self, folder: Path, grid: Grid, labels: tuple[str, ...]) -> None:
        self._folder = folder
        self._layers = layers(labels)
        profile = {
            "driver": "GTiff",
            "dtype": "float32",
            "nodata": float("nan"),
            "crs": grid.crs,
            "transform": Affine(*grid.transform),
            "width": grid.width,
            "height": grid.height,
            "tiled": True,
            "blockxsize": 256,
            "blockysize": 256,
            "sparse_ok": True,
            "bigtiff": "if_safer",
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._open = {
            name: rasterio.open(
                folder / f"{name}.raw.tif", "w", count=part.stop - part.start, **profile
            )
            for name, part in self._layers.items()
        }
        for name, dataset in self._open.items():
            if name.startswith("composite_"):
                dataset.descriptions = BAND_NAMES
            else:
                dataset.descriptions = (name.partition("_")[0],)

    def put(self, column: int, row: int, tile: FloatArray) -> None:
        window = Window(column, row, tile.shape[2], tile.shape[1])
        for name, part in self._layers.items():
            self._open[name].write(tile[part], window=window)

    def finish(self) -> dict[str, Path]:
        """Close, convert, and return the path of each COG."""
        paths = {}
        for name, dataset in self._open.items():
            dataset.close()
            raw, cog = self._folder / f"{name}.raw.tif", self._folder / f"{name}.tif"
            categories = name == "keep" or name.startswith("count_")
            rasterio.shutil.copy(
                raw,
                cog,
                driver="COG",
                compress="DEFLATE",
                predictor="YES",
                blocksize=512,
                overview_resampling="NEAREST" if categories else "AVERAGE",
                bigtiff="IF_SAFER",
            )
            raw.unlink()
            paths[name] = cog
        return paths


@contextmanager
def _watching(context: Any, report: Callable[[int], None]) -> Iterator[None]:
    """Report how many tasks of the running job are done, twice a second."""
    ended = threading.Event()

    def watch() -> None:
        tracker = context.statusTracker()
        while not ended.wait(0.5):
            stages = (tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds())
            report(sum(stage.numCompletedTasks for stage in stages if stage is not None))

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)


def run(run: ApplicationRun, work_dir: Path, context: Any, reporter: Reporter) -> None:
    """Compute, write, upload and describe.

    :param context: the SparkContext.
    :raises CScaleError: when a scene cannot be read or the output cannot be written.
    """
    arguments = AquaMonitorArguments.model_validate(run.arguments)
    parameters, site = arguments.parameters, run.site
    environment = gdal_environment(site)
    _prepare(environment)
    items = ordered(arguments.items)
    grid = output_grid(items, parameters)
    intervals = by_interval(items, parameters)
    used = sum(map(len, intervals))
    if not used:
        raise InvalidInput(
            "No scene lies in any of the intervals.",
            hint="Compare the dates of the scenes with the intervals.",
        )
    tiles = list(grid.tiles(arguments.tile))
    reporter.say(
        f"{used} of {len(items)} scenes in {len(intervals)} intervals "
        f"({', '.join(str(len(scenes)) for scenes in intervals)}); "
        f"{grid.width} x {grid.height} pixels of {grid.xres:g} in {grid.crs}, {len(tiles)} tiles",
    )
    shared = context.broadcast(intervals)

    def work(
        part: Iterator[tuple[int, int, Grid]],
    ) -> Iterator[tuple[int, int, FloatArray | dict[str, Any]]]:
        _prepare(environment)
        for column, row, tile_grid in part:
            try:
                yield column, row, compute_tile(tile_grid, shared.value, parameters)
            except CScaleError as error:
                yield column, row, error.as_dict()

    mosaic = Mosaic(work_dir / "out", grid, parameters.labels)
    # Small batches bound the driver's memory; two rounds of the cores keep them busy.
    batch = max(1, 2 * context.defaultParallelism)
    for first in range(0, len(tiles), batch):
        chosen = tiles[first : first + batch]

        def report(done: int, first: int = first) -> None:
            reporter.progress(first + done, len(tiles) + 1, f"{first + done} of {len(tiles)} tiles")

        report(0)
        with _watching(context, report):
            done = context.parallelize(chosen, len(chosen)).mapPartitions(work).collect()
        for column, row, tile in done:
            if isinstance(tile, dict):
                raise _error_from(tile)
            mosaic.put(column, row, tile)
        report(len(chosen))
    reporter.say(f"{len(tiles)} tiles computed; writing the files")
    reporter.progress(len(tiles), len(tiles) + 1, "writing the files")
    item = _deliver(run, arguments, items, mosaic.finish(), reporter)
    reporter.finished([item])
    reporter.progress(len(tiles) + 1, len(tiles) + 1, "done")


def _error_from(body: dict[str, Any]) -> CScaleError:
    """An error that came back from a task, its code kept."""
    error = CScaleError(
        body["message"],
        hint=body["hint"],
        retryable=body["retryable"],
        **body.get("details", {}),
    )
    error.code = body["code"]
    return error


def _deliver(
    run: ApplicationRun,
    arguments: AquaMonitorArguments,
    items: Sequence[dict[str, Any]],
    paths: dict[str, Path],
    reporter: Reporter,
) -> dict[str, Any]:
    """Describe the files as an item and bring them, then the item, to the output."""
    parameters = arguments.parameters
    prefix = run.output if run.output.endswith("/") else run.output + "/"
    used = [
        item
        for item in items
        if any(start <= scene_day(item) < end for start, end in parameters.intervals)
    ]
    titles = {
        "slope": "Change of rescaled MNDWI over the first interval's length, not masked",
        "keep": "1 where the change can be trusted",
        "change": "Change where it can be trusted; positive is wetter",
    }
    start, end = (
        datetime(day.year, day.month, day.day, tzinfo=UTC)
        for day in (parameters.intervals[0][0], parameters.intervals[-1][1])
    )
    item = result_item(
        [
            ResultFile(
                name,
                path,
                f"{prefix}{name}.tif",
                titles.get(name, ""),
                moment=_moment_of(name, parameters.labels),
            )
            for name, path in paths.items()
        ],
        identifier=item_id(run.title or "aqua-monitor", run.job_id),
        collection=run.collection,
        site=run.site,
        title=run.title or "Aqua Monitor",
        period=(start, end),
        lineage=Lineage(
            engine="spark",
            job_id=run.job_id,
            expression={
                "application": "aqua-monitor",
                "parameters": parameters.model_dump(mode="json"),
                "threshold": parameters.threshold,
            },
            inputs=used,
            software={
                name: importlib.metadata.version(package)
                for name, package in (
                    ("cscale-hub", "cscale-hub"),
                    ("pyspark", "pyspark"),
                    ("rasterio", "rasterio"),
                )
            },
            description=f"Aqua Monitor of {len(used)} scenes as a PySpark application.",
            level="L4",
        ),
    )
    document = json.dumps(item, indent=1).encode()
    if not prefix.startswith("s3://"):
        folder = Path(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            shutil.move(path, folder / f"{name}.tif")
        (folder / "item.json").write_bytes(document)
        return item
    # boto3 is needed only where the output goes to an object store.
    from cscale_core.objects import ObjectStore

    store = ObjectStore(run.site)
    for name, path in paths.items():
        address = addresses.parse(f"{prefix}{name}.tif", run.site)
        assert address is not None  # noqa: S101 - an s3:// address always parses
        store.put_file(address, path, content_type=item["assets"][name]["type"])
        path.unlink()
    address = addresses.parse(f"{prefix}item.json", run.site)
    assert address is not None  # noqa: S101
    store.put(address, document, content_type="application/geo+json")
    reporter.say(f"{len(paths)} files written to {prefix}")
    return item


def _moment_of(name: str, labels: tuple[str, ...]) -> datetime | None:
    """The start of the interval that an output is about; None for those of the whole period."""
    label = next((label for label in labels if name.endswith(f"_{label}")), None)
    return datetime.fromisoformat(label).replace(tzinfo=UTC) if label else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of spark-submit; the present folder is the work folder."""
    parser = argparse.ArgumentParser(description="Aqua Monitor on Spark")
    parser.add_argument("--parameters", type=Path, required=True)
    given = parser.parse_args(arguments)
    work_dir = given.parameters.resolve().parent
    reporter = Reporter(work_dir)
    started = time.monotonic()
    # Only the application itself needs pyspark: its numerics are tested and used without.
    from pyspark import SparkContext

    try:
        asked = ApplicationRun.model_validate_json(given.parameters.read_text(encoding="utf-8"))
        context = SparkContext(appName=asked.title or "Aqua Monitor")
        reporter.say(f"Spark {context.version} is up ({context.master})")
        try:
            run(asked, work_dir, context, reporter)
        finally:
            context.stop()
    except CScaleError as error:
        reporter.failed(error)
        return 1
    except Exception as error:
        # The end of the application: whatever it was, the user is told, and the log has the rest.
        traceback.print_exc()
        reporter.failed(CScaleError(f"The application failed: {type(error).__name__}: {error}"))
        return 1
    reporter.say(f"done in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    # By its module name, so that Spark's workers import the functions and nothing is pickled.
    from cscale_core.workflows.aqua_monitor_spark import main as application

    sys.exit(application())
