"""A job from a file: a spec in YAML or JSON, or an openEO process graph."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cscale_core.client import JobSpec
from cscale_core.client.joblist import as_process, saving, spec_of
from cscale_core.errors import InvalidInput

#: Bytes of the largest file: inputs are items, not images.
_LARGEST = 32 * 1024 * 1024


def read_spec(file: str, *, title: str = "", backend: str = "", vo: str = "") -> JobSpec:
    """The spec in a file; ``-`` is standard input.

    :param title: this instead of what the file says, and so ``backend`` and ``vo``.
    :raises InvalidInput: when it cannot be read, or is neither of the two.
    """
    content = _content(file)
    if "engine" in content:
        members = dict(content)
    else:
        process = as_process(content)
        if not isinstance(process.get("process_graph"), Mapping):
            raise InvalidInput(
                f"{file} is neither the spec of a job nor a process graph.",
                hint="A spec has engine and process; see cscale jobs submit --help.",
            )
        process["process_graph"] = saving(process["process_graph"], "GTiff")
        members = {"engine": "openeo", "process": process, "title": str(content.get("title", ""))}
    given = {"title": title, "backend": backend, "vo": vo}
    return spec_of(members | {name: value for name, value in given.items() if value})


def _content(file: str) -> dict[str, Any]:
    try:
        if file == "-":
            text = sys.stdin.read(_LARGEST + 1)
        else:
            with Path(file).open(encoding="utf-8") as opened:
                text = opened.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}.") from error
    if len(text) > _LARGEST:
        raise InvalidInput(f"{file} has more than {_LARGEST // 1024**2} MiB.")
    try:
        content = json.loads(text)
    except ValueError:
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidInput(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{file} holds no mapping.")
    return content
