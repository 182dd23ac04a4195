"""Where the storage of a virtual organisation is: buckets, prefixes, and who may do what there.

One bucket is the VO's own and has a fixed layout, which the openEO service and the tools of the
user's server rely on:

* ``products/…`` is the VO's: by default members read, add and replace, managers also delete;
* ``users/<slug>/…`` is one member's: read, write, delete; nothing for anybody else;
* ``shared/…`` is what members show each other: read by the roles that may, and written by curators;
  below it ``shared/published/<slug>/…`` is written by one member too (the rule of shared notebooks,
  :func:`shared_places`; :mod:`cscale_core.notebooks` keeps published notebooks there).

Further places are prefixes of this or of other buckets. ``{user}`` in a prefix is always the slug.

Names are checked against closed alphabets before they enter a policy: ``*``, ``?`` and ``${`` in a
resource or in a ``StringLike`` condition are wildcards and variables, not text
(IAM User Guide, "Resource" and "Policy variables").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

MEMBER = "member"
MANAGER = "manager"
PRODUCTS = "products/"
HOMES = "users/{user}/"
USER = "{user}"
SHARED = "shared/"
PUBLISHED = f"{SHARED}published/{USER}/"

# S3 naming rules for general purpose buckets, without dots (they break TLS wildcard names).
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
# What cscale_core.identity.slug.user_slug makes, and nothing a policy could read as a wildcard.
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,62}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,126}", re.ASCII)

Level = Literal["ro", "rw", "rwd"]
"""``ro``: list and read; ``rw``: add and replace too; ``rwd``: delete too."""
Purpose = Literal["products", "home", "shared", "archive"]
_LEVELS: tuple[Level, ...] = ("ro", "rw", "rwd")


class StorageError(ValueError):
    """A name that may not enter a policy, or a layout that is not safe; the message says which."""


def check_bucket(name: str) -> str:
    """The bucket name, if it may enter a policy.

    :raises StorageError: when it is not lower-case letters, digits and inner hyphens, 3 to 63.
    """
    if not _BUCKET.fullmatch(name):
        raise StorageError(f"{name!r} cannot be the name of a bucket")
    return name


def check_slug(slug: str) -> str:
    """The user's slug, if it may enter a policy.

    :raises StorageError: when it is not lower-case letters, digits and hyphens.
    """
    if not _SLUG.fullmatch(slug):
        raise StorageError(f"{slug!r} cannot be a user's prefix")
    return slug


def check_prefix(prefix: str) -> str:
    """The prefix, if it may enter a policy: empty, or path segments that each end with ``/``.

    One segment may be ``{user}``.

    :raises StorageError: when it is anything else.
    """
    segments = prefix.split("/")
    if segments.pop() or segments.count(USER) > 1:
        raise StorageError(f"{prefix!r} cannot be a prefix: it is empty, or like data/{USER}/")
    for segment in segments:
        if segment != USER and not _SEGMENT.fullmatch(segment):
            raise StorageError(f"{prefix!r} cannot be a prefix because of {segment!r}")
    return prefix


def highest(levels: Iterable[Level]) -> Level | None:
    """The one that allows most; None of none."""
    return max(levels, key=_LEVELS.index, default=None)


@dataclass(frozen=True, slots=True)
class Place:
    """One prefix of one bucket, and what each role of the VO may do there."""

    bucket: str
    prefix: str
    purpose: Purpose
    access: Mapping[str, Level] = field(hash=False)

    def __post_init__(self) -> None:
        check_bucket(self.bucket)
        check_prefix(self.prefix)

    @property
    def common(self) -> str:
        """The part of the prefix that is the same for everybody."""
        return self.prefix.partition(USER)[0]

    @property
    def personal(self) -> bool:
        """Whether each person has an own one."""
        return USER in self.prefix

    def prefix_of(self, slug: str) -> str:
        """The prefix of one person.

        :raises StorageError: when the slug may not enter a policy.
        """
        return self.prefix.replace(USER, check_slug(slug))


def shared_places(
    bucket: str, read: Iterable[str], publish: Iterable[str], curate: Iterable[str]
) -> tuple[Place, ...]:
    """Where the members of a VO share notebooks in its own bucket, by the roles that may."""
    reading: dict[str, Level] = dict.fromkeys(read, "ro")
    curating: dict[str, Level] = dict.fromkeys(curate, "rwd")
    looked_at = reading | curating
    published: dict[str, Level] = dict.fromkeys(publish, "rwd")
    places = (
        Place(bucket, SHARED, "shared", looked_at),
        Place(bucket, PUBLISHED, "shared", published),
    )
    return tuple(place for place in places if place.access)


@dataclass(frozen=True, slots=True)
class VOStorage:
    """The storage of one virtual organisation.

    :param bucket: its own bucket.
    :param products: what each role may do below ``products/``; empty: every role may add and
        replace, managers may also delete.
    :param homes: the roles that have an own prefix; empty: all.
    :param further: places beside those two.
    """

    name: str
    bucket: str
    products: Mapping[str, Level] = field(default_factory=dict, hash=False)
    homes: frozenset[str] = frozenset()
    further: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        check_bucket(self.bucket)
        check_layout([self])

    def places(self, roles: Iterable[str]) -> tuple[Place, ...]:
        """Every place, with the access of the roles."""
        names = sorted(roles)
        usual: dict[str, Level] = {role: "rwd" if role == MANAGER else "rw" for role in names}
        homes: dict[str, Level] = {
            role: "rwd" for role in names if not self.homes or role in self.homes
        }
        return (
            Place(self.bucket, PRODUCTS, "products", self.products or usual),
            Place(self.bucket, HOMES, "home", homes),
            *self.further,
        )

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket once, the own one first."""
        return tuple(dict.fromkeys([self.bucket, *(place.bucket for place in self.further)]))


def check_layout(vos: Iterable[VOStorage]) -> None:
    """See that no place reaches into another that it must not reach into.

    * A bucket with personal prefixes is of one VO.
    * No place contains, or is inside, the prefix under which persons have theirs; only what
      persons publish is inside ``shared/``, where whoever may look looks at all of it.
    * What two VOs can both reach, both may only read.

    :raises StorageError: naming the VOs and the bucket.
    """
    every = [(vo.name, place) for vo in vos for place in vo.places(())]
    for (one, here), (other, there) in combinations(every, 2):
        if here.bucket != there.bucket:
            continue
        personal = here.personal or there.personal
        if personal and one != other:
            raise StorageError(
                f"bucket {here.bucket} has personal prefixes of {one if here.personal else other}"
                f" and cannot be used by {other if here.personal else one}"
            )
        overlap = here.common.startswith(there.common) or there.common.startswith(here.common)
        if not overlap:
            continue
        if one == other and {here.prefix, there.prefix} == {SHARED, PUBLISHED}:
            continue
        if personal or (here.prefix == there.prefix and one == other):
            raise StorageError(
                f"{one}: {here.prefix!r} and {there.prefix!r} of bucket {here.bucket} overlap"
            )
        levels = {*here.access.values(), *there.access.values()}
        if one != other and levels != {"ro"}:
            raise StorageError(
                f"{one} and {other} both reach {max(here.common, there.common, key=len)!r} of "
                f"bucket {here.bucket}; that is possible only if both may only read it"
            )
