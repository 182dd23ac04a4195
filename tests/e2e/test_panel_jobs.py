"""The Jobs view in JupyterLab, as a researcher uses it: through a hub, a proxy, a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cscale_cli.demo.session import HubSession
from cscale_core.client import Job
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import (
    command,
    empty_form,
    keep_picture,
    lab_is_there,
    lab_page,
    open_panel,
    open_side_panel,
    serious_violations,
    use_theme,
)

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""
COMPUTED = 300_000
BANDS = ["B11", "B08", "B03"]

HOSTILE = '<img src=x onerror="globalThis.hit=1"><script>globalThis.hit=1</script>'
PROGRAM = '''"""Writes what no log should hold, computes a little, and then fails."""
import time

from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
for tile in range(30):
    print(f"Tile {tile} of 30 is read")
print(HOSTILE)
print("\\x1b[1;31mred alert\\x1b[0m \\x1b]8;;javascript:globalThis.hit=1\\x07a link\\x1b]8;;\\x07")
print("safe\\u202egpj.exe\\x00")
print("10 %\\r 50 %\\r100 % of the bar")
print("x" * 1_000_000)
spark.sparkContext.parallelize(range(16), 16).map(lambda n: time.sleep(2) or n).count()
print("javascript:globalThis.hit=1")
raise MemoryError(HOSTILE)
'''


@pytest.fixture(scope="module")
def scenes(researcher: HubSession) -> list[dict[str, Any]]:
    """Scenes of a year, staged and registered: what the back end computes on."""
    found = researcher.workspace.search(
        bbox=list(simulate.BBOX),
        collections=[simulate.COLLECTION],
        datetime="2020-01-01T00:00:00Z/2020-12-31T23:59:59Z",
        limit=100,
        providers=["site-b"],
        max_cloud_cover=20,
    )["items"]
    researcher.workspace.stage(found, BANDS, title="Scenes of 2020").wait()
    return list(found)


@pytest.fixture
def page(browser: Browser, federation: Federation, scenes: object) -> Iterator[Page]:
    with lab_page(browser, federation, "aqua") as opened:
        yield opened


def jobs_view(panel: Locator) -> Locator:
    panel.get_by_role("tablist", name="Views").get_by_role("tab", name="Jobs").click()
    return panel


def part(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("tablist", name="Parts of the job").get_by_role("tab", name=name)


def close_tabs(page: Page) -> None:
    """Close every tab, whether or not a notebook in them was saved."""
    command(page, "Close All Tabs")
    discard = page.locator(".jp-Dialog .jp-mod-warn")
    expect(discard.or_(page.locator(".jp-Launcher")).first).to_be_visible()
    if discard.is_visible():
        discard.click()


def new_job(panel: Locator, kind: str) -> None:
    panel.get_by_role("button", name="New job").first.click()
    panel.get_by_role("tablist", name="Kinds of jobs").get_by_role("tab", name=kind).click()


def toasts(page: Page) -> Locator:
    return page.locator(".Toastify__toast")


def picture(page: Page, screenshots: Path, name: str, within: str = "#cscale-panel") -> None:
    """The screen in dark and light without passing messages, read by axe in both."""
    for theme in ("dark", "light"):
        use_theme(page, theme)
        page.evaluate(
            "document.querySelectorAll('.Toastify__close-button, .cs-notices button')"
            ".forEach((button) => button.click())"
        )
        expect(toasts(page)).to_have_count(0)
        assert serious_violations(page, within) == []
        keep_picture(page, screenshots / f"panel-jobs-{name}-{theme}.png")


def nothing_ran(page: Page) -> None:
    """What others wrote is text: none of it has become a part of the page."""
    assert page.evaluate("globalThis.hit") is None
    assert page.locator("img[src=x], a[href^=javascript]").count() == 0


def test_workflow_is_started_watched_and_seen(page: Page, screenshots: Path) -> None:
    panel = open_panel(page)
    empty_form(panel)
    panel.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Paste or type an area…").click()
    page.get_by_role("textbox", name="GeoJSON, WKT").fill(", ".join(map(str, simulate.BBOX)))
    page.get_by_role("button", name="Use this area").click()
    panel.get_by_label("From", exact=True).fill("2020-01-01")
    panel.get_by_label("To", exact=True).fill("2020-12-31")
    jobs_view(panel)
    new_job(panel, "Workflow")
    expect(panel.get_by_role("button", name="Map of an index")).to_be_visible()
    expect(panel.locator("img.cs-card-picture").nth(2)).to_be_visible()
    picture(page, screenshots, "workflows")
    panel.get_by_role("button", name="Map of an index").click()
    # The area and the dates are the map's.
    expect(panel.get_by_text("This is the area on the map.")).to_be_visible()
    for name, degrees in zip(("West", "South", "East", "North"), simulate.BBOX, strict=True):
        expect(panel.get_by_role("spinbutton", name=name)).to_have_value(str(degrees))
    expect(panel.get_by_label("First day")).to_have_value("2020-01-01")
    expect(panel.get_by_label("Last day")).to_have_value("2020-12-31")
    panel.get_by_role("combobox", name="Collection", exact=True).select_option(simulate.COLLECTION)
    panel.get_by_label("Index", exact=True).select_option("MNDWI")
    panel.get_by_label("Bands").fill("B03, B11")
    panel.get_by_label("Name of the job").fill("Open water of 2020")
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("finds nothing wrong")).to_be_visible()
    expect(panel.get_by_text("Estimate: takes about")).to_be_visible()
    picture(page, screenshots, "new")
    panel.get_by_role("button", name="Start the job").click()
    job = panel.get_by_role("article", name="Open water of 2020")
    expect(job.get_by_text("Finished").first).to_be_visible(timeout=COMPUTED)
    picture(page, screenshots, "overview")
    part(panel, "Results").click()
    tile = panel.locator(".leaflet-rasters-pane img.leaflet-tile-loaded").first
    expect(tile).to_be_visible(timeout=COMPUTED)
    expect(panel.locator(".cs-legend")).to_be_visible()
    expect(panel.get_by_text("Drawing…")).to_have_count(0, timeout=COMPUTED)
    seen = panel.get_by_label("Map of the results").bounding_box()
    assert seen is not None
    middle = (seen["x"] + seen["width"] / 2, seen["y"] + seen["height"] / 2)
    page.mouse.move(middle[0] - 30, middle[1])
    page.mouse.move(*middle)
    expect(panel.get_by_text("mndwi: ")).to_be_visible()
    picture(page, screenshots, "results")
    panel.get_by_role("button", name="Values over time in the middle of the map").click()
    values = panel.get_by_role("region", name="Values over time")
    expect(values.get_by_text("at one time only")).to_be_visible(timeout=COMPUTED)
    values.get_by_role("button", name="Close the values").click()
    with page.expect_download() as saved:
        panel.get_by_role("button", name="Download mndwi.tif").click()
    assert saved.value.suggested_filename == "mndwi.tif"
    panel.get_by_role("button", name="Copy a link to mndwi.tif for a colleague").click()
    expect(panel.get_by_text("A link for anyone who has it is copied")).to_be_visible()
    lent = httpx.get(page.evaluate("navigator.clipboard.readText()"), trust_env=False)
    assert lent.content[:4] in (b"II*\x00", b"II+\x00")
    panel.get_by_role("button", name="Open in the notebook").click()
    cell = page.locator(".jp-Notebook .jp-Cell.jp-mod-active")
    expect(cell).to_contain_text("results.open()")
    page.get_by_role("tab", name="C-SCALE", exact=True).click()
    part(panel, "Request").click()
    expect(panel.get_by_text('"load_collection"').first).to_be_visible()
    panel.get_by_role("button", name="Code that made this, into the notebook").click()
    expect(cell).to_contain_text("Open water of 2020 (job")
    expect(cell).to_contain_text("load_collection")
    page.get_by_role("tab", name="C-SCALE", exact=True).click()
    panel.get_by_role("button", name="More with this job").click()
    page.get_by_role("menuitem", name="Register and share in the catalogue").click()
    shared = panel.get_by_role("article", name="Publish Open water of 2020")
    expect(shared.get_by_text("Finished").first).to_be_visible(timeout=COMPUTED)
    panel.get_by_role("option", name=re.compile("^Open water of 2020")).first.click()
    panel.get_by_role("button", name="More with this job").click()
    page.get_by_role("menuitem", name="Copy results to the community's bucket").click()
    copied = panel.get_by_role("article", name="Results of Open water of 2020")
    expect(copied.get_by_text("Finished").first).to_be_visible(timeout=COMPUTED)
    part(panel, "Results").click()
    panel.get_by_role("button", name="Copy the address of").first.click()
    expect(panel.get_by_text("Copied.", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("s3://")


def test_process_graph_is_checked_and_its_failure_says_why(page: Page, screenshots: Path) -> None:
    panel = jobs_view(open_panel(page))
    new_job(panel, "Process graph")
    text = panel.get_by_role("textbox", name="Process graph, as JSON")
    text.fill('{"load": {"process_id": "no_such", "arguments": {}, "result": true}')
    expect(panel.get_by_text("JSON at position").or_(panel.get_by_text("Expected"))).to_be_visible()
    page.evaluate(
        "(text) => navigator.clipboard.writeText(text)",
        '{"process_graph": {"load": {"process_id": "no_such", "arguments": {}, "result": true}}}',
    )
    panel.get_by_role("button", name="Paste from the clipboard").click()
    expect(panel.get_by_text("which this back end does not know")).to_be_visible()
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("The back end finds 1 thing wrong")).to_be_visible()
    picture(page, screenshots, "graph")
    text.fill(
        '{"load": {"process_id": "load_collection", "arguments": {"id": "not-there", '
        '"spatial_extent": {"west": 0, "south": 0, "east": 1, "north": 1}, '
        '"temporal_extent": ["2020-01-01", "2020-02-01"]}}, "save": {"process_id": "save_result", '
        '"arguments": {"data": {"from_node": "load"}, "format": "GTiff"}, "result": true}}'
    )
    panel.get_by_label("Name of the job").fill(f"It fails {HOSTILE}")
    panel.get_by_role("button", name="Start the job").click()
    job = panel.get_by_role("article", name="It fails")
    expect(job.get_by_text("Collection 'not-there' does not exist").first).to_be_visible(
        timeout=COMPUTED
    )
    nothing_ran(page)
    expect(job.get_by_text("Look at the collections of this back end")).to_be_visible()
    job.get_by_role("button", name="Retry as a new job").click()
    expect(job.get_by_role("term").filter(has_text="Repeats")).to_be_visible()
    expect(job.get_by_text("Collection 'not-there' does not exist").first).to_be_visible(
        timeout=COMPUTED
    )
    panel.get_by_role("button", name="More with this job").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    expect(job).to_have_count(0)


@pytest.mark.spark
def test_spark_application_and_its_hostile_log(
    page: Page, screenshots: Path, tmp_path: Path
) -> None:
    program = tmp_path / "tiles.py"
    program.write_text(PROGRAM.replace("HOSTILE", repr(HOSTILE)), encoding="utf-8")
    panel = jobs_view(open_panel(page))
    new_job(panel, "Spark application")
    script = panel.get_by_role("textbox", name="Script")
    script.fill("s3://aquamonitor/users/aqua/tiles.py")
    panel.get_by_label("Name of the job").fill("Tiles of the lake")
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("Nothing is wrong with it")).to_be_visible()
    picture(page, screenshots, "spark")
    script.fill(str(program))
    panel.get_by_role("button", name="Start the job").click()
    job = panel.get_by_role("article", name="Tiles of the lake")
    figures = job.get_by_role("region", name="Spark")
    expect(figures.get_by_text("of 16 done")).to_be_visible(timeout=COMPUTED)
    expect(figures.get_by_role("progressbar", name="Stages")).to_be_visible()
    picture(page, screenshots, "running")
    again = job.get_by_role("button", name="Try again with driver_memory")
    expect(again).to_be_visible(timeout=COMPUTED)
    picture(page, screenshots, "failed")

    part(panel, "Log").click()
    log = panel.get_by_role("log", name="Log")
    expect(log.get_by_role("button", name="30 alike")).to_be_visible()
    for written in (HOSTILE, "red alert a link", "safe\ufffdgpj.exe\ufffd", "100 % of the bar"):
        expect(log.get_by_text(written, exact=True).first).to_be_visible()
    expect(log.get_by_text("10 %")).to_have_count(0)
    expect(panel.get_by_text("What to change")).to_be_visible()
    level = panel.get_by_label("Least level")
    level.select_option("Errors")
    expect(log.get_by_role("button", name="30 alike")).to_have_count(0)
    expect(log.get_by_text("needed more memory").first).to_be_visible()
    level.select_option("Information")
    log.get_by_role("button", name="show the whole line").first.click()
    expect(log.get_by_text(re.compile(r"x … \(\d{5,} characters\)")).first).to_be_visible()
    page.get_by_role("button", name="Last error").click()
    expect(log.locator(":focus")).to_contain_text("needed more memory")
    nothing_ran(page)
    panel.get_by_role("searchbox", name="Search in the log").fill("tile")
    expect(log.locator("mark").first).to_be_visible()
    picture(page, screenshots, "log")
    log.get_by_role("button", name="30 alike").click()
    expect(log.locator(".cs-log-line").filter(has_text="of 30 is read")).to_have_count(30)

    panel.get_by_role("button", name="Clone and change…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Name", exact=True).fill("Tiles again")
    dialog.get_by_role("textbox", name="Options").fill('{"driver_memory": "1536m"}')
    dialog.get_by_role("button", name="Start the new job").click()
    clone = panel.get_by_role("article", name="Tiles again")
    expect(clone.get_by_text("Repeats")).to_be_visible()
    clone.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(clone.get_by_text("It was cancelled.")).to_be_visible(timeout=COMPUTED)
    part(panel, "Request").click()
    expect(clone.get_by_text('"driver_memory": "1536m"')).to_be_visible()


def test_list_series_and_side_bar(page: Page, screenshots: Path) -> None:
    panel = jobs_view(open_panel(page))
    search = panel.get_by_role("searchbox", name="Search in the jobs")
    search.fill("nothing is called so")
    expect(panel.get_by_text("No job is like that")).to_be_visible()
    panel.get_by_role("button", name="Show all jobs").last.click()
    panel.get_by_label("Grouped by").select_option("By engine")
    rows = panel.get_by_role("listbox", name="Jobs").get_by_role("option")
    group = rows.filter(has_text="Staging").first
    expect(group).to_contain_text("unfolded")
    group.click()
    expect(group).to_contain_text("folded")
    panel.get_by_label("Grouped by").select_option("In one list")
    panel.get_by_label("Which jobs are shown").select_option("Finished")
    panel.get_by_label("Engine", exact=True).select_option("Staging")
    search.fill("scenes 2020")
    expect(rows).to_have_count(1)
    rows.click()
    part(panel, "Results").click()
    tile = panel.locator(".leaflet-rasters-pane img.leaflet-tile-loaded").first
    expect(tile).to_be_visible(timeout=COMPUTED)
    expect(panel.get_by_text("Drawing…")).to_have_count(0, timeout=COMPUTED)
    seen = panel.get_by_label("Map of the results").bounding_box()
    assert seen is not None
    page.mouse.click(seen["x"] + seen["width"] / 2, seen["y"] + seen["height"] / 2)
    values = panel.get_by_role("region", name="Values over time")
    expect(values.get_by_role("img")).to_be_visible(timeout=COMPUTED)
    expect(values.get_by_text("Reading the values")).to_have_count(0, timeout=COMPUTED)
    assert values.locator("circle").count() > 3
    panel.get_by_role("button", name="Show all jobs").first.click()
    picture(page, screenshots, "series")
    close_tabs(page)
    side = jobs_view(open_side_panel(page))
    expect(side.get_by_role("article", name="Scenes of 2020")).to_be_visible()
    side.get_by_role("button", name="Back to the list").click()
    expect(side.get_by_role("option", name="Scenes of 2020")).to_be_visible()
    picture(page, screenshots, "side-bar", "#cscale-side-panel")


def test_ended_jobs_are_told_whatever_is_open(
    page: Page, researcher: HubSession, scenes: list[dict[str, Any]]
) -> None:
    def staged(title: str) -> Job:
        return researcher.workspace.stage(scenes[:1], ["B03"], title=title, register=False)

    close_tabs(page)
    lab, context = page.url, page.context
    staged(f"While Lab is open {HOSTILE}")
    toast = toasts(page).filter(has_text="While Lab is open")
    expect(toast).to_contain_text(f"{HOSTILE} has finished: 1 result.")
    nothing_ran(page)
    page.close()
    staged("While nobody looks").wait()
    page = context.new_page()
    page.goto(lab)
    lab_is_there(page)
    toast = toasts(page).filter(has_text="While nobody looks has finished")
    toast.get_by_role("button", name="Show the job").click()
    shown = page.locator("#cscale-panel").get_by_role("article", name="While nobody looks")
    expect(shown.get_by_text("It is done: 1 result.")).to_be_visible()
