"""The settings of the archive, read from one JSON file and checked at start."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ArchiveConfig(BaseModel):
    """Settings of the archive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    root: Path = Field(description="Folder of STAC items and their files; only read.")
    data_dir: Path = Field(description="Where the index is made; emptied at each start.")
    title: str = "Site B"

    @field_validator("host")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if not ipaddress.ip_address(value).is_loopback:
            raise ValueError("the archive only listens on a loopback address such as 127.0.0.1")
        return value
