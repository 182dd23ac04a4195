"""The house stands straight: imports go one way, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "cscale_hub": ROOT / "hub/cscale_hub",
    "cscale_core": ROOT / "extensions/core/cscale_core",
    "cscale_server": ROOT / "extensions/server/cscale_server",
    "cscale_openeo": ROOT / "extensions/openeo/cscale_openeo",
    "cscale_mqs": ROOT / "extensions/mqs/cscale_mqs",
    "cscale_ui": ROOT / "extensions/ui/cscale_ui",
    "cscale_widget": ROOT / "extensions/widget/cscale_widget",
    "cscale_cli": ROOT / "extensions/cli/cscale_cli",
}
# What each package may import of the others.
ALLOWED = {
    "cscale_core": set(),
    "cscale_ui": set(),
    "cscale_server": {"cscale_core", "cscale_ui"},
    "cscale_openeo": {"cscale_core"},
    "cscale_mqs": {"cscale_core"},
    "cscale_widget": {"cscale_core", "cscale_ui"},
    "cscale_hub": {
        "cscale_core.backends",
        "cscale_core.clusters",
        "cscale_core.identity",
        "cscale_core.providers",
    },
    "cscale_cli": {"cscale_core", "cscale_hub"},
}
# Inside core: a floor may use what is below it.
FLOORS = [
    {
        "errors",
        "backends",
        "clusters",
        "providers",
        "site",
        "addresses",
        "identity",
        "grids",
        "raster",
        "objects",
        "http",
        "transport",
        "untrusted",
    },
    {"catalog", "ingest", "notebooks"},
    {"workflows", "tiles", "codegen"},
    {"jobs", "saved"},
    {"client", "spark"},
]


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGES[package].rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    wrong = []
    for path, tree in modules(package):
        for name in imported(tree):
            owner = name.split(".")[0]
            if owner not in PACKAGES or owner == package:
                continue
            if not any(
                name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[package]
            ):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_floors_of_core_stand_on_each_other() -> None:
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    wrong = []
    for path, tree in modules("cscale_core"):
        here = path.relative_to(PACKAGES["cscale_core"]).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        assert here in floor_of, f"{here} has no floor: add it to FLOORS"
        for name in imported(tree):
            if not name.startswith("cscale_core."):
                continue
            there = name.split(".")[1]
            if floor_of.get(there, 0) > floor_of[here]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(package: str) -> None:
    silent = [str(path) for path, tree in modules(package) if not ast.get_docstring(tree)]
    assert silent == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("cscale_core.client", {"boto3", "rasterio", "openeo", "numpy", "tornado"}),
        ("cscale_server", {"boto3", "rasterio", "openeo", "leafmap", "pandas", "pyspark"}),
        ("cscale_hub.settings", {"rasterio", "boto3", "pyspark", "fastapi"}),
    ],
)
def test_light_modules_stay_light(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(run.stdout.split()) == set()


def test_no_file_reaches_for_another_network_or_interface() -> None:
    """Works offline, listens on loopback: no CDN, no 0.0.0.0 in what is shipped."""
    forbidden = ("cdn.jsdelivr", "unpkg.com", "cdnjs", "fonts.googleapis", "0.0.0.0")
    wrong = []
    for folder in PACKAGES.values():
        for path in folder.rglob("*"):
            if path.suffix not in {".py", ".html", ".css", ".js", ".yaml", ".json"}:
                continue
            text = path.read_text(encoding="utf-8")
            wrong += [f"{path.relative_to(ROOT)}: {word}" for word in forbidden if word in text]
    assert wrong == []
