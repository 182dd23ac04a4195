"""Where a result file is read: the mounted bucket, the object store, or HTTPS.

Links of a back end end. When one does not work, the items are asked for once more, by whom opened
them, and the file is read again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import rasterio

from cscale_core.addresses import mount_path, readable
from cscale_core.errors import CScaleError, DamagedData, InvalidInput
from cscale_core.http import Egress, site_egress
from cscale_core.ingest.unsigned import expiry, unsigned
from cscale_core.raster import ObjectStoreAccess, gdal_environment
from cscale_core.site import SITE_FILE_VARIABLE, Site, load_site

T = TypeVar("T")

_HTTP = {
    # A presigned URL is signed for GET alone.
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_HTTP_TIMEOUT": "120",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # A program that ran again wrote its output anew under the same name.
    "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsicurl/",
}


class Places:
    """The addresses of some items' files, renewed once.

    :param fresh: gives the items with links that work.
    :param site: None: that of ``CSCALE_SITE_FILE``; without one only paths and public HTTPS.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        fresh: Callable[[], Sequence[Mapping[str, Any]]] | None,
        site: Site | None,
    ) -> None:
        if site is None and os.environ.get(SITE_FILE_VARIABLE):
            site = load_site()
        self._site = site
        self._fresh = fresh
        self._lock = threading.Lock()
        self._assets = _by_name(items)

    def __getstate__(self) -> dict[str, Any]:
        # A worker of dask elsewhere has the addresses, and nobody to ask for others.
        return {**self.__dict__, "_fresh": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def open(self, item: str, asset: str, use: Callable[[str], T]) -> T:
        """What ``use`` makes of the file's name for GDAL, in an environment that reaches it.

        :raises DamagedData: when it cannot be read.
        """
        used = self._assets[item, asset]
        ended = expiry(str(used.get("href", "")))
        if ended is not None and ended <= datetime.now(UTC) and self._renewed(item, asset, used):
            used = self._assets[item, asset]
        try:
            return self._used(used, use)
        except DamagedData as error:
            if not _is_link(used) or not self._renewed(item, asset, used):
                raise _told(error, item, asset) from None
        try:
            return self._used(self._assets[item, asset], use)
        except DamagedData as error:
            raise _told(error, item, asset) from None

    def _renewed(self, item: str, asset: str, used: Mapping[str, Any]) -> bool:
        """Ask for fresh links; whether the file has another one now."""
        with self._lock:
            if self._assets[item, asset] is not used:
                return True
            if self._fresh is None:
                return False
            ask, self._fresh = self._fresh, None
            self._assets |= {
                name: one for name, one in _by_name(ask()).items() if name in self._assets
            }
            return self._assets[item, asset] is not used

    def _used(self, asset: Mapping[str, Any], use: Callable[[str], T]) -> T:
        name, environment = self._place(asset)
        with environment, rasterio.Env(**_HTTP):
            return use(name)

    def _place(self, asset: Mapping[str, Any]) -> tuple[str, AbstractContextManager[Any]]:
        """GDAL's name of the file where it is nearest, and the environment that reaches it."""
        hrefs = _hrefs(asset)
        site = self._site
        if site is not None:
            for href in hrefs:
                address = readable(href, site, found=False)
                if address is None:
                    continue
                path = Path(mount_path(address, site))
                if path.is_file():
                    return str(path), gdal_environment(None)
                access = ObjectStoreAccess(site.s3.endpoint, site.s3.region)
                return f"/vsis3/{address.bucket}/{address.key}", access.environment()
        for href in hrefs:
            if href.startswith("/") and not href.startswith("/vsi") and Path(href).is_file():
                return href, gdal_environment(None)
        egress = Egress(frozenset(), frozenset(), public=True)
        if site is not None:
            egress = site_egress(site, public=True)
        refused: CScaleError | None = None
        for href in hrefs:
            if href.startswith(("https://", "http://")):
                try:
                    egress.check(href)
                except CScaleError as error:
                    refused = error
                    continue
                return f"/vsicurl/{href}", gdal_environment(None)
        raise refused or InvalidInput(
            f"{unsigned(hrefs[0]) if hrefs else 'A file'} has no address that can be read here.",
            hint="Only mounted buckets, your own places in the object store and https are read.",
        )


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {
        (str(item["id"]), key): asset
        for item in items
        for key, asset in (item.get("assets") or {}).items()
    }


def _hrefs(asset: Mapping[str, Any]) -> list[str]:
    alternates = asset.get("alternate")
    others = alternates.values() if isinstance(alternates, dict) else ()
    found = [asset.get("href"), *(one.get("href") for one in others if isinstance(one, dict))]
    return [href for href in found if isinstance(href, str) and href]


def _is_link(asset: Mapping[str, Any]) -> bool:
    return str(asset.get("href", "")).startswith(("http://", "https://"))


def _told(error: DamagedData, item: str, asset: str) -> DamagedData:
    """The error in the words of a result; GDAL's own may hold a signed address."""
    return DamagedData(
        f"{asset} of {item} cannot be read.",
        hint="The link may have ended, or the file is cut short: ask for the job's results again.",
        item=item,
        asset=asset,
        reason=error.details.get("reason", ""),
    )
