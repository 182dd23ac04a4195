"""Staging from a real web server into a real SeaweedFS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import DamagedData, InvalidInput, StorageFull, UpstreamError
from cscale_core.http import guarded_client
from cscale_core.ingest import rasters
from cscale_core.ingest.staging import StagingCanceled, plan, stage
from cscale_core.objects import PART_SIZE, ObjectStore
from cscale_core.site import Site

SCENES = Path(__file__).parents[3].parent / "shared/data/sentinel2-l1c-slovenia"


def sha256(data: bytes) -> str:
    return "1220" + hashlib.sha256(data).hexdigest()


def make_item(name: str, assets: dict[str, dict[str, Any]], **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.0.0/schema.json"],
        "id": name,
        "collection": "s2",
        "geometry": {"type": "Point", "coordinates": [14.5, 45.8]},
        "bbox": [14.5, 45.8, 14.5, 45.8],
        "properties": {"datetime": "2024-05-01T10:00:00Z", "platform": "sentinel-2a"},
        "links": [
            {"rel": "self", "href": f"https://cat.example.eu/collections/s2/items/{name}"},
            {"rel": "root", "href": "https://cat.example.eu/"},
        ],
        "assets": assets,
        "cscale:provider": "site-b",
        **members,
    }


async def run(
    site: Site, store: ObjectStore, items: list[dict[str, Any]], assets: Any = None, **options: Any
) -> list[dict[str, Any]]:
    async with guarded_client(site) as http:
        return await stage(plan(items, assets, site.grants[0], site), store, http, **options)


def keys(store: ObjectStore) -> list[str]:
    return [head.address.key for head in store.list("vobucket")]


async def test_files_arrive_verified_and_the_item_is_published_last(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    red, green = make_tiff(seed=1), make_tiff(seed=2)
    item = make_item(
        "S2A_1",
        {
            "B04": {
                "href": source.add("/a/B04.tif", red),
                "type": "image/tiff; application=geotiff",
                "file:size": len(red),
                "file:checksum": sha256(red),
                "bands": [{"name": "B04"}],
                "alternate": {"s3": {"href": "s3://foreign/B04.tif"}},
            },
            "B03": {"href": source.add("/a/B03.tif", green), "roles": ["data"]},
        },
    )
    told: list[tuple[int, int, int, int | None, str]] = []
    [staged] = await run(site, store, [item], progress=lambda *seen: told.append(seen))

    prefix = "products/s2/S2A_1/"
    assert keys(store) == [f"{prefix}{name}" for name in ("B03.tif", "B04.tif", "item.json")]
    address = ObjectAddress("vobucket", f"{prefix}B04.tif")
    assert store.get(address) == red
    assert store.head(address).metadata["sha256"] == hashlib.sha256(red).hexdigest()
    assert json.loads(store.get(ObjectAddress("vobucket", f"{prefix}item.json"))) == staged

    asset = staged["assets"]["B04"]
    assert asset["file:checksum"] == sha256(red)
    assert asset["file:size"] == len(red)
    assert asset["bands"] == [{"name": "B04"}]
    for href in (
        asset["href"],
        asset["alternate"]["https"]["href"],
        asset["alternate"]["mount"]["href"],
    ):
        assert addresses.parse(href, site) == address
    assert set(asset["alternate"]) == {"https", "mount"}
    assert staged["assets"]["B03"]["file:checksum"] == sha256(green)
    assert staged["properties"] == item["properties"]
    assert staged["collection"] == "s2"
    assert [link["rel"] for link in staged["links"]] == ["via"]
    assert staged["links"][0]["href"].endswith("/items/S2A_1")
    assert "cscale:provider" not in staged
    assert [uri.split("/")[3:5] for uri in staged["stac_extensions"]] == [
        ["file", "v2.1.0"],
        ["alternate-assets", "v1.2.0"],
    ]
    assert told[-1][:3] == (2, 2, len(red) + len(green))
    assert told[0][3] is None, "one size was not stated"
    assert told[-1][3] == len(red) + len(green), "now it is known"


async def test_a_second_staging_fetches_nothing_and_writes_nothing(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    data = make_tiff()
    item = make_item(
        "again",
        {
            "stated": {"href": source.add("/s.tif", data), "file:checksum": sha256(data)},
            "bare": {"href": source.add("/b.tif", data)},
        },
    )
    first = await run(site, store, [item])
    modified = {head.address: head.modified for head in store.list("vobucket")}
    source.requests.clear()
    messages: list[str] = []
    assert await run(site, store, [item], progress=lambda *seen: messages.append(seen[4])) == first
    assert source.requests == [("HEAD", "/b.tif", "")]
    assert {head.address: head.modified for head in store.list("vobucket")} == modified
    assert "bare of again is there already" in messages


async def test_a_file_that_changed_at_the_source_is_fetched_again(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    item = make_item("changed", {"a": {"href": source.add("/a.tif", make_tiff(seed=1))}})
    await run(site, store, [item])
    source.add("/a.tif", make_tiff(seed=2))
    [staged] = await run(site, store, [item])
    assert staged["assets"]["a"]["file:checksum"] == sha256(make_tiff(seed=2))


async def test_assets_staged_later_join_those_staged_before(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    data = make_tiff()
    item = make_item(
        "grows",
        {key: {"href": source.add(f"/{res}/B02.tif", data)} for key, res in (("a", 10), ("b", 20))},
    )
    await run(site, store, [item], ["a"])
    [staged] = await run(site, store, [item], ["b"])
    assert set(staged["assets"]) == {"a", "b"}
    assert keys(store)[:2] == ["products/s2/grows/a-B02.tif", "products/s2/grows/b-B02.tif"]


@pytest.mark.parametrize("fault", ["checksum", "size", "md5", "more", "not-a-tiff", "cut", "vrt"])
async def test_damage_is_found_before_anything_is_visible_and_nothing_is_published(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes], fault: str
) -> None:
    good = make_tiff()
    bad: dict[str, Any] = {"href": source.add("/bad.tif", good), "type": "image/tiff"}
    match fault:
        case "checksum":
            bad["file:checksum"] = sha256(b"other")
        case "md5":
            bad["file:checksum"] = "d50110" + hashlib.md5(b"other").hexdigest()  # noqa: S324
        case "size":
            bad["file:size"] = len(good) + 1
        case "more":
            bad["file:size"] = len(good) - 1
        case "not-a-tiff":
            source.files["/bad.tif"] = b"<html>please log in</html>"
        case "cut":
            source.files["/bad.tif"] = good[: len(good) // 2]
        case "vrt":
            source.files["/bad.tif"] = b"<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>"
    item = make_item("damaged", {"bad": bad, "good": {"href": source.add("/good.tif", good)}})
    other = make_item("other", {"good": {"href": source.add("/other.tif", good)}})
    with pytest.raises(DamagedData) as caught:
        await run(site, store, [item, other])
    assert keys(store) == [
        "products/s2/damaged/good.tif",
        "products/s2/other/good.tif".replace("good", "other"),
    ]
    assert "2 of 3 files" in caught.value.hint
    assert caught.value.details["kept"] == [f"s3://vobucket/{key}" for key in keys(store)]
    assert "bad of damaged" in caught.value.message


async def test_a_broken_download_goes_on_where_it_stopped(
    site: Site, store: ObjectStore, source: Any
) -> None:
    data = os.urandom(3_000_000)
    source.broken_after["/x.bin"] = [1_000_000, 500_000]
    item = make_item(
        "resume", {"x": {"href": source.add("/x.bin", data), "file:checksum": sha256(data)}}
    )
    await run(site, store, [item])
    spans = source.gets("/x.bin")
    assert spans[0] == ""
    assert len(spans) == 3
    assert all(span.startswith("bytes=") for span in spans[1:])
    assert store.get(ObjectAddress("vobucket", "products/s2/resume/x.bin")) == data


async def test_a_file_that_changes_between_two_tries_is_not_mixed(
    site: Site, store: ObjectStore, source: Any
) -> None:
    old, new = os.urandom(2_000_000), os.urandom(2_000_000)
    source.broken_after["/x.bin"] = [1_000_000]
    url = source.add("/x.bin", old)

    def swap(path: str) -> None:
        if len(source.gets(path)) == 2:
            source.files[path] = new

    source.on_request = swap
    await run(site, store, [make_item("mixed", {"x": {"href": url}})])
    assert store.get(ObjectAddress("vobucket", "products/s2/mixed/x.bin")) == new


async def test_a_source_without_ranges_is_read_from_the_start_again(
    site: Site, store: ObjectStore, source: Any
) -> None:
    data = os.urandom(1_000_000)
    source.without_ranges.add("/x.bin")
    source.broken_after["/x.bin"] = [400_000]
    await run(site, store, [make_item("norange", {"x": {"href": source.add("/x.bin", data)}})])
    assert store.get(ObjectAddress("vobucket", "products/s2/norange/x.bin")) == data


async def test_trouble_of_the_source_is_waited_out_and_lasting_trouble_is_told(
    site: Site, store: ObjectStore, source: Any
) -> None:
    source.statuses["/x.bin"] = [503, 500, 429]
    await run(site, store, [make_item("patience", {"x": {"href": source.add("/x.bin", b"data")}})])
    assert len(source.gets("/x.bin")) == 4

    source.statuses["/y.bin"] = [503] * 20
    with pytest.raises(UpstreamError, match="status 503") as caught:
        await run(site, store, [make_item("gone", {"y": {"href": source.add("/y.bin", b"data")}})])
    assert caught.value.retryable
    with pytest.raises(UpstreamError, match="status 404"):
        await run(site, store, [make_item("gone", {"y": {"href": f"{source.url}/no.bin"}})])


async def test_a_large_file_goes_up_in_parts_with_its_digest(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes]
) -> None:
    data = make_tiff(3100)
    assert len(data) > PART_SIZE
    await run(site, store, [make_item("large", {"a": {"href": source.add("/a.tif", data)}})])
    head = store.head(ObjectAddress("vobucket", "products/s2/large/a.tif"))
    assert head.size == len(data)
    assert head.metadata["sha256"] == hashlib.sha256(data).hexdigest()
    assert store.get(head.address) == data
    assert "-" in head.etag, "it was a multipart upload"


@pytest.mark.parametrize("fault", ["checksum", "cut"])
async def test_a_large_damaged_file_leaves_neither_object_nor_parts(
    site: Site, store: ObjectStore, source: Any, make_tiff: Callable[..., bytes], fault: str
) -> None:
    data = make_tiff(3300)
    asset = {"href": source.add("/a.tif", data)}
    if fault == "checksum":
        asset["file:checksum"] = sha256(b"other")
    else:
        source.files["/a.tif"] = data[: PART_SIZE + 100_000]
    with pytest.raises(DamagedData):
        await run(site, store, [make_item("largebad", {"a": asset})])
    assert keys(store) == []
    assert store.unfinished_uploads("vobucket") == ()


async def test_a_canceled_staging_ends_soon_and_leaves_no_parts(
    site: Site, store: ObjectStore, source: Any
) -> None:
    data = os.urandom(PART_SIZE * 3)
    source.slow["/slow.bin"] = 0.01
    item = make_item(
        "canceled",
        {
            "quick": {"href": source.add("/quick.bin", b"quick")},
            "slow": {"href": source.add("/slow.bin", data)},
        },
    )
    seen = {"bytes": 0}

    def progress(*told: Any) -> None:
        seen["bytes"] = told[2]

    begun = time.monotonic()
    with pytest.raises(StagingCanceled) as caught:
        await run(
            site,
            store,
            [item],
            progress=progress,
            cancelled=lambda: seen["bytes"] > PART_SIZE + 2_000_000,
        )
    assert time.monotonic() - begun < 30
    assert keys(store) == ["products/s2/canceled/quick.bin"]
    assert store.unfinished_uploads("vobucket") == ()
    assert "1 of 2 files" in caught.value.hint


async def test_a_task_that_is_canceled_leaves_no_parts(
    site: Site, store: ObjectStore, source: Any
) -> None:
    source.slow["/slow.bin"] = 0.01
    item = make_item("task", {"slow": {"href": source.add("/slow.bin", os.urandom(PART_SIZE * 3))}})
    far = asyncio.Event()

    def progress(*told: Any) -> None:
        if told[2] > PART_SIZE + 1_000_000:
            far.set()

    task = asyncio.create_task(run(site, store, [item], progress=progress))
    await asyncio.wait_for(far.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.unfinished_uploads("vobucket") == ()


async def test_a_full_store_is_said_and_what_arrived_is_kept(
    full_weed: Any, make_site: Callable[..., Site], source: Any
) -> None:
    site = make_site(
        s3={"endpoint": full_weed.endpoint}, allowed_hosts=[source.url.removeprefix("http://")]
    )
    store = ObjectStore(site)
    assets = {f"a{n}": {"href": source.add(f"/{n}.bin", os.urandom(2_000_000))} for n in range(16)}
    with pytest.raises(StorageFull) as caught:
        await run(site, store, [make_item("full", assets)])
    kept = caught.value.details["kept"]
    assert 0 < len(kept) < 16
    assert all(store.find(addresses.parse(href, site)) for href in kept)
    assert "item.json" not in " ".join(keys(store))
    assert f"{len(kept)} of 16 files" in caught.value.hint


async def test_objects_of_the_own_store_are_copied_by_any_of_their_addresses(
    site: Site, store: ObjectStore, make_tiff: Callable[..., bytes]
) -> None:
    data = make_tiff()
    for name in ("with", "without"):
        store.put(
            ObjectAddress("vobucket", f"users/utest/{name}.tif"),
            data,
            metadata={"sha256": hashlib.sha256(data).hexdigest()} if name == "with" else {},
        )
    own = make_item(
        "own",
        {
            "a": {"href": "s3://vobucket/users/utest/with.tif", "file:checksum": sha256(data)},
            "b": {"href": "/home/test/s3/vobucket/users/utest/without.tif"},
        },
    )
    del own["cscale:provider"]
    [staged] = await run(site, store, [own])
    assert {asset["file:checksum"] for asset in staged["assets"].values()} == {sha256(data)}
    assert store.get(ObjectAddress("vobucket", "products/s2/own/with.tif")) == data


@pytest.mark.parametrize(
    "href",
    [
        "s3://vobucket/users/utest/private.tif",
        "s3://vobucket/users/other/private.tif",
        "s3://vobucket/products/../users/utest/private.tif",
        "s3://foreign/x.tif",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.eu/x.tif",
        "https://user:word@example.eu/x.tif",
        "http://[broken",
    ],
)
def test_addresses_that_a_found_item_may_not_name_are_refused(
    make_site: Callable[..., Site], href: str
) -> None:
    site = make_site()
    item = make_item("evil", {"a": {"href": href}})
    with pytest.raises(InvalidInput):
        plan([item], ["a"], site.grants[0], site)


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/x", "http://[::1]:1/x"],
)
async def test_inside_addresses_are_not_fetched(
    site: Site, store: ObjectStore, target: str
) -> None:
    with pytest.raises(Exception, match="private address"):
        await run(site, store, [make_item("ssrf", {"a": {"href": target}})])
    assert keys(store) == []


async def test_an_alternate_address_serves_where_the_main_one_cannot(
    site: Site, store: ObjectStore, source: Any
) -> None:
    asset = {
        "href": "s3://eodata/x.bin",
        "alternate": {"https": {"href": source.add("/x.bin", b"bytes")}},
    }
    await run(site, store, [make_item("alternate", {"x": asset})])
    assert store.get(ObjectAddress("vobucket", "products/s2/alternate/x.bin")) == b"bytes"


def test_what_only_a_mirror_has_is_brought_when_it_is_named(make_site: Callable[..., Site]) -> None:
    """The nearest copy of a product may be one of which only some files were staged."""
    site = make_site()
    mirrors: list[Any] = [
        {"assets": {"a": {"href": "https://e.eu/other.tif"}, "b": {"href": "https://e.eu/b.tif"}}},
        {"assets": {"b": {"href": "https://f.eu/b.tif"}, "c": {"href": 5}, "d": "nothing"}},
        {"assets": None},
        "nothing",
    ]
    item = make_item("x", {"a": {"href": "https://e.eu/a.tif"}}, **{"cscale:mirrors": mirrors})
    made = plan([item], ["b", "a"], site.grants[0], site)
    assert [file.source for file in made.files] == ["https://e.eu/b.tif", "https://e.eu/a.tif"]
    assert made.left_out == ()
    whole = plan([item], None, site.grants[0], site)
    assert [file.asset for file in whole.files] == ["a"]
    assert "b of x, which only mirrors have" in whole.left_out[0]
    with pytest.raises(InvalidInput, match="no asset c"):
        plan([item], ["c"], site.grants[0], site)
    for odd in (None, {}, "mirrors", 3):
        assert len(plan([item | {"cscale:mirrors": odd}], None, site.grants[0], site).files) == 1


def test_the_plan_says_what_is_left_out_and_what_is_missing(make_site: Callable[..., Site]) -> None:
    site = make_site()
    item = make_item(
        "x",
        {
            "a": {"href": "https://e.eu/a.tif", "file:size": 5},
            "b": {"href": "s3://foreign/b.tif"},
            "c": {"href": "https://e.eu/c.tif", "file:checksum": "1e20" + "00" * 32},
        },
    )
    made = plan([item, item], None, site.grants[0], site)
    assert [file.asset for file in made.files] == ["a", "c"]
    assert (made.known_bytes, made.unknown_sizes) == (5, 1)
    assert len(made.left_out) == 3
    assert "b of x has no address" in made.left_out[0]
    assert "checksum of c of x" in made.left_out[1]
    assert "chosen twice" in made.left_out[2]
    with pytest.raises(InvalidInput, match="no asset nope"):
        plan([item], ["nope"], site.grants[0], site)
    with pytest.raises(InvalidInput, match="No items"):
        plan([], None, site.grants[0], site)
    with pytest.raises(InvalidInput, match="not a Feature"):
        plan([{"id": "x"}], None, site.grants[0], site)


def test_items_of_several_collections_are_staged_together(make_site: Callable[..., Site]) -> None:
    site = make_site()
    optical = make_item("o", {key: {"href": f"https://e.eu/{key}"} for key in ("B02", "B03")})
    radar = make_item("r", {key: {"href": f"https://e.eu/{key}"} for key in ("vv", "B02")})
    made = plan([optical, radar], ["B02", "B03"], site.grants[0], site)
    assert [(file.item, file.asset) for file in made.files] == [
        ("o", "B02"),
        ("o", "B03"),
        ("r", "B02"),
    ]
    assert made.left_out == ("B03 of r, which has none such",)
    with pytest.raises(InvalidInput, match="r has no asset B03"):
        plan([optical, radar], ["B03"], site.grants[0], site)
    with pytest.raises(InvalidInput, match="o has no asset B99"):
        plan([optical, radar], ["B02", "B99"], site.grants[0], site)


def test_only_geotiffs_are_opened_and_the_last_block_is_read(
    make_tiff: Callable[..., bytes],
) -> None:
    data = make_tiff(overviews=False)
    rasters.check_bytes(data, "x")
    with pytest.raises(DamagedData):
        rasters.check_bytes(data[:-50_000], "x")


@pytest.mark.skipif(not SCENES.exists(), reason="../shared/data/sentinel2-l1c-slovenia is absent")
async def test_real_sentinel_2_scenes_are_staged(
    site: Site, store: ObjectStore, source: Any
) -> None:
    items = []
    for path in sorted(SCENES.glob("S2A*.json"))[:2]:
        item = json.loads(path.read_text(encoding="utf-8"))
        for asset in item["assets"].values():
            file = SCENES / asset["href"]
            asset["href"] = source.add(f"/{file.parent.name}/{file.name}", file.read_bytes())
        items.append(item)
    staged = await run(site, store, items, ["B03", "B08", "B11"])
    assert [item["id"] for item in staged] == [item["id"] for item in items]
    assert len(keys(store)) == 8
    for before, after in zip(items, staged, strict=True):
        for key in ("B03", "B08", "B11"):
            assert after["assets"][key]["file:checksum"] == before["assets"][key]["file:checksum"]
            assert after["assets"][key]["raster:scale"] == before["assets"][key]["raster:scale"]
