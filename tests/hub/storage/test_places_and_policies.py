"""Layouts with many buckets: a policy allows exactly what they say; unsafe ones are refused.

``expected`` says from the places alone, without any policy, who may do what; for random VO sets
and users the evaluator has to come to the same for every action and key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cscale_core.identity.slug import user_slug
from cscale_hub.places import Place, StorageError, VOStorage, check_layout, check_prefix
from cscale_hub.storage import (
    SESSION_POLICY_LIMIT,
    PolicyTooLongError,
    check_policies,
    distinct,
    grants,
    outermost,
    reachable,
    session_policy,
    vo_policies,
)
from tests.hub.storage.evaluator import BUCKET_ACTIONS, OBJECT_ACTIONS, allows

ALICE, BOB = user_slug("a" * 64 + "@egi.eu"), user_slug("b" * 64 + "@egi.eu")
NEEDED = {
    "s3:GetObject": {"ro", "rw", "rwd"},
    "s3:PutObject": {"rw", "rwd"},
    "s3:AbortMultipartUpload": {"rw", "rwd"},
    "s3:ListMultipartUploadParts": {"rw", "rwd"},
    "s3:DeleteObject": {"rwd"},
}
ROLES = ("member", "manager", "guest")


def expected(
    vos: list[VOStorage], held: Mapping[str, frozenset[str]], slug: str, action: str, path: str
) -> bool:
    bucket, _, key = path.partition("/")
    for vo in vos:
        roles = held.get(vo.name, frozenset())
        for place in vo.places(roles):
            levels = {place.access[role] for role in roles if role in place.access}
            if (
                place.bucket == bucket
                and key.startswith(place.prefix.replace("{user}", slug))
                and levels & NEEDED.get(action, set())
            ):
                return True
    return False


# -- random VO sets --------------------------------------------------------------------------------

levels = st.sampled_from(["ro", "rw", "rwd"])
access = st.dictionaries(st.sampled_from(ROLES), levels, min_size=1)
segments = st.sampled_from(["data", "scratch", "users", "products", "raw", "v1.2", "a"])
prefixes = st.lists(st.one_of(segments, st.just("{user}")), max_size=3).map(
    lambda parts: "".join(f"{part}/" for part in dict.fromkeys(parts))
)
FURTHER = ("archive", "scratch-of-all")


@st.composite
def vo_sets(draw: st.DrawFn) -> list[VOStorage]:
    """VOs whose layout is accepted; many a further place is not, and is left out."""
    vos: list[VOStorage] = []
    for number in range(draw(st.integers(1, 4))):
        own = f"own-{number}"
        vo = VOStorage(
            f"vo{number}.example",
            own,
            draw(st.one_of(st.just({}), access)),
            draw(st.frozensets(st.sampled_from(ROLES), max_size=2)),
        )
        for bucket in draw(st.lists(st.sampled_from([own, *FURTHER]), max_size=3)):
            place = Place(bucket, draw(prefixes), "shared", draw(access))
            try:
                more = VOStorage(vo.name, own, vo.products, vo.homes, (*vo.further, place))
                check_layout([*vos, more])
            except StorageError:
                continue
            vo = more
        vos.append(vo)
    return vos


held_roles = st.dictionaries(
    st.sampled_from([f"vo{n}.example" for n in range(4)]),
    st.frozensets(st.sampled_from(ROLES), min_size=1),
)
keys = st.lists(
    st.one_of(segments, st.sampled_from([ALICE, BOB, "", "*", "?", "${aws:username}", "..", "ü"])),
    max_size=4,
).map("/".join)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(vo_sets(), held_roles, keys, st.sampled_from(OBJECT_ACTIONS))
def test_a_session_allows_exactly_what_the_places_say(
    vos: list[VOStorage], held: dict[str, frozenset[str]], key: str, action: str
) -> None:
    found = grants(vos, held, ALICE)
    assume(found)
    chosen = reachable(found)
    text = session_policy(chosen)
    assert len(text) < SESSION_POLICY_LIMIT
    policy = json.loads(text)
    reached = {grant.vo for grant in chosen}
    mine = {name: roles for name, roles in held.items() if name in reached}
    for bucket in {bucket for vo in vos for bucket in vo.buckets}:
        path = f"{bucket}/{key}"
        assert allows(policy, action, path) is expected(vos, mine, ALICE, action, path)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(vo_sets(), held_roles, st.sampled_from(["", "x", "jobs/1/", "*", "../"]))
def test_nobody_gets_an_allow_on_the_prefix_of_another(
    vos: list[VOStorage], held: dict[str, frozenset[str]], key: str
) -> None:
    found = grants(vos, held, ALICE)
    assume(found)
    policy = json.loads(session_policy(reachable(found)))
    for vo in vos:
        for place in vo.places(ROLES):
            if not place.personal:
                continue
            theirs = place.prefix_of(BOB)
            for action in OBJECT_ACTIONS:
                assert not allows(policy, action, f"{place.bucket}/{theirs}{key}")
            # Neither by a listing of it, nor by one of what lies above it.
            for prefix in (theirs + key, theirs.rstrip("/"), place.common, place.common[:-1], ""):
                for action in BUCKET_ACTIONS:
                    assert not allows(policy, action, place.bucket, prefix)
            assert not allows(policy, "s3:ListBucket", place.bucket, None)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(vo_sets(), held_roles, keys)
def test_listing_is_allowed_below_readable_prefixes_and_nowhere_else(
    vos: list[VOStorage], held: dict[str, frozenset[str]], prefix: str
) -> None:
    found = reachable(grants(vos, held, ALICE))
    assume(found)
    policy = json.loads(session_policy(found))
    for bucket in {bucket for vo in vos for bucket in vo.buckets}:
        below = any(grant.bucket == bucket and prefix.startswith(grant.prefix) for grant in found)
        assert allows(policy, "s3:ListBucket", bucket, prefix) is below


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(vo_sets(), held_roles, keys, st.sampled_from(OBJECT_ACTIONS))
def test_the_bound_of_the_role_lets_every_session_through(
    vos: list[VOStorage], held: dict[str, frozenset[str]], key: str, action: str
) -> None:
    found = grants(vos, held, ALICE)
    assume(found)
    policy = json.loads(session_policy(reachable(found)))
    bounds = {"Statement": [each for one in vo_policies(vos).values() for each in one["Statement"]]}
    for bucket in {bucket for vo in vos for bucket in vo.buckets}:
        if allows(policy, action, f"{bucket}/{key}"):
            assert allows(bounds, action, f"{bucket}/{key}")
        if allows(policy, "s3:ListBucket", bucket, key):
            assert allows(bounds, "s3:ListBucket", bucket, key)


# -- layouts that are refused ----------------------------------------------------------------------


def vo(name: str, *further: Place, **changes: Any) -> VOStorage:
    return VOStorage(f"{name}.example", name, further=further, **changes)


def place(bucket: str, prefix: str, level: Any = "ro") -> Place:
    return Place(bucket, prefix, "shared", {"member": level})


@pytest.mark.parametrize(
    "prefix",
    [
        *("data", "/", "/data/", "data//", "../", "./", "a b/", "*/", "a?/", "${x}/", "ü/"),
        *("{user}", "x{user}/", "{user}x/", "{User}/", "{user}/{user}/", "a/{slug}/", "a\n/"),
    ],
)
def test_prefixes_that_could_mean_more_are_refused(prefix: str) -> None:
    with pytest.raises(StorageError, match="prefix"):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "users/", "users/uabc234/", "users/x/{user}/", "{user}/"])
def test_no_place_reaches_into_the_members_prefixes(prefix: str) -> None:
    with pytest.raises(StorageError, match="one-vo"):
        vo("one-vo", place("one-vo", prefix))


def test_a_persons_prefix_does_not_contain_another_persons() -> None:
    # For somebody with the slug "a" the one would be above the other.
    with pytest.raises(StorageError, match="overlap"):
        vo("one-vo", place("scratch", "x/{user}/"), place("scratch", "x/a/{user}/"))


@pytest.mark.parametrize("prefix", ["", "products/", "data/", "{user}/"])
def test_the_bucket_of_a_vo_is_closed_to_others(prefix: str) -> None:
    with pytest.raises(StorageError, match=r"one-vo.*two-vo|two-vo.*one-vo"):
        check_layout([vo("one-vo"), vo("two-vo", place("one-vo", prefix))])


def test_what_two_vos_reach_both_may_only_read() -> None:
    reader, writer = place("archive", "data/"), place("archive", "data/2026/", "rw")
    check_layout([vo("one-vo", reader), vo("two-vo", reader)])
    check_layout([vo("one-vo", reader), vo("two-vo", place("archive", "other/", "rwd"))])
    with pytest.raises(StorageError, match="both may only read"):
        check_layout([vo("one-vo", reader), vo("two-vo", writer)])


def test_too_many_places_for_one_policy_name_the_vo_and_the_roles() -> None:
    many = vo("one-vo", *(place(f"bucket-number-{n}", f"data/{n}/") for n in range(30)))
    with pytest.raises(PolicyTooLongError, match=r"one-vo\.example: .* of member"):
        check_policies([many], {"one-vo.example": ["manager", "member"]})


def fits(storage: VOStorage, *roles: str) -> bool:
    try:
        return bool(session_policy(grants([storage], {storage.name: roles}, ALICE)))
    except PolicyTooLongError:
        return False


def test_the_longest_policy_is_found_although_more_roles_make_a_shorter_one() -> None:
    """With both roles all places are equal; with one they differ and need more statements."""
    kinds: tuple[Any, ...] = ("ro", "rw", "rwd")
    storages = [
        vo(
            "one-vo",
            *(
                Place(f"b{n:02}", "", "shared", {"member": kinds[n % 3], "manager": "rwd"})
                for n in range(number)
            ),
        )
        for number in range(40)
    ]
    found = [each for each in storages if fits(each, "manager", "member")]
    (storage, *_) = [each for each in found if not fits(each, "member")]
    with pytest.raises(PolicyTooLongError, match=r"of member make"):
        check_policies([storage], {storage.name: ["manager", "member"]})


def test_somebody_in_very_many_vos_gets_whole_vos_and_first_that_of_the_server() -> None:
    vos = [VOStorage(f"vo{n:02}.example", f"bucket-of-vo-number-{n:02}") for n in range(40)]
    found = grants(vos, {each.name: {"member"} for each in vos}, ALICE)
    first = reachable(found, "vo37.example")
    names = [grant.vo for grant in first]
    assert "vo37.example" in names
    assert "vo00.example" in names
    assert all(names.count(name) == 2 for name in names)
    assert first == [grant for grant in found if grant.vo in names]  # in their order
    assert len(session_policy(first)) < SESSION_POLICY_LIMIT
    left_out = next(each.name for each in vos if each.name not in names)
    more = [grant for grant in found if grant.vo in {*names, left_out}]
    with pytest.raises(PolicyTooLongError):
        session_policy(more)
    assert all(one <= other for one, other in pairwise(names))


def test_a_whole_bucket_is_listed_without_a_prefix_too() -> None:
    found = grants([vo("one-vo", place("archive", ""))], {"one-vo.example": {"member"}}, ALICE)
    policy = json.loads(session_policy(found))
    assert allows(policy, "s3:ListBucket", "archive")
    assert allows(policy, "s3:GetObject", "archive/any/thing")
    assert not allows(policy, "s3:PutObject", "archive/any/thing")
    assert not allows(policy, "s3:ListBucket", "one-vo")


def test_roles_have_the_access_that_is_written_and_homes_only_where_named() -> None:
    storage = vo("one-vo", products={"guest": "ro", "member": "rw"}, homes=frozenset({"member"}))

    def access_of(*roles: str) -> list[tuple[str, str, bool]]:
        found = grants([storage], {storage.name: roles}, ALICE)
        return [(grant.prefix, grant.access, grant.delete) for grant in found]

    assert access_of("guest") == [("products/", "ro", False)]
    assert access_of("member", "guest") == [
        ("products/", "rw", False),
        (f"users/{ALICE}/", "rw", True),
    ]
    assert access_of("manager") == []


def test_an_archive_that_two_vos_reach_is_one_grant() -> None:
    vos = [vo("one-vo", place("archive", "")), vo("two-vo", place("archive", "open/"))]
    found = grants(vos, {each.name: {"member"} for each in vos}, ALICE)
    archives = [grant for grant in found if grant.bucket == "archive"]
    assert [grant.prefix for grant in archives] == ["", "open/"]
    assert [grant.prefix for grant in distinct(archives)] == [""]
    assert distinct([*archives, *archives]) == archives[:1]
    assert session_policy(found) == session_policy(distinct(found))


def test_a_grant_that_allows_more_stays_inside_one_that_allows_less() -> None:
    wide = Place("archive", "", "archive", {"member": "ro"})
    deep = Place("archive", "inbox/", "shared", {"member": "rwd"})
    found = grants([vo("one-vo", wide, deep)], {"one-vo.example": {"member"}}, ALICE)
    assert distinct(found) == found
    # It is seen through the other: nothing can be mounted below what is read-only.
    assert [grant.prefix for grant in outermost(found) if grant.bucket == "archive"] == [""]
    assert {grant.bucket for grant in outermost(found)} == {grant.bucket for grant in found}
