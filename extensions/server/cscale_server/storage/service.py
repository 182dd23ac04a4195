"""The parts of storage on one client of the object store. Importing this module imports boto3."""

from __future__ import annotations

from dataclasses import dataclass

from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_server.storage.deletion import Deletion
from cscale_server.storage.places import Places
from cscale_server.storage.uploads import Uploads


@dataclass(frozen=True)
class Storage:
    """What the routes of storage stand on."""

    places: Places
    deletion: Deletion
    uploads: Uploads


def open_storage(site: Site) -> Storage:
    """The storage of one user's server."""
    store = ObjectStore(site)
    return Storage(Places(site, store), Deletion(site, store), Uploads(site, store))
