"""The same product at several archives is recognised, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_core.catalog.products import product_key, product_name

S1 = "S1A_IW_GRDH_1SDV_20240501T053457_20240501T053522_053668_06846B_B0F4"
S2 = "S2A_MSIL2A_20240501T100559_N0510_R022_T33UVP_20240501T153000"
S3 = (
    "S3A_OL_1_EFR____20240501T083000_20240501T083300_20240501T103000_0179_112_078_2160_PS1_O_NR_003"
)
S5P = "S5P_OFFL_L2__NO2____20240501T101112_20240501T115242_33941_03_020600_20240503T030405"
LANDSAT = "LC08_L2SP_001002_20200101_20200823_02_T1"


def item(identifier: str, collection: str = "c", **properties: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "collection": collection,
        "properties": {"datetime": "2024-05-01T10:05:59.024Z", **properties},
    }


@pytest.mark.parametrize("name", [S1, S1 + "_COG", S2, S3, S5P, LANDSAT])
@pytest.mark.parametrize("packaging", ["", ".SAFE", ".SEN3", ".nc", ".zip", ".SAFE.zip", ".tar.gz"])
def test_full_names_are_known_in_any_packaging(name: str, packaging: str) -> None:
    assert product_name(item(name + packaging)) == name


@pytest.mark.parametrize(
    "one",
    [
        # Planetary Computer leaves the baseline out of the id, Earth Search writes its own.
        item("S2A_MSIL2A_20240501T100559_R022_T33UVP_20240501T153000", **{"s2:product_uri": S2}),
        item("S2A_33UVP_20240501_0_L2A", **{"s2:product_uri": S2 + ".SAFE"}),
        # resto gives a UUID as id, and keeps the name.
        item("8030a391-4002-556f-929b-d7ff9dad6705", productIdentifier=S2),
        item("anything", title=S2),
    ],
)
def test_names_stated_in_properties_count(one: dict[str, Any]) -> None:
    assert product_key(one) == product_key(item(S2, "another-collection"))


@pytest.mark.parametrize(
    "other",
    [
        S2.replace("N0510", "N0500"),
        S2.replace("T153000", "T213000"),
        S2.replace("L2A", "L1C"),
        S2.replace("T33UVP", "T33UVQ"),
    ],
)
def test_another_baseline_level_tile_or_processing_is_another_product(other: str) -> None:
    assert product_key(item(S2)) != product_key(item(other))


def test_images_rewritten_as_cog_are_another_product() -> None:
    assert product_key(item(S1)) != product_key(item(S1 + "_COG"))


@pytest.mark.parametrize(
    "shortened", ["S2A_33UVP_20240501_0_L2A", S1[:-5], "LC08_L2SP_001002_20200101_02_T1", "x" + S2]
)
def test_shortened_names_are_not_guessed_at(shortened: str) -> None:
    assert product_name(item(shortened)) is None


def test_without_a_name_id_collection_and_second_decide() -> None:
    here = item("scene-1", "water")
    assert product_key(here) == product_key(
        item("scene-1", "site-b|water", datetime="2024-05-01T12:05:59+02:00")
    )
    assert product_key(here) != product_key(item("scene-1", "fire"))
    assert product_key(here) != product_key(item("scene-2", "water"))
    assert product_key(here) != product_key(item("scene-1", "water", datetime="2024-05-02"))
    assert product_key(item("a", datetime=None)) == product_key(item("a", datetime="nonsense"))
    assert product_name(item("a", title=17, productIdentifier=["x"])) is None
