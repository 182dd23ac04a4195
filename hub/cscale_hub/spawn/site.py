"""The site file of one user's server, as plain data.

It is read by :class:`cscale_core.site.Site`; the hub does not import that model (it stays in the
user's world), a test validates what is built here with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cscale_hub.settings import Settings
from cscale_hub.storage import VOStorage, grants
from cscale_hub.vos import VOFile

COMMUNITY_PROVIDER = "catalogue"


def site_document(
    settings: Settings,
    vos: VOFile,
    *,
    slug: str,
    display_name: str,
    roles: Mapping[str, Collection[str]],
    mount: Path,
    mount_mode: str,
) -> dict[str, Any]:
    """Everything a user's server has to know; nothing in it is secret.

    :param roles: the roles the user holds in each VO.
    :param mount: where this user's server has its mounts.
    """
    storages = [VOStorage(name, vo.bucket) for name, vo in vos.vos.items()]
    given = grants(storages, roles, slug)
    community = {
        "id": COMMUNITY_PROVIDER,
        "title": settings.catalogue.title,
        "url": settings.catalogue.url,
    }
    return {
        "user": slug,
        "display_name": display_name,
        "vos": sorted({grant.vo for grant in given}),
        "s3": {"endpoint": settings.storage.endpoint, "region": settings.storage.region},
        "mount_root": settings.storage.mount_root,
        "mount": str(mount),
        "mount_mode": mount_mode,
        "grants": [grant.site_grant() for grant in given],
        "catalogue": {"url": settings.catalogue.url},
        "providers": [community, *(provider.model_dump() for provider in settings.providers)],
        "openeo": [backend.model_dump() for backend in settings.offered_backends],
        "spark": settings.spark.model_dump(),
        "slurm": [cluster.model_dump() for cluster in settings.slurm],
        "broker_url": settings.broker.url,
        "allowed_hosts": list(settings.allowed_hosts),
    }
