"""Options, processes, places and figures of Spark jobs: what is taken, refused and understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from cscale_core.clusters import SparkConnectServer, SparkNode, SparkSite
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark import SparkEngine
from cscale_core.jobs.engines.spark.connect import server_state, sessions
from cscale_core.jobs.engines.spark.figures import figures_of_log
from cscale_core.jobs.engines.spark.kubernetes.logs import new_lines
from cscale_core.jobs.engines.spark.local.ending import failure
from cscale_core.jobs.engines.spark.options import mebibytes, memory_text, options_of
from cscale_core.jobs.engines.spark.places import View, output_prefix
from cscale_core.jobs.engines.spark.process import Program, process_of
from cscale_core.jobs.engines.spark.resources import check_fits, largest_heap, limits, pods
from cscale_core.jobs.model import JobSpec
from cscale_core.site import Site

INCD = SparkNode(cpus=16, memory="32g")


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({"engine": "spark", "process": {"main": "/a.py"}, **changes})


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"driver_memory": "lots"}, "driver_memory"),
        ({"driver_memory": "100k", "x": 1}, "x"),
        ({"driver_memory": "1k"}, "less than a mebibyte"),
        ({"executor_cores": 0}, "executor_cores"),
        ({"executors": 2, "max_executors": 4}, "excludes"),
        ({"min_executors": 2}, "needs max_executors"),
        ({"min_executors": 5, "max_executors": 4}, "more than"),
        ({"time_limit": "soon"}, "not a time"),
        ({"time_limit": "0:00:00"}, "nothing"),
        ({"conf": {"spark.hadoop.fs.s3a.secret.key": "x"}}, "looks like a secret"),
        ({"conf": {"spark.hadoop.fs.s3a.aws.credentials.provider": "x"}}, "looks like a secret"),
        ({"conf": {"spark.sql.catalog.c.password": "x"}}, "looks like a secret"),
        ({"conf": {"spark.kubernetes.driver.podTemplateFile": "x"}}, "cannot be set"),
        ({"conf": {"spark.kubernetes.authenticate.driver.serviceAccountName": "x"}}, "cannot"),
        ({"conf": {"spark.executor.memory": "64g"}}, "have options"),
        ({"conf": {"spark.driver.extraJavaOptions": "-X"}}, "cannot be set"),
        ({"conf": {"spark.sql.warehouse.dir": "/x"}}, "cannot be set"),
        ({"conf": {"spark.sql.shuffle.partitions": "1\n2"}}, "cannot be used"),
        ({"conf": {"spark.hadoop.fs.s3a.endpoint": "http://x"}}, "cannot be set"),
        ({"conf": {"spark.jars.packages": "a:b:c"}}, "cannot be set"),
    ],
)
def test_options_that_are_not_right_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        options_of(options)
    assert said in caught.value.message


def test_options_are_written_one_way() -> None:
    options = options_of(
        {
            "driver_memory": "2048M",
            "executor_memory": "1 GiB",
            "time_limit": 90,
            "conf": {"spark.sql.shuffle.partitions": 200, "spark.sql.adaptive.enabled": False},
        }
    )
    assert (options.driver_memory, options.executor_memory) == ("2g", "1g")
    assert options.seconds == 5400
    assert options_of({"time_limit": "1:00:30"}).seconds == 3630
    assert options.conf == {
        "spark.sql.shuffle.partitions": "200",
        "spark.sql.adaptive.enabled": "false",
    }


@given(st.integers(min_value=1, max_value=10**6))
def test_memory_is_read_as_it_is_written(amount: int) -> None:
    assert mebibytes(memory_text(amount)) == amount


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "driver", "executor"),
    [
        # Small heaps: the least overhead of 384 MiB.
        ({}, 1024 + 409, 1024 + 409),
        ({"driver_memory": "512m"}, 512 + 384, 1024 + 409),
        # Python programs: 0.4 of the heap.
        ({"executor_memory": "8g"}, 1433, 8192 + 3276),
        # What is said counts, and Python's memory comes on top of it.
        ({"executor_memory": "2g", "executor_memory_overhead": "3g"}, 1433, 5120),
        (
            {
                "executor_memory": "2g",
                "executor_memory_overhead": "3g",
                "python_memory": "2944m",
            },
            1433,
            5120 + 2944,
        ),
        (
            {
                "conf": {
                    "spark.memory.offHeap.enabled": "true",
                    "spark.memory.offHeap.size": "1073741824",
                }
            },
            1433,
            1433 + 1024,
        ),
    ],
)
def test_pods_are_as_large_as_spark_asks(
    options: dict[str, Any], driver: int, executor: int
) -> None:
    assert [pod.memory for pod in pods(options_of(options))] == [driver, executor]


def test_pod_that_no_node_takes_is_refused_with_the_largest_that_fits() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_fits(options_of({"executor_memory": "64g"}), INCD, "1g")
    assert "would ask for 91750m (64g heap + 26214m overhead)" in caught.value.message
    largest = caught.value.details["largest"]["executor_memory"]
    check_fits(options_of({"executor_memory": largest}), INCD, "1g")
    more = memory_text(mebibytes(largest) + 2)
    with pytest.raises(InvalidInput):
        check_fits(options_of({"executor_memory": more}), INCD, "1g")
    with pytest.raises(InvalidInput, match="17 processors"):
        check_fits(options_of({"driver_cores": 17}), INCD, "1g")
    with pytest.raises(InvalidInput) as caught:
        check_fits(options_of({"driver_memory_overhead": "40g"}), INCD, "1g")
    assert "overhead alone" in caught.value.hint


@given(st.integers(min_value=600, max_value=200_000))
def test_largest_heap_fits_and_a_larger_one_does_not(memory: int) -> None:
    node = SparkNode(cpus=4, memory=f"{memory}m")
    heap = largest_heap(node)
    for amount, fits in ((heap, True), (heap + 2, False)):
        if amount >= 1:
            driver, _ = pods(options_of({"driver_memory": f"{amount}m"}))
            assert driver.fits(node) is fits


def test_limits_are_those_of_the_node() -> None:
    assert limits(INCD)["executor_cores"] == 16
    assert mebibytes(limits(INCD)["executor_memory"]) == 23405
    assert limits(None) == {}


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "said"),
    [
        ({"main": "job.jar"}, "not a .py file"),
        ({"main": "/a.py", "packages": ["not-a-coordinate"]}, "packages.0"),
        ({"main": "/a.py", "packages": ["a:b:c,d:e:f"]}, "packages.0"),
        ({"main": "/a.py", "python": ["--index-url=http://x y"]}, "python"),
        ({"main": "/a.py", "python": ["x @ https://example.eu/x.whl"]}, "names an address"),
        ({"main": "/a.py", "jars": ["/x.py"]}, ".jar"),
        ({"main": "/a.py", "py_files": ["/a.zip,/b.zip"]}, "py_files.0"),
        ({"main": "/a.py", "arguments": ["a\0b"]}, "NUL"),
        ({"main": "/a.py", "environment": {"MY_TOKEN": "x"}}, "looks like a secret"),
        ({"main": "/a.py", "environment": {"aws_secret_key": "x"}}, "looks like a secret"),
        ({"main": "/a.py", "environment": {"AWS_PROFILE": "x"}}, "set by the engine"),
        ({"main": "/a.py", "environment": {"A B": "x"}}, "not a variable"),
        ({"main": "/a.py", "application": "test"}, "main: Extra"),
        ({}, "main: Field required"),
    ],
)
def test_process_that_is_not_right_is_refused(process: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        process_of(process, {})
    assert said in caught.value.message


# -- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "prefix"),
    [
        ("", "s3://vobucket/users/utest/jobs/J/"),
        ("s3://vobucket/users/utest/mine", "s3://vobucket/users/utest/mine/"),
        ("/s3/vobucket/products/x/", "s3://vobucket/products/x/"),
        ("/home/test/s3/vobucket/users/utest/y", "s3://vobucket/users/utest/y/"),
    ],
)
def test_output_goes_where_it_was_asked_to(
    make_site: Callable[..., Site], output: str, prefix: str
) -> None:
    assert output_prefix(make_site(), spec(output=output), "J") == prefix


@pytest.mark.parametrize(
    "output",
    ["s3://vobucket/users/other/x", "s3://other/x", "/tmp/x", "s3://vobucket/users/utest/../o"],
)
def test_output_elsewhere_is_refused(make_site: Callable[..., Site], output: str) -> None:
    with pytest.raises(InvalidInput):
        output_prefix(make_site(), spec(output=output), "J")


def test_three_addresses_are_what_the_job_sees(make_site: Callable[..., Site]) -> None:
    site = make_site(s3={"endpoint": "https://s3.example.eu"})
    three = (
        "s3://vobucket/a/b.tif",
        "https://s3.example.eu/vobucket/a/b.tif",
        "/home/test/s3/vobucket/a/b.tif",
    )
    for address in three:
        assert View(site, "/data").argument(address) == "/data/vobucket/a/b.tif"
        assert View(site).argument(f"--in={address}") == "--in=s3://vobucket/a/b.tif"
    for foreign in ("s3://sentinel/x", "https://other.eu/x", "a=b", "/etc/passwd", "s3://"):
        assert View(site, "/data").argument(foreign) == foreign


# -- logs of pods --------------------------------------------------------------------------------


@given(
    st.lists(st.integers(min_value=0, max_value=4), max_size=30),
    st.lists(st.integers(min_value=0, max_value=30), max_size=8),
)
def test_lines_are_brought_once_however_the_log_grows(
    moments: list[int], lengths: list[int]
) -> None:
    log = [
        f"2026-11-21T00:00:0{m // 2}.00000000{m % 2}Z line {i}\n"
        for i, m in enumerate(sorted(moments))
    ]
    cursor: list[Any] | None = None
    brought: list[str] = []
    for length in [*sorted(lengths), len(log)]:
        # The cluster gives the whole second in which the cursor is.
        seen = [line for line in log[:length] if not cursor or line[:19] >= cursor[0]]
        found, cursor = new_lines("".join(seen).encode(), cursor, whole=True)
        brought += [said for _, said in found]
    assert brought == [f"line {i}" for i in range(len(log))]


# -- figures -------------------------------------------------------------------------------------


def test_event_log_of_a_killed_application_is_counted_as_far_as_it_goes(tmp_path: Path) -> None:
    task = {
        "Event": "SparkListenerTaskEnd",
        "Task End Reason": {"Reason": "Success"},
        "Task Metrics": {
            "Executor Run Time": 1500,
            "Shuffle Read Metrics": {"Remote Bytes Read": 3, "Local Bytes Read": 4},
            "Shuffle Write Metrics": {"Shuffle Bytes Written": 9},
        },
    }
    failed = {"Event": "SparkListenerTaskEnd", "Task End Reason": {"Reason": "ExceptionFailure"}}
    start = {"Event": "SparkListenerApplicationStart", "App ID": "local-1", "App Name": "n"}
    stage = {"Event": "SparkListenerStageSubmitted", "Stage Info": {"Number of Tasks": 5}}
    events = [start, {"Event": "SparkListenerJobStart"}, stage, task, task, failed]
    text = "\n".join(map(json.dumps, events)) + '\n{"Event": "SparkListenerTask'
    (tmp_path / "local-1").write_text(text)
    found = figures_of_log(tmp_path)
    assert found is not None
    assert found["application"] == "local-1"
    assert found["tasks"] == {"total": 5, "active": 0, "completed": 2, "failed": 1}
    assert found["jobs"]["running"] == 1
    assert found["shuffle"] == {"read_bytes": 14, "write_bytes": 18, "spilled_bytes": 0}
    assert found["task_seconds"] == 3.0
    assert figures_of_log(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("words", "code", "late", "expected"),
    [
        (":: UNRESOLVED DEPENDENCIES ::", 1, False, "packages_not_found"),
        ("java.lang.OutOfMemoryError: Java heap space", 1, False, "out_of_memory"),
        ("", 137, False, "out_of_memory"),
        ("", 143, False, "stopped"),
        ("", 143, True, "time_limit"),
        ("ValueError: no scene", 1, False, "internal"),
    ],
)
def test_end_of_a_local_application_is_explained(
    tmp_path: Path, words: str, code: int, late: bool, expected: str
) -> None:
    (tmp_path / "spark.log").write_text(words)
    error = failure(tmp_path, code, "1g", late)
    assert error.code == expected
    if expected == "out_of_memory":
        assert error.details["job_options"] == {"driver_memory": "2g"}
    if expected == "internal":
        assert "ValueError: no scene" in error.message


# -- Connect -------------------------------------------------------------------------------------

SESSION = "c59b1349-3617-4093-bcfa-57dac704603a"
TAG = f"SparkConnect_OperationTag_User_ana_Session_{SESSION}_Operation_"


def test_sessions_are_told_by_the_tags_of_jobs() -> None:
    one, two = "0e156ee6-f0fb-4447-8eab-73c5fc28b804", "1e156ee6-f0fb-4447-8eab-73c5fc28b804"
    other = TAG.replace(SESSION, SESSION.replace("c5", "d5")).replace("_ana_", "__")
    jobs = [
        {"status": "RUNNING", "submissionTime": "2026-11-21T02", "jobTags": [TAG + one, "x"]},
        {"status": "SUCCEEDED", "submissionTime": "2026-11-21T01", "jobTags": [TAG + two]},
        {"status": "SUCCEEDED", "submissionTime": "2026-11-21T01", "jobTags": [TAG + two]},
        {"status": "SUCCEEDED", "submissionTime": "2026-11-21T03", "jobTags": [other + one]},
        {"status": "SUCCEEDED", "jobTags": ["spark-session-1"]},
        {"status": "SUCCEEDED"},
    ]
    latest, ana = sessions(jobs)
    assert ana == {
        "session": SESSION,
        "user": "ana",
        "jobs": 3,
        "active_jobs": 1,
        "operations": 2,
        "last": "2026-11-21T02",
    }
    assert latest["user"] == ""


async def test_connect_server_is_listed_with_its_version(
    serve: Callable[[Any], str], free_port: int, make_site: Callable[..., Site], tmp_path: Path
) -> None:
    told = {
        "version": {"spark": "4.3.0"},
        "applications": [{"id": "local-1"}],
        "applications/local-1/jobs": [{"status": "RUNNING", "jobTags": [TAG + SESSION]}],
    }
    app = Starlette(
        routes=[
            Route("/api/v1/{p:path}", lambda request: JSONResponse(told[request.path_params["p"]]))
        ]
    )
    ui = serve(app)
    port = ui.rpartition(":")[2]
    up = SparkConnectServer(id="up", title="Up", url=f"sc://127.0.0.1:{port}", ui=ui)
    bare = SparkConnectServer(id="bare", title="Bare", url=f"sc://127.0.0.1:{port}")
    down = SparkConnectServer(id="down", title="Down", url=f"sc://127.0.0.1:{free_port}", ui=ui)
    engine = SparkEngine(make_site(spark=SparkSite(connect=(up, bare, down))), tmp_path)
    _, first, second, third = await engine.backends()
    assert (first.online, first.version) == (True, "4.3.0")
    assert first.limits["sessions"][0]["session"] == SESSION
    assert (second.online, second.version) == (True, "")
    assert not third.online
    assert "no connection" in third.problem
    assert (await server_state(down)).limits["sessions"] == []


# -- local ---------------------------------------------------------------------------------------


async def test_what_this_machine_cannot_do_is_said_before_anything_starts(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    engine = SparkEngine(make_site(), tmp_path)
    with pytest.raises(InvalidInput, match="no executors"):
        await engine.check(spec(options={"executor_memory": "2g"}))
    absent = {"main": "/a.py", "python": ["no-such-thing-at-all>=1", "pydantic>=99"]}
    with pytest.raises(InvalidInput) as caught:
        await engine.check(spec(process=absent))
    assert "no-such-thing-at-all>=1" in caught.value.message
    assert "pydantic>=99 (here is" in caught.value.message
    here = {"main": "/a.py", "python": ["pydantic>=2", "no-such-thing; python_version < '3'"]}
    assert (await engine.check(spec(process=here))).title == "a.py"
    with pytest.raises(InvalidInput, match="no Spark back end"):
        await engine.check(spec(backend="kubernetes"))
    with pytest.raises(InvalidInput, match="no place"):
        await engine.check(spec(output="s3://other/x"))


async def test_estimate_says_how_large_the_pods_are(
    make_site: Callable[..., Site], tmp_path: Path
) -> None:
    kubernetes = {"namespace": "spark", "image": "x"}
    site = make_site(
        spark={"kinds": ["kubernetes"], "kubernetes": kubernetes, "node": INCD.model_dump()}
    )
    engine = SparkEngine(site, tmp_path)
    process = {"main": "s3://vobucket/users/utest/a.py"}
    found = await engine.estimate(spec(process=process, options={"executor_memory": "8g"}))
    assert found is not None
    driver, executor = found["pods"]
    assert driver["memory"] == "1433m"
    assert executor == {
        "role": "executor",
        "count": 2,
        "cpus": 1,
        "memory": "11468m",
        "memory_parts": {"heap": "8g", "overhead": "3276m"},
        "fits": True,
    }
    with pytest.raises(InvalidInput):
        await engine.estimate(spec(process=process, options={"executor_memory": "30g"}))
    await engine.close()


def test_program_is_a_model_with_its_defaults() -> None:
    assert process_of({"main": "/a.py"}, {}) == Program(main="/a.py")
