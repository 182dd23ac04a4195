"""What the hub writes for a user's server is what the server's model accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cscale_core.providers import Provider, shipped_providers
from cscale_core.site import Site
from cscale_hub.local.services import PORT_NAMES, Wishes, resolved_settings
from cscale_hub.settings import Settings
from cscale_hub.spawn.site import site_document
from cscale_hub.vos import load_vos

AQUA, WATER = "aquamonitor.c-scale.eu", "waterwatch.c-scale.eu"


MEMBER = "urn:mace:egi.eu:group:vo.x:role=member#aai.egi.eu"


def site(tmp_path: Path, roles: dict[str, set[str]], **settings: Any) -> Site:
    ports = {name: 20_000 + number for number, name in enumerate(PORT_NAMES)}
    wishes = Wishes(
        extra_providers=(Provider(id="more", title="More", url="https://stac.example.org/v1"),),
        extra_hosts=("files.example.org",),
    )
    document = site_document(
        resolved_settings(Settings(data=tmp_path, **settings), ports, wishes),
        load_vos(),
        slug="uabc234",
        display_name="A member",
        roles=roles,
        mount=tmp_path / "users" / "uabc234" / "s3",
        mount_mode="fuse",
        entitlements=[MEMBER, MEMBER],
    )
    return Site.model_validate(document)


def test_member_of_one_vo_gets_its_places_only(tmp_path: Path) -> None:
    made = site(tmp_path, {AQUA: {"member"}})
    assert made.vos == (AQUA,)
    assert [(grant.bucket, grant.prefix, grant.access) for grant in made.grants] == [
        ("aquamonitor", "products/", "rw"),
        ("aquamonitor", "users/uabc234/", "rw"),
        ("aquamonitor", "shared/", "ro"),
        ("aquamonitor", "shared/published/uabc234/", "rw"),
    ]


def test_member_of_two_gets_both_and_foreign_vos_count_for_nothing(tmp_path: Path) -> None:
    made = site(tmp_path, {AQUA: {"member"}, WATER: {"manager"}, "other.example": {"member"}})
    assert made.vos == (AQUA, WATER)
    assert {grant.vo for grant in made.grants} == {AQUA, WATER}


def test_user_without_roles_gets_no_place(tmp_path: Path) -> None:
    assert site(tmp_path, {}).grants == ()


def test_federation_has_the_catalogue_both_sites_and_what_was_added(tmp_path: Path) -> None:
    made = site(tmp_path, {AQUA: {"member"}})
    assert [provider.id for provider in made.providers] == [
        "catalogue",
        "site-b",
        "site-c",
        "more",
    ]
    assert "files.example.org" in made.allowed_hosts
    assert made.catalogue.url.endswith("/services/catalogue")


def test_archives_follow_the_providers_and_keep_their_policy(tmp_path: Path) -> None:
    made = site(
        tmp_path,
        {},
        archives={"earth_search": True, "cdse": True, "eodc": False},
        site_registry={"scope": "C-SCALE", "without": ["OLD"]},
    )
    assert [provider.id for provider in made.providers][-2:] == ["cdse", "earth-search"]
    cdse = next(provider for provider in made.providers if provider.id == "cdse")
    assert cdse == shipped_providers()["cdse"]
    assert made.site_registry is not None
    assert made.site_registry.without == ("OLD",)


def test_the_users_entitlements_are_told_once_and_no_registry_is_the_default(
    tmp_path: Path,
) -> None:
    made = site(tmp_path, {})
    assert made.entitlements == (MEMBER,)
    assert made.site_registry is None


def test_slug_that_could_widen_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prefix"):
        site_document(
            Settings(data=tmp_path),
            load_vos(),
            slug="u*",
            display_name="",
            roles={AQUA: {"member"}},
            mount=tmp_path,
            mount_mode="none",
        )
