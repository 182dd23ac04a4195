"""References to published notebooks, the keys they are kept under, and who may do what there."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput
from cscale_core.site import Grant, Site

SHARED = "shared/"
"""What members of a VO show each other, in the VO's bucket."""

PUBLISHED = f"{SHARED}published/"
"""Below it everybody has a prefix of their own, named by their slug."""

MAX_VERSION = 9999
_LONGEST_NAME = 80
_VO = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_AUTHOR = re.compile(r"[a-z0-9][a-z0-9-]{1,62}", re.ASCII)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"([^/]+)/([^/]+)/v(\d{4})\.(ipynb|json|png)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class NotebookRef:
    """Names one published notebook, with all its versions."""

    vo: str
    author: str
    name: str

    def __str__(self) -> str:
        return "|".join(quote(part, safe="") for part in (self.vo, self.author, self.name))

    @classmethod
    def parse(cls, text: str) -> NotebookRef:
        """The reference in a text of the form ``VO|AUTHOR|NAME``.

        :raises InvalidInput: when it is none; nothing else can become a key.
        """
        return cls.of(*(unquote(part) for part in text.split("|")))

    @classmethod
    def of(cls, *parts: str) -> NotebookRef:
        """The reference with these parts: VO, author, name.

        :raises InvalidInput: as :meth:`parse`.
        """
        if len(parts) == 3 and all(
            form.fullmatch(part) for form, part in zip((_VO, _AUTHOR, _NAME), parts, strict=True)
        ):
            return cls(*parts)
        raise InvalidInput(
            "That is no reference of a shared notebook.",
            hint="Take it from the list of shared notebooks; it is of the form VO|AUTHOR|NAME.",
        )

    @property
    def prefix(self) -> str:
        """Where its objects are; ends with ``/``."""
        return f"{PUBLISHED}{self.author}/{self.name}/"


def key_parts(key: str) -> tuple[str, str, int, str] | None:
    """Author, name, version and kind (``ipynb``, ``json``, ``png``) of an object; None of others.

    Whoever may write below a prefix can put anything there: what is not ours is passed over.
    """
    if not key.startswith(PUBLISHED):
        return None
    found = _KEY.fullmatch(key[len(PUBLISHED) :])
    if found is None or not _AUTHOR.fullmatch(found[1]) or not _NAME.fullmatch(found[2]):
        return None
    return found[1], found[2], int(found[3]), found[4]


def name_of(title: str) -> str:
    """The name that a notebook with this title gets: lower-case letters, digits and hyphens.

    :raises InvalidInput: when nothing of the title is left.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_NAME].strip("-")
    if not name:
        raise InvalidInput(
            "The title has no letter or digit that can be in a name.",
            hint="Give a title with some of a-z and 0-9.",
        )
    return name


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """What one VO's shared notebooks are to this user.

    :ivar reads: sees what everybody published; otherwise only what is the user's own.
    :ivar publishes: may publish.
    :ivar curates: may take down what others published.
    """

    vo: str
    bucket: str
    user: str
    reads: bool
    publishes: bool
    curates: bool

    @property
    def listed(self) -> str:
        """The prefix below which the user sees notebooks."""
        return PUBLISHED if self.reads else f"{PUBLISHED}{self.user}/"

    def sees(self, ref: NotebookRef) -> bool:
        """Whether the user sees the notebooks of that author."""
        return self.reads or ref.author == self.user

    def may_remove(self, ref: NotebookRef) -> bool:
        """Whether the user may take the notebook down."""
        return self.curates or (self.publishes and ref.author == self.user)

    def address(self, ref: NotebookRef, version: int, kind: str) -> ObjectAddress:
        """Where one object of one version is."""
        return ObjectAddress(self.bucket, f"{ref.prefix}v{version:04d}.{kind}")


def _reaches(grant: Grant, prefix: str, *, write: bool = False) -> bool:
    return prefix.startswith(grant.prefix) and (grant.access == "rw" or not write)


def shared_places(site: Site) -> dict[str, SharedPlace]:
    """The VOs whose shared notebooks the user reaches at all, by name."""
    places: dict[str, SharedPlace] = {}
    own = f"{PUBLISHED}{site.user}/"
    for vo in site.vos:
        # Further places for sharing, which a VO may have, are elsewhere.
        grants = [
            grant
            for grant in site.grants
            if grant.vo == vo
            and grant.purpose == "shared"
            and grant.prefix.startswith(SHARED)
            and _reaches(grant, own)
        ]
        if not grants:
            continue
        places[vo] = SharedPlace(
            vo,
            grants[0].bucket,
            site.user,
            reads=any(_reaches(grant, PUBLISHED) for grant in grants),
            publishes=any(_reaches(grant, own, write=True) for grant in grants),
            curates=any(_reaches(grant, PUBLISHED, write=True) for grant in grants),
        )
    return places
