"""What a program left below a prefix: described, bounded, and what is left out is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_builders import write

from cscale_core import objects
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.objects import ObjectHead
from cscale_core.site import Site
from cscale_core.workflows.results import prefixes
from cscale_core.workflows.results.files import multihash
from cscale_core.workflows.results.prefixes import Outputs, describe_outputs
from cscale_core.workflows.results.provenance import Lineage

LINEAGE = Lineage(engine="spark", job_id="j1", expression={"command": ["run", "--token=hidden"]})


def left_by_a_program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write(folder / "slope map.tif", np.ones((4, 6), "float32"), names=("slope",))
    (folder / "table").mkdir()
    (folder / "table/part-0.snappy.parquet").write_bytes(b"PAR1")
    (folder / "table/_SUCCESS").write_bytes(b"")
    (folder / "table/.part-0.crc").write_bytes(b"crc")
    (folder / "look.png").write_bytes(b"png")
    (folder / "look.tif").write_bytes(b"not a raster")
    (folder / "cube.zarr/c").mkdir(parents=True)
    (folder / "cube.zarr/zarr.json").write_text("{}")
    (folder / "cube.zarr/c/0").write_bytes(b"0")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "item.json").write_text("{}")
    (folder / "job.json").write_text("{}")
    return folder


def of(prefix: str, site: Site, **more: Any) -> Outputs:
    return describe_outputs(prefix, LINEAGE, site, identifier="r", **more)


def check(found: Outputs) -> dict[str, Any]:
    (item,) = found.items
    assert set(item["assets"]) == {"slope_map", "table_part-0.snappy", "look", "look_2"}
    assert found.left_out == ["cube.zarr: a Zarr store is a folder of many files"]
    raster = item["assets"]["slope_map"]
    assert raster["proj:code"] == "EPSG:32630"
    assert raster["bands"][0]["statistics"]["maximum"] == 1
    assert item["assets"]["table_part-0.snappy"]["type"] == "application/vnd.apache.parquet"
    types = {item["assets"][name]["type"] for name in ("look", "look_2")}
    assert types == {"image/png", "image/tiff"}
    assert all(asset["roles"] == ["data"] for asset in item["assets"].values())
    assert "hidden" not in json.dumps(item)
    assert item["geometry"]["type"] == "Polygon"
    return raster


def test_folder_is_described(tmp_path: Path, make_site: Callable[..., Site]) -> None:
    folder = left_by_a_program(tmp_path / "out")
    raster = check(of(str(folder), make_site()))
    assert raster["href"] == str(folder / "slope map.tif")
    assert raster["file:checksum"] == multihash(folder / "slope map.tif")


def test_files_on_the_mount_get_three_addresses(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    site = make_site(mount=str(tmp_path / "s3"))
    folder = left_by_a_program(tmp_path / "s3/vobucket/users/utest/jobs/j1")
    raster = check(of(str(folder), site))
    assert raster["href"] == "s3://vobucket/users/utest/jobs/j1/slope map.tif"
    assert raster["alternate"]["mount"]["href"] == "/s3/vobucket/users/utest/jobs/j1/slope map.tif"


class Bucket:
    """A folder as the object store shows it."""

    folder: Path

    def __init__(self, site: Site) -> None:
        self.site = site

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectHead]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                key = prefix + path.relative_to(self.folder).as_posix()
                yield ObjectHead(ObjectAddress(bucket, key), path.stat().st_size, "", None)

    def get(self, address: ObjectAddress, *, start: int, length: int) -> bytes:
        path = self.folder / address.key.removeprefix("users/utest/jobs/j1/")
        return path.read_bytes()[start : start + length]


def test_prefix_in_the_store_is_described(
    tmp_path: Path, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    Bucket.folder = left_by_a_program(tmp_path / "out")
    monkeypatch.setattr(objects, "ObjectStore", Bucket)
    real = prefixes.raster_members
    root = "/vsis3/vobucket/users/utest/jobs/j1/"

    def local(name: str, **more: Any) -> Any:
        assert name.startswith(root)
        return real(Bucket.folder / name.removeprefix(root), **more)

    monkeypatch.setattr(prefixes, "raster_members", local)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    raster = check(of("s3://vobucket/users/utest/jobs/j1", make_site()))
    assert raster["href"] == "s3://vobucket/users/utest/jobs/j1/slope map.tif"
    assert raster["file:checksum"] == multihash(Bucket.folder / "slope map.tif")


def test_number_of_files_and_bytes_are_bounded(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    for number in range(5):
        (tmp_path / f"{number}.csv").write_text("a,b\n1,2\n")
    found = of(str(tmp_path), make_site(), most_files=3)
    assert set(found.items[0]["assets"]) == {"0", "1", "2"}
    assert found.left_out == ["2 of 5 files, from 3.csv on"]
    found = of(str(tmp_path), make_site(), most_bytes=20)
    checked = [key for key, one in found.items[0]["assets"].items() if "file:checksum" in one]
    assert checked == ["0", "1"]
    assert "checksums and statistics of 3 files" in found.left_out[0]


def test_nothing_and_no_place(tmp_path: Path, make_site: Callable[..., Site]) -> None:
    assert of(str(tmp_path), make_site()) == Outputs([], [])
    with pytest.raises(NotFound):
        of(str(tmp_path / "absent"), make_site())
    with pytest.raises(InvalidInput):
        of("s3://bucket/../other", make_site())


def test_area_of_the_job_places_what_has_no_pixels(
    tmp_path: Path, make_site: Callable[..., Site]
) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    area = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    (item,) = of(str(tmp_path), make_site(), area=area).items
    assert item["geometry"] == area
    assert item["bbox"] == [0, 0, 1, 1]
