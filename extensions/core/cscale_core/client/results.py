"""The results of a job: STAC items with links that work, to be opened, downloaded or looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cscale_core.client import html
from cscale_core.client.connection import JSON, Connection, quoted
from cscale_core.client.job import PATIENCE, Job
from cscale_core.errors import InvalidInput

if TYPE_CHECKING:
    import pystac
    import xarray


class Results(Sequence[JSON]):
    """Result items of a job, as STAC items.

    Links to a back end end after a while; whatever is done here asks for new ones when one is
    refused. What was copied out of it long ago may not work any longer.
    """

    def __init__(self, connection: Connection, job: Job) -> None:
        self._connection = connection
        self._job = job
        self._items = self._ask(refused=False)

    def _ask(self, *, refused: bool) -> list[JSON]:
        found = self._connection.call(
            "GET",
            f"jobs/{quoted(self._job.id)}/results",
            params={"refused": str(refused).lower()},
            patience=PATIENCE,
        )
        items: list[JSON] = found["features"]
        return items

    @property
    def items(self) -> list[JSON]:
        """The STAC items."""
        return self._items

    def refresh(self, *, refused: bool = True) -> list[JSON]:
        """Ask for the items again.

        :param refused: a link did not work, whatever it says of itself: sign all anew.
        """
        self._items = self._ask(refused=refused)
        return self._items

    def to_pystac(self) -> pystac.ItemCollection:
        """The items as objects of pystac.

        :raises InvalidInput: where pystac is not installed.
        """
        try:
            import pystac
        except ImportError as error:
            raise _missing("pystac") from error
        return pystac.ItemCollection.from_dict(
            {"type": "FeatureCollection", "features": self._items}
        )

    def open(
        self,
        assets: Sequence[str] | None = None,
        chunks: Mapping[str, int] | None = None,
        *,
        crs: str = "",
    ) -> xarray.Dataset:
        """The rasters as one data set on one grid, read when they are needed.

        :param assets: keys of the assets; None: every raster.
        :param chunks: sizes of dask's chunks; None: without dask.
        :param crs: bring all to this one, such as ``EPSG:4326``; empty: their own.
        :raises InvalidInput: when there is nothing to open, or they are in several CRS.
        """
        try:
            from cscale_core.workflows.opening import open_items
        except ImportError as error:
            raise _missing("xarray or rasterio") from error
        # Their links were good when they were asked for, which may be long ago.
        items = self.refresh(refused=False)
        return open_items(items, assets, chunks, crs=crs, fresh=self.refresh)

    def download(
        self,
        folder: Path | str,
        *,
        assets: Sequence[str] | None = None,
        progress: bool | Callable[[int, int, int, int | None, str], object] = True,
    ) -> list[Path]:
        """Bring the files into a folder. The same call again goes on; what is there, is kept.

        :param assets: keys of the assets; None: all that can be read from here.
        :param progress: show a bar; or call this with files that are there, files, bytes that are
            there, bytes (None: not known), and a sentence.
        :returns: the files.
        """
        from cscale_core.client.downloading import shown
        from cscale_core.ingest.downloads import download

        items = self.refresh(refused=False)
        with shown(progress) as tell:
            return download(items, folder, assets=assets, fresh=self.refresh, progress=tell)

    def addresses(self) -> list[str]:
        """Where the files are: ``s3://`` where they are in a bucket, else as they are given."""
        return [
            str(asset["href"]) for item in self._items for asset in item.get("assets", {}).values()
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[JSON]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"<Results of {self._job!r}: {len(self._items)} items>"

    def _repr_html_(self) -> str:
        return html.result_table(self._items)


def _missing(what: str) -> InvalidInput:
    return InvalidInput(
        f"{what} is not installed here.",
        hint="It is in every server of the hub; elsewhere: pip install 'cscale-hub[lab]'.",
    )
