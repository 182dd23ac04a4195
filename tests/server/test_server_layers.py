"""Layers of the map over HTTP: items of archives, results of jobs, objects of the buckets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from rasterio.io import MemoryFile
from traitlets.config import Config

from cscale_core.catalog.report import Found
from cscale_core.errors import NotFound
from cscale_core.http import guarded_client
from cscale_server.backend import Backend, Surroundings
from cscale_server.tiles.names import object_layer
from tests.core.workflows.raster_builders import write
from tests.server.catalog_doubles import MemoryFederation, catalog, item
from tests.server.layer_files import Files, file_server

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
HERE = {"longitude": -5.85, "latitude": 36.37}
PLACE = "10/495/401"


class Jobs:
    """Result items of jobs; ``refused`` counts how often fresh links were asked for."""

    problem = None

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.fresh: list[dict[str, Any]] = []
        self.refused = 0

    async def results(self, job_id: str, refused: bool = False) -> list[dict[str, Any]]:
        if job_id != "job-1":
            raise NotFound(f"There is no job {job_id}.")
        self.refused += refused
        return self.fresh if refused else self.items


class LayerBackend(Backend):
    """Layers of a federation in memory and of jobs that have ended."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.jobs: Any = Jobs()
        self.federation = MemoryFederation()
        self.catalog = catalog(surroundings.site, self.federation)

    async def start(self) -> None:
        self._http = await self._open.enter_async_context(guarded_client(self._surroundings.site))


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with file_server() as served:
        yield served


@pytest.fixture
async def server(start_server: Any, make_site: Any, files: Files) -> Any:
    site = make_site(allowed_hosts=(urlsplit(files.url).netloc,))
    config = Config({"CScaleExtension": {"backend_class": LayerBackend}})
    started = await start_server(site, config)
    await started.extension.backend()
    return started


@pytest.fixture
async def backend(server: Any) -> Any:
    return await server.extension.backend()


def cog(tmp_path: Path, value: float, name: str = "x", dtype: str = "uint16") -> bytes:
    path = write(tmp_path / f"{name}.tif", np.full((600, 600), value, dtype), nodata=0, cog=True)
    return path.read_bytes()


def asset(href: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "type": COG, "roles": ["data"], **more}


def found(backend: Any, **assets: dict[str, Any]) -> str:
    """Lets a search have found an item with these assets; the name of its layer."""
    known = [one for each in backend.federation.found for one in each.items]
    name = f"scene-{len(known)}"
    backend.federation.found = [Found("site-a", [*known, item(name, assets=assets)])]
    return f"item|site-a|s2|{name}"


def job_layer(job: str, name: str) -> str:
    return f"job|{quote(job, safe='')}|{quote(name, safe='')}"


def path(layer: str, rest: str = "") -> str:
    return f"layers/{quote(layer, safe='')}{rest}"


async def get(server: Any, layer: str, rest: str = "", **query: Any) -> httpx.Response:
    return await server.api("GET", path(layer, rest), params=query)


def picture(data: bytes) -> Any:
    with MemoryFile(data) as file, file.open() as dataset:
        return dataset.read()


