"""The Secret of a server in the cluster: there before its pod, then the pod's, never left behind.

A pod that is there before its Secret fails to start, is tried again, and its person is warned of
it. So the Secret is made first. It can belong to the pod only when that is there; from then on the
cluster removes it after the pod, whoever ends it. What a start left that came to nothing, or a hub
that died in between, belongs to nobody and is found by its label.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jupyterhub.utils import exponential_backoff
from kubernetes_asyncio.client import ApiException

POD_LABEL = "c-scale.eu/pod"
"""On the Secret: the name of the pod that it is made for."""
_NOT_FOUND, _CONFLICT = 404, 409


def owner(pod: str, uid: str) -> dict[str, Any]:
    """The reference to a pod by which the cluster removes what belongs to it."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid, "controller": True}


class PodSecrets:
    """The Secrets made for the pods of one name.

    :param api: ``CoreV1Api``.
    :param seconds: that the cluster may take for an answer.
    :param patience: seconds for which it is asked again what it did not answer.
    """

    def __init__(
        self, api: Any, namespace: str, pod: str, seconds: float, patience: float = 0
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self._limit = {"_request_timeout": seconds}
        self._patience = patience

    async def make(self, manifest: Mapping[str, Any]) -> None:
        """Make one, before its pod.

        :raises kubernetes_asyncio.client.ApiException: when the cluster refuses it.
        :raises TimeoutError: when the cluster does not answer.
        """

        async def ask() -> None:
            try:
                await self._api.create_namespaced_secret(self._namespace, manifest, **self._limit)
            except ApiException as error:
                # No other has its name: it was made by a question whose answer did not come.
                if error.status != _CONFLICT:
                    raise

        await self._answered(ask)

    async def give(self, name: str, uid: str) -> None:
        """Let it belong to its pod.

        :param uid: of the pod.
        :raises kubernetes_asyncio.client.ApiException: when the cluster refuses it.
        :raises TimeoutError: when the cluster does not answer.
        """
        body = {"metadata": {"ownerReferences": [owner(self._pod, uid)]}}
        await self._answered(
            lambda: self._api.patch_namespaced_secret(name, self._namespace, body, **self._limit)
        )

    async def _answered(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Ask until there is an answer."""

        async def once() -> bool:
            try:
                await ask()
            except TimeoutError:
                return False
            return True

        await exponential_backoff(
            once,
            f"the cluster did not answer about the Secret of {self._pod}",
            timeout=self._patience,
        )

    async def forget_unowned(self) -> None:
        """Remove those that belong to no pod.

        :raises kubernetes_asyncio.client.ApiException: when the cluster refuses it.
        """
        found = await self._api.list_namespaced_secret(
            self._namespace, label_selector=f"{POD_LABEL}={self._pod}", **self._limit
        )
        for each in found.items:
            if each.metadata.owner_references:
                continue
            try:
                await self._api.delete_namespaced_secret(
                    each.metadata.name, self._namespace, **self._limit
                )
            except ApiException as error:
                if error.status != _NOT_FOUND:
                    raise
