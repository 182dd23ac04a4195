"""What every pod of Spark is told: volumes, security, variables of the object store.

The same for the pods of an application and for the executors of a session. Credentials are
references: to a Secret of the job or session, or to one of the namespace.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cscale_core.clusters import SparkKubernetes, SparkMount
from cscale_core.jobs.engines.spark.kubernetes.handing import CONFIG, HANDED, TOKEN
from cscale_core.site import Site

#: Where the Secret of the namespace is in the pods.
KEYS = "/etc/cscale-keys"
#: Containers as Spark names them.
CONTAINERS = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}
_READABLE = {"defaultMode": 0o440}


def container_security() -> dict[str, Any]:
    """What a container may do: nothing special."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def pod_security(settings: SparkKubernetes) -> dict[str, Any]:
    """Who the processes of a pod are."""
    return {
        "runAsNonRoot": True,
        "runAsUser": settings.run_as,
        "runAsGroup": settings.group,
        "fsGroup": settings.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def placement(settings: SparkKubernetes) -> dict[str, Any]:
    """On which nodes, and before whom."""
    found: dict[str, Any] = {}
    if settings.node_selector:
        found["nodeSelector"] = dict(settings.node_selector)
    if settings.priority_class:
        found["priorityClassName"] = settings.priority_class
    return found


def store_environment(site: Site, settings: SparkKubernetes) -> dict[str, str]:
    """Variables that lead SDKs to the object store and to credentials for it."""
    endpoint = urlsplit(site.s3.endpoint)
    said = {
        "AWS_ENDPOINT_URL_S3": site.s3.endpoint,
        "AWS_REGION": site.s3.region,
        "AWS_S3_ENDPOINT": endpoint.netloc,
        "AWS_HTTPS": "YES" if endpoint.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if settings.credentials == "endpoint":
        said["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = settings.credentials_url
        said["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = f"{HANDED}/{TOKEN}"
    elif settings.credentials == "server":
        said["AWS_CONFIG_FILE"] = f"{HANDED}/{CONFIG}"
    elif settings.credentials == "secret":
        said["AWS_SHARED_CREDENTIALS_FILE"] = f"{KEYS}/credentials"
    return said


def store_properties(site: Site, settings: SparkKubernetes) -> dict[str, str]:
    """Hadoop's properties for the same, where the image has its S3A."""
    endpoint = site.s3.endpoint
    conf = {
        "fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": site.s3.region,
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https:")).lower(),
    }
    providers = {"endpoint": "Container", "server": "Profile", "secret": "Profile"}
    provider = providers.get(settings.credentials)
    if provider:
        conf["fs.s3a.aws.credentials.provider"] = (
            f"software.amazon.awssdk.auth.credentials.{provider}CredentialsProvider"
        )
    return conf


def secret_volumes(site: Site, settings: SparkKubernetes, secret: str) -> list[dict[str, Any]]:
    """The Secret of the job or session, and that of the namespace with keys."""
    found: list[dict[str, Any]] = [
        {"name": "cscale-job", "secret": {"secretName": secret, **_READABLE}}
    ]
    if settings.credentials == "secret":
        name = settings.credentials_secret.replace("{user}", site.user)
        found.append({"name": "cscale-keys", "secret": {"secretName": name, **_READABLE}})
    return found


def secret_mounts(settings: SparkKubernetes) -> list[dict[str, Any]]:
    """Where pods have them."""
    found: list[dict[str, Any]] = [{"name": "cscale-job", "mountPath": HANDED, "readOnly": True}]
    if settings.credentials == "secret":
        found.append({"name": "cscale-keys", "mountPath": KEYS, "readOnly": True})
    return found


def data_volumes(site: Site, settings: SparkKubernetes) -> list[dict[str, Any]]:
    """The site's volumes, those of buckets among them."""
    return [_source(site, mount) for mount in settings.mounts]


def data_mounts(site: Site, settings: SparkKubernetes) -> list[dict[str, Any]]:
    """Where pods have them."""
    found = []
    for mount in settings.mounts:
        body: dict[str, Any] = {"name": mount.name, "mountPath": mount.path}
        if mount.host_path:
            # What is mounted on the node later appears in the pod too.
            body["mountPropagation"] = "HostToContainer"
        if mount.sub_path:
            body["subPath"] = mount.sub_path.replace("{user}", site.user)
        if mount.read_only:
            body["readOnly"] = True
        found.append(body)
    return found


def _source(site: Site, mount: SparkMount) -> dict[str, Any]:
    if mount.claim:
        claim = mount.claim.replace("{user}", site.user)
        return {"name": mount.name, "persistentVolumeClaim": {"claimName": claim}}
    path = mount.host_path.replace("{user}", site.user)
    return {"name": mount.name, "hostPath": {"path": path, "type": "Directory"}}
