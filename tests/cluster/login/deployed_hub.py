"""The hub of a release as a deployment runs it: a pod of its image, an account, a service, Secrets.

What the zero-to-jupyterhub chart makes of values is written down here in the least that does it.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.node import ADDRESS
from tests.cluster.spawn.running_hub import HUB_RULES, volume

NAMESPACE = "cscale-test-login"
HUB_ADDRESS = "10.96.200.10"
HUB, PROXY, STORE = (f"{name}.{NAMESPACE}.svc" for name in ("hub", "proxy-public", "s3"))
HUB_IMAGE = "localhost/cscale/hub:test"
SERVER_IMAGE = "localhost/cscale/singleuser-minimal:test"
MOUNT_IMAGE = "localhost/cscale/mount:test"
_RELAY = Path(__file__).with_name("relay.py")
_STATE, _CONFIG, _SECRETS = "/srv/jupyterhub", "/etc/cscale/hub", "/etc/cscale/secrets"
_USER = 1000
# There is no name service in this cluster.
ALIASES = [
    {"ip": ADDRESS, "hostnames": [PROXY, STORE]},
    {"ip": HUB_ADDRESS, "hostnames": [HUB]},
]
_PROGRAM = f"""
from cscale_hub.configure import configure
from cscale_hub.settings import load_settings

# What the chart sets.
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://{HUB}:8081"
c.JupyterHub.db_url = "sqlite:///{_STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "{_STATE}/cookie-secret"
c.ConfigurableHTTPProxy.api_url = "http://{PROXY}:%(proxy_api)d"
c.ConfigurableHTTPProxy.should_start = False
configure(c, load_settings())
c.ClusterSpawner.extra_pod_config = {{"hostAliases": {ALIASES!r}}}
"""
_PEOPLE = {"namespaces": ["mace:egi.eu"], "authorities": ["aai.egi.eu"]}


def vo(name: str) -> dict[str, Any]:
    """A virtual organisation of the provider's demonstration accounts."""
    return {
        "title": name,
        "entitlement": {"group": name, **_PEOPLE},
        "roles": {"member": ["member"], "manager": ["manager"]},
        "profiles": {"member": ["notebook"], "manager": ["notebook"]},
        "bucket": name.split(".", maxsplit=1)[0],
    }


def settings(*, hub: str, issuer: str, store_port: int, proxy_port: int) -> dict[str, Any]:
    """What is in ``cscale.yaml``.

    :param hub: its address in a browser.
    """
    return {
        "profile": "kubernetes",
        "data": f"{_STATE}/cscale",
        "secrets": _SECRETS,
        "hub": {"url": hub, "log_level": "DEBUG"},
        "identity": {"issuer": issuer, "client_secret_file": f"{_SECRETS}/client-secret"},
        "storage": {"endpoint": f"http://{STORE}:{store_port}"},
        "broker": {
            "url": f"http://{PROXY}:{proxy_port}/services/broker",
            "upstream": f"http://{HUB}:8083",
            "token_url": f"{issuer}/protocol/openid-connect/token",
            "role_arn": "arn:aws:iam::role/cscale-researcher",
        },
        "vos": {
            "profiles": {
                "notebook": {
                    "title": "Notebook",
                    "cpu_guarantee": 0.1,
                    "memory": "2Gi",
                    "memory_guarantee": "256Mi",
                    "storage": "sidecar",
                }
            },
            "vos": {name: vo(name) for name in VOS},
        },
        "kubernetes": {
            "image": SERVER_IMAGE,
            "pull_policy": "Never",
            "home": {"kind": "shared", "claim": "homes"},
            "sidecar": {"image": MOUNT_IMAGE},
            "start_timeout": 400,
        },
    }


VOS = ("aquamonitor.c-scale.eu", "waterwatch.c-scale.eu")


