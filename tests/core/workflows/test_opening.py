"""Opening result items as one Dataset: names, times, grid, values, and where they are read."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from raster_builders import CRS, LEFT, PIXEL, TOP, asset, item, write

from cscale_core.errors import CScaleError, DamagedData, InvalidInput
from cscale_core.site import Site
from cscale_core.workflows import opening
from cscale_core.workflows.opening import open_items
from cscale_core.workflows.results.files import ResultFile
from cscale_core.workflows.results.items import described_items, result_items
from cscale_core.workflows.results.provenance import Lineage

DAYS = ("2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z")
RAMP = np.arange(24, dtype="float32").reshape(4, 6)


def test_bands_become_variables_by_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.stack([RAMP, RAMP + 100]), names=("swir", "green"))
    opened = open_items([item("i", DAYS[0], both=asset(path))])
    assert set(opened.data_vars) == {"swir", "green"}
    assert opened["green"].dims == ("y", "x")
    np.testing.assert_array_equal(opened["green"], RAMP + 100)
    assert opened["swir"].dtype == np.float32
    np.testing.assert_allclose(opened["x"], LEFT + (np.arange(6) + 0.5) * PIXEL)
    np.testing.assert_allclose(opened["y"], TOP - (np.arange(4) + 0.5) * PIXEL)


def test_bands_without_names_are_called_after_their_asset(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tif", RAMP)
    two = write(tmp_path / "b.tif", np.stack([RAMP, RAMP]))
    opened = open_items([item("i", DAYS[0], slope=asset(one), parts=asset(two))])
    assert set(opened.data_vars) == {"slope", "parts_b1", "parts_b2"}


def test_one_name_in_several_assets_is_told_apart(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tif", RAMP, names=("index",))
    two = write(tmp_path / "b.tif", np.stack([RAMP + 1, RAMP]), names=("index", "nir"))
    opened = open_items([item("i", DAYS[0], low=asset(one), high=asset(two))])
    assert set(opened.data_vars) == {"low", "high_index", "nir"}
    np.testing.assert_array_equal(opened["high_index"], RAMP + 1)


def test_times_of_items_are_a_dimension_in_order(tmp_path: Path) -> None:
    items = [
        item(f"i{n}", DAYS[n], a=asset(write(tmp_path / f"{n}.tif", RAMP + n, names=("v",))))
        for n in (2, 0, 1)
    ]
    opened = open_items(items)
    assert opened["v"].dims == ("time", "y", "x")
    assert [str(t)[:10] for t in opened["time"].values] == [day[:10] for day in DAYS]
    np.testing.assert_array_equal(opened["v"][:, 0, 0], [0, 1, 2])
    np.testing.assert_array_equal(opened["v"].sel(time="2020-01-01").squeeze(), RAMP + 1)


def test_times_of_assets_are_a_dimension_and_what_has_one_time_has_none(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    assets = {
        f"composite_{day[:10]}": asset(
            write(tmp_path / f"c{n}.tif", RAMP * n, names=("swir",)), datetime=day
        )
        for n, day in enumerate(DAYS)
    }
    slope = asset(write(tmp_path / "s.tif", RAMP, names=("slope",)))
    whole = item("i", DAYS[0], slope=slope, **assets)
    split = described_items(
        {"slope": slope, **assets},
        identifier="i",
        collection="c",
        site=make_site(),
        lineage=Lineage(engine="spark", job_id="j"),
    )
    assert [set(one["assets"]) for one in split] == [{"slope"}, *[{"composite"}] * 3]
    for items in ([whole], split):
        opened = open_items(items)
        assert opened["swir"].dims == ("time", "y", "x")
        assert opened["slope"].dims == ("y", "x")
        np.testing.assert_array_equal(opened["swir"][2], RAMP * 2)


def test_neighbours_of_one_time_make_one_picture_on_one_grid(tmp_path: Path) -> None:
    left = write(tmp_path / "l.tif", np.full((4, 6), 1, "float32"), names=("v",))
    shifted = LEFT + 4 * PIXEL
    gaps = np.full((4, 6), 2, "float32")
    gaps[0, 5] = np.nan
    right = write(tmp_path / "r.tif", gaps, left=shifted, names=("v",), nodata=float("nan"))
    opened = open_items([item("b", DAYS[0], v=asset(right)), item("a", DAYS[0], v=asset(left))])
    values = opened["v"].values
    assert values.shape == (4, 10)
    # Where they overlap, the first by id.
    assert values[1].tolist() == [1.0] * 6 + [2.0] * 4
    assert np.isnan(values[0, 9])


def test_missing_values_scale_and_offset_are_applied(tmp_path: Path) -> None:
    numbers = np.array([[0, 1000], [2000, 65535]], "uint16")
    path = write(tmp_path / "a.tif", numbers, nodata=0, scale=0.001, offset=-1.0)
    for one in (
        asset(path),
        # What the item says counts before the header.
        asset(path, bands=[{"name": "v", "raster:scale": 0.001, "raster:offset": -1}], nodata=0),
    ):
        (name,) = (opened := open_items([item("i", DAYS[0], v=one)])).data_vars
        assert np.isnan(opened[name][0, 0])
        np.testing.assert_allclose(opened[name].values.ravel()[1:], [0, 1, 64.535], rtol=1e-6)


def test_large_integers_are_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.array([[2**31 - 1, 2**24 + 1]], "int32"))
    opened = open_items([item("i", DAYS[0], v=asset(path))])
    assert opened["v"].values.tolist() == [[2**31 - 1, 2**24 + 1]]


def test_nothing_is_read_before_it_is_needed_and_then_only_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    real = opening.read

    def read(source: Any, grid: Any, *more: Any) -> Any:
        asked.append((grid.height, grid.width))
        return real(source, grid, *more)

    monkeypatch.setattr(opening, "read", read)
    values = np.arange(300 * 400, dtype="float32").reshape(300, 400)
    path = write(tmp_path / "a.tif", values)
    opened = open_items([item("i", DAYS[0], v=asset(path))])
    assert asked == []
    np.testing.assert_array_equal(opened["v"][10:20:3, 5], values[10:20:3, 5])
    np.testing.assert_array_equal(opened["v"][::-1, -2:][:2], values[::-1, -2:][:2])
    np.testing.assert_array_equal(opened["v"].sel(x=LEFT + 45, method="nearest"), values[:, 1])
    assert asked[0] == (10, 1)
    assert all(height * width < values.size for height, width in asked)
    pieces = open_items([item("i", DAYS[0], v=asset(path))], chunks={"x": 100, "y": 100})
    assert pieces["v"].chunks == ((100,) * 3, (100,) * 4)
    np.testing.assert_array_equal(pieces["v"].values, values)


def test_several_crs_are_named_unless_one_is_wanted(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tif", np.full((40, 40), 5, "float32"))
    two = write(tmp_path / "b.tif", np.full((40, 40), 5, "float32"), crs="EPSG:32629", left=750_000)
    items = [item("a", DAYS[0], v=asset(one)), item("b", DAYS[1], v=asset(two))]
    with pytest.raises(InvalidInput, match=r"EPSG:32629 \(v of b\), EPSG:32630 \(v of a\)"):
        open_items(items)
    opened = open_items(items, crs="EPSG:4326")
    assert opened["x"].attrs["standard_name"] == "longitude"
    assert opened["v"].dims == ("time", "y", "x")
    assert (opened["v"] == 5).any(("y", "x")).values.tolist() == [True, True]
    with pytest.raises(InvalidInput, match="cannot be brought"):
        open_items(items, crs="EPSG:0")


def test_other_tools_find_the_crs(tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    opened = open_items([item("i", DAYS[0], v=asset(write(tmp_path / "a.tif", RAMP)))])
    assert rioxarray is not None
    assert opened["v"].rio.crs.to_epsg() == 32630
    assert opened["v"].rio.transform().c == LEFT
    again = tmp_path / "again.tif"
    opened["v"].rio.to_raster(again)
    with rasterio.open(again) as dataset:
        np.testing.assert_array_equal(dataset.read(1), RAMP)


def test_our_items_open_with_odc_stac(tmp_path: Path, make_site: Callable[..., Site]) -> None:
    odc_stac = pytest.importorskip("odc.stac")
    pystac = pytest.importorskip("pystac")
    path = write(tmp_path / "v.tif", RAMP, cog=True, names=("v",), nodata=float("nan"))
    (one,) = result_items(
        [ResultFile("v", path, str(path))],
        identifier="i",
        collection="c",
        site=make_site(),
        lineage=Lineage(engine="spark", job_id="j"),
    )
    opened = odc_stac.load([pystac.Item.from_dict(one)])
    np.testing.assert_array_equal(opened["v"].squeeze(), RAMP)
    np.testing.assert_array_equal(open_items([one])["v"], RAMP)


def test_header_is_read_only_where_the_item_does_not_say_enough(
    tmp_path: Path, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "v.tif", RAMP, names=("v",))
    (one,) = result_items(
        [ResultFile("v", path, str(path))],
        identifier="i",
        collection="c",
        site=make_site(),
        lineage=Lineage(engine="spark", job_id="j"),
    )
    monkeypatch.setattr("cscale_core.workflows.layers.raster_members", None)
    np.testing.assert_array_equal(open_items([one])["v"], RAMP)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("t.parquet", "geopandas"), ("c.nc", "xarray.open_dataset"), ("x.bin", "Download")],
)
def test_what_is_no_raster_is_said_and_what_opens_it(name: str, hint: str) -> None:
    table = {"href": f"/s3/b/{name}", "type": "application/x", "roles": ["data"]}
    for chosen in (None, ["t"]):
        with pytest.raises(InvalidInput) as caught:
            open_items([item("i", DAYS[0], t=table)], assets=chosen)
        assert hint in caught.value.hint


def test_tables_and_pictures_beside_rasters_are_left_out(tmp_path: Path) -> None:
    opened = open_items(
        [
            item(
                "i",
                DAYS[0],
                v=asset(write(tmp_path / "a.tif", RAMP)),
                t={"href": "/t.csv", "type": "text/csv", "roles": ["data"]},
                look=asset(tmp_path / "absent.tif", roles=["thumbnail"]),
            )
        ]
    )
    assert set(opened.data_vars) == {"v"}


def test_unknown_asset_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    one = item("i", DAYS[0], v=asset(write(tmp_path / "a.tif", RAMP)))
    with pytest.raises(InvalidInput, match="no asset w") as caught:
        open_items([one], assets=["w"])
    assert "v" in caught.value.hint
    with pytest.raises(InvalidInput, match="no files"):
        open_items([])
    with pytest.raises(InvalidInput, match="resampling"):
        open_items([one], resampling="magic")


def test_mounted_bucket_is_read_before_the_store_is_asked(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    site = make_site(mount=str(tmp_path / "s3"))
    folder = tmp_path / "s3/vobucket/users/utest"
    folder.mkdir(parents=True)
    write(folder / "a.tif", RAMP)
    # Nothing answers at the store's endpoint.
    opened = open_items([item("i", DAYS[0], v=asset("s3://vobucket/users/utest/a.tif"))], site=site)
    np.testing.assert_array_equal(opened["v"], RAMP)


def test_files_that_only_name_other_files_are_not_opened(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.tif", RAMP)
    vrt = tmp_path / "a.tif"
    vrt.write_text(
        f'<VRTDataset rasterXSize="6" rasterYSize="4"><SRS>{CRS}</SRS>'
        f"<GeoTransform>{LEFT}, 30, 0, {TOP}, 0, -30</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DamagedData):
        open_items([item("i", DAYS[0], v=asset(vrt))])
    known = {"proj:code": CRS, "proj:shape": [4, 6], "data_type": "float32"}
    known |= {"proj:transform": [30, 0, LEFT, 0, -30, TOP], "bands": [{"name": "v"}]}
    with pytest.raises(DamagedData):
        open_items([item("i", DAYS[0], v=asset(vrt, **known))])["v"].load()


class _Signed(http.server.SimpleHTTPRequestHandler):
    """Files for those who carry the present signature."""

    good = "one"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        if f"sig={_Signed.good}" not in self.path:
            self.send_error(403)
            return
        super().do_GET()


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[str]:
    _Signed.good = "one"
    handler = functools.partial(_Signed, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def linked(signed: str, make_site: Callable[..., Site]) -> Callable[..., Any]:
    """Opens a file of the signed server, as a site that allows it does."""
    site = make_site(allowed_hosts=[signed.removeprefix("http://")])

    def items(signature: str, **members: Any) -> list[dict[str, Any]]:
        return [item("i", DAYS[0], v=asset(f"{signed}/a.tif?sig={signature}", **members))]

    def open_it(signature: str, fresh: Any = None, **members: Any) -> Any:
        return open_items(items(signature, **members), fresh=fresh, site=site)

    open_it.items = items  # type: ignore[attr-defined]
    return open_it


def test_link_that_ended_is_renewed_once(tmp_path: Path, linked: Any) -> None:
    write(tmp_path / "a.tif", RAMP)
    asked = []

    def fresh() -> Any:
        asked.append(1)
        return linked.items("one")

    np.testing.assert_array_equal(linked("none", fresh)["v"], RAMP)
    assert len(asked) == 1
    with pytest.raises(CScaleError, match="v of i cannot be read") as caught:
        linked("none", lambda: linked.items("neither"))
    assert "sig=" not in json.dumps(caught.value.as_dict())
    with pytest.raises(DamagedData):
        linked("none")


def test_link_that_ends_after_opening_is_renewed_when_values_are_read(
    tmp_path: Path, linked: Any
) -> None:
    write(tmp_path / "a.tif", RAMP)
    opened = linked("one", lambda: linked.items("two"))
    _Signed.good = "two"
    np.testing.assert_array_equal(opened["v"], RAMP)


def test_stated_end_of_a_link_is_believed(tmp_path: Path, linked: Any) -> None:
    write(tmp_path / "a.tif", RAMP)
    asked = []

    def fresh() -> Any:
        asked.append(1)
        return linked.items("one")

    np.testing.assert_array_equal(linked("one&expires=1000", fresh)["v"], RAMP)
    assert asked == [1]


def test_address_of_the_inside_is_not_asked(linked: Any) -> None:
    with pytest.raises(CScaleError, match="private address"):
        open_items(linked.items("one"))
