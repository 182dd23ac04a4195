"""The Shared view in JupyterLab: a notebook is published, looked at, opened and taken down."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.panel_pages import (
    ask_server,
    keep_picture,
    open_panel,
    serious_violations,
    use_theme,
)

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""


def notebook(source: str) -> dict[str, Any]:
    """A notebook with words, code, and a picture as its output."""
    drawn = io.BytesIO()
    Image.linear_gradient("L").resize((480, 270)).save(drawn, "PNG")
    picture = base64.b64encode(drawn.getvalue()).decode()
    words = "# Turbidity\n\nHow *clear* the lake is. <script>globalThis.hit = true</script>"
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": words},
            {
                "cell_type": "code",
                "id": "b",
                "metadata": {},
                "source": source,
                "outputs": [output],
                "execution_count": 1,
            },
        ],
    }


def save(page: Page, path: str, content: dict[str, Any]) -> None:
    """Put a notebook into the person's home, as JupyterLab saves one."""
    body = {"type": "notebook", "format": "json", "content": content}
    ask_server(page, "PUT", f"api/contents/{path}", body)


def publish(page: Page, name: str, title: str) -> None:
    page.get_by_role("button", name="Publish a notebook…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("searchbox", name="Notebook").fill(name)
    dialog.get_by_role("option", name=name).click()
    dialog.get_by_role("textbox", name="Title").fill(title)
    dialog.get_by_role("checkbox", name="Keep the outputs").check()
    dialog.get_by_role("button", name="Publish", exact=True).click()


def test_notebook_is_published_looked_at_opened_and_taken_down(
    page: Page, screenshots: Path
) -> None:
    key = "AKIA" + "QZ7WXN4TPLM2KVRD"
    ask_server(page, "PUT", "api/contents/lakes", {"type": "directory"})
    save(page, "lakes/turbidity_of_lakes.ipynb", notebook("print(clarity.mean())"))
    save(page, "secret.ipynb", notebook(f'aws_access_key_id = "{key}"'))
    panel = open_panel(page)
    panel.get_by_role("tab", name="Shared").click()
    publish(page, "secret.ipynb", "Not for others")
    expect(page.get_by_text("holds what looks like secrets")).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-shared-secrets.png")
    page.get_by_role("button", name="Cancel").click()

    page.get_by_role("button", name="Publish a notebook…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("option")).not_to_have_count(0, timeout=SLOW)
    dialog.get_by_role("option", name="turbidity").click()
    expect(dialog.get_by_role("textbox", name="Title")).to_have_value("Turbidity of lakes")
    dialog.get_by_role("checkbox", name="Keep the outputs").check()
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-shared-publish.png")
    dialog.get_by_role("button", name="Publish", exact=True).click()
    article = panel.get_by_role("article", name="Turbidity of lakes")
    expect(article).to_be_visible(timeout=SLOW)
    words = article.frame_locator("iframe").get_by_role("heading", name="Turbidity")
    expect(words).to_be_visible()
    assert page.evaluate("globalThis.hit") is None
    expect(article.get_by_role("img", name="Output 1 of cell 2")).to_be_visible()
    for theme in ("dark", "light"):
        use_theme(page, theme)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-shared-notebook-{theme}.png")
    article.get_by_role("button", name="Copy link").click()
    expect(panel.get_by_text("The link was copied.")).to_be_visible(timeout=SLOW)
    link = page.evaluate("navigator.clipboard.readText()")
    assert "/hub/user-redirect/" in link
    assert "Turbidity of lakes" in page.request.get(link).text()

    panel.get_by_role("button", name="All notebooks").click()
    card = panel.get_by_role("listitem").filter(has_text="Turbidity of lakes")
    expect(card.locator("img")).to_be_visible(timeout=SLOW)
    for theme in ("dark", "light"):
        use_theme(page, theme)
        expect(page.locator(".cs-notice")).to_have_count(0, timeout=SLOW)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-shared-gallery-{theme}.png")
    card.get_by_role("button").click()
    article.get_by_role("button", name="Open a copy").click()
    expect(page.locator(".jp-Notebook", has_text="clarity.mean")).to_be_visible(timeout=2 * SLOW)

    # The same title again is the next version; each can be looked at and taken down by itself.
    save(page, "lakes/turbidity_of_lakes.ipynb", notebook("print(clarity.median())"))
    panel = open_panel(page)
    panel.get_by_role("button", name="All notebooks").click()
    publish(page, "turbidity_of_lakes.ipynb", "Turbidity of lakes")
    version = article.get_by_label("Version", exact=True)
    expect(version.locator("option:checked")).to_have_text(re.compile("^Version 2"), timeout=SLOW)
    expect(article.get_by_text("clarity.median")).to_be_visible()
    version.select_option("1")
    expect(article.get_by_text("clarity.mean")).to_be_visible(timeout=SLOW)
    article.get_by_role("button", name="Take down…").click()
    page.get_by_role("dialog").get_by_role("button", name="Take version 1 down").click()
    expect(article.get_by_text("clarity.median")).to_be_visible(timeout=SLOW)
    expect(version).to_have_count(0)
    panel.get_by_role("button", name="All notebooks").click()
    search = panel.get_by_role("searchbox", name="Search in titles")
    search.fill("glaciers")
    expect(panel.get_by_text("No shared notebook fits")).to_be_visible(timeout=SLOW)
    search.fill("turbid")
    card.get_by_role("button").click(timeout=SLOW)
    article.get_by_role("button", name="Take down…").click()
    page.get_by_role("dialog").get_by_role("button", name="Take down").click()
    panel.get_by_role("button", name="Show all").click(timeout=SLOW)
    expect(panel.get_by_text("Nothing is shared yet")).to_be_visible(timeout=SLOW)
