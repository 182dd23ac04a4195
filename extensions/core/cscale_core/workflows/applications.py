"""The Spark applications that can be asked for by name, and what each one is told.

Light to import: an application's own code is only named here, never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cscale_core.errors import InvalidInput
from cscale_core.site import Site
from cscale_core.workflows.aqua_monitor import AquaMonitorArguments


class ApplicationRun(BaseModel):
    """The parameters file of one run: ``--parameters FILE.json``. No secrets."""

    model_config = ConfigDict(extra="forbid")

    job_id: str
    title: str = ""
    arguments: dict[str, Any] = Field(description="As the application's model has them.")
    output: str = Field(description="s3:// prefix or folder, ending with '/'.")
    collection: str = Field(description="Collection of the result item.")
    site: Site


@dataclass(frozen=True)
class Application:
    """A Spark application: the file to run and the model of its arguments."""

    name: str
    title: str
    main: Path
    arguments: type[BaseModel]


APPLICATIONS = {
    application.name: application
    for application in (
        Application(
            "aqua-monitor",
            "Aqua Monitor",
            Path(__file__).with_name("aqua_monitor_spark.py"),
            AquaMonitorArguments,
        ),
    )
}


def application(name: str, applications: Mapping[str, Application] = APPLICATIONS) -> Application:
    """The application of that name.

    :raises InvalidInput: when there is none.
    """
    try:
        return applications[name]
    except KeyError:
        raise InvalidInput(
            f"There is no Spark application {name!r}.",
            hint="Known: " + ", ".join(sorted(applications)) + ".",
        ) from None


def validated(
    name: str, arguments: Any, applications: Mapping[str, Application] = APPLICATIONS
) -> dict[str, Any]:
    """The arguments as the application's model has them, as JSON values.

    :raises InvalidInput: with the first mistakes in the message, all in ``details``.
    """
    model = application(name, applications).arguments
    try:
        return model.model_validate(arguments).model_dump(mode="json")
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, mistake['loc'])) or 'arguments'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidInput(
            f"The arguments of {name} are not right: {'; '.join(mistakes[:5])}",
            mistakes=mistakes,
        ) from error
