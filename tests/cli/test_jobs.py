"""``cscale jobs`` against a real server whose engines play, directly and through a hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from click.testing import Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from cscale_cli.jobs.table import Row, job_table
from cscale_cli.main import GROUP, build
from cscale_core.client import Jobs
from tests.core.client.played_server import ROOT, PlayedServer, free_port_of, play
from tests.core.client.server_process import TOKEN
from tests.waiting import until

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedServer]:
    started = PlayedServer(tmp_path_factory.mktemp("server"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def jobs(server: PlayedServer) -> Jobs:
    return server.workspace().jobs


@pytest.fixture
def inside(server: PlayedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell is in a terminal of the server."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", server.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", TOKEN)


def cscale(*arguments: str, **options: Any) -> Result:
    own = EntryPoint("jobs", "cscale_cli.jobs.command:register", GROUP)
    other = EntryPoint("local", "cscale_hub.local.commands:register", GROUP)
    return RUNNER.invoke(build([own, other]), ["jobs", *arguments], **options)


def a_file(folder: Path, content: Any) -> str:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("inside")
def test_submit_wait_show_and_results(tmp_path: Path, jobs: Jobs) -> None:
    spec = {"engine": "spark", "title": "From a file", "process": {"play": {"says": ["hello"]}}}
    made = cscale("submit", a_file(tmp_path, spec), "--wait")
    assert made.exit_code == 0, made.output
    job_id = made.stdout.split()[0]
    assert jobs[job_id].status == "finished"
    shown = cscale("show", job_id)
    assert "From a file" in shown.stdout
    assert "spark at near" in shown.stdout
    found = cscale("results", job_id)
    assert f"https://backend.example/{job_id}/change.tif" in found.stdout
    assert json.loads(cscale("results", job_id, "--json").stdout)["features"][0]["assets"]
    assert "hello" in cscale("logs", job_id).stdout


@pytest.mark.usefixtures("inside")
def test_a_process_graph_from_standard_input_is_a_job_that_saves(jobs: Jobs) -> None:
    graph = {"one": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    made = cscale("submit", "-", "--title", "Piped", "--json", input=json.dumps(graph))
    assert made.exit_code == 0, made.output
    spec = json.loads(made.stdout)["spec"]
    assert (spec["engine"], spec["title"]) == ("openeo", "Piped")
    assert "save_result" in json.dumps(spec["process"])


@pytest.mark.usefixtures("inside")
def test_the_list_is_whole_and_plain_in_a_pipe(jobs: Jobs) -> None:
    title = "A very long title that no terminal of eighty columns has a place for \x1b[31m[red]"
    job = jobs.submit("openeo", play(), title=title).wait(progress=False)
    result = cscale("list", "--search", "no terminal of eighty")
    assert result.exit_code == 0
    head, line, *rest = result.stdout.splitlines()
    assert head.split()[:3] == ["id", "status", "progress"]
    assert rest == []
    assert line.startswith(job.id)
    assert "a place for �[31m[red]" in line
    assert "openeo at near" in line
    assert "\x1b" not in result.stdout
    (listed,) = json.loads(cscale("list", "--search", "no terminal", "--json").stdout)
    assert (listed["id"], listed["status"]) == (job.id, "finished")
    assert "process" not in listed["spec"]


@pytest.mark.usefixtures("inside")
def test_the_beginning_of_an_id_is_enough_where_only_one_has_it(jobs: Jobs) -> None:
    jobs.submit("openeo", play(), title="One").wait(progress=False)
    job = jobs.submit("openeo", play(), title="Other").wait(progress=False)
    assert job.id in cscale("show", job.id[:-1]).stdout
    assert job.id in cscale("show", job.id.removeprefix("j-")).stdout
    assert job.id in cscale("show", "last").stdout
    several = cscale("show", "j-")
    assert several.exit_code == 2
    assert "Type more of it" in several.output
    nobody = cscale("show", "x-nobody", "--json")
    assert nobody.exit_code == 1
    assert json.loads(nobody.stdout)["code"] == "not_found"


@pytest.mark.usefixtures("inside")
def test_a_failure_is_explained_and_the_clone_takes_the_suggestion(
    tmp_path: Path, jobs: Jobs
) -> None:
    spec = {"engine": "openeo", "title": "Small", "process": play(fails=1)}
    made = cscale("submit", a_file(tmp_path, spec), "--wait")
    assert made.exit_code == 1
    assert "ran out of memory" in made.output
    assert "Set memory to 1." in made.output
    job_id = made.stdout.split()[0]
    assert "Set memory to 1." in cscale("show", job_id).stdout
    assert cscale("results", job_id).exit_code == 1
    again = cscale("clone", job_id, "--suggested", "-o", "queue=long", "--wait", "--json")
    assert again.exit_code == 0, again.output
    document = json.loads(again.stdout)
    assert document["spec"]["options"] == {"memory": 1, "queue": "long"}
    assert document["cloned_from"] == job_id


@pytest.mark.usefixtures("inside")
def test_pause_resume_cancel_publish_and_delete(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="cli"), title="Acts")
    until(lambda: job.refresh().status == "running", "a running job")
    assert cscale("pause", job.id).exit_code == 0
    until(lambda: job.refresh().status == "paused", "a paused job")
    refused = cscale("delete", job.id)
    assert refused.exit_code == 1
    assert cscale("resume", job.id).exit_code == 0
    server.release("cli")
    job.wait(progress=False)
    published = cscale("publish", job.id, "--wait")
    assert published.exit_code == 0, published.output
    assert jobs[published.stdout.split()[0]].engine == "staging"
    assert cscale("cancel", job.id).exit_code == 1
    assert cscale("delete", job.id).exit_code == 0
    assert cscale("show", job.id).exit_code == 1


@pytest.mark.usefixtures("inside")
def test_back_ends_and_estimates(tmp_path: Path) -> None:
    shown = cscale("backends")
    assert "✓ near" in shown.stdout
    assert "✗ down" in shown.stdout
    assert "It is being repaired." in shown.stdout
    assert {each["id"] for each in json.loads(cscale("backends", "--json").stdout)} >= {"far"}
    file = a_file(tmp_path, {"engine": "openeo", "process": play()})
    assert "costs: 4" in cscale("estimate", file).stdout


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("just text", "no mapping"),
        ({"engine": "abacus", "process": {}}, "engine"),
        ({"engine": "openeo", "process": {}, "more": 1}, "more"),
        ({"nothing": "known"}, "neither the spec"),
        ("a: [", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_is_not_understood_is_explained(
    tmp_path: Path, content: Any, said: str
) -> None:
    path = tmp_path / "job"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    result = cscale("submit", str(path))
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.usefixtures("inside")
def test_options_that_are_not_understood(jobs: Jobs) -> None:
    jobs.submit("openeo", play(), title="Options")
    assert cscale("submit", "/nowhere/at/all").exit_code == 2
    assert cscale("list", "--status", "asleep").exit_code == 2
    assert cscale("logs", "last", "--level", "loud").exit_code == 2
    assert cscale("clone", "last", "-o", "memory").exit_code == 2


def run(server: PlayedServer, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"JUPYTERHUB_SERVICE_URL": server.url}
    environment |= {"JUPYTERHUB_API_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"}
    code = "from cscale_cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "jobs", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_log_is_followed_by_a_process_and_repeats_are_counted(
    jobs: Jobs, server: PlayedServer
) -> None:
    says = ["start", *["the same"] * 4, "end"]
    job = jobs.submit("openeo", play(says=says, hold="cli-follow"), title="Followed")
    process = run(server, "logs", "-f", job.id)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.endswith("end\n"):
            server.release("cli-follow")
    assert process.wait(30) == 0
    texts = [line[17:] if line[:1].isdigit() else line.strip() for line in lines]
    assert texts[:4] == ["start", "the same", "(the same 3× more)", "end"]
    assert not any("\x1b" in line for line in lines)


def test_a_wait_that_is_interrupted_leaves_the_job_running(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit("openeo", play(hold="cli-wait"), title="Left alone")
    process = run(server, "wait", job.id)
    assert process.stderr is not None
    assert "Left alone" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The job goes on" in err
    assert "Traceback" not in err
    assert not jobs[job.id].ended
    server.release("cli-wait")


def test_watching_in_a_pipe_gives_a_line_for_each_change(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="cli-watch"), title="Watched")
    process = run(server, "list", "--watch", "--search", "Watched", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["id"] == job.id
    server.release("cli-watch")
    while json.loads(process.stdout.readline())["status"] != "finished":
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


# -- through a hub -----------------------------------------------------------------------------


class Hub:
    """What a hub says of a user and its server, and its proxy."""

    def __init__(self, server: PlayedServer, running: bool = True) -> None:
        self.running = running
        self.seen: set[str] = set()
        self._behind = f"http://127.0.0.1:{server.port}"
        routes = [
            Route("/hub/api/user", self.user),
            Route("/hub/api/users/{name:path}/server", self.start, methods=["POST"]),
            Route("/hub/api/users/{name:path}/server/progress", self.progress),
            Route("/hub/api/users/{name:path}", self.user),
            Route("/{path:path}", self.proxy, methods=["GET", "POST", "DELETE"]),
        ]
        self.app = Starlette(routes=routes)

    async def user(self, request: Request) -> Response:
        self.seen.add(request.headers.get("Authorization", ""))
        if request.headers.get("Authorization") != f"token {TOKEN}":
            return JSONResponse({"status": 403, "message": "Forbidden"}, 403)
        servers = {"": {"ready": True}} if self.running else {}
        return JSONResponse({"name": "u@test", "servers": servers})

    async def start(self, request: Request) -> Response:
        self.running = True
        return Response(status_code=202)

    async def progress(self, request: Request) -> Response:
        return Response('data: {"ready": true, "message": "ready"}\n\n')

    async def proxy(self, request: Request) -> Response:
        target = self._behind + request.scope["raw_path"].decode()
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.request(
                request.method,
                target,
                params=request.query_params,
                content=await request.body(),
                headers={"Authorization": request.headers["Authorization"]},
            )
        return Response(answer.content, answer.status_code, media_type="application/json")


@pytest.fixture
def hub(server: PlayedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Hub]]:
    for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_API_TOKEN", "CSCALE_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = Hub(server)
    port = free_port_of()
    running = uvicorn.Server(uvicorn.Config(made.app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started, "the hub")
    yield f"http://127.0.0.1:{port}", made
    running.should_exit = True
    thread.join(10)


def token_file(folder: Path, token: str = TOKEN, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_text(token)
    path.chmod(mode)
    return str(path)


def test_jobs_of_a_hub_by_a_token_in_a_private_file(
    hub: tuple[str, Hub], tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit("openeo", play(), title="Through the hub")
    url, _ = hub
    shown = cscale("show", job.id, "--hub", url, "--token-file", token_file(tmp_path))
    assert shown.exit_code == 0, shown.output
    assert "Through the hub" in shown.stdout
    monkeypatch.setenv("CSCALE_TOKEN_FILE", str(tmp_path / "token"))
    assert cscale("list", "--hub", url, "--user", "u@test").exit_code == 0
    other = cscale("list", "--hub", url, "--user", "somebody")
    assert (other.exit_code, "not of somebody" in other.output) == (2, True)


def test_a_token_that_others_can_read_or_that_is_not_there_is_refused(
    hub: tuple[str, Hub], tmp_path: Path
) -> None:
    url, made = hub
    open_file = cscale("list", "--hub", url, "--token-file", token_file(tmp_path, mode=0o644))
    assert open_file.exit_code == 2
    assert "accessible to others" in open_file.output
    none = cscale("list", "--hub", url)
    assert none.exit_code == 2
    assert "token page" in none.output
    assert made.seen == set()
    wrong = cscale("list", "--hub", url, "--token-file", token_file(tmp_path, "wrong"))
    assert wrong.exit_code == 1
    assert "wrong" not in wrong.output


def test_a_token_does_not_leave_this_machine_unencrypted(tmp_path: Path) -> None:
    result = cscale("list", "--hub", "http://hub.example.org", "--token-file", token_file(tmp_path))
    assert result.exit_code == 2
    assert "HTTPS" in result.output


def test_a_server_that_is_off_is_said_and_started_when_asked(
    hub: tuple[str, Hub], tmp_path: Path
) -> None:
    url, made = hub
    made.running = False
    options = ("--hub", url, "--token-file", token_file(tmp_path))
    off = cscale("list", *options)
    assert off.exit_code == 1
    assert "does not run" in off.output
    assert "--start" in off.output
    assert cscale("list", "--start", *options).exit_code == 0
    assert made.running


def test_without_a_hub_it_is_said_where_one_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_URL", raising=False)
    result = cscale("list", "--data", str(tmp_path / "none"), "--json")
    assert result.exit_code == 2
    assert "cscale up" in json.loads(result.stdout)["hint"]
    assert not (tmp_path / "none").exists()


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_table_fits_a_terminal_and_keeps_id_and_status(width: int) -> None:
    rows = [
        Row("j-261121062243-df6ba8a2", "finished", "unknown", "Title " * 20, "openeo at far",
            "3 min 05 s", "2 h 07 min", "3 d 4 h ago"),
        Row("j-1", "error", "–", "x", "slurm", "1 s", "–", "1 s ago"),
    ]  # fmt: skip
    table, natural = job_table(rows, width)
    assert natural <= width
    names = [str(column.header) for column in table.columns]
    assert names[:4] == ["id", "status", "progress", "title"]
    assert table.columns[0].width == len(rows[0].id)
    assert job_table(rows, None)[1] > 180
