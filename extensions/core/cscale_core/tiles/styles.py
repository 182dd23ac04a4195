"""How the values of a layer become colours: range and colour map, and the legend that tells it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cscale_core.errors import InvalidInput
from cscale_core.tiles.bands import INDICES, PixelClass, Rendering

COLORMAPS = (
    "viridis",
    "magma",
    "cividis",
    "gray",
    "terrain",
    "turbo",
    "blues",
    "greens",
    "reds",
    "ylgnbu",
    "rdylgn",
    "rdylbu",
    "rdbu",
    "brbg",
    "coolwarm",
)
"""Names of rio-tiler's colour maps that are offered; with ``_r`` at the end the other way round."""

REFLECTANCE = (0.0, 0.3)
"""What land reflects in visible light, but for snow and clouds."""

DIVERGING = "rdylbu"
_STOPS = 33
_RANGE = re.compile(r"^\s*([^,\s]+)\s*,\s*([^,\s]+)\s*$")
# Okabe and Ito's colours, which people of every colour vision tell apart, then darker ones.
_CLASS_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#f0e442",
    "#999999",
)


Limits = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """What is asked for of the colours; what is empty is chosen."""

    limits: tuple[Limits, ...] = ()
    colormap: str = ""


@dataclass(frozen=True)
class Stop:
    """A value and its colour, ``#rrggbb``."""

    value: float
    colour: str
    label: str = ""


@dataclass(frozen=True)
class Legend:
    """What the colours of a layer mean.

    :ivar kind: ``colours``: they are a picture; ``values``: a scale between stops; ``classes``.
    """

    title: str
    kind: str
    unit: str
    limits: tuple[Limits, ...]
    colormap: str
    stops: tuple[Stop, ...]


def parse_style(rescale: str, colormap: str) -> Style:
    """From the words of an address.

    :param rescale: ``MIN,MAX``, or one for each of three bands with ``;`` between; empty: chosen.
    :raises InvalidInput: when they are not understood.
    """
    limits = tuple(_limits(part) for part in rescale.split(";")) if rescale.strip() else ()
    if len(limits) not in (0, 1, 3):
        raise InvalidInput("rescale: one range, or one for each of three bands, is expected.")
    if colormap and colormap.removesuffix("_r") not in COLORMAPS:
        raise InvalidInput(
            f"colormap: {colormap[:40]!r} is not known.", hint=f"Known: {', '.join(COLORMAPS)}."
        )
    return Style(limits, colormap)


def _limits(text: str) -> Limits:
    match = _RANGE.match(text)
    try:
        low, high = (float(part) for part in match.groups()) if match else (0.0, 0.0)
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidInput("rescale: MIN,MAX with MIN below MAX is expected.")
    return low, high


def known_limits(rendering: Rendering) -> tuple[Limits, ...]:
    """The range of each band as the item tells it; empty where only the pixels can."""
    if rendering.index:
        return (INDICES[rendering.index].limits,)
    found = []
    for band in rendering.bands:
        scale, offset = band.scale or 1.0, band.offset or 0.0
        if rendering.kind == "colours" and band.data_type == "uint8":
            found.append((0.0, 255.0))
        elif rendering.kind == "colours" and band.scale is not None:
            found.append(REFLECTANCE)
        elif band.limits is not None:
            ends = [end * scale + offset for end in band.limits]
            found.append((min(ends), max(ends)))
        else:
            return ()
    return tuple(found)


def rounded(limits: Limits) -> Limits:
    """A range with ends of three digits, widened: a legend is read by people."""
    low, high = limits
    if not high > low:
        return low - 0.5, high + 0.5
    unit = 10.0 ** (math.floor(math.log10(high - low)) - 2)
    digits = max(0, -math.floor(math.log10(unit)))
    return (
        round(math.floor(low / unit) * unit, digits),
        round(math.ceil(high / unit) * unit, digits),
    )


def centred(limits: Limits) -> Limits:
    """A range around zero where the values lie on both of its sides, so that zero is neutral."""
    low, high = limits
    if not low < 0 < high or min(-low, high) < 0.05 * max(-low, high):
        return limits
    end = max(-low, high)
    return -end, end


def colormap_of(rendering: Rendering, limits: Sequence[Limits], chosen: str) -> str:
    """The name of the colour map of a layer of values."""
    if chosen:
        return chosen
    if rendering.index:
        return INDICES[rendering.index].colormap
    low, high = limits[0]
    return DIVERGING if low == -high else "viridis"


def class_colours(classes: Sequence[PixelClass]) -> dict[int, tuple[str, str]]:
    """Colour and name of each class; those that state no colour get one."""
    return {
        one.value: (one.colour or _CLASS_COLOURS[place % len(_CLASS_COLOURS)], one.name)
        for place, one in enumerate(classes)
    }


def legend(
    rendering: Rendering, limits: Sequence[Limits], colormap: str, colours: Sequence[str]
) -> Legend:
    """The legend of a layer.

    :param colours: the colour map, evenly from the least to the largest value.
    """
    stops: tuple[Stop, ...] = ()
    if rendering.kind == "classes":
        stops = tuple(
            Stop(float(value), colour, name or str(value))
            for value, (colour, name) in class_colours(rendering.bands[0].classes).items()
        )
    elif rendering.kind == "values":
        low, high = limits[0]
        last = len(colours) - 1
        stops = tuple(
            Stop(low + (high - low) * place / (_STOPS - 1), colours[last * place // (_STOPS - 1)])
            for place in range(_STOPS)
        )
    return Legend(
        title=rendering.title,
        kind=rendering.kind,
        unit=rendering.unit,
        limits=tuple(limits),
        colormap=colormap if rendering.kind == "values" else "",
        stops=stops,
    )
