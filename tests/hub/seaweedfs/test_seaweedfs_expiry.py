"""Credentials that really end: each client of a user's server gets new ones by itself.

SeaweedFS makes no session shorter than 15 minutes, so the test signs the session tokens that STS
gave anew, with another end; SeaweedFS holds everybody to it. The credentials take the whole way of
a user's server: broker (a double), :class:`BrokerTokens`, the loopback listener, the client.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import jwt
import numpy as np
import pytest
import rasterio
from botocore.exceptions import ClientError

from cscale_core.identity.tokens import BrokerTokens
from cscale_core.site import Catalogue, S3Site, Site
from cscale_hub.places import VOStorage
from cscale_hub.storage import grants, session_policy
from cscale_server.listener import LoopbackListener
from tests.hub.seaweedfs.long_lived_client import BUCKET, CLIENTS, FIRST, SECOND

SLUG = "uexpiry23456"
AQUA = VOStorage("aquamonitor.c-scale.eu", BUCKET)
LIFE = 20.0
TEXTS = {FIRST: "before", SECOND: "after it"}
NUMBERS = {FIRST: 7, SECOND: 11}
SAID: dict[str, dict[str, Any]] = {
    "boto3": TEXTS,
    "s3fs": TEXTS,
    "rclone": {key: len(text) for key, text in TEXTS.items()},
    "gdal": NUMBERS,
    "rasterio": NUMBERS,
    "duckdb": NUMBERS,
}


@dataclass
class ShortLived:
    """The broker's double: real STS, and an end that is near."""

    store: Any
    issued: list[dict[str, str]] = field(default_factory=list)
    last_end: float = 0.0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/s3"
        made = await asyncio.to_thread(self.make)
        self.issued.append(made)
        return httpx.Response(200, json=made)

    def make(self) -> dict[str, str]:
        policy = session_policy(grants([AQUA], {AQUA.name: {"member"}}, SLUG))
        given = self.store.credentials(self.store.issuer.token(), policy)
        secrets = Path(self.store.config["secrets_dir"])
        key = base64.b64decode((secrets / "sts-signing-key").read_text())
        session = jwt.decode(given["SessionToken"], key, algorithms=["HS256"])
        self.last_end = session["exp"] = int(time.time() + LIFE)
        end = datetime.fromtimestamp(self.last_end, UTC)
        return {
            "AccessKeyId": given["AccessKeyId"],
            "SecretAccessKey": given["SecretAccessKey"],
            "Token": jwt.encode(session, key, algorithm="HS256"),
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def read_with(self, keys: dict[str, str]) -> None:
        client = self.store.client({**keys, "SessionToken": keys["Token"]})
        client.get_object(Bucket=BUCKET, Key=f"{FIRST}.txt")


def fill(store: Any) -> None:
    """Each of the two objects in every form that the clients read."""
    writer = store.superuser()
    for key, text in TEXTS.items():
        number = NUMBERS[key]
        table = duckdb.sql(f"SELECT {number} AS n")
        with rasterio.MemoryFile() as image:
            shape = {"width": 2, "height": 2, "count": 1, "dtype": "uint8", "crs": "EPSG:32629"}
            with image.open(driver="GTiff", transform=rasterio.Affine.scale(10), **shape) as open_:
                open_.write(np.full((1, 2, 2), number, "uint8"))
            forms = {"txt": text.encode(), "tif": image.read(), "parquet": parquet(table)}
        for form, body in forms.items():
            writer.put_object(Bucket=BUCKET, Key=f"{key}.{form}", Body=body)


def parquet(table: Any) -> bytes:
    import pyarrow.parquet

    into = io.BytesIO()
    pyarrow.parquet.write_table(table.to_arrow_table(), into)
    return into.getvalue()


@pytest.fixture
async def broker(store: Any) -> ShortLived:
    await asyncio.to_thread(fill, store)
    return ShortLived(store)


@pytest.fixture
async def environment(broker: ShortLived, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """That of a kernel in a user's server."""
    site = Site(
        user=SLUG,
        s3=S3Site(endpoint=broker.store.endpoint),
        catalogue=Catalogue(url="http://127.0.0.1:9"),
    )
    async with httpx.AsyncClient(transport=httpx.MockTransport(broker.answer)) as http:
        listener = LoopbackListener(BrokerTokens("http://broker", "t", http), tmp_path / "runtime")
        listener.bind()
        await listener.start()
        kept = {name: each for name, each in os.environ.items() if not name.startswith("AWS_")}
        yield {**kept, "HOME": str(tmp_path), **listener.environment(site)}
        await listener.stop()


async def test_clients_read_on_after_their_credentials_have_ended(
    broker: ShortLived, environment: dict[str, str]
) -> None:
    program = Path(__file__).with_name("long_lived_client.py")
    processes = {
        name: await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), name, broker.store.endpoint),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for name in CLIENTS
    }
    try:
        before = {name: await line(process) for name, process in processes.items()}
        assert before == {name: SAID[name][FIRST] for name in CLIENTS}

        held = list(broker.issued)
        await asyncio.sleep(broker.last_end - time.time() + 1.5)
        for keys in held:
            with pytest.raises(ClientError, match=r"InvalidAccessKeyId|ExpiredToken"):
                await asyncio.to_thread(broker.read_with, keys)

        for process in processes.values():
            assert process.stdin is not None
            process.stdin.write(b"on\n")
        after = {name: await line(process) for name, process in processes.items()}
        assert after == {name: SAID[name][SECOND] for name in CLIENTS}
        assert len(broker.issued) > len(held)
    finally:
        for process in processes.values():
            if process.returncode is None and process.stdin is not None:
                process.stdin.close()  # whoever still waits goes on and ends
                await process.wait()


async def line(process: asyncio.subprocess.Process) -> Any:
    """The next thing a client says."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(120):
        said = await process.stdout.readline()
        if not said:
            pytest.fail((await process.stderr.read()).decode(errors="replace")[-3000:])
    return json.loads(said)
