"""The virtual organisations that a hub accepts: the model of the VO file.

One entry per VO says which entitlements make a member and give roles, which profiles, places,
quotas and rules each role has. Everything else (hub groups, profile lists, S3 policies, mounts,
environments) is derived from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cscale_core.identity.entitlements import VORule
from cscale_core.providers import AllowedHost
from cscale_hub.places import (
    MANAGER,
    MEMBER,
    Level,
    Place,
    VOStorage,
    check_bucket,
    check_layout,
    check_prefix,
    shared_places,
)
from cscale_hub.profiles import STANDARD, Profile, ProfileName, Size
from cscale_hub.storage import check_policies

# At most what Kubernetes takes as a label.
_VO_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$")
_ROLE_NAME = r"^[a-z][a-z0-9_-]*$"
# A role of the group itself, or of a sub-group: AARC-G069 without the group and the authority.
_GIVEN_ROLE = r"^(([^:#\s=]+:)+role=)?[^:#\s=]+$"
_MOST_ROLES = 8
# What JupyterHub, this package and the loader of programs decide themselves.
_OWN_VARIABLES = re.compile(r"^(JUPYTER|JPY_|AWS_|CSCALE_|LD_|PYTHON|PATH$|HOME$|USER$|SHELL$)")


def _namespace(value: str) -> str:
    cleaned = value.lower().removeprefix("urn:")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*(:[^:#\s]+)+", cleaned):
        raise ValueError("must look like mace:egi.eu")
    return cleaned


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or _OWN_VARIABLES.match(name):
        raise ValueError(f"{name} cannot be set here")
    return name


Namespace = Annotated[str, AfterValidator(_namespace)]
RoleName = Annotated[str, Field(pattern=_ROLE_NAME)]
GivenRole = Annotated[str, Field(pattern=_GIVEN_ROLE)]
Variable = Annotated[str, AfterValidator(_variable)]
BucketName = Annotated[str, AfterValidator(check_bucket)]
Prefix = Annotated[str, AfterValidator(check_prefix)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntitlementRule(_Model):
    """The group entitlement (AARC-G069) that makes a person a member."""

    group: str = Field(min_length=1, description="Name of the group in the entitlement.")
    namespaces: tuple[Namespace, ...] = Field(
        default=("mace:egi.eu",),
        min_length=1,
        description="Accepted URN namespaces of the entitlement, without urn:.",
    )
    authorities: tuple[str, ...] = Field(
        default=("aai.egi.eu",),
        min_length=1,
        description='Accepted authorities; "" also takes entitlements that name none.',
    )


class FurtherPlace(_Model):
    """One prefix of a bucket, beside the VO's products and the members' own prefixes."""

    bucket: BucketName = Field(description="Name of the bucket.")
    prefix: Prefix = Field(
        default="",
        description="Empty for the whole bucket, or ends with /; a segment {user} becomes the "
        "person's short name.",
    )
    purpose: Literal["shared", "archive"] = Field(
        default="archive", description="What it is for: what members share, or an archive."
    )
    access: dict[RoleName, Level] = Field(
        min_length=1,
        description="What each role may do: ro lists and reads, rw adds and replaces too, rwd "
        "deletes too; a role that is not named, nothing.",
    )


class TotalQuota(_Model):
    """What all members of the VO may use together."""

    storage: Size | None = Field(default=None, description="Objects in the VO's buckets.")
    cpu_hours_month: float | None = Field(
        default=None, ge=0, description="CPU hours of servers and jobs in a calendar month."
    )


class Quota(_Model):
    """What each member of the VO may use; none: no bound of the VO's."""

    servers: int = Field(default=1, ge=1, le=100, description="Servers at a time.")
    home: Size | None = Field(default=None, description="Files in the home folder.")
    storage: Size | None = Field(default=None, description="Objects below the own prefixes.")
    cpu_hours_month: float | None = Field(
        default=None, ge=0, description="CPU hours of servers and jobs in a calendar month."
    )
    total: TotalQuota = Field(
        default=TotalQuota(), description="What all members may use together."
    )


class SharedNotebooks(_Model):
    """Who may do what with the notebooks that are shared in the VO."""

    read: tuple[RoleName, ...] = Field(
        default=(), description="Roles that see and open them; empty: all roles."
    )
    publish: tuple[RoleName, ...] = Field(
        default=(MEMBER,), description="Roles that publish their own."
    )
    curate: tuple[RoleName, ...] = Field(
        default=(MANAGER,), description="Roles that may take down and replace those of others."
    )
    co_editing: bool = Field(
        default=False, description="Whether members may let others into their running server."
    )
    tokens_while_shared: bool = Field(
        default=False,
        description="Whether a server that others may enter gets tokens and S3 credentials; "
        "everybody in it can then use them.",
    )


class Egress(_Model):
    """Where servers of the VO may connect to.

    ``everywhere`` and ``networks`` are for the network policies of a cluster, which know the VO by
    the pods' label ``c-scale.eu/vo``; on one machine nothing holds a server to them.
    """

    everywhere: bool = Field(
        default=True, description="Public addresses at all; false: only what is named here."
    )
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Networks that may be reached, such as 192.0.2.0/24."
    )
    hosts: tuple[AllowedHost, ...] = Field(
        default=(),
        description="host or host:port that servers may ask although private or loopback.",
    )


