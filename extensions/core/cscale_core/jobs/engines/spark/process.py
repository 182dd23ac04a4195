"""What a Spark job runs: an application of the registry by name, or a program of one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict, Field, field_validator

from cscale_core.jobs.engines.programs import Arguments, Environment, NamedApplication, read_process
from cscale_core.workflows.applications import APPLICATIONS, Application

# Set by us, by Spark or by Kubernetes: what is said here would break the application.
_RESERVED = re.compile(
    r"^(CSCALE|AWS|SPARK|PYSPARK|KUBERNETES|JUPYTERHUB|JPY)_|^(PATH|HOME|JAVA_HOME|PYTHONPATH)$"
)

Place = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00-\x1f,]+$")]
Coordinate = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+:[A-Za-z0-9_.+-]+$", max_length=300),
]


class Program(BaseModel):
    """A PySpark program and what it needs.

    In ``arguments``, ``{output}`` and ``{inputs}`` (a JSON file of the job's inputs) are filled in,
    and what is one of our three addresses becomes what the job sees. The same are in the variables
    ``CSCALE_OUTPUT``, ``CSCALE_INPUTS`` and ``CSCALE_JOB_ID``.
    """

    model_config = ConfigDict(extra="forbid")

    main: Place = Field(description="The .py file: a path on a mount, or s3://.")
    arguments: Arguments = Field(default_factory=list)
    packages: list[Coordinate] = Field(
        default_factory=list, max_length=100, description="Maven coordinates, group:name:version."
    )
    python: list[str] = Field(
        default_factory=list, max_length=200, description="Python requirements, such as xarray>=2."
    )
    py_files: list[Place] = Field(
        default_factory=list, max_length=200, description=".py, .zip or .egg files beside it."
    )
    jars: list[Place] = Field(default_factory=list, max_length=200)
    environment: Environment = Field(default_factory=dict)

    @field_validator("main")
    @classmethod
    def _python_file(cls, value: str) -> str:
        if PurePosixPath(value).suffix != ".py":
            raise ValueError(f"{value!r} is not a .py file")
        return value

    @field_validator("py_files", "jars")
    @classmethod
    def _kinds(cls, value: list[str], info: Any) -> list[str]:
        kinds = (".jar",) if info.field_name == "jars" else (".py", ".zip", ".egg")
        for place in value:
            if PurePosixPath(place).suffix not in kinds:
                raise ValueError(f"{place!r} does not end with {' or '.join(kinds)}")
        return value

    @field_validator("python")
    @classmethod
    def _requirements(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                raise ValueError(f"{text!r} is not a requirement such as xarray>=2024") from error
            if requirement.url:
                raise ValueError(f"{text!r} names an address; requirements come from the index")
        return value

    @field_validator("environment")
    @classmethod
    def _free(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if _RESERVED.search(name):
                raise ValueError(f"{name} is set by the engine")
        return value


Process = Program | NamedApplication


def process_of(
    process: dict[str, Any], applications: Mapping[str, Application] = APPLICATIONS
) -> Process:
    """The process of a spec, an application's arguments with their defaults.

    :raises InvalidInput: with what is wrong.
    """
    return read_process(
        process,
        Program,
        engine="Spark",
        shape='It is {"application": NAME, "arguments": {…}}, or {"main": PATH, "arguments": '
        "[…]} with optionally packages, python, py_files, jars and environment.",
        applications=applications,
    )