def documents(
    settings: dict[str, Any],
    *,
    client_secret: str,
    proxy_token: str,
    proxy_api: int,
    provider_port: int,
    homes: Path,
    state: Path,
) -> list[dict[str, Any]]:
    """Everything of the hub, in the order in which it is made.

    :param provider_port: of the identity provider, on loopback and on the node's address.
    :param homes: folder of the node for homes.
    :param state: folder of the node for what the hub keeps.
    """
    group = "rbac.authorization.k8s.io"
    keys = {
        "auth-state-key": secrets.token_hex(32),
        **{
            name: secrets.token_hex(32)
            for name in ("operator-token", "prometheus-token", "pseudonym-key")
        },
        "client-secret": client_secret,
        "proxy-token": proxy_token,
    }
    account = {"kind": "ServiceAccount", "name": "hub", "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "Role", "name": "hub"}
    files = {
        "cscale.yaml": yaml.safe_dump(settings, sort_keys=False),
        "jupyterhub_config.py": _PROGRAM % {"proxy_api": proxy_api},
        "relay.py": _RELAY.read_text(encoding="utf-8"),
    }
    ports = [{"name": name, "port": port} for name, port in (("hub", 8081), ("broker", 8083))]
    return [
        _object("v1", "ServiceAccount"),
        _object(f"{group}/v1", "Role", rules=HUB_RULES),
        _object(f"{group}/v1", "RoleBinding", roleRef=role, subjects=[account]),
        _object("v1", "Secret", stringData=keys),
        _object("v1", "ConfigMap", data=files),
        *volume("homes", {"hostPath": {"path": str(homes)}}, namespace=NAMESPACE),
        _object(
            "v1",
            "Service",
            spec={"clusterIP": HUB_ADDRESS, "selector": {"component": "hub"}, "ports": ports},
        ),
        _object(
            "apps/v1",
            "Deployment",
            spec={
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"component": "hub"}},
                "template": {
                    "metadata": {"labels": {"component": "hub"}},
                    "spec": _pod(provider_port, state),
                },
            },
        ),
    ]


def _object(api: str, kind: str, **members: Any) -> dict[str, Any]:
    metadata = {"name": "hub", "namespace": NAMESPACE}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **members}


def _pod(provider_port: int, state: Path) -> dict[str, Any]:
    common: dict[str, Any] = {
        "image": HUB_IMAGE,
        "imagePullPolicy": "Never",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    config = {"name": "config", "mountPath": _CONFIG, "readOnly": True}
    token = {"secretKeyRef": {"name": "hub", "key": "proxy-token"}}
    path = f"127.0.0.1:{provider_port}={ADDRESS}:{provider_port}"
    return {
        "serviceAccountName": "hub",
        "hostAliases": ALIASES,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "fsGroup": _USER},
        "containers": [
            {
                **common,
                "name": "hub",
                "args": ["jupyterhub", "--config", f"{_CONFIG}/jupyterhub_config.py"],
                "env": [
                    {"name": "CSCALE_SETTINGS_FILE", "value": f"{_CONFIG}/cscale.yaml"},
                    {"name": "CONFIGPROXY_AUTH_TOKEN", "valueFrom": token},
                ],
                "readinessProbe": {
                    "httpGet": {"path": "/hub/health", "port": 8081},
                    "periodSeconds": 1,
                    "failureThreshold": 300,
                },
                "volumeMounts": [
                    config,
                    {"name": "secrets", "mountPath": _SECRETS, "readOnly": True},
                    {"name": "state", "mountPath": _STATE},
                ],
            },
            {
                **common,
                "name": "provider",
                "args": ["python", f"{_CONFIG}/relay.py", path],
                "volumeMounts": [config],
            },
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "hub"}},
            {"name": "secrets", "secret": {"secretName": "hub", "defaultMode": 0o440}},
            {"name": "state", "hostPath": {"path": str(state)}},
        ],
    }


def hub_pods(listed: dict[str, Any]) -> list[str]:
    """The names of the hub's pods that are not about to end, ready ones."""
    return [
        each["metadata"]["name"]
        for each in listed["items"]
        if "deletionTimestamp" not in each["metadata"]
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in each.get("status", {}).get("conditions", ())
        )
    ]
