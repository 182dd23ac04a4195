"""Programs on a login node, by OpenSSH's own client: its configuration, keys, agent and jumps.

A program is an argument list. The remote side always has a shell between, so the list is quoted
for it by :mod:`shlex`; where more than one program is needed, a constant script gets its data as
arguments. Host keys are checked and nothing is ever asked at a terminal. One connection is kept
open for a minute and shared by the calls.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.jobs.engines.slurm.transport import File

CONNECT_SECONDS = 15
CALL_SECONDS = 90.0
FETCH_SECONDS = 3600.0
#: Calls at a time; OpenSSH allows ten sessions on one connection.
TOGETHER = 4
#: ssh's own exit status, when it is not the program's.
_SSH_FAILED = 255
#: Characters of the folder of a socket, whose path has 107 at most: ssh adds 58.
_LONGEST_FOLDER = 49
#: Files asked for by one call.
_FILES = 50

# For each pair of file and offset: a line with the number of bytes that follow, then those.
_TAILS = """\
limit=$1; shift
while [ $# -ge 2 ]; do
  size=0; [ -f "$1" ] && size=$(wc -c < "$1")
  count=$((size - $2))
  [ "$count" -gt "$limit" ] && count=$limit
  [ "$count" -gt 0 ] || count=0
  echo "$count"
  [ "$count" -eq 0 ] || \
    dd if="$1" bs=65536 iflag=skip_bytes,count_bytes skip="$2" count="$count" status=none
  shift 2
done
"""
_LIST = '[ ! -d "$1" ] || exec find "$1" -type f -printf "%s %P\\\\0"'


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    out: bytes
    said: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")


def explained(said: str, cluster: SlurmCluster) -> CScaleError:
    """Our error for what ssh said when it could not connect."""
    lower = said.lower()
    facts: dict[str, Any] = {"ssh": said.strip()[-300:]}
    if "host key verification failed" in lower or "host identification has changed" in lower:
        return Forbidden(
            f"{cluster.title} did not show the host key that is known of {cluster.host}.",
            hint="Nothing was sent. Compare the key with the one the cluster publishes; then add "
            "it to the known hosts, or have the operator do so.",
            **facts,
        )
    if "permission denied" in lower or "too many authentication failures" in lower:
        return LoginRequired(
            f"{cluster.title} does not accept your key.",
            hint="Is it registered there, and is the agent or certificate it needs still valid? "
            "Try ssh with BatchMode=yes in a terminal.",
            **facts,
        )
    if "no such identity" in lower or "unprotected private key" in lower:
        return LoginRequired(f"The key for {cluster.title} cannot be used.", **facts)
    if "could not resolve hostname" in lower:
        return UpstreamError(
            f"{cluster.host} of {cluster.title} cannot be found.", retryable=True, **facts
        )
    if "timed out" in lower or "timeout" in lower:
        return UpstreamTimeout(f"{cluster.title} did not answer in time.", retryable=True, **facts)
    return UpstreamError(f"{cluster.title} cannot be reached by ssh.", retryable=True, **facts)


class Ssh:
    """Runs programs on the cluster's login node."""

    def __init__(self, cluster: SlurmCluster, slug: str, program: str = "ssh") -> None:
        self.cluster = cluster
        self._program = program
        self._user = cluster.user and cluster.account_name(slug)
        self._turn = asyncio.Semaphore(TOGETHER)
        self._sockets: Path | None = None

    def arguments(self) -> list[str]:
        """ssh's own arguments, the host included."""
        if self._sockets is None:
            self._sockets = Path(tempfile.mkdtemp(prefix="cscale-ssh-"))
        cluster = self.cluster
        shared = len(str(self._sockets)) <= _LONGEST_FOLDER
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "2",
            "ControlMaster": "auto" if shared else "no",
            "ControlPath": f"{self._sockets}/%C" if shared else "none",
            "ControlPersist": "60",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
        }
        if cluster.known_hosts:
            options["UserKnownHostsFile"] = str(Path(cluster.known_hosts).expanduser())
        if cluster.identity_file:
            options["IdentityFile"] = str(Path(cluster.identity_file).expanduser())
            options["IdentitiesOnly"] = "yes"
        given = [self._program, "-T"]
        for name, value in options.items():
            given += ["-o", f"{name}={value}"]
        if cluster.port:
            given += ["-p", str(cluster.port)]
        if self._user:
            given += ["-l", self._user]
        return [*given, "--", cluster.host]

    async def run(
        self,
        arguments: Sequence[str],
        *,
        data: bytes = b"",
        seconds: float = CALL_SECONDS,
        target: IO[bytes] | None = None,
    ) -> Done:
        """Run a program there.

        :param data: its standard input.
        :param target: a file that takes its standard output.
        :raises LoginRequired: when the key is not accepted.
        :raises Forbidden: when the host key is not the known one.
        :raises UpstreamError: when the node cannot be reached, with ``retryable``.
        """
        async with self._turn:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.arguments(),
                    shlex.join(arguments),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=target if target is not None else asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    # Ctrl-C at the server's terminal is not for it.
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise NotFound(
                    "The program ssh is not installed here.", hint="Debian: openssh-client."
                ) from None
            try:
                async with asyncio.timeout(seconds):
                    out, err = await process.communicate(data)
            except TimeoutError:
                raise UpstreamTimeout(
                    f"{self.cluster.title} did not answer in time.", retryable=True
                ) from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        said = err.decode("utf-8", "replace")
        assert process.returncode is not None  # noqa: S101 - communicate() waited for it
        if process.returncode == _SSH_FAILED:
            raise explained(said, self.cluster)
        return Done(process.returncode, out or b"", said)

    async def script(
        self, text: str, arguments: Sequence[str], *, data: bytes = b"", seconds: float = 90.0
    ) -> Done:
        """Run a constant script of the POSIX shell with arguments."""
        return await self.run(["sh", "-c", text, "cscale", *arguments], data=data, seconds=seconds)

    async def close(self) -> None:
        """End the shared connection."""
        if self._sockets is None:
            return
        *given, dashes, host = self.arguments()
        process = await asyncio.create_subprocess_exec(
            *given,
            *("-O", "exit", dashes, host),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.wait()
        await asyncio.to_thread(shutil.rmtree, self._sockets, True)
        self._sockets = None


class SshFiles:
    """Files of the cluster, read on its login node."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh

    async def tails(self, wanted: Mapping[str, int], limit: int) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        paths = list(wanted)
        for first in range(0, len(paths), _FILES):
            part = paths[first : first + _FILES]
            pairs = [word for path in part for word in (path, str(wanted[path]))]
            done = await self._ssh.script(_TAILS, [str(limit), *pairs])
            found.update(zip(part, _framed(done, len(part)), strict=True))
        return found

    async def listing(self, folder: str) -> Sequence[File]:
        done = await self._ssh.script(_LIST, [folder])
        entries = (entry.partition(" ") for entry in done.text.split("\0") if entry)
        return [File(path, int(size)) for size, _, path in entries]

    async def fetch(self, path: str, target: Path) -> None:
        with target.open("wb") as file:
            done = await self._ssh.run(["cat", "--", path], seconds=FETCH_SECONDS, target=file)
        if done.code:
            raise NotFound(f"{path} cannot be read on {self._ssh.cluster.title}: {done.said[:300]}")


def _framed(done: Done, count: int) -> list[bytes]:
    """The pieces of an answer of ``_TAILS``."""
    pieces, rest = [], done.out
    for _ in range(count):
        head, newline, rest = rest.partition(b"\n")
        if not newline or not re.fullmatch(rb"\d+", head) or len(rest) < int(head):
            raise UpstreamError(
                "The cluster's files could not be read.", retryable=True, said=done.said[:300]
            )
        pieces.append(rest[: int(head)])
        rest = rest[int(head) :]
    return pieces
