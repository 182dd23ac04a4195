"""What is seen of jobs: a bar on a terminal, lines in a file, HTML in a notebook."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from cscale_core.client import Job, Jobs, JobTable, map_jobs, screens
from cscale_core.client.connection import Connection
from cscale_core.client.waiting import JobScene
from tests.core.client.played_server import ROOT, PlayedServer, play
from tests.core.client.server_process import TOKEN
from tests.core.client.test_client_map import builder
from tests.waiting import until

SCRIPT = """
    import sys, httpx
    from cscale_core.client import Workspace
    http = httpx.Client(headers={"Authorization": "token " + sys.argv[2]}, trust_env=False)
    Workspace(sys.argv[1], http).jobs[sys.argv[3]].wait()
"""


class Terminal:
    """A program in a pseudo terminal of 100 columns."""

    def __init__(self, *command: str) -> None:
        self.shown = ""
        self._master, inner = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=inner, stdout=inner, stderr=inner
        )
        os.close(inner)

    def read(self, seconds: float = 0.2) -> str:
        """Everything so far, without what a terminal obeys."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            try:
                self.shown += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                break  # the program has ended
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def watched(server: PlayedServer, job: Job) -> Terminal:
    script = textwrap.dedent(SCRIPT)
    return Terminal(sys.executable, "-c", script, server.url, TOKEN, job.id)


def test_a_bar_on_a_terminal_is_interrupted_and_attached_to_again(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit("openeo", play(hold="bar", progress=0.33), title="Bar \x1b]0;evil\x07")
    first = watched(server, job)
    try:
        until(first.read, "the progress", fits=lambda shown: "33%" in shown)
        assert "running" in first.read()
        assert "1 of 3 files, 1.0 MiB of 3.0 MiB" in first.read()
        first.process.send_signal(signal.SIGINT)
        attach = f'jobs["{job.id}"].wait()'
        until(first.read, "how to attach again", fits=lambda shown: attach in shown)
        assert "\x1b]0;" not in first.shown
    finally:
        first.close()
    assert not jobs[job.id].ended
    second = watched(server, job)
    try:
        until(second.read, "the progress, again", fits=lambda shown: "33%" in shown)
        server.release("bar")
        until(second.read, "the end", fits=lambda shown: "finished" in shown)
        assert second.process.wait(30) == 0
    finally:
        second.close()


def test_progress_that_is_not_known_is_not_called_nought(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="unknown"), title="Unknown")
    terminal = watched(server, job)
    try:
        until(terminal.read, "the status", fits=lambda shown: "running" in shown)
        assert "progress unknown" in terminal.read()
        assert "0%" not in terminal.read()
        assert "unknown" in job.refresh()._repr_html_()
        assert "0%" not in re.sub(r'style="[^"]*"', "", job._repr_html_())
        server.release("unknown")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()


def test_without_a_terminal_there_is_a_line_for_what_happens(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.submit("openeo", play(), title="Lines").wait()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("Lines: finished")
    assert len(lines) == len(set(lines)) <= 6


class Kernel(InteractiveShell):
    """IPython as it is in a notebook's kernel."""

    kernel = object()


@pytest.fixture
def notebook() -> Any:
    shell = Kernel.instance()
    yield shell
    Kernel.clear_instance()


def test_in_a_notebook_one_output_replaces_itself(
    notebook: Any, jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit("openeo", play(hold="cell", progress=0.5), title="<script>alert(1)</script>")
    timer = threading.Timer(1.5, server.release, ["cell"])
    timer.start()
    with capture_output() as captured:
        assert screens.in_notebook()
        job.wait()
    pages = [output.data["text/html"] for output in captured.outputs]
    assert "finished" in pages[-1]
    assert len(pages) > 1
    assert len({output.transient["display_id"] for output in captured.outputs}) == 1
    assert [output.update for output in captured.outputs][:2] == [False, True]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_attaching_to_an_ended_job_shows_it_once(notebook: Any, jobs: Jobs) -> None:
    job = jobs.submit("openeo", play(), title="Over").wait(progress=False)
    with capture_output() as captured:
        jobs[job.id].wait()
    assert len(captured.outputs) == 1


class Page(HTMLParser):
    """What a piece of HTML is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


def evil_job() -> Job:
    document = {
        "id": f"j-{EVIL}",
        "revision": 1,
        "spec": {"engine": "openeo", "title": EVIL, "backend": EVIL, "process": {}},
        "status": "error",
        "progress": None,
        "message": EVIL,
        "created": "2024-01-01T00:00:00Z",
        "updated": "2024-01-01T00:00:00Z",
        "ended": "2024-01-02T00:00:00Z",
        "phases": [],
        "error": {"code": "x", "message": EVIL, "hint": EVIL},
        "cloned_from": EVIL,
    }
    return Job(Connection("http://127.0.0.1:9", None), document)  # type: ignore[arg-type]


def test_html_is_self_contained_and_foreign_text_stays_text(jobs: Jobs) -> None:
    from cscale_core.client import html

    job = evil_job()
    item = {"id": EVIL, "assets": {EVIL: {"href": f"https://x/{EVIL}?sig=secret", "title": EVIL}}}
    for text in (
        job._repr_html_(),
        JobTable([job])._repr_html_(),
        html.result_table([item]),
        html.map_card(EVIL, [("error", 1)], [(EVIL, "error", EVIL, EVIL)], [EVIL]),
        JobScene(job, EVIL).html(),
    ):
        page = Page(text)
        assert page.tags <= {
            *("div", "span", "b", "code", "table", "thead", "tbody", "tr", "th", "td")
        }
        assert page.attributes == {"style"}
        assert "secret" not in text
        assert "url(" not in text


def test_lists_results_and_maps_are_shown(jobs: Jobs) -> None:
    mapped = map_jobs(builder(), [0, 0, 2, 1], grid=1, name="Shown", jobs=jobs, progress=False)
    for shown in (jobs, jobs.list(), mapped, mapped.tiles[0].job, mapped.tiles[0].job.results()):
        Page(shown._repr_html_())
    assert "Shown: N0E0" in jobs._repr_html_()
    assert "2 finished" in mapped._repr_html_()
    assert "No jobs" in JobTable([])._repr_html_()
