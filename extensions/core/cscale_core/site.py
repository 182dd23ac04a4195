"""What this place offers to this user: services, buckets, providers. Non-secret by construction.

The hub writes one YAML file per user server and names it in ``CSCALE_SITE_FILE``; the same model
describes a laptop and a cluster. Credentials are never in it: they come from the broker, through
the loopback endpoint of :mod:`cscale_server`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cscale_core.backends import OpenEOBackend
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


class SparkNode(_Model):
    """What the largest node has for pods, after what Kubernetes keeps for itself."""

    cpus: float = Field(gt=0, description="Allocatable processors.")
    memory: str = Field(
        pattern=r"^[1-9]\d{0,8}[kmgt]$", description="Allocatable memory, such as 32g."
    )


class SparkMount(_Model):
    """A volume of every driver and executor; ``{user}`` in ``host_path`` becomes the slug."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    path: str = Field(pattern=r"^/[A-Za-z0-9._/+@=-]*$", description="Where pods see it.")
    host_path: str = Field(default="", description="Folder of the node.")
    claim: str = Field(default="", description="PersistentVolumeClaim, when it is no host_path.")
    sub_path: str = ""
    read_only: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.host_path) == bool(self.claim):
            raise ValueError(f"mount {self.name} needs host_path or claim, and not both")
        return self


class SparkKubernetes(_Model):
    """The Spark operator of a Kubernetes cluster (SparkApplication v1beta2, operator 2.0 or newer).

    ``{user}`` in ``namespace`` and ``credentials_secret`` becomes the user's slug. No key and no
    token is here: pods get them from a Secret, by reference.
    """

    title: str = "Spark on Kubernetes"
    kubeconfig: str = Field(
        default="", description="File of the API's address and login; empty: that of the pod."
    )
    context: str = Field(default="", description="Of the kubeconfig; empty: its current one.")
    namespace: str = Field(
        pattern=r"^[a-z0-9{][a-z0-9{}-]{0,61}[a-z0-9}]$", description="Where applications run."
    )
    image: str = Field(min_length=1, description="Image of driver and executors.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    spark_version: str = Field(default="4.3.0", description="Of the image.")
    python: str = Field(default="python3", description="Python of the image.")
    applications: bool = Field(
        default=True, description="Whether the image has cscale-hub[spark], for named applications."
    )
    service_account: str = Field(default="spark", description="Of drivers; starts executors.")
    executor_service_account: str = Field(
        default="default", description="Of executors; its token is not mounted."
    )
    run_as: int = Field(default=185, ge=1, description="User id in the pods.")
    group: int = Field(default=185, ge=1, description="Group id of volumes (fsGroup).")
    mount: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._/+@=-]*)?$",
        description="Where pods see the mounted buckets; empty: not at all, s3a is used.",
    )
    mounts: tuple[SparkMount, ...] = Field(
        default=(), description="Volumes of all pods, those of the buckets among them."
    )
    credentials: Literal["none", "endpoint", "secret"] = Field(
        default="none",
        description="How pods get S3 credentials. endpoint: AWS container credentials; secret: a "
        "Secret of the namespace with an AWS credentials file.",
    )
    credentials_url: str = Field(
        default="",
        pattern=r"^((https://|http://(127\.0\.0\.1|localhost)[:/])[^\s@]+)?$",
        description="endpoint: its address, https or on the pod's loopback.",
    )
    credentials_audience: str = Field(
        default="", description="endpoint: audience of the broker's token that it takes."
    )
    credentials_secret: str = Field(
        default="", description="secret: its name; the key 'credentials' is the file."
    )
    requirements_index: str = Field(
        default="", description="Package index for Python requirements; empty: pip's default."
    )
    node_selector: dict[str, str] = Field(default_factory=dict)
    priority_class: str = ""
    ui_url: str = Field(
        default="", description="Address of an application's UI, {name} in it; empty: none."
    )
    event_log: str = Field(
        default="", description="Where event logs go (s3a:// or a path), for the history server."
    )
    time_to_live: int = Field(
        default=172_800, ge=600, description="Seconds that an ended application is kept."
    )

    @model_validator(mode="after")
    def _credentials_complete(self) -> Self:
        if self.credentials == "endpoint" and not self.credentials_url:
            raise ValueError("credentials endpoint needs credentials_url")
        if self.credentials == "secret" and not self.credentials_secret:
            raise ValueError("credentials secret needs credentials_secret")
        return self


