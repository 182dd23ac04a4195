"""Clusters on which jobs run beside openEO: Spark, here or on Kubernetes, and Slurm.

The hub's settings and the site file of a user's server are this one model. No key and no token is
in it: pods, files and the broker have them, and are named.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SparkNode(_Model):
    """What the largest node of the cluster has for pods."""

    cpus: float = Field(gt=0, description="Allocatable processors.")
    memory: str = Field(
        pattern=r"^[1-9]\d{0,8}[kmgt]$", description="Allocatable memory, such as 30g."
    )


class SparkMount(_Model):
    """A volume of all Spark pods; ``{user}`` becomes the person's short name."""

    name: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Name of the volume."
    )
    path: str = Field(pattern=r"^/[A-Za-z0-9._/+@=-]*$", description="Where pods see it.")
    host_path: str = Field(
        default="", description="Folder of the node; what is mounted below it later is seen too."
    )
    claim: str = Field(
        default="", description="PersistentVolumeClaim of the namespace, instead of host_path."
    )
    sub_path: str = Field(default="", description="Folder in the volume; empty: all of it.")
    read_only: bool = Field(default=False, description="Whether pods may only read.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.host_path) == bool(self.claim):
            raise ValueError(f"mount {self.name} needs host_path or claim, and not both")
        return self


class SparkKubernetes(_Model):
    """The Spark operator of a Kubernetes cluster (SparkApplication v1beta2, operator 2.0 or newer).

    ``{user}`` in ``namespace``, ``credentials_secret`` and mounts becomes the person's short name.
    Who may make applications in a namespace can read the Secrets of its jobs: give each person one.
    """

    title: str = Field(default="Spark on Kubernetes", description="Name shown to people.")
    kubeconfig: str = Field(
        default="",
        description="File in the person's server with the cluster's address and login; empty: the "
        "service account of its pod.",
    )
    context: str = Field(default="", description="Of the kubeconfig; empty: its current one.")
    namespace: str = Field(
        pattern=r"^[a-z0-9{][a-z0-9{}-]{0,61}[a-z0-9}]$",
        description="Where applications run, such as spark-{user}.",
    )
    image: str = Field(min_length=1, description="Image of driver and executors.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When the image is pulled."
    )
    pull_secrets: tuple[str, ...] = Field(
        default=(), description="Secrets of the namespace with logins of the image's registry."
    )
    spark_version: str = Field(default="4.3.0", description="Version of Spark in the image.")
    python: str = Field(default="python3", description="Python in the image.")
    applications: bool = Field(
        default=True,
        description="Whether the image has cscale-hub[spark], which named applications need.",
    )
    service_account: str = Field(
        default="spark", description="Of drivers; may make and delete pods of the namespace."
    )
    executor_service_account: str = Field(
        default="default", description="Of executors; its token is not mounted."
    )
    run_as: int = Field(default=185, ge=1, description="User id in the pods; never root.")
    group: int = Field(default=185, ge=1, description="Group id of pods and volumes.")
    mount: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._/+@=-]*)?$",
        description="Where pods see the mounted buckets; empty: not at all, s3a is used.",
    )
    mounts: tuple[SparkMount, ...] = Field(
        default=(), description="Volumes of all pods, those of the buckets among them."
    )
    credentials: Literal["none", "endpoint", "server", "secret"] = Field(
        default="none",
        description="How pods get S3 credentials. endpoint: from an address in the AWS container "
        "format, with a token in a Secret of the job; server: the person's own, which their server "
        "puts into the Secret of the job or session and renews while it runs; secret: a Secret of "
        "the namespace, made by the operator, whose key 'credentials' is an AWS credentials file.",
    )
    credentials_url: str = Field(
        default="",
        pattern=r"^((https://|http://(127\.0\.0\.1|localhost)[:/])[^\s@]+)?$",
        description="endpoint: its address, https or on the pod's loopback.",
    )
    credentials_audience: str = Field(
        default="", description="endpoint: audience of the broker's token that it takes."
    )
    credentials_secret: str = Field(default="", description="secret: name of the Secret.")
    requirements_index: str = Field(
        default="", description="Package index for Python requirements; empty: pip's default."
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes that pods go to."
    )
    priority_class: str = Field(default="", description="Priority class of all pods.")
    ui_url: str = Field(
        default="",
        description="Where an application's web UI is seen, {name} in it becomes the "
        "application's; empty: nowhere.",
    )
    event_log: str = Field(
        default="",
        description="Where event logs go (s3a:// or a mounted path), for the history server.",
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
    """A Spark Connect server that people may connect to; it is listed with its sessions."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="Name in lists.")
    title: str = Field(description="Name shown to people.")
    url: str = Field(
        pattern=r"^sc://[A-Za-z0-9.-]+(:\d{1,5})?/?$", description="Its address, sc://HOST:PORT."
    )
    ui: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Root of its web UI, for its version and sessions; empty: not reachable.",
    )


class SparkSite(_Model):
    """How Spark applications run from a user's server."""

    kinds: tuple[Literal["local", "kubernetes"], ...] = Field(
        default=("local",),
        min_length=1,
        description="Where applications run: in the person's server, in a cluster, or both; the "
        "first is the default.",
    )
    master: str = Field(
        default="local[2]", description="Spark's master; local[N]: N threads on this machine."
    )
    driver_memory: str = Field(
        default="1g", pattern=r"^[1-9][0-9]*[mg]$", description="Memory of the driver, m or g."
    )
    node: SparkNode | None = Field(
        default=None,
        description="The cluster's largest node; what does not fit on it is refused. None: not "
        "known.",
    )
    kubernetes: SparkKubernetes | None = Field(
        default=None, description="The cluster, where kinds names kubernetes."
    )
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
            raise ValueError("kinds names kubernetes, and the member kubernetes is missing")
        return self


class SlurmCluster(_Model):
    """One cluster that runs batch jobs under Slurm, over slurmrestd or ssh.

    ``{user}`` in ``user`` becomes the person's short name, in ``folder`` and ``local_folder`` the
    name on the cluster.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="Name by which jobs refer to it.")
    title: str = Field(description="Name shown to people.")
    kind: Literal["rest", "ssh"] = Field(
        description="rest: by slurmrestd; ssh: by Slurm's commands on a login node."
    )
    url: str = Field(
        default="",
        pattern=r"^(https://[^\s@]+|http://(127\.0\.0\.1|localhost)([:/][^\s@]*)?|unix:/\S+)?$",
        description="rest: root of slurmrestd, https or on loopback, or unix:/path/of/its/socket.",
    )
    audience: str = Field(
        default="", description="rest: audience of the broker's token; empty: token_file."
    )
    token_file: str = Field(
        default="", description="rest: file of the person's with a token of Slurm (JWT)."
    )
    host: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="ssh: login node, or an entry of the person's ssh configuration.",
    )
    port: int = Field(default=0, ge=0, le=65535, description="ssh: 0 for ssh's own default.")
    identity_file: str = Field(default="", description="ssh: private key; empty: ssh's defaults.")
    known_hosts: str = Field(
        default="", description="ssh: file with the host's key; empty: ssh's defaults."
    )
    user: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_{][A-Za-z0-9._{}-]*)?$",
        description="Name on the cluster; empty: the short name (rest), ssh's own (ssh).",
    )
    partition: str = Field(default="", description="Where jobs go that name none.")
    account: str = Field(default="", description="What jobs are charged to that name none.")
    folder: str = Field(
        pattern=r"^/[A-Za-z0-9._/+@={}-]*$",
        description="Working folder on the cluster, seen by its nodes; for rest it has to exist.",
    )
    local_folder: str = Field(
        default="",
        description="rest: where users' servers see the working folder; empty: not at all.",
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
        description="Bytes of a job's results that are brought to the bucket at most.",
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
