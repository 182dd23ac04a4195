"""The guarded client on the wire: what it connects to, what it sends, and how it fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cscale_core.errors import Forbidden, UpstreamError, UpstreamTimeout
from cscale_core.http import Egress, fetch, guarded_client, open_response, site_egress
from cscale_core.site import Site

MakeSite = Callable[..., Site]
Answering = Callable[[socket.socket], None]


def app(endpoint: Callable[[Request], Awaitable[Response]]) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "HEAD"])])


async def echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "target": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "body": (await request.body()).decode(),
            "headers": [[k.decode(), v.decode()] for k, v in request.headers.raw],
            "client": request.client.port if request.client else None,
        },
        headers={"Set-Cookie": "a=b"},
    )


@contextmanager
def raw(*answers: Answering) -> Iterator[str]:
    """A server that speaks as it wants: one answer for each connection, the last for all others."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    ended = threading.Event()

    def talk(connection: socket.socket, answer: Answering) -> None:
        with connection, suppress(OSError):  # the client may have gone
            answer(connection)

    def run() -> None:
        left = list(answers)
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            answer = left.pop(0) if len(left) > 1 else left[0]
            threading.Thread(target=talk, args=(connection, answer), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(5)
        listener.close()


def saying(text: bytes) -> Answering:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)

    return answer


def open_site(make_site: MakeSite, *urls: str) -> tuple[Site, Egress]:
    """A site that allows these, and what may be asked there."""
    site = make_site(allowed_hosts=[url.removeprefix("http://") for url in urls])
    return site, site_egress(site)


async def got(site: Site, egress: Egress, url: str, method: str = "GET", **more: Any) -> Any:
    async with guarded_client(site) as http:
        return json.loads((await fetch(http, egress, method, url, **more)).data)


# --- what is connected to ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "2130706433",
        "127.1",
        "127.0.0.1.",
    ],
)
async def test_the_client_itself_does_not_connect_to_an_address_inside(
    host: str, serve: Any, make_site: MakeSite
) -> None:
    port = serve(app(echo)).rsplit(":", 1)[1]
    async with guarded_client(make_site()) as http:
        for path in ("straight", "httpx"):
            request = http.build_request("GET", f"http://{host}:{port}/")
            with pytest.raises(Forbidden):
                await (http.straight(request) if path == "straight" else http.send(request))


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "0x7f000001"])
async def test_nor_to_a_name_that_means_one(name: str, serve: Any, make_site: MakeSite) -> None:
    port = serve(app(echo)).rsplit(":", 1)[1]
    async with guarded_client(make_site()) as http:
        with pytest.raises((Forbidden, httpx.ConnectError)):
            await http.get(f"http://{name}:{port}/")


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"]])
async def test_one_address_inside_among_those_of_a_name_is_enough(
    addresses: list[str], serve: Any, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve(app(echo)).rsplit(":", 1)[1]

    async def resolve(host: str, port: int) -> list[str]:
        return addresses

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    async with guarded_client(make_site()) as http:
        with pytest.raises(Forbidden, match="private address"):
            await http.get(f"http://stac.example.eu:{port}/")


async def test_a_name_is_looked_up_anew_for_every_connection(
    serve: Any, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closing(_: Request) -> Response:
        return JSONResponse({}, headers={"Connection": "close"})

    port = serve(app(closing)).rsplit(":", 1)[1]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    async with guarded_client(make_site(allowed_hosts=["stac.example.eu"])) as http:
        for _ in range(3):
            await http.get(f"http://Stac.example.eu:{port}/")
    assert asked == ["stac.example.eu"] * 3


async def test_redirects_and_names_in_addresses_are_not_for_the_client(
    serve: Any, make_site: MakeSite
) -> None:
    async def away(_: Request) -> Response:
        return RedirectResponse("http://10.0.0.1/", 307)

    url = serve(app(away))
    site, egress = open_site(make_site, url)
    async with guarded_client(site) as http:
        assert (await http.get(url)).status_code == 307
        with pytest.raises(Forbidden):
            await fetch(http, egress, "GET", url)
        with pytest.raises(Forbidden, match="user name"):
            await http.get(url.replace("//", "//me:secret@"))


async def test_a_proxy_of_the_environment_is_not_used(
    serve: Any, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(app(echo))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await got(*open_site(make_site, url), url))["method"] == "GET"


# --- what is sent ------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_request_is_sent_as_httpx_sends_it(
    guarded: bool, serve: Any, make_site: MakeSite
) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    body = {"ids": ["Ä", 'q"\\'], "bbox": [1.5, 2, 3, 4], "large": 2**70}
    client = guarded_client(site) if guarded else httpx.AsyncClient(headers={"User-Agent": "us"})
    async with client as http:
        answer = await fetch(
            http,
            egress,
            "POST",
            f"{url}/a%2Fb/c d/%C3%A4?sig=a%2Bb%3D&x=1",
            body=body,
            headers={"Authorization": "Bearer t"},
        )
    sent = json.loads(answer.data)
    assert json.loads(sent["body"]) == body
    assert " " not in sent["body"].replace(": ", "")
    assert (sent["target"], sent["query"]) == ("/a%2Fb/c%20d/%C3%A4", "sig=a%2Bb%3D&x=1")
    headers = {k.lower(): v for k, v in sent["headers"]}
    assert len(headers) == len(sent["headers"]), "no header twice"
    assert headers["host"] == url.removeprefix("http://")
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(sent["body"].encode()))
    assert headers["authorization"] == "Bearer t"
    assert headers["accept"].startswith("application/geo+json")
    assert headers["user-agent"] == ("cscale-hub" if guarded else "us")
    if guarded:
        assert headers["accept-encoding"] == "gzip, deflate"


