"""Membership from entitlements: what looks like a VO and is not one gives nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.identity.entitlements import VORule, holds, parse, vo_roles

RULE = VORule(
    name="aquamonitor.c-scale.eu",
    group="aquamonitor.c-scale.eu",
    namespaces=frozenset({"mace:egi.eu"}),
    authorities=frozenset({"aai.egi.eu"}),
    roles={"member": frozenset({"member"}), "manager": frozenset({"manager"})},
)
GOOD = "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu"


def roles(*values: str) -> dict[str, frozenset[str]]:
    return vo_roles(values, [RULE])


def test_a_member_is_a_member_and_a_manager_holds_both_roles() -> None:
    assert roles(GOOD) == {RULE.name: frozenset({"member"})}
    both = roles(GOOD, GOOD.replace("member", "manager"))
    assert both == {RULE.name: frozenset({"member", "manager"})}


def test_no_role_counts_as_member() -> None:
    value = "urn:mace:egi.eu:group:aquamonitor.c-scale.eu#aai.egi.eu"
    assert roles(value) == {RULE.name: frozenset({"member"})}


@pytest.mark.parametrize(
    "value",
    [
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu.evil:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu.evil.example:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:evil.aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.e:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#evil.example",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu.evil",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member",
        "urn:mace:evil.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:geant:egi.eu:group:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:guests:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:other:aquamonitor.c-scale.eu:role=member#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=vm_operator#aai.egi.eu",
        "urn:mace:egi.eu:res:aquamonitor.c-scale.eu#aai.egi.eu",
        "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu",
        "urn:mace:egi.eu:group:aquamonitor.c-scale.eu%3Aevil:role=member#aai.egi.eu",
        " " + GOOD,
        GOOD + "\nurn:mace:egi.eu:group:x#aai.egi.eu",
        "x" + GOOD,
        "aquamonitor.c-scale.eu",
        "",
    ],
)
def test_what_is_not_the_vo_gives_nothing(value: str) -> None:
    assert roles(value) == {}


def test_an_authority_may_be_optional_where_the_rule_says_so() -> None:
    rule = VORule(RULE.name, RULE.group, RULE.namespaces, frozenset({"aai.egi.eu", ""}), RULE.roles)
    assert vo_roles(["urn:mace:egi.eu:group:aquamonitor.c-scale.eu:role=member"], [rule])


def test_a_project_on_the_unity_of_sram_is_read_with_its_own_namespace() -> None:
    value = "urn:mace:surf.nl:sram:group:c-scale:aqua"
    membership = parse(value)
    assert membership is not None
    assert membership.namespace == "mace:surf.nl:sram"
    assert (membership.group, membership.subgroups) == ("c-scale", ("aqua",))
    assert roles(value) == {}
    rule = VORule("c", "c-scale", frozenset({"mace:surf.nl:sram"}), frozenset({""}), RULE.roles)
    assert vo_roles([value], [rule]) == {}, "a subgroup is not the group"
    assert vo_roles(["urn:mace:surf.nl:sram:group:c-scale"], [rule]) == {"c": frozenset({"member"})}


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error_and_gives_nothing(text: str) -> None:
    assert roles(text) == {}


@given(st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True))
def test_a_group_with_anything_behind_it_is_another_group(suffix: str) -> None:
    assert roles(GOOD.replace("c-scale.eu:", f"c-scale.eu{suffix}:")) == {}


@pytest.mark.parametrize(
    ("required", "held", "gives"),
    [
        ("urn:mace:egi.eu:group:vo.x", "urn:mace:egi.eu:group:vo.x:role=member#aai.egi.eu", True),
        ("urn:mace:egi.eu:group:vo.x", "urn:mace:egi.eu:group:vo.x:sub:role=member", True),
        ("urn:mace:egi.eu:group:vo.x:role=admin", "urn:mace:egi.eu:group:vo.x", False),
        ("urn:mace:egi.eu:group:vo.x", "urn:mace:egi.eu:group:vo.x.evil", False),
        ("urn:mace:egi.eu:group:vo.x", "urn:mace:egi.eu:other:group:vo.x", False),
        ("urn:mace:egi.eu:group:vo.x#aai.egi.eu", "urn:mace:egi.eu:group:vo.x#evil.eu", False),
        ("urn:mace:egi.eu:group:vo.x#aai.egi.eu", "urn:mace:egi.eu:group:vo.x", False),
        ("urn:mace:egi.eu:group:vo.x:sub", "urn:mace:egi.eu:group:vo.x", False),
        ("urn:mace:egi.eu:res:store", "urn:mace:egi.eu:res:store", True),
        ("urn:mace:egi.eu:res:store", "urn:mace:egi.eu:res:store:more", False),
        ("urn:mace:egi.eu:group:vo.x", "nonsense", False),
    ],
)
def test_what_is_required_is_held_or_not(required: str, held: str, gives: bool) -> None:
    assert holds([held], required) is gives
    assert not holds([], required)
