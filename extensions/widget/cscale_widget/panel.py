"""The widget: what it shows is made by ``extensions/ui``; here are its traits and its messages."""

from __future__ import annotations

from typing import Any, Literal

import anywidget
import traitlets

from cscale_ui import MODULE
from cscale_widget.bridge import Bridge, server_of_this_kernel
from cscale_widget.showing import to_leafmap

_SMALLEST = 240

View = Literal["catalogue", "staging", "jobs", "storage", "shared"]


class Panel(anywidget.AnyWidget):  # type: ignore[misc]
    """Search, stage, compute, watch and see, in a notebook cell.

    The panels of a page share one state: what is searched or selected in one is seen in all, and in
    the panel of JupyterLab. Running the cell again shows it where it was.

    :ivar area: where to search and to compute, a GeoJSON Polygon or MultiPolygon in longitude and
        latitude (EPSG:4326); None: not said.
    :ivar datetime: when: an interval ``a/b`` as STAC has it; empty: any time.
    :ivar selection: references of the items that are selected, as
        :meth:`cscale_core.client.Workspace.item` takes them.
    """

    _esm = MODULE

    server = traitlets.Unicode(help="Names the server that is asked.").tag(sync=True)
    height = traitlets.Int(640, min=_SMALLEST, help="In pixels.").tag(sync=True)
    view = traitlets.Unicode("", help="The view to show; empty: the last one.").tag(sync=True)
    basemap_url = traitlets.Unicode(
        "", help="Address of map tiles with {x}, {y}, {z}; empty: the map that is shipped."
    ).tag(sync=True)
    basemap_attribution = traitlets.Unicode("", help="Who made that map.").tag(sync=True)
    area = traitlets.Dict(None, allow_none=True).tag(sync=True)
    datetime = traitlets.Unicode("").tag(sync=True)
    selection = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        *,
        view: View | Literal[""] = "",
        area: dict[str, Any] | None = None,
        datetime: str = "",
        height: int = 640,
        basemap_url: str = "",
        basemap_attribution: str = "",
    ) -> None:
        """Show the panel.

        :param area: a GeoJSON geometry to begin with.
        :param datetime: an interval to begin with, such as ``2024-06-01/2024-06-30``.
        :raises cscale_core.errors.InvalidInput: outside a server started by JupyterHub.
        """
        url, http = server_of_this_kernel()
        super().__init__(
            server=url,
            view=view,
            area=area,
            datetime=datetime,
            height=height,
            basemap_url=basemap_url,
            basemap_attribution=basemap_attribution,
        )
        self._bridge = Bridge(url, http, self._tell)
        self.on_msg(self._heard)

    def to_leafmap(self, m: Any = None) -> Any:
        """A map of the notebook that follows this panel: its area, and the items selected in it.

        :param m: a map of leafmap or ipyleaflet; None: a new one of leafmap.
        """
        return to_leafmap(self, m)

    def _tell(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.send(message, buffers=buffers)

    def _heard(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        self._bridge.take(message, buffers)
        # Who asks through the kernel hears of jobs through it, too.
        self._bridge.watch_jobs()

    def close(self) -> None:
        """Take the panel away from the page."""
        self._bridge.close()
        super().close()
