"""Slim items, the store of whole ones, pictures, and the key of cursors, each by itself."""

from __future__ import annotations

import math
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import Point, shape
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from cscale_core.errors import NotFound, UpstreamError
from cscale_core.http import guarded_client
from cscale_server.catalog import thumbnails
from cscale_server.catalog.key import signing_key
from cscale_server.catalog.slim import MAX_VERTICES, outline, slim
from cscale_server.catalog.store import ItemStore
from cscale_server.catalog.thumbnails import Thumbnails, addresses, media_type
from tests.server.catalog_doubles import PNG, item, scatter

JPEG = b"\xff\xd8\xff\xe0rest"
WEBP = b"RIFF\x10\0\0\0WEBPVP8 rest"


# -- slim ----------------------------------------------------------------------------------------


def test_a_slim_item_is_what_a_map_needs_and_no_more() -> None:
    whole = item("scene", **{"cscale:mirrors": [{"provider": "b"}, {"provider": "c"}]})
    assert slim(whole, "a|s2|scene") == {
        "ref": "a|s2|scene",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]],
        },
        "datetime": "2024-05-01T10:00:00Z",
        "cloud_cover": 12.3,
        "mirrors": 2,
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2024-05-01T10:00:00.123456Z"}, "2024-05-01T10:00:00Z"),
        ({"datetime": "2024-05-01T12:00:00+02:00"}, "2024-05-01T10:00:00Z"),
        (
            {
                "datetime": None,
                "start_datetime": "2024-05-01T10:00:00Z",
                "end_datetime": "2024-05-02T10:00:00Z",
            },
            "2024-05-01T10:00:00Z",
        ),
        ({"datetime": None}, None),
        ({"datetime": "spring"}, None),
        ({}, None),
    ],
)
def test_when(properties: dict[str, Any], expected: str | None) -> None:
    assert slim(item("x", properties=properties), "r")["datetime"] == expected


@pytest.mark.parametrize("cover", [None, True, "12", float("nan"), float("inf")])
def test_cloud_cover_that_is_not_stated_is_left_out(cover: Any) -> None:
    assert "cloud_cover" not in slim(item("x", properties={"eo:cloud_cover": cover}), "r")


def ring(corners: int, radius: float = 5.0, noise: float = 0.0) -> list[list[float]]:
    turns = [2 * math.pi * number / corners for number in range(corners)]
    points = [
        [
            20 + radius * math.cos(turn) + noise * scatter(number, 0),
            45 + radius * math.sin(turn) + noise * scatter(number, 1),
        ]
        for number, turn in enumerate(turns)
    ]
    return [*points, points[0]]


def vertices(coordinates: Any) -> int:
    if isinstance(coordinates[0], float):
        return 1
    return sum(vertices(part) for part in coordinates)


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Polygon", "coordinates": [ring(5000)]},
        {"type": "Polygon", "coordinates": [ring(3000, noise=0.5)]},
        {"type": "Polygon", "coordinates": [ring(400), *(ring(50, 0.1) for _ in range(20))]},
        {"type": "MultiPolygon", "coordinates": [[ring(30, 0.01 * n)] for n in range(1, 200)]},
        {"type": "MultiPoint", "coordinates": ring(500)},
        {"type": "LineString", "coordinates": ring(1000, noise=2.0)},
        {
            "type": "GeometryCollection",
            "geometries": [{"type": "Polygon", "coordinates": [ring(300)]}],
        },
    ],
)
def test_an_outline_of_many_corners_gets_few_and_covers_the_same(geometry: Any) -> None:
    small = outline(geometry)
    assert small is not None
    assert vertices(small["coordinates"]) <= MAX_VERTICES
    before, after = shape(geometry), shape(small)
    assert before.centroid.distance(after.centroid) < 0.5
    assert [round(x) for x in before.bounds] == [round(x) for x in after.bounds]


def test_an_outline_of_a_few_corners_keeps_them_all() -> None:
    corners = [[10.123456789, 45.0, 200.0], [11.5, 45.0], [11.5, 46.123449], [10.2, 46.0]]
    large = outline({"type": "Polygon", "coordinates": [[*corners, corners[0]]]})
    assert large is not None
    assert large["coordinates"][0][0] == [10.1235, 45.0]
    assert len(large["coordinates"][0]) == 5
    small = outline({"type": "Polygon", "coordinates": [ring(6, radius=0.1)]})
    assert small is not None
    assert small["coordinates"][0][1] == [20.05, 45.0866]
    assert small["coordinates"][0][0] == [20.1, 45.0]
    assert small["coordinates"][0][2] == [19.95, 45.0866]
    assert outline({"type": "Point", "coordinates": [14.123456, -0.000001]}) == {
        "type": "Point",
        "coordinates": [14.12346, 0.0],
    }


