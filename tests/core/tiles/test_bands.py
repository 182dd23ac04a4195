"""What of an item can be shown, from what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_core.tiles.bands import TRUE_COLOUR, renderings
from cscale_core.tiles.styles import known_limits

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(**assets: Any) -> dict[str, Any]:
    return {"id": "scene", "properties": {}, "assets": assets}


def asset(href: str = "https://a.example/x.tif", **more: Any) -> dict[str, Any]:
    return {"href": href, "type": COG} | more


def ids(**assets: Any) -> list[str]:
    return [one.id for one in renderings(item(**assets))]


def test_a_scene_with_named_bands_has_colours_and_every_index() -> None:
    bands = {
        name: asset(bands=[{"name": name, "eo:common_name": common}])
        for name, common in (
            ("red", "red"),
            ("green", "green"),
            ("blue", "blue"),
            ("nir", "nir"),
            ("swir", "swir16"),
        )
    }
    assert ids(**bands)[:4] == [TRUE_COLOUR, "ndvi", "ndwi", "mndwi"]
    shown = {one.id: one for one in renderings(item(**bands))}
    assert [band.asset for band in shown["ndvi"].bands] == ["nir", "red"]
    assert [band.asset for band in shown["mndwi"].bands] == ["green", "swir"]


@pytest.mark.parametrize(
    "keys",
    [("B02", "B03", "B04", "B08", "B11"), ("B02_10m", "B03_10m", "B04_10m", "B8A", "B11_20m")],
)
def test_sentinel_2_is_known_by_its_own_names(keys: tuple[str, ...]) -> None:
    assert ids(**{key: asset() for key in keys})[:4] == [TRUE_COLOUR, "ndvi", "ndwi", "mndwi"]


def test_older_items_name_their_bands_in_eo_bands() -> None:
    old = asset(**{"eo:bands": [{"name": "B4", "common_name": "red"}]})
    (shown,) = renderings(item(B4=old))
    assert (shown.id, shown.bands[0].common) == ("asset|B4", "red")


def test_a_finished_picture_goes_before_one_of_bands() -> None:
    bands = {key: asset() for key in ("B02", "B03", "B04")}
    first = renderings(item(**bands, visual=asset(roles=["visual"])))[0]
    assert [band.asset for band in first.bands] == ["visual"] * 3
    assert [band.number for band in first.bands] == [1, 2, 3]


def test_a_cog_goes_before_jpeg_2000() -> None:
    assets = {
        "red-jp2": {
            "href": "https://a.example/x.jp2",
            "type": "image/jp2",
            "bands": [{"eo:common_name": "red"}],
        },
        "red": asset(bands=[{"eo:common_name": "red"}]),
        "nir": asset(bands=[{"eo:common_name": "nir"}]),
    }
    ndvi = renderings(item(**assets))[0]
    assert [band.asset for band in ndvi.bands] == ["nir", "red"]


def test_what_is_no_raster_is_not_shown() -> None:
    assert (
        ids(
            thumbnail=asset(roles=["thumbnail"]),
            preview={"href": "https://a.example/x.jpg", "type": "image/jpeg"},
            netcdf={"href": "https://a.example/x.nc", "type": "application/x-netcdf"},
            vrt={"href": "https://a.example/x.vrt"},
            bad={"href": "http://[", "type": None},
        )
        == []
    )


def test_hostile_members_are_left_out() -> None:
    hostile = asset(
        bands=[{"name": ["x"], "statistics": "many", "classification:classes": {"a": 1}}, 7],
        nodata={"a": 1},
        datetime=12,
        title="<script>" * 100,
    )
    (shown,) = renderings(item(x=hostile))
    assert shown.bands[0].nodata is None
    assert len(shown.title) == 200
    assert renderings({"assets": {"x": "text"}}) == []


def test_assets_of_several_times_are_one_series() -> None:
    results = {
        f"composite_{year}-01-01": asset(
            datetime=f"{year}-01-01T00:00:00Z", bands=[{"name": "swir"}, {"name": "nir"}]
        )
        for year in (2019, 2020)
    }
    shown = renderings(item(**results))
    assert [one.series for one in shown] == ["composite|1", "composite|2"] * 2
    assert [one.moment.year for one in shown if one.moment] == [2019, 2019, 2020, 2020]


def test_classes_keep_their_colours_and_names() -> None:
    classes = [
        {"value": 1, "description": "Water", "color_hint": "0000FF"},
        {"value": 2, "name": "land", "color_hint": "red; }"},
        {"value": "x"},
    ]
    (shown,) = renderings(item(x=asset(bands=[{"name": "b", "classification:classes": classes}])))
    assert shown.kind == "classes"
    assert [(one.value, one.name, one.colour) for one in shown.bands[0].classes] == [
        (1, "Water", "#0000ff"),
        (2, "land", ""),
    ]


def test_ranges_come_from_statistics_where_they_are() -> None:
    told = {"minimum": -1, "maximum": 100, "mean": 10, "stddev": 5}
    scaled = asset(bands=[{"name": "b", "statistics": told, "raster:scale": 0.5}])
    (shown,) = renderings(item(x=scaled))
    assert known_limits(shown) == ((0.0, 10.0),)
    (shown,) = renderings(item(x=asset(bands=[{"name": "b"}])))
    assert known_limits(shown) == ()
