"""The whole local federation: start it, wait until it is of use, look at it, stop it.

:class:`Federation` is what ``cscale up``, ``cscale demo`` and the tests use. JupyterHub starts
and watches the services; what is here starts JupyterHub (through the launcher), waits for
everything, and sees to it that nothing is left behind: no process, no mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import ValidationError

from cscale_core.providers import Provider
from cscale_hub.local import services, system
from cscale_hub.local.layout import Layout
from cscale_hub.local.people import ensure_people, passwords_file
from cscale_hub.local.ports import choose, is_free
from cscale_hub.local.processes import end_processes, federation_processes, start_ticks
from cscale_hub.local.secrets import SecretError, read_secret
from cscale_hub.settings import (
    Settings,
    SettingsError,
    describe,
    load_settings,
)
from cscale_hub.vos import accepted_vos

START_SECONDS = 150.0
MIN_FREE_BYTES = 2 * 2**30
_MANY_RESTARTS = 4
_LOG_TAIL = 15

Progress = Callable[[str], None]


def _silent(message: str) -> None:
    """Progress for callers that want none."""


class FederationError(Exception):
    """The federation cannot be started, or is not in the state that was asked for."""


class PortTaken(FederationError):
    """Another program took the hub's port between its choice and its use."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What is known of one service at one moment. Memory in bytes, descendants included."""

    name: str
    title: str
    port: int
    pid: int
    healthy: bool
    detail: str
    restarts: int
    memory: int


@dataclass(frozen=True, slots=True)
class FederationState:
    """The federation at one moment; ``problems`` is empty when all is well."""

    running: bool
    url: str
    services: tuple[ServiceState, ...]
    mounts: tuple[str, ...]
    free_bytes: int
    offers: tuple[system.Offer, ...]
    problems: tuple[str, ...]


