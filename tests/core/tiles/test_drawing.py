"""Tiles, values and ranges of real files that are read page by page."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.io import MemoryFile
from rasterio.warp import transform

from cscale_core.errors import DamagedData, InvalidInput, UpstreamError, UpstreamTimeout
from cscale_core.tiles import drawing
from cscale_core.tiles.bands import Band, renderings
from cscale_core.tiles.ranges import PAGE, Allowance, Begun, GivenUp, Pages, open_source
from cscale_core.tiles.styles import Style, colormap_of
from tests.core.workflows.raster_builders import CRS, LEFT, PIXEL, TOP, asset, item, write

SIDE = 600


@dataclass
class FileSource:
    """A file of this machine that counts how it is read."""

    path: Path
    asked: list[tuple[int, int]] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def key(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def begin(self, allowance: Allowance) -> Begun:
        allowance.spend(PAGE)
        data = self.path.read_bytes()
        return Begun(len(data), hashlib.sha256(data).hexdigest(), data[:PAGE])

    def read(self, start: int, length: int, allowance: Allowance) -> bytes:
        allowance.spend(length)
        if self.failure is not None:
            raise self.failure
        self.asked.append((start, length))
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)


Opened = Callable[[Band], AbstractContextManager[Any]]


def opener(paths: dict[str, Path], allowance: Allowance | None = None) -> Opened:
    pages, granted = Pages(), allowance or Allowance()
    return lambda band: open_source(FileSource(paths[band.asset]), pages, granted, band.driver)


def degrees(column: float, row: float) -> tuple[float, float]:
    """The place of a pixel's middle."""
    xs, ys = transform(
        CRS, "EPSG:4326", [LEFT + (column + 0.5) * PIXEL], [TOP - (row + 0.5) * PIXEL]
    )
    return xs[0], ys[0]


def tile_at(longitude: float, latitude: float, z: int) -> tuple[int, int, int]:
    (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [longitude], [latitude])
    side = 2 * 20037508.342789244 / 2**z
    return z, int((x + 20037508.342789244) / side), int((20037508.342789244 - y) / side)


