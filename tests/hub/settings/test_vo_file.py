"""The VO file: each mistake is told with line and member, and what is right means one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cscale_core.identity.entitlements import vo_roles
from cscale_hub.settings import Settings, SettingsError, dump_settings, load_settings
from cscale_hub.vo_model import VOFile, json_schema
from cscale_hub.vos import accepted_vos, load_vos
from cscale_hub.yaml_text import line_of

WHOLE = """\
profiles:
  small: {title: Small, purpose: Looking., cpu: 1, memory: 2Gi}
  large: {title: Large, cost: Twice., cpu: 4, memory: 16Gi, storage: node}
vos:
  one.example:
    title: One
    entitlement: {group: one.example}
    roles:
      member: [member, vm_operator]
      curator: [curator, "editors:role=member", "editors:text:role=lead"]
    profiles:
      member: [small]
      curator: [small, large]
    quota: {servers: 2, home: 20Gi, storage: 100Gi, cpu_hours_month: 500, total: {storage: 5Ti}}
    bucket: one-own
    products: {member: rw, curator: rwd}
    homes: [member]
    places:
      - {bucket: one-own, prefix: inbox/, purpose: shared, access: {curator: rwd}}
      - bucket: archive
        access: {member: ro}
    shared_notebooks: {publish: [curator], curate: [curator], co_editing: true}
    egress: {everywhere: false, networks: [192.0.2.0/24], hosts: ["proxy.example:3128"]}
    environment: {PROJECT: one}
    enrolment_url: https://example.org/join
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "vos.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = load_vos(write(tmp_path, WHOLE))
    assert file.allowed_profiles() == {
        "one.example": {"member": ("small",), "curator": ("small", "large")}
    }
    (storage,) = file.storages()
    assert storage.buckets == ("one-own", "archive")
    assert file.vos["one.example"].quota.total.storage == "5Ti"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cpu: 1,", "cpu: none,", r"line 2: profiles\.small\.cpu: "),
        ("member: [small]", "visitor: [small]", r"line 5: vos\.one\.example: .*visitor"),
        ("curator: rwd}}", "curator: all}}", r"line 19: vos\.one\.example\.places\.0\.access"),
        ("bucket: archive", "bucket: Archive", r"line 20: vos\.one\.example\.places\.1\.bucket"),
        ("prefix: inbox/", "prefix: users/", "overlap"),
        ("prefix: inbox/", "prefix: ../", "cannot be a prefix"),
        ("homes: [member]", "homes: [nobody]", "homes names roles"),
        ("PROJECT: one", "AWS_PROFILE: one", r"line 24: .*AWS_PROFILE cannot be set"),
        ("PROJECT: one", "LD_PRELOAD: one", "LD_PRELOAD cannot be set"),
        ("PROJECT: one", "JUPYTERHUB_API_TOKEN: x", "cannot be set"),
        ("192.0.2.0/24", "192.0.2.1/24", r"line 23: vos\.one\.example\.egress\.networks\.0"),
        ("https://example.org/join", "javascript:alert(1)", r"line 25: .*enrolment_url"),
        ("editors:role=member", "editors:member", r"line 10: vos\.one\.example\.roles\.curator"),
        ("servers: 2", "servers: 0", r"line 14: vos\.one\.example\.quota\.servers"),
        ("title: One", "titel: One", r"line 6: vos\.one\.example\.titel: Extra"),
        ("    bucket: one-own\n", "", r"line 5: vos\.one\.example\.bucket: Field required"),
        ("  large:", "  small:", r"(?s)'small' is there twice.*line 3"),
        ("    title: One", "    title: [One", "cannot be read"),
    ],
)
def test_mistakes_are_told_with_line_and_member(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in WHOLE
    with pytest.raises(SettingsError, match=said) as caught:
        load_vos(write(tmp_path, WHOLE.replace(old, new, 1)))
    assert str(tmp_path / "vos.yaml") in str(caught.value)


def test_profiles_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"vos\.one\.example\.profiles\.curator .*huge"):
        load_vos(write(tmp_path, WHOLE.replace("[small, large]", "[small, huge]")))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("", "- a\n", "just text\n"):
        with pytest.raises(SettingsError, match="not valid"):
            load_vos(write(tmp_path, text))


