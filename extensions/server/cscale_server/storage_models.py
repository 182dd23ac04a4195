"""The bodies of requests and answers of the routes of storage; as :mod:`cscale_server.models`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from cscale_server.models import MountStatus, ProblemLine, Request

Bucket = Annotated[str, Field(min_length=1, max_length=255)]
Key = Annotated[str, Field(min_length=1, max_length=1024)]

_BY_TYPE = Field(discriminator="type")

LARGEST_PART = 16 * 1024 * 1024
"""Bytes of one piece of an upload at most."""

SMALLEST_PART = 5 * 1024 * 1024
"""Bytes of one piece at least, but for the last (Amazon S3 API, "Multipart upload limits")."""

LARGEST_UPLOAD = 10_000 * LARGEST_PART


class StoragePlace(BaseModel):
    """One prefix of one bucket that the user may reach, and how it is."""

    bucket: str
    prefix: str = Field(description="Empty, or ends with a slash.")
    access: Literal["ro", "rw"]
    vo: str
    purpose: Literal["products", "home", "shared", "archive"]
    online: bool = Field(description="Whether the object store answers for it now.")
    problem: str = Field(description="Why it is not online; empty when it is.")
    room: int | None = Field(description="Bytes that the quota leaves; null: not told.")
    mount: MountStatus | None = Field(description="The same in the file system, where mounted.")


class StoragePlaces(BaseModel):
    """The user's places, in the order of the site."""

    places: list[StoragePlace]


class StorageObject(BaseModel):
    """One object."""

    key: str
    size: int
    modified: datetime | None
    layer: str = Field(description="Its name as a layer of the map; empty: it is no raster.")


class StorageFolder(BaseModel):
    """Some of what lies in a folder."""

    bucket: str
    prefix: str
    folders: list[str] = Field(description="Prefixes, each with a slash at its end.")
    objects: list[StorageObject]
    next: str = Field(description="Give this as after for the rest; empty: this was all.")


class ObjectRequest(Request):
    """One object of a place of the user's."""

    bucket: Bucket
    key: Key


class LinkRequest(ObjectRequest):
    """For whom has no login."""

    seconds: int = Field(default=3600, ge=60, le=7 * 24 * 3600)
    download: bool = Field(
        default=False, description="Whether a browser saves the file, and never shows it."
    )


class Link(BaseModel):
    """An address that gives the object to whoever has it."""

    url: str
    expires: datetime = Field(
        description="It ends with the server's credentials at the latest, which may be sooner."
    )


class UploadRequest(ObjectRequest):
    """What is going to be sent."""

    size: int = Field(ge=0, le=LARGEST_UPLOAD, description="Bytes of the whole.")
    content_type: str = Field(
        default="application/octet-stream",
        max_length=100,
        pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$",
    )
    replace: bool = Field(default=False, description="Take the place of an object that is there.")


class UploadState(BaseModel):
    """An upload that goes on, also after the page or the server was started anew."""

    id: str = Field(description="Names it in addresses; keep it until the end.")
    bucket: str
    key: str
    size: int
    received: int = Field(description="Bytes that the store has: send the next from here.")
    smallest_part: int = Field(default=SMALLEST_PART, description="Bytes, but for the last piece.")
    largest_part: int = Field(default=LARGEST_PART, description="Bytes of one piece.")


class CountedLine(BaseModel):
    """What was counted so far."""

    type: Literal["counted"] = "counted"
    objects: int
    size: int


class UsageLine(BaseModel):
    """What a place holds; the last line."""

    type: Literal["usage"] = "usage"
    objects: int
    size: int = Field(description="Bytes.")
    folders: dict[str, int] = Field(
        description="Bytes by the name of the folder right below, the largest first; at most 50."
    )
    complete: bool = Field(description="Whether all was counted; else there is more.")


class StorageLine(RootModel[Annotated[CountedLine | UsageLine | ProblemLine, _BY_TYPE]]):
    """One line of the answer."""


class DeletingLine(BaseModel):
    """How far the deletion of a folder is."""

    type: Literal["deleting"] = "deleting"
    objects: int = Field(description="Found so far; none is deleted before all are found.")
    deleted: int
    more: bool = Field(default=False, description="Whether more lies there than was looked up.")


class KeptObject(BaseModel):
    """An object that could not be deleted."""

    key: str
    why: str


class DeletedLine(BaseModel):
    """What came of the deletion of a folder; the last line. What is not deleted is kept."""

    type: Literal["deleted"] = "deleted"
    objects: int = Field(description="Found below the prefix.")
    deleted: int
    size: int = Field(description="Bytes of those that were deleted.")
    refused: list[KeptObject] = Field(description="Some of those that the store did not delete.")
    more: bool = Field(description="Whether more lies there than one request deletes: ask again.")


class DeletionLine(RootModel[Annotated[DeletingLine | DeletedLine | ProblemLine, _BY_TYPE]]):
    """One line of the answer."""
