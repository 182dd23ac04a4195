"""What the panel's routes stand on, answering from memory, for tests of the routes themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from cscale_core.errors import NotFound
from cscale_server.layer_models import LayerInfo, LegendAnswer, PointAnswer, SeriesRequest, TileJson
from tests.server.catalog_doubles import PNG


class MemoryLayers:
    """Every item called ``scene`` is a layer."""

    @staticmethod
    def _known(layer: str) -> None:
        if not layer.endswith("scene"):
            raise NotFound(f"There is no layer {layer}.")

    async def info(self, layer: str) -> LayerInfo:
        self._known(layer)
        return LayerInfo(layer=layer, title="Scene", datetime=None, renderings=[], problem="none")

    async def tilejson(self, layer: str, show: str, style: Any, address: str) -> TileJson:
        self._known(layer)
        return TileJson(name="Scene", tiles=["/x"], bounds=(0, 0, 1, 1), minzoom=0, maxzoom=9)

    async def tile(self, layer: str, show: str, style: Any, place: Any, size: int) -> bytes:
        self._known(layer)
        return PNG

    async def legend(self, layer: str, show: str, style: Any) -> LegendAnswer:
        self._known(layer)
        return LegendAnswer(
            title="", kind="colours", unit="", limits=[], colormap="", colormaps=[], stops=[]
        )

    async def point(self, layer: str, show: str, longitude: float, latitude: float) -> PointAnswer:
        self._known(layer)
        return PointAnswer(title="", datetime=None, values=[])

    async def series(self, asked: SeriesRequest) -> AsyncGenerator[bytes, None]:
        yield b'{"type":"end","layers":1,"failed":0}\n'