def test_an_alias_is_not_mistaken_for_a_second_key(tmp_path: Path) -> None:
    text = WHOLE.replace("quota: {servers: 2,", "quota: &q {servers: 2,")
    assert load_vos(write(tmp_path, text))


def test_names_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    entry = {"title": "T", "entitlement": {"group": "g"}}
    text = yaml.safe_dump(
        {"vos": {"a.b": entry | {"bucket": "one"}, "A.b": entry | {"bucket": "two"}}}
    )
    with pytest.raises(SettingsError, match="upper and lower case"):
        load_vos(write(tmp_path, text))


def test_a_vo_with_too_many_places_is_refused_at_start(tmp_path: Path) -> None:
    entry = {
        "title": "T",
        "entitlement": {"group": "g"},
        "bucket": "own",
        "places": [
            {"bucket": f"bucket-with-a-long-name-{n}", "access": {"member": "ro"}}
            for n in range(40)
        ],
    }
    with pytest.raises(SettingsError, match=r"many\.example: .* fewer than 2048"):
        load_vos(write(tmp_path, yaml.safe_dump({"vos": {"many.example": entry}})))


GROUP = "urn:mace:egi.eu:group:one.example"


@pytest.mark.parametrize(
    ("entitlement", "roles"),
    [
        (f"{GROUP}:role=member#aai.egi.eu", {"member"}),
        (f"{GROUP}#aai.egi.eu", {"member"}),
        (f"{GROUP}:role=curator#aai.egi.eu", {"curator"}),
        (f"{GROUP}:editors:role=member#aai.egi.eu", {"curator"}),
        (f"{GROUP}:editors#aai.egi.eu", {"curator"}),
        (f"{GROUP}:editors:text:role=lead#aai.egi.eu", {"curator"}),
        (f"{GROUP}:editors:text:role=member#aai.egi.eu", None),
        (f"{GROUP}:editors:role=lead#aai.egi.eu", None),
        (f"{GROUP}:text:editors:role=lead#aai.egi.eu", None),
        (f"{GROUP}:editors:role=member#evil.example", None),
        (f"{GROUP}.evil:editors:role=member#aai.egi.eu", None),
        (f"{GROUP}:others:role=curator#aai.egi.eu", None),
        (f"{GROUP}:others:role=member#aai.egi.eu", None),
        (f"{GROUP}:role=editors:role=member#aai.egi.eu", None),
    ],
)
def test_roles_come_from_the_group_and_from_exactly_the_named_sub_groups(
    tmp_path: Path, entitlement: str, roles: set[str] | None
) -> None:
    rules = load_vos(write(tmp_path, WHOLE)).rules()
    assert vo_roles([entitlement], rules) == ({"one.example": roles} if roles else {})


def test_the_same_document_may_stand_in_the_settings(tmp_path: Path) -> None:
    document = yaml.safe_load(WHOLE)
    file = tmp_path / "cscale.yaml"
    file.write_text(yaml.safe_dump({"data": str(tmp_path), "vos": document}), encoding="utf-8")
    settings = load_settings(file, environment=False)
    assert accepted_vos(settings) == load_vos(write(tmp_path, WHOLE))
    dump_settings(settings, tmp_path / "resolved.yaml")
    assert load_settings(tmp_path / "resolved.yaml", environment=False).vos == settings.vos


def test_the_settings_and_a_file_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both"):
        Settings(vos=VOFile.model_validate(yaml.safe_load(WHOLE)), vos_file=tmp_path / "vos.yaml")


def test_the_file_survives_json_as_the_broker_gets_it(tmp_path: Path) -> None:
    file = load_vos(write(tmp_path, WHOLE))
    assert VOFile.model_validate(json.loads(file.model_dump_json())) == file


def test_the_schema_closes_every_object() -> None:
    schema = json_schema()
    objects = [each for each in [schema, *schema["$defs"].values()] if "properties" in each]
    assert len(objects) > 8
    assert all(each["additionalProperties"] is False for each in objects)


def test_lines_are_those_of_the_deepest_part_that_is_there() -> None:
    assert line_of(WHOLE, ("vos", "one.example", "places", 1, "bucket")) == 20
    assert line_of(WHOLE, ("vos", "one.example", "nothing", 3)) == 5
    assert line_of("", ("vos",)) == 1