class VirtualOrganisation(_Model):
    """One virtual organisation."""

    title: str = Field(min_length=1, description="Name for people.")
    entitlement: EntitlementRule = Field(description="What makes a person a member.")
    roles: dict[RoleName, tuple[GivenRole, ...]] = Field(
        default={MEMBER: ("member",)},
        max_length=_MOST_ROLES,
        description="Our role names, each with the entitlement roles that give it: ROLE of the "
        "group itself, or SUBGROUP:role=ROLE.",
    )
    profiles: dict[RoleName, tuple[ProfileName, ...]] = Field(
        default_factory=dict,
        description="The profiles of each role; empty: each role has the first one of the file.",
    )
    quota: Quota = Field(default=Quota(), description="What members may use.")
    bucket: BucketName = Field(
        description="The VO's bucket, of this VO alone: products/ of all, users/… of each member, "
        "shared/ for notebooks."
    )
    products: dict[RoleName, Level] = Field(
        default_factory=dict,
        description="What each role may do with products/: ro, rw or rwd; empty: all roles may "
        "add and replace, managers also delete.",
    )
    homes: tuple[RoleName, ...] = Field(
        default=(), description="Roles that have an own prefix in the bucket; empty: all."
    )
    places: tuple[FurtherPlace, ...] = Field(
        default=(), description="Further prefixes of this bucket, and of others."
    )
    shared_notebooks: SharedNotebooks = Field(
        default=SharedNotebooks(), description="The rule of shared notebooks."
    )
    egress: Egress = Field(default=Egress(), description="Where servers may connect to.")
    environment: dict[Variable, str] = Field(
        default_factory=dict,
        description="Additional, non-secret variables of servers that run for this VO.",
    )
    enrolment_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s]+)?$",
        description="Where to ask for membership.",
    )

    @model_validator(mode="after")
    def _names_known_roles(self) -> VirtualOrganisation:
        if MEMBER not in self.roles:
            raise ValueError(f"roles must contain '{MEMBER}'")
        rule = self.shared_notebooks
        named: dict[str, Iterable[str]] = {
            "profiles": self.profiles,
            "products": self.products,
            "homes": self.homes,
            "shared_notebooks.read": rule.read,
            **({"shared_notebooks.publish": rule.publish} if rule.publish != (MEMBER,) else {}),
            **({"shared_notebooks.curate": rule.curate} if rule.curate != (MANAGER,) else {}),
            **{f"places.{number}.access": each.access for number, each in enumerate(self.places)},
        }
        for member, roles in named.items():
            if unknown := sorted(set(roles) - set(self.roles)):
                raise ValueError(f"{member} names roles that are not in roles: {unknown}")
        return self

    def storage(self, name: str) -> VOStorage:
        """The VO's buckets and prefixes, under its name."""
        rule = self.shared_notebooks
        shared = shared_places(self.bucket, rule.read or self.roles, rule.publish, rule.curate)
        further = (Place(p.bucket, p.prefix, p.purpose, p.access) for p in self.places)
        return VOStorage(
            name, self.bucket, self.products, frozenset(self.homes), (*shared, *further)
        )


class VOFile(_Model):
    """All accepted virtual organisations, and the profiles they share."""

    profiles: dict[ProfileName, Profile] = Field(
        default_factory=lambda: {"standard": STANDARD},
        min_length=1,
        description="The sizes of servers by name; people see them in this order. Where none is "
        "named there is one, standard, without limits.",
    )
    vos: dict[str, VirtualOrganisation] = Field(
        min_length=1, description="The virtual organisations by name."
    )

    @model_validator(mode="after")
    def _consistent(self) -> VOFile:
        for name, vo in self.vos.items():
            # A colon in a name would make "vo:NAME" and "vo:NAME:ROLE" ambiguous.
            if not _VO_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a VO")
            for role, profiles in vo.profiles.items():
                if unknown := sorted(set(profiles) - set(self.profiles)):
                    raise ValueError(
                        f"vos.{name}.profiles.{role} names profiles that are not in profiles: "
                        f"{unknown}"
                    )
        if len({name.lower() for name in self.vos}) != len(self.vos):
            raise ValueError("two VOs have names that differ by upper and lower case only")
        buckets = [vo.bucket for vo in self.vos.values()]
        if len(set(buckets)) != len(buckets):
            raise ValueError("two VOs have the same bucket")
        storages = self.storages()
        check_layout(storages)
        check_policies(storages, {name: tuple(vo.roles) for name, vo in self.vos.items()})
        return self

    def __deepcopy__(self, memo: Any = None) -> VOFile:
        return self  # nothing changes it: traitlets copies what each server is configured with

    def rules(self) -> tuple[VORule, ...]:
        """The rules by which :func:`cscale_core.identity.entitlements.vo_roles` decides."""
        return tuple(
            VORule(
                name=name,
                group=vo.entitlement.group,
                namespaces=frozenset(vo.entitlement.namespaces),
                authorities=frozenset(vo.entitlement.authorities),
                roles={role: frozenset(given) for role, given in vo.roles.items()},
            )
            for name, vo in self.vos.items()
        )

    def storages(self) -> tuple[VOStorage, ...]:
        """The storage of every VO."""
        return tuple(vo.storage(name) for name, vo in self.vos.items())

    def allowed_profiles(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The names of the profiles by VO and role."""
        first = next(iter(self.profiles))
        return {
            name: vo.profiles or dict.fromkeys(vo.roles, (first,)) for name, vo in self.vos.items()
        }


def json_schema() -> dict[str, Any]:
    """The JSON schema of the VO file."""
    return VOFile.model_json_schema()
