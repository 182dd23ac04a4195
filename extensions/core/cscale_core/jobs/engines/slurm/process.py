"""What a Slurm job runs: a program of the user's own, or an application of the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cscale_core import addresses
from cscale_core.clusters import SlurmCluster
from cscale_core.errors import InvalidInput
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application, validated

_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")
# A variable's value is in the script, which the cluster keeps and its administrators can read.
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|ACCESS_?KEY|API_?KEY", re.IGNORECASE)

Text = Annotated[str, Field(max_length=100_000)]
Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+/-]{0,199}$")]


class CommandProcess(BaseModel):
    """A program and its arguments, and where it comes from."""

    model_config = ConfigDict(extra="forbid")

    command: list[Text] = Field(min_length=1, max_length=10_000)
    modules: list[Module] = Field(default_factory=list, max_length=50)
    container: str = Field(
        default="", pattern=r"^([A-Za-z0-9/][^\x00-\x1f]*)?$", description="Image for Apptainer."
    )
    environment: dict[str, Text] = Field(default_factory=dict)

    @field_validator("command")
    @classmethod
    def _no_nul(cls, value: list[str]) -> list[str]:
        if not value[0]:
            raise ValueError("the program has no name")
        if any("\0" in part for part in value):
            raise ValueError("an argument cannot hold a NUL character")
        return value

    @field_validator("environment")
    @classmethod
    def _open(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name) or "\0" in text:
                raise ValueError(f"{name!r} is not a variable")
            if _SECRET.search(name):
                raise ValueError(
                    f"{name} looks like a secret; the script is readable by others: keep it in a "
                    "file of yours on the cluster"
                )
        return value


class ApplicationProcess(BaseModel):
    """An application of :mod:`cscale_core.workflows.applications`, by name."""

    model_config = ConfigDict(extra="forbid")

    application: str
    arguments: dict[str, Any] = Field(default_factory=dict)


Process = CommandProcess | ApplicationProcess


def process_of(
    process: dict[str, Any], applications: Mapping[str, Application] = APPLICATIONS
) -> Process:
    """The process of a spec, an application's arguments with their defaults.

    :raises InvalidInput: with what is wrong.
    """
    kind = ApplicationProcess if "application" in process else CommandProcess
    try:
        read = kind.model_validate(process)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, mistake['loc'])) or 'process'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidInput(
            f"The process of a Slurm job is not right: {'; '.join(mistakes[:5])}",
            hint='It is {"command": [PROGRAM, ARGUMENT, …]} with optionally modules, container '
            'and environment, or {"application": NAME, "arguments": {…}}.',
            mistakes=mistakes,
        ) from error
    if isinstance(read, ApplicationProcess):
        arguments = validated(read.application, read.arguments, applications)
        return read.model_copy(update={"arguments": arguments})
    return read


def on_cluster(address: str, site: Site, cluster: SlurmCluster) -> str:
    """One of our three addresses as the cluster's path; everything else as it is.

    Only objects in a bucket the user has a grant in are ours, and only a cluster that mounts the
    buckets has a path for them.
    """
    if not cluster.mount or not address.startswith(("s3://", "http", "/")):
        return address
    try:
        found = addresses.parse(address, site)
    except (InvalidInput, ValueError):
        # Not an address after all, or not one that names an object.
        return address
    if found is None or found.bucket not in {grant.bucket for grant in site.grants}:
        return address
    return f"{cluster.mount.rstrip('/')}/{found.bucket}/{found.key}"


def translated(value: Any, site: Site, cluster: SlurmCluster) -> Any:
    """The ``href`` members of items and assets anywhere in a value, as the cluster's paths."""
    if isinstance(value, dict):
        return {
            key: on_cluster(inner, site, cluster)
            if key == "href" and isinstance(inner, str)
            else translated(inner, site, cluster)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [translated(inner, site, cluster) for inner in value]
    return value
