"""The page that says how to enrol, in Chromium: readable in light and dark, wide and narrow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.auth.running_hub import ENROL, RunningHub

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(300)]

# The lowest ratio of lightness between letters and what is behind them (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const shown = [...document.querySelectorAll(".error *")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...shown.map((element) => {
    const [a, b] = [parts(getComputedStyle(element).color), behind(element)].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="install the extra test")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("install chromium (Debian) for the browser tests")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


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
    assert 4.5 <= page.evaluate(CONTRAST) <= 21
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()
