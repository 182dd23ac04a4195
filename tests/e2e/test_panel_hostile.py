"""Places that are others', in a real browser: their words show as text, and nothing else happens.

What a page must stand of a catalogue is in :mod:`tests.e2e.hostile_archive`; of places where jobs
run, in :mod:`tests.e2e.foreign_places`. They belong to a hub of their own, so that everything goes
the way it goes for a researcher: hub, proxy, server extension, panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cscale_hub.local.lifecycle import Federation
from tests.e2e.foreign_places import PROCESS, ForeignPlaces, foreign_places
from tests.e2e.hostile_archive import HONEST, HostileArchive, hostile_archive, mark
from tests.e2e.panel_pages import (
    catalogue_tab,
    empty_form,
    keep_picture,
    lab_page,
    open_panel,
    serious_violations,
)

pytestmark = pytest.mark.browser

USER = "aqua-manager"
SLOW = 60_000
MOST_TEXT = 400_000
"""Characters in the panel: what archives said would be many millions."""
MOST_NODES = 20_000

# Whatever could run, could be followed, or came from markup.
WHAT_RUNS = """(panel) => {
  const found = [];
  for (const element of panel.querySelectorAll("*")) {
    if (/^(script|iframe|object|embed|base|link|meta)$/i.test(element.tagName)) {
      found.push(element.outerHTML.slice(0, 200));
    }
    for (const {name, value} of element.attributes) {
      const address = /^(href|src|action|formaction|xlink:href)$/i.test(name);
      if (/^on/i.test(name)) found.push(`${element.tagName} ${name}`);
      if (address && !/^(https?:|blob:)/.test(value)) found.push(`${name}=${value.slice(0, 100)}`);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def archive() -> Iterator[HostileArchive]:
    with hostile_archive() as running:
        yield running


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignPlaces]:
    with foreign_places(tmp_path_factory.mktemp("places")) as running:
        yield running


@pytest.fixture(scope="module")
def hub(
    archive: HostileArchive, places: ForeignPlaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    """A hub that asks others' archive and places, with no more services than that needs."""
    folder = tmp_path_factory.mktemp("hostile")
    with Federation(
        folder / "data",
        archive_root=folder,
        extra_providers=archive.providers(),
        extra_hosts=[archive.host, places.host],
        without=("site-b", "mqs", "openeo", "slurm"),
        settings={"catalogue": {"backend": "sqlite"}, **places.settings()},
    ) as running:
        places.back_end.switches.issuer = running.settings.identity.issuer
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, hub: Federation, archive: HostileArchive) -> Iterator[Page]:
    """JupyterLab; in the end nothing has run, and nobody but the hub was asked by the browser."""
    with lab_page(browser, hub, USER) as opened:
        asked: list[str] = []
        dialogs: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        yield opened
        assert opened.evaluate("window.hurt") is None
        assert opened.evaluate("({}).polluted") is None
        assert dialogs == []
        assert [url for url in asked if archive.host in url.partition("?")[0]] == []
        assert archive.hurt == []


@pytest.fixture
def panel(page: Page) -> Locator:
    return open_panel(page)


def nothing_runs(panel: Locator) -> None:
    """Text is text, links lead to the web, and the page is of a size that can be used."""
    assert panel.evaluate(WHAT_RUNS) == []
    size: dict[str, Any] = panel.evaluate(
        "(panel) => ({text: panel.textContent.length, nodes: panel.querySelectorAll('*').length})"
    )
    assert size["text"] < MOST_TEXT
    assert size["nodes"] < MOST_NODES
    assert panel.page.evaluate("window.hurt") is None


def search_hostile(panel: Locator) -> None:
    """Everything the two extra archives have."""
    empty_form(panel)
    for title in ("Archive of site B", "Archive of site C (down)"):
        panel.get_by_role("checkbox", name=title).uncheck()
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(panel.get_by_role("button", name="How each archive did")).to_be_visible(timeout=SLOW)
    expect(panel.get_by_role("button", name="Stop", exact=True)).to_have_count(0, timeout=SLOW)


def test_form_shows_what_archives_call_things_as_text(panel: Locator, page: Page) -> None:
    catalogue_tab(panel, "Search").click()
    archive_box = panel.get_by_role("checkbox", name=mark("archive"))
    expect(archive_box).to_be_visible(timeout=SLOW)
    panel.get_by_role("button", name="Add", exact=True).click()
    condition = panel.get_by_role("group", name="Condition 1")
    choice = condition.get_by_role("combobox", name="Property")
    expect(choice.locator("option", has_text="window.hurt").first).to_be_attached(timeout=SLOW)
    choice.select_option("choice")
    value = condition.get_by_role("combobox", name="Value")
    value.select_option(index=1)
    nothing_runs(panel)
    assert serious_violations(page, "#cscale-panel") == []


def test_every_item_can_be_looked_at(
    panel: Locator, page: Page, archive: HostileArchive, screenshots: Path
) -> None:
    search_hostile(panel)
    count = int(catalogue_tab(panel, "Results").locator(".cs-tab-badge").inner_text())
    assert count >= len(archive.ids) - 3, "items were refused that should be shown as they are"
    panel.get_by_role("button", name="How each archive did").click()
    expect(panel.get_by_text("An archive that is broken").first).to_be_visible()
    nothing_runs(panel)
    panel.get_by_role("button", name="Hide how each archive did").click()
    listbox = panel.get_by_role("listbox", name="Results")
    details = panel.locator(".cs-details")
    seen = []
    for _ in range(count):
        listbox.focus()
        page.keyboard.press("ArrowDown" if seen else "Home")
        page.keyboard.press("Enter")
        expect(details).to_be_visible()
        expect(details.get_by_role("region", name="Properties")).to_be_visible(timeout=SLOW)
        seen.append(details.get_attribute("aria-label"))
        files = details.locator("li > details")
        files.evaluate_all("(all) => all.slice(0, 8).forEach((file) => (file.open = true))")
        nothing_runs(panel)
        if seen[-1] == mark("id"):
            assert serious_violations(page, "#cscale-panel") == []
            keep_picture(page, screenshots / "panel-hostile.png")
        details.get_by_role("button", name="Back to the list").click()
    assert len(set(seen)) == count
    assert {HONEST, mark("id"), "HUGE_OUTLINE", "LONG_TEXTS", "ADDRESSES"} <= set(seen)


def test_page_is_as_usable_as_before(panel: Locator, page: Page) -> None:
    """The map moves, items are selected and handed on, and the next search is as any."""
    search_hostile(panel)
    panel.get_by_role("button", name="All", exact=True).click()
    expect(panel.get_by_text("selected", exact=False).first).to_be_visible()
    panel.get_by_role("button", name="Show all results").click()
    panel.get_by_role("application", name="Map").hover()
    page.mouse.wheel(0, -400)
    panel.get_by_role("button", name="Load in notebook").click()
    page.get_by_role("menuitem", name="GDAL").click()
    expect(panel.get_by_text("no raster that all of it shares")).to_be_visible(timeout=SLOW)
    panel.get_by_role("button", name="Close this message").click()
    nothing_runs(panel)
    panel.get_by_role("button", name="Select none", exact=True).click()
    catalogue_tab(panel, "Search").click()
    panel.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Paste or type an area…").click()
    page.get_by_role("textbox", name="GeoJSON, WKT").fill("-60, -60, -59, -59")
    page.get_by_role("button", name="Use this area").click()
    panel.get_by_role("button", name="Search", exact=True).click()
    expect(
        panel.get_by_role("listbox", name="Results")
        .or_(panel.get_by_text("Nothing was found"))
        .first
    ).to_be_visible(timeout=SLOW)


def new_job(panel: Locator, kind: str) -> None:
    panel.get_by_role("tablist", name="Views").get_by_role("tab", name="Jobs").click()
    panel.get_by_role("button", name="New job").first.click()
    panel.get_by_role("tablist", name="Kinds of jobs").get_by_role("tab", name=kind).click()


def test_back_end_is_signed_in_to_by_a_code_and_gives_its_processes(
    panel: Locator, page: Page, screenshots: Path
) -> None:
    new_job(panel, "Process graph")
    where = panel.get_by_role("group", name="Where it runs")
    expect(where.get_by_text("does not answer")).to_be_visible(timeout=SLOW)
    expect(where.get_by_text("a web page came instead of an answer")).to_be_visible()
    expect(where.get_by_text("Your login at the hub is used there.")).to_be_visible()
    where.get_by_role("radio", name="Back end of elsewhere").check()
    where.get_by_role("button", name="Sign in…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Begin to sign in").click()
    expect(dialog.get_by_text("Waiting for you")).to_be_visible(timeout=SLOW)
    assert serious_violations(page, "dialog[open]") == []
    keep_picture(page, screenshots / "panel-jobs-sign-in.png")
    with page.context.expect_page() as opened:
        dialog.get_by_role("link").click()
    opened.value.get_by_role("button", name="Connect").click()
    expect(opened.value.get_by_text("Your device is connected")).to_be_visible(timeout=SLOW)
    opened.value.close()
    expect(dialog.get_by_text("You are signed in.")).to_be_visible(timeout=SLOW)
    dialog.get_by_role("button", name="Close").last.click()
    panel.get_by_label("A process that you keep there").select_option(PROCESS, timeout=SLOW)
    expect(panel.get_by_text("rare uses turbidity, which this back end does")).to_be_visible()
    expect(panel.get_by_role("cell", name="turbidity")).to_be_visible()
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text(mark("fault"))).to_be_visible(timeout=SLOW)
    nothing_runs(panel)
    assert serious_violations(page, "#cscale-panel") == []


def test_application_that_fits_no_node_is_told_before_it_is_started(
    panel: Locator, page: Page, screenshots: Path
) -> None:
    new_job(panel, "Spark application")
    panel.get_by_role("textbox", name="Script").fill("s3://aquamonitor/shared/tiles.py")
    sizes = panel.get_by_role("group", name="Size")
    large = sizes.locator("label").filter(has=page.get_by_role("radio", name="large"))
    expect(large.get_by_text("does not fit", exact=True)).to_be_visible(timeout=SLOW)
    large.get_by_role("radio").check()
    panel.get_by_role("button", name="Check and estimate").click()
    expect(panel.get_by_text("the largest node has 8g").last).to_be_visible(timeout=SLOW)
    expect(panel.get_by_text("executor_memory of at most").last).to_be_visible()
    assert serious_violations(page, "#cscale-panel") == []
    keep_picture(page, screenshots / "panel-jobs-size.png")
    sizes.get_by_role("radio", name="small").check()
    panel.get_by_role("button", name="Check and estimate").click()
    told = panel.get_by_role("status").filter(has_text="Nothing is wrong with it")
    expect(told.get_by_text("fits a node").first).to_be_visible(timeout=SLOW)
    nothing_runs(panel)