def picture(data: bytes) -> Any:
    with MemoryFile(data) as file, file.open() as dataset:
        return dataset.read()


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Numbers that grow with the column, with a hole of missing values."""
    values = np.tile(np.arange(SIDE, dtype="uint16") + 1, (SIDE, 1))
    values[100:200, 100:200] = 0
    return write(tmp_path / "ramp.tif", values, nodata=0, cog=True, scale=0.01, offset=-1.0)


def test_a_value_has_scale_and_offset_and_missing_is_none(ramp: Path) -> None:
    opened = opener({"ramp": ramp})
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", ramp=asset(ramp)))
    shown = drawing.settled(shown, opened)
    assert shown.kind == "values"
    assert drawing.value_at(shown, *degrees(300, 10), opened) == (pytest.approx(301 * 0.01 - 1),)
    assert drawing.value_at(shown, *degrees(150, 150), opened) == (None,)
    assert drawing.value_at(shown, 0.0, 0.0, opened) == (None,)


def test_the_range_is_that_of_nearly_all_pixels(ramp: Path) -> None:
    opened = opener({"ramp": ramp})
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", ramp=asset(ramp)))
    shown = drawing.settled(shown, opened)
    ((low, high),) = drawing.limits_of(shown, Style(), opened)
    assert low == -high  # on both sides of zero
    assert high == pytest.approx(4.88, abs=0.1)
    assert drawing.limits_of(shown, Style(((0.0, 9.0),)), opened) == ((0.0, 9.0),)


def test_a_tile_has_colours_where_values_are_and_is_clear_elsewhere(ramp: Path) -> None:
    opened = opener({"ramp": ramp})
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", ramp=asset(ramp)))
    shown = drawing.settled(shown, opened)
    place = tile_at(*degrees(150, 150), 13)
    data = drawing.tile(shown, ((-1.0, 5.0),), "gray", place, opened)
    assert data is not None
    red, green, blue, alpha = picture(data)
    assert red.shape == (256, 256)
    assert (red == green).all()
    assert (red == blue).all()
    assert set(np.unique(alpha)) == {0, 255}
    opaque = alpha == 255
    assert red[opaque].min() < red[opaque].max()
    assert drawing.tile(shown, ((0.0, 1.0),), "gray", (10, 0, 0), opened) is None


def test_true_colour_and_indices_are_made_of_several_files(tmp_path: Path) -> None:
    numbers = {"red": 1000, "green": 2000, "blue": 500, "nir": 3000, "swir16": 500}
    paths = {
        name: write(tmp_path / f"{name}.tif", np.full((SIDE, SIDE), number, "uint16"), nodata=0)
        for name, number in numbers.items()
    }
    assets = {
        name: asset(path, bands=[{"name": name, "eo:common_name": name, "raster:scale": 0.0001}])
        for name, path in paths.items()
    }
    shown = {one.id: one for one in renderings(item("i", "2024-01-01T00:00:00Z", **assets))}
    opened = opener(paths)
    for name, expected in (("ndvi", 0.5), ("ndwi", -0.2), ("mndwi", 0.6)):
        rendering = drawing.settled(shown[name], opened)
        assert drawing.value_at(rendering, *degrees(9, 9), opened) == (pytest.approx(expected),)
        limits = drawing.limits_of(rendering, Style(), opened)
        colours = colormap_of(rendering, limits, "")
        assert drawing.tile(rendering, limits, colours, tile_at(*degrees(9, 9), 12), opened)
    colour = drawing.settled(shown["true-colour"], opened)
    limits = drawing.limits_of(colour, Style(), opened)
    data = drawing.tile(colour, limits, "", tile_at(*degrees(300, 300), 12), opened)
    assert data is not None
    red, green, blue, alpha = picture(data)
    middle = alpha == 255
    assert {int(band[middle].mean().round()) for band in (red,)} == {85}
    assert {int(band[middle].mean().round()) for band in (green,)} == {170}
    assert {int(band[middle].mean().round()) for band in (blue,)} == {42}


def test_classes_have_their_own_colours(tmp_path: Path) -> None:
    values = np.full((SIDE, SIDE), 1, "uint8")
    values[:, SIDE // 2 :] = 2
    path = write(tmp_path / "classes.tif", values)
    classes = [
        {"value": 1, "name": "water", "color_hint": "0000FF"},
        {"value": 2, "name": "land", "color_hint": "00FF00"},
    ]
    told = asset(path, bands=[{"name": "b", "classification:classes": classes}])
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", c=told))
    opened = opener({"c": path})
    shown = drawing.settled(shown, opened)
    data = drawing.tile(shown, (), "", tile_at(*degrees(300, 300), 12), opened)
    assert data is not None
    red, green, blue, alpha = picture(data)
    seen = {
        tuple(int(band[row, col]) for band in (red, green, blue))
        for row, col in zip(*np.nonzero(alpha), strict=True)
    }
    assert seen == {(0, 0, 255), (0, 255, 0)}


def test_a_picture_is_known_by_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "rgb.tif", np.full((3, 64, 64), 100, "uint8"))
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", rgb=asset(path)))
    assert shown.kind == "unknown"
    shown = drawing.settled(shown, opener({"rgb": path}))
    assert (shown.kind, len(shown.bands)) == ("colours", 3)
    assert drawing.limits_of(shown, Style(), opener({"rgb": path})) == ((0.0, 255.0),) * 3


def test_a_radar_scene_is_placed_by_its_points(tmp_path: Path) -> None:
    path = tmp_path / "radar.tif"
    corners = [(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)]
    points = [
        GroundControlPoint(row=row, col=col, x=-6 + col / SIDE, y=37 - row / SIDE)
        for row, col in corners
    ]
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint16"
    ) as new:
        new.write(np.full((1, SIDE, SIDE), 77, "uint16"))
        new.gcps = (points, "EPSG:4326")
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", vv=asset(path)))
    opened = opener({"vv": path})
    shown = drawing.settled(shown, opened)
    assert drawing.placed(shown, opened).bounds == pytest.approx((-6, 36, -5, 37), abs=1e-6)
    assert drawing.value_at(shown, -5.5, 36.5, opened) == (77.0,)
    data = drawing.tile(shown, ((0.0, 100.0),), "gray", tile_at(-5.5, 36.5, 9), opened)
    assert data is not None
    assert picture(data)[3].max() == 255


def test_a_picture_in_one_file_is_decoded_once(tmp_path: Path) -> None:
    values = np.zeros((3, SIDE, SIDE), "uint8")
    for place, number in enumerate((200, 100, 50)):
        values[place] = number
    path = write(tmp_path / "visual.tif", values)
    shown = renderings(item("i", "2024-01-01T00:00:00Z", visual=asset(path, roles=["visual"])))[0]
    opened = opener({"visual": path})
    count = 0

    def counted(band: Band) -> Any:
        nonlocal count
        count += 1
        return opened(band)

    shown = drawing.settled(shown, opened)
    limits = drawing.limits_of(shown, Style(), opened)
    data = drawing.tile(shown, limits, "", tile_at(*degrees(300, 300), 13), counted)
    assert count == 1
    assert data is not None
    assert [int(band.max()) for band in picture(data)] == [200, 100, 50, 255]
    assert drawing.value_at(shown, *degrees(9, 9), opened) == (200.0, 100.0, 50.0)


def test_missing_numbers_of_results_are_clear(tmp_path: Path) -> None:
    values = np.full((SIDE, SIDE), 0.5, "float32")
    values[:, : SIDE // 2] = np.nan
    path = write(tmp_path / "change.tif", values, cog=True)
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", change=asset(path)))
    opened = opener({"change": path})
    shown = drawing.settled(shown, opened)
    assert drawing.value_at(shown, *degrees(9, 9), opened) == (None,)
    data = drawing.tile(shown, ((0.0, 1.0),), "gray", tile_at(*degrees(300, 300), 11), opened)
    assert data is not None
    gray, _, _, alpha = picture(data)
    assert {int(number) for number in np.unique(gray[alpha == 255])} <= {127, 128}
    assert 0 < (alpha == 255).sum() < alpha.size


def test_jpeg_2000_is_shown_too(tmp_path: Path) -> None:
    tif = write(tmp_path / "x.tif", np.full((256, 256), 321, "uint16"))
    path = tmp_path / "x.jp2"
    rasterio.shutil.copy(tif, path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    said = asset(path, type="image/jp2")
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", B04=said))
    opened = opener({"B04": path})
    shown = drawing.settled(shown, opened)
    assert drawing.value_at(shown, *degrees(100, 100), opened) == (321.0,)


def test_where_a_layer_is_and_how_close_one_looks(ramp: Path) -> None:
    opened = opener({"ramp": ramp})
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", ramp=asset(ramp)))
    place = drawing.placed(shown, opened)
    west, south, east, north = place.bounds
    longitude, latitude = degrees(300, 300)
    assert west < longitude < east
    assert south < latitude < north
    assert place.min_zoom < place.max_zoom == 12  # where a pixel of a tile has 31 m


def test_a_tile_that_is_not_in_the_tree_is_refused() -> None:
    for place in ((-1, 0, 0), (2, 4, 0), (2, 0, -1), (25, 0, 0)):
        with pytest.raises(InvalidInput, match="There is no tile"):
            drawing.tile_bounds(*place)


# -- reading -------------------------------------------------------------------------------


def test_a_file_is_read_in_pages_once(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 3000, (2000, 2000)).astype("uint16")
    path = write(tmp_path / "large.tif", values, cog=True)
    source, pages, allowance = FileSource(path), Pages(), Allowance()
    for _ in range(2):
        with open_source(source, pages, allowance) as dataset:
            seen = dataset.read(1, window=((0, 256), (0, 256)))
        assert (seen == values[:256, :256]).all()
    assert sum(length for _, length in source.asked) < path.stat().st_size / 2
    assert len(source.asked) <= 4
    assert all(start % PAGE == 0 for start, _ in source.asked)


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"
    path.write_bytes(b"a" * 3 * PAGE)
    source, allowance = FileSource(path), Allowance()
    pages = Pages(seconds=0)
    assert pages.read(source, 2 * PAGE, 1, allowance) == b"a"
    assert pages.read(source, 2 * PAGE, 1, allowance) == b"a"
    # Looked at again, it was the same: what is kept is good.
    assert len(source.asked) == 1
    path.write_bytes(b"b" * 3 * PAGE)
    assert pages.read(source, 2 * PAGE, 1, allowance) == b"b"


def test_what_keeps_a_file_from_being_read_is_told(ramp: Path) -> None:
    source = FileSource(ramp, failure=UpstreamError("The archive is away."))
    with (
        pytest.raises(UpstreamError, match="The archive is away"),
        open_source(source, Pages(), Allowance()) as dataset,
    ):
        dataset.read(1)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not here</html>", b'<VRTDataset rasterXSize="1"><SourceFilename>/etc/passwd'],
)
def test_what_is_no_geotiff_is_not_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with (
        pytest.raises(DamagedData, match=r"x\.tif cannot be read"),
        open_source(FileSource(path), Pages(), Allowance()),
    ):
        pass


def test_a_file_without_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    with rasterio.open(path, "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8") as new:
        new.write(np.ones((1, 9, 9), "uint8"))
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", flat=asset(path)))
    with pytest.raises(InvalidInput, match="no place on the map"):
        drawing.placed(shown, opener({"flat": path}))


def test_a_file_that_takes_too_much_is_given_up(ramp: Path) -> None:
    opened = opener({"ramp": ramp}, Allowance(max_requests=0))
    (shown,) = renderings(item("i", "2024-01-01T00:00:00Z", ramp=asset(ramp)))
    with pytest.raises(InvalidInput, match="not laid out"):
        drawing.settled(shown, opened)


def test_nobody_waits_any_more() -> None:
    allowance = Allowance()
    waiting: Future[bytes] = Future()
    threading.Timer(0.05, allowance.give_up).start()
    with pytest.raises(GivenUp):
        allowance.wait(waiting, 30)
    assert waiting.cancelled()
    with pytest.raises(GivenUp):
        allowance.spend(1)


def test_time_that_is_over_is_said() -> None:
    with pytest.raises(UpstreamTimeout):
        Allowance(seconds=0).spend(1)
    with pytest.raises(UpstreamTimeout):
        Allowance().wait(Future(), 0.01)


def test_pages_stay_within_their_bound(tmp_path: Path) -> None:
    pages, allowance = Pages(max_bytes=3 * PAGE), Allowance()
    sources = []
    for number in range(4):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(bytes([number]) * (2 * PAGE))
        sources.append(FileSource(path))
    for number, source in enumerate(sources):
        assert pages.read(source, PAGE - 1, 2, allowance) == bytes([number]) * 2
        assert pages._bytes <= 3 * PAGE
    assert pages.read(sources[-1], 2 * PAGE - 1, 100, allowance) == bytes([3])
    assert io.BytesIO(pages.read(sources[-1], 5 * PAGE, 1, allowance)).read() == b""
