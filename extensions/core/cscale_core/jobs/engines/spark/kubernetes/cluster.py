"""The acts on one namespace that a job needs: applications, their Secret, pods, events and logs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from cscale_core.errors import NotFound
from cscale_core.jobs.engines.spark.kubernetes.client import Kubernetes
from cscale_core.jobs.engines.spark.kubernetes.states import (
    APP_LABEL,
    GROUP,
    PLURAL,
    USER_LABEL,
    VERSION,
    Application,
)

#: Applications of one answer to a list.
PAGE = 500
#: Seconds after which the cluster ends a watch, and another one is begun.
WATCH_SECONDS = 60


class Cluster:
    """One namespace, as one user sees it."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, user: str) -> None:
        self._kubernetes = kubernetes
        self.namespace = namespace
        self._mine = ("labelSelector", f"{USER_LABEL}={user}")
        space = f"namespaces/{quote(namespace, safe='')}"
        self._core = f"/api/v1/{space}"
        self._applications = f"/apis/{GROUP}/{VERSION}/{space}/{PLURAL}"

    async def close(self) -> None:
        await self._kubernetes.close()

    async def version(self) -> str:
        """Of Kubernetes; also says whether applications can be listed.

        :raises CScaleError: when they cannot.
        """
        await self._kubernetes.request(
            "GET", self._applications, "Looking for the Spark operator", query=[("limit", 1)]
        )
        told = await self._kubernetes.request("GET", "/version", "Asking for the version")
        return str(told.get("gitVersion", ""))

    # -- applications --------------------------------------------------------------------------

    async def create(self, manifest: dict[str, Any]) -> Application:
        body = await self._kubernetes.request(
            "POST", self._applications, "Submitting the application", body=manifest
        )
        return Application.of(body)

    async def get(self, name: str) -> Application:
        body = await self._kubernetes.request(
            "GET", f"{self._applications}/{quote(name, safe='')}", "Looking for the application"
        )
        return Application.of(body)

    async def delete(self, name: str) -> None:
        """Delete an application and its pods; its Secret goes with it. One that is gone is fine.

        The pods belong to the application only since the operator's version 2.4 (its change 2670).
        """
        background = ("propagationPolicy", "Background")
        with contextlib.suppress(NotFound):
            await self._kubernetes.request(
                "DELETE",
                f"{self._applications}/{quote(name, safe='')}",
                "Deleting the application",
                query=[background],
            )
        await self._kubernetes.request(
            "DELETE",
            f"{self._core}/pods",
            "Deleting the pods",
            query=[("labelSelector", f"{APP_LABEL}={name}"), background],
        )

    async def applications(self) -> tuple[dict[str, Application], str]:
        """All applications of the user, and the version to watch from.

        :raises Expired: when it changed too much while it was read.
        """
        found: dict[str, Application] = {}
        rest = ""
        while True:
            query: list[tuple[str, Any]] = [self._mine, ("limit", PAGE)]
            if rest:
                query.append(("continue", rest))
            body = await self._kubernetes.request(
                "GET", self._applications, "Listing the applications", query=query
            )
            for item in body.get("items") or ():
                application = Application.of(item)
                found[application.name] = application
            metadata = body.get("metadata") or {}
            rest = str(metadata.get("continue") or "")
            if not rest:
                return found, str(metadata.get("resourceVersion", ""))

    def watch(self, version: str) -> AsyncIterator[dict[str, Any]]:
        """What happens to the user's applications after a version."""
        return self._kubernetes.stream(
            self._applications,
            "Watching the applications",
            query=[
                self._mine,
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("resourceVersion", version),
                ("timeoutSeconds", WATCH_SECONDS),
            ],
        )

    # -- the Secret ----------------------------------------------------------------------------

    async def create_secret(self, manifest: dict[str, Any]) -> str:
        """Make a Secret; its uid."""
        body = await self._kubernetes.request(
            "POST", f"{self._core}/secrets", "Handing over the parameters", body=manifest
        )
        return str(body["metadata"]["uid"])

    async def secret_owner(self, name: str) -> str:
        """Uid of the application that a Secret belongs to."""
        body = await self._kubernetes.request(
            "GET", f"{self._core}/secrets/{quote(name, safe='')}", "Looking for the parameters"
        )
        owners = (body.get("metadata") or {}).get("ownerReferences") or [{}]
        return str(owners[0].get("uid", ""))

    async def patch_secret(self, name: str, data: dict[str, str]) -> None:
        await self._kubernetes.request(
            "PATCH",
            f"{self._core}/secrets/{quote(name, safe='')}",
            "Renewing the credentials",
            body={"data": data},
        )

    async def delete_secret(self, name: str) -> None:
        try:
            await self._kubernetes.request(
                "DELETE", f"{self._core}/secrets/{quote(name, safe='')}", "Removing old parameters"
            )
        except NotFound:
            return

    # -- pods ----------------------------------------------------------------------------------

    async def pods(self, name: str) -> list[dict[str, Any]]:
        """The driver and executors of an application."""
        body = await self._kubernetes.request(
            "GET",
            f"{self._core}/pods",
            "Looking at the pods",
            query=[("labelSelector", f"{APP_LABEL}={name}"), ("limit", PAGE)],
        )
        return list(body.get("items") or ())

    async def events(self, name: str) -> list[dict[str, Any]]:
        """What the cluster tells of a pod or an application, the latest last."""
        body = await self._kubernetes.request(
            "GET",
            f"{self._core}/events",
            "Reading the events",
            query=[("fieldSelector", f"involvedObject.name={name}"), ("limit", 100)],
        )

        def moment(event: dict[str, Any]) -> str:
            return str(event.get("lastTimestamp") or event.get("eventTime") or "")

        return sorted(body.get("items") or (), key=moment)

    async def log(self, pod: str, container: str, since: str, limit: int) -> bytes:
        """The log of a container, each line with its time.

        :param since: RFC 3339 time, or empty; the cluster takes whole seconds.
        :param limit: bytes, at most.
        """
        query: list[tuple[str, Any]] = [
            ("container", container),
            ("timestamps", "true"),
            ("limitBytes", limit),
        ]
        if since:
            query.append(("sinceTime", since))
        path = f"{self._core}/pods/{quote(pod, safe='')}/log"
        return await self._kubernetes.text(path, "Reading the log", query=query)

    async def monitoring(self, application: Application, path: str) -> Any:
        """Spark's monitoring of a running application, through the API server."""
        if application.ui_service:
            where = f"services/{quote(application.ui_service, safe='')}:{application.ui_port}"
        else:
            where = f"pods/{quote(application.driver_pod, safe='')}:{application.ui_port}"
        return await self._kubernetes.request(
            "GET", f"{self._core}/{where}/proxy/api/v1{path}", "Asking Spark's monitoring"
        )
