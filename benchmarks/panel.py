"""The panel in figures: ``python -m benchmarks.panel [--json FILE]``, about six minutes.

In one run, so on one machine under one load, in JupyterLab behind a hub and its proxy:

- from a click to a map that can be used: the panel's, in a page that has loaded nothing of it, and
  ``leafmap.Map()`` in a cell of a kernel that is idle;
- 10,000 results on a map: bytes that the browser received, and the longest frame while the map is
  pulled, against the same outlines as ``ipyleaflet.GeoJSON``;
- from a change of the list of jobs to the screen, the request that changes it included;
- the first painting of 1,000 jobs.

Frames are those of Chromium without a graphics card, which is the worst case.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from rich.console import Console

from benchmarks.archives.items import item
from benchmarks.figures import Figure, figure, quantile, report
from benchmarks.panels.stopwatch import (
    click_until,
    first_rows,
    longest_frame_on_pan,
    watch_first_row,
    wire,
)
from benchmarks.panels.world import ITEMS, JOBS, OTHER_ARCHIVES, World, title_of, world
from tests.e2e.panel_pages import command, empty_form, open_panel

ROUNDS = 3
EVENTS = 40
GOAL_FASTER = 5.0
GOAL_LESS = 4.0
LONGEST_FRAME = 200.0
EVENT_SECONDS = 0.5
FIRST_PAINT_SECONDS = 1.0

_SLOW = 180_000  # milliseconds
_SIDE = ".lm-TabBar-tab[data-id='cscale-side-panel']"
_PANEL_MAP = "#cscale-side-panel .cs-map .leaflet-tile-loaded"
_CELL_MAP = ".jp-OutputArea .leaflet-container .leaflet-control-zoom-in"
_FIRST_JOB = "#cscale-panel [role=listbox][aria-label=Jobs] [role=option]"


# -- cells of a notebook ---------------------------------------------------------------------------


def _idle(page: Page) -> None:
    """Wait until the kernel of the open notebook has nothing to do."""
    status = page.locator(".jp-Notebook-ExecutionIndicator:visible")
    expect(status.first).to_have_attribute("data-status", "idle", timeout=_SLOW)


def _new_cell(page: Page, code: str) -> Locator:
    """Write a cell below the first of the notebook; what runs it."""
    _idle(page)
    page.locator(".jp-Notebook:visible .jp-Cell").first.locator(".jp-InputPrompt").click()
    for key in ("Escape", "b", "Enter"):
        page.keyboard.press(key)
    page.keyboard.insert_text(code)
    return page.locator(
        ".jp-NotebookPanel:visible [data-command='notebook:run-cell-and-select-next']"
    )


def _own_footprints() -> str:
    """Code for a notebook: outlines as the archive has them, as GeoJSON."""
    root = Path(__file__).parents[1]
    return f"""
import sys
sys.path.insert(0, {str(root)!r})
from {item.__module__} import item
import ipyleaflet

