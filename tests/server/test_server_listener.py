"""The loopback credentials endpoint: who gets an answer, and which."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_core.errors import Conflict, UpstreamError
from cscale_core.identity.tokens import BrokerTokens, LoopbackTokens
from cscale_server.listener import LoopbackListener, NoBroker


@pytest.fixture
async def listener(tmp_path: Path, broker: Any) -> AsyncIterator[LoopbackListener]:
    listener = LoopbackListener(broker, tmp_path / "runtime")
    listener.bind()
    await listener.start()
    yield listener
    await listener.stop()


async def ask(
    listener: LoopbackListener, path: str, method: str = "GET", secret: str | bytes | None = None
) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        given = listener.token_file.read_text() if secret is None else secret
        return await http.request(
            method, listener.url + path, headers={"Authorization": given} if given else {}
        )


async def test_credentials_have_the_container_format(listener: LoopbackListener) -> None:
    answer = await ask(listener, "/v1/s3")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}


async def test_a_token_is_given_per_audience(
    listener: LoopbackListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await ask(listener, "/v1/token?audience=openeo")
    assert answer.json()["access_token"] == "token-for-openeo"
    assert (await ask(listener, "/v1/token")).status_code == 422
    monkeypatch.setenv("CSCALE_TOKEN_URL", listener.url)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(listener.token_file))
    assert await LoopbackTokens().token("catalogue") == "token-for-catalogue"


@pytest.mark.parametrize("secret", ["", "wrong", "token x", "\xe4".encode("latin-1")])
@pytest.mark.parametrize("path", ["/v1/s3", "/v1/token?audience=openeo", "/other"])
async def test_without_the_content_of_the_file_there_is_nothing(
    listener: LoopbackListener, broker: Any, path: str, secret: str | bytes
) -> None:
    answer = await ask(listener, path, secret=secret)
    assert answer.status_code == 401
    assert answer.json()["code"] == "login_required"
    assert broker.asked == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_there_is_only_get(listener: LoopbackListener, method: str) -> None:
    assert (await ask(listener, "/v1/s3", method)).status_code == 405


async def test_the_token_file_is_private_and_goes_with_the_listener(
    tmp_path: Path, broker: Any
) -> None:
    listener = LoopbackListener(broker, tmp_path / "runtime")
    listener.bind()
    await listener.start()
    file = listener.token_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(file.read_text()) >= 43
    assert not file.read_text().endswith("\n")
    await listener.stop()
    assert not file.exists()
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(listener.url)


async def answers(address: str, token_file: Path) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        given = {"Authorization": token_file.read_text()}
        return (await http.get(f"{address}/v1/s3", headers=given)).status_code


async def test_the_next_server_has_the_same_address_and_another_secret(
    tmp_path: Path, broker: Any
) -> None:
    """Also after a kill, which leaves the file: what runs on is answered again."""
    kept = tmp_path / "data" / "port"
    first = LoopbackListener(broker, tmp_path / "runtime", kept=kept)
    first.bind()
    await first.start()
    address, file = first.url, first.token_file
    left = file.read_text()
    await first.stop()
    file.write_text(left)
    second = LoopbackListener(broker, tmp_path / "runtime", kept=kept)
    second.bind()
    await second.start()
    assert (second.url, second.token_file) == (address, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() != left
    assert await answers(address, file) == 200
    beside = LoopbackListener(broker, tmp_path / "runtime", kept=kept)
    beside.bind()
    await beside.start()
    assert beside.url != address
    assert await answers(beside.url, beside.token_file) == 200
    await beside.stop()
    assert await answers(address, file) == 200
    await second.stop()
    again = LoopbackListener(broker, tmp_path / "runtime", kept=kept)
    again.bind()
    await again.start()
    assert again.url == address
    await again.stop()


@pytest.mark.parametrize("text", ["", "none", "80", "70000"])
async def test_a_port_that_cannot_be_is_not_taken(tmp_path: Path, broker: Any, text: str) -> None:
    (tmp_path / "port").write_text(text)
    listener = LoopbackListener(broker, tmp_path / "runtime", kept=tmp_path / "port")
    listener.bind()
    await listener.start()
    assert await answers(listener.url, listener.token_file) == 200
    assert (tmp_path / "port").read_text() == f"{listener.port}\n"
    await listener.stop()


async def test_only_loopback_is_bound(listener: LoopbackListener) -> None:
    assert {bound.getsockname()[0] for bound in listener._sockets} == {"127.0.0.1"}


async def test_a_shared_server_gets_no_credentials(listener: LoopbackListener, broker: Any) -> None:
    broker.failure = Conflict("The server is shared.", hint="Stop sharing it.")
    answer = await ask(listener, "/v1/s3")
    assert answer.status_code == 409
    assert answer.json()["message"] == "The server is shared."


async def test_an_outage_of_the_broker_is_an_error_that_sdks_retry(
    listener: LoopbackListener, broker: Any
) -> None:
    broker.failure = UpstreamError("The broker cannot be reached.", retryable=True)
    answer = await ask(listener, "/v1/s3")
    assert answer.status_code == 502
    assert answer.json()["retryable"] is True


async def test_a_trouble_is_logged_once_however_often_sdks_try_again(
    listener: LoopbackListener, broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker.failure = UpstreamError("The broker cannot be reached.")
    for _ in range(5):
        await ask(listener, "/v1/s3")
    assert caplog.text.count("cannot be reached") == 1
    broker.failure = None
    await ask(listener, "/v1/s3")
    broker.failure = UpstreamError("The broker cannot be reached.")
    await ask(listener, "/v1/s3")
    assert caplog.text.count("cannot be reached") == 2


async def test_a_fault_of_ours_tells_the_caller_nothing(
    listener: LoopbackListener, broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker.failure = RuntimeError("secret detail")
    answer = await ask(listener, "/v1/s3")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert answer.json()["request_id"] in caplog.text


async def test_one_user_s_secret_opens_no_other_user_s_endpoint(tmp_path: Path) -> None:
    """Two servers on one machine, at one broker that knows them by their hub tokens."""
    asked: list[str] = []

    async def broker(request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].removeprefix("token ")
        asked.append(token)
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        if request.url.path == "/v1/token":
            return httpx.Response(200, json={"access_token": f"{token}'s", "expires_at": ends})
        keys = {"AccessKeyId": f"{token}'s", "SecretAccessKey": "s", "Token": "t"}
        return httpx.Response(200, json={**keys, "Expiration": ends})

    async with httpx.AsyncClient(transport=httpx.MockTransport(broker)) as http:
        alice, bob = (
            LoopbackListener(BrokerTokens("http://broker", name, http), tmp_path / name)
            for name in ("alice", "bob")
        )
        for each in (alice, bob):
            each.bind()
            await each.start()
        secret = alice.token_file.read_text()
        for path in ("/v1/s3", "/v1/token?audience=openeo", "/v1/s3?user=bob"):
            assert (await ask(bob, path, secret=secret)).status_code == 401
        assert asked == []
        assert (await ask(alice, "/v1/s3?user=bob")).json()["AccessKeyId"] == "alice's"
        token = await ask(alice, "/v1/token?audience=openeo&user=bob")
        assert token.json()["access_token"] == "alice's"
        assert set(asked) == {"alice"}
        for each in (alice, bob):
            await each.stop()


async def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    listener = LoopbackListener(NoBroker(), tmp_path)
    listener.bind()
    await listener.start()
    answer = await ask(listener, "/v1/s3")
    await listener.stop()
    assert answer.status_code == 503
    assert "broker" in answer.json()["message"]


async def test_the_environment_leads_sdks_to_the_site(
    listener: LoopbackListener, make_site: Any
) -> None:
    found = listener.environment(make_site("http://127.0.0.1:8333"))
    assert found["AWS_S3_ENDPOINT"] == "127.0.0.1:8333"
    assert found["AWS_HTTPS"] == "NO"
    assert listener.environment(make_site("https://s3.example.org"))["AWS_HTTPS"] == "YES"
    assert listener.secret not in " ".join(found.values())


SCRIPT = """
import json, sys
import boto3
from botocore.config import Config
names = [o["Key"] for o in boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
         .list_objects_v2(Bucket="aquamonitor").get("Contents", [])]
