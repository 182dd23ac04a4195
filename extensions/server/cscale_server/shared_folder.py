"""The folder ``~/shared``: what each VO's members show each other, under the VO's name.

In the file browser it is read from the object store, as the buckets are. For kernels and terminals
there are links in it that lead to the mounted bucket. A folder of that name that is the user's own
is left alone; the same is below ``s3/`` too.
"""

from __future__ import annotations

from pathlib import Path

from cscale_core.notebooks.places import SHARED as PREFIX
from cscale_core.notebooks.places import shared_places
from cscale_core.site import Site

NAME = "shared"
"""Of the folder, below the home folder and below the root of the file browser."""


def is_ours(home: Path, site: Site) -> bool:
    """Whether there is no such folder, or nothing in it but links that were made here."""
    folder = home / NAME
    if folder.is_symlink():
        return False
    try:
        # Read, never followed: a mount behind a link may hang.
        return all(_leads_to_mount(entry, site) for entry in folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def make_links(home: Path, site: Site) -> None:
    """Link the shared part of each VO's mounted bucket, and drop links of VOs that were left.

    :raises OSError: when the home folder cannot be written.
    """
    if not is_ours(home, site):
        return
    folder = home / NAME
    wanted = {
        vo: Path(site.mount) / place.bucket / PREFIX.strip("/")
        for vo, place in shared_places(site).items()
    }
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.name not in wanted or entry.readlink() != wanted[entry.name]:
            entry.unlink()
    if wanted:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for vo, target in wanted.items():
        link = folder / vo
        if not link.is_symlink():
            link.symlink_to(target)


def _leads_to_mount(entry: Path, site: Site) -> bool:
    return entry.is_symlink() and Path(site.mount) in entry.readlink().parents
