"""The settings of the service, read from one JSON file and checked at start."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cscale_core.providers import AllowedHost, Provider, SiteRegistry
from cscale_core.site import Catalogue, S3Site, Site


class Config(BaseModel):
    """Everything the service needs to know; nothing in it is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(ge=0, le=65535, description="Port to listen on; 0: any free one.")
    prefix: str = Field(default="", description="Path below which everything is served.")
    public_url: str = Field(
        default="",
        description="Address by which clients know the service, for links; empty: as they ask.",
    )
    title: str = "Metadata Query Service"
    description: str = (
        "Earth observation archives of a federation, searched as one. Collections are named "
        "PROVIDER|collection; each answer says what every provider did."
    )
    providers: tuple[Provider, ...] = Field(default=(), description="Archives, nearest first.")
    site_registry: SiteRegistry | None = Field(
        default=None, description="Where further providers are read from; none: nowhere."
    )
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        default=(),
        description="host or host:port that may be asked although private or loopback.",
    )
    data_dir: Path | None = Field(
        default=None,
        description="Where the key of the cursors and the last list of the registry are kept; "
        "none: cursors end with the process.",
    )
    max_limit: int = Field(default=1000, ge=1, le=10_000, description="Items of a page at most.")
    max_running: int = Field(
        default=16, ge=1, description="Questions that are put to the federation at the same time."
    )
    max_waiting: int = Field(default=64, ge=0, description="Questions that may wait their turn.")
    patience: float = Field(default=15.0, gt=0, description="Seconds a question waits its turn.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("host")
    @classmethod
    def _address(cls, value: str) -> str:
        return str(ipaddress.ip_address(value))

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise ValueError("the prefix begins with a slash")
        return value

    @model_validator(mode="after")
    def _public_path_is_the_prefix(self) -> Config:
        if self.public_url:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError("public_url is an absolute http or https address")
            if parts.path.rstrip("/") not in ("", self.prefix):
                raise ValueError("the path of public_url is the prefix, or empty")
        return self

    @property
    def public_root(self) -> str:
        """The configured public address with the prefix; empty: as clients ask."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}{self.prefix}" if self.public_url else ""

    @property
    def site(self) -> Site:
        """The federation as somebody sees it who is nobody in particular.

        No buckets, no virtual organisation, no entitlement: what needs one is not asked.
        """
        return Site(
            user="mqs",
            s3=S3Site(endpoint=""),
            catalogue=Catalogue(url=""),
            providers=self.providers,
            site_registry=self.site_registry,
            allowed_hosts=self.allowed_hosts,
        )
