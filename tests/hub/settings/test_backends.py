"""Back ends of the federation are known, off, and turned on by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cscale_core.backends import shipped_backends
from cscale_core.site import Site
from cscale_hub.settings import OpenEOSettings, Settings
from cscale_hub.spawn.site import site_document
from cscale_hub.vos import load_vos

OWN = OpenEOSettings(id="own", title="Own", url="https://own.example", audience="openeo")


def offered(tmp_path: Path, settings: Settings) -> list[str]:
    """Ids of the back ends in a user's site file."""
    document = site_document(
        settings,
        load_vos(),
        slug="uabc234",
        display_name="A member",
        roles={},
        mount=tmp_path,
        mount_mode="none",
    )
    return [backend.id for backend in Site.model_validate(document).openeo]


def test_no_back_end_of_the_federation_is_offered_unasked(tmp_path: Path) -> None:
    assert offered(tmp_path, Settings(data=tmp_path, openeo=(OWN,))) == ["own"]


def test_back_ends_that_are_turned_on_come_after_the_own(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, openeo=(OWN,), backends={"eodc": True, "cdse": False})
    assert offered(tmp_path, settings) == ["own", "eodc"]


def test_entry_of_the_settings_stands_for_the_shipped_one(tmp_path: Path) -> None:
    mine = OpenEOSettings(id="eodc", title="Mine", url="https://eodc.example", audience="openeo")
    settings = Settings(data=tmp_path, openeo=(mine,), backends={"eodc": True})
    assert [backend.title for backend in settings.offered_backends] == ["Mine"]


def test_back_end_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="not known: nope"):
        Settings(data=tmp_path, backends={"nope": True})


def test_token_of_the_broker_goes_to_none_that_is_shipped() -> None:
    assert {backend.audience for backend in shipped_backends().values()} == {""}
