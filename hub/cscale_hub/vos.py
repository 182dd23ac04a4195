"""The virtual organisations this hub accepts, read from one YAML file and checked at start-up.

One entry per VO says which entitlement makes a member, which roles there are and which bucket is
the VO's. Everything else (hub groups, S3 grants and policies) is derived from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cscale_core.identity.entitlements import VORule
from cscale_hub.settings import SettingsError, describe

DEMO_VOS_FILE = Path(__file__).parent / "local" / "vos.yaml"
GROUP_PREFIX = "vo:"
_VO_NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$")
_ROLE_NAME = r"^[a-z][a-z0-9_-]*$"
# S3 naming rules for general purpose buckets, without dots (they break TLS wildcard names).
_BUCKET_NAME = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"


def _namespace(value: str) -> str:
    cleaned = value.lower().removeprefix("urn:")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*(:[^:#\s]+)+", cleaned):
        raise ValueError("must look like mace:egi.eu")
    return cleaned


Namespace = Annotated[str, AfterValidator(_namespace)]
RoleName = Annotated[str, Field(pattern=_ROLE_NAME)]


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


class VirtualOrganisation(_Model):
    """One virtual organisation."""

    title: str = Field(min_length=1, description="Name for people.")
    entitlement: EntitlementRule
    roles: dict[RoleName, tuple[str, ...]] = Field(
        default={"member": ("member",)},
        description="Our role names, each with the entitlement roles that give it.",
    )
    bucket: str = Field(pattern=_BUCKET_NAME, description="The VO's bucket, of this VO alone.")
    enrolment_url: str = Field(default="", description="Where to ask for membership.")

    @model_validator(mode="after")
    def _has_members(self) -> VirtualOrganisation:
        if "member" not in self.roles:
            raise ValueError("roles must contain 'member'")
        return self


class VOFile(_Model):
    """All accepted virtual organisations."""

    vos: dict[str, VirtualOrganisation] = Field(
        min_length=1, description="The virtual organisations by name."
    )

    @model_validator(mode="after")
    def _consistent(self) -> VOFile:
        for name in self.vos:
            # A colon in a name would make "vo:NAME" and "vo:NAME:ROLE" ambiguous.
            if not _VO_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a VO")
        buckets = [vo.bucket for vo in self.vos.values()]
        if len(set(buckets)) != len(buckets):
            raise ValueError("two VOs have the same bucket")
        return self

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


def load_vos(path: Path | None = None) -> VOFile:
    """Read a VO file; the demonstration's when no path is given.

    :raises SettingsError: when the file is missing, is not YAML or is not valid.
    """
    source = path or DEMO_VOS_FILE
    try:
        return VOFile.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"The VO file {source} cannot be read: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"The VO file {source} is not valid: {describe(error)}") from error


def group_names(roles: dict[str, frozenset[str]]) -> set[str]:
    """Hub groups for the roles held: ``vo:NAME`` and ``vo:NAME:ROLE``."""
    names = {f"{GROUP_PREFIX}{vo}" for vo in roles}
    return names | {f"{GROUP_PREFIX}{vo}:{role}" for vo, held in roles.items() for role in held}


def vo_names(groups: Iterable[str]) -> tuple[str, ...]:
    """The VOs among hub groups, sorted; role groups and foreign groups do not count."""
    names = {group.removeprefix(GROUP_PREFIX) for group in groups if group.startswith(GROUP_PREFIX)}
    return tuple(sorted(name for name in names if ":" not in name))


def roles_in_groups(groups: Iterable[str]) -> dict[str, frozenset[str]]:
    """The inverse of :func:`group_names`: the roles held in each VO."""
    held: dict[str, set[str]] = {}
    for group in groups:
        if group.startswith(GROUP_PREFIX):
            name, _, role = group.removeprefix(GROUP_PREFIX).partition(":")
            held.setdefault(name, set()).update({role} if role else set())
    return {name: frozenset(roles) for name, roles in held.items()}
