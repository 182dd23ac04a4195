"""The hub's pages in Chromium, with the operator's name, colour, logo, links and announcements."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.contrast import unreadable

if TYPE_CHECKING:
    from tests.hub.operating.conftest import Operated

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(400)]
# Where pictures of the pages are put, for who wants to look at them.
PICTURES = os.environ.get("CSCALE_TEST_PICTURES", "")


def check(page: Any, name: str) -> None:
    """Everything can be read, nothing is wider than the page."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
    assert unreadable(page) == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 400)])
def test_pages_are_the_operators_and_can_be_read(
    operated: Operated, chromium: Any, scheme: str, width: int
) -> None:
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{operated.url}/hub/login")
    told = page.get_by_role("list", name="Announcements").get_by_role("listitem")
    assert told.count() == 2
    assert "The object store <b>rests</b> on Tuesday." in told.first.inner_text()
    assert told.locator("b").count() == 0
    assert page.get_by_role("link", name="More about this").get_attribute("href") == (
        "https://status.example.org/"
    )
    assert page.get_by_role("heading", name="Sea & Land <Hub>").is_visible()
    assert page.get_by_text("Everything about <water>.").is_visible()
    assert page.get_by_role("link", name="Terms of use").is_visible()
    logo = page.locator(".cscale-brand img")
    assert logo.evaluate("node => node.complete && node.naturalWidth > 0")
    button = page.get_by_role("button", name=re.compile("^Sign in with"))
    colour = button.evaluate("node => getComputedStyle(node).backgroundColor")
    assert colour == "rgb(26, 95, 180)"
    check(page, f"login-{scheme}-{width}")

    button.click()
    page.locator("input[type=password]").wait_for()
    page.locator("input[name=username]").fill("aqua")
    page.locator("input[type=password]").fill(operated.federation.passwords["aqua"])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/hub/"))
    for name in ("home", "spawn", "token"):
        page.goto(f"{operated.url}/hub/{name}")
        told = page.get_by_role("list", name="Announcements").get_by_role("listitem")
        assert told.count() == 1, name
        check(page, f"{name}-{scheme}-{width}")
    page.goto(f"{operated.url}/hub/nowhere")
    assert page.get_by_role("heading", name="This page does not exist").is_visible()
    check(page, f"error-{scheme}-{width}")
    context.close()


def test_people_in_jupyterlab_are_told_too_and_nobody_else_is_asked(
    operated: Operated, chromium: Any
) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(90_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{operated.url}/hub/oauth_login")
    page.locator("input[name=username]").fill("both")
    page.locator("input[type=password]").fill(operated.federation.passwords["both"])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/hub/"))
    page.goto(f"{operated.url}/hub/spawn?vo=aquamonitor.c-scale.eu&profile=small")
    page.wait_for_url(re.compile("/lab"))
    told = page.get_by_text("The object store <b>rests</b> on Tuesday.").first
    told.wait_for()
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "lab.png")
    assert page.get_by_text("Only for who signs in.").count() == 0
    assert page.get_by_text("official Jupyter news").count() == 0
    assert [
        url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))
    ] == []
    context.close()
