"""The Storage view in JupyterLab, through a hub, a proxy, a browser and the object store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import rasterio
from playwright.sync_api import Page, expect
from rasterio.transform import from_bounds

from tests.e2e.panel_pages import (
    ask_server,
    keep_picture,
    lab_is_there,
    open_panel,
    open_side_panel,
    serious_violations,
    use_theme,
)

pytestmark = pytest.mark.browser

SLOW = 60_000
"""Milliseconds: other programs load the machine."""


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    """A COG of more than one piece of an upload, as random values do not become smaller."""
    path = tmp_path / "depth of the lake.tif"
    values = np.random.default_rng(1).random((1536, 1536), np.float32)
    values += np.linspace(0, 12, 1536, dtype=np.float32)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=1536,
        height=1536,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=from_bounds(14.0, 46.2, 14.4, 46.5, 1536, 1536),
        compress="DEFLATE",
    ) as file:
        file.write(values, 1)
    return path


def test_file_is_uploaded_shown_linked_and_deleted(
    page: Page, depth: Path, screenshots: Path
) -> None:
    """What comes in by the browser is read back through the link, byte for byte."""
    panel = open_panel(page)
    panel.get_by_role("tab", name="Storage").click()
    home = panel.get_by_role("listitem").filter(has_text="Your own folder").first
    expect(home.get_by_text("read and write")).to_be_visible(timeout=SLOW)
    # Whether it is mounted is told, and that depends on the machine.
    expect(home.get_by_text(re.compile("^(in the file system|not mounted)$"))).to_be_visible()
    home.get_by_role("button", name="Count what is in").click()
    expect(home.get_by_text("objects")).to_be_visible(timeout=SLOW)
    for theme in ("dark", "light"):
        use_theme(page, theme)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-storage-places-{theme}.png")
    home.get_by_role("button", name="Open").click()
    expect(panel.get_by_role("button", name="Upload…")).to_be_enabled(timeout=SLOW)
    panel.get_by_label("Files to upload").set_input_files(depth)
    expect(panel.get_by_text("1 file was uploaded")).to_be_visible(timeout=2 * SLOW)
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"First."}
    panel.get_by_label("Files to upload").set_input_files([note])
    expect(panel.get_by_text("2 files were uploaded")).to_be_visible(timeout=SLOW)
    panel.get_by_label("Files to upload").set_input_files([note | {"buffer": b"Second."}])
    uploads = panel.get_by_role("region", name="Uploads")
    expect(uploads.get_by_text("There is a file of this name already.")).to_be_visible(timeout=SLOW)
    uploads.get_by_role("button", name="Replace note.txt").click()
    expect(panel.get_by_text("3 files were uploaded")).to_be_visible(timeout=SLOW)
    uploads.get_by_role("button", name="Clear what is done").click()
    files = panel.get_by_role("listbox", name="What is in this folder").get_by_role("option")
    expect(files.filter(has_text="note.txt").filter(has_text="7 B")).to_be_visible(timeout=SLOW)
    panel.get_by_role("searchbox", name="Filter by name").fill("LAKE")
    expect(files).to_have_count(1)
    files.click()
    panel.get_by_role("searchbox", name="Filter by name").fill("")
    panel.get_by_role("button", name="Show on map").click()
    expect(panel.locator(".leaflet-rasters-pane img.leaflet-tile-loaded").first).to_be_visible(
        timeout=2 * SLOW
    )
    expect(panel.locator(".cs-legend")).to_be_visible(timeout=SLOW)
    for theme in ("dark", "light"):
        use_theme(page, theme)
        expect(panel.locator(".cs-object-map-busy")).to_have_count(0, timeout=SLOW)
        assert serious_violations(page, "#cscale-panel") == []
        keep_picture(page, screenshots / f"panel-storage-folder-{theme}.png")

    page.reload()
    lab_is_there(page)
    panel = page.locator("#cscale-panel")
    panel.get_by_role("option").filter(has_text=depth.name).click(timeout=SLOW)
    side = open_side_panel(page)
    side.get_by_role("tab", name="Storage").click()
    side.get_by_role("option").filter(has_text=depth.name).click(timeout=SLOW)
    assert serious_violations(page, "#cscale-side-panel") == []
    keep_picture(page, screenshots / "panel-storage-side-bar.png")

    panel.get_by_role("button", name="Make a link…").click()
    page.get_by_role("button", name="Make the link").click()
    link = page.get_by_role("textbox", name="The link")
    expect(link).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-storage-link.png")
    answer = page.request.get(link.input_value())
    assert answer.body() == depth.read_bytes()
    page.get_by_role("button", name="Copy the link").click()
    expect(panel.get_by_text("The link was copied.")).to_be_visible()

    panel.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(panel.get_by_role("option").filter(has_text=depth.name)).to_have_count(0, timeout=SLOW)


def test_folder_is_deleted_after_its_content_was_counted(page: Page, screenshots: Path) -> None:
    places = ask_server(page, "GET", "cscale/api/v1/storage/places")["places"]
    home = next(place for place in places if place["purpose"] == "home")
    for name in ("runs 2023/a.txt", "runs 2023/b.txt", "runs 2023/logs/c.txt", "runs 2024/d.txt"):
        upload(page, home["bucket"], home["prefix"] + name, "A line.")
    panel = open_panel(page)
    panel.get_by_role("tab", name="Storage").click()
    panel.get_by_role("button", name="Open Your own folder").click()
    panel.get_by_role("option").filter(has_text="runs 2023/").click()
    panel.get_by_role("button", name="Delete this folder…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("In it: 3 files")).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-storage-delete-folder.png")
    dialog.get_by_role("button", name="Delete 3 files").click()
    deletions = panel.get_by_role("region", name="Deletions")
    expect(deletions.get_by_text("Deleted, with 3 files")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_role("option").filter(has_text="runs 2023/")).to_have_count(0)
    expect(panel.get_by_role("option").filter(has_text="runs 2024/")).to_be_visible()
    assert serious_violations(page, "#cscale-panel") == []
    left = ask_server(page, "GET", f"cscale/api/v1/storage/objects?{urlencode(of(home))}")
    # Other tests have folders there, too.
    assert f"{home['prefix']}runs 2024/" in left["folders"]
    assert f"{home['prefix']}runs 2023/" not in left["folders"]


def of(place: dict[str, Any]) -> dict[str, str]:
    return {"bucket": place["bucket"], "prefix": place["prefix"]}


def upload(page: Page, bucket: str, key: str, text: str) -> None:
    uploads = "cscale/api/v1/storage/uploads"
    begun = ask_server(page, "POST", uploads, {"bucket": bucket, "key": key, "size": len(text)})
    ask_server(page, "PUT", f"{uploads}/{begun['id']}?at=0", text)
    ask_server(page, "POST", f"{uploads}/{begun['id']}/complete")
