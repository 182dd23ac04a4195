"""Where rasters lie: curved edges, the antimeridian, the poles."""

from __future__ import annotations

import json

import pytest
from shapely.geometry import Point, shape

from cscale_core.errors import DamagedData
from cscale_core.ingest.outline import box_of, outline, together


def test_straight_edges_of_a_projection_are_curves_on_the_earth() -> None:
    wide = outline("EPSG:3035", (2_500_000, 1_500_000, 7_000_000, 5_400_000))
    assert wide is not None
    ring = wide["coordinates"][0]
    assert len(ring) > 30
    assert ring[0] == ring[-1]
    # The middle of the northern edge lies north of the line between its corners.
    assert box_of(wide)[3] > max(lat for lat in (ring[0][1], ring[len(ring) // 2][1]))
    small = outline("EPSG:32630", (240_000, 4_032_000, 243_000, 4_035_000))
    assert small is not None
    assert len(small["coordinates"][0]) < 10
    assert len(json.dumps(small)) < 400


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:32601", (100_000, 5_000_000, 900_000, 5_200_000)),
        ("EPSG:32660", (600_000, 100_000, 1_000_000, 300_000)),
        ("EPSG:4326", (170, -10, 190, 10)),
        ("EPSG:3832", (2_600_000, 0, 4_000_000, 1_000_000)),
    ],
)
def test_area_across_the_antimeridian_is_split_there(
    crs: str, bounds: tuple[float, float, float, float]
) -> None:
    area = outline(crs, bounds)
    assert area is not None
    assert area["type"] == "MultiPolygon"
    read = shape(area)
    assert read.is_valid
    assert all(part.bounds[2] - part.bounds[0] < 30 for part in read.geoms)
    west, _, east, _ = box_of(area)
    assert 150 < west < 180
    assert -180 < east < -150


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90)])
def test_area_around_a_pole_reaches_it(crs: str, pole: int) -> None:
    area = outline(crs, (-1e6, -1e6, 1e6, 1e6))
    assert area is not None
    read = shape(area)
    assert read.is_valid
    for longitude in (-179, -90, 0, 90, 179):
        assert read.contains(Point(longitude, pole * 0.99))
        assert not read.contains(Point(longitude, pole * 0.7))
    assert box_of(area)[0] == -180
    assert pole in box_of(area)


def test_whole_world_stays_whole() -> None:
    for bounds in ((-180, -90, 180, 90), (0, -90, 360, 90)):
        area = outline("EPSG:4326", bounds)
        assert area is not None
        assert box_of(area) == [-180, -90, 180, 90]
        assert area["type"] == "Polygon"
    mercator = outline("EPSG:3857", (-20_037_508, -20_037_508, 20_037_508, 20_037_508))
    assert mercator is not None
    west, south, east, north = box_of(mercator)
    assert (west < -179.9, south < -85, east > 179.9, north > 85) == (True,) * 4


def test_what_no_projection_can_undo_has_no_place() -> None:
    assert outline("+proj=ortho +lat_0=0 +lon_0=0", (-8e6, -8e6, 8e6, 8e6)) is None
    with pytest.raises(DamagedData, match="no coordinate reference"):
        outline("nonsense", (0, 0, 1, 1))


def test_two_places_are_told_together() -> None:
    one, two = outline("EPSG:4326", (0, 0, 1, 1)), outline("EPSG:4326", (5, 5, 6, 6))
    assert one is not None
    assert two is not None
    assert together([one]) == one
    assert box_of(together([one, two])) == [0, 0, 6, 6]
