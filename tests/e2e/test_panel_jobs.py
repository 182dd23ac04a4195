"""The Jobs view in JupyterLab, as a researcher uses it: through a hub, a proxy, a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from cscale_cli.demo.session import HubSession
from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import (
    ARGUMENTS,
    lab_page,
    open_panel,
    serious_violations,
    use_theme,
)

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""
COMPUTED = 300_000


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=SLOW)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def scenes(researcher: HubSession) -> None:
    """Scenes of a year, staged and registered: what the back end computes on."""
    found = researcher.workspace.search(
        bbox=list(simulate.BBOX),
        collections=[simulate.COLLECTION],
        datetime="2020-01-01T00:00:00Z/2020-12-31T23:59:59Z",
        limit=100,
        providers=["site-b"],
        max_cloud_cover=20,
    )["items"]
    researcher.workspace.stage(found, ["B11", "B08", "B03"]).wait()


@pytest.fixture
def page(browser: Browser, federation: Federation, scenes: None) -> Iterator[Page]:
    with lab_page(browser, federation, "aqua") as opened:
        yield opened


def jobs_view(page: Page) -> Locator:
    panel = open_panel(page)
    panel.get_by_role("tablist", name="Views").get_by_role("tab", name="Jobs").click()
    return panel


def part(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("tablist", name="Parts of the job").get_by_role("tab", name=name)


def picture(page: Page, screenshots: Path, name: str) -> None:
    """The screen in light and dark, read by axe in both."""
    for theme in ("dark", "light"):
        use_theme(page, theme)
        assert serious_violations(page, "#cscale-panel") == []
        page.screenshot(path=screenshots / f"panel-jobs-{name}-{theme}.png")


def test_workflow_is_started_watched_and_seen(page: Page, screenshots: Path) -> None:
    panel = jobs_view(page)
    panel.get_by_role("button", name="New job").first.click()
    expect(panel.get_by_role("button", name="Map of an index")).to_be_visible(timeout=SLOW)
    expect(panel.locator("img.cs-card-picture").first).to_be_visible(timeout=SLOW)
    picture(page, screenshots, "workflows")
    panel.get_by_role("button", name="Map of an index").click()
    for name, degrees in zip(("West", "South", "East", "North"), simulate.BBOX, strict=True):
        panel.get_by_role("spinbutton", name=name).fill(str(degrees))
    panel.get_by_label("First day").fill("2020-01-01")
    panel.get_by_label("Last day").fill("2020-12-31")
    panel.get_by_label("Collection", exact=True).fill(simulate.COLLECTION)
    panel.get_by_label("Index", exact=True).select_option("MNDWI")
    panel.get_by_label("Bands").fill("B03, B11")
    panel.get_by_label("Name of the job").fill("Open water of 2020")
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("finds nothing wrong")).to_be_visible(timeout=SLOW)
    picture(page, screenshots, "new")
    panel.get_by_role("button", name="Start the job").click()
    job = panel.get_by_role("article", name="Open water of 2020")
    expect(job).to_be_visible(timeout=SLOW)
    expect(job.get_by_text("Finished").first).to_be_visible(timeout=COMPUTED)
    picture(page, screenshots, "overview")
    part(panel, "Log").click()
    expect(panel.get_by_role("log", name="Log")).to_be_visible(timeout=SLOW)
    picture(page, screenshots, "log")
    part(panel, "Results").click()
    tile = panel.locator(".leaflet-rasters-pane img.leaflet-tile-loaded").first
    expect(tile).to_be_visible(timeout=COMPUTED)
    expect(panel.locator(".cs-legend")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_text("Drawing…")).to_have_count(0, timeout=COMPUTED)
    panel.get_by_role("button", name="Values over time in the middle of the map").click()
    values = panel.get_by_role("region", name="Values over time")
    expect(values.get_by_text("Reading the values")).to_have_count(0, timeout=COMPUTED)
    expect(values.locator("strong").nth(1)).to_be_visible()
    page.mouse.move(1000, 420)
    page.mouse.move(1010, 430)
    picture(page, screenshots, "results")


def test_failed_job_says_why_and_what_to_change(page: Page, screenshots: Path) -> None:
    panel = jobs_view(page)
    panel.get_by_role("button", name="New job").first.click()
    panel.get_by_role("tab", name="Process graph").click()
    text = panel.get_by_role("textbox", name="Process graph, as JSON")
    text.fill('{"load": {"process_id": "no_such", "arguments": {}, "result": true}')
    expect(panel.get_by_text("JSON at position").or_(panel.get_by_text("Expected"))).to_be_visible()
    text.fill('{"load": {"process_id": "no_such", "arguments": {}, "result": true}}')
    expect(panel.get_by_text("which this back end does not know")).to_be_visible(timeout=SLOW)
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("wrong", exact=False).first).to_be_visible(timeout=SLOW)
    picture(page, screenshots, "graph")
    text.fill(
        '{"load": {"process_id": "load_collection", "arguments": {"id": "not-there", '
        '"spatial_extent": {"west": 0, "south": 0, "east": 1, "north": 1}, '
        '"temporal_extent": ["2020-01-01", "2020-02-01"]}}, "save": {"process_id": "save_result", '
        '"arguments": {"data": {"from_node": "load"}, "format": "GTiff"}, "result": true}}'
    )
    panel.get_by_label("Name of the job").fill("It fails")
    panel.get_by_role("button", name="Start the job").click()
    job = panel.get_by_role("article", name="It fails")
    expect(job.get_by_role("button", name="Try again", exact=True)).to_be_visible(timeout=COMPUTED)
    picture(page, screenshots, "failed")
    panel.get_by_role("button", name="More with this job").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    expect(job).to_have_count(0)
    panel.get_by_role("searchbox", name="Search in the jobs").fill("nothing is called so")
    expect(panel.get_by_text("No job is like that")).to_be_visible()
    panel.get_by_role("button", name="Show all jobs").first.click()
    expect(panel.get_by_role("option").first).to_be_visible()
