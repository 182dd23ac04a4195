"""Layers of a notebook's map, made of what the user's server says: tiles, outlines, legends.

Needs ipyleaflet, which is imported when a layer is made. Names and units come from others; they are
never shown as HTML.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cscale_core.client.workspace import Workspace

Call = Callable[..., Any]

FOOTPRINT: Mapping[str, Any] = {"color": "#3388ff", "weight": 1, "fillOpacity": 0.05}
AREA: Mapping[str, Any] = {"color": "#e07b00", "weight": 2, "fillOpacity": 0.0}
SELECTED: Mapping[str, Any] = {"color": "#d6007a", "weight": 2, "fillOpacity": 0.1}
_HOVER: Mapping[str, Any] = {"weight": 3, "fillOpacity": 0.2}

Bounds = tuple[float, float, float, float]


class ServerLayer:
    """One rendering of a layer that the user's server draws.

    :param name: ``item|…``, ``job|…`` or ``object|…``, as the server names layers.
    :param style: ``show``, ``rescale``, ``colormap``; what is left out is chosen.
    :raises CScaleError: when there is no such layer, or its file cannot be read.
    """

    def __init__(self, hub: Workspace, name: str, style: Mapping[str, str]) -> None:
        self._hub = hub
        self._path = f"layers/{quote(name, safe='')}"
        self._style = {key: value for key, value in style.items() if value}
        self.tilejson: dict[str, Any] = self._get("tilejson")

    def _get(self, what: str, **query: Any) -> Any:
        return self._hub.call("GET", f"{self._path}/{what}", params={**self._style, **query})

    @property
    def bounds(self) -> Bounds:
        """west, south, east, north in degrees."""
        west, south, east, north = self.tilejson["bounds"]
        return west, south, east, north

    def tiles(self, *, opacity: float) -> Any:
        """The tiles as a layer; their addresses are below the page's own origin."""
        from ipyleaflet import TileLayer

        return TileLayer(
            url=self.tilejson["tiles"][0],
            name=html.escape(self.tilejson["name"]),
            attribution="",
            opacity=opacity,
            min_zoom=0,
            max_zoom=24,
            max_native_zoom=self.tilejson["maxzoom"],
            bounds=_corners(self.bounds),
        )

    def legend(self) -> str:
        """What the colours mean, as HTML in which all of others is text."""
        told = self._get("legend")
        title = f"<b>{html.escape(told['title'])}</b>"
        if told["kind"] == "classes":
            rows = "".join(
                f'<div><span style="background:{_colour(stop)};padding:0 0.6em;margin-right:0.4em">'
                f"</span>{html.escape(stop['label'])}</div>"
                for stop in told["stops"]
            )
            return title + rows
        if told["kind"] != "values":
            return title
        colours = ",".join(_colour(stop) for stop in told["stops"])
        low, high = told["limits"][0]
        unit = html.escape(told["unit"])
        return (
            f'{title}<div style="height:0.8em;background:linear-gradient(to right,{colours})">'
            f"</div><div>{low:g} … {high:g} {unit}</div>"
        )

    def value_at(self, longitude: float, latitude: float) -> str:
        """The values at a point, in words."""
        told = self._get("point", longitude=longitude, latitude=latitude)
        return ", ".join(
            f"{one['name']}: "
            + ("no data" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip())
            for one in told["values"]
        )


def _colour(stop: Mapping[str, Any]) -> str:
    colour = str(stop["colour"])
    plain = len(colour) == 7 and colour[0] == "#" and colour[1:].isalnum()
    return colour if plain else "#000000"


def outlines(name: str, features: Iterable[Mapping[str, Any]], style: Mapping[str, Any]) -> Any:
    """Outlines as one layer, whatever their number: a widget each would take minutes."""
    from ipyleaflet import GeoJSON

    return GeoJSON(
        name=name,
        data=collection(features),
        style=dict(style),
        hover_style=dict(_HOVER),
    )


def collection(features: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Features as GeoJSON; those without a geometry are left out."""
    kept = [
        {"type": "Feature", "geometry": one["geometry"], "properties": dict(one["properties"])}
        for one in features
        if one.get("geometry")
    ]
    return {"type": "FeatureCollection", "features": kept}


def bounds_of(features: Iterable[Mapping[str, Any]]) -> Bounds | None:
    """west, south, east, north of geometries; None where there are none."""
    from shapely.geometry import shape

    shapes = [shape(one["geometry"]) for one in features if one.get("geometry")]
    boxes = [one.bounds for one in shapes if not one.is_empty]
    if not boxes:
        return None
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def joined(bounds: Iterable[Bounds]) -> Bounds:
    """The bounds of all."""
    west, south, east, north = zip(*bounds, strict=True)
    return min(west), min(south), max(east), max(north)


def look_at(m: Any, bounds: Bounds | None) -> None:
    """Move a map there."""
    if bounds is not None:
        m.fit_bounds(_corners(bounds))


def _corners(bounds: Bounds) -> list[list[float]]:
    west, south, east, north = bounds
    return [[south, west], [north, east]]


def note(m: Any, text: str) -> Any:
    """A box on a map with HTML of ours; gives the widget in it, whose value can change."""
    from ipyleaflet import WidgetControl
    from ipywidgets import HTML

    box = HTML(text)
    m.add(WidgetControl(widget=box, position="bottomright"))
    return box


def new_map(basemap_url: str = "", attribution: str = "") -> Any:
    """A leafmap map that asks nothing of the internet.

    Importing leafmap takes seconds, so nothing does it before a map is wanted.

    :param basemap_url: address of tiles with {x}, {y}, {z}; empty: no map behind.
    """
    import leafmap
    from ipyleaflet import TileLayer

    m = leafmap.Map(center=(20, 0), zoom=2, draw_control=False, measure_control=False)
    m.layers = ()
    if basemap_url:
        m.add(TileLayer(url=basemap_url, attribution=html.escape(attribution), name="Basemap"))
    return m
