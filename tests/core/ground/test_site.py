"""The site file: what is wrong in it is said at the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cscale_core.errors import InvalidInput
from cscale_core.site import Site, load_site


def test_a_site_is_read_from_the_file_that_the_environment_names(
    make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(providers=[{"id": "b", "title": "B", "url": "https://b.example.eu"}])
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(site.model_dump(mode="json")), encoding="utf-8")
    monkeypatch.setenv("CSCALE_SITE_FILE", str(file))
    assert load_site() == site


@pytest.mark.parametrize(
    "text", ["", "[]", "{unclosed", "user: u\nsecret: no\n", "user: u\n", "\x00"]
)
def test_a_file_that_is_no_site_is_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match="cannot be used"):
        load_site(file)


def test_no_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="cannot be used"):
        load_site(tmp_path / "absent.yaml")
    monkeypatch.delenv("CSCALE_SITE_FILE", raising=False)
    with pytest.raises(InvalidInput, match="is not set"):
        load_site()


def test_the_right_place_is_found_and_a_missing_one_told(make_site: Callable[..., Site]) -> None:
    site = make_site(
        grants=[
            {
                "bucket": "a",
                "prefix": "archive/",
                "access": "ro",
                "vo": "one",
                "purpose": "archive",
            },
            {
                "bucket": "b",
                "prefix": "products/",
                "access": "rw",
                "vo": "two",
                "purpose": "products",
            },
        ],
        vos=["one", "two"],
    )
    assert site.grant("products").bucket == "b"
    assert site.grant("archive", access="ro").bucket == "a"
    for wanted in ({"purpose": "archive"}, {"purpose": "products", "vo": "one"}):
        with pytest.raises(InvalidInput) as caught:
            site.grant(**wanted)
        assert "one, two" in caught.value.hint
