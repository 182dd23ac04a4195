"""What a researcher sees: signing in, refusals, JupyterLab with the Getting started notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cscale_hub.local.lifecycle import Federation

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


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
    page.get_by_label("Username").fill(username)
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


def test_researcher_signs_in_and_runs_the_first_cells(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    """Only this machine is asked: a page that needs the internet would fail here."""
    foreign: list[str] = []
    page.on(
        "request",
        lambda request: (
            foreign.append(request.url)
            if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
            else None
        ),
    )
    sign_in(page, federation, "aqua-manager", federation.passwords["aqua-manager"])
    notebook = page.get_by_role("tab", name="Getting started.ipynb")
    expect(notebook).to_be_visible(timeout=120_000)
    expect(page.get_by_text("Search every archive at once").first).to_be_visible()
    for _ in range(4):
        page.keyboard.press("Shift+Enter") if False else page.get_by_role(
            "button", name="Run this cell and advance"
        ).first.click()
    expect(page.get_by_text("45 scenes").or_(page.get_by_text("scenes").nth(1))).to_be_visible(
        timeout=120_000
    )
    page.screenshot(path=screenshots / "getting-started.png")
    assert foreign == []


def test_home_shows_the_mounted_bucket(
    page: Page, federation: Federation, screenshots: Path
) -> None:
    sign_in(page, federation, "aqua", federation.passwords["aqua"])
    expect(page.get_by_role("tab", name="Getting started.ipynb")).to_be_visible(timeout=120_000)
    page.get_by_role("listitem", name="s3").or_(
        page.locator(".jp-DirListing-item", has_text="s3")
    ).first.dblclick()
    expect(page.locator(".jp-DirListing-item", has_text="aquamonitor")).to_be_visible()
    page.screenshot(path=screenshots / "bucket.png")