class Federation:
    """The local federation in one data folder.

    As a context manager it is started on entry and stopped on exit.

    :param archive_root: a folder of STAC items with COGs for site B, instead of simulated scenes.
    :param extra_providers: further STAC APIs to search, as mappings of
        :class:`~cscale_core.providers.Provider`.
    :param extra_hosts: further hosts that users' servers may ask.
    :param without: services that are not started, for tests that do not need them.
    :param token_seconds: life of the access tokens of its issuer; EGI Check-in's by default.
    :param port: the port to open in the browser; else the one of last time, else 8000.
    :param settings: members of the settings that win over file and environment.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        archive_root: Path | None = None,
        archive_title: str = "Archive of site B",
        extra_providers: Iterable[Mapping[str, Any]] = (),
        extra_hosts: Iterable[str] = (),
        without: Iterable[str] = (),
        token_seconds: int = 3600,
        port: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.layout = Layout(Path(data_dir).expanduser().absolute())
        self._port = port
        self._overrides = dict(settings or {})
        try:
            self._wishes = services.Wishes(
                archive_root=archive_root.absolute() if archive_root else None,
                archive_title=archive_title,
                extra_providers=tuple(
                    Provider.model_validate(provider) for provider in extra_providers
                ),
                extra_hosts=tuple(extra_hosts),
                without=frozenset(without),
                token_seconds=token_seconds,
            )
        except ValidationError as error:
            raise FederationError(f"An extra provider is not valid: {describe(error)}") from error
        self.notes: list[str] = []
        self._settings: Settings | None = None
        self._ports: dict[str, int] = {}
        self._launcher: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    # -- what is known ---------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        return self.layout.data

    @property
    def log_dir(self) -> Path:
        return self.layout.logs

    @property
    def settings(self) -> Settings:
        """The resolved settings of the federation that runs, or ran last, in this folder.

        :raises FederationError: when none ever did.
        """
        if self._settings is None:
            if not self.layout.settings.exists():
                raise FederationError(f"No federation was ever started in {self.data}.")
            try:
                self._settings = load_settings(self.layout.settings, environment=False)
            except SettingsError as error:
                raise FederationError(str(error)) from error
        return self._settings

    @property
    def ports(self) -> dict[str, int]:
        """The port of every listener, by name."""
        if not self._ports:
            with contextlib.suppress(OSError, ValueError):  # no start yet: no ports
                self._ports = json.loads(self.layout.ports.read_text(encoding="utf-8"))
        return self._ports

    @property
    def hub_url(self) -> str:
        """The address to open."""
        return f"http://127.0.0.1:{self.settings.hub.port}"

    @property
    def urls(self) -> dict[str, str]:
        """The address of every part, by name, as a user's server sees it."""
        settings = self.settings
        return {
            "hub": self.hub_url,
            "issuer": settings.identity.issuer,
            "s3": settings.storage.endpoint,
            "catalogue": settings.catalogue.url,
            **{provider.id: provider.url for provider in settings.providers},
            **{backend.id: backend.url for backend in settings.openeo},
            "mqs": f"{self.hub_url}/services/mqs",
            "broker": settings.broker.url,
        }

    @property
    def passwords(self) -> dict[str, str]:
        """Passwords of the demo users, by name."""
        try:
            stored: dict[str, str] = json.loads(read_secret(passwords_file(self.layout)))
        except SecretError as error:
            raise FederationError(str(error)) from error
        return stored

    # -- starting --------------------------------------------------------------------------------

    def start(self, progress: Progress = _silent, *, detach: bool = False) -> Self:
        """Start everything and wait until it is of use.

        :param progress: gets one line for each thing that happens.
        :param detach: leave it running when this process ends.
        :raises FederationError: when it runs already, or something does not come up; what was
            started is stopped again.
        """
        try:
            self.layout.create()
        except OSError as error:
            raise FederationError(
                f"The data folder {self.data} cannot be used: {error.strerror}"
            ) from error
        self._take_lock()
        try:
            try:
                self._bring_up(progress, detach)
            except PortTaken:
                # Two federations that start together both find 8000 free.
                self._end_hub()
                self._bring_up(progress, detach)
        except BaseException as error:
            self.stop(progress)
            if isinstance(error, (SettingsError, SecretError, OSError)):
                raise FederationError(str(error)) from error
            raise
        return self

    def _bring_up(self, progress: Progress, detach: bool) -> None:
        self._prepare(progress)
        self._launch(detach)
        self._wait(progress)

    def _take_lock(self) -> None:
        descriptor = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            where = ""
            with contextlib.suppress(FederationError):
                where = f" at {self.hub_url}"
            raise FederationError(
                f"A federation already runs in {self.data}{where}. "
                f"Stop it with: {system.own_command()} down --data {self.data}"
            ) from error
        self._lock = descriptor

    def _prepare(self, progress: Progress) -> None:
        self._clean(progress)
        free = system.free_bytes(self.data)
        if free < MIN_FREE_BYTES:
            raise FederationError(
                f"Only {free / 2**30:.1f} GiB are free in {self.data}; "
                f"{MIN_FREE_BYTES / 2**30:.0f} GiB are needed."
            )
        settings = self._base_settings()
        vos = accepted_vos(settings)
        services.ensure_secrets(self.layout)
        ensure_people(self.layout)
        self._seed(progress)  # takes seconds; ports are chosen shortly before they are used
        preferred = {"hub": self._port} if self._port else {}
        if not self.layout.ports.exists():
            preferred.setdefault("hub", settings.hub.port)
        self._ports, self.notes = choose(services.PORT_NAMES, self.layout.ports, preferred)
        for note in self.notes:
            progress(note)
        absent = services.unavailable(self.layout)
        for name in absent.keys() - self._wishes.without:
            progress(absent[name])
        self._wishes = replace(self._wishes, without=self._wishes.without | absent.keys())
        self._settings = services.resolved_settings(settings, self._ports, self._wishes)
        running = services.programs(self._settings, vos, self._ports, self._wishes)
        services.write_programs(self._settings, running)

    def _base_settings(self) -> Settings:
        settings = load_settings()
        merged = _merged(settings.model_dump(), {**self._overrides, "data": str(self.data)})
        if merged["spawn"]["notebooks"] is None:
            merged["spawn"]["notebooks"] = notebooks_folder()
        try:
            return type(settings).model_validate(merged)
        except ValidationError as error:
            raise SettingsError(f"The settings are not valid: {describe(error)}") from error

    def _seed(self, progress: Progress) -> None:
        """Scenes for site B: the given folder, else simulated ones."""
        root = services.archive_folder(self.layout, self._wishes)
        if self._wishes.archive_root is not None:
            if not root.is_dir():
                raise FederationError(f"There is no folder {root}.")
            return
        from cscale_hub.local.archive.simulate import simulate  # rasterio takes a second

        if not (root / "items.json").exists():
            progress("Simulating Sentinel-2 scenes for the archive of site B")
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        simulate(root)

    def _launch(self, detach: bool) -> None:
        assert self._lock is not None  # noqa: S101 - start() took it
        command = [sys.executable, "-m", "cscale_hub.local.run", "hub", "--data", str(self.data)]
        if not detach:
            command += ["--parent", str(os.getpid())]
        self._launcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.data,
            # Ctrl-C in the terminal is for this process; the launcher is told by a signal.
            start_new_session=True,
            # The lock is held for as long as either of the two lives.
            pass_fds=(self._lock,),
        )

    def _wait(self, progress: Progress) -> None:
        """Until every service answers, or one of them shows that it never will.

        :raises PortTaken: when another program has the hub's port.
        :raises FederationError: with the name of the service and the end of its log.
        """
        until = time.monotonic() + START_SECONDS
        begun = time.monotonic()
        waiting = self._checks()
        with httpx.Client(timeout=3.0, trust_env=False) as client:
            while waiting:
                for name in list(waiting):
                    if _answers(client, waiting[name]) and (
                        name != "hub" or self._hub_is_ours(client)
                    ):
                        del waiting[name]
                        left = f"; waiting for {', '.join(waiting)}" if waiting else ""
                        progress(f"{name} is up after {time.monotonic() - begun:.1f} s{left}")
                if not waiting:
                    return
                late = time.monotonic() > until
                for name in list(waiting):
                    restarts = _program_state(self.layout, name).get("restarts", 0)
                    if late or restarts >= _MANY_RESTARTS:
                        if name == "hub" and not is_free(self.settings.hub.port):
                            raise PortTaken(self._port_taken())
                        why = f"did not answer in {START_SECONDS:.0f} s" if late else "keeps ending"
                        raise FederationError(
                            f"{name} {why}. The end of {self.layout.log(name)}:\n"
                            + log_tail(self.layout.log(name))
                        )
                if self._launcher is not None and self._launcher.poll() is not None:
                    raise FederationError(
                        f"The hub ended at once. The end of {self.layout.log('hub')}:\n"
                        + log_tail(self.layout.log("hub"))
                    )
                time.sleep(0.25)

    def _hub_is_ours(self, client: httpx.Client) -> bool:
        """Whether the hub that answers knows our token; on the same port may be another one.

        :raises PortTaken: when it refuses the token.
        """
        token = read_secret(self.layout.secrets / "operator-token")
        try:
            answer = client.get(
                f"{self.hub_url}/hub/api/users",
                params={"limit": 1},
                headers={"Authorization": f"token {token}"},
            )
        except httpx.HTTPError:
            return False
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise PortTaken(self._port_taken())
        return answer.status_code == httpx.codes.OK

    def _port_taken(self) -> str:
        return f"Port {self.settings.hub.port} was taken by another program while the hub started."

    def _checks(self) -> dict[str, str]:
        """The address of every part that is asked for health."""
        settings = self.settings
        vos = accepted_vos(settings)
        running = services.programs(settings, vos, self.ports, self._wishes)
        return {
            "hub": f"{self.hub_url}/hub/health",
            **{program.name: program.health for program in running},
        }

    # -- running ---------------------------------------------------------------------------------

    def wait_ended(self) -> int:
        """Block until the launcher ends (somebody else called ``cscale down``).

        :returns: its exit status.
        """
        assert self._launcher is not None  # noqa: S101 - start() made it
        return self._launcher.wait()

    def release(self) -> None:
        """Forget a detached federation without stopping it."""
        self._launcher = None
        self._drop_lock()

    def is_running(self) -> bool:
        """Whether a launcher of the hub lives for this folder."""
        return self._launcher_pid() is not None

    def _launcher_pid(self) -> int | None:
        state = _program_state(self.layout, "hub")
        pid = state.get("launcher")
        if isinstance(pid, int) and start_ticks(pid) == state.get("launcher_started"):
            return pid
        if self._launcher is not None and self._launcher.poll() is None:
            return self._launcher.pid
        return None

    def state(self) -> FederationState:
        """What runs and what is wrong. Takes some seconds at most, whatever hangs."""
        offers = (system.fuse(), system.java(), system.postgresql(), system.slurm())
        free = system.free_bytes(_existing(self.data))
        try:
            checks = self._checks()
        except (FederationError, SettingsError, KeyError) as error:
            return FederationState(False, "", (), (), free, offers, (str(error),))
        running = self.is_running()
        found = tuple(self._service_state(name, url) for name, url in checks.items())
        mounts = tuple(str(path) for path in system.mounts_below(self.data))
        problems: list[str] = []
        if running:
            problems += [f"{each.name}: {each.detail}" for each in found if not each.healthy]
        else:
            problems.append(
                f"It is not running; start it with: {system.own_command()} up --data {self.data}"
            )
            problems += [f"{mount} is still mounted" for mount in mounts]
        if free < MIN_FREE_BYTES:
            problems.append(f"Only {free / 2**30:.1f} GiB are free on the disk")
        if not system.java().present:
            problems.append("Java 17 or newer is missing: no Spark, no openEO batch jobs")
        return FederationState(running, self.hub_url, found, mounts, free, offers, tuple(problems))

    def _service_state(self, name: str, url: str) -> ServiceState:
        state = _program_state(self.layout, name)
        pid = state.get("pid") or 0
        alive = bool(pid) and start_ticks(pid) == state.get("started")
        healthy, detail = False, "not running"
        if alive:
            with httpx.Client(timeout=3.0, trust_env=False) as client:
                healthy = _answers(client, url)
            detail = "ok" if healthy else f"does not answer; see {self.layout.log(name)}"
        return ServiceState(
            name=name,
            title=name,
            port=self.ports.get(name, 0),
            pid=pid if alive else 0,
            healthy=healthy,
            detail=detail,
            restarts=int(state.get("restarts", 0)),
            memory=system.resident_bytes(pid, self._apart(name)) if alive else 0,
        )

    def _apart(self, name: str) -> list[int]:
        """Services run below the hub, but are not the hub."""
        if name != "hub":
            return []
        states = (_program_state(self.layout, each) for each in services.SERVICES)
        return [state["launcher"] for state in states if "launcher" in state]

    # -- stopping --------------------------------------------------------------------------------

    def stop(self, progress: Progress = _silent) -> None:
        """Stop users' servers, the hub and its services, and unmount everything.

        Works from any process, also when nothing runs any more; never raises for what is already
        gone.

        :raises FederationError: when something is left that cannot be removed.
        """
        if self.is_running():
            self._stop_servers(progress)
            progress("Stopping the hub and its services")
            self._end_hub()
        self._clean(progress)
        services.clear_temporary(self.layout)
        self._drop_lock()
        left = system.mounts_below(self.data)
        if left:
            raise FederationError(
                "Stopped, but still mounted: "
                + ", ".join(map(str, left))
                + ". Close the programs that use it and run: fusermount3 -uz PATH"
            )

    def _stop_servers(self, progress: Progress) -> None:
        """Users' servers first: they write to S3 what is still in the mounts' caches."""
        try:
            token = read_secret(self.layout.secrets / "operator-token")
            base = f"http://127.0.0.1:{self.settings.hub.api_port}/hub/api"
        except (SecretError, FederationError):
            return  # nothing was started here that could have a server
        headers = {"Authorization": f"token {token}"}
        until = time.monotonic() + 30.0
        try:
            with (
                httpx.Client(timeout=15.0, trust_env=False, headers=headers) as client,
                ThreadPoolExecutor(8) as pool,
            ):
                told: set[str] = set()
                while time.monotonic() < until:
                    answer = client.get(f"{base}/users", params={"state": "active"})
                    answer.raise_for_status()
                    names = {str(user["name"]) for user in answer.json()}
                    if not names:
                        return
                    new = sorted(names - told)
                    if new:
                        progress(f"Stopping {len(new)} user server(s), unmounting the buckets")
                    told |= names
                    list(pool.map(lambda name: client.delete(f"{base}/users/{name}/server"), new))
                    time.sleep(0.3)
        except httpx.HTTPError:
            # The hub does not answer; its end takes the servers with it.
            return

    def _end_hub(self) -> None:
        pid = self._launcher_pid()
        if pid is not None:
            self._end_launcher(pid)
        self._launcher = None

    def _end_launcher(self, pid: int) -> None:
        started = start_ticks(pid)
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.kill(pid, signal.SIGTERM)
        # JupyterHub stops its services one after the other; told all at once they end together.
        for name in services.SERVICES:
            state = _program_state(self.layout, name)
            service = state.get("launcher")
            if isinstance(service, int) and start_ticks(service) == state.get("launcher_started"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(service, signal.SIGTERM)
        until = time.monotonic() + 50.0
        while start_ticks(pid) == started and started is not None and time.monotonic() < until:
            if self._launcher is not None and self._launcher.poll() is not None:
                return
            time.sleep(0.1)
        end_processes([pid])

    def _clean(self, progress: Progress) -> None:
        """Processes and mounts of this folder, whoever left them."""
        left = federation_processes(self.data)
        if left:
            progress(f"Ending {len(left)} processes of an earlier run")
            stuck = end_processes(left)
            if stuck:
                raise FederationError(f"These processes do not end: {', '.join(map(str, stuck))}")
        system.unmount_below(self.data)

    def _drop_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def notebooks_folder() -> Path | None:
    """The notebooks that come with the product: installed, or beside the source."""
    package = Path(__file__).parents[1]
    for candidate in (package / "notebooks", package.parents[1] / "notebooks"):
        if candidate.is_dir() and any(candidate.glob("*.ipynb")):
            return candidate
    return None


def log_tail(path: Path, lines: int = _LOG_TAIL) -> str:
    """The last lines of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "(there is no log)"
    return "\n".join(text.splitlines()[-lines:])


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _program_state(layout: Layout, name: str) -> dict[str, Any]:
    try:
        content = json.loads((layout.programs / f"{name}.state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not started, or stopped
    return content if isinstance(content, dict) else {}


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = (
            _merged(inner, value)
            if isinstance(inner, dict) and isinstance(value, Mapping)
            else value
        )
    return merged
