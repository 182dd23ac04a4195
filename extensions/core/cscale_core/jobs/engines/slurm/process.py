"""What a Slurm job runs: a program of the user's own, or an application of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cscale_core import addresses
from cscale_core.clusters import SlurmCluster
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.programs import Arguments, Environment, NamedApplication, read_process
from cscale_core.site import Site
from cscale_core.workflows.applications import APPLICATIONS, Application

Module = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+/-]{0,199}$")]


class CommandProcess(BaseModel):
    """A program and its arguments, and where it comes from."""

    model_config = ConfigDict(extra="forbid")

    command: Arguments = Field(min_length=1)
    modules: list[Module] = Field(default_factory=list, max_length=50)
    container: str = Field(
        default="", pattern=r"^([A-Za-z0-9/][^\x00-\x1f]*)?$", description="Image for Apptainer."
    )
    environment: Environment = Field(default_factory=dict)

    @field_validator("command")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        if not value[0]:
            raise ValueError("the program has no name")
        return value


Process = CommandProcess | NamedApplication


def process_of(
    process: dict[str, Any], applications: Mapping[str, Application] = APPLICATIONS
) -> Process:
    """The process of a spec, an application's arguments with their defaults.

    :raises InvalidInput: with what is wrong.
    """
    return read_process(
        process,
        CommandProcess,
        engine="Slurm",
        shape='It is {"command": [PROGRAM, ARGUMENT, …]} with optionally modules, container '
        'and environment, or {"application": NAME, "arguments": {…}}.',
        applications=applications,
    )


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
