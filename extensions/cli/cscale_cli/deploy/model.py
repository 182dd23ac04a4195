"""What is ours of the values: ``custom.cscale``, beside what the charts of others define.

Names are written as in other charts, with a capital inside (``stopSeconds``); below ``settings`` is
``cscale.yaml`` of the hub, whose model is :mod:`cscale_hub.settings`.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from cscale_hub.profiles import Size
from cscale_hub.settings import Settings

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9{]([a-z0-9{}.-]{0,251}[a-z0-9}])?$")]
Labels = dict[str, str]
Switches = dict[str, bool]
Port = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}$")]
Network = IPv4Network | IPv6Network
RcloneOption = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
DIALECT = "http://json-schema.org/draft-07/schema#"


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True
    )


class Deployment(_Model):
    """Which files and charts a deployment consists of."""

    namespace: ObjectName = Field(description="Namespace of the hub and of what belongs to it.")
    storage: Switches = Field(description="Files of storage/ by name.")
    vos: Switches = Field(description="Files of vos/ by name.")
    companions: Switches = Field(description="Charts of charts.yaml by name, beside the two own.")


class Image(_Model):
    """A container image."""

    name: str = Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/@-]*$", description="Without its tag.")
    tag: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", description="Its tag.")


class HubAccess(_Model):
    """What the hub may do in the cluster beside what its chart gives it."""

    service_account: ObjectName = Field(description="Of the chart's hub.")
    capacity: bool = Field(
        description="Whether it lists nodes and pods, to say how many servers there is room for."
    )


class BucketMount(_Model):
    """What differs for one bucket; empty: as for all."""

    secret: str = Field(default="", description="Secret with access-key and secret-key.")
    provider: str = Field(default="", description="Kind of store, as rclone names it.")
    endpoint: str = Field(default="", description="S3 endpoint, where it is another store.")
    options: dict[RcloneOption, str | int | bool] = Field(
        default_factory=dict, description="Options of rclone mount."
    )
    resources: dict[str, Any] = Field(
        default_factory=dict, description="Requests and limits of its container."
    )


class PlacesContainer(_Model):
    """The container that shows each server its places."""

    resources: dict[str, Any] = Field(description="Requests and limits.")


class Mounts(_Model):
    """The mounts on every node (mode node)."""

    image: Image = Field(description="With rclone and fuse3.")
    secret: ObjectName = Field(
        description="Existing Secret with the keys access-key and secret-key of the store."
    )
    provider: str = Field(description="Kind of store, as rclone names it, such as Ceph.")
    priority_class: str = Field(description="Priority of the pods; servers need them.")
    stop_seconds: int = Field(
        ge=1, description="Seconds for what was written and is not in the bucket yet."
    )
    resources: dict[str, Any] = Field(description="Requests and limits for each bucket.")
    places: PlacesContainer = Field(description="The container that shows servers their places.")
    options: dict[RcloneOption, str | int | bool] = Field(
        description="Options of rclone mount; false leaves one out."
    )
    buckets: dict[str, BucketMount] = Field(description="What differs for a bucket, by name.")


class Csi(_Model):
    """How a CSI driver is told of a bucket (mode csi). {bucket}, {volume} and {namespace} become
    the names of the bucket, of its volume and of the release's namespace; in options of the mount
    {endpoint} and {region} become those of the storage."""

    driver: str = Field(description="Name of the driver; empty where no bucket needs one.")
    volume_handle: str = Field(description="Id of the volume for the driver.")
    volume_attributes: Labels = Field(description="What the driver is told.")
    mount_options: Switches = Field(description="Options of the mount.")
    secret: str = Field(description="Existing Secret in the form that the driver wants.")
    secret_for: Switches = Field(description="Steps to which it is given, as in a volume's csi.")
    capacity: str = Field(pattern=r"^[1-9][0-9]*[GTP]i$", description="Size that is declared.")


class Destination(_Model):
    """Something that may be reached: pods by labels, or networks."""

    pods: Labels = Field(default_factory=dict, description="Labels of its pods.")
    namespaces: Labels = Field(
        default_factory=dict, description="Labels of its namespaces; empty: the hub's."
    )
    networks: dict[Network, bool] = Field(default_factory=dict, description="Its networks.")
    ports: dict[Port, bool] = Field(min_length=1, description="Its TCP ports.")

    @model_validator(mode="after")
    def _somewhere(self) -> Destination:
        if not (self.pods or self.namespaces or any(self.networks.values())):
            raise ValueError("needs pods, namespaces or networks: else it would be everywhere")
        return self


class Networks(_Model):
    """The network policies."""

    enabled: bool = Field(description="Whether there are any of ours.")
    destinations: dict[str, Destination] = Field(description="What may be reached, by name.")
    servers: Switches = Field(description="The destinations that servers may reach.")
    private: dict[Network, bool] = Field(
        description="What is never reached by what may reach public addresses."
    )

    @model_validator(mode="after")
    def _known(self) -> Networks:
        unknown = sorted(set(self.servers) - set(self.destinations))
        if unknown:
            raise ValueError(f"servers names what is not in destinations: {', '.join(unknown)}")
        return self


class OpenEOSpark(_Model):
    """Spark inside the service's pod."""

    master: str = Field(pattern=r"^local\[[1-9][0-9]*\]$", description="local[N]: N threads.")
    driver_memory: str = Field(pattern=r"^[1-9][0-9]*[mg]$", description="Memory of each job.")


