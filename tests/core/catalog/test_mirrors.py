"""One result for one product: the nearest copy in front, no address and no asset lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.mirrors import MIRRORS_MEMBER, merge_mirrors, nearness
from cscale_core.providers import Provider
from cscale_core.site import Catalogue, Grant, S3Site, Site

PROVIDERS = (
    Provider(id="own", title="Own", url="https://own.example", auth="bearer"),
    Provider(id="token", title="Token", url="https://token.example", auth="bearer"),
    Provider(id="open", title="Open", url="https://open.example"),
    Provider(id="far", title="Far", url="https://far.example"),
)
SITE = Site(
    user="u",
    s3=S3Site(endpoint="https://s3.example"),
    grants=(Grant(bucket="vo", prefix="products/", access="rw", vo="v", purpose="products"),),
    catalogue=Catalogue(url="https://own.example"),
    providers=PROVIDERS,
)


def item(provider: str, **assets: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": f"id-{provider}",
        "collection": "c",
        "properties": {},
        "links": [{"rel": "self", "href": f"https://{provider}.example/items/1"}],
        "assets": assets,
        PROVIDER_MEMBER: provider,
    }


def asset(provider: str, name: str, **more: Any) -> dict[str, Any]:
    return {"href": f"https://{provider}.example/{name}", **more}


def rank(*, login: bool = True) -> Any:
    return nearness(SITE, PROVIDERS, login=login)


def names(*items: dict[str, Any], login: bool = True) -> list[str]:
    return [each[PROVIDER_MEMBER] for each in sorted(items, key=rank(login=login))]


def test_our_own_bucket_is_nearest_then_what_needs_no_login() -> None:
    staged = item("own", B03={"href": "s3://vo/products/c/1/B03.tif"})
    others = [item(name, B03=asset(name, "B03")) for name in ("token", "far", "open")]
    assert names(*others, staged) == ["own", "open", "far", "token"]
    assert names(item("gone"), *others, login=False) == ["open", "far", "token", "gone"]
    # An s3 address of somebody else's bucket looks alike and is not ours.
    assert names(item("token", B03={"href": "s3://public/B03.tif"}), others[1]) == ["far", "token"]


def test_the_same_key_becomes_an_alternate_under_the_archives_id() -> None:
    near = item("open", B03=asset("open", "B03.tif"))
    far = item("far", B03=asset("far", "B03.jp2", type="image/jp2"))
    merged = merge_mirrors([far, near], rank())
    assert merged["id"] == "id-open"
    assert merged["assets"]["B03"]["href"] == "https://open.example/B03.tif"
    assert merged["assets"]["B03"]["alternate"] == {
        "far": {
            "href": "https://far.example/B03.jp2",
            "type": "image/jp2",
            "alternate:name": "far",
        }
    }
    assert any("alternate-assets" in name for name in merged["stac_extensions"])
    assert merged[MIRRORS_MEMBER] == [
        {
            "provider": "far",
            "collection": "c",
            "id": "id-far",
            "href": "https://far.example/items/1",
            "assets": {},
        }
    ]


def test_bands_are_matched_by_common_name_and_resolution() -> None:
    near = item("open", green=asset("open", "g", bands=[{"eo:common_name": "green"}], gsd=10))
    far = item(
        "far",
        B03_10m=asset(
            "far", "10", **{"eo:bands": [{"name": "B03", "common_name": "green"}]}, gsd=10
        ),
        B03_20m=asset(
            "far", "20", **{"eo:bands": [{"name": "B03", "common_name": "green"}]}, gsd=20
        ),
        thumbnail=asset("far", "t", roles=["thumbnail"]),
    )
    merged = merge_mirrors([near, far], rank())
    assert merged["assets"]["green"]["alternate"]["far"]["href"].endswith("/10")
    assert set(merged["assets"]) == {"green"}
    assert set(merged[MIRRORS_MEMBER][0]["assets"]) == {"B03_20m", "thumbnail"}


def test_what_a_partly_staged_copy_lacks_is_added_with_its_archive() -> None:
    staged = item("own", B03={"href": "s3://vo/products/c/1/B03.tif"})
    far = item("far", B03=asset("far", "B03"), B02=asset("far", "B02"))
    merged = merge_mirrors([far, staged], rank())
    assert merged["assets"]["B03"]["href"].startswith("s3://vo/")
    assert merged["assets"]["B02"] == {**asset("far", "B02"), PROVIDER_MEMBER: "far"}
    assert merged[MIRRORS_MEMBER][0]["assets"] == {}
    assert "B02" not in staged["assets"]


def test_bands_that_ours_has_in_no_form_are_added_whatever_they_are_called() -> None:
    near = item("open", green=asset("open", "g", bands=[{"eo:common_name": "green"}]))
    far = item(
        "far",
        B03=asset("far", "3", bands=[{"eo:common_name": "green"}]),
        B04=asset("far", "4", bands=[{"eo:common_name": "red"}]),
        manifest=asset("far", "m"),
    )
    merged = merge_mirrors([near, far], rank())
    assert set(merged["assets"]) == {"green", "B04"}
    assert set(merged[MIRRORS_MEMBER][0]["assets"]) == {"manifest"}


def test_what_is_ambiguous_or_contradicts_is_not_matched() -> None:
    green = {"bands": [{"eo:common_name": "green"}]}
    near = item("open", g=asset("open", "g", **green), data=asset("open", "d", gsd=10))
    far = item(
        "far",
        g1=asset("far", "1", **green),
        g2=asset("far", "2", **green),
        data=asset("far", "d", gsd=60),
    )
    merged = merge_mirrors([near, far], rank())
    assert all("alternate" not in each for each in merged["assets"].values())
    assert set(merged[MIRRORS_MEMBER][0]["assets"]) == {"g1", "g2", "data"}
    assert "stac_extensions" not in merged


def test_alternates_that_were_there_stay() -> None:
    own = asset("open", "B03", alternate={"far": {"href": "s3://elsewhere/B03"}})
    theirs = asset("far", "B03", alternate={"s3": {"href": "s3://far/B03"}})
    merged = merge_mirrors([item("open", B03=own), item("far", B03=theirs)], rank())
    alternate = merged["assets"]["B03"]["alternate"]
    assert alternate["far"] == {"href": "s3://elsewhere/B03"}
    assert alternate["far-2"]["href"] == "https://far.example/B03"
    assert alternate["far-2"]["alternate"] == {"s3": {"href": "s3://far/B03"}}


def test_one_item_is_itself() -> None:
    only = item("open", B03=asset("open", "B03"))
    assert merge_mirrors([only], rank()) is only


KEYS = st.sampled_from(["B03", "green", "data", "thumbnail"])
ASSETS = st.dictionaries(
    KEYS,
    st.fixed_dictionaries(
        {},
        optional={
            "gsd": st.sampled_from([10, 20, "x", None, True]),
            "bands": st.sampled_from(
                [[], [{"name": "B03"}], ["x"], "x", [{"eo:common_name": "g"}]]
            ),
            "roles": st.sampled_from([["data"], ["thumbnail"], "data", None]),
            "alternate": st.sampled_from([{}, "x", {"s3": {"href": "s3://x/y"}}]),
        },
    ),
)


@given(st.lists(ASSETS, min_size=1, max_size=4))
def test_no_address_is_lost_and_nothing_given_is_changed(contents: list[dict[str, Any]]) -> None:
    items = []
    for number, assets in enumerate(contents):
        provider = PROVIDERS[number].id
        placed = {
            key: {"href": f"https://{provider}.example/{key}", **content}
            for key, content in assets.items()
        }
        items.append(item(provider, **placed))
    before = copy.deepcopy(items)
    merged = merge_mirrors(items, rank())
    assert items == before
    text = repr(merged)
    for each in items:
        for key in each["assets"]:
            assert text.count(f"https://{each[PROVIDER_MEMBER]}.example/{key}'") >= 1


def test_a_malformed_alternate_does_not_end_the_search() -> None:
    near = item("open", B03=asset("open", "B03", alternate="nonsense"))
    far = item("far", B03=asset("far", "B03"))
    merged = merge_mirrors([near, far], rank())
    assert merged["assets"]["B03"]["alternate"]["far"]["href"] == "https://far.example/B03"


@pytest.mark.parametrize("login", [True, False])
def test_a_login_that_the_user_has_not_is_farther(login: bool) -> None:
    order = names(item("token"), item("unknown"), login=login)
    assert order == ["token", "unknown"]
    assert rank(login=login)(item("token")) == ((2, 1) if login else (3, 1))
