"""Ranges, colour maps and legends."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_core.errors import InvalidInput
from cscale_core.tiles.bands import Band, PixelClass, Rendering
from cscale_core.tiles.styles import centred, colormap_of, legend, parse_style, rounded


def band(**more: Any) -> Band:
    return Band("x", 1, "b1", "b1", "GTiff", **more)


def test_a_style_is_read_from_words() -> None:
    assert parse_style("0,1", "viridis_r").limits == ((0.0, 1.0),)
    assert parse_style("0,1;2,3;-4,5e3", "").limits == ((0, 1), (2, 3), (-4, 5000))
    assert parse_style("", "").limits == ()


@pytest.mark.parametrize(
    "rescale", ["1", "1,1", "2,1", "a,b", "nan,1", "0,inf", "0,1;2,3", ";", "1,2,3"]
)
def test_a_range_that_is_none_is_refused(rescale: str) -> None:
    with pytest.raises(InvalidInput, match="rescale"):
        parse_style(rescale, "")


@pytest.mark.parametrize("name", ["jet2", "../x", "viridis_r_r", "<b>"])
def test_a_colour_map_that_is_not_offered_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="colormap"):
        parse_style("", name)


def test_ends_are_rounded_outwards_and_zero_is_neutral() -> None:
    assert rounded((0.123456, 0.98765)) == (0.123, 0.988)
    assert rounded((1234.5, 9876.5)) == (1230, 9880)
    assert rounded((3.0, 3.0)) == (2.5, 3.5)
    assert centred((-2.0, 1.0)) == (-2.0, 2.0)
    assert centred((-0.01, 1.0)) == (-0.01, 1.0)
    assert centred((0.0, 1.0)) == (0.0, 1.0)


def test_values_on_both_sides_of_zero_get_a_diverging_map() -> None:
    rendering = Rendering("asset|x", "X", "values", (band(),))
    assert colormap_of(rendering, [(-1.0, 1.0)], "") == "rdylbu"
    assert colormap_of(rendering, [(0.0, 1.0)], "") == "viridis"
    assert colormap_of(rendering, [(-1.0, 1.0)], "magma") == "magma"


def test_a_legend_of_values_goes_from_end_to_end() -> None:
    rendering = Rendering("asset|x", "X", "values", (band(unit="m"),))
    colours = [f"#0000{number:02x}" for number in range(256)]
    told = legend(rendering, [(1.0, 3.0)], "viridis", colours)
    assert (told.unit, told.colormap, len(told.stops)) == ("m", "viridis", 33)
    assert (told.stops[0].value, told.stops[0].colour) == (1.0, "#000000")
    assert (told.stops[-1].value, told.stops[-1].colour) == (3.0, "#0000ff")


def test_a_legend_of_classes_names_each() -> None:
    classes = (PixelClass(1, "Water", "#0000ff"), PixelClass(2, "", ""))
    told = legend(Rendering("asset|x", "X", "classes", (band(classes=classes),)), (), "", ())
    assert [(stop.value, stop.label) for stop in told.stops] == [(1.0, "Water"), (2.0, "2")]
    assert told.stops[0].colour == "#0000ff"
    assert told.stops[1].colour.startswith("#")
