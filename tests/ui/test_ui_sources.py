"""The panel's own tests and types, and what may and may not be in what is built."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.panel_packages import UI, npm, packages

LARGEST = 1_000_000
LARGEST_SHELL = 30_000

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", name="packages")
def _packages() -> Path:
    return packages()


@pytest.mark.usefixtures("packages")
def test_types_agree_with_the_api() -> None:
    checked = npm("run", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.usefixtures("packages")
def test_the_panels_own_tests_pass() -> None:
    tested = npm("test")
    assert tested.returncode == 0, (tested.stdout + tested.stderr)[-8000:]


def test_lock_names_no_registry() -> None:
    """Packages come from wherever npm is set up to get them, with their checksums."""
    lock = json.loads((UI / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
    addresses = {entry["resolved"] for entry in packages.values() if "resolved" in entry}
    assert {address for address in addresses if "registry.npmjs.org" not in address} == set()


def bundles() -> list[Path]:
    found = [*(UI / "labextension/static").glob("*.js"), *(UI / "cscale_ui/static").glob("*.js")]
    assert len(found) == 3, "the panel is not built: pip install -e . does it"
    return found


def test_all_that_is_built_is_below_a_megabyte() -> None:
    assert sum(path.stat().st_size for path in bundles()) < LARGEST


def test_jupyterlab_loads_only_its_shell_at_start() -> None:
    """The panel's module follows, from the user's server, when the panel is first shown."""
    shell = [path for path in bundles() if path.parent.parent.name == "labextension"]
    assert sum(path.stat().st_size for path in shell) < LARGEST_SHELL
    text = "".join(path.read_text(encoding="utf-8") for path in shell)
    assert "static/cscale/panel.js" in text
    # Browsers keep the module for as long as its address names the same version.
    module = (UI / "cscale_ui/static/panel.js").read_bytes()
    assert hashlib.sha256(module).hexdigest()[:16] in text


def test_bundles_load_nothing_from_elsewhere() -> None:
    """Addresses in them are names of schemas and vocabularies, and of who made a library."""
    known = ("http://www.w3.org/", "https://schema.c-scale.eu/", "https://leafletjs.com")
    for path in bundles():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[A-Za-z0-9][^\s\"'`)<>\\]*", text))
        assert {address for address in addresses if not address.startswith(known)} == set()
        assert not re.search(r"\b(innerHTML|outerHTML)\s*=\s*[^=\"']*\b(title|description)\b", text)


def test_settings_of_jupyterlab_have_defaults() -> None:
    schema = json.loads((UI / "schema/panel.json").read_text(encoding="utf-8"))
    assert all("default" in entry for entry in schema["properties"].values())


def test_only_the_lab_part_uses_jupyterlabs_modules() -> None:
    wrong = [
        str(path.relative_to(UI))
        for path in (UI / "src").rglob("*.ts*")
        if path.parts[len(UI.parts) + 1] != "lab"
        and re.search(r"from \"@(jupyterlab|lumino)/", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
