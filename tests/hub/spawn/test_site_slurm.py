"""Slurm clusters in the hub's settings reach the user's site as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cscale_core.clusters import SlurmCluster
from cscale_core.site import Site
from cscale_hub.settings import Settings
from cscale_hub.spawn.site import site_document
from cscale_hub.vos import load_vos

LOGIN = {
    "id": "hpc",
    "title": "HPC",
    "kind": "ssh",
    "host": "login.example.org",
    "user": "sram-{user}",
    "folder": "/scratch/{user}/cscale",
}


def test_cluster_of_the_settings_is_that_of_the_site(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, slurm=(SlurmCluster.model_validate(LOGIN),))
    document = site_document(
        settings,
        load_vos(),
        slug="uabc234",
        display_name="A member",
        roles={},
        mount=tmp_path,
        mount_mode="none",
    )
    (cluster,) = Site.model_validate(document).slurm
    assert cluster == SlurmCluster.model_validate(LOGIN)
    assert cluster.account_name("uabc234") == "sram-uabc234"
    assert cluster.working_folder("uabc234") == "/scratch/sram-uabc234/cscale"
    assert set(SlurmCluster.model_fields) == set(SlurmCluster.model_fields)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"host": "-oProxyCommand=x"},
        {"kind": "rest"},
        {"kind": "rest", "url": "http://slurm.example.org"},
        {"kind": "rest", "url": "ftp://slurm.example.org"},
        {"folder": "relative"},
        {"password": "x"},
    ],
)
def test_cluster_that_cannot_be_reached_safely_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SlurmCluster.model_validate({**LOGIN, **changes})


def test_slurmrestd_is_reached_by_https_or_on_this_machine() -> None:
    for url in ("https://slurm.example.org", "http://127.0.0.1:6820", "unix:/run/slurm.socket"):
        assert SlurmCluster.model_validate({**LOGIN, "kind": "rest", "url": url}).url == url
