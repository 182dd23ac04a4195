"""The smallest Ceph that speaks S3 and STS: a monitor, an OSD in memory, a RADOS gateway.

Debian's packages (``scripts/system-packages.sh ceph``); everything is below one folder and on
loopback, and ends with the test. It stands for the Ceph RGW of the sites.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "monmaptool",
    "ceph-mon",
    "ceph-osd",
    "radosgw",
    "radosgw-admin",
)
REGION = "us-east-1"

CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
admin socket =
keyring = {folder}/keyring
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 1
mon allow pool size one = true
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw s3 auth use sts = true
rgw sts key = {sts_key}
rgw thread pool size = 32
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ceph:
    """A cluster of three processes."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            pytest.skip(
                f"{missing[0]} is not installed: apt-get install --no-install-recommends "
                "radosgw ceph-mon ceph-osd ceph-common"
            )
        self.folder = folder
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """From nothing to a gateway that answers: about ten seconds."""
        folder, fsid, disk = self.folder, str(uuid.uuid4()), str(uuid.uuid4())
        monitor = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
        (folder / "ceph.conf").write_text(
            CONFIGURATION.format(
                folder=folder,
                fsid=fsid,
                monitor=monitor,
                gateway=self.port,
                sts_key=secrets.token_hex(8),
            )
        )
        keyring, monmap = str(folder / "keyring"), str(folder / "monmap")
        self.run("ceph-authtool", "--create-keyring", keyring, configured=False)
        for name in ("mon.", "client.admin", "client.rgw", "osd.0"):
            caps = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
            self.run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps, configured=False)
        self.run(
            *("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, monmap),
            configured=False,
        )
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self.daemon("ceph-mon", "-i", "a")
        self.run("ceph", "--connect-timeout", "60", "osd", "new", disk)
        (folder / "osd").mkdir()
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self.daemon("ceph-osd", "-i", "0")
        self.daemon("radosgw", "-n", "client.rgw", "--keyring", keyring)
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                ended = [each.args for each in self._running if each.poll() is not None]
                if ended or time.monotonic() > deadline:
                    pytest.fail(f"Ceph did not come up ({ended}):\n{self.logs()}")
                time.sleep(0.2)

    def run(self, program: str, *arguments: str, configured: bool = True) -> str:
        """One of Ceph's commands, and what it says."""
        options = ("-c", str(self.folder / "ceph.conf")) if configured else ()
        done = subprocess.run(
            [program, *options, *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def daemon(self, program: str, *arguments: str) -> None:
        command = [program, "-f", "-c", str(self.folder / "ceph.conf"), *arguments]
        with (self.folder / f"{program}.out").open("wb") as out:
            self._running.append(subprocess.Popen(command, stdout=out, stderr=out))

    def logs(self) -> str:
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(
            f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files
        )

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def add_user(self, name: str, *caps: str) -> dict[str, str]:
        """A user of the gateway; gives its key pair as the broker's file has it."""
        command = ("user", "create", "--uid", name, "--display-name", name)
        (keys,) = json.loads(self.run("radosgw-admin", *command))["keys"]
        for each in caps:
            self.run("radosgw-admin", "caps", "add", "--uid", name, "--caps", each)
        return {"access_key_id": keys["access_key"], "secret_access_key": keys["secret_key"]}

    def add_role(self, name: str, trust: Any, policies: dict[str, Any]) -> str:
        """A role that may do what the policies say; its ARN."""
        role, policy = f"--role-name={name}", json.dumps(trust)
        document = f"--assume-role-policy-doc={policy}"
        made = self.run("radosgw-admin", "role", "create", role, "--path=/", document)
        for title, each in policies.items():
            what = (f"--policy-name={title}", f"--policy-doc={json.dumps(each)}")
            self.run("radosgw-admin", "role-policy", "put", role, *what)
        return str(json.loads(made)["Arn"])

    def client(self, keys: dict[str, str], token: str | None = None, service: str = "s3") -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=token,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
            ),
        )
