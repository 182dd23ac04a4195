"""Users' servers as pods of a Kubernetes cluster, each of a profile the person may have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import default

from cscale_hub.auth.login import entitlements
from cscale_hub.cluster_settings import KubernetesSettings
from cscale_hub.profiles import Offer, Profile, size_bytes
from cscale_hub.sharing.editing import edits_together
from cscale_hub.sharing.servers import SharingSpawner
from cscale_hub.spawn import cluster_site
from cscale_hub.spawn.capacity import Capacity, words
from cscale_hub.spawn.choice import ChoosingSpawner
from cscale_hub.spawn.cluster_buckets import PodBuckets, pod_buckets
from cscale_hub.spawn.cluster_ending import disrupted, ending
from cscale_hub.spawn.cluster_events import Event, PodEventReflector
from cscale_hub.spawn.cluster_home import home_mount, home_volume
from cscale_hub.spawn.cluster_progress import PullTimes, left_out, step, trouble
from cscale_hub.spawn.cluster_secret import POD_LABEL, PodSecrets
from cscale_hub.spawn.cluster_spark import SparkNamespace, server_account
from cscale_hub.spawn.cluster_volumes import Patience
from cscale_hub.spawn.server_configuration import configuration
from cscale_hub.spawn.site import site_document
from cscale_hub.spawn.watched import WatchedSpawner
from cscale_hub.storage import StorageGrant, distinct, grants, outermost, reachable
from cscale_hub.vos import roles_in_groups

LABELS = "c-scale.eu/"
_LOOK_SECONDS = 0.5
# The container's own disk: homes may be on NFS, where SQLite's locks cannot be relied on.
_DOCUMENTS = Path("/tmp")  # noqa: S108 - nobody else is in the container


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


class ServerNotStarted(SpawnException):  # type: ignore[misc]  # JupyterHub is not typed
    """The cluster cannot start this server, and waiting does not help."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, reason=reason, status_code=503)
        self.jupyterhub_message = message


