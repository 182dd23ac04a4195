"""The panel in a real browser: signing in, opening it, themes, what axe says, screenshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from cscale_hub.local.archive import simulate
from cscale_hub.local.lifecycle import Federation
from tests.panel_packages import packages

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_TRIES = 6
_LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")


@contextmanager
def lab_page(
    browser: Browser, federation: Federation, username: str, *, only_ours: bool = True
) -> Iterator[Page]:
    """JupyterLab of a user, in a browser of its own that asks nobody but this machine.

    :param only_ours: False where what is shown is others', who may ask for maps elsewhere.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    foreign: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: foreign.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    log_in(page, federation, username)
    # What another test left open, filled in or selected is forgotten.
    page.goto(page.url.partition("?")[0] + "?reset")
    lab_is_there(page)
    try:
        yield page
    finally:
        context.close()
    elsewhere = [url for url in foreign if not url.startswith(_LOCAL)]
    assert not (only_ours and elsewhere), elsewhere
    broken = [fault for fault in faults if "ResizeObserver" not in fault]
    assert not (only_ours and broken), broken


def sign_in(page: Page, federation: Federation, username: str) -> None:
    """Sign in at the hub and wait for JupyterLab."""
    log_in(page, federation, username)
    lab_is_there(page)


def log_in(page: Page, federation: Federation, username: str) -> None:
    """Sign in at the hub and wait for the user's server."""
    page.goto(f"{federation.hub_url}/hub/login")
    page.get_by_role("link", name="Sign in").or_(
        page.get_by_role("button", name="Sign in")
    ).first.click()
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(federation.passwords[username])
    page.keyboard.press("Enter")
    choose_server(page)
    expect(page.locator("#jupyter-config-data")).to_be_attached(timeout=180_000)


def choose_server(page: Page) -> None:
    """Take the server that is suggested, where there is a choice."""
    start = page.get_by_role("button", name="Start", exact=True)
    expect(start.or_(page.locator("#jupyter-config-data")).first).to_be_attached(timeout=180_000)
    if start.is_visible():
        start.click()


def lab_is_there(page: Page) -> None:
    """Wait until JupyterLab can be used."""
    expect(page.get_by_role("menuitem", name="File", exact=True)).to_be_visible(timeout=180_000)
    expect(page.locator(".jp-Notebook, .jp-Launcher, .cs-panel").first).to_be_visible(
        timeout=120_000
    )


def command(page: Page, label: str) -> None:
    """Run a command of JupyterLab by its name in the palette."""
    palette = page.locator(".lm-CommandPalette-input:visible")
    chosen = page.locator(".lm-CommandPalette-item.lm-mod-active:visible", has_text=label)
    for _ in range(_TRIES):
        if not palette.count():
            page.get_by_role("menuitem", name="View", exact=True).click()
            page.get_by_role("menuitem", name="Activate Command Palette").click()
        try:
            palette.fill(label, timeout=5_000)
            expect(chosen).to_have_count(1)
        except (PlaywrightTimeout, AssertionError):
            continue  # it closes when JupyterLab, still restoring, moves the focus
        page.keyboard.press("Enter")
        expect(palette).to_have_count(0)
        return
    raise AssertionError(f"JupyterLab's palette of commands does not offer {label}")


def open_panel(page: Page) -> Locator:
    """The panel in the main area, before all others there."""
    panel = page.locator("#cscale-panel")
    command(page, "C-SCALE panel")
    expect(panel.get_by_role("tablist", name="Views")).to_be_visible(timeout=60_000)
    return panel


def open_side_panel(page: Page) -> Locator:
    """The panel in the side bar."""
    command(page, "C-SCALE in the side bar")
    panel = page.locator("#cscale-side-panel")
    expect(panel.get_by_role("tablist", name="Views")).to_be_visible(timeout=60_000)
    return panel


def use_theme(page: Page, name: str) -> None:
    """``light``, ``dark`` or ``high-contrast``."""
    words = {
        "light": "JupyterLab Light",
        "dark": "JupyterLab Dark",
        "high-contrast": "JupyterLab Dark High Contrast",
    }[name]
    used = page.locator(f"body[data-jp-theme-name='{words}']")
    if used.count():
        return
    command(page, f"Use Theme: {words}")
    expect(used).to_be_attached()
    page.wait_for_timeout(500)  # colours fade over


def ask_server(page: Page, method: str, path: str, body: Any = None) -> Any:
    """Ask the user's server as a page of it does, below its address; what it answers."""
    status, text = page.evaluate(
        """async ([method, path, body]) => {
             const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
             const xsrf = /(?:^|; ?)_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
             const headers = {"X-XSRFToken": xsrf};
             const answer = await fetch(config.baseUrl + path, {method, headers, body});
             return [answer.status, await answer.text()];
           }""",
        [method, path, body if body is None or isinstance(body, str) else json.dumps(body)],
    )
    assert status < 300, f"{method} {path}: {status} {text[:500]}"
    return json.loads(text) if text else None


def catalogue_tab(panel: Locator, name: str) -> Locator:
    """One of the small tabs of the Catalogue view."""
    return panel.get_by_role("tablist", name="Parts of the catalogue").get_by_role("tab", name=name)


def empty_form(panel: Locator) -> None:
    """The form of the Catalogue view, with nothing in it."""
    catalogue_tab(panel, "Search").click()
    clear = panel.get_by_role("button", name="Clear", exact=True)
    if clear.is_enabled():
        clear.click()


def search_scenes(panel: Locator) -> None:
    """Ask for everything in the area of the simulated scenes, and wait for all of it."""
    page = panel.page
    empty_form(panel)
    panel.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Paste or type an area…").click()
    page.get_by_role("textbox", name="GeoJSON, WKT").fill(", ".join(map(str, simulate.BBOX)))
    page.get_by_role("button", name="Use this area").click()
    panel.get_by_role("checkbox", name="Simulated Sentinel-2 scenes").check()
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_text("that is all")).to_be_visible(timeout=60_000)


def keep_picture(page: Page, path: Path) -> None:
    """What the page shows, in 256 colours: small enough for the documentation."""
    with Image.open(BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)


def serious_violations(page: Page, within: str) -> list[str]:
    """What axe finds serious or worse, colours included."""
    page.evaluate((packages() / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads(
        page.evaluate(
            """async (within) => JSON.stringify(await axe.run(within, {
                 resultTypes: ["violations"], rules: {region: {enabled: false}}}))""",
            within,
        )
    )
    return [
        f"{violation['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
