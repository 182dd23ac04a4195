"""The servers on this node and what each wants to see, as the cluster tells it."""

from __future__ import annotations

import asyncio
from logging import getLogger
from typing import Any

from kubernetes_asyncio import client, watch
from kubernetes_asyncio.client import ApiException

from cscale_hub.node.places import PLACES, Wanted
from cscale_hub.places import StorageError

_log = getLogger(__name__)
_ENDED = ("Succeeded", "Failed")
_WATCH_SECONDS = 300
_PAUSE = 2.0


class Servers:
    """Follows the pods that this node shows places to.

    :param api: ``CoreV1Api``.
    """

    def __init__(self, api: client.CoreV1Api, namespace: str, node: str) -> None:
        self._api = api
        self._namespace = namespace
        self._asked = {
            "label_selector": f"{PLACES}=node",
            "field_selector": f"spec.nodeName={node}",
        }
        self._wanted: dict[str, Wanted] = {}
        self.changed = asyncio.Event()
        self.known = False

    def wanted(self) -> dict[str, Wanted]:
        """What each server wants, by the name of its pod."""
        return dict(self._wanted)

    async def follow(self) -> None:
        """Keep up with the cluster; what is known stays while it does not answer."""
        while True:
            try:
                await self._list_and_watch()
            except (ApiException, OSError, TimeoutError) as error:
                _log.warning("The cluster does not tell which servers are here: %s", error)
                await asyncio.sleep(_PAUSE)

    async def _list_and_watch(self) -> None:
        listed = await self._api.list_namespaced_pod(self._namespace, **self._asked)
        self._wanted = {}
        for pod in listed.items:
            self._note(pod)
        self.known = True
        self.changed.set()
        async with watch.Watch() as watching:
            async for event in watching.stream(
                self._api.list_namespaced_pod,
                self._namespace,
                **self._asked,
                resource_version=listed.metadata.resource_version,
                timeout_seconds=_WATCH_SECONDS,
            ):
                pod = event["object"]
                if event["type"] == "DELETED":
                    self._wanted.pop(pod.metadata.name, None)
                else:
                    self._note(pod)
                self.changed.set()

    def _note(self, pod: Any) -> None:
        name = pod.metadata.name
        if pod.status.phase in _ENDED:
            self._wanted.pop(name, None)
            return
        try:
            self._wanted[name] = Wanted.of((pod.metadata.annotations or {}).get(PLACES, ""))
        except StorageError as error:
            _log.error("%s is shown nothing: %s", name, error)
