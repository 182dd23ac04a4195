"""The service's configuration: one JSON file, checked at start, with paths of secrets in it."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cscale_core.identity.entitlements import VORule
from cscale_core.site import Catalogue, S3Site, Site


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VO(_Model):
    """A virtual organisation whose members may compute here, and the bucket it writes to."""

    name: str
    bucket: str = Field(min_length=3)
    group: str
    namespaces: frozenset[str]
    authorities: frozenset[str]
    roles: dict[str, frozenset[str]]
    enrol_url: str = Field(default="", description="Where a person asks to become a member.")

    @property
    def rule(self) -> VORule:
        """The rule by which entitlements become membership."""
        return VORule(self.name, self.group, self.namespaces, self.authorities, self.roles)


class StaticKeys(_Model):
    """One key pair for everything: for tests and stores without STS."""

    access_key: str
    secret_file: Path


class S3Settings(_Model):
    """The object store, and how the service gets the credentials it gives to jobs.

    With ``role_arn`` the service logs in at ``token_endpoint`` (client credentials, audience
    ``s3``) and narrows AssumeRoleWithWebIdentity to the job by a session policy.
    """

    endpoint: str
    region: str = "us-east-1"
    token_endpoint: str = ""
    client_id: str = "cscale-openeo-service"
    client_secret_file: Path | None = None
    audience: str = "s3"
    role_arn: str = ""
    session_seconds: int = Field(default=3600, ge=1800, le=43200)
    static: StaticKeys | None = None

    @model_validator(mode="after")
    def _one_way(self) -> S3Settings:
        if self.static is None and not (
            self.token_endpoint and self.client_secret_file and self.role_arn
        ):
            raise ValueError(
                "s3 needs either static keys or token_endpoint, client_secret_file and role_arn"
            )
        return self


class SiteAddresses(_Model):
    """What the three addresses of a result are made of."""

    mount_root: str = "/s3"
    public_url: str = Field(default="", description="HTTPS base of objects; empty: the endpoint.")


class SparkSettings(_Model):
    """How batch jobs run."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    ui: bool = Field(default=False, description="Whether applications serve Spark's own UI.")


class Config(_Model):
    """Everything ``python -m cscale_openeo`` needs. Relative paths are not resolved."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    prefix: str = Field(default="/services/openeo", pattern=r"^(/[A-Za-z0-9._~-]+)+$")
    public_url: str = Field(
        default="", description="Address of the prefix as clients see it; empty: host and port."
    )
    title: str = "C-SCALE openEO on Spark"
    data_dir: Path
    issuer: str
    jwks_url: str
    userinfo_url: str
    provider_id: str = "egi"
    provider_title: str = "EGI Check-in"
    oidc_client_id: str = "cscale-openeo"
    audience: str = "openeo"
    vos: tuple[VO, ...] = Field(min_length=1)
    catalogue_url: str
    s3: S3Settings
    site: SiteAddresses = SiteAddresses()
    spark: SparkSettings = SparkSettings()
    tile_size: int = Field(default=64, ge=8, le=4096, description="Output pixels per tile side.")
    max_concurrent_jobs_per_user: int = Field(default=1, ge=1)
    max_concurrent_jobs: int = Field(default=2, ge=1)
    local_inputs: Path | None = Field(
        default=None, description="Folder whose files items may name as assets; none by default."
    )
    max_items: int = Field(default=5000, ge=1, description="Items one load may bring in.")
    keep_jobs_on_stop: bool = Field(
        default=False,
        description="Whether applications outlive an orderly stop of the service (SIGTERM); else "
        "they are stopped too and start anew with the service. They always outlive a crash.",
    )
    result_link_seconds: int = Field(default=3600, ge=1)
    userinfo_seconds: int = Field(default=300, ge=0, le=300)
    sync_max_values: int = Field(
        default=20_000_000, ge=1, description="Input values (pixels x bands x dates) of /result."
    )
    sync_seconds: int = Field(default=120, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _not_open_to_the_network(self) -> Config:
        """Another machine reaches it through something that has a certificate, or not at all."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError("host must be an IP address") from None
        behind = address.is_unspecified and self.public_url.startswith("https://")
        if not (address.is_loopback or behind):
            raise ValueError(
                "host must be a loopback address, or all of a pod's behind an https public_url"
            )
        return self

    @field_validator("public_url", "catalogue_url", "issuer")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def base_url(self) -> str:
        """The API's address as clients see it, no slash at the end."""
        return self.public_url or f"http://{self.host}:{self.port}{self.prefix}"

    def vo(self, name: str) -> VO:
        """The VO of that name.

        :raises KeyError: when it is not configured.
        """
        for vo in self.vos:
            if vo.name == name:
                return vo
        raise KeyError(name)

    def site_view(self) -> Site:
        """The site as :mod:`cscale_core.addresses` wants it."""
        return Site(
            user="cscale-openeo",
            s3=S3Site(
                endpoint=self.s3.endpoint, region=self.s3.region, public_url=self.site.public_url
            ),
            mount_root=self.site.mount_root,
            mount=self.site.mount_root,
            catalogue=Catalogue(url=self.catalogue_url),
        )


def load_config(path: Path) -> Config:
    """Read and check the configuration file.

    :raises pydantic.ValidationError: when a member is unknown, missing or not valid.
    """
    return Config.model_validate(json.loads(path.read_text(encoding="utf-8")))