def test_a_footprint_over_the_antimeridian_stays_in_two_parts() -> None:
    west = [[179.0, 10.0], [180.0, 10.0], [180.0, 11.0], [179.0, 11.0], [179.0, 10.0]]
    east = [[-180.0, 10.0], [-179.0, 10.0], [-179.0, 11.0], [-180.0, 11.0], [-180.0, 10.0]]
    small = outline({"type": "MultiPolygon", "coordinates": [[west], [east]]})
    assert small is not None
    assert shape(small).intersects(Point(179.5, 10.5))
    assert shape(small).intersects(Point(-179.5, 10.5))
    assert not shape(small).intersects(Point(0, 10.5))


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        "POINT(0 0)",
        {},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[["a", "b"]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]},
        {"type": "Point", "coordinates": [float("inf"), 1.0]},
        {"type": "Point", "coordinates": [float("nan"), 1.0]},
        {"type": "Point", "coordinates": [1e308, 1.0]},
        {"type": "Point", "coordinates": [500000.0, 4600000.0]},
        {"type": "Point", "coordinates": []},
        {"type": "Heart", "coordinates": [1, 2]},
    ],
)
def test_what_is_no_geometry_is_none(geometry: Any) -> None:
    assert outline(geometry) is None


# -- store ---------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_whole_and_as_it_was() -> None:
    store = ItemStore()
    first = item("scene")
    store.put([("r", first)])
    first["id"] = "changed since"
    assert store.get("r") == item("scene")
    store.put([("r", item("newer"))])
    assert (store.get("r") or {})["id"] == "newer"
    assert len(store) == 1
    assert store.get("unknown") is None


def test_the_store_keeps_within_its_bound_what_was_looked_at_last() -> None:
    store = ItemStore(max_bytes=20_000)
    store.put([("first", item("first"))])
    for number in range(1000):
        store.put([(str(number), item(str(number)))])
        assert store.get("first") is not None
        assert store.size <= 20_000
    assert store.get("0") is None
    assert store.get("999") is not None
    assert 10 < len(store) < 1000


def test_the_store_is_used_by_several_threads() -> None:
    store = ItemStore(max_bytes=30_000)

    def work(name: str) -> None:
        for number in range(300):
            store.put([(f"{name}{number % 50}", item(name))])
            kept = store.get(f"{name}{number % 50}")
            assert kept is None or kept["id"] == name

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.size <= 30_000


# -- key -----------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cursor.key"
    key = signing_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing_key(path) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["cursor.key"]