class OpenEOStorage(_Model):
    """The volume of the service."""

    class_: str = Field(alias="class", description="Storage class; empty: the cluster's default.")
    size: Size = Field(description="Of the volume that keeps the jobs.")
    scratch: Size = Field(description="Of the pod's own disk, while jobs run.")


class OpenEOIngress(_Model):
    """How people reach the service."""

    class_name: str = Field(description="Ingress class; empty: the cluster's default.")
    annotations: Labels = Field(description="For the ingress controller.")
    tls_secret: str = Field(description="Secret of the host's certificate; empty: none.")


class OpenEOService(_Model):
    """The openEO service."""

    enabled: bool
    image: Image = Field(description="The image of Spark.")
    title: str = Field(description="Name shown to people.")
    url: str = Field(
        pattern=r"^(https://[^\s/]+/services/openeo)?$", description="Where people reach it."
    )
    secret: ObjectName = Field(
        description="Existing Secret with the key client-secret, of the service's own client."
    )
    client_id: str = Field(description="Client with which people log in.")
    service_client_id: str = Field(description="Client of the service itself.")
    jwks_url: str = Field(description="Keys of the identity provider.")
    userinfo_url: str = Field(description="Where it tells who somebody is.")
    role_arn: str = Field(description="Role that the object store's STS gives the service.")
    concurrent_jobs: int = Field(ge=1, description="Jobs at a time.")
    spark: OpenEOSpark = Field(description="Spark inside its pod.")
    storage: OpenEOStorage = Field(description="Its volume.")
    resources: dict[str, Any] = Field(description="Requests and limits.")
    ingress: OpenEOIngress = Field(description="How people reach it.")

    @model_validator(mode="after")
    def _complete(self) -> OpenEOService:
        needed = ("url", "jwks_url", "userinfo_url", "role_arn")
        if self.enabled and (missing := [name for name in needed if not getattr(self, name)]):
            raise ValueError(f"openeo is enabled and has no {', '.join(map(to_camel, missing))}")
        return self


class Disruption(_Model):
    """What happens when a node is drained."""

    keep_servers: bool = Field(description="Whether it waits for the servers to end by themselves.")


class Scrape(_Model):
    """Prometheus asks the hub (ServiceMonitor)."""

    enabled: bool
    secret: ObjectName = Field(
        description="Existing Secret with the key token: of the hub, with the scope read:metrics."
    )
    labels: Labels = Field(description="By which Prometheus finds it.")


class Dashboard(_Model):
    """A dashboard for Grafana."""

    enabled: bool
    labels: Labels = Field(description="By which Grafana's sidecar finds it.")


class Alert(_Model):
    """One rule of Prometheus; {namespace} becomes the release's."""

    expression: str
    for_: str = Field(alias="for", pattern=r"^[1-9][0-9]*[smhd]$", description="How long it is so.")
    severity: str
    summary: str
    description: str


class Rules(_Model):
    """Alerts (PrometheusRule)."""

    enabled: bool
    labels: Labels = Field(description="By which Prometheus finds them.")
    alerts: dict[str, Alert] = Field(description="By name.")


class Monitoring(_Model):
    """For a Prometheus operator that is there."""

    scrape: Scrape
    dashboard: Dashboard
    rules: Rules


class CscaleValues(_Model):
    """Everything below custom.cscale."""

    deployment: Deployment
    settings: dict[str, Any] = Field(description="cscale.yaml of the hub.")
    hub_access: HubAccess
    mounts: Mounts
    csi: Csi
    network: Networks
    openeo: OpenEOService
    disruption: Disruption
    monitoring: Monitoring


def values_schema() -> dict[str, Any]:
    """The JSON schema of our part of the values, as helm holds the chart ``cscale`` to it."""
    own = CscaleValues.model_json_schema()
    hub = Settings.model_json_schema()
    definitions = {**hub.pop("$defs"), **own.pop("$defs")}
    own["properties"]["settings"] = {"$ref": "#/$defs/Settings"}
    definitions |= {"CscaleValues": own, "Settings": hub}
    return {
        "$schema": DIALECT,
        "title": "Values of a C-SCALE Hub",
        "type": "object",
        "required": ["custom"],
        "properties": {
            "custom": {
                "type": "object",
                "required": ["cscale"],
                "properties": {"cscale": {"$ref": "#/$defs/CscaleValues"}},
            }
        },
        "$defs": dict(sorted(definitions.items())),
    }


if __name__ == "__main__":
    print(json.dumps(values_schema(), indent=1))
