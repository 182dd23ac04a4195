"""The spec of a job that repeats another, with what shall be different."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cscale_core.errors import InvalidInput
from cscale_core.jobs.model import JobSpec

CHANGES = frozenset({"title", "backend", "process", "options", "vo", "output"})
"""Members of the spec that a clone may have different from the job that it repeats."""


def with_changes(spec: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    """A spec with other values of some members; everything else, frozen inputs too, is kept.

    :param changes: of :data:`CHANGES`. ``options`` are laid over those of the spec; None removes
        one.
    :raises InvalidInput: when a member is not known, or a value is not right.
    """
    unknown = sorted(set(changes) - CHANGES)
    if unknown:
        raise InvalidInput(
            f"A clone cannot change {', '.join(unknown)}.",
            hint=f"It can change {', '.join(sorted(CHANGES))}.",
        )
    given = dict(changes)
    options = given.get("options")
    if isinstance(options, Mapping):
        laid = {**spec.options, **options}
        given["options"] = {name: value for name, value in laid.items() if value is not None}
    try:
        return JobSpec.model_validate({**spec.model_dump(), **given})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"The changes are not right: {place}: {first['msg']}") from error
