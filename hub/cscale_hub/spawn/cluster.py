"""Users' servers as pods of a Kubernetes cluster, each of a profile the person may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import default

from cscale_hub.profiles import Offer, Profile, size_bytes
from cscale_hub.sharing.servers import SharingSpawner
from cscale_hub.spawn.capacity import Capacity, words
from cscale_hub.spawn.choice import ChoosingSpawner
from cscale_hub.spawn.watched import WatchedSpawner

LABELS = "c-scale.eu/"


def profile_list(offered: Sequence[Offer]) -> list[dict[str, Any]]:
    """``KubeSpawner.profile_list`` for what one person may have; each profile once."""
    profiles = {offer.name: offer.profile for offer in offered}
    return [
        {
            "slug": name,
            "display_name": profile.title,
            "description": profile.purpose,
            "default": number == 0,
            "kubespawner_override": override(profile),
        }
        for number, (name, profile) in enumerate(profiles.items())
    ]


def override(profile: Profile) -> dict[str, Any]:
    """What a profile sets of a pod beside its limits; what it leaves open stays as configured."""
    gpus = {profile.gpu_resource: str(profile.gpu)} if profile.gpu else {}
    wanted = {
        "image": profile.image,
        "node_selector": profile.node_selector,
        "extra_resource_limits": gpus,
        "extra_resource_guarantees": gpus,
    }
    return {name: value for name, value in wanted.items() if value}


class ClusterSpawner(
    WatchedSpawner,
    SharingSpawner,
    ChoosingSpawner,
    KubeSpawner,  # type: ignore[misc]  # not typed
):
    """One pod per server."""

    extra_labels: dict[str, str]
    _capacity: ClassVar[Capacity | None] = None

    @default("profile_list")  # type: ignore[untyped-decorator]
    def _default_profile_list(self) -> Any:
        return lambda spawner: profile_list(spawner.offered())

    def hold_to(self, profile: Profile) -> None:
        """Limits, labels by which network policies and accounting know the VO, the home's size."""
        super().hold_to(profile)
        if self.offer is not None:
            names = {"vo": self.offer.vo, "profile": self.offer.name}
            self.extra_labels = {
                **self.extra_labels,
                **{f"{LABELS}{key}": name for key, name in names.items()},
            }
        quotas = (self.cscale_vos.vos[offer.vo].quota.home for offer in self.offered())
        sizes = [size for size in quotas if size]
        if sizes:
            self.storage_capacity = max(sizes, key=size_bytes)

    async def available(self, profile: Profile) -> str:
        """How many servers of this size the cluster has room for; empty where it does not tell."""
        if ClusterSpawner._capacity is None:
            ClusterSpawner._capacity = Capacity(self.api)
        try:
            return words(await ClusterSpawner._capacity.room(profile))
        except (ApiException, OSError, TimeoutError) as error:
            self.log.info("The cluster does not tell what is free: %s", error)
            return ""
