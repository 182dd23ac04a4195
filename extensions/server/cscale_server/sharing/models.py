"""The bodies of requests and answers of shared notebooks."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from cscale_core.notebooks.answers import VersionEntry
from cscale_core.notebooks.places import MAX_VERSION
from cscale_server.models import Request


class PublishRequest(Request):
    """A notebook of the file browser to be published; the same title again is a next version."""

    path: str = Field(
        min_length=1, max_length=2000, description="The notebook in the file browser."
    )
    vo: str = Field(min_length=1, max_length=200, description="In which VO.")
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2000)
    outputs: bool = Field(default=False, description="Keep the outputs, or take them out.")


class OwnNotebook(BaseModel):
    """A notebook that could be published."""

    path: str = Field(description="In the file browser.")
    modified: datetime


class OwnNotebooks(BaseModel):
    """Notebooks of the user's home folder, the one that was changed last first."""

    notebooks: list[OwnNotebook]
    complete: bool = Field(description="Whether these are all; else it took too long, or too many.")


class CopyRequest(Request):
    """A copy of the user's own is wanted."""

    version: int | None = Field(
        default=None, ge=1, le=MAX_VERSION, description="Which version; none: the newest."
    )


class Copied(BaseModel):
    """A copy was made."""

    path: str = Field(description="The new notebook in the file browser.")


class Removed(BaseModel):
    """What was taken down."""

    versions: list[int]


class VersionList(BaseModel):
    """The versions of a shared notebook, newest first."""

    versions: list[VersionEntry]


class Link(BaseModel):
    """Opens a shared notebook for members of its VO, after they have logged in."""

    url: str = Field(
        description="An address; where the hub does not know its public one, the path of it."
    )
