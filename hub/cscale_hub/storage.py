"""Who may reach which prefix of which bucket, and the S3 policies that say so.

Pure functions from virtual organisations, roles and the user's slug to grants and to policy
documents in the AWS grammar. Nothing here talks to a server; which places there are is
:mod:`cscale_hub.places`.

Two policies are at work on every request, and both must allow it: the role's (upper bound for
everybody of all VOs, :func:`vo_policies`) and the session policy of one user
(:func:`session_policy`), which STS seals into the temporary credentials.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

from cscale_core.identity.slug import user_slug
from cscale_hub.places import (
    HOMES,
    PRODUCTS,
    USER,
    Level,
    Purpose,
    StorageError,
    VOStorage,
    check_bucket,
    check_slug,
    highest,
)

POLICY_VERSION = "2012-10-17"
SESSION_POLICY_LIMIT = 2048
"""A session policy has to be shorter than this (AWS STS API reference, ``Policy``)."""

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)

# s3:GetBucketLocation is left out on purpose: SeaweedFS decides by the query parameters, and a
# listing with "location" added to it would be judged as GetBucketLocation, which has no prefix.
_READ = ("s3:GetObject",)
# Creating, filling and completing a multipart upload is s3:PutObject (S3 User Guide, "Multipart
# upload API and permissions"; SeaweedFS counts it the same). Listing all uploads of a bucket
# cannot be narrowed to a prefix and is never given.
_WRITE = (
    "s3:PutObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
_DELETE = ("s3:DeleteObject",)

Access = Literal["ro", "rw"]
Policy = dict[str, Any]


class PolicyTooLongError(StorageError):
    """The session policy would exceed what STS takes."""


@dataclass(frozen=True, slots=True)
class StorageGrant:
    """One prefix of one bucket that a user may reach (``cscale_core.site.Grant`` and more).

    ``prefix`` is empty or ends with ``/``. ``delete`` says whether objects may be deleted, which
    ``rw`` alone does not include.
    """

    bucket: str
    prefix: str
    access: Access
    vo: str
    purpose: Purpose
    delete: bool = False

    def site_grant(self) -> dict[str, str]:
        """The members of ``cscale_core.site.Grant``."""
        members: dict[str, str] = asdict(self)
        del members["delete"]
        return members


def home_prefix(slug: str) -> str:
    """Where a user's own objects are in every VO bucket; ends with ``/``."""
    return HOMES.replace(USER, check_slug(slug))


def job_prefix(slug: str, job_id: str) -> str:
    """Where the results of one job of one user are; ends with ``/``.

    :raises StorageError: when the job id is not letters, digits, ``_`` and ``-``.
    """
    if not _JOB.fullmatch(job_id):
        raise StorageError(f"{job_id!r} cannot be the id of a job")
    return f"{home_prefix(slug)}jobs/{job_id}/"


def grants(
    vos: Iterable[VOStorage], vo_roles: Mapping[str, Collection[str]], slug: str
) -> list[StorageGrant]:
    """What a person with these roles may reach, sorted by VO, products before home.

    :param vo_roles: the roles held in each VO, as ``entitlements.vo_roles`` gives them; VOs that
        are not among ``vos`` count for nothing, and so does a VO in which no role is held.
    :raises StorageError: when the slug may not enter a policy.
    """
    check_slug(slug)
    found: list[StorageGrant] = []
    for vo in sorted(vos, key=lambda each: each.name):
        held = frozenset(vo_roles.get(vo.name, ()))
        for place in vo.places(held):
            level = highest(place.access[role] for role in held if role in place.access)
            if level is None:
                continue
            access: Access = "ro" if level == "ro" else "rw"
            found.append(
                StorageGrant(
                    *(place.bucket, place.prefix_of(slug), access, vo.name, place.purpose),
                    delete=level == "rwd",
                )
            )
    return found


def reachable(given: Sequence[StorageGrant], first: str = "") -> list[StorageGrant]:
    """The grants that fit into one session policy: all of them nearly always.

    Somebody in very many VOs gets those of the VO the server is for, then those of the others in
    their order as far as there is room; a VO is in whole or not at all.

    :param first: the VO the server is for.
    """
    names = sorted(dict.fromkeys(grant.vo for grant in given), key=lambda name: name != first)
    chosen: set[str] = set()
    for name in names:
        some = [grant for grant in given if grant.vo in chosen | {name}]
        if len(_text(_statements(distinct(some)))) < SESSION_POLICY_LIMIT:
            chosen.add(name)
    return [grant for grant in given if grant.vo in chosen]


def distinct(given: Sequence[StorageGrant]) -> list[StorageGrant]:
    """The grants without those that another one includes: two VOs may reach the same archive."""

    def includes(one: StorageGrant, other: StorageGrant) -> bool:
        return (
            one.bucket == other.bucket
            and other.prefix.startswith(one.prefix)
            and (one.access, one.delete) >= (other.access, other.delete)  # "ro" < "rw"
        )

    return [
        grant
        for number, grant in enumerate(given)
        if not any(
            includes(other, grant) and (position < number or not includes(grant, other))
            for position, other in enumerate(given)
            if position != number
        )
    ]


def outermost(given: Sequence[StorageGrant]) -> list[StorageGrant]:
    """The grants that lie in no other, which are mounted; the rest is seen through them.

    Nothing can be mounted below a folder that is read-only. What people publish is such a place.

    :param given: distinct grants.
    """
    return [
        grant
        for grant in given
        if not any(
            other.bucket == grant.bucket
            and other.prefix != grant.prefix
            and grant.prefix.startswith(other.prefix)
            for other in given
        )
    ]


