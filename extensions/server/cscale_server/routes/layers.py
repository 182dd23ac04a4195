"""Routes of the map's layers: what can be shown, tiles, legends, values at a point, over time."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from cscale_core.errors import CScaleError, DamagedData, NotFound
from cscale_server.layer_models import (
    LayerInfo,
    LegendAnswer,
    PointAnswer,
    SeriesLine,
    SeriesRequest,
    TileJson,
)
from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.table import UPSTREAM, Operation, Parameter, Route
from cscale_server.tiles.names import MAX_LENGTH

_HOUR = 60 * 60
_SIZES = ("256", "512")
_STYLE_LENGTH = 200


class LayerHandler(CScaleHandler):
    """What the handlers of one layer have in common. Holds no verbs."""

    @property
    def show(self) -> str:
        """Id of the rendering; empty: the first."""
        return self.words("show", MAX_LENGTH, "")

    def style(self) -> Any:
        """Range and colour map."""
        from cscale_core.tiles.styles import parse_style  # imports rasterio

        return parse_style(
            *(self.words(name, _STYLE_LENGTH, "") for name in ("rescale", "colormap"))
        )

    def keep(self) -> None:
        """Let the browser keep the answer: what is looked at again is not read again."""
        self.set_header("Cache-Control", f"private, max-age={_HOUR}")


class InfoHandler(LayerHandler):
    auth_resource = "cscale:layers"

    @web.authenticated
    @authorized
    async def get(self, layer: str) -> None:
        layers = await (await self.extension.backend()).layers()
        found = await self.while_connected(layers.info(layer))
        if found is not None:
            self.answer(found)


class TileJsonHandler(LayerHandler):
    auth_resource = "cscale:layers"

    @web.authenticated
    @authorized
    async def get(self, layer: str) -> None:
        layers = await (await self.extension.backend()).layers()
        address = f"{self.base_url}{PREFIX}/layers"
        found = await self.while_connected(layers.tilejson(layer, self.show, self.style(), address))
        if found is not None:
            self.answer(found)


class TileHandler(LayerHandler):
    auth_resource = "cscale:layers"

    @property
    def content_security_policy(self) -> str:
        """Whatever it may be taken for, it runs nothing and reaches nothing."""
        return super().content_security_policy + "; sandbox"

    @web.authenticated
    @authorized
    async def get(self, layer: str, z: str, x: str, y: str) -> None:
        layers = await (await self.extension.backend()).layers()
        if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in (z, x, y)):
            raise NotFound(f"There is no tile {z[:20]}/{x[:20]}/{y[:20]}.")
        size = int(self.choice("size", _SIZES))
        drawn = await self.while_connected(
            layers.tile(layer, self.show, self.style(), (int(z), int(x), int(y)), size)
        )
        if drawn is None:
            return
        self.keep()
        self.set_header("X-Content-Type-Options", "nosniff")
        # tornado adds an ETag, and answers 304 to one that is known.
        self.finish(drawn, set_content_type="image/png")


class LegendHandler(LayerHandler):
    auth_resource = "cscale:layers"

    @web.authenticated
    @authorized
    async def get(self, layer: str) -> None:
        layers = await (await self.extension.backend()).layers()
        found = await self.while_connected(layers.legend(layer, self.show, self.style()))
        if found is not None:
            self.answer(found)


class PointHandler(LayerHandler):
    auth_resource = "cscale:layers"

    @web.authenticated
    @authorized
    async def get(self, layer: str) -> None:
        layers = await (await self.extension.backend()).layers()
        place = self.decimal("longitude", -180, 180), self.decimal("latitude", -90, 90)
        found = await self.while_connected(layers.point(layer, self.show, *place))
        if found is not None:
            self.answer(found)


class SeriesHandler(CScaleHandler):
    auth_resource = "cscale:layers"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        request = await self.body(SeriesRequest)
        layers = await (await self.extension.backend()).layers()
        await self.while_connected(self.answer_lines(layers.series(request)))


_SHOW = Parameter(
    "show", "query", {"type": "string", "default": ""}, "Id of a rendering; empty: the first."
)
_RESCALE = Parameter(
    "rescale",
    "query",
    {"type": "string", "default": "", "maxLength": _STYLE_LENGTH},
    "MIN,MAX of the values that get the outermost colours, of a picture also three with ; between "
    "them; empty: chosen from the statistics of the item or the pixels.",
)
_COLORMAP = Parameter(
    "colormap",
    "query",
    {"type": "string", "default": "", "maxLength": _STYLE_LENGTH},
    "Name of a colour map, as the legend lists them; empty: chosen.",
)
_STYLED = (_SHOW, _RESCALE, _COLORMAP)
_SIZE = Parameter(
    "size",
    "query",
    {"type": "integer", "enum": [int(size) for size in _SIZES], "default": 256},
    "Pixels of the side of a tile.",
)
_ERRORS: tuple[type[CScaleError], ...] = (NotFound, DamagedData, *UPSTREAM)

ROUTES: tuple[Route, ...] = (
    Route(
        "layers/series",
        SeriesHandler,
        (
            Operation(
                "post",
                "The values of layers at a point, line by line as they are read",
                None,
                lines=SeriesLine,
                request=SeriesRequest,
            ),
        ),
    ),
    Route(
        "layers/{layer}",
        InfoHandler,
        (
            Operation(
                "get", "What can be shown of a layer", LayerInfo, errors=(NotFound, *UPSTREAM)
            ),
        ),
    ),
    Route(
        "layers/{layer}/tilejson",
        TileJsonHandler,
        (
            Operation(
                "get",
                "Where the tiles of a layer are, as TileJSON 3.0.0",
                TileJson,
                parameters=_STYLED,
                errors=_ERRORS,
            ),
        ),
    ),
    Route(
        "layers/{layer}/tiles/{z}/{x}/{y}",
        TileHandler,
        (
            Operation(
                "get",
                "A tile of the Web Mercator quad tree; transparent where there is nothing",
                None,
                media_types=("image/png",),
                parameters=(*_STYLED, _SIZE),
                errors=_ERRORS,
            ),
        ),
    ),
    Route(
        "layers/{layer}/legend",
        LegendHandler,
        (
            Operation(
                "get",
                "What the colours of a layer mean",
                LegendAnswer,
                parameters=_STYLED,
                errors=_ERRORS,
            ),
        ),
    ),
    Route(
        "layers/{layer}/point",
        PointHandler,
        (
            Operation(
                "get",
                "The values of a layer at a point",
                PointAnswer,
                parameters=(
                    _SHOW,
                    Parameter(
                        "longitude",
                        "query",
                        {"type": "number", "minimum": -180, "maximum": 180},
                        "Degrees.",
                        required=True,
                    ),
                    Parameter(
                        "latitude",
                        "query",
                        {"type": "number", "minimum": -90, "maximum": 90},
                        "Degrees.",
                        required=True,
                    ),
                ),
                errors=_ERRORS,
            ),
        ),
    ),
)
