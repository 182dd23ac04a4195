"""How the object store starts, stays closed, is killed, comes back and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from cscale_hub.local.seaweedfs.config import SeaweedConfig
from cscale_hub.local.seaweedfs.iam import iam_document
from tests.waiting import until

ALICE = "ualiceaaaaaa"


def listeners(pid: int) -> set[str]:
    """Addresses (hex, as in proc(5)) of the TCP sockets a process listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1])
    return found


def memory(pid: int, name: str) -> int:
    """MiB, from /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert match
    return int(match[1]) // 1024


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_listens_on_loopback_only_and_on_nothing_that_was_not_asked_for(store: Any) -> None:
    ports = {store.config["port"], *store.config["ports"].values()}
    found = listeners(store.weed_pid)
    assert {address.split(":")[0] for address in found} == {"0100007F"}
    assert {int(address.split(":")[1], 16) for address in found} == ports


def test_the_inner_listeners_answer_only_to_weed_itself(store: Any) -> None:
    """Otherwise anybody on the machine reads every bucket at the filer, whatever S3 says."""
    store.superuser().put_object(Bucket="aquamonitor", Key="products/x", Body=b"product")
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    paths = ("/buckets/aquamonitor/products/x", "/dir/status", "/status", "/")
    for port in store.config["ports"].values():
        for path in paths:
            for scheme in ("http", "https"):
                try:
                    answer = httpx.get(
                        f"{scheme}://127.0.0.1:{port}{path}",
                        verify=trusting,
                        timeout=5,
                        trust_env=False,
                    )
                except httpx.TransportError:
                    continue
                assert answer.status_code == 400, (port, path, scheme)
                assert b"HTTP request to an HTTPS server" in answer.content


def test_weed_s_own_shell_is_refused_without_the_certificate(store: Any, tmp_path: Path) -> None:
    ports = store.config["ports"]
    master = f"127.0.0.1:{ports['master']}.{ports['master_grpc']}"
    weed = Path(sys.executable).parent / "weed"
    try:
        answer = subprocess.run(
            [weed, "-logtostderr", "shell", f"-master={master}"],
            input="s3.bucket.list\n",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"HOME": str(tmp_path)},
            timeout=3,
        ).stdout
    except subprocess.TimeoutExpired as still_trying:
        answer = str(still_trying.stdout or "")
    assert "aquamonitor" not in answer


def test_secrets_are_private_and_neither_in_arguments_nor_environment(store: Any) -> None:
    folder = Path(store.config["secrets_dir"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(Path(store.config["data_dir"]).stat().st_mode) == 0o700
    words = [(folder / "sts-signing-key").read_text().strip()]
    words += re.findall(r'^key = "([A-Za-z0-9_-]{30,})"', (folder / "security.toml").read_text())
    for part in ("cmdline", "environ"):
        seen = Path(f"/proc/{store.weed_pid}/{part}").read_bytes().decode(errors="replace")
        assert not any(word in seen for word in words)
    assert json.loads((folder / "s3.json").read_text()) == {"identities": []}


def test_memory_stays_bounded_under_load(store: Any, record_property: Any) -> None:
    client = store.superuser()
    body = os.urandom(24 * 2**20)
    idle = memory(store.weed_pid, "VmRSS")
    for number in range(8):
        client.put_object(Bucket="aquamonitor", Key=f"products/load-{number}", Body=body)
    for number in range(8):
        client.get_object(Bucket="aquamonitor", Key=f"products/load-{number}")["Body"].read()
    peak = memory(store.weed_pid, "VmHWM")
    record_property("rss_mib", {"idle": idle, "peak": peak})
    print(f"weed: {idle} MiB before, {peak} MiB at most; up in {store.started_in:.1f} s")
    assert peak < store.config["memory_limit_mb"] + 200


def test_killed_weed_ends_the_launcher_and_nothing_is_lost(make_store: Any) -> None:
    began_at = time.time()
    store = make_store()
    store.start()
    user = store.user(ALICE)
    small = {f"users/{ALICE}/{n}": os.urandom(2000) for n in range(20)}
    big = os.urandom(9 * 2**20)
    for key, body in small.items():
        user.put_object(Bucket="aquamonitor", Key=key, Body=body)
    user.put_object(Bucket="aquamonitor", Key=f"users/{ALICE}/big", Body=big)
    os.kill(store.weed_pid, signal.SIGKILL)
    assert store.process.wait(10) == 1
    assert "ended by itself" in store.log()

    store.start()  # as the one who watches the launcher would
    assert store.started_in < 30
    for key, body in small.items():
        assert user.get_object(Bucket="aquamonitor", Key=key)["Body"].read() == body
    assert user.get_object(Bucket="aquamonitor", Key=f"users/{ALICE}/big")["Body"].read() == big
    user.put_object(Bucket="aquamonitor", Key=f"users/{ALICE}/after", Body=b"still works")

    began = time.monotonic()
    assert store.stop() == 0
    assert time.monotonic() - began < 5
    ports = [str(port) for port in (store.config["port"], *store.config["ports"].values())]
    sockets = Path("/tmp").glob("seaweedfs-*.sock")
    # Others may have had the same port, and have been killed.
    left = [path.name for path in sockets if path.lstat().st_mtime >= began_at - 1]
    assert not [name for name in left if any(f"-{port}.sock" in name for port in ports)]


def test_weed_does_not_outlive_a_killed_launcher(make_store: Any) -> None:
    store = make_store()
    store.start()
    weed = store.weed_pid
    os.kill(store.process.pid, signal.SIGKILL)
    store.process.wait(5)
    until(lambda: gone(weed), "the end of weed", 5)


def test_it_comes_up_while_the_issuer_is_down_and_gives_credentials_later(make_store: Any) -> None:
    store = make_store(issuer_up=False)
    store.start()
    assert httpx.get(f"{store.endpoint}/healthz", trust_env=False).status_code == 200
    assert store.sts(store.issuer.token()).status_code != 200
    store.issuer.start()
    assert store.sts(store.issuer.token()).status_code == 200
    store.stop()


def test_a_vo_that_is_removed_is_closed_after_a_restart(make_store: Any) -> None:
    """Also for sessions that are still valid: the bound of the role is read anew."""
    store = make_store(buckets=["archive"])
    store.start()
    user = store.user(ALICE, "aquamonitor.c-scale.eu", "waterwatch.c-scale.eu")
    for bucket in ("aquamonitor", "waterwatch"):
        user.put_object(Bucket=bucket, Key="products/x", Body=b"x")
    store.stop()
    store.config["vos"] = [{"name": "aquamonitor.c-scale.eu", "bucket": "aquamonitor"}]
    store.config_file.write_text(json.dumps(store.config))
    store.start()
    assert user.get_object(Bucket="aquamonitor", Key="products/x")["Body"].read() == b"x"
    with pytest.raises(Exception, match="AccessDenied"):
        user.get_object(Bucket="waterwatch", Key="products/x")
    store.stop()


def test_a_taken_port_is_an_error_and_not_a_silent_wait(store: Any, tmp_path: Path) -> None:
    config = store.config | {
        "data_dir": str(tmp_path / "data"),
        "secrets_dir": str(tmp_path / "secrets"),
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    second = subprocess.run(
        [sys.executable, "-m", "cscale_hub.local.seaweedfs", "--config", file],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "is up after" not in second.stderr
    assert f"port {config['port']} (s3): Address already in use" in second.stderr
    assert httpx.get(f"{store.endpoint}/healthz", trust_env=False).status_code == 200


def example() -> dict[str, Any]:
    names = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
    return {
        "port": 8333,
        "ports": {name: 9000 + number for number, name in enumerate(names)},
        "data_dir": "/data",
        "secrets_dir": "/secrets",
        "issuer": "http://127.0.0.1:1/auth/realms/egi",
        "jwks_url": "http://127.0.0.1:1/certs",
        "vos": [{"name": "a", "bucket": "aaa"}],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "192.0.2.1"},
        {"port": 9000},
        {"vos": []},
        {"vos": [{"name": "a", "bucket": "a*a"}]},
        {"vos": [{"name": "a", "bucket": "aaa"}, {"name": "b", "bucket": "aaa"}]},
        {"unknown": 1},
        {"researcher_clients": []},
    ],
)
def test_unusable_configurations_are_refused(change: dict[str, Any]) -> None:
    assert SeaweedConfig.model_validate(example())
    with pytest.raises(ValidationError):
        SeaweedConfig.model_validate(example() | change)


def test_the_iam_file_denies_by_default_and_trusts_one_audience() -> None:
    document = iam_document(SeaweedConfig.model_validate(example()), "key")
    assert document["policy"]["defaultEffect"] == "Deny"
    assert document["roleStore"] == {"storeType": "memory"}
    (provider,) = document["providers"]
    assert provider["config"]["clientId"] == "s3"
    for role in document["roles"]:
        (statement,) = role["trustPolicy"]["Statement"]
        assert statement["Condition"]["StringEquals"]["oidc:azp"]
