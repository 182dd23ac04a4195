"""Settings of users' servers on a Kubernetes cluster: their image, home folder and mounts.

Members of :class:`cscale_hub.settings.Settings`; only profile ``kubernetes`` reads them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cscale_hub.places import USER
from cscale_hub.profiles import Size

BUCKET = "{bucket}"
BucketMode = Literal["node", "csi", "sidecar", "none"]
_IMAGE = r"^[a-z0-9][A-Za-z0-9._:/@-]*$"
_OBJECT = r"^[a-z0-9{][a-z0-9{}.-]{0,251}[a-z0-9}]$"
_FOLDER = r"^(/[A-Za-z0-9._+@=-]+)+$"
ObjectName = Annotated[str, StringConstraints(pattern=_OBJECT)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HomeSettings(_Model):
    """The home folder; never in a bucket, where files cannot be locked or written in part."""

    kind: Literal["claim", "shared"] = Field(
        default="claim",
        description="claim: a volume for each person, made at the first start; shared: a folder "
        "for each person in one volume of all, such as NFS.",
    )
    storage_class: str = Field(
        default="", description="claim: storage class; empty: the cluster's default."
    )
    size: Size = Field(
        default="10Gi", description="claim: size, where the virtual organisations name none."
    )
    claim: str = Field(default="", description="shared: the PersistentVolumeClaim.")
    sub_path: str = Field(
        default=f"homes/{USER}",
        pattern=r"^[A-Za-z0-9_{][A-Za-z0-9._/{}-]*$",
        description="shared: folder in it; {user} becomes the person's short name.",
    )

    @model_validator(mode="after")
    def _shared_is_complete(self) -> HomeSettings:
        if self.kind == "shared":
            if not self.claim:
                raise ValueError("a shared home needs claim")
            if USER not in self.sub_path or ".." in self.sub_path.split("/"):
                raise ValueError(f"sub_path needs {USER}, else all persons had one home")
        return self


class BucketSettings(_Model):
    """How servers see one bucket."""

    mode: BucketMode = Field(
        default="node",
        description="node: the node mounts it, a server sees its own places only; csi: a claim "
        "that a CSI driver serves; sidecar: a privileged container beside the server mounts with "
        "the person's own credentials; none: by S3 alone.",
    )
    claim: ObjectName = Field(
        default=f"bucket-{BUCKET}",
        description="csi: PersistentVolumeClaim of the whole bucket; {bucket} becomes its name.",
    )
    shortcut: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._+@=-]+)?$",
        description="Another path that leads to the bucket, such as /eodata; the image has it as "
        "a link.",
    )


class SidecarSettings(_Model):
    """The containers that mount buckets beside a server (mode sidecar)."""

    image: str = Field(
        default="", pattern=rf"^$|{_IMAGE}", description="With rclone and fuse3; needed for them."
    )
    port: int = Field(
        default=8879,
        ge=1024,
        le=65535,
        description="Loopback port in the pod where the server gives S3 credentials.",
    )
    memory: Size = Field(default="512Mi", description="Memory of each at most.")
    cache: Size = Field(default="4Gi", description="Disk of each for files that are written.")


class KubernetesSettings(_Model):
    """Users' servers as pods."""

    namespace: str = Field(
        default="", description="Of the servers; empty: that of the hub, which may make pods there."
    )
    image: str = Field(pattern=_IMAGE, description="Image of servers whose profile names none.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When images are pulled."
    )
    pull_secrets: tuple[str, ...] = Field(
        default=(), description="Secrets with logins of the images' registries."
    )
    run_as: int = Field(default=1000, ge=1, description="User id in servers; never root.")
    group: int = Field(default=100, ge=1, description="Group id of servers and their volumes.")
    home: HomeSettings = HomeSettings()
    bucket: BucketSettings = Field(
        default=BucketSettings(), description="How servers see buckets that buckets does not name."
    )
    buckets: dict[str, BucketSettings] = Field(
        default_factory=dict, description="How servers see these buckets, by name."
    )
    node_folder: str = Field(
        default="/var/lib/cscale",
        pattern=_FOLDER,
        description="node: folder of the nodes below which buckets are mounted.",
    )
    sidecar: SidecarSettings = SidecarSettings()
    mount_patience: int = Field(
        default=30,
        ge=5,
        description="Seconds that a bucket's volume may take; then the server starts without it.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes that servers go to."
    )
    tolerations: tuple[dict[str, Any], ...] = Field(
        default=(), description="Taints of nodes that do not keep servers away, as in a pod."
    )
    priority_class: str = Field(default="", description="Priority class of servers.")
    start_timeout: int = Field(
        default=600, gt=0, description="Seconds for a node, the image and the volumes."
    )

    @model_validator(mode="after")
    def _sidecars_have_an_image(self) -> KubernetesSettings:
        modes = {self.bucket.mode, *(each.mode for each in self.buckets.values())}
        if "sidecar" in modes and not self.sidecar.image:
            raise ValueError("a bucket has the mode sidecar, and sidecar.image is missing")
        return self

    def bucket_settings(self, name: str) -> BucketSettings:
        """How servers see a bucket."""
        return self.buckets.get(name, self.bucket)
