"""What is told of one version of a published notebook, beside the notebook itself.

The card is written by its author and read by everybody else: whoever reads it validates it, and
takes the author, the VO and the date from where and when the store has it, not from its text.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_CARD = 64 * 1024
"""Bytes of the largest card that is read."""

Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


class Provenance(BaseModel):
    """Where a published notebook comes from."""

    model_config = ConfigDict(frozen=True)

    author: Line = Field(description="Slug of who published it.")
    author_name: Line = Field(default="", description="Their name, as they give it.")
    vo: Line = Field(description="Virtual organisation in which it was published.")
    date: Line = Field(description="When it was published, UTC.")
    image: Line = Field(default="", description="Container image or software it was made with.")
    source: Line = Field(default="", description="Name of the file it was made from.")
    source_sha256: Digest = Field(
        default="", description="SHA-256 of that file, before anything was taken out of it."
    )
    opened_from: Line = Field(
        default="", description="The shared notebook that it began as a copy of, and its version."
    )


class Card(BaseModel):
    """One version of a published notebook."""

    model_config = ConfigDict(frozen=True)

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    description: Text = ""
    outputs: bool = Field(description="Whether the outputs were kept.")
    language: Line = ""
    cells: int = Field(default=0, ge=0)
    sha256: Digest = Field(default="", description="SHA-256 of the published notebook.")
    picture: bool = Field(default=False, description="Whether there is a small picture.")
    provenance: Provenance
