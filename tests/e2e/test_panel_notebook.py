"""The panel in a notebook cell of JupyterLab: it follows the same state as the side bar."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.panel_pages import (
    command,
    lab_is_there,
    open_side_panel,
    search_scenes,
    serious_violations,
)

pytestmark = pytest.mark.browser

SLOW = 120_000


def run_cell(page: Page, code: str) -> None:
    """Run code in a new cell below the first."""
    notebook = page.locator(".jp-Notebook:visible")
    # The notebook's own indicator says idle while there is no kernel yet.
    kernel = page.get_by_role("button", name="Python 3 (ipykernel) | Idle")
    expect(kernel).to_be_visible(timeout=SLOW)
    notebook.locator(".jp-Cell").first.locator(".jp-InputPrompt").click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def restart_kernel(page: Page) -> None:
    command(page, "Restart Kernel…")
    page.locator(".jp-Dialog .jp-mod-accept").click()


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


def test_panel_of_a_cell_is_where_it_was_after_restart_and_reload(page: Page) -> None:
    show = "from cscale_widget import Panel; panel = Panel(height=620); panel"
    run_cell(page, show)
    panel = page.locator(".jp-OutputArea .cs-panel")
    expect(panel.get_by_role("tablist", name="Views")).to_be_visible(timeout=SLOW)
    search_scenes(panel)
    panel.locator(".cs-tick").nth(1).click()
    expect(panel.get_by_text("1 selected")).to_be_visible()
    # What is shown goes on without the kernel, as the page asks the server itself.
    restart_kernel(page)
    panel.locator(".cs-tick").nth(2).click()
    expect(panel.get_by_text("2 selected")).to_be_visible()
    run_cell(page, f"{show}; print('run again')\npanel")
    expect(page.get_by_text("run again", exact=True)).to_be_visible(timeout=SLOW)
    expect(panel.first.get_by_text("2 selected")).to_be_visible(timeout=SLOW)
    expect(panel.first.get_by_text("that is all")).to_be_visible()
    page.wait_for_timeout(4_000)  # what is kept is written after a moment
    page.reload()
    lab_is_there(page)
    run_cell(page, f"{show}; print('after a reload')\npanel")
    expect(page.get_by_text("after a reload", exact=True)).to_be_visible(timeout=SLOW)
    expect(panel.first.get_by_text("2 selected")).to_be_visible(timeout=SLOW)
    panel.first.get_by_role("button", name="Select none", exact=True).click()
