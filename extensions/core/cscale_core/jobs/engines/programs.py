"""What engines that run programs have in common: arguments, variables, applications by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cscale_core.errors import InvalidInput
from cscale_core.workflows.applications import APPLICATIONS, Application, validated

_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")
# What others can read (a script, a manifest, a list of processes) must not hold one.
SECRET = re.compile(
    r"SECRET|PASSW(OR)?D|TOKEN|CREDENTIAL|ACCESS[._-]?KEY|API[._-]?KEY|PRIVATE[._-]?KEY",
    re.IGNORECASE,
)


def _no_nul(value: list[str]) -> list[str]:
    if any("\0" in part for part in value):
        raise ValueError("an argument cannot hold a NUL character")
    return value


def _open(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name) or "\0" in text:
            raise ValueError(f"{name!r} is not a variable")
        if SECRET.search(name):
            raise ValueError(
                f"{name} looks like a secret, and others can read what a job is given; credentials "
                "for the object store are found without being named, others belong into a file"
            )
    return value


P = TypeVar("P", bound=BaseModel)
Text = Annotated[str, Field(max_length=100_000)]
Arguments = Annotated[list[Text], Field(max_length=10_000), AfterValidator(_no_nul)]
Environment = Annotated[dict[str, Text], AfterValidator(_open)]


class NamedApplication(BaseModel):
    """An application of :mod:`cscale_core.workflows.applications`, by name."""

    model_config = ConfigDict(extra="forbid")

    application: str
    arguments: dict[str, Any] = Field(default_factory=dict)


def mistakes(error: ValidationError, whole: str) -> list[str]:
    """What a validation found, each with the member that it is about."""
    return [
        f"{'.'.join(map(str, mistake['loc'])) or whole}: "
        + str(mistake["msg"]).removeprefix("Value error, ")
        for mistake in error.errors(include_url=False, include_input=False)
    ]


def read_process(
    process: dict[str, Any],
    program: type[P],
    *,
    engine: str,
    shape: str,
    applications: Mapping[str, Application] = APPLICATIONS,
) -> P | NamedApplication:
    """The process of a spec, an application's arguments with their defaults.

    :param program: the engine's model of a program of one's own.
    :param engine: the engine's name for people.
    :param shape: what a process has to look like, as a hint.
    :raises InvalidInput: with what is wrong.
    """
    kind: type[P | NamedApplication] = NamedApplication if "application" in process else program
    try:
        read = kind.model_validate(process)
    except ValidationError as error:
        wrong = mistakes(error, "process")
        raise InvalidInput(
            f"The process of a {engine} job is not right: {'; '.join(wrong[:5])}",
            hint=shape,
            mistakes=wrong,
        ) from error
    if isinstance(read, NamedApplication):
        arguments = validated(read.application, read.arguments, applications)
        return read.model_copy(update={"arguments": arguments})
    return read
