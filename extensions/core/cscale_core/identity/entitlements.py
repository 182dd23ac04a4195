"""Virtual organisations and roles from AARC-G069 (and G002) entitlements.

Grammar: ``urn:NID:DELEGATED[:SUBNS]*:group:GROUP[:SUBGROUP]*[:role=ROLE][#AUTHORITY]``
(AARC-G069 section 4.1). Values are parsed, never compared by prefix: ``…:group:vo.evil`` is not
``vo``, and AARC-G027 capabilities (``…:res:…``) are not groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aarc_entitlement import G069, Error


@dataclass(frozen=True, slots=True)
class Membership:
    """One parsed group entitlement. ``authority`` is empty when the value names none."""

    namespace: str
    group: str
    subgroups: tuple[str, ...]
    role: str
    authority: str


@dataclass(frozen=True, slots=True)
class VORule:
    """Which entitlement makes a person a member of a VO.

    ``roles`` maps our role names to the entitlement roles that give them: ``ROLE`` of the group
    itself, or ``SUBGROUP:role=ROLE`` of a sub-group of it. An entitlement with no role counts as
    ``member``.
    """

    name: str
    group: str
    namespaces: frozenset[str]
    authorities: frozenset[str]
    roles: dict[str, frozenset[str]]


def parse(value: str) -> Membership | None:
    """Parse one entitlement; None when it is not a group entitlement."""
    try:
        entitlement = G069(value)
    except (Error, ValueError):
        return None
    parts = (entitlement.namespace_id, entitlement.delegated_namespace, *entitlement.subnamespaces)
    return Membership(
        namespace=":".join(parts).lower(),
        group=entitlement.group,
        subgroups=tuple(entitlement.subgroups),
        role=entitlement.role or "",
        authority=entitlement.group_authority or "",
    )


def vo_roles(values: Iterable[str], rules: Iterable[VORule]) -> dict[str, frozenset[str]]:
    """The accepted VOs among the entitlements, each with the roles held in it.

    An entitlement counts only when namespace, group and authority are those of the rule; one of a
    sub-group gives the roles that name this sub-group and nothing else. A rule whose
    ``authorities`` contain ``""`` also takes values without an authority (G069 makes it optional).
    """
    memberships = [m for m in map(parse, values) if m is not None]
    found: dict[str, set[str]] = {}
    for rule in rules:
        for membership in memberships:
            if (
                membership.group != rule.group
                or membership.namespace not in rule.namespaces
                or membership.authority not in rule.authorities
            ):
                continue
            given = membership.role or "member"
            if ":" in given:
                continue  # no role of the grammar, and spelled like one of a sub-group
            if membership.subgroups:
                given = ":".join((*membership.subgroups, f"role={given}"))
            roles = {name for name, accepted in rule.roles.items() if given in accepted}
            if roles:
                found.setdefault(rule.name, set()).update(roles)
    return {name: frozenset(roles) for name, roles in found.items()}


def holds(values: Iterable[str], required: str) -> bool:
    """Whether one of the entitlements gives what is required.

    Membership of a subgroup, or with a role, is membership of the group (AARC-G069 section 4.1);
    the namespace is the same, and so is the authority where the required one names it. A value
    that is no group entitlement (AARC-G027 capabilities) must be held as it is written.
    """
    demand = parse(required)
    if demand is None:
        return required in values
    needed = G069(required)
    return any(
        G069(value).satisfies(needed)
        and held.namespace == demand.namespace
        and demand.authority in ("", held.authority)
        for value in values
        if (held := parse(value)) is not None
    )
