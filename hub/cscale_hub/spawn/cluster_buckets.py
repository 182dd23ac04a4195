"""The buckets in one pod: what is mounted where, in which mode, with nothing of anybody else.

Every mode shows the same tree, ``/s3/<bucket>/<prefix>``, and in it only the person's places.

* ``node``: the pod takes a plain folder of its node that is its own. A program of the node
  (:mod:`cscale_hub.node`) binds the pod's places below it, from mounts of the whole buckets, and
  binds them anew when a bucket was mounted anew; the change reaches the running pod
  (``HostToContainer``). A ``subPath`` of the mounted bucket would keep the dead mount for ever, and
  the kubelet would hang where the store hangs.
* ``csi``: each place is a ``subPath`` of the claim of its bucket.
* ``sidecar``: :mod:`cscale_hub.spawn.cluster_sidecar`.
* ``none``: nothing; programs use S3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cscale_hub.cluster_settings import BUCKET, BucketMode, KubernetesSettings
from cscale_hub.node.places import OWN, PLACES, SERVERS, Place, Wanted
from cscale_hub.settings import Settings
from cscale_hub.spawn.cluster_sidecar import Sidecars, sidecars
from cscale_hub.storage import StorageGrant

_NODE_VOLUME = "places"
_CLUSTER_MODES: tuple[BucketMode, ...] = ("node", "csi", "sidecar", "none")


@dataclass(frozen=True)
class PodBuckets:
    """The parts of a pod that show buckets, and what its site file says of them.

    :ivar claims: volumes without which the pod can start, each with its bucket.
    """

    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    unmounted: frozenset[str] = frozenset()
    shortcuts: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)


def mode_of(settings: KubernetesSettings, bucket: str, wanted: str = "default") -> BucketMode:
    """How a server sees a bucket.

    :param wanted: what the profile says; a mode of one machine means nothing here.
    """
    usual = settings.bucket_settings(bucket).mode
    if wanted not in _CLUSTER_MODES or usual == "none":
        return usual
    return next(mode for mode in _CLUSTER_MODES if mode == wanted)


def pod_buckets(
    settings: Settings,
    cluster: KubernetesSettings,
    given: Sequence[StorageGrant],
    pod: str,
    *,
    vo: str,
    wanted: str = "default",
    left_out: Iterable[str] = (),
) -> PodBuckets:
    """What a pod needs for the grants of its person.

    :param given: grants of which none lies in another.
    :param vo: whose prefix is shown as the person's own, at ``/s3/me``.
    :param wanted: mode that the profile asks for.
    :param left_out: buckets that could not be mounted just now.
    """
    root = settings.storage.mount_root
    skipped = frozenset(left_out)
    modes = {
        grant.bucket: "none" if grant.bucket in skipped else mode_of(cluster, grant.bucket, wanted)
        for grant in given
    }
    own = next((grant for grant in given if grant.purpose == "home" and grant.vo == vo), None)
    shortcuts = {
        cluster.bucket_settings(name).shortcut: name
        for name, mode in modes.items()
        if mode != "none" and cluster.bucket_settings(name).shortcut
    }
    if own is not None and modes[own.bucket] != "none":
        shortcuts[f"{root}/{OWN}"] = f"{own.bucket}/{own.prefix.strip('/')}"
    else:
        own = None
    found = PodBuckets(
        unmounted=frozenset(name for name, mode in modes.items() if mode == "none"),
        shortcuts=shortcuts,
    )
    of_mode = {
        mode: [grant for grant in given if modes[grant.bucket] == mode] for mode in _CLUSTER_MODES
    }
    link = f"{own.bucket}/{own.prefix}".rstrip("/") if own is not None else ""
    if of_mode["node"]:
        _add_node(found, cluster, of_mode["node"], pod, link, root)
    if of_mode["sidecar"]:
        _add_sidecars(
            found,
            sidecars(settings, cluster, of_mode["sidecar"], link),
            root,
            bool(of_mode["node"]),
        )
    _add_claims(found, cluster, of_mode["csi"], root)
    if own is not None and not of_mode["node"] and not of_mode["sidecar"]:
        # Nobody makes links here.
        found.mounts.append(_claim_mount(_claim_volume(own.bucket), f"{root}/{OWN}", own))
    return found


def _add_node(
    found: PodBuckets,
    cluster: KubernetesSettings,
    given: Sequence[StorageGrant],
    pod: str,
    link: str,
    root: str,
) -> None:
    folder = f"{cluster.node_folder}/{SERVERS}/{pod}"
    found.volumes.append(
        {"name": _NODE_VOLUME, "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}
    )
    found.mounts.append(
        {"name": _NODE_VOLUME, "mountPath": root, "mountPropagation": "HostToContainer"}
    )
    places = [Place(grant.bucket, grant.prefix, grant.access == "rw") for grant in given]
    found.annotations[PLACES] = Wanted(tuple(places), link).text()
    found.labels[PLACES] = "node"


def _add_sidecars(found: PodBuckets, beside: Sidecars, root: str, below_node: bool) -> None:
    found.volumes.extend(beside.volumes)
    found.environment.update(beside.environment)
    found.containers.update(beside.containers)
    found.mounts.append(beside.keys)
    seen = {"name": beside.tree, "mountPropagation": "HostToContainer"}
    if below_node:
        found.mounts.extend(
            {**seen, "mountPath": f"{root}/{bucket}", "subPath": bucket}
            for bucket in beside.buckets
        )
    else:
        found.mounts.append({**seen, "mountPath": root})


def _add_claims(
    found: PodBuckets, cluster: KubernetesSettings, given: Sequence[StorageGrant], root: str
) -> None:
    for bucket in dict.fromkeys(grant.bucket for grant in given):
        claim = cluster.bucket_settings(bucket).claim.replace(BUCKET, bucket)
        some = [grant for grant in given if grant.bucket == bucket]
        volume = _claim_volume(bucket)
        found.claims[volume] = bucket
        source: dict[str, Any] = {"claimName": claim}
        if all(grant.access == "ro" for grant in some):
            source["readOnly"] = True
        found.volumes.append({"name": volume, "persistentVolumeClaim": source})
        for grant in some:
            found.mounts.append(_claim_mount(volume, f"{root}/{bucket}/{grant.prefix}", grant))


def _claim_volume(bucket: str) -> str:
    return f"bucket-{bucket}"[:63].rstrip("-")


def _claim_mount(volume: str, path: str, grant: StorageGrant) -> dict[str, Any]:
    body: dict[str, Any] = {"name": volume, "mountPath": path.rstrip("/")}
    if grant.prefix:
        body["subPath"] = grant.prefix.rstrip("/")
    if grant.access == "ro":
        body["readOnly"] = True
    return body
