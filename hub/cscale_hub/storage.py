"""Who may reach which prefix of which bucket, and the S3 policies that say so.

Pure functions from virtual organisations, roles and the user's slug to grants and to policy
documents in the AWS grammar. Nothing here talks to a server. One bucket belongs to one VO:

* ``products/…`` is the VO's: members read, add and replace, the roles named in
  ``delete_products`` also delete;
* ``users/<slug>/…`` is one member's: read, write, delete; nothing for anybody else.

Two policies are at work on every request, and both must allow it: the role's (upper bound for
everybody of all VOs, :func:`vo_policies`) and the session policy of one user
(:func:`session_policy`), which STS seals into the temporary credentials.

Names are checked against closed alphabets before they enter a policy: ``*``, ``?`` and ``${`` in a
resource or in a ``StringLike`` condition are wildcards and variables, not text
(IAM User Guide, "Resource" and "Policy variables").
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

POLICY_VERSION = "2012-10-17"
SESSION_POLICY_LIMIT = 2048
"""Characters an inline session policy may have (AWS STS API reference, ``Policy``)."""

MEMBER = "member"
MANAGER = "manager"

# S3 naming rules for general purpose buckets, without dots.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
# What cscale_core.identity.slug.user_slug makes, and nothing a policy could read as a wildcard.
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,62}", re.ASCII)
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
Purpose = Literal["products", "home"]
Policy = dict[str, Any]


class StorageError(ValueError):
    """A name that may not enter a policy, or a policy that does not fit; the message says which."""


class PolicyTooLongError(StorageError):
    """The session policy would exceed what STS takes; the user is in too many VOs at once."""


@dataclass(frozen=True, slots=True)
class VOStorage:
    """The storage of one virtual organisation.

    ``delete_products`` are the roles that may delete from ``products/``; members may always add
    and replace.
    """

    name: str
    bucket: str
    delete_products: frozenset[str] = frozenset({MANAGER})

    def __post_init__(self) -> None:
        check_bucket(self.bucket)


@dataclass(frozen=True, slots=True)
class StorageGrant:
    """One prefix of one bucket that a user may reach (``cscale_core.site.Grant`` and more).

    ``prefix`` ends with ``/``. ``delete`` says whether objects may be deleted, which ``rw`` alone
    does not include for the VO's products.
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


def home_prefix(slug: str) -> str:
    """Where a user's own objects are in every VO bucket; ends with ``/``."""
    return f"users/{check_slug(slug)}/"


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
    home = home_prefix(slug)
    found: list[StorageGrant] = []
    for vo in sorted(vos, key=lambda each: each.name):
        held = frozenset(vo_roles.get(vo.name, ()))
        if not held:
            continue
        delete = bool(held & vo.delete_products)
        found.append(StorageGrant(vo.bucket, "products/", "rw", vo.name, "products", delete))
        found.append(StorageGrant(vo.bucket, home, "rw", vo.name, "home", True))
    return found


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
    return _compact(_statements(items))


def openeo_session_policy(bucket: str, slug: str, job_id: str) -> str:
    """For one batch job of the openEO service: read the VO's products, write this job's results.

    The same narrowing as for a user: the role ``cscale-openeo`` could reach the jobs of everybody.

    :raises StorageError: when a name may not enter a policy.
    """
    check_bucket(bucket)
    products = StorageGrant(bucket, "products/", "ro", "", "products")
    results = StorageGrant(bucket, job_prefix(slug, job_id), "rw", "", "home", True)
    return _compact(_statements([products, results]))


def vo_policies(vos: Iterable[VOStorage]) -> dict[str, Policy]:
    """Upper bounds for the role of researchers, one policy a VO, by policy name.

    A role that has them may reach every user's prefix: it is to be assumed with a session policy
    only, by a party that is trusted to set it (the broker).
    """
    return {
        f"vo-{vo.bucket}": _document(
            _statements(
                [
                    StorageGrant(vo.bucket, "products/", "rw", vo.name, "products", True),
                    StorageGrant(vo.bucket, "users/", "rw", vo.name, "home", True),
                ]
            )
        )
        for vo in vos
    }


def openeo_policies(vos: Iterable[VOStorage]) -> dict[str, Policy]:
    """Upper bounds for the openEO service's role, one policy a VO, by policy name.

    Products are read, ``users/*/jobs/*`` read and written. ``*`` also matches ``/``, so the bound
    is wider than it looks; :func:`openeo_session_policy` makes it exact for a job.
    """
    found: dict[str, Policy] = {}
    for vo in vos:
        statements = _statements(
            [
                StorageGrant(vo.bucket, "products/", "ro", vo.name, "products"),
                StorageGrant(vo.bucket, "users/*/jobs/", "rw", vo.name, "home", True),
            ]
        )
        found[f"openeo-{vo.bucket}"] = _document(statements)
    return found


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
    for bucket, allowed in sorted(prefixes.items()):
        listings[tuple(sorted(allowed))].append(f"arn:aws:s3:::{bucket}")
    statements: list[Policy] = [
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": buckets,
            "Condition": {"StringLike": {"s3:prefix": list(allowed)}},
        }
        for allowed, buckets in listings.items()
    ]
    statements += [
        {"Effect": "Allow", "Action": list(actions), "Resource": sorted(resources)}
        for actions, resources in sorted(objects.items())
    ]
    return statements


def _document(statements: list[Policy]) -> Policy:
    return {"Version": POLICY_VERSION, "Statement": statements}


def _compact(statements: list[Policy]) -> str:
    text = json.dumps(_document(statements), separators=(",", ":"))
    if len(text) > SESSION_POLICY_LIMIT:
        raise PolicyTooLongError(
            f"the session policy has {len(text)} characters, S3 takes {SESSION_POLICY_LIMIT}; "
            "ask for the credentials of fewer virtual organisations at once"
        )
    return text
