"""Jobs as Python sees them: submitting once, waiting, reading logs and results."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest

from cscale_core.client import Job, JobFailed, Jobs, JobSpec, NotEnded, ServerAway, Workspace
from cscale_core.client.watching import Watch
from cscale_core.errors import Conflict, InvalidInput, LoginRequired, NotFound
from tests.core.client.played_server import PlayedServer, play
from tests.core.client.server_process import TOKEN
from tests.waiting import until


def test_a_job_is_submitted_waited_for_and_its_results_are_there(jobs: Jobs) -> None:
    job = jobs.submit("openeo", play(), title="Plain", backend="far")
    assert (job.title, job.engine, job.backend) == ("Plain", "openeo", "far")
    assert job.wait(progress=False) is job
    assert job.status == "finished"
    assert job.ended
    (item,) = job.results()
    assert item["id"] == f"{job.id}-result"
    assert jobs[job.id] == job


def test_a_spec_is_submitted_as_it_is(jobs: Jobs) -> None:
    spec = JobSpec(engine="slurm", process={"command": ["true"]}, title="By spec")
    assert jobs.submit(spec).wait(progress=False).spec.process == {"command": ["true"]}


def test_what_cannot_be_right_is_refused_here_and_names_the_member(jobs: Jobs) -> None:
    before = len(jobs.list())
    with pytest.raises(InvalidInput, match="engine"):
        jobs.submit("abacus", {})  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="inputz"):
        jobs.submit("openeo", {}, inputz=[])  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="cannot be run"):
        jobs.submit("openeo", play(invalid=True))
    assert len(jobs.list()) == before


class Flaky(httpx.BaseTransport):
    """Breaks the connection after the server has answered, so many times."""

    def __init__(self, breaks: int) -> None:
        self._inner = httpx.HTTPTransport()
        self.left = breaks
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        if request.method == "POST":
            self.keys.append(request.headers["Idempotency-Key"])
            if self.left:
                self.left -= 1
                answer.read()
                answer.close()
                raise httpx.ReadError("the connection broke", request=request)
        return answer


def test_a_connection_that_breaks_after_submitting_makes_one_job(server: PlayedServer) -> None:
    transport = Flaky(breaks=2)
    headers = {"Authorization": f"token {TOKEN}"}
    with httpx.Client(transport=transport, headers=headers) as http:
        jobs = Workspace(server.url, http).jobs
        job = jobs.submit("openeo", play(), title="Once")
        assert [each.id for each in jobs.list(search="Once")] == [job.id]
    assert len(transport.keys) == 3
    assert len(set(transport.keys)) == 1


def test_the_same_key_gives_the_same_job(jobs: Jobs) -> None:
    first = jobs.submit("openeo", play(), title="Keyed", key="a-key-of-mine")
    assert jobs.submit("openeo", play(), title="Keyed", key="a-key-of-mine") == first
    with pytest.raises(Conflict):
        jobs.submit("openeo", play(says=["other"]), title="Keyed", key="a-key-of-mine")


def test_what_computes_the_same_is_given_instead_and_said(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    first = jobs.submit("openeo", play(), title="Twice").wait(progress=False)
    again = jobs.submit("openeo", play(), title="Twice", reuse=True)
    assert again == first
    assert first.id in capsys.readouterr().err
    assert jobs.submit("openeo", play(says=["new"]), title="Twice", reuse=True) != first
    assert jobs.submit("openeo", play(), title="Twice", options={"a": 1}, reuse=True) != first
    assert [job.id for job in jobs.find(title="Twice", process=play())][-1] == first.id


def test_what_failed_is_not_given_instead(jobs: Jobs) -> None:
    process = play(breaks="internal")
    first = jobs.submit("openeo", process, title="Broken")
    with pytest.raises(JobFailed):
        first.wait(progress=False)
    assert jobs.submit("openeo", process, title="Broken", reuse=True) != first


def test_a_failure_says_what_to_do_and_a_clone_takes_the_suggestion(jobs: Jobs) -> None:
    job = jobs.submit("openeo", play(fails=2), title="Small", options={"memory": 1})
    with pytest.raises(JobFailed, match="out of memory") as caught:
        job.wait(progress=False)
    assert caught.value.hint == "Set memory to 2."
    assert caught.value.details["job"] == job.id
    clone = job.clone(suggested=True, title="Larger").wait(progress=False)
    assert (clone.spec.options, clone.cloned_from) == ({"memory": 2}, job.id)


def test_the_list_is_chosen_from_and_the_newest_comes_first(jobs: Jobs) -> None:
    one = jobs.submit("spark", {"play": {}}, title="Needle one")
    two = jobs.submit("openeo", play(hold="list"), title="Needle two")
    found = jobs.list(search="needle")
    assert [job.id for job in found] == [two.id, one.id]
    assert [job.id for job in jobs.list(search="needle", engine="spark")] == [one.id]
    assert jobs.list(search="needle", status="open")[0] == two
    assert jobs.last() == two
    with pytest.raises(InvalidInput, match="sleeping"):
        jobs.list(status="sleeping")
    two.cancel()
    with pytest.raises(JobFailed, match="canceled"):
        two.wait(progress=False)


def test_pause_resume_and_delete(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="pausing"), title="Resting")
    until(lambda: job.refresh().status == "running", "a running job")
    job.pause()
    until(lambda: job.refresh().status == "paused", "a paused job")
    with pytest.raises(Conflict):
        job.delete()
    job.resume()
    server.release("pausing")
    job.wait(progress=False)
    job.delete()
    with pytest.raises(NotFound):
        jobs[job.id]


def test_time_that_is_over_leaves_the_job_running_and_says_how_to_attach(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit("openeo", play(hold="late"), title="Late")
    with pytest.raises(NotEnded) as caught:
        job.wait(0.5, progress=False)
    assert f'jobs["{job.id}"].wait()' in caught.value.hint
    assert isinstance(caught.value, TimeoutError)
    server.release("late")
    jobs[job.id].wait(progress=False)


def test_every_change_is_told(jobs: Jobs) -> None:
    told: list[str] = []
    job = jobs.submit("openeo", play(progress=0.33), title="Told")
    job.wait(progress=lambda each: told.append(f"{each.status}"))
    assert told[-1] == "finished"


def test_a_job_deleted_elsewhere_ends_the_wait(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="deleted"), title="Deleted")
    other = server.workspace().jobs[job.id]

    def delete() -> None:
        other.cancel()
        until(lambda: other.refresh().ended, "the end of the job")
        other.delete()

    # Whoever waits sees the cancel or the deletion, whichever comes first.
    thread = threading.Thread(target=delete)
    thread.start()
    with pytest.raises((NotFound, JobFailed)):
        job.wait(progress=False)
    thread.join()


async def test_awaiting_jobs_leaves_the_loop_free(jobs: Jobs, server: PlayedServer) -> None:
    submitted = [
        jobs.submit("openeo", play(hold="awaited"), title=f"Awaited {number}") for number in (1, 2)
    ]

    async def release() -> None:
        server.release("awaited")

    first, second, _ = await asyncio.gather(*submitted, release())
    assert [job.status for job in (first, second)] == ["finished", "finished"]


async def test_an_await_that_is_canceled_leaves_the_job_running(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit("openeo", play(hold="left"), title="Left")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await job
    assert not jobs[job.id].ended
    server.release("left")
    await jobs[job.id]


def test_queued_and_running_times_are_told_apart(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(queue="turn", hold="done"), title="Times")
    until(lambda: job.refresh().status == "queued", "a queued job")
    assert not job.running_time
    server.release("turn")
    until(lambda: job.refresh().status == "running", "a running job")
    time.sleep(0.2)
    assert job.running_time.total_seconds() >= 0.2
    server.release("done")
    job.wait(progress=False)
    assert job.ended_at is not None
    total = job.ended_at - job.created
    assert abs((job.queued_time + job.running_time - total).total_seconds()) < 1


def test_a_log_is_read_folded_and_explains_why_it_is_empty(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = jobs.submit(
        "openeo",
        play(queue="log", says=["start", *["tile\tlost \x1b[31m<x>"] * 5, "end"]),
        title="Log",
    )
    until(lambda: job.refresh().status == "queued", "a queued job")
    assert "the back end writes a log when it runs" in str(job.logs())
    server.release("log")
    job.wait(progress=False)
    lines = [line.message for line in job.logs()]
    assert lines[:7] == ["start", *["tile\tlost \x1b[31m<x>"] * 5, "end"]
    text = str(job.logs())
    assert "(×5)" in text
    assert "\x1b" not in text
    assert "&lt;x&gt;" in job.logs()._repr_html_()
    assert [line.message for line in job.logs(tail=1)] == [lines[-1]]
    assert "left no log of level error" in str(job.logs(level="error"))


def test_a_log_is_followed_to_the_end_of_the_job(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(says=["one", "two"], hold="follow"), title="Followed")
    seen: list[str] = []
    for line in job.logs(follow=True):
        seen.append(line.message)
        if line.message == "two":
            server.release("follow")
    assert seen[:2] == ["one", "two"]
    assert jobs[job.id].ended


async def test_a_log_is_followed_without_holding_up_the_loop(
    jobs: Jobs, server: PlayedServer
) -> None:
    job = await asyncio.to_thread(
        jobs.submit, "openeo", play(says=["one"], hold="afollow"), title="Followed too"
    )
    seen = []
    async for line in job.logs(follow=True):
        seen.append(line.message)
        server.release("afollow")
    assert "one" in seen


def test_results_are_asked_anew_when_links_are_refused(jobs: Jobs) -> None:
    results = jobs.submit("openeo", play(), title="Links").wait(progress=False).results()
    (address,) = results.addresses()
    assert address.endswith("sig=kept")
    (item,) = results.refresh()
    assert item["assets"]["change"]["href"].endswith("sig=anew")
    assert results.to_pystac()[0].id == item["id"]


def test_results_of_a_job_that_runs_are_refused_at_once(jobs: Jobs, server: PlayedServer) -> None:
    job = jobs.submit("openeo", play(hold="nothing"), title="No results yet")
    begun = time.monotonic()
    with pytest.raises(Conflict, match="no results yet"):
        job.results()
    assert time.monotonic() - begun < 20
    server.release("nothing")


def test_shortcuts_of_the_engines_make_the_specs(jobs: Jobs) -> None:
    class Cube:
        def flat_graph(self) -> dict[str, Any]:
            return {"one": {"process_id": "load", "arguments": {}, "result": True}}

    graph = jobs.openeo(Cube(), title="Cube", format="netCDF").spec.process["process_graph"]
    assert graph["save"]["arguments"] == {"data": {"from_node": "one"}, "format": "netCDF"}
    assert (graph["save"]["result"], "result" in graph["one"]) == (True, False)
    saved = {"s": {"process_id": "save_result", "arguments": {}, "result": True}}
    assert jobs.openeo({"process_graph": saved}).spec.process == {"process_graph": saved}
    spark = jobs.spark("aqua-monitor", years=[1], title="S", options={"memory": "2g"}).spec
    assert spark.process == {"application": "aqua-monitor", "arguments": {"years": [1]}}
    assert (spark.title, spark.options) == ("S", {"memory": "2g"})
    slurm = jobs.slurm(["a", "b"], modules=["gdal"], title="H").spec
    assert slurm.process == {"command": ["a", "b"], "modules": ["gdal"]}
    with pytest.raises(InvalidInput, match="list"):
        jobs.slurm("rm -rf")
    with pytest.raises(InvalidInput, match="process graph"):
        jobs.openeo({"nothing": 1})


def test_estimate_and_back_ends(jobs: Jobs) -> None:
    spec = JobSpec(engine="openeo", process=play())
    assert jobs.estimate(spec)["costs"] == 4.0
    assert {place.id: place.online for place in jobs.backends()} == {
        "near": True,
        "far": True,
        "down": False,
    }


# -- a server that goes away -------------------------------------------------------------------


def test_a_wait_outlives_a_kill_of_the_server(
    own_server: PlayedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    job = own_server.workspace().jobs.submit("openeo", play(hold="kill"), title="Outlives")

    def restart() -> None:
        own_server.kill()
        time.sleep(2)
        own_server.start()
        own_server.release("kill")

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        job.wait(120, progress=True)
    finally:
        thread.join()
    said = capsys.readouterr().err.splitlines()
    assert any("your server does not answer" in line for line in said)
    assert "finished" in said[-1]


def test_patience_with_a_server_that_stays_away_ends(
    free_port: int,
) -> None:
    document = {
        "id": "j-1",
        "revision": 3,
        "spec": {"engine": "openeo", "title": "", "backend": ""},
        "status": "running",
        "progress": None,
        "message": "",
        "ended": None,
    }
    workspace = Workspace(f"http://127.0.0.1:{free_port}/", httpx.Client(trust_env=False))
    job = Job(workspace.jobs.connection, document)
    watch = Watch(workspace.jobs.connection, [job], patience=0.3)
    assert watch.look() == []
    assert "waiting for it" in watch.note
    time.sleep(0.4)
    with pytest.raises(ServerAway, match="not answered") as caught:
        watch.look()
    assert "go on without it" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (503, {}, ServerAway),
        (424, {}, ServerAway),
        (502, {}, ServerAway),
        # Of a GET, and of a change, while the server is off.
        (302, {"Location": "/hub/user/x/cscale/api/v1/jobs"}, ServerAway),
        (403, {}, ServerAway),
        (302, {"Location": "/hub/login?next=x"}, LoginRequired),
        (302, {"Location": "/hub/api/oauth2/authorize"}, LoginRequired),
        (401, {}, LoginRequired),
    ],
)
def test_the_hub_in_place_of_the_server_is_understood(
    status: int, headers: dict[str, str], kind: type[Exception]
) -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, text="<html>"))
    jobs = Workspace("http://hub/user/x/", httpx.Client(transport=answer)).jobs
    with pytest.raises(kind):
        jobs.connection.call("GET", "jobs")


def test_jobs_of_this_kernel_are_found_by_the_name_of_the_issue(
    server: PlayedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", server.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", TOKEN)
    from cscale_core.client import jobs as found

    assert isinstance(found, Jobs)
    job = found.submit("openeo", play(), title="By name")
    assert found[job.id].title == "By name"


def test_outside_a_server_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_URL", raising=False)
    import cscale_core.client as client

    with pytest.raises(InvalidInput, match="not a server"):
        _ = client.jobs
    with pytest.raises(AttributeError):
        _ = client.nothing_of_the_kind  # type: ignore[attr-defined]
