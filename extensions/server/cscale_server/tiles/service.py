"""Tiles, legends and values of layers, for the routes: found, read in threads, kept for a while.

This module imports what draws, which takes seconds; :class:`cscale_server.backend.Backend` imports
it in a thread when a layer is first asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic_core import to_json

from cscale_core.addresses import ObjectAddress, readable
from cscale_core.catalog.interval import item_interval
from cscale_core.errors import CScaleError, InvalidInput, LoginRequired, NotFound
from cscale_core.http import site_egress
from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_core.tiles import drawing
from cscale_core.tiles.bands import Band, Rendering, renderings
from cscale_core.tiles.ranges import Allowance, Pages, open_source
from cscale_core.tiles.sources import sources
from cscale_core.tiles.styles import COLORMAPS, Limits, Style, colormap_of
from cscale_server.layer_models import (
    EndLine,
    FailedLine,
    LayerInfo,
    LegendAnswer,
    NamedValue,
    PointAnswer,
    RenderingEntry,
    SeriesRequest,
    TileJson,
    ValueLine,
)
from cscale_server.tiles.names import ItemLayer, JobLayer, parsed

if TYPE_CHECKING:
    import httpx

_WORKERS = 6
_KEPT = 200
_KEPT_SECONDS = 300.0
_SERIES_AT_ONCE = 3

_T = TypeVar("_T")

Item = dict[str, Any]
FindItem = Callable[[str], Awaitable[Item]]
FindResults = Callable[[str, bool], Awaitable[list[Item]]]


@dataclass(frozen=True)
class _Layer:
    """A layer that was found.

    :ivar found: whether it came from a search, and may therefore name anything.
    """

    name: str
    item: Item
    found: bool

    @property
    def title(self) -> str:
        properties = self.item.get("properties") or {}
        return str(properties.get("title") or self.item.get("id", ""))[:300]

    @property
    def moment(self) -> datetime | None:
        sensed = item_interval(self.item.get("properties") or {})
        return sensed.start if sensed is not None else None


@dataclass(frozen=True)
class _Prepared:
    """A rendering of which all is known, and the range of its values."""

    rendering: Rendering
    limits: tuple[Limits, ...]
    colormap: str


class Layers:
    """The layers of one user's server.

    :param find_item: gives a whole item of the federation.
    :param find_results: gives the result items of a job; with True with links that were made anew.
    :param http: made by :func:`cscale_core.http.guarded_client`; not closed here.
    """

    def __init__(
        self,
        site: Site,
        http: httpx.AsyncClient,
        find_item: FindItem,
        find_results: FindResults,
    ) -> None:
        self._site = site
        self._http = http
        # As for staging: files lie beside a catalogue, wherever that is.
        self._egress = site_egress(site, public=True)
        self._find_item = find_item
        self._find_results = find_results
        self._store = ObjectStore(site)
        self._pages = Pages()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="cscale tiles")
        self._loop = asyncio.get_running_loop()
        self._layers: _Recent[_Layer] = _Recent()
        self._prepared: _Recent[_Prepared] = _Recent()
        self._renewing = asyncio.Lock()

    async def close(self) -> None:
        """Let the threads end; what they read is given up by those who asked."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._pages.clear()

    # -- what the routes ask -------------------------------------------------------------------

    async def info(self, name: str) -> LayerInfo:
        """What can be shown of a layer.

        :raises NotFound: when there is no such layer.
        """
        layer = await self._layer(name)
        shown = renderings(layer.item)
        return LayerInfo(
            layer=name,
            title=layer.title,
            datetime=layer.moment,
            renderings=[
                RenderingEntry(
                    id=one.id,
                    title=one.title,
                    kind=one.kind,
                    unit=one.unit,
                    datetime=one.moment,
                    series=one.series,
                )
                for one in shown
            ],
            problem=""
            if shown
            else "None of its files can be shown: only GeoTIFF and JPEG 2000 are.",
        )

    async def tilejson(self, name: str, show: str, style: Style, address: str) -> TileJson:
        """Where the tiles of a layer are.

        :param address: of the layers, without a slash at the end.
        """
        prepared = await self._prepare(name, show, style)
        place = await self._reading(name, lambda opened: drawing.placed(prepared.rendering, opened))
        layer = await self._layer(name)
        query = {"show": prepared.rendering.id}
        if prepared.limits:
            query["rescale"] = ";".join(f"{low!r},{high!r}" for low, high in prepared.limits)
        if prepared.colormap:
            query["colormap"] = prepared.colormap
        template = f"{address}/{quote(name, safe='')}/tiles/{{z}}/{{x}}/{{y}}?{urlencode(query)}"
        return TileJson(
            name=f"{layer.title}: {prepared.rendering.title}",
            tiles=[template],
            bounds=place.bounds,
            minzoom=place.min_zoom,
            maxzoom=place.max_zoom,
        )

    async def tile(
        self, name: str, show: str, style: Style, place: tuple[int, int, int], size: int
    ) -> bytes:
        """A tile as PNG; transparent where the layer has nothing."""
        drawing.tile_bounds(*place)
        prepared = await self._prepare(name, show, style)
        return await self._reading(
            name,
            lambda opened: (
                drawing.tile(
                    prepared.rendering, prepared.limits, prepared.colormap, place, opened, size=size
                )
                or drawing.empty_tile(size)
            ),
        )

    async def legend(self, name: str, show: str, style: Style) -> LegendAnswer:
        """What the colours of a layer mean."""
        prepared = await self._prepare(name, show, style)
        told = drawing.legend_of(prepared.rendering, prepared.limits, style)
        return LegendAnswer.model_validate(
            {
                "title": told.title,
                "kind": told.kind,
                "unit": told.unit,
                "limits": told.limits,
                "colormap": told.colormap,
                "colormaps": list(COLORMAPS) if told.kind == "values" else [],
                "stops": [
                    {"value": stop.value, "colour": stop.colour, "label": stop.label}
                    for stop in told.stops
                ],
            }
        )

    async def point(self, name: str, show: str, longitude: float, latitude: float) -> PointAnswer:
        """The values of a layer at a point in degrees."""
        layer = await self._layer(name)
        return await self._value(layer, _chosen(layer, show), longitude, latitude)

    async def series(self, asked: SeriesRequest) -> AsyncGenerator[bytes, None]:
        """The values of many layers at a point, as lines; each as soon as it is known."""
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        turn = asyncio.Semaphore(_SERIES_AT_ONCE)
        failed = 0

        async def one(name: str) -> None:
            nonlocal failed
            try:
                async with turn:
                    layer = await self._layer(name)
                    for rendering in _same(layer, _chosen(layer, asked.show)):
                        found = await self._value(layer, rendering, asked.longitude, asked.latitude)
                        lines.put_nowait(_line(ValueLine(layer=name, **found.model_dump())))
            except CScaleError as error:
                failed += 1
                lines.put_nowait(_line(FailedLine(layer=name, message=error.message)))
            finally:
                lines.put_nowait(None)

        names = list(dict.fromkeys(asked.layers))
        tasks = [asyncio.create_task(one(name)) for name in names]
        try:
            for _ in names:
                while (line := await lines.get()) is not None:
                    yield line
            await asyncio.gather(*tasks)
            yield _line(EndLine(layers=len(names), failed=failed))
        finally:
            for task in tasks:
                task.cancel()

    # -- finding -------------------------------------------------------------------------------

    async def _layer(self, name: str, *, anew: bool = False) -> _Layer:
        kept = None if anew else self._layers.get(name)
        if kept is not None:
            return kept
        told = parsed(name)
        if isinstance(told, ItemLayer):
            layer = _Layer(name, await self._find_item(told.ref), found=True)
        elif isinstance(told, JobLayer):
            items = await self._find_results(told.job, anew)
            item = next((one for one in items if one.get("id") == told.item), None)
            if item is None:
                raise NotFound(f"Job {told.job} has no result {told.item}.")
            layer = _Layer(name, item, found=False)
        else:
            address = ObjectAddress(told.bucket, told.key)
            if readable(address.s3, self._site, found=False) is None:
                raise NotFound(f"{address.s3} does not exist, or is not open to you.")
            layer = _Layer(name, _bare(address), found=False)
        self._layers.put(name, layer)
        return layer

    async def _prepare(self, name: str, show: str, style: Style) -> _Prepared:
        key = f"{name}\n{show}\n{style}"
        kept = self._prepared.get(key)
        if kept is not None:
            return kept
        layer = await self._layer(name)
        chosen = _chosen(layer, show)

        def read(opened: drawing.Open) -> tuple[Rendering, tuple[Limits, ...]]:
            settled = drawing.settled(chosen, opened)
            return settled, drawing.limits_of(settled, style, opened)

        rendering, limits = await self._reading(layer.name, read)
        colormap = ""
        if rendering.kind == "values":
            colormap = colormap_of(rendering, limits, style.colormap)
        prepared = _Prepared(rendering, limits, colormap)
        self._prepared.put(key, prepared)
        return prepared

    async def _value(
        self, layer: _Layer, rendering: Rendering, longitude: float, latitude: float
    ) -> PointAnswer:
        def read(opened: drawing.Open) -> tuple[Rendering, tuple[float | None, ...]]:
            settled = drawing.settled(rendering, opened)
            return settled, drawing.value_at(settled, longitude, latitude, opened)

        shown, values = await self._reading(layer.name, read)
        names = [shown.title] if shown.index else [band.title for band in shown.bands]
        units = [""] if shown.index else [band.unit for band in shown.bands]
        return PointAnswer(
            title=shown.title,
            datetime=shown.moment or layer.moment,
            values=[
                NamedValue(name=name, value=value, unit=unit)
                for name, value, unit in zip(names, values, units, strict=True)
            ],
        )

    # -- reading -------------------------------------------------------------------------------

    async def _reading(self, name: str, use: Callable[[drawing.Open], _T]) -> _T:
        """What ``use`` makes of the files, in a thread that ends when nobody waits for it."""
        layer = await self._layer(name)
        try:
            return await self._read(layer, use)
        except LoginRequired:
            if not isinstance(parsed(name), JobLayer):
                raise
        return await self._read(await self._renewed(layer), use)

    async def _renewed(self, used: _Layer) -> _Layer:
        """A job's result with links that work: asked for once, however many tiles need it."""
        async with self._renewing:
            kept = self._layers.get(used.name)
            if kept is not None and kept is not used:
                return kept
            return await self._layer(used.name, anew=True)

    async def _read(self, layer: _Layer, use: Callable[[drawing.Open], _T]) -> _T:
        allowance = Allowance()

        def opened(band: Band) -> AbstractContextManager[Any]:
            asset = layer.item["assets"][band.asset]
            return self._opened(layer, asset, band.driver, allowance)

        work = self._loop.run_in_executor(self._workers, use, opened)
        try:
            return await work
        except asyncio.CancelledError:
            allowance.give_up()
            raise

    def _opened(
        self, layer: _Layer, asset: Item, driver: str, allowance: Allowance
    ) -> AbstractContextManager[Any]:
        places = sources(
            layer.item,
            asset,
            self._site,
            found=layer.found,
            store=self._store,
            http=self._http,
            egress=self._egress,
            loop=self._loop,
        )
        for place in places[:-1]:
            try:
                self._pages.size(place, allowance)
            except CScaleError:
                continue  # the next address may do
            return open_source(place, self._pages, allowance, driver)
        return open_source(places[-1], self._pages, allowance, driver)


