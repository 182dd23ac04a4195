"""Items of results whose back end said little: the rest is read from the files in our store."""

from __future__ import annotations

import asyncio
import copy
import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cscale_core.addresses import ObjectAddress, asset_addresses
from cscale_core.ingest import completing, raster_members
from cscale_core.ingest.completing import complete_item
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

ADDRESS = ObjectAddress("vobucket", "products/openeo-results/r/a b.tif")


def tiff() -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=8,
            height=4,
            count=2,
            dtype="float32",
            crs="EPSG:32629",
            nodata=float("nan"),
            transform=from_origin(500_000, 4_200_000, 10, 10),
        ) as dataset:
            dataset.write(np.ones((2, 4, 8), "float32"))
            dataset.descriptions = ("red", "swir")
        return io.BytesIO(memory.read()).getvalue()


@pytest.fixture
def site(weed: Any, make_site: Callable[..., Site]) -> Site:
    site = make_site(s3={"endpoint": weed.endpoint})
    ObjectStore(site).put(ADDRESS, tiff())
    return site


def item(site: Site, **members: Any) -> dict[str, Any]:
    asset = {
        **asset_addresses(ADDRESS, site),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        **members,
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": "r",
        "collection": "openeo-results",
        "geometry": None,
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {"a": asset},
    }


async def test_projection_bands_and_place_are_filled_in(site: Site) -> None:
    given = item(site)
    before = copy.deepcopy(given)
    done = await complete_item(given, site)
    assert given == before
    asset = done["assets"]["a"]
    assert asset["proj:code"] == "EPSG:32629"
    assert asset["proj:shape"] == [4, 8]
    assert asset["proj:transform"] == [10, 0, 500_000, 0, -10, 4_200_000]
    assert [band["name"] for band in asset["bands"]] == ["red", "swir"]
    assert asset["bands"][0]["eo:common_name"] == "red"
    assert (asset["data_type"], asset["nodata"]) == ("float32", "nan")
    assert asset["href"] == ADDRESS.s3
    assert done["properties"]["proj:code"] == "EPSG:32629"
    assert done["geometry"]["type"] == "Polygon"
    assert done["bbox"][0] == pytest.approx(-9)
    versions = [uri for uri in done["stac_extensions"] if "projection" in uri]
    assert versions == [raster_members.PROJECTION_EXTENSION]
    assert raster_members.RASTER_EXTENSION in done["stac_extensions"]


async def test_what_the_back_end_said_stays(site: Site) -> None:
    said = {"bands": [{"name": "B04"}, {"name": "B11"}], "proj:code": "EPSG:32629", "title": "T"}
    asset = (await complete_item(item(site, **said), site))["assets"]["a"]
    assert [band["name"] for band in asset["bands"]] == ["B04", "B11"]
    assert asset["title"] == "T"
    old = {"eo:bands": [{"name": "B04", "common_name": "red"}, {"name": "B11"}], "proj:epsg": 32629}
    asset = (await complete_item(item(site, **old), site))["assets"]["a"]
    assert [band["name"] for band in asset["bands"]] == ["B04", "B11"]
    assert asset["bands"][0]["eo:common_name"] == "red"
    assert not {"eo:bands", "proj:epsg"} & set(asset)
    wrong = {"bands": [{"name": "only"}]}
    asset = (await complete_item(item(site, **wrong), site))["assets"]["a"]
    assert [band["name"] for band in asset["bands"]] == ["red", "swir"]


async def test_complete_item_is_not_read_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await complete_item(item(site), site)
    monkeypatch.setattr(completing, "_completed", None)
    assert await complete_item(done, site) == done


@pytest.mark.parametrize(
    "members",
    [
        {"type": "text/csv", "href": "s3://vobucket/products/t.csv"},
        {"roles": ["metadata"]},
        {"href": "https://elsewhere.example/a.tif"},
        {"href": "s3://vobucket/../x.tif"},
    ],
)
async def test_tables_thumbnails_and_what_is_elsewhere_are_left_alone(
    site: Site, members: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "_completed", None)
    given = item(site, **members)
    assert await complete_item(given, site) == given


async def test_file_that_is_no_raster_is_left_as_it_is(site: Site) -> None:
    ObjectStore(site).put(ADDRESS, b"not a raster at all")
    given = item(site)
    assert await complete_item(given, site) == given


async def test_headers_are_read_beside_the_loop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    real = raster_members.raster_members

    def reading(*arguments: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        return real(*arguments, **more)

    monkeypatch.setattr(raster_members, "raster_members", reading)
    await complete_item(item(site), site)
    assert asyncio.get_running_loop().is_running()
    assert threading.current_thread() not in threads
    assert len(threads) == 1
