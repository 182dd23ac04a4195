"""The S3 policies: what they allow, to whom, and which names they refuse.

The property tests ask for what must never be allowed, for random virtual organisations and users.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.identity.slug import user_slug
from cscale_core.site import Grant
from cscale_hub.places import StorageError, VOStorage
from cscale_hub.storage import (
    SESSION_POLICY_LIMIT,
    PolicyTooLongError,
    StorageGrant,
    grants,
    job_prefix,
    openeo_policies,
    openeo_session_policy,
    session_policy,
    vo_policies,
)
from tests.hub.storage.evaluator import BUCKET_ACTIONS, OBJECT_ACTIONS, allows

ALICE, BOB = user_slug("a" * 64 + "@egi.eu"), user_slug("b" * 64 + "@egi.eu")
AQUA = VOStorage("aquamonitor.c-scale.eu", "aquamonitor")
WATER = VOStorage("waterwatch.c-scale.eu", "waterwatch")


def policy_of(slug: str, *vos: VOStorage, roles: frozenset[str] = frozenset({"member"})) -> Any:
    return json.loads(session_policy(grants(vos, {vo.name: roles for vo in vos}, slug)))


# -- behaviour -------------------------------------------------------------------------------------


def test_a_member_gets_products_and_home_of_each_vo_in_the_shape_of_the_site_file() -> None:
    held = {AQUA.name: {"member"}, WATER.name: {"manager"}, "other.vo": {"member"}}
    given_grants = grants([WATER, AQUA], held, ALICE)
    site = [Grant.model_validate(each.site_grant()) for each in given_grants]
    assert [(g.bucket, g.prefix, g.access, g.purpose) for g in site] == [
        ("aquamonitor", "products/", "rw", "products"),
        ("aquamonitor", f"users/{ALICE}/", "rw", "home"),
        ("waterwatch", "products/", "rw", "products"),
        ("waterwatch", f"users/{ALICE}/", "rw", "home"),
    ]


def test_no_role_in_a_vo_means_no_grant_there() -> None:
    assert grants([AQUA, WATER], {AQUA.name: set()}, ALICE) == []


def test_credentials_that_reach_nothing_are_not_made() -> None:
    with pytest.raises(StorageError, match="no grant"):
        session_policy([])


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"])
def test_a_member_reads_and_writes_products_and_home(action: str) -> None:
    policy = policy_of(ALICE, AQUA)
    assert allows(policy, action, "aquamonitor/products/s2/item/B03.tif")
    assert allows(policy, action, f"aquamonitor/users/{ALICE}/jobs/j1/out.tif")


def test_a_member_deletes_at_home_and_only_a_manager_deletes_products() -> None:
    member, manager = policy_of(ALICE, AQUA), policy_of(ALICE, AQUA, roles=frozenset({"manager"}))
    home, product = f"aquamonitor/users/{ALICE}/x", "aquamonitor/products/x"
    assert allows(member, "s3:DeleteObject", home)
    assert not allows(member, "s3:DeleteObject", product)
    assert allows(manager, "s3:DeleteObject", home)
    assert allows(manager, "s3:DeleteObject", product)


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [
        ("products/", True),
        ("products/s2/", True),
        (f"users/{ALICE}/", True),
        (f"users/{ALICE}/jobs/", True),
        ("", False),
        ("p", False),
        ("products", False),
        ("users/", False),
        (f"users/{ALICE}", False),
        (f"users/{ALICE}x/", False),
        (f"users/{BOB}/", False),
        (None, False),
    ],
)
def test_listing_is_bound_to_the_prefixes(prefix: str | None, allowed: bool) -> None:
    policy = policy_of(ALICE, AQUA)
    assert allows(policy, "s3:ListBucket", "aquamonitor", prefix) is allowed


def test_two_vos_fit_and_say_no_more_than_needed() -> None:
    text = session_policy(grants([AQUA, WATER], {AQUA.name: {"member"}, WATER.name: {"x"}}, ALICE))
    assert len(text) < 1000
    assert " " not in text


def test_too_many_vos_are_refused_with_the_numbers_not_cut_off() -> None:
    vos = [VOStorage(f"vo{i}.c-scale.eu", f"bucket-of-vo-number-{i}") for i in range(40)]
    with pytest.raises(PolicyTooLongError, match=r"characters, S3 takes fewer than 2048"):
        policy_of(ALICE, *vos)


@pytest.mark.parametrize(
    "slug",
    [
        *("*", "?", "u*", "${aws:username}", "$", "", ".", "..", "../b", "a/b", "A", "ü"),
        *("u ", "u\n", 'u"', "u,", "u\0", "u" * 64, "-u"),
    ],
)
def test_adversarial_slugs_are_refused(slug: str) -> None:
    with pytest.raises(StorageError):
        grants([AQUA], {AQUA.name: {"member"}}, slug)


@pytest.mark.parametrize("bucket", ["*", "a?b", "${x}", "", "ab", "Aqua", "a/b", "a.b", "a" * 64])
def test_adversarial_buckets_are_refused(bucket: str) -> None:
    with pytest.raises(StorageError):
        VOStorage("vo", bucket)
    with pytest.raises(StorageError):
        session_policy([StorageGrant(bucket, "products/", "rw", "vo", "products")])


@pytest.mark.parametrize("job", ["*", "..", "a/b", "${x}", "", "a b", "é"])
def test_adversarial_job_ids_are_refused(job: str) -> None:
    with pytest.raises(StorageError):
        job_prefix(ALICE, job)


def test_openeo_reads_products_and_writes_one_job_of_one_user() -> None:
    policy = json.loads(openeo_session_policy("aquamonitor", ALICE, "j-1"))
    assert allows(policy, "s3:GetObject", "aquamonitor/products/x")
    assert not allows(policy, "s3:PutObject", "aquamonitor/products/x")
    assert allows(policy, "s3:PutObject", f"aquamonitor/users/{ALICE}/jobs/j-1/slope.tif")
    assert allows(policy, "s3:DeleteObject", f"aquamonitor/users/{ALICE}/jobs/j-1/slope.tif")
    for other in (f"users/{ALICE}/jobs/j-2/x", f"users/{ALICE}/x", f"users/{BOB}/jobs/j-1/x"):
        for action in OBJECT_ACTIONS:
            assert not allows(policy, action, f"aquamonitor/{other}")


def test_the_bound_of_a_role_covers_its_session_policies_and_names_only_vo_buckets() -> None:
    bounds = vo_policies([AQUA, WATER])
    assert list(bounds) == ["vo-aquamonitor", "vo-waterwatch"]
    for key in ("products/x", f"users/{ALICE}/x"):
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allows(bounds["vo-aquamonitor"], action, f"aquamonitor/{key}")
    assert not any(
        allows(bounds["vo-aquamonitor"], action, resource, "products/")
        for action in (*OBJECT_ACTIONS, *BUCKET_ACTIONS)
        for resource in ("waterwatch", "waterwatch/products/x", "aquamonitor/other/x", "*")
    )
    bound = openeo_policies([AQUA])["openeo-aquamonitor"]
    assert allows(bound, "s3:PutObject", f"aquamonitor/users/{ALICE}/jobs/j/x")
    assert not allows(bound, "s3:PutObject", f"aquamonitor/users/{ALICE}/notes.txt")
    assert not allows(bound, "s3:DeleteObject", "aquamonitor/products/x")


# -- properties ------------------------------------------------------------------------------------

subjects = st.text(min_size=1, max_size=80)
bucket_names = st.from_regex(r"\A[a-z0-9][a-z0-9-]{1,12}[a-z0-9]\Z")
key_parts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=0, max_size=12
).filter(lambda part: part not in (".", ".."))
roles = st.frozensets(st.sampled_from(["member", "manager", "guest"]), min_size=1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[VOStorage], dict[str, frozenset[str]], list[VOStorage]]:
    """VOs, the roles of a user in some of them, and the VOs the user is not in."""
    names = draw(st.lists(bucket_names, min_size=1, max_size=6, unique=True))
    vos = [VOStorage(f"{name}.c-scale.eu", name) for name in names]
    member_of = draw(st.lists(st.sampled_from(vos), max_size=3, unique=True))
    held = {vo.name: draw(roles) for vo in member_of}
    return vos, held, [vo for vo in vos if vo.name not in held]


@given(worlds(), subjects, subjects, key_parts)
def test_no_user_reaches_another_users_prefix_or_a_foreign_vo(
    world: tuple[list[VOStorage], dict[str, frozenset[str]], list[VOStorage]],
    one: str,
    other: str,
    key: str,
) -> None:
    vos, held, foreign = world
    mine, theirs = user_slug(one), user_slug(other)
    given_grants = grants(vos, held, mine)
    if not given_grants:
        assert not held
        return
    text = session_policy(given_grants)
    assert len(text) < SESSION_POLICY_LIMIT
    policy = json.loads(text)
    for vo in vos:
        if mine != theirs:
            for action in OBJECT_ACTIONS:
                assert not allows(policy, action, f"{vo.bucket}/users/{theirs}/{key}")
            for prefix in (f"users/{theirs}", f"users/{theirs}/{key}", "users/", "", f"u{key}"):
                if not prefix.startswith(f"users/{mine}/"):
                    assert not allows(policy, "s3:ListBucket", vo.bucket, prefix)
    for vo in foreign:
        for prefix in ("", "products/", f"users/{mine}/", key):
            for action in BUCKET_ACTIONS:
                assert not allows(policy, action, vo.bucket, prefix)
        for path in ("products/", f"users/{mine}/", "", f"users/{theirs}/"):
            for action in OBJECT_ACTIONS:
                assert not allows(policy, action, f"{vo.bucket}/{path}{key}")


@given(worlds(), subjects, st.sampled_from(BUCKET_ACTIONS[1:]), key_parts)
def test_no_bucket_action_but_listing_is_ever_allowed(
    world: tuple[list[VOStorage], dict[str, frozenset[str]], list[VOStorage]],
    subject: str,
    action: str,
    prefix: str,
) -> None:
    vos, held, _ = world
    if not held:
        return
    policy = json.loads(session_policy(grants(vos, held, user_slug(subject))))
    for vo in vos:
        for each in (prefix, "products/", None):
            assert not allows(policy, action, vo.bucket, each)


@given(st.text(max_size=70))
def test_whatever_a_slug_is_the_policy_holds_no_wildcard_from_it(slug: str) -> None:
    try:
        text = session_policy(grants([AQUA], {AQUA.name: {"member"}}, slug))
    except StorageError:
        return
    resources = [r for s in json.loads(text)["Statement"] for r in s["Resource"]]
    assert all(r.rstrip("*").count("*") == 0 and "?" not in r and "$" not in r for r in resources)
