"""The panel outside JupyterLab: in a cell of Notebook 7, and in a page of Voila.

In both the cell is given the same module as JupyterLab. In Voila it is also seen without a server
within reach of the page, as in VS Code: the kernel asks for it then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import search_scenes, serious_violations, sign_in
from tests.waiting import until

pytestmark = pytest.mark.browser

USER = "both"
SLOW = 120_000
CODE = "from cscale_widget import Panel\n\nPanel(height=700)"
# What runs of ours in such a page: the module in a cell, the extension, the module it loads.
OURS = ("blob:", "cscale")
# Voila's own page asks for icons and formulas there; it does without.
OF_VOILA = (
    "https://cdn.jsdelivr.net/npm/@fortawesome/",
    "https://cdnjs.cloudflare.com/ajax/libs/mathjax/",
)
LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")

_WRITE = """async ([name, source]) => {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const xsrf = /(?:^|; ?)_xsrf=([^;]*)/.exec(document.cookie)[1];
  const empty = {metadata: {}, outputs: [], execution_count: null};
  const cell = {cell_type: "code", id: "panel", source, ...empty};
  const kernelspec = {name: "python3", display_name: "Python 3 (ipykernel)", language: "python"};
  const content = {cells: [cell], metadata: {kernelspec}, nbformat: 4, nbformat_minor: 5};
  const answer = await fetch(`${config.baseUrl}api/contents/${name}`, {
    method: "PUT",
    headers: {"X-XSRFToken": xsrf, "Content-Type": "application/json"},
    body: JSON.stringify({type: "notebook", format: "json", content}),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return new URL(config.baseUrl, location.href).href;
}"""


@pytest.fixture
def page(browser: Browser, federation: Federation) -> Iterator[Page]:
    """A page of a signed-in user, whose JupyterLab is open."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    foreign: list[str] = []
    faults: list[str] = []
    opened.on("request", lambda request: foreign.append(request.url))
    opened.on("pageerror", lambda error: faults.append(f"{error}\n{error.stack}"))
    sign_in(opened, federation, USER)
    try:
        yield opened
    finally:
        context.close()
    assert [url for url in foreign if not url.startswith((*LOCAL, *OF_VOILA))] == []
    assert [fault for fault in faults if any(word in fault for word in OURS)] == []


def notebook(page: Page, name: str) -> str:
    """Write a notebook whose one cell shows the panel; gives the address of the user's server."""
    written: str = page.evaluate(_WRITE, [name, CODE])
    return written


def run_first_cell(page: Page) -> Locator:
    """Run the one cell of the notebook that Notebook 7 shows; gives the panel in it.

    What is run before there is a kernel is forgotten, and Notebook 7 does not show whether there
    is one: it is run again until it is not forgotten.
    """
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first

    def run() -> str:
        prompt.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1_000)
        return prompt.inner_text()

    until(run, "a cell that runs", fits=re.compile(r"\[(\*|\d+)\]").search, pause=2)
    return there(page.locator(".jp-OutputArea .cs-panel"))


def there(panel: Locator) -> Locator:
    expect(panel.get_by_role("tablist", name="Views")).to_be_visible(timeout=SLOW)
    return panel


def view(panel: Locator, name: str) -> None:
    panel.get_by_role("tablist", name="Views").get_by_role("tab", name=name).click()


def stage_one(panel: Locator, job: str) -> None:
    """Search, select an item, bring it into the bucket; the job is seen to its end in the list."""
    page = panel.page
    search_scenes(panel)
    panel.locator(".cs-tick").first.click()
    expect(panel.get_by_text("1 selected")).to_be_visible()
    expect(panel.locator(".cs-thumbnail img").first).to_be_visible(timeout=SLOW)
    view(panel, "Staging")
    panel.get_by_role("button", name="Stage the selected item…").click()
    expect(page.get_by_text("To be fetched:")).to_be_visible(timeout=SLOW)
    page.get_by_role("textbox", name="Name of the job").fill(job)
    page.get_by_role("dialog").get_by_role("button", name="Stage").last.click()
    view(panel, "Jobs")
    listed = panel.get_by_role("option", name=job)
    expect(listed).to_be_visible(timeout=SLOW)
    expect(listed.get_by_text("Finished")).to_be_visible(timeout=SLOW)


def test_search_and_job_in_notebook_7_and_where_it_was_after_a_reload(
    page: Page, screenshots: Path
) -> None:
    root = notebook(page, "In notebook 7.ipynb")
    page.goto(f"{root}notebooks/In notebook 7.ipynb")
    panel = run_first_cell(page)
    stage_one(panel, "Staged in Notebook 7")
    assert serious_violations(page, ".jp-OutputArea .cs-panel") == []
    view(panel, "Catalogue")
    page.screenshot(path=screenshots / "panel-notebook-7.png")
    page.wait_for_timeout(4_000)  # what is kept is written after a moment
    page.reload()
    panel = run_first_cell(page)
    expect(panel.get_by_text("1 selected")).to_be_visible(timeout=SLOW)
    view(panel, "Jobs")
    expect(panel.get_by_role("option", name="Staged in Notebook 7")).to_be_visible(timeout=SLOW)


@pytest.mark.parametrize("server", ["reached", "out of reach"])
def test_search_and_job_in_voila(page: Page, screenshots: Path, server: str) -> None:
    name = f"Server {server}.ipynb"
    root = notebook(page, name)
    asked: list[str] = []
    if server == "reached":
        page.on("request", lambda request: asked.append(request.url))
    else:
        page.route("**/cscale/api/v1/**", lambda route: route.abort())
    page.goto(f"{root}voila/render/{name}")
    panel = there(page.locator(".cs-panel"))
    stage_one(panel, f"Staged in Voila, server {server}")
    assert serious_violations(page, ".cs-panel") == []
    view(panel, "Catalogue")
    if server == "reached":
        assert [url for url in asked if "/cscale/api/v1/catalog/search" in url]
        # JupyterLab tells of jobs that have ended; here it would be told to nobody.
        assert [url for url in asked if "/cscale/api/v1/notices" in url] == []
        page.screenshot(path=screenshots / "panel-voila.png")
