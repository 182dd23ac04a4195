"""Profiles, what is offered of them, and the words for what is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cscale_hub.profiles import Offer, Profile, ProfileRefused, choose, offers, size_bytes
from cscale_hub.quotas import Used, refusal, remaining, words
from cscale_hub.vo_model import Quota

PROFILES = {name: Profile(title=name.title()) for name in ("small", "large", "gpu")}
ALLOWED = {
    "a.example": {"member": ("small",), "manager": ("large", "small")},
    "b.example": {"member": ("gpu",)},
}


def offered(**held: set[str]) -> list[tuple[str, str]]:
    roles = {f"{vo}.example": given for vo, given in held.items()}
    return [(offer.vo, offer.name) for offer in offers(PROFILES, ALLOWED, roles)]


def test_each_role_adds_its_profiles_in_the_order_of_the_file() -> None:
    assert offered(a={"member"}) == [("a.example", "small")]
    assert offered(a={"manager"}, b={"member"}) == [
        ("a.example", "small"),
        ("a.example", "large"),
        ("b.example", "gpu"),
    ]
    assert offered(a={"guest"}, c={"member"}) == []


everything = offers(PROFILES, ALLOWED, {"a.example": {"manager"}, "b.example": {"member"}})
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=3
)
members = st.one_of(st.sampled_from(["profile", "vo"]), st.text(max_size=8))
values = st.one_of(anything, st.sampled_from(["small", "large", "gpu", "a.example", "b.example"]))


@given(st.sets(st.sampled_from(range(len(everything)))), st.dictionaries(members, values))
def test_whatever_is_asked_for_only_an_offer_comes_out(some: set[int], asked: Any) -> None:
    offered = [everything[number] for number in sorted(some)]
    try:
        chosen = choose(offered, asked)
    except ProfileRefused:
        return
    assert chosen in offered
    assert asked.keys() <= {"profile", "vo"}
    assert asked.get("profile") in (None, "", chosen.name)
    assert asked.get("vo") in (None, "", chosen.vo)


def test_a_profile_of_two_vos_is_taken_from_the_first_unless_one_is_named() -> None:
    some = [Offer(vo, "small", PROFILES["small"]) for vo in ("a.example", "b.example")]
    assert choose(some, {"profile": "small"}).vo == "a.example"
    assert choose(some, {"profile": "small", "vo": "b.example"}).vo == "b.example"
    assert choose(some, {"vo": "b.example"}).vo == "b.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu": 0},
        {"cpu": 1, "cpu_guarantee": 2},
        {"memory": "4GB"},
        {"memory": "0Gi"},
        {"memory": "1Gi", "memory_guarantee": "2Gi"},
        {"gpu": -1},
        {"image": "evil image"},
        {"storage": "nfs"},
        {"title": ""},
        {"privileged": True},
    ],
)
def test_wrong_profiles_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Profile.model_validate({"title": "T", **changes})


def test_a_profile_says_its_size_and_its_price() -> None:
    profile = Profile(title="T", cpu=1.5, memory="512Mi", gpu=1)
    assert profile.size == "1.5 CPU, 512 MiB memory, 1 GPU"
    assert profile.price == (
        "Each hour counts 1.5 CPU hours and 1 GPU hour for the virtual organisation."
    )
    assert Profile(title="T").size == "No limits"
    assert Profile(title="T", cost="Free.").price == "Free."
    assert size_bytes("2Gi") == 2 * 2**30


OWN = Quota.model_validate({"cpu_hours_month": 10})
ALL = Quota.model_validate({"cpu_hours_month": 10, "total": {"cpu_hours_month": 100}})


@pytest.mark.parametrize(
    ("quota", "used", "left"),
    [
        (Quota(), Used(1000, 1000), None),
        (OWN, Used(4, 1000), 6),
        (OWN, Used(12, 12), 0),
        (ALL, Used(4, 97), 3),
        (ALL, Used(0, 100), 0),
    ],
)
def test_the_tighter_bound_counts(quota: Quota, used: Used, left: float | None) -> None:
    assert remaining(quota, used) == left


def test_words_say_whose_allowance_it_is() -> None:
    assert words(Quota(), Used(1, 1)) == ""
    assert words(ALL, Used(4, 20)) == "6 of your 10 CPU hours are left this month."
    assert words(ALL, Used(4, 97)) == "3 CPU hours are left for all members this month."
    assert refusal("Aqua", ALL, Used(4, 97), running=0) == ""
    assert "your allowance" in refusal("Aqua", ALL, Used(10, 20), running=0)
    assert "all members' allowance" in refusal("Aqua", ALL, Used(1, 100), running=0)
    assert "one server at a time for Aqua" in refusal("Aqua", ALL, Used(0, 0), running=1)
    two = Quota(servers=2)
    assert refusal("Aqua", two, Used(0, 0), running=1) == ""
    assert "2 servers at a time" in refusal("Aqua", two, Used(0, 0), running=2)
