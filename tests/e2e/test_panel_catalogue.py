"""The Catalogue view in JupyterLab, as a researcher uses it: through a hub, a proxy, a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import (
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
    empty_form(panel)
    for name in ("Select none", "Take all pictures away"):
        button = panel.get_by_role("button", name=name, exact=True)
        if button.count():
            button.click()
    # At once: they go away by themselves, too.
    said = panel.get_by_role("button", name="Close this message")
    said.evaluate_all("(all) => all.forEach((each) => each.click())")
    return signed_in


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
        expect(panel.get_by_role("slider", name="Line between the two pictures")).to_be_visible()
        panel.get_by_role("button", name="Show all results").click()
        expect(tiles(panel).nth(1)).to_be_visible(timeout=2 * SLOW)
        expect(panel.get_by_role("status", name="Loading the picture")).to_have_count(
            0, timeout=2 * SLOW
        )
        keep_picture(page, screenshots / f"panel-catalogue-compare-{theme}.png")
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


def test_area_is_drawn_with_the_pointer_and_with_the_keyboard(page: Page) -> None:
    panel = open_panel(page)
    catalogue_tab(panel, "Search").click()
    draw = panel.get_by_role("button", name="Draw a rectangle", exact=True)
    draw.click()
    box = panel.get_by_role("application", name="Map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 330, box["y"] + 310, steps=4)
    page.mouse.up()
    area = panel.locator(".cs-area-text")
    expect(area).to_contain_text("Rectangle")
    drawn = area.inner_text()
    draw.click()
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
    box = panel.get_by_role("application", name="Map").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    area = panel.locator(".cs-area-text")
    before = area.inner_text()
    panel.get_by_role("button", name="Draw a rectangle", exact=True).click()
    page.mouse.move(x - 40, y - 40)
    page.mouse.down()
    page.mouse.move(x + 40, y + 40, steps=4)
    page.mouse.up()
    expect(area).not_to_have_text(before)
    expect(panel.get_by_role("article")).to_have_count(0)


def test_code_replaces_its_own_cell(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    panel.locator(".cs-tick").first.click()
    for _ in range(2):
        panel.get_by_role("button", name="Load in notebook").click()
        page.get_by_role("menuitem", name="xarray (odc-stac)").click()
        made = page.locator(".jp-Notebook .jp-CodeCell", has_text="odc.stac")
        expect(made).to_have_count(1, timeout=SLOW)
        open_panel(page)
    panel.get_by_role("button", name="Select none", exact=True).click()


def test_archive_that_is_down_is_named(page: Page, screenshots: Path) -> None:
    panel = open_panel(page)
    catalogue_tab(panel, "Search").click()
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_text("Archive of site C (down) failed")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_text("that is all")).to_have_count(0)
    panel.get_by_role("button", name="How each archive did").click()
    keep_picture(page, screenshots / "panel-catalogue-archive-down.png")


def test_search_is_saved_and_shared(page: Page) -> None:
    panel = open_panel(page)
    search_scenes(panel)
    catalogue_tab(panel, "Search").click()
    panel.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("textbox", name="Name").fill("Barbate")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(panel.get_by_role("button", name="Barbate", exact=False).first).to_be_visible()
    panel.get_by_role("button", name="More with Barbate").click()
    page.get_by_role("menuitem", name="Copy to share").click()
    expect(panel.get_by_text("Copied.")).to_be_visible()
    shared = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert shared["name"] == "Barbate"
    assert shared["query"]["bbox"] == list(simulate.BBOX)
    panel.get_by_role("button", name="More with Barbate").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(panel.get_by_role("button", name="More with Barbate")).to_have_count(0)


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
