"""Rendered manifests: taken apart, compared, and never with the content of a Secret."""

from __future__ import annotations

import difflib
import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

import yaml

Manifest = dict[str, Any]
# Of this run alone: from a plain digest a short password could be guessed.
_KEY = secrets.token_bytes(32)


def manifests(text: str) -> Iterator[Manifest]:
    """The objects of a rendered text."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and document.get("kind"):
            yield document


def name_of(manifest: Manifest) -> str:
    """Kind, namespace and name."""
    metadata = manifest.get("metadata", {})
    parts = (manifest["kind"], metadata.get("namespace", ""), metadata.get("name", ""))
    return "/".join(part for part in parts if part)


def without_secrets(manifest: Manifest) -> Manifest:
    """The same with a mark in place of each value of a Secret: equal for equal values."""
    if manifest["kind"] != "Secret":
        return manifest
    hidden = {
        field: {key: _mark(str(value)) for key, value in manifest[field].items()}
        for field in ("data", "stringData")
        if isinstance(manifest.get(field), dict)
    }
    return {**manifest, **hidden}


def difference(before: str, after: str) -> list[str]:
    """What an upgrade would change, object by object, as the lines of a unified diff."""
    old, new = _by_name(before), _by_name(after)
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        lines += difflib.unified_diff(
            old.get(name, []),
            new.get(name, []),
            name if name in old else "/dev/null",
            name if name in new else "/dev/null",
            lineterm="",
        )
    return lines


def _by_name(text: str) -> dict[str, list[str]]:
    return {
        name_of(each): yaml.safe_dump(without_secrets(each), sort_keys=True).splitlines()
        for each in manifests(text)
    }


def _mark(value: str) -> str:
    return f"(hidden {hashlib.blake2b(value.encode(), key=_KEY, digest_size=6).hexdigest()})"
