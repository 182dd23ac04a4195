"""Spark for the server of one person: an account, and a namespace in which it may run things.

A server gets a token of the cluster only where its profile says so. The token may make Spark
applications, and pods for sessions, in the one namespace of its person, and nothing anywhere else.
What the accounts may do is in cluster roles that the operator makes
(``helm-values/cscale/spark``); the hub may bind exactly those and cannot give more than they hold.
"""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio.client import ApiException, AuthenticationV1Api, RbacAuthorizationV1Api

from cscale_core.clusters import SparkKubernetes
from cscale_hub.places import USER, check_slug

SERVER_LABEL = "c-scale.eu/server"
"""On the Secrets of sessions: the pod of the server that began them; with them go their pods."""
SERVER_ROLE = "cscale-spark-server"
DRIVER_ROLE = "cscale-spark-driver"
SESSIONS_ROLE = "cscale-spark-sessions"
_PART_OF = {"app.kubernetes.io/part-of": "cscale-hub"}
_CONFLICT = 409


def server_account(slug: str) -> str:
    """The account of a person's servers, in the hub's namespace."""
    return f"server-{check_slug(slug)}"


def namespace_of(settings: SparkKubernetes, slug: str) -> str:
    """Where the person's Spark runs."""
    return settings.namespace.replace(USER, check_slug(slug))


def person_objects(
    settings: SparkKubernetes, slug: str, servers: str, hub: str
) -> list[dict[str, Any]]:
    """What one person needs, in the order in which it is made.

    :param servers: the namespace of the servers.
    :param hub: the hub's user name in the cluster.
    """
    space = namespace_of(settings, slug)
    account = {"kind": "ServiceAccount", "name": server_account(slug), "namespace": servers}
    driver = {"kind": "ServiceAccount", "name": settings.service_account, "namespace": space}
    person = {"kind": "User", "name": hub, "apiGroup": "rbac.authorization.k8s.io"}
    restricted = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    found = [
        _object("v1", "Namespace", space, "", labels=restricted),
        # Its token is mounted only where the pod says so.
        _account(server_account(slug), servers, automount=False),
        _account(settings.service_account, space, automount=True),
    ]
    for role, subject in (
        (SERVER_ROLE, account),
        (DRIVER_ROLE, driver),
        (SESSIONS_ROLE, person),
    ):
        found.append(_binding(f"{role}-{slug}", space, role, subject))
    return found


class SparkNamespace:
    """The same in the cluster.

    :param api: ``CoreV1Api`` of the hub.
    :param servers: the namespace of the servers.
    """

    def __init__(self, api: Any, settings: SparkKubernetes, slug: str, servers: str) -> None:
        self._api = api
        self._settings = settings
        self._slug = slug
        self._servers = servers

    async def ensure(self) -> None:
        """Make what is not there.

        :raises kubernetes_asyncio.client.ApiException: when the hub may not.
        """
        hub = await AuthenticationV1Api(self._api.api_client).create_self_subject_review({})
        roles = RbacAuthorizationV1Api(self._api.api_client)
        for body in person_objects(
            self._settings, self._slug, self._servers, hub.status.user_info.username
        ):
            space = body["metadata"].get("namespace", "")
            try:
                if body["kind"] == "Namespace":
                    await self._api.create_namespace(body)
                elif body["kind"] == "ServiceAccount":
                    await self._api.create_namespaced_service_account(space, body)
                else:
                    await roles.create_namespaced_role_binding(space, body)
            except ApiException as error:
                if error.status != _CONFLICT:
                    raise

    async def forget_sessions(self, server: str) -> None:
        """Remove what a server's sessions left; their pods belong to it and go too.

        :raises kubernetes_asyncio.client.ApiException: when the cluster refuses.
        """
        await self._api.delete_collection_namespaced_secret(
            namespace_of(self._settings, self._slug), label_selector=f"{SERVER_LABEL}={server}"
        )


def _object(
    version: str, kind: str, name: str, namespace: str, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {**_PART_OF, **(labels or {})}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _account(name: str, namespace: str, *, automount: bool) -> dict[str, Any]:
    body = _object("v1", "ServiceAccount", name, namespace)
    return {**body, "automountServiceAccountToken": automount}


def _binding(name: str, namespace: str, role: str, subject: dict[str, Any]) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        **_object(f"{group}/v1", "RoleBinding", name, namespace),
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
