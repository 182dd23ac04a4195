"""The site file of one user's server, as plain data.

It is read by :class:`cscale_core.site.Site`; the hub does not import that model (it stays in the
user's world), a test validates what is built here with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from cscale_hub.settings import COMMUNITY_PROVIDER, Settings
from cscale_hub.storage import distinct, grants, reachable
from cscale_hub.vo_model import VOFile


def searched(settings: Settings) -> list[dict[str, Any]]:
    """What is searched, the nearest first: the community's catalogue, providers, archives."""
    community = {
        "id": COMMUNITY_PROVIDER,
        "title": settings.catalogue.title,
        "url": settings.catalogue.url,
    }
    others = (
        each.model_dump(mode="json", exclude_defaults=True) for each in settings.all_providers
    )
    return [community, *others]


def registry(settings: Settings) -> dict[str, Any] | None:
    """Where further providers are read from."""
    found = settings.site_registry
    return None if found is None else found.model_dump(mode="json")


def site_document(
    settings: Settings,
    vos: VOFile,
    *,
    slug: str,
    display_name: str,
    roles: Mapping[str, Collection[str]],
    mount: Path,
    mount_mode: str,
    vo: str = "",
    entitlements: Iterable[str] = (),
    unmounted: Collection[str] = (),
    shortcuts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything a user's server has to know; nothing in it is secret.

    :param roles: the roles the user holds in each VO.
    :param vo: the VO the server is for.
    :param mount: where this user's server has its mounts.
    :param entitlements: what the identity provider said of the user, for the
        providers' policies; they grant nothing by themselves.
    :param unmounted: buckets that are not mounted, where others are.
    :param shortcuts: other paths into the mount, with bucket and prefix.
    """
    given = reachable(grants(vos.storages(), roles, slug), vo)
    hosts = vos.vos[vo].egress.hosts if vo in vos.vos else ()
    return {
        "user": slug,
        "display_name": display_name,
        "vos": sorted({grant.vo for grant in given}),
        "s3": {"endpoint": settings.storage.endpoint, "region": settings.storage.region},
        "mount_root": settings.storage.mount_root,
        "mount": str(mount),
        "mount_mode": mount_mode,
        "unmounted": sorted(unmounted),
        "shortcuts": dict(shortcuts or {}),
        "grants": [grant.site_grant() for grant in distinct(given)],
        "catalogue": {"url": settings.catalogue.url},
        "providers": searched(settings),
        "site_registry": registry(settings),
        "entitlements": sorted(set(entitlements)),
        "openeo": [backend.model_dump() for backend in settings.offered_backends],
        "spark": settings.spark.model_dump(),
        "slurm": [cluster.model_dump() for cluster in settings.slurm],
        "broker_url": settings.broker.url,
        "allowed_hosts": [*settings.allowed_hosts, *hosts],
    }
