"""What the panel is measured in: a hub with an archive, a researcher with jobs, a browser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.archives.running import archives
from cscale_cli.demo.session import HubSession
from cscale_core.jobs.model import JobSpec, JobStatus, utc_now
from cscale_core.jobs.store import JobStore
from cscale_hub.local.lifecycle import Federation
from tests.e2e.panel_pages import ARGUMENTS, lab_page

ITEMS = 10_000
PAGE = 2_000
"""Items asked for at once: the most that the settings of the panel allow."""

JOBS = 1_000
OTHER_ARCHIVES = ("Community catalogue", "Archive of site B", "Archive of site C (down)")
"""Those that every local hub has; two of them do not run."""

_USER = "aqua-manager"
GRAPH = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}


@dataclass(frozen=True)
class World:
    """The parts that are measured with."""

    federation: Federation
    session: HubSession
    browser: Browser

    @contextmanager
    def lab(self) -> Iterator[Page]:
        """JupyterLab in a browser that has loaded nothing of it before."""
        with lab_page(self.browser, self.federation, _USER, only_ours=False) as page:
            yield page


def title_of(job: int) -> str:
    """The title of a job by its number; the highest number is the newest."""
    return f"Water of tile {job:04}"


def _fill(file: Path) -> None:
    """Write ended jobs as a year of work leaves them."""
    store = JobStore(file)
    store.open()
    now = utc_now()
    for number in range(JOBS):
        spec = JobSpec(
            engine="openeo",
            title=title_of(number),
            backend="elsewhere",
            process={"process_graph": GRAPH},
        )
        job, _ = store.create(spec)
        status = JobStatus.ERROR if number % 9 == 4 else JobStatus.FINISHED
        made = now - timedelta(hours=8 * (JOBS - number))
        store.update(job.id, created=made, status=status, message="")
    store.close()


def _settled(session: HubSession) -> Path:
    """Set the panel as a person does who wants many items at once; where the list of jobs is."""
    code = f"""
from pathlib import Path
from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir

folder = Path(jupyter_config_dir(), "lab/user-settings/cscale-panel")
folder.mkdir(parents=True, exist_ok=True)
(folder / "panel.jupyterlab-settings").write_text('{{"pageSize": {PAGE}}}')
print(Path(jupyter_data_dir(), "cscale/jobs.sqlite"))
"""
    return Path(session.run_in_kernel(code).strip())


@contextmanager
def world(progress: Callable[[str], None]) -> Iterator[World]:
    """Everything, started, and stopped afterwards."""
    chromium = shutil.which("chromium")
    if not chromium:
        raise RuntimeError("Chromium is missing; install Debian's package chromium")
    with (
        tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder,
        archives(1, items=ITEMS, page=PAGE) as urls,
    ):
        (empty := Path(folder, "empty")).mkdir()
        provider = {
            "id": "measured",
            "title": "Archive to measure with",
            "url": urls[0],
            "limit": PAGE,
        }
        federation = Federation(
            Path(folder, "data"),
            archive_root=empty,
            extra_providers=[provider],
            extra_hosts=[urls[0].removeprefix("http://")],
            without=("site-b", "mqs", "openeo", "slurm"),
            settings={"catalogue": {"backend": "sqlite"}},
        )
        progress("Starting a hub")
        federation.start()
        try:
            with HubSession(federation.hub_url) as session, sync_playwright() as playwright:
                session.sign_in(_USER, federation.passwords[_USER])
                session.start_server(progress)
                progress(f"Writing {JOBS} jobs")
                _fill(_settled(session))
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                yield World(federation, session, browser)
                browser.close()
        finally:
            progress("Stopping the hub")
            federation.stop()
