"""What is told of shared notebooks: lists, one to be looked at, and its harmless preview."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from cscale_core.notebooks.card import Provenance


class PreviewOutput(BaseModel):
    """One output of a cell."""

    kind: Literal["text", "error", "picture", "left_out"]
    text: str = Field(default="", description="Plain text, or what was left out.")
    picture: str = Field(default="", description="PNG, base64.")


class PreviewCell(BaseModel):
    """One cell."""

    kind: Literal["code", "markdown", "raw"]
    source: str = Field(description="Plain text.")
    html: str = Field(default="", description="markdown: sanitised HTML, to be shown as it is.")
    outputs: list[PreviewOutput] = Field(default_factory=list)


class Preview(BaseModel):
    """The cells of a notebook, safe to be shown."""

    cells: list[PreviewCell]
    cut: bool = Field(description="Whether something long was cut.")


class Entry(BaseModel):
    """One shared notebook in a list, by its newest version or the one that was asked for."""

    ref: str = Field(description="Names it: VO|AUTHOR|NAME.")
    vo: str
    author: str = Field(description="Slug of who published it, as the object store has it.")
    author_name: str = Field(description="Their name, as they give it.")
    title: str
    description: str
    date: datetime | None = Field(description="When this version was published.")
    version: int
    versions: int = Field(description="How many there are.")
    outputs: bool = Field(description="Whether outputs were kept.")
    language: str
    picture: bool = Field(description="Whether there is a small picture.")
    mine: bool
    may_remove: bool = Field(description="Whether you may take it down.")


class Gallery(BaseModel):
    """One page of the shared notebooks, the newest first."""

    notebooks: list[Entry]
    total: int
    next: int | None = Field(description="Offset of the next page; null: there is none.")
    publish: list[str] = Field(description="The VOs in which you may publish.")
    failed: dict[str, str] = Field(description="VOs that could not be looked at now, and why.")


class Shown(BaseModel):
    """One shared notebook, to be looked at before it is opened."""

    notebook: Entry
    provenance: Provenance | None = Field(
        description="Where it comes from, as its author's server said; null: it does not say."
    )
    preview: Preview


class VersionEntry(BaseModel):
    """One version of a shared notebook."""

    version: int
    date: datetime | None
