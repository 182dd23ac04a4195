"""helm, and the charts of others where they can be had.

helm is taken from ``PATH`` or built from its Go modules. The charts of others are not kept here:
``CSCALE_CHARTS`` names a folder with them, each under its name in ``helm-values/charts.yaml``
(a checkout's chart or an unpacked package).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cluster import programs

FOLDER = Path(__file__).parents[2] / "helm-values"
KUBERNETES = programs.VERSION
SITES = sorted(path.stem for path in (FOLDER / "sites").glob("*.yaml"))
STORAGE = sorted(path.stem for path in (FOLDER / "storage").glob("*.yaml"))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with helm in it."""
    try:
        return programs.helm_folder(tmp_path_factory.mktemp("helm"))
    except programs.Missing as error:
        pytest.skip(str(error))


@pytest.fixture
def helm_on_path(helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{helm}:{os.environ['PATH']}")


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The chart of others with a name, ready for helm; the test is skipped without it."""

    def find(name: str) -> Path:
        named = os.environ.get("CSCALE_CHARTS", "")
        source = Path(named, name)
        if not named or not (source / "Chart.yaml").is_file():
            pytest.skip(f"the chart {name} is not here: name a folder that has it by CSCALE_CHARTS")
        copy = tmp_path_factory.mktemp("charts") / name
        shutil.copytree(source, copy)
        _as_packaged(copy)
        return copy

    return find


def _as_packaged(chart: Path) -> None:
    """A checkout's chart as its package is: the schema in JSON, no parts that are not there."""
    schema, packaged = chart / "values.schema.yaml", chart / "values.schema.json"
    if schema.is_file() and not packaged.is_file():
        content = yaml.safe_load(schema.read_text(encoding="utf-8"))
        packaged.write_text(json.dumps(content), encoding="utf-8")
    definition = chart / "Chart.yaml"
    document = yaml.safe_load(definition.read_text(encoding="utf-8"))
    if document.pop("dependencies", None) and not (chart / "charts").is_dir():
        definition.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A chart in the place of the zero-to-jupyterhub chart: it takes any values."""
    folder = tmp_path / "stand-in"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(
        yaml.safe_dump({"apiVersion": "v2", "name": "jupyterhub", "version": "0.0.1"}),
        encoding="utf-8",
    )
    (folder / "templates" / "objects.yaml").write_text(
        re.sub(
            r"^ {8}",
            "",
            """\
        apiVersion: v1
        kind: Secret
        metadata: {name: hub}
        stringData:
          values.yaml: {{ .Values.custom | toYaml | quote }}
        ---
        apiVersion: v1
        kind: ServiceAccount
        metadata: {name: hub}
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: hub}
        data:
          image: {{ .Values.hub.image.name }}:{{ .Values.hub.image.tag }}
        """,
            flags=re.MULTILINE,
        ),
        encoding="utf-8",
    )
    return folder
