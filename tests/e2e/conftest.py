"""The whole federation, started once for the session, and a researcher signed in to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cscale_cli.demo.session import HubSession
from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import ARGUMENTS, lab_page
from tests.e2e.slow_source import SlowSource, slow_source

REAL_SCENES = Path(__file__).parents[3] / "shared/data/sentinel2-l1c-slovenia"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack, and more time than a unit test."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.stack)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def slow_archive() -> Iterator[SlowSource]:
    """A file of an archive outside, half of which takes as long as a test wants."""
    with slow_source(24 * 2**20, 12 * 2**20) as running:
        yield running


@pytest.fixture(scope="session")
def federation(
    tmp_path_factory: pytest.TempPathFactory, slow_archive: SlowSource
) -> Iterator[Federation]:
    """The local federation with simulated scenes."""
    running = Federation(tmp_path_factory.mktemp("federation"), extra_hosts=(slow_archive.host,))
    running.start(print)
    try:
        yield running
    finally:
        running.stop(print)


@pytest.fixture(scope="session")
def researcher(federation: Federation) -> Iterator[HubSession]:
    """A member of the Aqua Monitor VO, signed in, server started."""
    with HubSession(federation.hub_url) as session:
        session.sign_in("aqua", federation.passwords["aqua"])
        session.start_server(print)
        yield session


@pytest.fixture(scope="session")
def real_scenes() -> Path:
    """The real Sentinel-2 scenes, where the folder is there."""
    if not REAL_SCENES.is_dir():
        pytest.skip(f"the folder of real scenes is not there: {REAL_SCENES.name}")
    return REAL_SCENES


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's path; Debian's package ``chromium``."""
    found = shutil.which("chromium")
    if not found:
        pytest.skip("install chromium (Debian) for the browser tests")
    return found


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ``CSCALE_SCREENSHOTS``, else a temporary folder."""
    folder = os.environ.get("CSCALE_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, which asks nobody for anything of its own."""
    expect.set_options(timeout=60_000)  # other programs may load the machine
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, federation: Federation) -> Iterator[Page]:
    """JupyterLab of a manager of the Aqua Monitor VO."""
    with lab_page(browser, federation, "aqua-manager") as opened:
        yield opened