async def test_an_index_of_an_item_is_drawn_from_two_remote_files(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files = {"red": cog(tmp_path, 1000), "nir": cog(tmp_path, 3000, "nir")}
    layer = found(backend, B04=asset(f"{files.url}/red"), B08=asset(f"{files.url}/nir"))
    info = (await get(server, layer)).json()
    assert [one["id"] for one in info["renderings"]] == ["ndvi", "asset|B04", "asset|B08"]
    assert info["datetime"] == "2024-05-01T10:00:00Z"
    told = (await get(server, layer, "/tilejson", show="ndvi")).json()
    assert told["tilejson"] == "3.0.0"
    assert told["maxzoom"] == 12
    template = told["tiles"][0]
    assert template.startswith("/user/u%40test/cscale/api/v1/layers/item%7C")
    z, x, y = PLACE.split("/")
    address = template.replace("{z}", z).replace("{x}", x).replace("{y}", y)
    tile = await server.http.get(f"{str(server.http.base_url).partition('/user')[0]}{address}")
    assert (tile.status_code, tile.headers["Content-Type"]) == (200, "image/png")
    assert "private" in tile.headers["Cache-Control"]
    assert "sandbox" in tile.headers["Content-Security-Policy"]
    assert picture(tile.content)[3].max() == 255
    again = await server.http.get(
        str(tile.request.url), headers={"If-None-Match": tile.headers["Etag"]}
    )
    assert again.status_code == 304
    point = (await get(server, layer, "/point", show="ndvi", **HERE)).json()
    assert point["values"] == [{"name": "Vegetation (NDVI)", "value": 0.5, "unit": ""}]
    legend = (await get(server, layer, "/legend", show="ndvi")).json()
    assert (legend["kind"], legend["limits"]) == ("values", [[-0.2, 0.9]])
    assert len(legend["stops"]) == 33
    assert all(asked.startswith("bytes=") for _, asked in files.asked)


async def test_a_tile_beside_the_layer_is_clear(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files = {"x": cog(tmp_path, 1000)}
    layer = found(backend, x=asset(f"{files.url}/x"))
    tile = await get(server, layer, "/tiles/10/0/0")
    assert tile.status_code == 200
    assert picture(tile.content)[3].max() == 0
    large = await get(server, layer, f"/tiles/{PLACE}", size="512")
    assert picture(large.content).shape == (4, 512, 512)


WRONG: list[tuple[str, dict[str, str], int]] = [
    ("/tiles/10/1024/0", {}, 422),
    ("/tiles/1/a/0", {}, 404),
    ("/tiles/25/0/0", {}, 422),
    (f"/tiles/{PLACE}", {"size": "9999"}, 422),
    (f"/tiles/{PLACE}", {"rescale": "9,1"}, 422),
    (f"/tiles/{PLACE}", {"colormap": "../../etc/passwd"}, 422),
    (f"/tiles/{PLACE}", {"show": "asset|B99"}, 422),
    ("/point", {"longitude": "nan", "latitude": "0"}, 422),
    ("/point", {"longitude": "0"}, 422),
    ("/point", {"longitude": "181", "latitude": "0"}, 422),
]


async def test_a_wrong_question_is_explained(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files = {"x": cog(tmp_path, 1000)}
    layer = found(backend, x=asset(f"{files.url}/x"))
    for rest, query, status in WRONG:
        answer = await get(server, layer, rest, **query)
        assert answer.status_code == status, (rest, query)
        assert answer.json()["code"] in ("invalid_input", "not_found")


NO_LAYERS = [
    "x",
    "item|a",
    "job|job-1",
    "job|job-2|scene",
    "job|job-1|other",
    "item|site-a|s2|other",
    "object|other|key",
    "object|aquamonitor|users/someone-else/x.tif",
    "object|aquamonitor|products/../users/someone-else/x.tif",
    "file|/etc|passwd",
    "|" * 5000,
]


async def test_what_is_no_layer_is_not_found(server: Any, backend: Any) -> None:
    for layer in NO_LAYERS:
        answer = await get(server, layer)
        assert answer.status_code == 404, layer
        assert answer.json()["code"] == "not_found"


INSIDE = [
    "http://127.0.0.1:1/x.tif",
    "http://169.254.169.254/latest/meta-data/x.tif",
    "http://[::1]/x.tif",
    "http://user:secret@example.org/x.tif",
]


async def test_addresses_inside_are_not_asked(server: Any, backend: Any) -> None:
    for href in INSIDE:
        answer = await get(server, found(backend, x=asset(href)), f"/tiles/{PLACE}")
        assert answer.status_code == 403, href
        assert "was not asked" in answer.json()["message"]
        assert "secret" not in answer.text


async def test_a_redirect_inside_is_not_followed(server: Any, backend: Any, files: Files) -> None:
    files.redirects = {"x": "http://169.254.169.254/x"}
    answer = await get(server, found(backend, x=asset(f"{files.url}/x")), f"/tiles/{PLACE}")
    assert answer.status_code == 403


async def test_paths_are_not_read(server: Any, backend: Any) -> None:
    for href in ("/etc/passwd", "file:///etc/passwd", "/vsicurl/http://a/b.tif"):
        answer = await get(server, found(backend, x=asset(href)), f"/tiles/{PLACE}")
        assert answer.status_code == 422, href
        assert "no address that can be read" in answer.json()["message"]


async def test_a_private_file_is_not_shown_because_an_item_names_it(
    server: Any, backend: Any
) -> None:
    layer = found(backend, x=asset("s3://aquamonitor/users/utest/private.tif"))
    answer = await get(server, layer, f"/tiles/{PLACE}")
    assert answer.status_code == 422


async def test_what_is_no_geotiff_is_told(server: Any, backend: Any, files: Files) -> None:
    files.files = {
        "page": b"<html>",
        "vrt": b'<VRTDataset rasterXSize="1" rasterYSize="1"/>',
        "cut": b"II*\0" + b"\xff" * 100,
    }
    for name in files.files:
        answer = await get(server, found(backend, x=asset(f"{files.url}/{name}")), "/legend")
        assert answer.status_code == 422, name
        assert "cannot be read as a raster" in answer.json()["message"]


async def test_an_archive_that_wants_a_login_is_told(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.status = {"x": 401, "y": 500}
    layer = found(backend, x=asset(f"{files.url}/x"), y=asset(f"{files.url}/y"))
    answer = await get(server, layer, f"/tiles/{PLACE}", show="asset|x")
    assert answer.status_code == 401
    assert "Stage the product" in answer.json()["hint"]
    answer = await get(server, layer, f"/tiles/{PLACE}", show="asset|y")
    assert answer.status_code == 502


async def test_a_server_without_ranges_is_told(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files, files.whole = {"x": cog(tmp_path, 1)}, {"x"}
    answer = await get(server, found(backend, x=asset(f"{files.url}/x")), f"/tiles/{PLACE}")
    assert answer.status_code == 422
    assert "only as a whole" in answer.json()["message"]


async def test_the_next_address_is_tried(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files, files.status = {"good": cog(tmp_path, 700)}, {"bad": 404}
    mirror = {"mirror": {"href": f"{files.url}/good"}}
    layer = found(backend, x=asset(f"{files.url}/bad", alternate=mirror))
    point = (await get(server, layer, "/point", **HERE)).json()
    assert point["values"][0]["value"] == 700


async def test_links_of_results_that_ended_are_made_anew_once(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files, files.status = {"fresh": cog(tmp_path, 42)}, {"stale": 403}
    jobs = backend.jobs
    jobs.items = [item("water", assets={"x": asset(f"{files.url}/stale?signature=s")})]
    jobs.fresh = [item("water", assets={"x": asset(f"{files.url}/fresh")})]
    layer = job_layer("job-1", "water")
    point = (await get(server, layer, "/point", **HERE)).json()
    assert point["values"][0]["value"] == 42
    assert (await get(server, layer, f"/tiles/{PLACE}")).status_code == 200
    assert jobs.refused == 1


async def test_links_that_end_while_the_map_is_open_are_renewed_once_for_all_tiles(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    data = cog(tmp_path, 42)
    files.files = {"old": data, "new": data}
    backend.jobs.items = [item("water", assets={"x": asset(f"{files.url}/old")})]
    backend.jobs.fresh = [item("water", assets={"x": asset(f"{files.url}/new")})]
    layer = job_layer("job-1", "water")
    assert (await get(server, layer, f"/tiles/{PLACE}")).status_code == 200
    files.status = {"old": 410}
    (await backend.layers())._pages.clear()
    places = [f"/tiles/11/{x}/{y}" for x in (990, 991) for y in (802, 803)]
    answers = await asyncio.gather(*(get(server, layer, place) for place in places))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert backend.jobs.refused == 1


async def test_files_behind_signed_addresses_are_not_taken_for_each_other(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files = {"abc/one.tif": cog(tmp_path, 1, "one"), "def/two.tif": cog(tmp_path, 2, "two")}
    # Signed in the path, as openeo-python-driver does: nothing of it may be shown.
    backend.jobs.items = [
        item(name, assets={"x": asset(f"{files.url}/{path}?expires=9999999999")})
        for name, path in zip(("one", "two"), files.files, strict=True)
    ]
    for name, value in (("one", 1), ("two", 2), ("one", 1)):
        point = (await get(server, job_layer("job-1", name), "/point", **HERE)).json()
        assert point["values"][0]["value"] == value
    files.status = {"abc/one.tif": 500}
    backend.jobs.items[0]["id"] = "three"
    backend.jobs.items[0]["assets"]["x"]["href"] += "&again=1"
    failed = await get(server, job_layer("job-1", "three"), "/point", **HERE)
    assert failed.status_code == 502
    assert "abc" not in failed.text


async def test_a_series_tells_each_time_as_it_is_read_and_what_failed(
    server: Any, backend: Any, files: Files, tmp_path: Path
) -> None:
    files.files = {str(year): cog(tmp_path, year, f"y{year}") for year in (2019, 2020)}
    assets = {
        f"composite_{year}-01-01": asset(
            f"{files.url}/{year}", datetime=f"{year}-01-01T00:00:00Z", bands=[{"name": "b"}]
        )
        for year in (2019, 2020)
    }
    backend.jobs.items = [item("water", assets=assets)]
    body = {
        "layers": [job_layer("job-1", "water"), job_layer("job-1", "gone")],
        "show": "asset|composite_2019-01-01",
        **HERE,
    }
    answer = await server.api("POST", "layers/series", json=body)
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    values = {one["datetime"]: one["values"][0]["value"] for one in lines if one["type"] == "value"}
    assert values == {"2019-01-01T00:00:00Z": 2019, "2020-01-01T00:00:00Z": 2020}
    assert [one["layer"] for one in lines if one["type"] == "failed"] == [body["layers"][1]]
    assert lines[-1] == {"type": "end", "layers": 2, "failed": 1}


async def test_who_goes_away_ends_the_reading(
    server: Any, backend: Any, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.files = {"x": cog(tmp_path, 1)}
    layer = found(backend, x=asset(f"{files.url}/x"))
    layers = await backend.layers()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(*args: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(
        "cscale_core.tiles.sources.HttpSource._part", lambda self, start, length: never()
    )
    asking = asyncio.create_task(layers.tile(layer, "", _style(), (10, 0, 0), 256))
    async with asyncio.timeout(20):
        await begun.wait()
        asking.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking


def _style() -> Any:
    from cscale_core.tiles.styles import Style

    return Style()


async def test_objects_of_the_bucket_are_shown(
    start_server: Any, make_site: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret0123456789")
    store.write("users/utest/my results/slope ä.tif", cog(tmp_path, -3, dtype="int16"))
    config = Config({"CScaleExtension": {"backend_class": LayerBackend}})
    server = await start_server(make_site(store.endpoint), config)
    layer = object_layer("aquamonitor", "users/utest/my results/slope ä.tif")
    info = (await get(server, layer)).json()
    assert [one["id"] for one in info["renderings"]] == ["asset|data"]
    assert (await get(server, layer, "/point", **HERE)).json()["values"][0]["value"] == -3
    assert (await get(server, layer, f"/tiles/{PLACE}")).status_code == 200
    missing = await get(server, object_layer("aquamonitor", "products/none.tif"), "/tilejson")
    assert missing.status_code == 404