class ClusterSpawner(
    WatchedSpawner,
    SharingSpawner,
    ChoosingSpawner,
    KubeSpawner,  # type: ignore[misc]  # not typed
):
    """One pod per server."""

    extra_labels: dict[str, str]
    buckets: PodBuckets = PodBuckets()
    """What the pod shows of buckets, from its start on."""
    _capacity: ClassVar[Capacity | None] = None
    _pulls: ClassVar[PullTimes] = PullTimes()
    _site_secret = ""
    _left_out: frozenset[str] = frozenset()
    _seen: Mapping[str, Any] | None = None
    ended = ""
    """Why the last server was ended by the cluster, in words for its person; empty: it was not."""

    @property
    def cluster(self) -> KubernetesSettings:
        """The settings of pods."""
        found = self.cscale_settings.kubernetes
        if found is None:
            raise RuntimeError("the settings have no member kubernetes")
        return found

    @default("poll_interval")  # type: ignore[untyped-decorator]
    def _default_poll_interval(self) -> int:
        # It looks at what the watch of pods brought: nobody is asked.
        return 20

    @default("profile_list")  # type: ignore[untyped-decorator]
    def _default_profile_list(self) -> Any:
        return lambda spawner: profile_list(spawner.offered())

    @default("modify_pod_hook")  # type: ignore[untyped-decorator]
    def _default_modify_pod_hook(self) -> Any:
        return lambda spawner, pod: spawner.prepare(pod)

    @default("after_pod_created_hook")  # type: ignore[untyped-decorator]
    def _default_after_pod_created_hook(self) -> Any:
        return lambda spawner, pod: spawner.hand_over(pod)

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

    # -- the pod -------------------------------------------------------------------------------

    def given(self) -> list[StorageGrant]:
        """The places that the person's server shows as folders."""
        roles = roles_in_groups(group.name for group in self.user.groups)
        found = grants(self.cscale_vos.storages(), roles, self.user.name)
        return outermost(distinct(reachable(found, self.offer.vo if self.offer else "")))

    def _runs_spark(self) -> bool:
        spark = self.cscale_settings.spark.kubernetes
        return self.offer is not None and self.offer.profile.spark and spark is not None

    async def get_pod_manifest(self) -> Any:
        """The pod, of what the person may have at this moment."""
        self._site_secret = cluster_site.secret_name(self.pod_name)
        offer, settings = self.offer, self.cscale_settings
        self.buckets = pod_buckets(
            settings,
            self.cluster,
            self.given(),
            self.pod_name,
            vo=offer.vo if offer else "",
            wanted=offer.profile.storage if offer else "default",
            left_out=self._left_out,
        )
        self.volumes = [
            home_volume(self.cluster.home, self.pvc_name),
            cluster_site.volume(self._site_secret),
            *self.buckets.volumes,
        ]
        self.volume_mounts = [
            home_mount(self.cluster.home, self.user.name),
            cluster_site.mount(),
            *self.buckets.mounts,
        ]
        self.init_containers = self.buckets.containers
        self.tolerations = [dict(each) for each in self.cluster.tolerations]
        if offer is not None and offer.profile.gpu:
            # Nodes with such processors are commonly kept free of everything else by this taint.
            self.tolerations.append({"key": offer.profile.gpu_resource, "operator": "Exists"})
        spark = self._runs_spark()
        self.service_account = server_account(self.user.name) if spark else "default"
        self.automount_service_account_token = spark
        return await super().get_pod_manifest()

    def furnished(self, pod: Any) -> Any:
        """The pod with what KubeSpawner would expand or cannot say."""
        pod.metadata.labels.update(self.buckets.labels)
        pod.metadata.annotations.update(self.buckets.annotations)
        pod.spec.enable_service_links = False
        return pod

    def get_env(self) -> dict[str, Any]:
        """The environment: where things are; the hub's token only as a reference."""
        env: dict[str, Any] = super().get_env()
        env.update(self.buckets.environment)
        env["CSCALE_SITE_FILE"] = f"{cluster_site.FOLDER}/{cluster_site.SITE_FILE}"
        env["JUPYTER_CONFIG_PATH"] = f"{cluster_site.FOLDER}/{cluster_site.CONFIGURATION_FOLDER}"
        env["CSCALE_IMAGE"] = self.image
        env["CSCALE_SERVER"] = self.pod_name
        env["CSCALE_POD_IP"] = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        return cluster_site.by_reference(env, self._site_secret, self.api_token)

    async def prepare(self, pod: Any) -> Any:
        """Make the Secret that the pod needs; the pod, as it is to be made."""
        await self._secrets().make(await self._secret_manifest())
        return self.furnished(pod)

    async def hand_over(self, pod: dict[str, Any]) -> None:
        """Let the Secret belong to the pod, which is there now; what earlier starts left goes."""
        await self._secrets().give(self._site_secret, pod["metadata"]["uid"])
        await self._forget_secrets()

    def _secrets(self) -> PodSecrets:
        return PodSecrets(
            self.api,
            self.namespace,
            self.pod_name,
            self.k8s_api_request_timeout,
            self.k8s_api_request_retry_timeout,
        )

    async def _forget_secrets(self) -> None:
        """Remove Secrets that were made for this server and belong to no pod."""
        try:
            await self._secrets().forget_unowned()
        except (ApiException, OSError, TimeoutError) as error:
            self.log.warning(
                "What earlier starts of %s left is removed at its next start: %s",
                self.pod_name,
                str(error) or "no answer",
            )

    async def _secret_manifest(self) -> dict[str, Any]:
        """What the server is told, as a Secret."""
        state = await self.user.get_auth_state() or {}
        vo = self.offer.vo if self.offer else ""
        document = site_document(
            self.cscale_settings,
            self.cscale_vos,
            slug=self.user.name,
            display_name=str(state.get("display_name") or ""),
            roles=roles_in_groups(group.name for group in self.user.groups),
            mount=Path(self.cscale_settings.storage.mount_root),
            mount_mode="given",
            vo=vo,
            entitlements=entitlements(state.get(self.authenticator.user_auth_state_key) or {}),
            unmounted=self.buckets.unmounted,
            shortcuts=self.buckets.shortcuts,
        )
        return cluster_site.secret_manifest(
            self._site_secret,
            yaml.safe_dump(document, sort_keys=False),
            configuration(
                self.cscale_settings,
                together=edits_together(self.cscale_vos, vo),
                documents=_DOCUMENTS,
            ),
            self.api_token,
            {"app.kubernetes.io/part-of": "cscale-hub", POD_LABEL: self.pod_name},
        )

    # -- starting and stopping -----------------------------------------------------------------

    async def _start(self) -> Any:
        """Start the pod; without a bucket that cannot be mounted, rather than not at all.

        :raises ServerNotStarted: when the cluster says that it will not come.
        """
        self._left_out = frozenset()
        self.ended, self._seen = "", None
        if self._runs_spark():
            await self._spark_namespace().ensure()
        try:
            started = await self._start_with_what_can_be_mounted()
        except TimeoutError as error:
            await self._forget_secrets()
            raise ServerNotStarted(
                f"The cluster did not start your server in time: {str(error) or 'no answer'}. Try "
                "again in some minutes; your files are kept.",
                "time",
            ) from error
        except BaseException:
            await self._forget_secrets()
            raise
        self._look()  # its node may go before the next look
        return started

    async def _start_with_what_can_be_mounted(self) -> Any:
        while True:
            starting = asyncio.ensure_future(super()._start())
            watching = asyncio.ensure_future(self._hindrance(starting))
            try:
                buckets = await watching
                if not buckets:
                    return await starting
            finally:
                for task in (watching, starting):
                    task.cancel()
                await asyncio.gather(watching, starting, return_exceptions=True)
            self.log.warning("%s starts without %s", self.pod_name, ", ".join(sorted(buckets)))
            await super().stop(now=True)
            self._left_out |= buckets

    async def _hindrance(self, starting: asyncio.Future[Any]) -> frozenset[str]:
        """Wait until the pod runs, or buckets keep it from running: their names.

        :raises ServerNotStarted: when it will not run.
        """
        patience: Patience | None = None
        while not starting.done():
            await asyncio.wait({starting}, timeout=_LOOK_SECONDS)
            events = self.events
            if found := trouble(events):
                raise ServerNotStarted(found.message, found.reason)
            if patience is None and events:
                patience = Patience(await self._volume_names(), self.cluster.mount_patience)
            if patience and (late := patience.given_up(events, time.monotonic())):
                return late
        return frozenset()

    @property
    def events(self) -> list[Event]:
        """The events of this start's pod, the latest last."""
        if not self.event_reflector:
            return []
        found: list[Event] = self.event_reflector.of(self.pod_name)
        names = [event["metadata"]["uid"] for event in found]
        before = names.index(self._last_event) + 1 if self._last_event in names else 0
        return found[before:]

    async def _start_watching_events(self, replace: bool = False) -> Any:
        return await self._start_reflector(
            kind="events",
            reflector_class=PodEventReflector,
            fields={"involvedObject.kind": "Pod"},
            omit_namespace=self.enable_user_namespaces,
            replace=replace,
        )

    async def _volume_names(self) -> dict[str, str]:
        """The bucket by each name of its volume: in the pod, of its claim, of what is bound."""
        names = dict(self.buckets.claims)
        for volume in self.volumes:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
            bucket = self.buckets.claims.get(volume["name"])
            if not bucket:
                continue
            names[claim] = bucket
            try:
                found = await self.api.read_namespaced_persistent_volume_claim(
                    claim, self.namespace, _request_timeout=self.k8s_api_request_timeout
                )
            except (ApiException, OSError, TimeoutError) as error:
                self.log.warning("The claim %s cannot be read: %s", claim, error)
                continue
            if found.spec.volume_name:
                names[found.spec.volume_name] = bucket
        return names

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What happens, in words for the person who waits; each sentence once.

        Not KubeSpawner's, which counts the events of one pod: a server may begin with a second.
        """
        said: set[str] = set()
        percent, ended = 5, False
        while not ended:
            ended = self._start_future is not None and self._start_future.done()
            found = [step(event, self.image, self._pulls) for event in self.events]
            found += [left_out(bucket) for bucket in sorted(self._left_out)]
            for each in found:
                if each is not None and each.message not in said:
                    said.add(each.message)
                    percent = max(percent, each.percent)
                    yield {"progress": percent, "message": each.message}
            if not ended:
                await asyncio.sleep(_LOOK_SECONDS)

    async def poll(self) -> int | None:
        """Whether it runs; when the cluster ended it, also find out why.

        :returns: None while it runs.
        """
        status: int | None = await super().poll()
        pod = self._look()
        ran = self.server is not None and self.pending in (None, "check")
        if status is not None and ran and not self.ended and disrupted(pod):
            self.ended = ending(self._seen, await self._node())
            self.log.warning("%s: %s", self.pod_name, self.ended)
        return status

    def _look(self) -> Mapping[str, Any] | None:
        """The pod as it is; None where it is no more."""
        pod: Mapping[str, Any] | None = self.pod_reflector.pods.get(
            f"{self.namespace}/{self.pod_name}"
        )
        self._seen = pod or self._seen
        return pod

    async def _node(self) -> dict[str, Any] | None:
        """The node that the server was on, where the hub may look."""
        name = ((self._seen or {}).get("spec") or {}).get("nodeName")
        if not name:
            return None
        try:
            found = await self.api.list_node(
                field_selector=f"metadata.name={name}",
                _request_timeout=self.k8s_api_request_timeout,
            )
        except (ApiException, OSError, TimeoutError) as error:
            self.log.info("The cluster does not tell how %s is: %s", name, error)
            return None
        known = [each.to_dict(serialize=True) for each in found.items]
        return known[0] if known else None

    def get_state(self) -> dict[str, Any]:
        """What the hub remembers of it, across its own restarts."""
        state: dict[str, Any] = super().get_state()
        return {**state, "ended": self.ended} if self.ended else state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what the hub remembers."""
        super().load_state(state)
        self.ended = str(state.get("ended") or "")

    async def stop(self, now: bool = False) -> None:
        """Stop the pod, and what its Spark sessions left."""
        await super().stop(now=now)
        if self._runs_spark_after_restart():
            await self._spark_namespace().forget_sessions(self.pod_name)

    def _runs_spark_after_restart(self) -> bool:
        """Whether this server could have sessions, also when another hub started it."""
        name = str((self.user_options or {}).get("profile") or "")
        profile = self.cscale_vos.profiles.get(name)
        return bool(profile and profile.spark and self.cscale_settings.spark.kubernetes)

    def _spark_namespace(self) -> SparkNamespace:
        settings = self.cscale_settings.spark.kubernetes
        if settings is None:
            raise RuntimeError("the settings have no Spark on Kubernetes")
        return SparkNamespace(self.api, settings, self.user.name, self.namespace)

    async def available(self, profile: Profile) -> str:
        """How many servers of this size the cluster has room for; empty where it does not tell."""
        if ClusterSpawner._capacity is None:
            ClusterSpawner._capacity = Capacity(self.api)
        try:
            return words(await ClusterSpawner._capacity.room(profile))
        except (ApiException, OSError, TimeoutError) as error:
            self.log.info("The cluster does not tell what is free: %s", error)
            return ""
