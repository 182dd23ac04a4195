"""A private PostgreSQL cluster for one service: found, created, started, watched and stopped.

The server's programs come from the machine (nothing is downloaded). The cluster listens on a Unix
socket in a folder of mode 0700, with SCRAM and a generated password, and dies with the process
that started it. PostgreSQL refuses to run as uid 0; for root it is started in a user namespace
in which root is uid 1000, so no other account is needed and the files stay root's.
"""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cscale_hub.local.sockets import leave_socket_folder, private_socket_folder, socket_folder

log = logging.getLogger("cscale.postgres")

PACKAGES = {
    "postgres": "postgresql",
    "postgis": "postgresql-15-postgis-3 (or the one of your PostgreSQL)",
    "btree_gist": "postgresql-contrib",
}
USER = "cscale"
DATABASE = "catalogue"
# Linux: sun_path has 108 bytes, and the name of the socket file is 14 characters long.
LONGEST_SOCKET_FOLDER = 90
PR_SET_PDEATHSIG = 1
START_SECONDS = 60.0
STOP_SECONDS = 2.0
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "30",
    "shared_buffers": "64MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "256MB",
    "max_worker_processes": "2",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "password_encryption": "scram-sha-256",
}


class PostgresUnavailable(Exception):
    """PostgreSQL cannot be used here; the message says what is missing or what failed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one PostgreSQL server version."""

    bin: Path
    major: int


def find_installation(extensions: Iterable[str] = ()) -> Installation:
    """The newest installed server that has all of ``extensions``.

    Looks at ``/usr/lib/postgresql/*/bin`` (Debian), ``/usr/pgsql-*/bin`` (Red Hat) and ``PATH``.

    :raises PostgresUnavailable: names the packages to install.
    """
    wanted = tuple(extensions)
    lacking: list[str] = []
    found = sorted(_installations(), key=lambda one: one.major, reverse=True)
    for installation in found:
        folder = _extension_folder(installation)
        lacking = [name for name in wanted if not (folder / f"{name}.control").exists()]
        if not lacking:
            return installation
    missing = lacking if found else ["postgres", *wanted]
    packages = ", ".join(PACKAGES.get(name, name) for name in missing)
    raise PostgresUnavailable(f"not installed: {', '.join(missing)} (Debian packages: {packages})")


def _installations() -> Iterator[Installation]:
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if not (folder / "postgres").exists() or not (folder / "initdb").exists():
            continue
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False
        )
        digits = "".join(c if c.isdigit() else " " for c in answer.stdout).split()
        if digits:
            yield Installation(folder, int(digits[0]))


def _extension_folder(installation: Installation) -> Path:
    asked = (
        subprocess.run(
            [installation.bin / "pg_config", "--sharedir"],
            capture_output=True,
            text=True,
            check=False,
        )
        if (installation.bin / "pg_config").exists()
        else None
    )
    if asked is not None and asked.returncode == 0:
        return Path(asked.stdout.strip()) / "extension"
    debian = Path(f"/usr/share/postgresql/{installation.major}/extension")
    return debian if debian.exists() else installation.bin.parent / "share" / "extension"


