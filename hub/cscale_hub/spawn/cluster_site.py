"""What a pod reads and its description must not hold: JupyterHub's token and the server's files.

They are in a Secret of the pod, made by :mod:`cscale_hub.spawn.cluster_secret`. The pod's
description can be read by whoever may list pods; it has references only.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cscale_hub.spawn.server_configuration import FILES as CONFIGURATION

FOLDER = "/etc/cscale"
SITE_FILE = "site.yaml"
CONFIGURATION_FOLDER = "jupyter"
"""Below :data:`FOLDER`: where the Jupyter server finds its configuration."""

_FILES = (SITE_FILE, *(f"{CONFIGURATION_FOLDER}/{name}" for name in CONFIGURATION))
_TOKEN = "api-token"  # noqa: S105 - the name of a key
_VOLUME = "site"


def secret_name(pod: str) -> str:
    """A name that no Secret of an earlier pod of the same name has: it may still be going."""
    return f"{pod}-{secrets.token_hex(4)}"


def secret_manifest(
    name: str,
    site: str,
    configuration: Mapping[str, str],
    token: str,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """The Secret; what it holds is never changed.

    :param site: text of the site file.
    :param configuration: text of the server's other files.
    """
    files = {_key(name): text for name, text in configuration.items()}
    data = {SITE_FILE: site, **files, _TOKEN: token}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {"name": name, "labels": dict(labels)},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def _key(path: str) -> str:
    return PurePosixPath(path).name


def volume(secret: str) -> dict[str, Any]:
    """The files as a volume; the token is not in it."""
    items = [{"key": _key(path), "path": path} for path in _FILES]
    return {"name": _VOLUME, "secret": {"secretName": secret, "items": items, "defaultMode": 0o440}}


def mount() -> dict[str, Any]:
    """Where the pod has it."""
    return {"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}


def by_reference(environment: Mapping[str, Any], secret: str, token: str) -> dict[str, Any]:
    """The environment with a reference wherever the token was."""
    reference = {"valueFrom": {"secretKeyRef": {"name": secret, "key": _TOKEN}}}
    return {
        name: {"name": name, **reference} if token and value == token else value
        for name, value in environment.items()
    }
