"""The login in a real browser: content security policy, keyboard, light and dark."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode

import pytest

pytestmark = pytest.mark.browser

PAGE = b"<!doctype html><title>client</title><p>arrived"


class Callback(BaseHTTPRequestHandler):
    """The redirect URI of the client."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def callback() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Callback)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/callback"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="install the extra test")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_login_by_keyboard_reaches_the_client(make_issuer, chromium, callback, pkce, scheme):
    issuer = make_issuer()
    hub = issuer.settings["clients"][0]
    hub["redirect_uris"] = [callback]
    issuer.configure()
    issuer.start()
    query = {
        "client_id": "cscale-hub",
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid profile",
        **pkce.parameters(),
    }
    page = chromium.new_page(color_scheme=scheme, java_script_enabled=False)
    page.set_default_timeout(120_000)  # a loaded machine starts Chromium slowly
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.goto(f"{issuer.url('auth')}?{urlencode(query)}")
    if folder := os.environ.get("CSCALE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/issuer-login-{scheme}.png", full_page=True)

    page.locator("#username:focus").wait_for()
    page.keyboard.type("aqua")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("wrong").wait_for()
    if folder := os.environ.get("CSCALE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/issuer-wrong-{scheme}.png", full_page=True)

    page.locator("#password:focus").wait_for()
    page.keyboard.type(issuer.passwords["aqua"])
    page.keyboard.press("Enter")
    page.get_by_text("arrived").wait_for()
    assert page.url.startswith(f"{callback}?code=")
    assert not [line for line in console if "Content Security Policy" in line]
    page.close()
