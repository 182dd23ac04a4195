"""YAML files that people write: no key twice, and each error at its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError


class _Loader(yaml.SafeLoader):
    """YAML says that keys are unique; the stock loader takes the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load(text: str) -> Any:
    """The document as plain values.

    :raises yaml.YAMLError: when it is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def line_of(text: str, location: Sequence[int | str]) -> int:
    """The line of a member of the document, of its parent where it is not there; from 1.

    :param location: the way to the member, as pydantic tells it.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(
                ((key, value) for key, value in node.value if key.value == str(part)), None
            )
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part], node.value[part]) if part < len(node.value) else None
        if found is None:
            break
        key, node = found
        line = key.start_mark.line + 1
    return line


def describe(error: ValidationError, text: str) -> str:
    """Every wrong member with its line, without echoing its value."""
    return "; ".join(
        f"line {line_of(text, problem['loc'])}: "
        + (f"{'.'.join(map(str, problem['loc']))}: " if problem["loc"] else "")
        + problem["msg"].removeprefix("Value error, ")
        for problem in error.errors(include_url=False, include_input=False)
    )
