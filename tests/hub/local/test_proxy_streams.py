"""The local proxy passes bytes, streams and WebSocket messages on as they are."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from aiohttp import ClientSession, WSMsgType, web

from tests.waiting import until

TOKEN = "test-token"
BIG = 30 * 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(3):
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(0.6)
    return response


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "raw": request.raw_path,
            "body": (await request.read()).decode(),
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
    )


async def big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(BIG)})
    await response.prepare(request)
    for _ in range(BIG // 2**20):
        await response.write(b"x" * 2**20)
    return response


async def redirect(request: web.Request) -> web.Response:
    response = web.Response(status=302, headers={"Location": "/elsewhere"})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    request.transport.close()  # type: ignore[union-attr]
    return response


async def socket_echo(request: web.Request) -> web.WebSocketResponse:
    channel = web.WebSocketResponse(protocols=["v1.kernel.websocket.jupyter.org"])
    await channel.prepare(request)
    async for message in channel:
        if message.data == "bye":
            await channel.close(code=4001)
        elif message.type is WSMsgType.BINARY:
            await channel.send_bytes(message.data)
        else:
            await channel.send_str(message.data)
    return channel


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/thing/events", events)
    app.router.add_get("/thing/big", big)
    app.router.add_get("/thing/redirect", redirect)
    app.router.add_get("/thing/broken", broken)
    app.router.add_get("/thing/ws", socket_echo)
    app.router.add_route("*", "/thing/{rest:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[int, int]]:
    port, api_port = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cscale_hub.local.proxy"),
            *("--ip", "127.0.0.1", "--port", str(port)),
            *("--api-ip", "127.0.0.1", "--api-port", str(api_port)),
            *("--error-target", f"http://127.0.0.1:{free_port()}/error"),
        ],
        env={"CONFIGPROXY_AUTH_TOKEN": TOKEN},
    )
    routes = f"http://127.0.0.1:{api_port}/api/routes"
    until(lambda: httpx.get(routes).status_code, "the proxy", despite=httpx.TransportError)
    yield port, api_port
    process.terminate()
    assert process.wait(5) == 0


@pytest.fixture
async def base(proxy: tuple[int, int], upstream: int) -> str:
    port, api_port = proxy
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://127.0.0.1:{api_port}/api/routes/thing",
            json={"target": f"http://127.0.0.1:{upstream}"},
            headers={"Authorization": f"token {TOKEN}"},
        )
    assert answer.status_code == 201
    return f"http://127.0.0.1:{port}"


async def test_routes_need_the_token(proxy: tuple[int, int]) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{proxy[1]}/api/routes")
    assert answer.status_code == 403


async def test_events_arrive_one_by_one(base: str) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", f"{base}/thing/events") as got:
        assert got.headers["content-type"] == "text/event-stream"
        seen = [time.monotonic() async for line in got.aiter_lines() if line]
    assert len(seen) == 3
    assert seen[2] - seen[0] > 0.8


async def test_slow_answers_do_not_keep_others_waiting(base: str) -> None:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=50)) as client:
        slow = [asyncio.create_task(client.get(f"{base}/thing/events")) for _ in range(15)]
        await asyncio.sleep(0.3)
        await client.get(f"{base}/thing/quick")
        assert not any(task.done() for task in slow)
        assert {(await task).status_code for task in slow} == {200}


async def test_path_query_and_body_are_not_touched(base: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.put(f"{base}/thing/a%2Fb%20c/%C3%A9?q=%2F&q=2", content=b"body")
    assert answer.json()["raw"] == "/thing/a%2Fb%20c/%C3%A9?q=%2F&q=2"
    assert answer.json()["body"] == "body"


async def test_forwarding_headers_of_the_client_are_not_believed(base: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"{base}/thing/x", headers={"X-Forwarded-For": "10.1.1.1", "X-Forwarded-Host": "evil"}
        )
    headers = answer.json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == headers["host"] == base.removeprefix("http://")


async def test_chunked_upload_arrives_whole(base: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"12345"

    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{base}/thing/x", content=pieces())
    assert answer.json()["body"] == "12345" * 5


async def test_big_download_keeps_its_length(base: str) -> None:
    received = 0
    async with httpx.AsyncClient() as client, client.stream("GET", f"{base}/thing/big") as got:
        assert got.headers["content-length"] == str(BIG)
        async for chunk in got.aiter_raw():
            received += len(chunk)
    assert received == BIG


async def test_redirect_and_both_cookies_come_through(base: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{base}/thing/redirect")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/elsewhere"
    assert len(answer.headers.get_list("set-cookie")) == 2


async def test_answer_that_breaks_off_is_not_taken_for_a_whole_one(base: str) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"{base}/thing/broken")


async def test_absent_upstream_is_503_and_unknown_path_404(
    base: str, proxy: tuple[int, int]
) -> None:
    async with httpx.AsyncClient() as client:
        await client.post(
            f"http://127.0.0.1:{proxy[1]}/api/routes/gone",
            json={"target": f"http://127.0.0.1:{free_port()}"},
            headers={"Authorization": f"token {TOKEN}"},
        )
        assert (await client.get(f"{base}/gone/x")).status_code == 503
        assert (await client.get(f"{base}/nothing")).status_code == 404


async def test_socket_keeps_frame_kinds_and_the_chosen_subprotocol(base: str) -> None:
    async with (
        ClientSession() as session,
        session.ws_connect(
            f"{base}/thing/ws", protocols=["other", "v1.kernel.websocket.jupyter.org"]
        ) as channel,
    ):
        assert channel.protocol == "v1.kernel.websocket.jupyter.org"
        # Not valid UTF-8: as a text frame it would end the connection.
        await channel.send_bytes(b"\x00\xff\xfe")
        answer = await channel.receive(5)
        assert (answer.type, answer.data) == (WSMsgType.BINARY, b"\x00\xff\xfe")
        await channel.send_str("text")
        answer = await channel.receive(5)
        assert (answer.type, answer.data) == (WSMsgType.TEXT, "text")


async def test_end_of_the_socket_upstream_reaches_the_browser(base: str) -> None:
    async with ClientSession() as session, session.ws_connect(f"{base}/thing/ws") as channel:
        await channel.send_str("bye")
        answer = await channel.receive(5)
        assert answer.type is WSMsgType.CLOSE
        assert answer.data == 4001


def test_other_interfaces_are_refused() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cscale_hub.local.proxy"),
            *("--ip", "0.0.0.0", "--port", "1", "--api-ip", "127.0.0.1", "--api-port", "2"),
            *("--error-target", "http://127.0.0.1:3"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "loopback only" in done.stderr
