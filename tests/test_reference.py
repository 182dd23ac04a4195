"""The reference documentation is what the code says: complete, and the same on every machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cscale_hub.settings import json_schema
from scripts import reference

COMMAND = "make reference"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return reference.documents()


def test_committed_reference_is_what_the_code_says(documents: dict[str, str]) -> None:
    old = [
        name
        for name, text in documents.items()
        if not (file := reference.FOLDER / name).is_file()
        or file.read_text(encoding="utf-8") != text
    ]
    assert old == [], f"docs/reference is behind the code; run: {COMMAND}"


def test_nothing_else_lies_in_the_folder(documents: dict[str, str]) -> None:
    strays = {file.name for file in reference.FOLDER.iterdir()} - set(documents)
    assert strays == set(), "docs/reference holds generated files only"


def test_every_member_of_the_settings_and_of_the_files_is_described() -> None:
    silent = [
        path
        for schema in (json_schema(), reference.vos_schema(), reference.providers_schema())
        for path, about in reference.members(schema)
        if not about
    ]
    assert silent == [], "give the field a description"


def test_every_command_and_option_has_a_help_text() -> None:
    silent = []
    for command, context in reference.commands():
        if not command.help:
            silent.append(context.command_path)
        silent += [
            f"{context.command_path} {option}"
            for option, about in reference.options(command, context)
            if not about
        ]
    assert silent == []


def test_nested_variables_are_spelled_as_the_settings_read_them(
    documents: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`CSCALE_IDENTITY__REFRESH_INTERVAL`" in documents["settings.md"]
    monkeypatch.setenv("CSCALE_IDENTITY__REFRESH_INTERVAL", "17")
    monkeypatch.setenv("CSCALE_IDENTITY__SCOPES", '["openid"]')
    settings = reference.Settings()
    assert (settings.identity.refresh_interval, settings.identity.scopes) == (17, ("openid",))


def test_reference_is_the_same_on_another_machine(
    documents: dict[str, str], tmp_path: Path
) -> None:
    code = (
        f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from scripts.reference import documents; print(json.dumps(documents()))"
    )
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "CSCALE_DATA": str(tmp_path / "data"),
        "CSCALE_HUB__PORT": "9000",
        "COLUMNS": "40",
        "LANG": "C",
        "TZ": "Pacific/Auckland",
        "PYTHONHASHSEED": "7",
    }
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == documents


def test_reference_names_no_folder_of_this_machine(documents: dict[str, str]) -> None:
    here = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())} - {"/", "/usr"}
    found = [(name, path) for name, text in documents.items() for path in here if path in text]
    assert found == []


def test_links_lead_somewhere(documents: dict[str, str]) -> None:
    pages = {name: text for name, text in documents.items() if name.endswith(".md")}
    headings = {
        name: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        for name, text in pages.items()
    }
    broken = []
    for name, text in pages.items():
        prose = re.sub(r"`[^`\n]*`", "", text)  # a pattern in code may look like a link
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            page, _, fragment = target.partition("#")
            known = not page or (reference.FOLDER / page).is_file()
            if not known or (fragment and fragment not in headings.get(page or name, set())):
                broken.append(f"{name}: {target}")
    assert broken == []


def test_signatures_are_shown_as_they_are_written(documents: dict[str, str]) -> None:
    page = documents["python.md"]
    assert (
        "def mount_path(address: ObjectAddress, site: Site, *, canonical: bool = False) -> str"
        in page
    )
    assert "async def stage(\n    plan: StagingPlan,\n" in page
    assert "\n### `_" not in page


def test_every_error_code_has_a_status_and_a_meaning(documents: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| .* \| (.+) \|$", documents["rest.md"], re.M)
    codes = {code for code, _, _ in rows}
    assert {"not_found", "login_required", "upstream_timeout", "not_configured"} <= codes
    assert ("storage_full", "507") in {(code, status) for code, status, _ in rows}