class PrivateCluster:
    """One cluster below ``folder``: ``data/``, ``password`` and, if the path allows, ``socket/``.

    Start and stop it in the main thread: the kernel ties the server's life to the thread that
    started it.
    """

    def __init__(self, folder: Path, installation: Installation) -> None:
        self._folder = folder.absolute()
        self._installation = installation
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_folder = socket_folder(self._folder / "socket", "pg", LONGEST_SOCKET_FOLDER)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._folder / "data"

    @property
    def password(self) -> str:
        """The generated password of the one account, read from its 0600 file."""
        return (self._folder / "password").read_text().strip()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Create the cluster on first use, start it and wait until it answers.

        :raises PostgresUnavailable: with the server's own words.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        if not (self.data / "PG_VERSION").exists():
            self._create()
        major = (self.data / "PG_VERSION").read_text().strip()
        if major != str(self._installation.major):
            raise PostgresUnavailable(
                f"the data in {self.data} are of PostgreSQL {major}, "
                f"{self._installation.major} is installed (Debian package: postgresql-{major})"
            )
        self._end_predecessor()
        try:
            private_socket_folder(self.socket_folder)
        except PermissionError as error:
            raise PostgresUnavailable(str(error)) from error
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*_namespace(), str(self._installation.bin / "postgres"), "-D", str(self.data)]
        try:
            self._process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us; we stop the server after our last query
                preexec_fn=_die_with_parent(os.getpid()),
                env=_environment(),
            )
        except OSError as error:
            raise PostgresUnavailable(f"PostgreSQL cannot be started: {error}") from error
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server: a fast shutdown, and an immediate one (safe, slower next start) if
        that takes too long."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("PostgreSQL does not stop in %.0f s, stopping it at once", STOP_SECONDS)
            process.send_signal(signal.SIGQUIT)
            process.wait(10)
        leave_socket_folder(self.socket_folder)

    def _create(self) -> None:
        started = time.monotonic()
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)  # an empty or half-made folder, no PG_VERSION
        password = self._folder / "password"
        password.unlink(missing_ok=True)
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        made = subprocess.run(
            [
                *_namespace(),
                str(self._installation.bin / "initdb"),
                f"--pgdata={fresh}",
                f"--username={USER}",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            words = made.stderr.strip().splitlines()[-1:] or ["no message"]
            raise PostgresUnavailable(f"a PostgreSQL cluster cannot be created: {words[0]}")
        fresh.rename(self.data)
        log.info("created a PostgreSQL cluster in %.1f s", time.monotonic() - started)

    def _wait(self) -> None:
        """Until ``postmaster.pid`` says ready (its eighth line, since PostgreSQL 10)."""
        assert self._process is not None  # noqa: S101 - start() has just set it
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PostgresUnavailable("PostgreSQL ended while starting; its log says why")
            lines = _pid_file(self.data)
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return
            time.sleep(0.05)
        raise PostgresUnavailable(f"PostgreSQL did not answer within {START_SECONDS:.0f} s")

    def _end_predecessor(self) -> None:
        """End a server that outlived its service, and forget a pid file that names another
        process (numbers are used again after a restart of the machine or container)."""
        lines = _pid_file(self.data)
        if not lines or not lines[0].strip().isdigit():
            return
        pid = int(lines[0])
        if not _is_postmaster(pid, self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        for number, seconds in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 10.0)):
            log.warning("a PostgreSQL server (pid %d) of an earlier start is still there", pid)
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            if _wait_for(lambda: not _is_postmaster(pid, self.data), seconds):
                return
        raise PostgresUnavailable(f"the PostgreSQL server with pid {pid} does not stop")


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether a process is the server of this data directory (a postmaster works in it)."""
    try:
        return (Path("/proc") / str(pid) / "cwd").readlink() == data.resolve()
    except OSError:
        return False  # no such process, or not ours: then it is not our server either


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _namespace() -> list[str]:
    """What to put before the server's programs: nothing, or for root a user namespace."""
    if os.getuid() != 0:
        return []
    unshare = shutil.which("unshare")
    prefix = [unshare or "unshare", "--user", "--map-user=1000", "--map-group=1000"]
    tried = (
        subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
        if unshare
        else None
    )
    if tried is None or tried.returncode != 0:
        why = tried.stderr.strip() if tried else "unshare is not installed (package util-linux)"
        raise PostgresUnavailable(
            f"PostgreSQL does not run as root, and no user namespace can be made: {why}"
        )
    return prefix


def _environment() -> dict[str, str]:
    """A small environment: no PG* variable and no secret of ours reaches the server."""
    names = ("PATH", "HOME", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ} | {"LC_ALL": "C"}


def _die_with_parent(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        # Runs in the child: a fast shutdown (SIGINT) when our process ends, however it ends.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