def test_servers_that_start_at_the_same_moment_have_one_key(tmp_path: Path) -> None:
    path = tmp_path / "cursor.key"
    start = threading.Barrier(8)
    keys: list[bytes] = []

    def make() -> None:
        start.wait()
        keys.append(signing_key(path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) == {path.read_bytes()}
    assert len(keys) == 8


# -- pictures ------------------------------------------------------------------------------------


def pictured(**members: Any) -> dict[str, Any]:
    return item("scene", **{"assets": {}, **members})


def test_pictures_are_tried_the_best_first_and_only_those_that_can_be_shown() -> None:
    whole = pictured(
        assets={
            "overview": {"href": "http://a/tci.tif", "type": "image/tiff", "roles": ["overview"]},
            "preview": {"href": "http://a/ql.jpg", "type": "image/jpeg", "roles": ["overview"]},
            "tiny": {
                "href": "s3://foreign/t.png",
                "type": "image/png",
                "roles": ["thumbnail"],
                "alternate": {"https": {"href": "http://a/t.png"}},
            },
            "thumbnail": {"href": "./old.png"},
            "drawing": {"href": "http://a/x.svg", "type": "image/svg+xml", "roles": ["thumbnail"]},
            "broken": {"href": "http://[", "roles": ["thumbnail"]},
            "data": {"href": "http://a/B03.tif", "roles": ["data"]},
        },
        links=[
            {"rel": "self", "href": "http://a/items/scene"},
            {"rel": "preview", "href": "../look.webp", "type": "image/webp"},
            {"rel": "preview", "href": "http://a/page", "type": "text/html"},
            {"rel": "root", "href": "http://a/"},
        ],
        **{
            "cscale:mirrors": [
                {
                    "provider": "b",
                    "href": "http://b/items/scene",
                    "assets": {"thumbnail": {"href": "http://b/t.png"}},
                }
            ]
        },
    )
    assert addresses(whole) == [
        "s3://foreign/t.png",
        "http://a/t.png",
        "http://a/items/old.png",
        "http://a/look.webp",
        "http://a/ql.jpg",
        "http://b/t.png",
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (WEBP, "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
        (b"<!doctype html><script>", ""),
        (b"GIF89a", ""),
        (b"RIFF\x10\0\0\0WAVEfmt ", ""),
        (b"%PDF-1.7", ""),
        (b"", ""),
    ],
)
def test_the_bytes_say_what_they_are(data: bytes, expected: str) -> None:
    assert media_type(data) == expected


class Pictures:
    """An HTTP server of files, which counts what is asked."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.url = ""

    def put(self, name: str, data: bytes, status: int = 200, **headers: str) -> str:
        self.files[f"/{name}"] = (status, headers, data)
        return f"{self.url}/{name}"


@pytest.fixture
async def files() -> AsyncIterator[Callable[[], Pictures]]:
    """Starts servers of files on loopback."""
    running: list[HTTPServer] = []

    def start() -> Pictures:
        pictures = Pictures()

        class Handler(RequestHandler):
            def get(self) -> None:
                pictures.asked.append(self.request.path)
                status, headers, data = pictures.files[self.request.path]
                self.set_status(status)
                for name, value in headers.items():
                    self.set_header(name.replace("_", "-"), value)
                self.finish(data)

        server = HTTPServer(Application([(r"/.*", Handler)]))
        server.listen(0, "127.0.0.1")
        running.append(server)
        pictures.url = f"http://127.0.0.1:{next(iter(server._sockets.values())).getsockname()[1]}"
        return pictures

    yield start
    for server in running:
        server.stop()
        await server.close_all_connections()


def linked(*hrefs: str) -> dict[str, Any]:
    return pictured(
        assets={str(n): {"href": href, "roles": ["thumbnail"]} for n, href in enumerate(hrefs)}
    )


async def test_a_picture_is_fetched_once(files: Any, make_site: Any) -> None:
    here = files()
    site = make_site(allowed_hosts=(here.url.removeprefix("http://"),))
    href = here.put("t.png", PNG, Content_Type="text/html")
    async with guarded_client(site) as http:
        pictures = Thumbnails(site, http)
        for _ in range(3):
            picture = await pictures.of("r", linked(href))
            assert (picture.data, picture.media_type) == (PNG, "image/png")
    assert here.asked == ["/t.png"]


async def test_the_next_address_is_tried_when_one_fails(files: Any, make_site: Any) -> None:
    here = files()
    site = make_site(allowed_hosts=(here.url.removeprefix("http://"),))
    gone, there = here.put("gone.png", b"", 404), here.put("there.jpg", JPEG)
    async with guarded_client(site) as http:
        whole = linked("s3://foreign/x.png", gone, there)
        assert (await Thumbnails(site, http).of("r", whole)).media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "no PNG"),
        (b"<html><script>alert(1)</script>", "no PNG"),
        (PNG + bytes(thumbnails.MAX_BYTES), "more than 5 MB"),
        (b"", "no PNG"),
    ],
)
async def test_what_is_no_small_picture_is_not_passed_on(
    files: Any, make_site: Any, data: bytes, said: str
) -> None:
    here = files()
    site = make_site(allowed_hosts=(here.url.removeprefix("http://"),))
    href = here.put("t.png", data, Content_Type="image/png")
    async with guarded_client(site) as http:
        with pytest.raises(UpstreamError, match=said):
            await Thumbnails(site, http).of("r", linked(href))


async def test_addresses_inside_the_network_are_not_asked(files: Any, make_site: Any) -> None:
    """Neither when an item names them nor when a redirect does."""
    known, inside = files(), files()
    site = make_site(allowed_hosts=(known.url.removeprefix("http://"),))
    secret = inside.put("secret.png", PNG)
    moved = known.put("moved.png", b"", 302, Location=secret)
    named = f"http://user:word@{known.url.removeprefix('http://')}/moved.png"
    async with guarded_client(site) as http:
        for href in (secret, moved, named, "file:///etc/passwd", "http://169.254.169.254/x.png"):
            with pytest.raises(UpstreamError):
                await Thumbnails(site, http).of("r", linked(href))
    assert inside.asked == []


async def test_a_picture_in_the_users_bucket_is_read_as_the_user(
    store: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret0123456789")
    site = make_site(store.endpoint)
    store.write("products/t.png", PNG)
    store.write("users/utest/private.png", PNG)
    store.write("elsewhere/t.png", PNG)
    store.write("products/large.png", PNG + bytes(thumbnails.MAX_BYTES))
    async with guarded_client(site) as http:
        pictures = Thumbnails(site, http)
        for number, href in enumerate(
            (
                "s3://aquamonitor/products/t.png",
                "/s3/aquamonitor/products/t.png",
                f"{site.mount}/aquamonitor/products/t.png",
                f"{store.endpoint}/aquamonitor/products/t.png",
            )
        ):
            assert (await pictures.of(str(number), linked(href))).data == PNG
        for number, name in enumerate(
            ("users/utest/private.png", "elsewhere/t.png", "products/large.png", "products/no.png")
        ):
            with pytest.raises(UpstreamError):
                await pictures.of(f"refused{number}", linked(f"s3://aquamonitor/{name}"))


async def test_an_item_without_a_picture_is_not_found(make_site: Any) -> None:
    site = make_site()
    async with guarded_client(site) as http:
        with pytest.raises(NotFound):
            await Thumbnails(site, http).of("r", item("scene"))


async def test_pictures_are_kept_within_a_bound(
    files: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_KEPT_BYTES", 3 * len(PNG))
    here = files()
    site = make_site(allowed_hosts=(here.url.removeprefix("http://"),))
    href = here.put("t.png", PNG)
    async with guarded_client(site) as http:
        pictures = Thumbnails(site, http)
        for name in ("a", "b", "c", "a", "d"):
            await pictures.of(name, linked(href))
        assert len(here.asked) == 4
        await pictures.of("a", linked(href))
        assert len(here.asked) == 4
        await pictures.of("b", linked(href))
        assert len(here.asked) == 5
