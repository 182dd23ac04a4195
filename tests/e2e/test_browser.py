"""What a researcher sees: signing in, refusals, JupyterLab with the Getting started notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cscale_hub.local.lifecycle import Federation

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


def sign_in(page: Page, federation: Federation, username: str, password: str) -> None:
    page.goto(f"{federation.hub_url}/hub/login")
    page.get_by_role("link", name="Sign in").or_(
        page.get_by_role("button", name="Sign in")
    ).first.click()
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_wrong_password_is_said_on_the_form(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    sign_in(page, federation, "aqua", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    page.screenshot(path=screenshots / "wrong-password.png")
    expect(page.get_by_label("Password")).to_be_visible()


def test_person_of_no_accepted_vo_reads_what_to_do(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    sign_in(page, federation, "outsider", federation.passwords["outsider"])
    expect(page.get_by_text("What to do")).to_be_visible()
    expect(page.get_by_text("aquamonitor.c-scale.eu")).to_be_visible()
    page.screenshot(path=screenshots / "no-vo.png")


def open_notebook(page: Page, federation: Federation, username: str) -> None:
    """Sign in, take the first server where several are offered, and see Getting started."""
    sign_in(page, federation, username, federation.passwords[username])
    start = page.get_by_role("button", name="Start", exact=True)
    notebook = page.locator(".jp-Notebook").first
    expect(start.or_(notebook)).to_be_visible(timeout=120_000)
    if start.is_visible():
        start.click()
    expect(notebook).to_be_visible(timeout=120_000)
    expect(page.get_by_role("heading", name="Getting started").first).to_be_visible()
    # Cells that are run before there is a kernel are forgotten by JupyterLab. Of its two signs the
    # one in the notebook's toolbar says "idle" before there is one, the one at the bottom does not.
    kernel = page.get_by_role("button", name="Python 3 (ipykernel) | Idle")
    expect(kernel).to_be_visible(timeout=120_000)


@pytest.mark.spark
def test_researcher_runs_the_whole_notebook_and_sees_the_map(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    """Search, stage, openEO, map, in a real browser; and only this machine is ever asked."""
    foreign: list[str] = []
    local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on(
        "request",
        lambda request: None if request.url.startswith(local) else foreign.append(request.url),
    )
    open_notebook(page, federation, "aqua-manager")
    page.screenshot(path=screenshots / "notebook.png")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    layers = page.locator(".leaflet-image-layer")
    failure = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    try:
        expect(layers.or_(failure).first).to_be_attached(timeout=300_000)
    finally:
        page.screenshot(path=screenshots / "ran.png", full_page=True)
        print("\n".join(page.locator(".jp-OutputArea-output").all_inner_texts()))
    expect(failure).to_have_count(0)
    expect(layers).to_have_count(2)
    expect(page.locator(".jp-OutputArea-output[data-mime-type*=stderr]")).to_have_count(0)
    page.locator(".leaflet-container").first.scroll_into_view_if_needed()
    page.wait_for_timeout(2_000)
    page.screenshot(path=screenshots / "map.png")
    assert foreign == []


def test_file_browser_shows_the_bucket(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    open_notebook(page, federation, "aqua")
    # Opening the notebook does not change it: closing it would ask nothing.
    tab = page.get_by_role("tab", name="Getting started.ipynb")
    expect(tab).to_have_class(re.compile("jp-mod-current"))
    expect(tab).not_to_have_class(re.compile("jp-mod-dirty"))
    page.locator(".jp-DirListing-item", has_text="s3").dblclick()
    page.locator(".jp-DirListing-item", has_text="aquamonitor").dblclick()
    expect(page.locator(".jp-DirListing-item", has_text="products")).to_be_visible()
    page.screenshot(path=screenshots / "bucket.png")