found = (item("measured", number, "http://archive") for number in range({ITEMS}))
footprints = {{
    "type": "FeatureCollection",
    "features": [
        {{
            "type": "Feature",
            "geometry": each["geometry"],
            "properties": {{
                "id": each["id"],
                "datetime": each["properties"]["datetime"],
                "cloud_cover": each["properties"]["eo:cloud_cover"],
            }},
        }}
        for each in found
    ],
}}
print("ready to be shown")
"""


_SHOW_FOOTPRINTS = """
m = ipyleaflet.Map(center=(36.7, -5.7), zoom=7)
m.add(ipyleaflet.GeoJSON(data=footprints))
m
"""


# -- what is measured ------------------------------------------------------------------------------


def first_maps(where: World) -> tuple[float, float]:
    """Seconds from a click to a map: the panel's, and leafmap's in a cell."""
    with where.lab() as page:
        _idle(page)
        command(page, "Restart Kernel and Clear Outputs of All Cells")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        page.wait_for_timeout(2_000)  # it is busy a moment later
        _idle(page)
        ours = click_until(page, page.locator(_SIDE), _PANEL_MAP)
        page.locator(_SIDE).click()  # away again
        run = _new_cell(page, "import leafmap\nleafmap.Map()")
        theirs = click_until(page, run, _CELL_MAP)
    return ours, theirs


def results_of_the_panel(page: Page) -> tuple[int, float]:
    """Bytes of 10,000 results, and the longest frame while their map is pulled."""
    panel = open_panel(page)
    empty_form(panel)
    for title in OTHER_ARCHIVES:
        panel.get_by_role("checkbox", name=title).uncheck()
    with wire(page, "catalog/search") as counted:
        panel.get_by_role("button", name="Search", exact=True).click()
        more = panel.get_by_role("button", name="Load more")
        done = panel.get_by_text("that is all")
        stop = panel.get_by_role("button", name="Stop", exact=True)
        while True:
            expect(more.or_(done).first).to_be_attached(timeout=_SLOW)
            expect(stop).to_have_count(0, timeout=_SLOW)
            if done.count():
                break
            panel.get_by_role("listbox", name="Results").press("End")
            more.click()
        expect(panel.get_by_text(f"{ITEMS} items")).to_be_visible()
        page.wait_for_timeout(1_000)
    panel.get_by_role("button", name="Show all results").click()
    page.wait_for_timeout(2_000)
    return counted.answers, longest_frame_on_pan(panel.locator(".cs-map"))


def results_in_a_cell(page: Page) -> tuple[int, float]:
    """The same of the same outlines as ``ipyleaflet.GeoJSON`` in a cell."""
    _new_cell(page, _own_footprints()).click()
    expect(page.get_by_text("ready to be shown", exact=True)).to_be_visible(timeout=_SLOW)
    run = _new_cell(page, _SHOW_FOOTPRINTS)
    drawn = page.locator(".jp-OutputArea .leaflet-overlay-pane path")
    with wire(page, "nothing else") as counted:
        run.click()
        expect(drawn).to_have_count(ITEMS, timeout=_SLOW)
        page.wait_for_timeout(2_000)
    container = page.locator(".jp-OutputArea .leaflet-container").first
    return counted.sockets, longest_frame_on_pan(container)


def jobs_on_screen(where: World) -> tuple[float, list[float]]:
    """Seconds from the click on Jobs to the first painting, and from each change to the screen."""
    paints: list[float] = []
    for _ in range(ROUNDS):
        with where.lab() as page:
            panel = open_panel(page)
            tab = panel.get_by_role("tablist", name="Views").get_by_role("tab", name="Jobs")
            page.wait_for_timeout(2_000)  # what the page does when it opens is no part of it
            paints.append(click_until(page, tab, _FIRST_JOB))
            if len(paints) == ROUNDS:
                waits = _changes(where, page)
    return statistics.median(paints), waits


def _changes(where: World, page: Page) -> list[float]:
    """Seconds until each of some jobs, deleted one by one by another program, is off the screen."""
    jobs = {job.title: job for job in where.session.workspace.jobs.list()}
    expect(page.locator(_FIRST_JOB).first).to_contain_text(title_of(JOBS - 1))
    watch_first_row(page, f"{_FIRST_JOB} strong")
    waits = []
    for number in range(JOBS - 1, JOBS - 1 - EVENTS, -1):
        began = time.time()
        jobs[title_of(number)].delete()
        expect(page.locator(_FIRST_JOB).first).to_contain_text(title_of(number - 1))
        moment = next(at for at, text in first_rows(page) if text == title_of(number - 1))
        waits.append(moment - began)
        page.wait_for_timeout(100 + 37 * (number % 11))  # in step with nothing
    return waits


def measure(where: World, console: Console) -> Iterator[Figure]:
    """The figures, one after the other."""
    maps = []
    for number in range(ROUNDS):
        maps.append(first_maps(where))
        console.log(f"map {number + 1}: {maps[-1][0]:.2f} s, leafmap {maps[-1][1]:.2f} s")
    ours, theirs = (statistics.median(column) for column in zip(*maps, strict=True))
    yield figure(
        "click to usable map", ours, theirs, "leafmap.Map()", "s", GOAL_FASTER, times_less=True
    )
    with where.lab() as page:
        size, frame = results_of_the_panel(page)
    console.log(f"10,000 results: {size / 1e6:.2f} MB, longest frame {frame:.0f} ms")
    with where.lab() as page:
        their_size, their_frame = results_in_a_cell(page)
    console.log(f"ipyleaflet: {their_size / 1e6:.2f} MB, longest frame {their_frame:.0f} ms")
    rival = "ipyleaflet.GeoJSON"
    name = "10,000 results: bytes on the wire"
    yield figure(name, size / 1e6, their_size / 1e6, rival, "MB", GOAL_LESS, times_less=True)
    name = "10,000 results: longest frame on pan"
    yield figure(name, frame, their_frame, rival, "ms", GOAL_LESS, times_less=True)
    yield figure(name, frame, LONGEST_FRAME, "bound", "ms", 1.0)
    paint, waits = jobs_on_screen(where)
    yield figure(
        "change of a job to screen, p95", quantile(waits, 0.95), EVENT_SECONDS, "bound", "s", 1.0
    )
    yield figure(f"{JOBS:,} jobs: first paint", paint, FIRST_PAINT_SECONDS, "bound", "s", 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.panel", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    console = Console()
    with world(console.log) as where:
        found = list(measure(where, console))
    return report("The panel", found, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
