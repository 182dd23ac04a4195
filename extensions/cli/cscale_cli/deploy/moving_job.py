"""Moving a volume's files into a bucket, for servers that will see the bucket in its place.

A job in the cluster copies and compares; the volume is mounted read-only and nothing is ever
removed, neither from it nor from the bucket. A copy that is killed goes on where it was: an object
is there whole or not at all, and what is there is not copied again. An object that is newer than
its file stays as it is, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cscale_cli.deploy.model import CscaleValues
from cscale_core.errors import InvalidInput
from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.places import StorageError, check_bucket
from cscale_hub.settings import Settings

Links = Literal["refuse", "follow"]
LABEL = "app.kubernetes.io/component"
_COMPONENT = "move"
_CLAIM = "/claim"
_TRIES = 6
# As move.sh says them; none of rclone's own.
_LASTING = [40, 41]
_SCRIPT = Path(__file__).with_name("move.sh")


@dataclass(frozen=True)
class Move:
    """What is moved.

    :ivar namespace: of the servers, where the claim is.
    """

    bucket: str
    claim: str
    namespace: str
    links: Links = "refuse"

    @property
    def job(self) -> str:
        """The name of its job."""
        return f"cscale-move-{self.bucket}"[:63].rstrip("-.")


@dataclass(frozen=True)
class Moved:
    """What a finished job found.

    :ivar files: which the bucket has as the volume has them, compared by their content.
    :ivar more: objects that the volume does not have; they were left.
    """

    files: int
    more: int


def move_of(own: CscaleValues, settings: Settings, bucket: str, claim: str, links: Links) -> Move:
    """The move of one site.

    :raises InvalidInput: when there is nothing to move it by.
    """
    try:
        check_bucket(bucket)
    except StorageError as error:
        raise InvalidInput(str(error)) from error
    namespace = _cluster(settings).namespace or own.deployment.namespace
    return Move(bucket, claim, namespace, links)


def _cluster(settings: Settings) -> KubernetesSettings:
    if settings.kubernetes is None:
        raise InvalidInput("The site has no servers on Kubernetes.")
    return settings.kubernetes


def job(move: Move, own: CscaleValues, settings: Settings) -> dict[str, Any]:
    """The job that copies and compares."""
    cluster = _cluster(settings)
    script = _SCRIPT.read_text(encoding="utf-8")
    store = own.mounts.buckets.get(move.bucket)
    secret = (store and store.secret) or own.mounts.secret
    said = {
        "TYPE": "s3",
        "PROVIDER": (store and store.provider) or own.mounts.provider,
        "ENDPOINT": (store and store.endpoint) or settings.storage.endpoint,
        "REGION": settings.storage.region,
        "FORCE_PATH_STYLE": "true",
        "NO_CHECK_BUCKET": "true",
    }
    keys = {"ACCESS_KEY_ID": "access-key", "SECRET_ACCESS_KEY": "secret-key"}
    variable = "RCLONE_CONFIG_STORE_"
    environment: list[dict[str, Any]] = [
        {"name": "RCLONE_CONFIG", "value": "/dev/null"},
        *({"name": f"{variable}{name}", "value": text} for name, text in said.items()),
        *(
            {
                "name": f"{variable}{name}",
                "valueFrom": {"secretKeyRef": {"name": secret, "key": key}},
            }
            for name, key in keys.items()
        ),
    ]
    labels = {"app.kubernetes.io/part-of": "cscale-hub", LABEL: _COMPONENT}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            # Of whom the files are.
            "runAsUser": cluster.run_as,
            "runAsGroup": cluster.group,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {
                "name": "claim",
                "persistentVolumeClaim": {"claimName": move.claim, "readOnly": True},
            },
            {"name": "tmp", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": "move",
                "workingDir": _CLAIM,
                "image": f"{own.mounts.image.name}:{own.mounts.image.tag}",
                "imagePullPolicy": cluster.pull_policy,
                "command": ["sh", "-euc", script, "sh", move.bucket, move.links],
                "env": environment,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "resources": {
                    "requests": {"cpu": "200m", "memory": "256Mi"},
                    "limits": {"memory": "2Gi"},
                },
                "volumeMounts": [
                    {"name": "claim", "mountPath": _CLAIM, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in a container of its own
                ],
            }
        ],
    }
    if cluster.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in cluster.pull_secrets]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": move.job, "namespace": move.namespace, "labels": labels},
        "spec": {
            "backoffLimit": _TRIES,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "move",
                            "operator": "In",
                            "values": _LASTING,
                        },
                    }
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def users_of(claim: str, pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """The pods that have a claim and are not ended, those of a move aside: who may write to it."""
    found = []
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        volumes = pod["spec"].get("volumes") or ()
        claims = {(each.get("persistentVolumeClaim") or {}).get("claimName") for each in volumes}
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if claim in claims and not over and labels.get(LABEL) != _COMPONENT:
            found.append(str(pod["metadata"]["name"]))
    return sorted(found)


def state_of(found: Mapping[str, Any]) -> Literal["running", "complete", "failed"]:
    """How far a job is."""
    for each in (found.get("status") or {}).get("conditions") or ():
        if each["status"] == "True" and each["type"] in ("Complete", "Failed"):
            return "complete" if each["type"] == "Complete" else "failed"
    return "running"


def result_of(log: str) -> Moved:
    """What the end of a finished job's log says."""
    words = log.strip().rpartition("\n")[2].split()
    return Moved(int(words[1]), int(words[2]))
