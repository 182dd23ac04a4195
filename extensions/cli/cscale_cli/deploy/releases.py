"""The releases of a deployment in the order in which they are installed, the hub last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cscale_cli.deploy.model import Deployment
from cscale_cli.deploy.values import CHARTS, ValueFiles, read
from cscale_core.errors import InvalidInput
from cscale_hub.settings import describe

OWN_CHARTS = ("cscale", "jupyterhub")
"""The charts that are always there, and get the value files of the deployment."""


class Chart(BaseModel):
    """Where a chart comes from, as ``charts.yaml`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chart: str = Field(description="Its name in the repository, or ./FOLDER beside charts.yaml.")
    repository: Annotated[str, Field(pattern=r"^(https://\S+)?$")] = ""
    version: str = ""
    namespace: str = Field(default="", description="Empty: that of the deployment.")


@dataclass(frozen=True)
class Release:
    """One chart with its values, in one namespace.

    :ivar chart: a name in the repository, or a path; then the repository is empty.
    """

    name: str
    namespace: str
    chart: str
    repository: str
    version: str
    files: tuple[Path, ...]


def releases(
    values: ValueFiles, deployment: Deployment, charts: Mapping[str, Path]
) -> tuple[Release, ...]:
    """The releases of a deployment.

    :param charts: charts that are taken from a path instead of their repository, by name.
    :raises InvalidInput: when ``charts.yaml`` cannot be used, or a name is not in it.
    """
    known = _charts(values.folder)
    companions = {name for name, on in deployment.companions.items() if on}
    wanted = companions | set(OWN_CHARTS)
    for names, said in ((wanted, "The deployment names"), (set(charts), "--chart names")):
        if unknown := sorted(names - set(known)):
            raise InvalidInput(
                f"{said} a chart that is not in {CHARTS}: {', '.join(unknown)}.",
                hint=f"Known: {', '.join(known)}.",
            )
    return tuple(
        _release(name, chart, values, deployment, charts.get(name))
        for name, chart in known.items()
        if name in wanted
    )


def _charts(folder: Path) -> dict[str, Chart]:
    try:
        return TypeAdapter(dict[str, Chart]).validate_python(read(folder / CHARTS))
    except ValidationError as error:
        raise InvalidInput(f"{folder / CHARTS} is not valid: {describe(error)}") from error


def _release(
    name: str, chart: Chart, values: ValueFiles, deployment: Deployment, path: Path | None
) -> Release:
    if name in OWN_CHARTS:
        files = values.files
    else:
        maybe = (
            values.folder / "companions" / f"{name}.yaml",
            values.folder / "sites" / f"{values.site}.{name}.yaml",
        )
        files = tuple(file for file in maybe if file.is_file())
    inside = chart.chart.startswith("./")
    own = path or (values.folder / chart.chart if inside else None)
    return Release(
        name=name,
        namespace=chart.namespace or deployment.namespace,
        chart=str(own.absolute()) if own else chart.chart,
        repository="" if own else chart.repository,
        version="" if own else chart.version,
        files=files,
    )
