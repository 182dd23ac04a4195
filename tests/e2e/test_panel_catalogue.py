"""The Catalogue view in JupyterLab, as a researcher uses it: through a hub, a proxy, a browser."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect

from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from cscale_hub.local.processes import federation_processes
from tests.e2e.panel_pages import (
    ask_server,
    catalogue_tab,
    empty_form,
    keep_picture,
    lab_is_there,
    lab_page,
    open_panel,
    open_side_panel,
    search_scenes,
    serious_violations,
    use_theme,
)
from tests.waiting import until

pytestmark = pytest.mark.browser

USER = "aqua-manager"
MOST_TABS = 80
SLOW = 60_000
"""Milliseconds: other programs load the machine."""


@pytest.fixture(scope="module")
def signed_in(browser: Browser, federation: Federation) -> Iterator[Page]:
    """JupyterLab, for all tests: signing in takes longer than most of them."""
    with lab_page(browser, federation, USER) as opened:
        yield opened


@pytest.fixture
def page(signed_in: Page) -> Page:
    """The page in the light theme, with nothing filled in, selected or shown."""
    signed_in.keyboard.press("Escape")  # a menu or dialog of a test that failed
    use_theme(signed_in, "light")
    panel = open_panel(signed_in)
    view(panel, "Catalogue")
    empty_form(panel)
    for name in ("Select none", "Take all pictures away"):
        button = panel.get_by_role("button", name=name, exact=True)
        if button.count():
            button.click()
    # At once: they go away by themselves, too.
    said = panel.get_by_role("button", name="Close this message")
    said.evaluate_all("(all) => all.forEach((each) => each.click())")
    return signed_in


def view(panel: Locator, name: str) -> None:
    panel.get_by_role("tablist", name="Views").get_by_role("tab", name=name).click()


def tiles(panel: Locator) -> Locator:
    return panel.locator(".leaflet-rasters-pane img.leaflet-tile-loaded")


def test_search_compare_and_details_in_light_and_dark(page: Page, screenshots: Path) -> None:
    """The way of a first search; each screen is kept as a picture and read by axe."""
    panel = open_panel(page)
    for theme in ("light", "dark"):
        use_theme(page, theme)
        search_scenes(panel)
        expect(panel.get_by_role("option").first).to_be_visible()
        expect(panel.locator(".cs-thumbnail img").first).to_be_visible(timeout=SLOW)
        assert serious_violations(page, "#cscale-panel") == []
        for index in (0, 6):
            panel.locator(".cs-tick").nth(index).click()
        panel.get_by_role("button", name="Compare", exact=True).click()
        line = panel.get_by_role("slider", name="Line between the two pictures")
        expect(line).to_have_attribute("aria-valuenow", "50")
        panel.get_by_role("button", name="Show all results").click()
        expect(tiles(panel).nth(1)).to_be_visible(timeout=2 * SLOW)
        expect(panel.get_by_role("status", name="Loading the picture")).to_have_count(
            0, timeout=2 * SLOW
        )
        keep_picture(page, screenshots / f"panel-catalogue-compare-{theme}.png")
        line.focus()
        page.keyboard.press("ArrowRight")
        expect(line).to_have_attribute("aria-valuenow", "52")
        panel.get_by_role("button", name="Take all pictures away").click()
        panel.get_by_role("button", name="Select none", exact=True).click()
        panel.get_by_role("option").nth(3).click()
        panel.get_by_role("button", name="Water (MNDWI)").click()
        expect(panel.locator(".cs-legend")).to_be_visible(timeout=SLOW)
        expect(tiles(panel).first).to_be_visible(timeout=2 * SLOW)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-catalogue-item-{theme}.png")
        panel.get_by_role("button", name="Take all pictures away").click()
        catalogue_tab(panel, "Search").click()
        expect(panel.get_by_text("Archive of site B").first).to_be_visible()
        expect(panel.locator(".cs-histogram .cs-bar").first).to_be_attached(timeout=SLOW)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-catalogue-search-{theme}.png")


def test_side_bar_shows_the_same_and_a_reload_keeps_it(page: Page, screenshots: Path) -> None:
    side = open_side_panel(page)
    search_scenes(side)
    panel = open_panel(page)
    expect(panel.get_by_text("that is all")).to_be_visible()
    count = catalogue_tab(panel, "Results").inner_text()
    panel.locator(".cs-tick").first.click()
    expect(side.get_by_text("1 selected")).to_be_visible()
    panel.get_by_role("option").nth(2).click()
    details = panel.get_by_role("article")
    details.get_by_role("button", name="Add to the favourites").click()
    expect(details.get_by_role("button", name="Remove from the favourites")).to_be_visible()
    item = details.get_attribute("aria-label") or ""
    details.get_by_role("button", name="Back to the list").click()
    assert serious_violations(page, "#cscale-side-panel") == []
    keep_picture(page, screenshots / "panel-catalogue-side-bar.png")
    page.wait_for_timeout(4_000)  # JupyterLab writes what is kept a moment later
    page.reload()
    lab_is_there(page)
    panel = page.locator("#cscale-panel")
    expect(panel.get_by_text("that is all")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_text("1 selected")).to_be_visible()
    assert catalogue_tab(panel, "Results").inner_text() == count
    panel.get_by_role("button", name="Select none", exact=True).click()
    catalogue_tab(panel, "Saved").click()
    favourites = panel.get_by_role("region", name="Favourites")
    favourites.get_by_role("button", name=f"Remove {item}").click()
    expect(panel.get_by_text(item)).to_have_count(0)


def centre_of_drawing(panel: Locator, shape: str) -> tuple[float, float]:
    """Begin to draw; the middle of the map on the page, once the map takes corners and stays."""
    panel.get_by_role("button", name=f"Draw a {shape}", exact=True).click()
    shown = panel.get_by_role("application", name="Map")
    expect(shown).to_have_class(re.compile(r"\bcs-map-drawing\b"))

    def staying() -> FloatRect | None:
        box = shown.bounding_box()
        panel.page.wait_for_timeout(500)
        return box if box == shown.bounding_box() else None

    box = until(staying, "a map that stays")
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_area_is_drawn_with_the_pointer_and_with_the_keyboard(page: Page) -> None:
    panel = open_panel(page)
    catalogue_tab(panel, "Search").click()
    x, y = centre_of_drawing(panel, "rectangle")
    page.mouse.move(x - 60, y - 50)
    page.mouse.down()
    page.mouse.move(x + 70, y + 60, steps=4)
    page.mouse.up()
    area = panel.locator(".cs-area-text")
    expect(area).to_contain_text("Rectangle")
    drawn = area.inner_text()
    centre_of_drawing(panel, "rectangle")
    expect(panel.get_by_role("application", name="Map")).to_be_focused()
    page.keyboard.press("Enter")
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        page.wait_for_timeout(600)  # the map glides
    page.keyboard.press("Enter")
    expect(area).not_to_have_text(drawn)
    panel.get_by_role("button", name="Take the area away").click()
    expect(panel.get_by_text("The whole world")).to_be_visible()


def test_drawing_over_results_opens_none_of_them(page: Page) -> None:
    """The click that ends a drawing is no click on what lies below."""
    panel = open_panel(page)
    search_scenes(panel)
    catalogue_tab(panel, "Search").click()
    area = panel.locator(".cs-area-text")
    before = area.inner_text()
    x, y = centre_of_drawing(panel, "rectangle")
    page.mouse.move(x - 40, y - 40)
    page.mouse.down()
    page.mouse.move(x + 40, y + 40, steps=4)
    page.mouse.up()
    expect(area).not_to_have_text(before)
    expect(panel.get_by_role("article")).to_have_count(0)


def test_area_is_pasted_uploaded_and_taken_from_the_map(page: Page, tmp_path: Path) -> None:
    panel = open_panel(page)
    area = panel.locator(".cs-area-text")
    more = panel.get_by_role("region", name="Area").get_by_role("button", name="More")
    more.click()
    page.get_by_role("menuitem", name="Paste or type an area…").click()
    text = page.get_by_role("textbox", name="GeoJSON, WKT")
    text.fill("POLYGON ((500000 4600000, 510000 4600000, 510000 4610000, 500000 4600000))")
    page.get_by_role("button", name="Use this area").click()
    expect(page.get_by_role("dialog").get_by_text("another projection")).to_be_visible()
    text.fill("POLYGON ((14.2 46.0, 14.8 46.0, 14.8 46.3, 14.2 46.0))")
    page.get_by_role("button", name="Use this area").click()
    expect(area).to_contain_text("Polygon")
    expect(area).to_contain_text("14.20° E – 14.80° E, 46.00° N – 46.30° N")

    ring = [[0.0, 10.0], [1.0, 10.0], [1.0, 11.0], [0.0, 10.0]]
    polygons = [[ring], [[[x + 5, y] for x, y in ring]]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": each}}
        for each in polygons
    ]
    good, bad = tmp_path / "area.geojson", tmp_path / "point.geojson"
    good.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    bad.write_text('{"type": "Point", "coordinates": [1, 2]}')
    for file in (good, bad):
        more.click()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("menuitem", name="Upload GeoJSON or WKT…").click()
        chooser.value.set_files(file)
        expect(area).to_contain_text("Several polygons")
        expect(area).to_contain_text("0.00° E – 6.00° E")
    expect(panel.get_by_text("point.geojson was not taken.")).to_be_visible()
    more.click()
    page.get_by_role("menuitem", name="Copy as GeoJSON").click()
    expect(panel.get_by_text("Copied.")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied == {"type": "MultiPolygon", "coordinates": polygons}

    place = panel.get_by_role("combobox", name="Go to a country")
    place.fill("portug")
    expect(panel.get_by_role("option", name="Portugal")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_timeout(600)  # the map glides
    panel.get_by_role("button", name="Use what the map shows").click()
    expect(area).to_contain_text(re.compile(r"Rectangle.* W – .* N – 4\d.* N", re.DOTALL))


def test_polygon_is_drawn_and_its_corners_are_changed(page: Page) -> None:
    panel = open_panel(page)
    x, y = centre_of_drawing(panel, "polygon")
    for east, south in ((0, 0), (120, 20), (90, 130), (-20, 110), (0, 0)):
        page.mouse.click(x + east, y + south)
        page.wait_for_timeout(300)  # two clicks in one moment are a double click
    area = panel.locator(".cs-area-text")
    expect(area).to_contain_text("Polygon")
    drawn = area.inner_text()

    change = panel.get_by_role("button", name="Change the area's corners")
    corner = panel.get_by_role("button", name=re.compile(r"^Corner \d"))
    change.click()
    expect(corner).to_have_count(4)
    expect(corner.first).to_be_focused()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(area).not_to_have_text(drawn)
    page.keyboard.press("Escape")  # takes it back
    expect(corner).to_have_count(0)
    expect(area).to_have_text(drawn, use_inner_text=True)

    change.click()
    page.mouse.move(x + 120, y + 20)
    page.mouse.down()
    page.mouse.move(x + 180, y - 60, steps=4)
    page.mouse.up()
    expect(area).not_to_have_text(drawn)
    moved = area.inner_text()
    corner.nth(2).focus()
    page.keyboard.press("Delete")
    expect(corner).to_have_count(3)
    expect(area).not_to_have_text(moved)
    page.keyboard.press("Enter")
    expect(corner).to_have_count(0)
    expect(panel.get_by_role("application", name="Map")).to_be_focused()
    assert len(moved.splitlines()) == len(area.inner_text().splitlines())


def test_search_asks_for_dates_clouds_and_any_property(page: Page) -> None:
    panel = open_panel(page)
    catalogue_tab(panel, "Search").click()
    panel.get_by_role("checkbox", name="Simulated Sentinel-2 scenes").check()
    panel.get_by_role("slider", name="Largest cloud cover").fill("20")
    panel.get_by_role("button", name="Add", exact=True).click()
    condition = panel.get_by_role("group", name="Condition 1")
    condition.get_by_role("combobox", name="Property").select_option("platform")
    condition.get_by_role("textbox", name="Value").fill("simulated")
    panel.get_by_title("Click to take these dates").first.click(timeout=SLOW)
    first = panel.get_by_label("From", exact=True).input_value()
    assert first.startswith("2019-01")
    panel.get_by_label("To", exact=True).fill("2020-12-31")
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_text("that is all")).to_be_visible(timeout=SLOW)
    found = panel.get_by_role("option").all_inner_texts()
    assert found
    for words in found:
        assert int(re.search(r"(\d+) %", words)[1]) <= 20  # type: ignore[index]
        assert re.search(r"\b20(19|20)-\d\d-\d\d ", words)
    catalogue_tab(panel, "Search").click()
    condition.get_by_role("combobox", name="Comparison").select_option("is not")
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_text("Nothing was found")).to_be_visible(timeout=SLOW)


def test_dates_of_the_results_are_gone_through(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    options = panel.get_by_role("option")
    newest = options.first.inner_text()
    dates = panel.get_by_role("region", name="Dates of the results")
    dates.get_by_role("slider", name="First date").press("End")
    shown = panel.get_by_text(re.compile(r"^\d of these dates"))
    expect(shown).to_be_visible()
    assert options.count() == int(shown.inner_text()[0])
    assert options.first.inner_text() == newest
    dates.get_by_role("button", name="Show all dates").click()
    dates.get_by_role("button", name="Go through the dates").click()
    expect(options.filter(has_text="2019-01-11")).to_have_count(1)
    dates.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="show all", exact=True).click()
    expect(shown).to_have_count(0)


def test_item_is_found_on_the_map_and_seen_by_its_indices(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    plan = panel.get_by_role("application", name="Map")
    plan.hover()
    listbox = panel.get_by_role("listbox", name="Results")
    expect(listbox).to_have_attribute("aria-activedescendant", re.compile(r"\d$"))
    plan.click()
    details = panel.get_by_role("article")
    for name in ("Vegetation (NDVI)", "Open water (NDWI)", "Water (MNDWI)"):
        button = details.get_by_role("button", name=name)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(panel.get_by_role("combobox", name="What is shown of")).to_have_value(
            re.compile(re.search(r"\((.+)\)", name)[1].lower())  # type: ignore[index]
        )
        expect(panel.locator(".cs-legend")).to_be_visible(timeout=SLOW)
        expect(tiles(panel).first).to_be_visible(timeout=SLOW)
    details.get_by_role("region", name="Files").get_by_text("B11", exact=True).click()
    details.get_by_role("button", name="Copy the address of B11").first.click()
    expect(panel.get_by_text("The address is copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").endswith("B11.tif")


def test_all_between_two_results_are_selected(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    bar = panel.get_by_role("region", name="Selected items").get_by_role("status")
    panel.locator(".cs-tick").nth(1).click()
    panel.get_by_role("option").nth(4).click(modifiers=["Shift"])
    expect(bar).to_have_text("4 selected")
    expect(panel.get_by_role("option", selected=True)).to_have_count(4)
    panel.get_by_role("button", name="Select none", exact=True).click()
    panel.get_by_role("listbox", name="Results").focus()
    for key in ("Home", "Space", "ArrowDown", "ArrowDown", "Shift+Space", "Shift+ArrowDown"):
        page.keyboard.press(key)
    expect(bar).to_have_text("4 selected")
    page.keyboard.press("Control+a")
    expect(bar).to_have_text(
        f"{panel.get_by_role('option').first.get_attribute('aria-setsize')} selected"
    )
    expect(panel.get_by_role("article")).to_have_count(0)


def test_items_go_into_cells_of_their_own_and_into_a_job(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    panel.locator(".cs-tick").first.click()
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    for name, code in (
        ("xarray (odc-stac)", "odc.stac"),
        ("xarray (odc-stac)", "odc.stac"),
        ("openEO", "load_collection"),
        ("GDAL", "open_items"),
        ("DuckDB", "stac_geoparquet"),
    ):
        panel.get_by_role("button", name="Load in notebook").click()
        page.get_by_role("menuitem", name=name).click()
        expect(cells.filter(has_text=code)).to_have_count(1, timeout=SLOW)
        open_panel(page)
    panel.get_by_role("button", name="Use in a job").click()
    new = panel.get_by_role("region", name="New job")
    expect(new.get_by_text("1 item from the Catalogue is taken")).to_be_visible(timeout=SLOW)
    new.get_by_role("button", name="Take no items").click()
    new.get_by_role("button", name="Close the new job").click()


@contextmanager
def held(federation: Federation, program: str) -> Iterator[None]:
    """A service that takes connections, but says nothing."""
    pids = []
    for pid in federation_processes(federation.data):
        with suppress(OSError):  # it ended while we looked
            if f"{program}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.append(pid)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_slow_archive_is_waited_for_and_one_that_is_down_is_named(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    panel = open_panel(page)
    catalogue_tab(panel, "Search").click()
    with held(federation, "cscale_hub.local.archive"):
        panel.get_by_role("button", name="Search", exact=True).click()
        status = panel.get_by_role("status").filter(has_text="so far")
        expect(status).to_contain_text("1 archive still searching", timeout=SLOW)
        expect(status).to_contain_text("Archive of site C (down) failed")
    expect(panel.get_by_text("items from the archives that answered")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_text("that is all")).to_have_count(0)
    panel.get_by_role("button", name="How each archive did").click()
    expect(panel.get_by_text("nothing answers there")).to_be_visible()
    keep_picture(page, screenshots / "panel-catalogue-archive-down.png")
    panel.get_by_role("button", name="Hide how each archive did").click()


def test_search_is_saved_and_shared(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    count = catalogue_tab(panel, "Results").inner_text()
    catalogue_tab(panel, "Search").click()
    area = panel.locator(".cs-area-text").inner_text()
    panel.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("textbox", name="Name").fill("Barbate")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    more = panel.get_by_role("button", name="More with Barbate")
    copied = {}
    for name in ("Copy as text", "Copy a link"):
        page.evaluate("navigator.clipboard.writeText('')")
        more.click()
        page.get_by_role("menuitem", name=name).click()
        page.wait_for_function("navigator.clipboard.readText().then((text) => text !== '')")
        copied[name] = page.evaluate("navigator.clipboard.readText()")
    shared = json.loads(copied["Copy as text"])
    assert shared["name"] == "Barbate"
    assert shared["query"]["bbox"] == list(simulate.BBOX)
    more.click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(more).to_have_count(0)

    panel.get_by_role("button", name="Add a shared search…").click()
    page.get_by_role("textbox", name="What your colleague copied").fill(copied["Copy as text"])
    page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    empty_form(panel)
    catalogue_tab(panel, "Saved").click()
    panel.get_by_role("region", name="Saved searches").get_by_role(
        "button", name=re.compile("^Barbate")
    ).click()
    expect(panel.get_by_text("that is all")).to_be_visible(timeout=SLOW)
    assert catalogue_tab(panel, "Results").inner_text() == count
    empty_form(panel)

    page.goto(copied["Copy a link"])
    lab_is_there(page)
    expect(panel.get_by_text("that is all")).to_be_visible(timeout=SLOW)
    assert catalogue_tab(panel, "Results").inner_text() == count
    catalogue_tab(panel, "Search").click()
    assert panel.locator(".cs-area-text").inner_text() == area
    assert "cscale-search" not in page.url
    for search in ask_server(page, "GET", "cscale/api/v1/saved/searches")["searches"]:
        ask_server(page, "DELETE", f"cscale/api/v1/saved/searches/{search['id']}")


def test_settings_choose_the_basemap_and_how_much_is_asked_at_once(
    page: Page, federation: Federation
) -> None:
    settings = "lab/api/settings/cscale-panel:panel"
    tile = f"{federation.hub_url}/hub/logo"
    chosen = {"basemap": {"url": f"{tile}?{{z}}/{{x}}/{{y}}", "attribution": "<b>Ours</b>"}}
    ask_server(page, "PUT", settings, {"raw": json.dumps({**chosen, "pageSize": 10})})
    try:
        page.reload()
        lab_is_there(page)
        panel = open_panel(page)
        expect(panel.get_by_text("<b>Ours</b>")).to_be_visible()
        basemap = panel.locator(f"img.leaflet-tile-loaded[src^='{tile}']")
        expect(basemap.first).to_be_visible(timeout=SLOW)
        empty_form(panel)
        panel.get_by_role("checkbox", name="Simulated Sentinel-2 scenes").check()
        panel.get_by_role("button", name="Search", exact=True).click()
        expect(panel.get_by_text(re.compile(r"^10 of \d\d$"))).to_be_visible(timeout=SLOW)
        panel.get_by_role("listbox", name="Results").focus()
        page.keyboard.press("End")
        panel.get_by_role("button", name="Load more").click()
        expect(panel.get_by_text(re.compile(r"^20 of \d\d$"))).to_be_visible(timeout=SLOW)
    finally:
        ask_server(page, "PUT", settings, {"raw": "{}"})
        page.reload()
        lab_is_there(page)


def test_high_contrast_can_be_read(page: Page, screenshots: Path) -> None:
    panel = open_panel(page)
    use_theme(page, "high-contrast")
    search_scenes(panel)
    expect(panel.locator(".cs-thumbnail img").first).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "#cscale-panel") == []
    keep_picture(page, screenshots / "panel-catalogue-high-contrast.png")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                 const at = document.activeElement;
                 return at.getAttribute("aria-label") ?? at.textContent;
               }"""
        )
        if str(focused).strip() == name:
            return
    raise AssertionError(f"Tab does not come to {name}")


