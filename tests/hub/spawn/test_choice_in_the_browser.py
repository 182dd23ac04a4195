"""The page with the choices in Chromium: by keyboard, without scripts, light and dark."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hub.spawn.conftest import RunningHub

pytestmark = pytest.mark.browser


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


def sign_in(hub: RunningHub, context: Any, name: str) -> Any:
    page = context.new_page()
    page.goto(f"{hub.url}/hub/login")
    token = next(each["value"] for each in context.cookies() if each["name"] == "_xsrf")
    form = {"username": name, "password": "x", "_xsrf": token}
    context.request.post(f"{hub.url}/hub/login", form=form)
    page.goto(f"{hub.url}/hub/spawn")
    return page


def test_it_is_used_by_keyboard_and_without_scripts(hub: RunningHub, chromium: Any) -> None:
    name = hub.person("aqua.example:member", "aqua.example:manager", "spent.example:member")
    context = chromium.new_context(java_script_enabled=False)
    page = sign_in(hub, context, name)
    small, large = (page.get_by_role("radio", name=title) for title in ("Small", "Large"))
    assert page.get_by_role("group", name="Aqua").count() == 1
    assert small.first.is_checked()
    assert page.locator("#server-2-1").is_disabled()
    small.first.focus()
    page.keyboard.press("ArrowDown")
    assert large.is_checked()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/hub/spawn-pending/|/user/"))
    context.close()
    deadline = time.monotonic() + 60
    while not hub.options(name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert hub.options(name)["profile"] == "large"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(hub: RunningHub, chromium: Any, scheme: str) -> None:
    name = hub.person("aqua.example:manager", "spent.example:member")
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 400, "height": 800})
    page = sign_in(hub, context, name)
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts
    assert min(contrasts) >= 4.5  # WCAG 2.2, 1.4.3
    # Nothing is wider than a telephone.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


CONTRASTS = """() => {
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const found = colour(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(".cscale-vo span, .cscale-vo legend, .cscale-left")]
    .map((node) => {
      const under = ground(node), style = colour(getComputedStyle(node).color);
      const alpha = style.length > 3 ? style[3] : 1;
      const over = style.slice(0, 3).map((v, i) => alpha * v + (1 - alpha) * under[i]);
      const [a, b] = [light(over), light(under)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    });
}"""