import rasterio
with rasterio.open("/vsis3/aquamonitor/products/tiny.tif") as image:
    print(json.dumps({"names": names, "value": int(image.read(1)[0, 0])}))
"""


async def test_boto3_and_gdal_find_credentials_by_themselves(
    listener: LoopbackListener, store: Any, make_site: Any, tmp_path: Path
) -> None:
    import numpy as np
    import rasterio

    tiny = tmp_path / "tiny.tif"
    with rasterio.open(
        tiny, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", crs="EPSG:32629"
    ) as image:
        image.write(np.full((1, 2, 2), 7, "uint8"))
    store.write("products/tiny.tif", tiny.read_bytes())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **listener.environment(make_site(store.endpoint)),
        "HOME": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert json.loads(out) == {"names": ["products/tiny.tif"], "value": 7}


async def test_what_runs_beside_the_server_finds_the_place_agreed_on(
    tmp_path: Path, broker: Any
) -> None:
    free = LoopbackListener(broker, tmp_path / "free")
    free.bind()
    await free.start()
    port = free.port
    with pytest.raises(OSError, match="agreed on"):
        LoopbackListener(broker, tmp_path, agreed=(port, tmp_path / "keys/token")).bind()
    await free.stop()
    listener = LoopbackListener(broker, tmp_path, agreed=(port, tmp_path / "keys/token"))
    listener.bind()
    await listener.start()
    try:
        assert (listener.port, listener.token_file) == (port, tmp_path / "keys/token")
        assert stat.S_IMODE(listener.token_file.stat().st_mode) == 0o600
        assert (await ask(listener, "/v1/s3")).status_code == 200
    finally:
        await listener.stop()