def test_first_search_needs_no_pointer(page: Page) -> None:
    """From the form to the list, into an item, onto the map and into a notebook's menu."""
    panel = page.locator("#cscale-panel")
    catalogue_tab(panel, "Search").focus()
    tab_to(page, "Search")
    page.keyboard.press("Enter")
    expect(panel.get_by_role("option").first).to_be_visible(timeout=SLOW)
    catalogue_tab(panel, "Results").focus()
    tab_to(page, "Results")
    for key in ("Home", "ArrowDown", "Space", "Enter"):
        page.keyboard.press(key)
    expect(panel.get_by_text("1 selected")).to_be_visible()
    details = panel.get_by_role("article")
    expect(details.get_by_role("button", name="Back to the list")).to_be_focused()
    expect(details.get_by_role("button", name="Water (MNDWI)")).to_be_visible(timeout=SLOW)
    tab_to(page, "Water (MNDWI)")
    page.keyboard.press("Enter")
    expect(panel.locator(".cs-legend")).to_be_visible(timeout=SLOW)
    tab_to(page, "Load in notebook")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="xarray (odc-stac)")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel.get_by_role("button", name="Load in notebook").last).to_be_focused()
    tab_to(page, "Stage…")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    details.get_by_role("button", name="Back to the list").focus()
    page.keyboard.press("Enter")
    results = panel.get_by_role("listbox", name="Results")
    expect(results).to_be_focused()
    page.keyboard.press("Space")  # still at the row that was opened
    expect(panel.get_by_text("1 selected")).to_have_count(0)
