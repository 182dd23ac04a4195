"""The panel in a notebook cell of JupyterLab: it follows the same state as the side bar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import (
    ARGUMENTS,
    lab_page,
    open_side_panel,
    search_scenes,
    serious_violations,
)

pytestmark = pytest.mark.browser

SLOW = 120_000


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, federation: Federation) -> Iterator[Page]:
    with lab_page(browser, federation, "aqua-manager") as opened:
        yield opened


def run_cell(page: Page, code: str) -> None:
    """Run code in a new cell below the first."""
    notebook = page.locator(".jp-Notebook:visible")
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    expect(idle.first).to_be_attached(timeout=SLOW)
    notebook.locator(".jp-Cell").first.locator(".jp-InputPrompt").click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def test_cell_and_side_bar_follow_each_other(page: Page, screenshots: Path) -> None:
    run_cell(page, "from cscale_widget import Panel; panel = Panel(height=620); panel")
    panel = page.locator(".jp-OutputArea .cs-panel")
    expect(panel.get_by_role("tablist", name="Views")).to_be_visible(timeout=SLOW)
    search_scenes(panel)
    expect(panel.locator(".cs-thumbnail img").first).to_be_visible(timeout=SLOW)
    panel.locator(".cs-tick").first.click()
    # What JupyterLab offers, a cell has, too.
    expect(panel.get_by_role("button", name="Load in notebook")).to_be_visible()
    panel.scroll_into_view_if_needed()
    assert serious_violations(page, ".jp-OutputArea .cs-panel") == []
    page.screenshot(path=screenshots / "panel-notebook.png")
    side = open_side_panel(page)
    expect(side.get_by_text("1 selected")).to_be_visible()
    expect(side.get_by_text("that is all")).to_be_visible()
    run_cell(page, "panel.area = None; print(len(panel.selection), 'chosen')")
    expect(page.get_by_text("1 chosen", exact=True)).to_be_visible(timeout=SLOW)
    side.get_by_role("tab", name="Search", exact=True).click()
    expect(side.get_by_text("The whole world")).to_be_visible()
    side.get_by_role("button", name="Select none", exact=True).click()
