"""The Staging view in JupyterLab: items of the catalogue are brought into the bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import (
    ask_server,
    keep_picture,
    lab_is_there,
    lab_page,
    open_panel,
    serious_violations,
    use_theme,
)
from tests.e2e.slow_source import SlowSource

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""


@pytest.fixture(scope="module")
def page(browser: Browser, federation: Federation) -> Iterator[Page]:
    """JupyterLab, for all tests: signing in takes longer than most of them."""
    with lab_page(browser, federation, "aqua-manager") as opened:
        yield opened


def test_items_are_staged_with_their_size_said_before(page: Page, screenshots: Path) -> None:
    panel = open_panel(page)
    panel.get_by_role("tab", name="Staging").click()
    panel.get_by_role("button", name="Select items in the catalogue").click()
    panel.get_by_role("checkbox", name="Simulated Sentinel-2 scenes").check(timeout=SLOW)
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_role("option").first).to_be_visible(timeout=SLOW)
    panel.locator(".cs-tick").first.click()
    panel.get_by_role("tab", name="Staging").click()
    panel.get_by_role("button", name="Stage the selected item…").click()
    expect(page.get_by_text("To be fetched:")).to_be_visible(timeout=SLOW)
    page.get_by_role("checkbox", name="thumbnail").uncheck()
    expect(page.get_by_text("5 files,")).to_be_visible()
    expect(page.get_by_text("To be fetched:")).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-staging-before.png")
    page.get_by_role("textbox", name="Name of the job").fill("One scene")
    page.get_by_role("dialog").get_by_role("button", name="Stage").last.click()
    card = panel.get_by_role("listitem", name="One scene")
    expect(card.get_by_text("done", exact=True)).to_be_visible(timeout=3 * SLOW)
    expect(card.get_by_text("5 files, ")).to_be_visible()
    # Another test may have brought it before.
    registered = re.compile("1 (new|updated|unchanged) in simulated-sentinel-2")
    expect(card.get_by_text(registered)).to_be_visible()
    card.get_by_text("1 item, and where it is").click()
    expect(card.get_by_text("s3://")).to_be_visible(timeout=SLOW)
    for theme in ("dark", "light"):
        use_theme(page, theme)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-staging-{theme}.png")
    card.get_by_role("button", name="Show the files of").click()
    expect(panel.get_by_role("option").filter(has_text="item.json")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_role("option").filter(has_text=".tif")).to_have_count(5)


def test_staging_is_paused_goes_on_after_a_reload_and_is_tried_again(
    page: Page, slow_archive: SlowSource, screenshots: Path
) -> None:
    """A product of which an archive sends only half at first, and one that is not as it says."""
    stage = "cscale/api/v1/stage"
    item = slow_archive.item("slow-product")
    ask_server(page, "POST", stage, {"items": [item], "title": "Slow product", "register": False})
    panel = open_panel(page)
    panel.get_by_role("tab", name="Staging").click()
    card = panel.get_by_role("listitem", name="Slow product")
    expect(card.get_by_text(re.compile(r"^0 of 1 file, 1\d\.\d MB of 25"))).to_be_visible(
        timeout=SLOW
    )
    for theme in ("dark", "light"):
        use_theme(page, theme)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-staging-under-way-{theme}.png")
    card.get_by_role("button", name="Pause").click()
    expect(card.get_by_text("paused", exact=True)).to_be_visible(timeout=SLOW)
    page.reload()
    lab_is_there(page)
    open_panel(page)
    panel.get_by_role("tab", name="Staging").click()
    expect(card.get_by_text("paused", exact=True)).to_be_visible(timeout=SLOW)
    slow_archive.let_go()
    card.get_by_role("button", name="Go on").click()
    expect(card.get_by_text("done", exact=True)).to_be_visible(timeout=2 * SLOW)
    expect(card.get_by_text("not written to the catalogue")).to_be_visible()

    item = slow_archive.item("other-product", **{"file:checksum": "1220" + "00" * 32})
    ask_server(page, "POST", stage, {"items": [item], "title": "Other", "register": False})
    other = panel.get_by_role("listitem", name="Other")
    expect(other.get_by_text("failed", exact=True)).to_be_visible(timeout=2 * SLOW)
    expect(other.get_by_role("alert")).to_contain_text("checksum")
    other.get_by_role("button", name="Try Other again").click()
    expect(other).to_have_count(2, timeout=SLOW)
    expect(other.first.get_by_text("failed", exact=True)).to_be_visible(timeout=2 * SLOW)
    other.first.get_by_role("button", name="from the list; the files stay").click()
    expect(other).to_have_count(1, timeout=SLOW)