async def test_parameters_are_added_as_httpx_adds_them(serve: Any, make_site: MakeSite) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    params = {"bbox": "1,2,3,4", "datetime": "2024-01-01T00:00:00+01:00/..", "q": "a b&c"}
    sent = await got(site, egress, f"{url}/search", params=params)
    assert httpx.QueryParams(sent["query"]) == httpx.QueryParams(params)
    assert sent["query"] == str(httpx.URL(url, params=params).query, "ascii")
    assert sent["body"] == ""
    assert "content-type" not in {k for k, _ in sent["headers"]}


async def test_no_cookie_is_kept_and_the_connection_is(serve: Any, make_site: MakeSite) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    async with guarded_client(site) as http:
        seen = [json.loads((await fetch(http, egress, "GET", url)).data) for _ in range(3)]
    assert len({each["client"] for each in seen}) == 1
    assert all("cookie" not in {k for k, _ in each["headers"]} for each in seen)


async def test_the_connections_of_many_hosts_stay_open(serve: Any, make_site: MakeSite) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    async with guarded_client(site) as http:

        async def ask() -> int:
            port: int = json.loads((await fetch(http, egress, "GET", url)).data)["client"]
            return port

        first = set(await asyncio.gather(*(ask() for _ in range(64))))
        again = set(await asyncio.gather(*(ask() for _ in range(64))))
    assert len(again - first) < len(first) / 2, "most were used again"


def test_a_client_outlives_the_loop_it_was_used_in(serve: Any, make_site: MakeSite) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    http = guarded_client(site)

    async def ask() -> int:
        return (await fetch(http, egress, "GET", url)).status

    assert [asyncio.run(ask()), asyncio.run(ask())] == [200, 200]
    asyncio.run(http.aclose())


async def test_a_closed_client_says_so(serve: Any, make_site: MakeSite) -> None:
    url = serve(app(echo))
    site, egress = open_site(make_site, url)
    http = guarded_client(site)
    await fetch(http, egress, "GET", url)
    await http.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await fetch(http, egress, "GET", url)


# --- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0)),
        ("deflate", zlib.compress(b'{"a": 1}')),
        ("identity", b'{"a": 1}'),
    ],
)
async def test_what_was_asked_for_is_unpacked(
    encoding: str, packed: bytes, serve: Any, make_site: MakeSite
) -> None:
    async def answer(_: Request) -> Response:
        return Response(packed, headers={"Content-Encoding": encoding})

    url = serve(app(answer))
    assert await got(*open_site(make_site, url), url) == {"a": 1}


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip,br"])
async def test_other_ways_of_packing_are_refused(
    encoding: str, serve: Any, make_site: MakeSite
) -> None:
    async def answer(_: Request) -> Response:
        return Response(gzip.compress(gzip.compress(b"{}")), headers={"Content-Encoding": encoding})

    url = serve(app(answer))
    with pytest.raises(UpstreamError, match="DecodingError"):
        await got(*open_site(make_site, url), url)


async def test_packed_twice_in_two_headers_is_refused_too(make_site: MakeSite) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n"
    with (
        raw(saying(head + b"Content-Length: 0\r\n\r\n")) as url,
        pytest.raises(UpstreamError, match="DecodingError"),
    ):
        await got(*open_site(make_site, url), url)


