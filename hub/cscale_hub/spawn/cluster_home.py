"""The home folder of a pod: a claim of the person's own, or a folder in a volume of all."""

from __future__ import annotations

from typing import Any

from cscale_hub.cluster_settings import HomeSettings
from cscale_hub.places import USER, check_slug

PATH = "/home/jovyan"
_VOLUME = "home"


def home_volume(home: HomeSettings, claim: str) -> dict[str, Any]:
    """The volume.

    :param claim: the name of the person's own claim, where homes are claims.
    """
    name = home.claim if home.kind == "shared" else claim
    return {"name": _VOLUME, "persistentVolumeClaim": {"claimName": name}}


def home_mount(home: HomeSettings, slug: str) -> dict[str, Any]:
    """Where the pod has it.

    :raises StorageError: when the slug cannot be the name of a folder.
    """
    body = {"name": _VOLUME, "mountPath": PATH}
    if home.kind == "shared":
        body["subPath"] = home.sub_path.replace(USER, check_slug(slug))
    return body
