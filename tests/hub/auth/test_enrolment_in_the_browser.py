"""The page that says how to enrol, in Chromium: readable in light and dark, wide and narrow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.hub.auth.running_hub import ENROL, RunningHub
from tests.hub.contrast import unreadable

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: ``CSCALE_SCREENSHOTS``, else a temporary folder."""
    folder = Path(os.environ.get("CSCALE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_person_without_an_accepted_vo_reads_how_to_enrol(
    hub: RunningHub, chromium: Any, pictures: Path, scheme: str, width: int
) -> None:
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, locale="en-GB"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{hub.url}/hub/oauth_login")
    page.get_by_label("User name").fill("outsider")
    page.get_by_label("Password").fill(hub.issuer.passwords["outsider"])
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", level=1)
    heading.wait_for()
    assert heading.inner_text() == "Your virtual organisations may not use this hub"
    for text in ("vo.notebooks.egi.eu", "Aqua Monitor", "Water Watch", "What to do"):
        assert page.get_by_text(text).first.is_visible()
    enrol = page.get_by_role("link", name="Ask for membership")
    assert enrol.get_attribute("href") == ENROL
    assert page.get_by_role("link", name="how to join a VO").is_visible()
    assert page.get_by_role("button", name="Back to sign-in").is_visible()
    page.screenshot(path=pictures / f"enrol-{scheme}-{width}.png", full_page=True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert unreadable(page, ".error *") == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()
