"""Results, searches and the panel's state on a notebook's map, by tiles of the user's server."""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cscale_core.client.job import Job
from cscale_core.client.workspace import Workspace, here
from cscale_core.errors import CScaleError, InvalidInput
from cscale_widget import map_layers
from cscale_widget.map_layers import ServerLayer

if TYPE_CHECKING:
    from cscale_widget.panel import Panel

MOST_LAYERS = 20
"""Result items that are shown at most."""

MOST_OUTLINES = 2000
"""Footprints that are drawn at most; a browser is slow with more."""

_MOST_SELECTED = 200


def show_results(
    job: Job | str,
    m: Any = None,
    *,
    show: str = "",
    rescale: str = "",
    colormap: str = "",
    opacity: float = 1.0,
    hub: Workspace | None = None,
) -> Any:
    """Put the results of a job on a map, with a legend; a click tells the values there.

    :param job: a job, or its id.
    :param m: a map of leafmap or ipyleaflet; None: a new one of leafmap.
    :param show: which of the ways to show an item, such as ``asset|slope``; empty: the first.
    :param rescale: ``MIN,MAX`` of the colours; empty: chosen.
    :param colormap: name of a colour map; empty: chosen.
    :param hub: the server that has the job; None: the one that runs this kernel.
    :returns: the map.
    :raises Conflict: when the job has no results yet.
    :raises InvalidInput: when none of them can be shown.
    """
    hub = hub or here()
    found = hub.jobs[job] if isinstance(job, str) else job
    names = [_layer_name(found.id, item) for item in found.results()]
    style = {"show": show, "rescale": rescale, "colormap": colormap}
    layers, failed = _drawn(hub, names, style)
    if not layers:
        raise InvalidInput(
            f"Nothing of job {found.id} can be shown on a map"
            + (f": {failed[0].message}" if failed else ": it has no results."),
            hint=failed[0].hint if failed else "",
        )
    for error in failed:
        warnings.warn(f"Not on the map: {error.message}", stacklevel=2)
    m = m if m is not None else map_layers.new_map()
    for layer in layers:
        m.add(layer.tiles(opacity=opacity))
    map_layers.look_at(m, map_layers.joined(layer.bounds for layer in layers))
    _tell_values(m, layers)
    return m


def _layer_name(job_id: str, item: Mapping[str, Any]) -> str:
    return f"job|{quote(job_id, safe='')}|{quote(str(item['id']), safe='')}"


def _drawn(
    hub: Workspace, names: list[str], style: Mapping[str, str]
) -> tuple[list[ServerLayer], list[CScaleError]]:
    """The layers that can be shown, and why others cannot."""
    layers: list[ServerLayer] = []
    failed: list[CScaleError] = []
    for name in names[:MOST_LAYERS]:
        try:
            layers.append(ServerLayer(hub, name, style))
        except CScaleError as error:
            failed.append(error)
    if len(names) > MOST_LAYERS:
        left = len(names) - MOST_LAYERS
        failed.append(InvalidInput(f"{left} further items: at most {MOST_LAYERS} are shown."))
    return layers, failed


def _tell_values(m: Any, layers: list[ServerLayer]) -> None:
    legend = layers[0].legend()
    box = map_layers.note(m, legend)

    def clicked(**event: Any) -> None:
        if event.get("type") != "click":
            return
        latitude, longitude = event["coordinates"]
        said = []
        for layer in layers:
            west, south, east, north = layer.bounds
            if not (west <= longitude <= east and south <= latitude <= north):
                continue
            try:
                said.append(layer.value_at(longitude, latitude))
            except CScaleError as error:
                said.append(error.message)
        place = f"{latitude:.5f}, {longitude:.5f}"
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in said or ["nothing here"])
        box.value = f"{legend}<div>{place}</div>{lines}"

    m.on_interaction(clicked)


def add_search(m: Any = None, *, hub: Workspace | None = None, **query: Any) -> Any:
    """Search every archive at once, and put the footprints of what is found on a map.

    :param m: a map of leafmap or ipyleaflet; None: a new one of leafmap.
    :param query: as :meth:`cscale_core.client.Workspace.search` takes it; ``limit`` is at most
        2,000, and 500 where it is not given.
    :returns: the map; its last layer holds the footprints, their properties ``ref``, ``datetime``
        and ``cloud_cover``.
    """
    hub = hub or here()
    asked = {**query, "limit": min(int(query.get("limit", 500)), MOST_OUTLINES)}
    sent: list[dict[str, Any]] = []
    order: list[int] = []
    for line in hub.search_stream(**asked):
        if line["type"] == "items":
            sent += line["items"]
        elif line["type"] == "report" and line["status"] not in ("ok", "skipped"):
            warnings.warn(f"Items may be missing: {line['error']}", stacklevel=2)
        elif line["type"] == "page":
            order = line["order"]
    features = [_feature(sent[place]) for place in order]
    m = m if m is not None else map_layers.new_map()
    m.add(map_layers.outlines(f"{len(features)} found", features, map_layers.FOOTPRINT))
    map_layers.look_at(m, map_layers.bounds_of(features))
    return m


def _feature(slim: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("ref", "datetime", "cloud_cover")
    return {
        "type": "Feature",
        "geometry": slim["geometry"],
        "properties": {name: slim[name] for name in kept if slim.get(name) is not None},
    }


def to_leafmap(panel: Panel, m: Any = None, *, hub: Workspace | None = None) -> Any:
    """A map of the notebook that follows the panel: its area, and the items selected in it.

    :param m: a map of leafmap or ipyleaflet; None: a new one of leafmap.
    :returns: the map.
    """
    hub = hub or here()
    m = m if m is not None else map_layers.new_map(panel.basemap_url, panel.basemap_attribution)
    area = map_layers.outlines("Area", _area(panel), map_layers.AREA)
    selected = map_layers.outlines("Selected", (), map_layers.SELECTED)
    m.add(area)
    m.add(selected)
    known: dict[str, dict[str, Any]] = {}

    def follow_area(_: Any = None) -> None:
        area.data = map_layers.collection(_area(panel))
        map_layers.look_at(m, map_layers.bounds_of(_area(panel)))

    def follow_selection(_: Any = None) -> None:
        refs = list(panel.selection)[:_MOST_SELECTED]
        for ref in refs:
            if ref not in known:
                known[ref] = _selected(hub, ref)
        selected.data = map_layers.collection(known[ref] for ref in refs)

    follow_selection()
    follow_area()
    panel.observe(follow_area, names="area")
    panel.observe(follow_selection, names="selection")
    return m


def _area(panel: Panel) -> list[dict[str, Any]]:
    if not panel.area:
        return []
    return [{"type": "Feature", "geometry": dict(panel.area), "properties": {}}]


def _selected(hub: Workspace, ref: str) -> dict[str, Any]:
    try:
        item = hub.item(ref)
    except CScaleError as error:
        warnings.warn(f"Not on the map: {error.message}", stacklevel=2)
        return {"geometry": None, "properties": {}}
    return {"geometry": item.get("geometry"), "properties": {"ref": ref}}
