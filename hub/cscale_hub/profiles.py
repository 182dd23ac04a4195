"""The sizes of servers, and which of them one person may choose.

A profile says what it is for, what it costs and what it limits. A person gets the profiles of the
roles held in each VO; each choice is of one VO, to which the server's use is counted. A profile
that is not offered does not exist for that person: every way of starting a server ends in
:func:`choose`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")]


def _profile_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise ValueError("a profile's name has lower-case letters, digits and hyphens")
    return name


ProfileName = Annotated[str, AfterValidator(_profile_name)]
StorageMode = Literal["default", "fuse", "contents", "node", "csi", "sidecar", "none"]
_UNITS = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def size_bytes(size: str) -> int:
    """Bytes of a size such as ``4Gi``."""
    return int(size[:-2]) * _UNITS[size[-2:]]


class Profile(BaseModel):
    """One size of server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1, max_length=80, description="Name for people.")
    purpose: str = Field(
        default="", max_length=300, description="What it is for, in a researcher's words."
    )
    cost: str = Field(
        default="",
        max_length=200,
        description="What it costs; empty: told from cpu and gpu.",
    )
    cpu: float | None = Field(
        default=None, gt=0, le=1024, description="Processors at most; none: no limit."
    )
    cpu_guarantee: float | None = Field(
        default=None, gt=0, le=1024, description="Processors that are kept free; none: nothing is."
    )
    memory: Size | None = Field(
        default=None, description="Memory at most, such as 4Gi; none: no limit."
    )
    memory_guarantee: Size | None = Field(
        default=None, description="Memory that is kept free; none: nothing is."
    )
    gpu: int = Field(default=0, ge=0, le=16, description="Graphics processors.")
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
        description="Kubernetes' name of the graphics processors.",
    )
    image: str = Field(
        default="",
        pattern=r"^([a-z0-9][A-Za-z0-9._:/@-]*)?$",
        description="Container image; empty: that of the deployment.",
    )
    storage: StorageMode = Field(
        default="default",
        description="How buckets are shown. fuse, contents: on one machine; node, csi, sidecar: "
        "on Kubernetes; none: by S3 alone; default: as the settings say.",
    )
    spark: bool = Field(
        default=False,
        description="Whether servers on Kubernetes may run Spark there: applications, and sessions "
        "whose driver is in the server.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the Kubernetes nodes it runs on."
    )

    @model_validator(mode="after")
    def _guarantees_below_limits(self) -> Profile:
        if self.cpu and self.cpu_guarantee and self.cpu_guarantee > self.cpu:
            raise ValueError("cpu_guarantee is more than cpu")
        limit, kept = self.memory, self.memory_guarantee
        if limit and kept and size_bytes(kept) > size_bytes(limit):
            raise ValueError("memory_guarantee is more than memory")
        return self

    @property
    def size(self) -> str:
        """Processors, memory and graphics processors in words."""
        parts = [
            f"{self.cpu:g} CPU" if self.cpu else "",
            f"{self.memory[:-2]} {self.memory[-2:]}B memory" if self.memory else "",
            f"{self.gpu} GPU" if self.gpu else "",
        ]
        return ", ".join(part for part in parts if part) or "No limits"

    @property
    def price(self) -> str:
        """What an hour costs, in words."""
        if self.cost:
            return self.cost
        used = [_count(self.cpu, "CPU hour") if self.cpu else "the CPU hours it uses"]
        used += [_count(self.gpu, "GPU hour")] if self.gpu else []
        return f"Each hour counts {' and '.join(used)} for the virtual organisation."


def _count(number: float, thing: str) -> str:
    return f"{number:g} {thing}{'' if number == 1 else 's'}"


STANDARD = Profile(
    title="Standard", purpose="Notebooks, search, staging and jobs, with what this place has."
)
"""The profile where the VO file names none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing a person may choose: a profile, for a VO."""

    vo: str
    name: str
    profile: Profile


class ProfileRefused(ValueError):
    """What was asked for does not exist for this person; the message says what does."""


def offers(
    profiles: Mapping[str, Profile],
    allowed: Mapping[str, Mapping[str, Sequence[str]]],
    vo_roles: Mapping[str, Collection[str]],
) -> list[Offer]:
    """What a person with these roles may choose: by VO, in the order of the profiles.

    :param allowed: the names of the profiles by VO and role.
    """
    found: list[Offer] = []
    for vo in sorted(allowed):
        names = {name for role in vo_roles.get(vo, ()) for name in allowed[vo].get(role, ())}
        found += [Offer(vo, name, profiles[name]) for name in profiles if name in names]
    return found


def choose(offered: Sequence[Offer], options: Mapping[str, object]) -> Offer:
    """The offer that is meant by what a form or a REST call said; the first where nothing is.

    :param options: ``profile`` and ``vo``, both optional; anything else is refused, so that
        nothing reaches a spawner unseen.
    :raises ProfileRefused: when there is no such offer. A forbidden profile and one that was never
        there get the same answer.
    """
    unknown = sorted(map(str, options.keys() - {"profile", "vo"}))
    if unknown:
        raise ProfileRefused(
            f"A server takes the options profile and vo, not {', '.join(unknown)}."
        )
    wanted = {key: value for key, value in options.items() if value not in (None, "")}
    for offer in offered:
        if wanted.items() <= {"profile": offer.name, "vo": offer.vo}.items():
            return offer
    if not offered:
        raise ProfileRefused(
            "None of your roles in your virtual organisations has a server here. Ask the managers "
            "of your virtual organisation."
        )
    known = ", ".join(f"{offer.name} ({offer.vo})" for offer in offered)
    asked = " of ".join(repr(str(wanted[key])) for key in ("profile", "vo") if key in wanted)
    raise ProfileRefused(f"There is no server {asked} for you. You can have: {known}.")
