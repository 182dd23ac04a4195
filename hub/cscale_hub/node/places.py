"""What a server's pod wants to see of the mounted buckets, as its annotation says it.

The hub writes the annotation and the node's program reads it; a person cannot change pods in the
hub's namespace. Names are checked again all the same, as they become paths of the node.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cscale_hub.places import StorageError, check_bucket, check_prefix

PLACES = "c-scale.eu/places"
"""Annotation with the places; the label of the same name says who shows them."""
OWN = "me"
"""The link to the person's own prefix; too short to be the name of a bucket."""
BUCKETS = "buckets"
SERVERS = "servers"
"""Folders of the node below which whole buckets are mounted, and servers have their trees."""


@dataclass(frozen=True, slots=True)
class Place:
    """One prefix of one bucket."""

    bucket: str
    prefix: str
    writable: bool

    @property
    def path(self) -> str:
        """Where it is below the buckets' folder, and in a server's tree."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that one server sees.

    :ivar link: path in the tree to which the name ``me`` leads; empty: there is none.
    """

    places: tuple[Place, ...]
    link: str = ""

    def text(self) -> str:
        """The annotation's value."""
        places = [[place.path, "rw" if place.writable else "ro"] for place in self.places]
        return json.dumps({"places": places, "me": self.link})

    @classmethod
    def of(cls, text: str) -> Wanted:
        """From the annotation's value.

        :raises StorageError: when it names anything that cannot be a place.
        """
        try:
            document = json.loads(text)
            places = tuple(_place(path, access) for path, access in document["places"])
            link = str(document["me"])
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"the annotation {PLACES} cannot be read: {error}") from error
        if link:
            _place(link, "rw")
        return cls(places, link)


def _place(path: object, access: object) -> Place:
    if not isinstance(path, str) or access not in ("ro", "rw"):
        raise StorageError(f"{path!r} cannot be a place")
    bucket, _, prefix = path.partition("/")
    return Place(check_bucket(bucket), check_prefix(f"{prefix}/" if prefix else ""), access == "rw")
