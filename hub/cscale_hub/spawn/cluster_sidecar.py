"""Containers beside a server that mount its buckets with the person's own credentials.

For sites that allow privileged containers: a mount is seen outside of its container only if that
is privileged. The person's own container stays without any privilege. rclone asks the server's
loopback endpoint for credentials each time they end, so nothing is kept and the object store itself
holds everybody to their places.

None of them holds up the start: a server begins while they still wait for credentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.node.places import OWN
from cscale_hub.settings import Settings
from cscale_hub.storage import StorageGrant

_TREE = "/places"
_KEYS = "/run/cscale"
_TOKEN = f"{_KEYS}/loopback/token"
_SOCKET = "/tmp/rclone.sock"  # noqa: S108 - in a container of its own
_FLUSH_TRIES = 40
# What a container that was killed left mounted is taken away first. The link is by the first one.
_START = (
    'umount -l "$1" 2>/dev/null || true; mkdir -p "$1"; '
    '[ -z "$CSCALE_LINK" ] || ln -sfn "$CSCALE_LINK" "$CSCALE_TREE/$CSCALE_LINK_NAME"; '
    'shift; exec rclone "$@"'
)
# Until what was written is in the bucket, then the mount goes.
_STOP = (
    f"n=0; while [ $n -lt {_FLUSH_TRIES} ]; do "
    f"s=$(rclone rc --unix-socket {_SOCKET} vfs/stats 2>/dev/null) || break; "
    "case $s in "
    "*'\"uploadsInProgress\": 0'*'\"uploadsQueued\": 0'*) break;; esac; "
    'n=$((n+1)); sleep 0.5; done; umount -l "$CSCALE_TARGET" || true'
)


@dataclass(frozen=True)
class Sidecars:
    """Parts of a pod.

    :ivar tree: volume in which each bucket is a folder.
    :ivar keys: how the server's container sees the folder where it leaves its endpoint's key.
    """

    tree: str
    buckets: tuple[str, ...]
    keys: dict[str, Any]
    volumes: list[dict[str, Any]]
    environment: dict[str, str]
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)


def sidecars(
    settings: Settings, cluster: KubernetesSettings, given: Sequence[StorageGrant], link: str
) -> Sidecars:
    """One container for each grant.

    :param link: bucket and prefix to which the name ``me`` leads in the tree; empty: no link.
    """
    tree = "mounted-beside"
    found = Sidecars(
        tree=tree,
        buckets=tuple(dict.fromkeys(grant.bucket for grant in given)),
        keys={"name": "loopback", "mountPath": _KEYS},
        volumes=[
            {"name": tree, "emptyDir": {}},
            {"name": "loopback", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
        environment={
            "CSCALE_LOOPBACK_PORT": str(cluster.sidecar.port),
            "CSCALE_LOOPBACK_TOKEN_FILE": _TOKEN,
        },
    )
    for number, grant in enumerate(given):
        cache = f"written-{number}"
        found.volumes.append({"name": cache, "emptyDir": {"sizeLimit": cluster.sidecar.cache}})
        container = _container(settings, cluster, grant, link if number == 0 else "")
        container["volumeMounts"] = [
            {"name": tree, "mountPath": _TREE, "mountPropagation": "Bidirectional"},
            {"name": "loopback", "mountPath": _KEYS, "readOnly": True},
            {"name": cache, "mountPath": "/cache"},
        ]
        # KubeSpawner sorts by these keys.
        container["name"] = f"mount-{number:02}"
        found.containers[container["name"]] = container
    return found


def _container(
    settings: Settings, cluster: KubernetesSettings, grant: StorageGrant, link: str
) -> dict[str, Any]:
    target = f"{_TREE}/{grant.bucket}/{grant.prefix}".rstrip("/")
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{cluster.sidecar.port}/v1/s3",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": _TOKEN,
        "AWS_REGION": settings.storage.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CSCALE_TARGET": target,
        "CSCALE_TREE": _TREE,
        "CSCALE_LINK": link,
        "CSCALE_LINK_NAME": OWN,
        "GOMEMLIMIT": "256MiB",
    }
    return {
        "image": cluster.sidecar.image,
        "imagePullPolicy": cluster.pull_policy,
        # A native sidecar: started before the server, ended after it, started again when it dies.
        "restartPolicy": "Always",
        "command": ["sh", "-ec", _START, "sh", target, *_rclone(settings, cluster, grant, target)],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", _STOP]}}},
        "securityContext": {
            "privileged": True,
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
        },
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": cluster.sidecar.memory},
        },
    }


def _rclone(
    settings: Settings, cluster: KubernetesSettings, grant: StorageGrant, target: str
) -> list[str]:
    arguments = [
        *("mount", f":s3:{grant.bucket}/{grant.prefix}", target),
        "--config=",
        "--s3-provider=Other",
        "--s3-env-auth",
        f"--s3-endpoint={settings.storage.endpoint}",
        f"--s3-region={settings.storage.region}",
        "--s3-force-path-style=true",
        "--s3-no-check-bucket",
        "--s3-list-version=2",
        "--s3-directory-markers",
        "--use-server-modtime",
        "--allow-other",
        f"--uid={cluster.run_as}",
        f"--gid={cluster.group}",
        "--umask=077",
        "--vfs-cache-mode=writes",
        "--vfs-write-back=1s",
        f"--vfs-cache-max-size={cluster.sidecar.cache}",
        "--cache-dir=/cache",
        "--dir-cache-time=5s",
        "--poll-interval=0",
        "--attr-timeout=1s",
        "--contimeout=5s",
        "--timeout=30s",
        "--low-level-retries=3",
        "--rc",
        f"--rc-addr=unix://{_SOCKET}",
        "--rc-no-auth",
        "--log-level=NOTICE",
    ]
    return [*arguments, "--read-only"] if grant.access == "ro" else arguments
