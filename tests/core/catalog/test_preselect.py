"""Providers are left out by what their policy states, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cscale_core.catalog.preselect import own_collections, why_not
from cscale_core.catalog.query import SearchQuery
from cscale_core.providers import DataPolicy, Provider
from cscale_core.site import Site

NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)
MEMBER = "urn:mace:egi.eu:group:vo.x:role=member#aai.egi.eu"


def provider(**policy: Any) -> Provider:
    return Provider(
        id="a", title="A", url="https://a.example.eu", policy=DataPolicy.model_validate(policy)
    )


@pytest.fixture
def why(make_site: Callable[..., Site]) -> Callable[..., str]:
    def ask(policy: dict[str, Any], entitlements: tuple[str, ...] = (), **query: Any) -> str:
        site = make_site(entitlements=entitlements)
        return why_not(provider(**policy), SearchQuery(**query), site, NOW)

    return ask


ROLLING = {
    "collections": [
        {
            "id": "S2_L2A",
            "aliases": ["sentinel-2-l2a"],
            "product_type": "S2MSI2A",
            "retention": "rolling",
            "interval": "-P30D/..",
        },
        {"id": "S1_GRD", "coverage": [5, 40, 20, 50], "interval": "2015-01-01/2020-12-31"},
    ],
    "complete": True,
}


def test_a_provider_without_a_policy_is_always_asked(why: Any) -> None:
    assert why({}) == ""
    assert why({}, collections=["anything"], datetime="1900-01-01", bbox=(0, 0, 1, 1)) == ""


def test_a_provider_that_was_not_named_is_left_out(why: Any) -> None:
    assert "not among" in why({}, providers=["b"])
    assert why({}, providers=["b", "a"]) == ""


@pytest.mark.parametrize("name", ["S2_L2A", "sentinel-2-l2a", "SENTINEL-2-L2A", "S2MSI2A"])
def test_a_collection_is_found_by_id_alias_and_product_type(why: Any, name: str) -> None:
    assert why(ROLLING, collections=[name]) == ""
    assert why(ROLLING, collections=["other", f"a|{name}"]) == ""


def test_a_collection_that_a_complete_policy_does_not_name_leaves_out(why: Any) -> None:
    assert why(ROLLING, collections=["landsat"]) == "It does not have landsat."
    assert why(ROLLING, collections=["b|S2_L2A", "landsat"]) == (
        "It does not have b|S2_L2A or landsat."
    )
    assert why({**ROLLING, "complete": False}, collections=["landsat"]) == ""
    assert why({"complete": True}, collections=["landsat"]) == ""


@pytest.mark.parametrize(
    ("condition", "left_out"),
    [
        ("\"product:type\" = 'S2MSI1C'", True),
        ("\"product:type\" = 's2msi2a'", False),
        ("\"product:type\" IN ('S2MSI1C', 'S2MSI2A')", False),
        ('"s2:product_type" = \'S2MSI1C\' AND "eo:cloud_cover" < 20', True),
        ('"s2:product_type" = \'S2MSI1C\' OR "eo:cloud_cover" < 20', False),
        ("NOT \"product:type\" = 'S2MSI2A'", False),
        ("'S2MSI1C' = \"product:type\"", False),
        ('"product:type" = 5', False),
        ("\"colour\" = 'S2MSI1C'", False),
    ],
)
def test_a_product_type_that_a_filter_demands_and_the_policy_has_not_leaves_out(
    why: Any, condition: str, left_out: bool
) -> None:
    reason = why(ROLLING, collections=["sentinel-2-l2a"], filter=condition)
    assert reason == ("It has no product of type S2MSI1C." if left_out else "")
    assert why({"collections": [{"id": "S2_L2A"}]}, collections=["S2_L2A"], filter=condition) == ""


def test_a_long_name_of_a_product_type_is_the_short_one(why: Any) -> None:
    policy = {"collections": [{"id": "s1", "product_type": "GRD"}], "complete": True}
    assert why(policy, filter="\"product:type\" = 'IW_GRDH_1S'") == ""
    assert why(policy, filter="\"product:type\" = 'IW_SLC__1S'") != ""
    assert why({**policy, "complete": False}, filter="\"product:type\" = 'IW_SLC__1S'") == ""


def test_a_rolling_archive_is_asked_for_what_it_still_has(why: Any) -> None:
    reason = why(ROLLING, collections=["sentinel-2-l2a"], datetime="2024-01-01/2024-05-30")
    assert reason == ("It has nothing of the time asked for: it keeps S2_L2A from 2024-05-31 on.")
    assert why(ROLLING, collections=["sentinel-2-l2a"], datetime="2024-01-01/2024-06-01") == ""
    assert why(ROLLING, collections=["sentinel-2-l2a"], datetime="2024-06-20/..") == ""
    assert "S1_GRD from 2015-01-01 to 2020-12-31" in why(ROLLING, datetime="2022-01-01")
    assert why(ROLLING, datetime="2020-12-31T23:59:59Z") == ""


def test_an_area_that_no_collection_of_the_right_time_covers_leaves_out(why: Any) -> None:
    assert why(ROLLING, bbox=(-70, -10, -60, 0)) == ""
    reason = why(ROLLING, bbox=(-70, -10, -60, 0), datetime="2018-01-01/2018-02-01")
    assert reason == "It has nothing in the area asked for."
    assert why(ROLLING, collections=["S1_GRD"], bbox=(19, 49, 30, 60)) == ""


@pytest.mark.parametrize(
    "coverage",
    [
        [170, -20, -170, 0],
        {
            "type": "MultiPolygon",
            "coordinates": [
                [[[170, -20], [180, -20], [180, 0], [170, 0], [170, -20]]],
                [[[-180, -20], [-170, -20], [-170, 0], [-180, 0], [-180, -20]]],
            ],
        },
    ],
)
def test_areas_across_the_antimeridian_meet_on_both_sides(why: Any, coverage: Any) -> None:
    policy = {"coverage": coverage}
    for box in [(178, -10, -179, -5), (171, -10, 172, -9), (-172, -10, -171, -9)]:
        assert why(policy, bbox=box) == ""
    assert why(policy, bbox=(0, -10, 20, -5)) != ""
    assert why({"coverage": [0, -20, 10, 0]}, bbox=(178, -10, -179, -5)) != ""


def test_a_ring_that_crosses_itself_is_no_reason_to_fail(why: Any) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    assert why({"coverage": bow}, bbox=(0.2, 0.9, 0.4, 1.1)) == ""
    assert why({"coverage": bow}, bbox=(5, 5, 6, 6)) != ""


def test_a_provider_for_members_is_left_out_for_others(why: Any) -> None:
    policy = {"entitlement": "urn:mace:egi.eu:group:vo.x"}
    assert why(policy) == "It is for members of vo.x only."
    assert why(policy, ("urn:mace:egi.eu:group:vo.x.evil",)) != ""
    assert why(policy, (MEMBER,)) == ""


def test_names_become_the_providers_own() -> None:
    rolling = provider(**ROLLING)
    assert own_collections(rolling, ["a|S1_GRD", "sentinel-2-l2a", "S2_L2A", "b|x", "y"]) == [
        "S1_GRD",
        "S2_L2A",
    ]
    assert own_collections(provider(), ["a|x", "b|y", "z", "x"]) == ["x", "z"]
    assert own_collections(provider(), ["a|urn:eop:A:b|c"]) == ["urn:eop:A:b|c"]


@pytest.mark.parametrize(
    "interval",
    [
        "P30D/..",
        "-P/..",
        "30 days/..",
        "2024-01-01",
        "a/b",
        "-P1D/-P30D",
        "../../..",
        "-P9999999Y/..",
    ],
)
def test_an_interval_that_is_none_is_told_when_it_is_read(interval: str) -> None:
    with pytest.raises(ValidationError, match="interval"):
        provider(interval=interval)


@pytest.mark.parametrize(
    "coverage",
    [
        [0, 10, 5, 0],
        [0, 0, 1],
        [0, 0, 200, 1],
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": 5},
        {"type": "Polygon", "coordinates": [[[0, 95], [1, 95], [1, 96], [0, 95]]]},
        {"type": "MultiPolygon"},
    ],
)
def test_an_area_that_is_none_is_told_when_it_is_read(coverage: Any) -> None:
    with pytest.raises(ValidationError, match="coverage"):
        provider(coverage=coverage)


@given(days=st.integers(1, 3000), ago=st.integers(0, 4000), length=st.integers(0, 400))
def test_a_rolling_archive_is_left_out_exactly_when_the_question_ends_before_it_begins(
    days: int, ago: int, length: int
) -> None:
    end = NOW - timedelta(days=ago)
    start = end - timedelta(days=length)
    query = SearchQuery(datetime=f"{start.isoformat()}/{end.isoformat()}")
    site = Site.model_validate(
        {"user": "u", "s3": {"endpoint": "http://s3"}, "catalogue": {"url": "http://c"}}
    )
    left_out = why_not(provider(interval=f"-P{days}D/.."), query, site, NOW) != ""
    assert left_out == (ago > days)
