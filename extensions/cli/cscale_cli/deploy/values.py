"""The value files of a deployment: which, in which order, and what they say together.

The order is ``base.yaml``, ``storage/*.yaml``, ``sites/SITE.yaml``, ``vos/*.yaml``, then files that
are named on the command line; of two that say the same, the later wins. Which storage and which
virtual organisations a site has stands in its own file, below ``custom.cscale.deployment``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cscale_core.errors import InvalidInput
from cscale_hub import yaml_text

Values = dict[str, Any]
OWN = ("custom", "cscale")
CHARTS = "charts.yaml"


@dataclass(frozen=True)
class ValueFiles:
    """The files of one deployment in their order, and what they say together."""

    folder: Path
    site: str
    files: tuple[Path, ...]
    merged: Values

    @property
    def own(self) -> Values:
        """What is ours of it: ``custom.cscale``."""
        return member(self.merged, *OWN)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Two documents as helm merges them: mappings member by member, anything else as a whole.

    What is null above takes the member away (helm's documentation, "Deleting a default key").
    """
    merged = dict(below)
    for name, value in above.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


def member(values: Mapping[str, Any], *names: str) -> Values:
    """A mapping below another; empty where there is none."""
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def read(path: Path) -> Values:
    """One value file.

    :raises InvalidInput: when it is missing, is not YAML or is not a mapping.
    """
    try:
        document = yaml_text.load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInput(f"The values {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"The values {path} are not a mapping.")
    return document


def chosen(folder: Path, site: str, further: Sequence[Path] = ()) -> ValueFiles:
    """The files of a site's deployment.

    :param folder: with ``base.yaml``, ``storage``, ``sites`` and ``vos``.
    :param further: files that come after those.
    :raises InvalidInput: when one of them is not there, or cannot be read.
    """
    base = folder / "base.yaml"
    if not base.is_file():
        raise InvalidInput(
            f"{folder} has no base.yaml.",
            hint="Run this in a checkout, or name the folder helm-values by --folder.",
        )
    own = _named(folder, "sites", site)
    first = merge(read(base), read(own))
    storage = [_named(folder, "storage", name) for name in _on(first, "storage")]
    vos = [_named(folder, "vos", name) for name in _on(first, "vos")]
    files = (base, *storage, own, *vos, *further)
    merged: Values = {}
    for file in files:
        merged = merge(merged, read(file))
    return ValueFiles(folder, site, files, merged)


def _on(values: Values, kind: str) -> list[str]:
    """The names that a deployment turns on, sorted."""
    named = member(values, *OWN, "deployment", kind)
    return sorted(name for name, on in named.items() if on)


def _named(folder: Path, kind: str, name: str) -> Path:
    path = folder / kind / f"{name}.yaml"
    if path.parent != folder / kind or not path.is_file():
        known = ", ".join(sorted(each.stem for each in (folder / kind).glob("*.yaml")))
        raise InvalidInput(f"There is no {kind}/{name}.yaml in {folder}.", hint=f"Known: {known}.")
    return path
