"""VO files are checked, and memberships become groups and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cscale_core.identity.entitlements import vo_roles
from cscale_hub.settings import SettingsError
from cscale_hub.vo_model import VOFile
from cscale_hub.vos import group_names, load_vos, roles_in_groups, vo_names

AQUA = "aquamonitor.c-scale.eu"


def vo(**changes: object) -> dict[str, object]:
    return {
        "title": "T",
        "entitlement": {"group": "g.example"},
        "bucket": "bucket-one",
        **changes,
    }


def load(tmp_path: Path, content: object) -> VOFile:
    path = tmp_path / "vos.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_vos(path)


def test_demonstration_vos_accept_the_entitlements_of_check_in() -> None:
    rules = load_vos().rules()
    values = [
        f"urn:mace:egi.eu:group:{AQUA}:role=manager#aai.egi.eu",
        "urn:mace:egi.eu:group:waterwatch.c-scale.eu:role=vm_operator#aai.egi.eu",
        "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu",
    ]
    assert vo_roles(values, rules) == {
        AQUA: frozenset({"manager"}),
        "waterwatch.c-scale.eu": frozenset({"member"}),
    }


@pytest.mark.parametrize(
    "value",
    [
        f"urn:mace:egi.eu:group:{AQUA}.evil:role=member#aai.egi.eu",
        f"urn:mace:egi.eu:group:{AQUA}:role=member#evil.example",
        f"urn:mace:evil.eu:group:{AQUA}:role=member#aai.egi.eu",
        f"urn:mace:egi.eu:group:{AQUA}:sub:role=member#aai.egi.eu",
        f"urn:mace:egi.eu:group:{AQUA}:role=member",
    ],
)
def test_look_alikes_give_no_vo(value: str) -> None:
    assert vo_roles([value], load_vos().rules()) == {}


def test_groups_and_roles_are_inverse() -> None:
    roles = {AQUA: frozenset({"member", "manager"}), "w.example": frozenset({"member"})}
    groups = group_names(roles)
    assert roles_in_groups(groups) == roles
    assert vo_names([*groups, "other"]) == (AQUA, "w.example")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"vos": {}}, "vos"),
        ({"vos": {"a:b": vo()}}, "cannot be the name"),
        ({"vos": {"a": vo(bucket="UP")}}, "bucket"),
        ({"vos": {"a": vo(), "b": vo()}}, "same bucket"),
        ({"vos": {"a": vo(roles={"manager": ["manager"]})}}, "member"),
        ({"vos": {"a": vo(quota=3)}}, "quota"),
        ({"vos": {"a": vo(entitlement={"group": "g", "authorities": []})}}, "authorities"),
        ({"vos": {"a": vo(entitlement={"group": "g", "namespaces": ["egi"]})}}, "namespaces"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(tmp_path, content)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml"):
        load_vos(tmp_path / "none.yaml")
