"""The three addresses of an object lead to each other and back, for any key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput
from cscale_core.site import Grant, Site


def site(**members: Any) -> Site:
    return Site.model_validate(
        {
            "user": "u",
            "s3": {"endpoint": "http://127.0.0.1:9000", "public_url": "https://s3.example.eu/data"},
            "mount_root": "/s3",
            "mount": "/home/u/s3",
            "catalogue": {"url": "http://127.0.0.1:1"},
            **members,
        }
    )


SITE = site()
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,30}[a-z0-9]", fullmatch=True).filter(
    lambda name: ".." not in name
)
PARTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=12
)
KEYS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=4).map(
    "/".join
)
PLAIN_KEYS = st.lists(
    st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True), min_size=1, max_size=4
).map("/".join)


@given(BUCKETS, KEYS)
def test_https_leads_back_for_every_key(bucket: str, key: str) -> None:
    address = ObjectAddress(bucket, key)
    url = addresses.https_url(address, SITE)
    assert addresses.parse(url, SITE) == address
    assert addresses.parse(f"{url}?X-Amz-Signature=abc", SITE) == address


@given(BUCKETS, KEYS)
def test_the_mount_leads_back_for_every_key(bucket: str, key: str) -> None:
    address = ObjectAddress(bucket, key)
    for canonical in (True, False):
        assert (
            addresses.parse(addresses.mount_path(address, SITE, canonical=canonical), SITE)
            == address
        )


@given(BUCKETS, PLAIN_KEYS)
def test_all_three_lead_to_the_same_object(bucket: str, key: str) -> None:
    address = ObjectAddress(bucket, key)
    made = addresses.asset_addresses(address, SITE)
    hrefs = [made["href"], *(alternate["href"] for alternate in made["alternate"].values())]
    assert len(hrefs) == 3
    assert {addresses.parse(href, SITE) for href in hrefs} == {address}


@given(BUCKETS, PLAIN_KEYS)
def test_localising_gives_this_servers_path_and_changes_nothing_else(bucket: str, key: str) -> None:
    address = ObjectAddress(bucket, key)
    item = {
        "assets": {"a": addresses.asset_addresses(address, SITE), "b": {"href": "https://x.eu/b"}}
    }
    grant = {"bucket": bucket, "access": "ro", "vo": "v", "purpose": "products"}
    elsewhere = site(mount="/home/other/s3", grants=[grant])
    local = addresses.localise(item, elsewhere)
    assert local["assets"]["a"]["alternate"]["mount"]["href"] == f"/home/other/s3/{bucket}/{key}"
    assert local["assets"]["b"] == {"href": "https://x.eu/b"}
    assert local["assets"]["a"]["href"] == address.s3
    assert item["assets"]["a"]["alternate"]["mount"]["href"] == f"/s3/{bucket}/{key}"


@given(BUCKETS, PLAIN_KEYS, st.sampled_from(["..", "."]))
def test_dots_that_climb_are_refused_in_every_form(bucket: str, key: str, dots: str) -> None:
    for address in (
        f"s3://{bucket}/{key}/{dots}/x",
        f"/home/u/s3/{bucket}/{key}/{dots}/x",
        f"file:///s3/{bucket}/{key}/{dots}/x",
        f"https://s3.example.eu/data/{bucket}/{key}/%2E%2E/x",
    ):
        with pytest.raises(InvalidInput):
            addresses.parse(address, SITE)


@pytest.mark.parametrize(
    "foreign",
    [
        "https://example.eu/bucket/key",
        "https://s3.example.eu/database/bucket/key",
        "http://127.0.0.1:90001/bucket/key",
        "/s3x/bucket/key",
        "/home/u/s3-other/bucket/key",
        "relative/path",
        "ftp://s3.example.eu/data/bucket/key",
    ],
)
def test_foreign_addresses_are_none(foreign: str) -> None:
    assert addresses.parse(foreign, SITE) is None


@pytest.mark.parametrize(
    "empty", ["s3://bucket/", "s3:///key", "/s3/bucket", "/s3/bucket/", "http://127.0.0.1:9000/b"]
)
def test_ours_without_a_key_is_refused(empty: str) -> None:
    with pytest.raises(InvalidInput):
        addresses.parse(empty, SITE)


@given(st.text(max_size=60))
@example("http://[")
@example("s3://[key")
def test_any_text_is_an_address_or_none_or_refused(text: str) -> None:
    try:
        found = addresses.parse(text, SITE)
    except InvalidInput:
        return
    assert found is None or (found.bucket and found.key)


GRANTED = SITE.model_copy(
    update={
        "grants": (Grant(bucket="ours", prefix="", access="rw", vo="v", purpose="products"),),
        "mount": "/home/u/s3",
    }
)


def test_what_goes_back_into_a_catalogue_is_canonical_again() -> None:
    address = addresses.ObjectAddress("ours", "products/a.tif")
    item = {"assets": {"a": addresses.asset_addresses(address, GRANTED)}}
    local = addresses.localise(item, GRANTED)
    assert local["assets"]["a"]["alternate"]["mount"]["href"] == "/home/u/s3/ours/products/a.tif"
    assert addresses.canonicalise(local, GRANTED) == item


@pytest.mark.parametrize("href", ["s3://public-archive/a.tif", "s3://ours/../b"])
def test_address_that_only_looks_like_ours_gets_no_mounted_path(href: str) -> None:
    item = {"assets": {"a": {"href": href}}}
    assert addresses.localise(item, GRANTED) == item


def test_a_shortcut_leads_to_the_object_behind_it() -> None:
    here = site(mount="/s3", shortcuts={"/s3/me": "vo-bucket/users/u", "/eodata": "eodata"})
    assert addresses.parse("/s3/me/a/b.tif", here) == ObjectAddress("vo-bucket", "users/u/a/b.tif")
    assert addresses.parse("/eodata/Sentinel-2/x", here) == ObjectAddress("eodata", "Sentinel-2/x")
    assert addresses.parse("/s3/vo-bucket/me", here) == ObjectAddress("vo-bucket", "me")
    with pytest.raises(InvalidInput):
        addresses.parse("/s3/me/../other/x", here)


@pytest.mark.parametrize(
    "alternate", ["elsewhere", None, ["https"], {"https": "elsewhere", "mount": None}]
)
def test_alternates_that_are_none_are_made_anew(alternate: Any) -> None:
    item = {"assets": {"a": {"href": "s3://ours/products/a.tif", "alternate": alternate}}}
    made = addresses.localise(item, GRANTED)["assets"]["a"]["alternate"]
    assert made["https"]["href"] == "https://s3.example.eu/data/ours/products/a.tif"
    assert made["mount"]["href"] == "/home/u/s3/ours/products/a.tif"