class SparkConnectServer(_Model):
    """A Spark Connect server that users may connect to; it is listed with its sessions."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    title: str
    url: str = Field(pattern=r"^sc://[A-Za-z0-9.-]+(:\d{1,5})?/?$", description="sc://HOST:PORT")
    ui: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Root of its web UI, for its version and sessions; empty: not reachable.",
    )


class SparkSite(_Model):
    """How Spark applications run from the user's server."""

    kinds: tuple[Literal["local", "kubernetes"], ...] = Field(
        default=("local",), description="Where applications run, the first is the default."
    )
    master: str = Field(default="local[2]", description="local: Spark's master.")
    driver_memory: str = "1g"
    node: SparkNode | None = Field(
        default=None, description="The largest pod that fits; none: not known."
    )
    kubernetes: SparkKubernetes | None = None
    repositories: tuple[str, ...] = Field(
        default=(), description="Maven repositories for packages, beside Spark's own."
    )
    history_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Root of the Spark history server as users' servers reach it; empty: none.",
    )
    connect: tuple[SparkConnectServer, ...] = Field(
        default=(), description="Spark Connect servers that are listed."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if "kubernetes" in self.kinds and self.kubernetes is None:
            raise ValueError("spark.kinds names kubernetes, and spark.kubernetes is missing")
        return self


class SlurmCluster(_Model):
    """One cluster that runs batch jobs under Slurm, and how it is reached.

    ``{user}`` in ``user`` becomes the user's slug, in ``folder`` and ``local_folder`` the name on
    the cluster. No key and no token is here: files and the broker have them.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    title: str
    kind: Literal["rest", "ssh"] = Field(description="slurmrestd, or the commands over ssh.")
    url: str = Field(
        default="",
        pattern=r"^((https?://|unix:/)[^\s]+)?$",
        description="rest: root of slurmrestd, or unix:/path/of/its/socket.",
    )
    audience: str = Field(
        default="", description="rest: audience of the broker's token; empty: token_file."
    )
    token_file: str = Field(
        default="", description="rest: file with a token of Slurm (JWT), read at each request."
    )
    host: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="ssh: login node, or an entry of the user's ssh configuration.",
    )
    port: int = Field(default=0, ge=0, le=65535, description="ssh: 0 for ssh's own default.")
    identity_file: str = Field(default="", description="ssh: private key; empty: ssh's defaults.")
    known_hosts: str = Field(
        default="", description="ssh: file with the host's key; empty: ssh's defaults."
    )
    user: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_{][A-Za-z0-9._{}-]*)?$",
        description="Name on the cluster; empty: the slug (rest), ssh's configuration (ssh).",
    )
    partition: str = Field(default="", description="Where jobs go that name none.")
    account: str = Field(default="", description="What jobs are charged to that name none.")
    folder: str = Field(
        pattern=r"^/[A-Za-z0-9._/+@={}-]*$",
        description="Working folder on the cluster, seen by its nodes; holds a folder a job.",
    )
    local_folder: str = Field(
        default="",
        description="rest: where this server sees the working folder; empty: not at all.",
    )
    mount: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._/+@=-]*)?$",
        description="Where the cluster's nodes see the mounted buckets; empty: not at all.",
    )
    python: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._/+@=-]*)?$",
        description="Python there that has cscale-hub[spark]; empty: no named applications.",
    )
    results_limit: int = Field(
        default=4 * 1024**3,
        ge=0,
        description="Bytes of results that are brought to the bucket; more stays on the cluster.",
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not (self.url if self.kind == "rest" else self.host):
            raise ValueError(f"cluster {self.id} has no {'url' if self.kind == 'rest' else 'host'}")
        return self

    def account_name(self, slug: str) -> str:
        """The user's name on the cluster, the slug where none is set."""
        return self.user.replace("{user}", slug) or slug

    def working_folder(self, slug: str) -> str:
        """The working folder on the cluster, no slash at the end."""
        return self.folder.replace("{user}", self.account_name(slug)).rstrip("/")


class Site(_Model):
    """Everything a user's server has to know about where it is."""

    user: str = Field(description="The user's slug: JupyterHub name and prefix in buckets.")
    display_name: str = ""
    vos: tuple[str, ...] = ()
    s3: S3Site
    mount_root: str = Field(default="/s3", description="Canonical mount path, as in catalogues.")
    mount: str = Field(default="/s3", description="Where this user's server sees the mount.")
    mount_mode: Literal["fuse", "contents", "none"] = "none"
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
