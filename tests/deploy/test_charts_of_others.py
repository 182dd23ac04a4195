"""Our values against the charts they are for, where those can be had (``CSCALE_CHARTS``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cscale_cli.deploy.checking import check, own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests
from cscale_cli.deploy.releases import Release, releases
from cscale_cli.deploy.values import chosen
from tests.deploy.conftest import FOLDER, KUBERNETES, SITES

COMPANIONS = sorted(path.stem for path in (FOLDER / "companions").glob("*.yaml"))
pytestmark = pytest.mark.usefixtures("helm_on_path")


def template(release: Release) -> str:
    return Helm().template(release, KUBERNETES)


@pytest.mark.parametrize("site", SITES)
def test_the_hubs_chart_takes_every_site(chart: Callable[[str], Path], site: str) -> None:
    values = chosen(FOLDER, site)
    charts = {"jupyterhub": chart("jupyterhub")}
    planned = releases(values, own_values(values).deployment, charts)
    ours = tuple(each for each in planned if each.name in ("cscale", "jupyterhub"))
    found = check(values, ours, template)
    assert [each for each in found if each.level == "error"] == []
    objects = list(manifests(template(ours[-1])))
    (hub,) = [
        each
        for each in objects
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "hub"
    ]
    assert "initContainers" not in hub["spec"]["template"]["spec"]
    policies = {each["metadata"]["name"] for each in objects if each["kind"] == "NetworkPolicy"}
    assert policies == {"hub", "proxy", "singleuser"}
    budgets = {
        each["metadata"]["name"] for each in objects if each["kind"] == "PodDisruptionBudget"
    }
    assert budgets == {"hub", "proxy"}


@pytest.mark.parametrize("name", COMPANIONS)
def test_companions_take_their_values(chart: Callable[[str], Path], name: str) -> None:
    folder = chart(name)
    release = Release(name, "x", str(folder), "", "", (FOLDER / "companions" / f"{name}.yaml",))
    assert list(manifests(template(release)))
