"""What this place offers to this user: services, buckets, providers. Non-secret by construction.

The hub writes one YAML file per user server and names it in ``CSCALE_SITE_FILE``; the same model
describes a laptop and a cluster. Credentials are never in it: they come from the broker, through
the loopback endpoint of :mod:`cscale_server`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from cscale_core.backends import OpenEOBackend
from cscale_core.clusters import SlurmCluster, SparkSite
from cscale_core.errors import InvalidInput
from cscale_core.providers import AllowedHost, Provider, SiteRegistry

SITE_FILE_VARIABLE = "CSCALE_SITE_FILE"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class S3Site(_Model):
    """The object store as seen from the user's server."""

    endpoint: str = Field(description="S3 endpoint URL, path-style addressing.")
    region: str = "us-east-1"
    public_url: str = Field(
        default="",
        description="Base URL under which objects are reachable by HTTPS; empty: the endpoint.",
    )


class Grant(_Model):
    """One prefix of one bucket that the user may reach, and how."""

    bucket: str
    prefix: str = Field(default="", description="Empty, or ends with '/'.")
    access: Literal["ro", "rw"]
    vo: str
    purpose: Literal["products", "home", "shared", "archive"]


class Catalogue(_Model):
    """The community's catalogue, where items are registered (STAC API with Transactions)."""

    url: str
    audience: str = "catalogue"


class Site(_Model):
    """Everything a user's server has to know about where it is."""

    user: str = Field(description="The user's slug: JupyterHub name and prefix in buckets.")
    display_name: str = ""
    vos: tuple[str, ...] = ()
    s3: S3Site
    mount_root: str = Field(default="/s3", description="Canonical mount path, as in catalogues.")
    mount: str = Field(default="/s3", description="Where this user's server sees the mount.")
    mount_mode: Literal["fuse", "given", "contents", "none"] = Field(
        default="none",
        description="fuse: this server mounts; given: somebody else does, and it may be slow.",
    )
    unmounted: tuple[str, ...] = Field(
        default=(), description="given: buckets that are reached by S3 alone."
    )
    shortcuts: dict[str, str] = Field(
        default_factory=dict,
        description="Other paths that lead into the mount, such as /s3/me, each with the bucket "
        "and prefix behind it, such as vo/users/name; no slash at the ends.",
    )
    grants: tuple[Grant, ...] = ()
    catalogue: Catalogue
    providers: tuple[Provider, ...] = Field(
        default=(), description="Those that are searched, the nearest first."
    )
    site_registry: SiteRegistry | None = Field(
        default=None, description="Where further providers are read from; none: nowhere."
    )
    entitlements: tuple[str, ...] = Field(
        default=(), description="AARC entitlements of the user, for the providers' policies."
    )
    openeo: tuple[OpenEOBackend, ...] = ()
    spark: SparkSite = SparkSite()
    slurm: tuple[SlurmCluster, ...] = Field(
        default=(), description="Clusters for batch jobs, the first is the default."
    )
    broker_url: str = ""
    allowed_hosts: tuple[AllowedHost, ...] = Field(
        default=(),
        description="host or host:port that may be asked although private or loopback.",
    )

    def grant(self, purpose: str, vo: str = "", access: str = "rw") -> Grant:
        """The first grant for a purpose, in the named VO or the user's first VO.

        :raises InvalidInput: when the user has no such place.
        """
        for grant in self.grants:
            allowed = grant.access == "rw" or access == "ro"
            if grant.purpose == purpose and allowed and vo in ("", grant.vo):
                return grant
        raise InvalidInput(
            f"There is no place for {purpose} you may write to" + (f" in {vo}." if vo else "."),
            hint="Your virtual organisations are: " + (", ".join(self.vos) or "none") + ".",
        )


def load_site(path: str | Path | None = None) -> Site:
    """Read the site file named by the argument or by ``CSCALE_SITE_FILE``.

    :raises InvalidInput: when the variable is not set or the file is missing or not valid.
    """
    name = path or os.environ.get(SITE_FILE_VARIABLE, "")
    if not name:
        raise InvalidInput(
            f"{SITE_FILE_VARIABLE} is not set.",
            hint="This runs inside a server started by C-SCALE Hub; outside, name a site file.",
        )
    try:
        return Site.model_validate(yaml.safe_load(Path(name).read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInput(f"The site file {name} cannot be used: {error}") from error
