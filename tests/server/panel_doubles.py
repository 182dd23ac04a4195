"""What the panel's routes stand on, answering from memory, for tests of the routes themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import NotFound
from cscale_core.jobs.engines.openeo.device_login import DeviceLogin
from cscale_core.jobs.model import ProcessEntry
from cscale_core.saved.file import SavedFile
from cscale_core.saved.store import SavedSearch, SavedStore, SearchContent
from cscale_server.layer_models import LayerInfo, LegendAnswer, PointAnswer, SeriesRequest, TileJson
from cscale_server.storage_models import (
    DeletedLine,
    Link,
    StorageFolder,
    StorageObject,
    StoragePlaces,
    UploadRequest,
    UploadState,
)
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


class MemoryPlaces:
    """Every object is there."""

    async def list(self, mounts: Any) -> StoragePlaces:
        return StoragePlaces(places=[])

    async def folder(self, bucket: str, prefix: str, after: str, limit: int) -> StorageFolder:
        return StorageFolder(bucket=bucket, prefix=prefix, folders=[], objects=[], next="")

    async def usage(self, bucket: str, prefix: str) -> AsyncGenerator[bytes, None]:
        yield b'{"type":"usage","objects":0,"size":0,"folders":{},"complete":true}\n'

    async def link(self, address: Any, seconds: int, *, download: bool = False) -> Link:
        return Link(url="https://store.example/x", expires=ENDS)

    async def delete(self, address: Any) -> None:
        """It is gone."""


class MemoryUploads:
    """There is every upload but ``missing``."""

    async def begin(self, request: UploadRequest) -> UploadState:
        return await self.state("upload")

    async def state(self, upload: str) -> UploadState:
        if upload == "missing":
            raise NotFound("There is no such upload.")
        return UploadState(id=upload, bucket="b", key="k", size=1, received=0)

    async def part(self, upload: str, at: int, data: bytes) -> UploadState:
        return await self.state(upload)

    async def complete(self, upload: str) -> StorageObject:
        await self.state(upload)
        return StorageObject(key="k", size=1, modified=None, layer="")

    async def abort(self, upload: str) -> None:
        await self.state(upload)


class MemoryDeletion:
    """Folders in which nothing lies any more."""

    async def folder(self, bucket: str, prefix: str) -> AsyncGenerator[bytes, None]:
        line = DeletedLine(objects=0, deleted=0, size=0, refused=[], more=False)
        yield line.model_dump_json().encode() + b"\n"


def memory_storage() -> Any:
    return SimpleNamespace(
        places=MemoryPlaces(), uploads=MemoryUploads(), deletion=MemoryDeletion()
    )


ONE = OpenEOBackend(id="one", title="One", url="https://one.example", auth="stored")
ENDS = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryOpenEO:
    """A back end with a login that waits for its code, and one process of the user's."""

    def __init__(self) -> None:
        self.begun: DeviceLogin | None = None

    async def begin_login(self, backend: str, *, keep: bool = False) -> DeviceLogin:
        self.begun = DeviceLogin(
            backend=backend,
            verification_uri="https://issuer.example/device",
            verification_uri_complete="",
            user_code="ABCD-EFGH",
            expires=ENDS,
            kept=keep,
        )
        return self.begun

    def login(self, backend: str) -> DeviceLogin | None:
        return self.begun

    async def processes(self, backend: str) -> list[ProcessEntry]:
        return [ProcessEntry(id="mine", summary="<b>Mine</b>", own=True)]

    async def own_process(self, backend: str, name: str) -> dict[str, Any]:
        if name != "mine":
            raise NotFound("There is none.")
        return {"id": "mine", "process_graph": {}}


def saved_store(folder: Path) -> SavedStore:
    """A real one, in which there is the search ``some``."""

    class Store(SavedStore):
        def change(
            self, name: str, revision: int, content: SearchContent, now: datetime
        ) -> SavedSearch:
            return super().change(self._some(name), revision, content, now)

        def remove(self, name: str) -> None:
            super().remove(self._some(name))

        def _some(self, name: str) -> str:
            return next((one.id for one in self.searches()), name) if name == "some" else name

    return Store(SavedFile(folder / "double.sqlite"))
