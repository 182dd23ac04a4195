"""Names made from untrusted ids, and checksums as STAC writes them."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cscale_core.errors import InvalidInput
from cscale_core.ingest.checksums import parse_multihash, sha256_multihash
from cscale_core.ingest.names import asset_names, item_prefix, safe_name
from cscale_core.site import Grant

PRODUCTS = Grant(bucket="b", prefix="products/", access="rw", vo="v", purpose="products")


@given(st.text())
@example("")
@example("..")
@example("../../etc/passwd")
@example("a%2Fb")
@example("\ud800")
@example("x" * 5000 + ".tif")
def test_every_text_becomes_one_harmless_path_segment(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,220}", name)
    assert name == safe_name(text)


@given(st.lists(st.text(), unique=True, max_size=20))
def test_different_texts_become_different_names(texts: list[str]) -> None:
    assert len({safe_name(text) for text in texts}) == len(texts)


def test_good_names_stay_as_they_are() -> None:
    name = "S2A_MSIL1C_20190611T160901_N0207_R140_T23XMD_20190611T193040"
    assert item_prefix(PRODUCTS, "sentinel-2-l1c", name) == f"products/sentinel-2-l1c/{name}/"
    home = Grant(bucket="b", prefix="users/u/", access="rw", vo="v", purpose="home")
    assert item_prefix(home, "c", "i") == "users/u/products/c/i/"


ASSETS = st.dictionaries(
    st.text(max_size=8),
    st.builds(
        lambda href, kind: {"href": href, "type": kind},
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(
                [
                    "https://e.eu/R10m/B02.jp2",
                    "https://e.eu/R20m/B02.jp2",
                    "https://e.eu/b02.JP2",
                    "https://e.eu/item.json",
                    "https://e.eu/%2e%2e%2fx.tif",
                    "https://e.eu/Nodes('a')/$value",
                ]
            ),
        ),
        st.sampled_from(["image/tiff; application=geotiff", "", "application/json"]),
    ),
    max_size=8,
)


@given(ASSETS)
def test_assets_never_share_a_name_nor_take_the_items(assets: dict[str, dict[str, str]]) -> None:
    names = asset_names(assets)
    assert names.keys() == assets.keys()
    lowered = [name.lower() for name in names.values()]
    assert len(set(lowered)) == len(lowered)
    assert "item.json" not in lowered
    assert not any("/" in name or "%" in name for name in lowered)


def test_names_come_from_the_address_or_from_the_asset() -> None:
    assert asset_names(
        {
            "B02_10m": {"href": "https://e.eu/R10m/B02.jp2"},
            "B02_20m": {"href": "https://e.eu/R20m/B02.jp2"},
            "visual": {"href": "https://e.eu/TCI.tif?sig=x/y.tif"},
            "data": {"href": "https://e.eu/odata/download", "type": "image/tiff; x=y"},
        }
    ) == {
        "B02_10m": "B02_10m-B02.jp2",
        "B02_20m": "B02_20m-B02.jp2",
        "visual": "TCI.tif",
        "data": "data.tif",
    }


@pytest.mark.parametrize(
    ("prefix", "algorithm"),
    [
        ("1220", "sha256"),
        ("1340", "sha512"),
        ("1114", "sha1"),
        ("d50110", "md5"),
        ("1620", "sha3_256"),
    ],
)
def test_checksums_of_known_kinds_are_read(prefix: str, algorithm: str) -> None:
    digest = hashlib.new(algorithm, b"data").hexdigest()
    parsed = parse_multihash(prefix + digest)
    assert parsed.algorithm == algorithm
    hasher = parsed.hasher()
    hasher.update(b"data")
    assert hasher.digest() == parsed.digest


def test_our_own_checksum_reads_back() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    assert parse_multihash(sha256_multihash(digest)).digest.hex() == digest


@given(st.one_of(st.text(max_size=20), st.binary(max_size=40).map(bytes.hex)))
@example("1220" + "00" * 31)
@example("1210" + "00" * 16)
@example("1e20" + "00" * 32)
def test_what_cannot_be_checked_is_refused_never_passed(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_multihash(text)