async def test_a_bomb_is_not_unpacked_beyond_the_bound(serve: Any, make_site: MakeSite) -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    bomb = b"".join([packer.compress(zeros) for _ in range(1024)] + [packer.flush()])
    assert len(bomb) < 2**21

    async def answer(_: Request) -> Response:
        return Response(bomb, headers={"Content-Encoding": "gzip"})

    url = serve(app(answer))
    site, egress = open_site(make_site, url)
    tracemalloc.start()
    try:
        async with guarded_client(site) as http:
            with pytest.raises(UpstreamError, match="more than 4 MB"):
                await fetch(http, egress, "GET", url, max_bytes=4 * 2**20)
        assert tracemalloc.get_traced_memory()[1] < 96 * 2**20
    finally:
        tracemalloc.stop()


async def test_the_size_is_bounded_as_it_comes(make_site: MakeSite) -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with raw(endless) as url, pytest.raises(UpstreamError, match="more than 1 MB"):
        await got(*open_site(make_site, url), url, max_bytes=2**20)


@pytest.mark.parametrize("path", ["fetch", "stream"])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"\x00\x01nonsense\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk", "nonsense"],
)
async def test_an_answer_that_breaks_off_may_be_asked_for_again(
    said: bytes, path: str, make_site: MakeSite
) -> None:
    with raw(saying(said)) as url:
        site, egress = open_site(make_site, url)
        async with guarded_client(site) as http:
            if path == "fetch":
                with pytest.raises(UpstreamError, match="broke off") as caught:
                    await fetch(http, egress, "POST", url, body={})
                assert caught.value.retryable
                assert not isinstance(caught.value, UpstreamTimeout)
            else:
                with pytest.raises((UpstreamError, httpx.NetworkError, httpx.RemoteProtocolError)):
                    async with open_response(http, egress, "POST", url, body={}) as response:
                        await response.aread()


async def test_a_reset_connection_may_be_asked_again(make_site: MakeSite) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        linger = (1).to_bytes(4, "little") + bytes(4)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with raw(reset) as url, pytest.raises(UpstreamError, match="broke off") as caught:
        await got(*open_site(make_site, url), url, method="POST", body={})
    assert caught.value.retryable


async def test_nobody_there_is_a_failure_of_its_own(make_site: MakeSite) -> None:
    with raw(saying(b"")) as url:
        pass
    with pytest.raises(UpstreamError, match="cannot be reached") as caught:
        await got(*open_site(make_site, url), url)
    assert caught.value.retryable


async def test_a_plain_answer_to_tls_is_a_failure(make_site: MakeSite) -> None:
    with raw(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        site, egress = open_site(make_site, url)
        with pytest.raises(UpstreamError, match="cannot be reached"):
            await got(site, egress, url.replace("http:", "https:"))


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_silence_is_a_timeout(said: bytes, make_site: MakeSite) -> None:
    silent = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)
        silent.wait(10)

    with raw(answer) as url:
        try:
            with pytest.raises(UpstreamTimeout, match="did not answer in time"):
                await got(*open_site(make_site, url), url, timeout=httpx.Timeout(0.3))
        finally:
            silent.set()


async def test_a_name_that_is_looked_up_without_end_is_a_timeout(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    monkeypatch.setattr("cscale_core.transport._LOOKING_UP", 0.2)
    async with guarded_client(make_site()) as http:
        with pytest.raises(httpx.ConnectTimeout):
            await http.get("http://stac.example.eu/")


@pytest.mark.parametrize("path", ["fetch", "stream"])
async def test_giving_up_closes_the_connection(path: str, make_site: MakeSite) -> None:
    gone = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.settimeout(10)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{")
        if connection.recv(1) == b"":
            gone.set()

    with raw(answer) as url:
        site, egress = open_site(make_site, url)
        async with guarded_client(site) as http:
            if path == "fetch":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await fetch(http, egress, "GET", url)
            else:
                async with open_response(http, egress, "GET", url) as response:
                    assert response.status_code == 200
            assert await asyncio.to_thread(gone.wait, 5), "the other side sees that we have gone"


async def test_head_has_no_body_and_its_length(make_site: MakeSite) -> None:
    with raw(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n")) as url:
        site, egress = open_site(make_site, url)
        async with (
            guarded_client(site) as http,
            open_response(http, egress, "HEAD", url) as response,
        ):
            assert response.headers["content-length"] == "4711"
            assert await response.aread() == b""


async def test_what_is_streamed_comes_as_it_is(serve: Any, make_site: MakeSite) -> None:
    content = bytes(range(256)) * 20_000
    packed = gzip.compress(content)

    async def answer(_: Request) -> Response:
        return Response(packed, headers={"Content-Encoding": "gzip"})

    url = serve(app(answer))
    site, egress = open_site(make_site, url)
    async with guarded_client(site) as http:
        async with open_response(http, egress, "GET", url) as response:
            assert b"".join([each async for each in response.aiter_raw()]) == packed
        async with open_response(http, egress, "GET", url) as response:
            assert b"".join([each async for each in response.aiter_bytes()]) == content