class _Recent(OrderedDict[str, tuple[float, _T]]):
    """What was found lately, by name."""

    def get(self, name: str) -> _T | None:  # type: ignore[override]
        entry = super().get(name)
        if entry is None or time.monotonic() - entry[0] > _KEPT_SECONDS:
            return None
        self.move_to_end(name)
        return entry[1]

    def put(self, name: str, value: _T) -> None:
        self[name] = (time.monotonic(), value)
        self.move_to_end(name)
        while len(self) > _KEPT:
            self.popitem(last=False)


def _bare(address: ObjectAddress) -> Item:
    """An item around an object of which nothing is known but where it is."""
    return {"id": address.s3, "properties": {}, "assets": {"data": {"href": address.s3}}}


def _chosen(layer: _Layer, show: str) -> Rendering:
    shown = renderings(layer.item)
    if not shown:
        raise InvalidInput(
            f"{layer.title} has no file that can be shown.",
            hint="Only GeoTIFF and JPEG 2000 are shown; download the others.",
        )
    if not show:
        return shown[0]
    for one in shown:
        if one.id == show:
            return one
    raise InvalidInput(
        f"{layer.title} cannot be shown as {show[:100]!r}.",
        hint="It can be shown as " + ", ".join(one.id for one in shown[:20]) + ".",
    )


def _same(layer: _Layer, rendering: Rendering) -> Sequence[Rendering]:
    """The renderings of a layer that show the same at other times, and itself."""
    if rendering.moment is None:
        return [rendering]
    return [
        one
        for one in renderings(layer.item)
        if one.series == rendering.series and one.moment is not None
    ]


def _line(content: Any) -> bytes:
    return to_json(content) + b"\n"
