"""``cscale search --parquet``: stac-geoparquet that others can read, whatever archives send."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_cli.search.parquet import ParquetWriter
from cscale_core.errors import InvalidInput
from tests.cli.archives import Archive, item
from tests.cli.test_search import search

geopandas = pytest.importorskip("geopandas")
parquet = pytest.importorskip("pyarrow.parquet")


def written(path: Path, *items: dict[str, Any]) -> list[str]:
    with ParquetWriter(path) as writer:
        for each in items:
            writer.add(each)
        return writer.finish()


def varied(name: str, properties: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    given = item(name, "2024-01-01", **(properties or {}))
    return given | members


def test_answer_of_the_archives_is_readable_by_geopandas_and_pyarrow(
    archive: Callable[..., Archive], providers_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = providers_file(
        a=archive(*[item(f"a{n}", f"2024-01-{n + 1:02}", gsd=10) for n in range(12)]),
        b=archive(*[item(f"b{n}", f"2024-02-{n + 1:02}", gsd=20.5) for n in range(8)]),
    )
    path = tmp_path / "found.parquet"
    result = search(file, "--all", "--limit", "5", "--parquet", str(path))
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "20 items are in" in result.stderr
    frame = geopandas.read_parquet(path)
    assert len(frame) == 20
    assert set(frame["cscale:provider"]) == {"a", "b"}
    assert frame.geometry.total_bounds.tolist() == [10, 45, 11, 46]
    assert frame.crs.to_epsg() == 4326
    assert str(frame["datetime"].dtype).startswith("datetime64")
    assert b"stac-geoparquet" in parquet.read_schema(path).metadata
    assert {each.name for each in path.parent.iterdir()} == {"found.parquet", "providers.yaml"}


@pytest.mark.parametrize(
    "other",
    [
        {"orbit": "094"},
        {"orbit": {"relative": 94}},
        {"orbit": [94]},
        {"orbit": 2**80},
        {"orbit": None},
        {"orbit": 94.5},
        {"orbit": True},
        {"empty": {}},
        {"nested": {"empty": {}, "value": 1}},
        {"created": "yesterday"},
        {"proj:geometry": None},
        {"proj:geometry": {"type": "Polygon"}},
        {"datetime": None},
        {"datetime": "2024-01-01T10:00:00"},
    ],
    ids=str,
)
def test_archives_that_disagree_on_types_are_written_all_the_same(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    path = tmp_path / "found.parquet"
    written(
        path, varied("one", {"orbit": 94, "created": "2024-01-01T00:00:00Z"}), varied("two", other)
    )
    frame = geopandas.read_parquet(path)
    assert frame["id"].tolist() == ["one", "two"]


def test_values_of_several_kinds_are_kept_as_text_and_named(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    remarks = written(path, varied("one", {"orbit": 94}), varied("two", {"orbit": "094"}))
    assert any("properties.orbit" in remark for remark in remarks)
    assert geopandas.read_parquet(path)["orbit"].tolist() == ["94", "094"]


def test_boxes_with_heights_and_without_are_one_column(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    written(path, varied("flat"), varied("high", bbox=[10, 45, 0, 11, 46, 900]))
    boxes = parquet.read_table(path)["bbox"].to_pylist()
    assert boxes == [{"xmin": 10.0, "ymin": 45.0, "xmax": 11.0, "ymax": 46.0}] * 2


def test_item_without_a_footprint_is_not_in_the_file_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    remarks = written(path, varied("one"), varied("nowhere", geometry=None, bbox=None))
    assert geopandas.read_parquet(path)["id"].tolist() == ["one"]
    assert "1 without a footprint is not." in remarks


def test_empty_answer_is_an_empty_file_and_not_yesterdays(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    written(path, varied("one"))
    written(path)
    frame = geopandas.read_parquet(path)
    assert len(frame) == 0
    assert {"id", "datetime", "collection", "geometry"} <= set(frame.columns)


def test_more_items_than_are_converted_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    late = varied("late", {"only:here": 1}, assets={"x": {"href": "https://data.example.eu/x"}})
    written(path, *[varied(f"n{n}") for n in range(2100)], late)
    assert len(geopandas.read_parquet(path)) == 2101


def test_nothing_is_left_of_a_search_that_broke_off(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    with ParquetWriter(path) as writer:
        writer.add(varied("one"))
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "stac_geoparquet.arrow", None)
    with pytest.raises(InvalidInput, match="not installed") as caught:
        ParquetWriter(tmp_path / "found.parquet")
    assert "pip install" in caught.value.hint


def test_folder_that_is_not_there_exits_with_2_before_anybody_is_asked(
    archive: Callable[..., Archive], providers_file: Callable[..., Path], tmp_path: Path
) -> None:
    there = archive(varied("one"))
    target = tmp_path / "no" / "found.parquet"
    result = search(providers_file(there=there), "--parquet", str(target))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert there.asked == []