def check_policies(vos: Iterable[VOStorage], roles: Mapping[str, Collection[str]]) -> None:
    """See that everybody of each VO can have credentials for it.

    :param roles: the roles there are in each VO; each combination of them has its own policy, and
        that of all roles need not be the longest.
    :raises PolicyTooLongError: naming the VO and the roles.
    """
    for vo in vos:
        names = sorted(roles[vo.name])
        slug = user_slug(vo.name)  # every slug has the same length
        for held in (some for n in range(len(names)) for some in combinations(names, n + 1)):
            given = grants([vo], {vo.name: held}, slug)
            length = len(_text(_statements(distinct(given))))
            if length >= SESSION_POLICY_LIMIT:
                raise PolicyTooLongError(
                    f"{vo.name}: the buckets and prefixes of {' and '.join(held)} make a session "
                    f"policy of {length} characters, S3 takes fewer than {SESSION_POLICY_LIMIT}"
                )


def session_policy(given: Iterable[StorageGrant]) -> str:
    """The compact session policy for these grants.

    Listing is bound to the prefixes (``s3:prefix`` begins with the grant's prefix, whatever the
    delimiter), so a client must ask for ``prefix=users/<slug>/…``; listing a bucket's root is
    refused.

    :raises StorageError: when there is no grant: an empty policy would not narrow anything.
    :raises PolicyTooLongError: when it does not fit into what STS takes.
    """
    items = list(given)
    if not items:
        raise StorageError("no grant: these credentials could not reach anything")
    return _compact(_statements(distinct(items)))


def openeo_session_policy(bucket: str, slug: str, job_id: str) -> str:
    """For one batch job of the openEO service: read the VO's products, write this job's results.

    The same narrowing as for a user: the role ``cscale-openeo`` could reach the jobs of everybody.

    :raises StorageError: when a name may not enter a policy.
    """
    check_bucket(bucket)
    products = StorageGrant(bucket, PRODUCTS, "ro", "", "products")
    results = StorageGrant(bucket, job_prefix(slug, job_id), "rw", "", "home", True)
    return _compact(_statements([products, results]))


def vo_policies(vos: Iterable[VOStorage]) -> dict[str, Policy]:
    """Upper bounds for the role of researchers, one policy a VO, by policy name.

    A role that has them may reach every user's prefix: it is to be assumed with a session policy
    only, by a party that is trusted to set it (the broker).
    """
    found: dict[str, Policy] = {}
    for vo in vos:
        widest = [
            StorageGrant(
                *(place.bucket, place.common, _upper(place.access), vo.name, place.purpose),
                delete=not place.access or "rwd" in place.access.values(),
            )
            for place in vo.places(())
        ]
        found[f"vo-{vo.bucket}"] = _document(_statements(widest))
    return found


def openeo_policies(vos: Iterable[VOStorage]) -> dict[str, Policy]:
    """Upper bounds for the openEO service's role, one policy a VO, by policy name.

    Products are read, ``users/*/jobs/*`` read and written. ``*`` also matches ``/``, so the bound
    is wider than it looks; :func:`openeo_session_policy` makes it exact for a job.
    """
    found: dict[str, Policy] = {}
    for vo in vos:
        jobs = HOMES.replace(USER, "*") + "jobs/"
        statements = _statements(
            [
                StorageGrant(vo.bucket, PRODUCTS, "ro", vo.name, "products"),
                StorageGrant(vo.bucket, jobs, "rw", vo.name, "home", True),
            ]
        )
        found[f"openeo-{vo.bucket}"] = _document(statements)
    return found


def _upper(access: Mapping[str, Level]) -> Access:
    return "ro" if access and set(access.values()) == {"ro"} else "rw"


def _statements(given: Sequence[StorageGrant]) -> list[Policy]:
    """Allow statements: listing by equal sets of prefixes, objects by equal sets of actions."""
    prefixes: dict[str, set[str]] = defaultdict(set)
    objects: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for grant in given:
        check_bucket(grant.bucket)
        prefixes[grant.bucket].add(f"{grant.prefix}*")
        actions: tuple[str, ...] = _READ
        if grant.access == "rw":
            actions += _WRITE + (_DELETE if grant.delete else ())
        objects[actions].add(f"arn:aws:s3:::{grant.bucket}/{grant.prefix}*")
    listings: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for bucket, every in sorted(prefixes.items()):
        allowed = {
            one
            for one in every
            if not any(one != other and one.startswith(other[:-1]) for other in every)
        }
        # A whole bucket is listed by clients without s3:prefix too.
        narrowed = () if "*" in allowed else tuple(sorted(allowed))
        listings[narrowed].append(f"arn:aws:s3:::{bucket}")
    statements: list[Policy] = []
    for narrowed, buckets in listings.items():
        listing: Policy = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": buckets}
        if narrowed:
            listing["Condition"] = {"StringLike": {"s3:prefix": list(narrowed)}}
        statements.append(listing)
    statements += [
        {"Effect": "Allow", "Action": list(actions), "Resource": sorted(resources)}
        for actions, resources in sorted(objects.items())
    ]
    return statements


def _document(statements: list[Policy]) -> Policy:
    return {"Version": POLICY_VERSION, "Statement": statements}


def _text(statements: list[Policy]) -> str:
    return json.dumps(_document(statements), separators=(",", ":"))


def _compact(statements: list[Policy]) -> str:
    text = _text(statements)
    if len(text) >= SESSION_POLICY_LIMIT:
        raise PolicyTooLongError(
            f"the session policy has {len(text)} characters, S3 takes fewer than "
            f"{SESSION_POLICY_LIMIT}"
        )
    return text
