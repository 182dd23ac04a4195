"""The settings of the catalogue service, read from one JSON file and checked at start."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cscale_core.identity.entitlements import VORule


class WriterRule(BaseModel):
    """Entitlements that allow writing: any of ``groups``, from any of ``authorities``.

    An empty string among ``authorities`` also takes values that name no authority, which
    AARC-G069 allows. ``roles`` are the entitlement roles that count (an entitlement without a
    role is a ``member``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: list[str] = Field(min_length=1)
    namespaces: list[str] = Field(default=["mace:egi.eu"], min_length=1)
    authorities: list[str] = Field(default=["aai.egi.eu"], min_length=1)
    roles: list[str] = Field(default=["member", "manager"], min_length=1)

    def vo_rules(self) -> list[VORule]:
        """The same rule in the form :func:`cscale_core.identity.entitlements.vo_roles` takes."""
        return [
            VORule(
                name=group,
                group=group,
                namespaces=frozenset(namespace.lower() for namespace in self.namespaces),
                authorities=frozenset(self.authorities),
                roles={"writer": frozenset(self.roles)},
            )
            for group in self.groups
        ]


class CatalogueConfig(BaseModel):
    """Everything the catalogue needs to know; see the fields for meaning and defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    prefix: str = "/services/catalogue"
    public_url: str = ""
    """Address of the catalogue behind the hub's proxy, used in links. With or without the
    prefix; when empty, links follow the request (and its X-Forwarded-* from loopback)."""
    backend: Literal["auto", "sqlite", "pgstac"] = "auto"
    data_dir: Path
    issuer: str
    audience: str = "catalogue"
    jwks_url: str = ""
    """Empty: ``{issuer}/protocol/openid-connect/certs``."""
    userinfo_url: str = ""
    """Empty: ``{issuer}/protocol/openid-connect/userinfo``."""
    userinfo_seconds: float = Field(default=300, ge=0, le=300)
    """How long a membership learnt from userinfo is believed."""
    writers: list[WriterRule] = []
    title: str = "Community catalogue"
    description: str = "Products staged and made by the communities of this hub"
    read_only: bool = False
    ensure_collections: list[dict[str, Any]] = []
    """Collection documents created at start if there is no collection of that id."""

    @field_validator("host")
    @classmethod
    def _loopback(cls, value: str) -> str:
        if not ipaddress.ip_address(value).is_loopback:
            raise ValueError("the catalogue only listens on a loopback address such as 127.0.0.1")
        return value

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise ValueError("the prefix begins with a slash")
        return value

    @model_validator(mode="after")
    def _public_path_is_the_prefix(self) -> CatalogueConfig:
        if self.public_url:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError("public_url is an absolute http or https address")
            if parts.path.rstrip("/") not in ("", self.prefix):
                raise ValueError("the path of public_url is the prefix, or empty")
        return self

    @property
    def certs(self) -> str:
        """Where the issuer publishes its signing keys."""
        return self.jwks_url or f"{self.issuer}/protocol/openid-connect/certs"

    @property
    def userinfo(self) -> str:
        """Where the issuer tells the entitlements of a token's owner."""
        return self.userinfo_url or f"{self.issuer}/protocol/openid-connect/userinfo"

    @property
    def vo_rules(self) -> list[VORule]:
        """The rules of all writers."""
        return [rule for writer in self.writers for rule in writer.vo_rules()]
