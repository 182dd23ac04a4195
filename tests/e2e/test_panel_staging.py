"""The Staging view in JupyterLab: items of the catalogue are brought into the bucket."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel_pages import (
    keep_picture,
    open_panel,
    serious_violations,
    use_theme,
)

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""


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
