"""The pod of every profile in every storage mode: written down, and taken by a real API server.

``UPDATE_GOLDEN=1`` writes the files anew; the difference is then to be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_hub.spawn import cluster_site
from tests.cluster.access import Access
from tests.cluster.golden.pods import (
    MODES,
    NAMESPACE,
    PROFILES,
    TOKEN,
    manifest_of,
    settings_of,
    spawner_of,
)
from tests.waiting import until

FOLDER = Path(__file__).parent / "pods"
EVERY = [(profile, mode) for profile in PROFILES for mode in MODES]


def golden(profile: str, mode: str) -> Path:
    return FOLDER / f"{profile}-{mode}.yaml"


@pytest.fixture
async def made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> dict[str, Any]:
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr(cluster_site, "secret_name", lambda pod: f"{pod}-5ec4e700")
    profile, mode = request.param
    return await manifest_of(spawner_of(settings_of(tmp_path, mode), profile))


@pytest.mark.parametrize(("made", "path"), [(e, golden(*e)) for e in EVERY], indirect=["made"])
async def test_pod_is_as_written_down(made: dict[str, Any], path: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(made, sort_keys=True), encoding="utf-8")
    assert made == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("made", "key"), [(e, e) for e in EVERY], indirect=["made"])
async def test_servers_container_has_no_privilege(
    made: dict[str, Any], key: tuple[str, str]
) -> None:
    profile, _ = key
    spec = made["spec"]
    (server,) = spec["containers"]
    allowed = server["securityContext"]
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["privileged"] is False
    assert allowed["runAsNonRoot"] is True
    assert allowed["runAsUser"] != 0
    assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is (profile == "spark")
    assert spec["serviceAccountName"] == ("server-uabc234" if profile == "spark" else "default")
    assert spec["enableServiceLinks"] is False
    assert "hostNetwork" not in spec
    assert {"cpu", "memory"} <= server["resources"]["limits"].keys()
    assert "image" in server


@pytest.mark.parametrize(("made", "key"), [(e, e) for e in EVERY], indirect=["made"])
async def test_no_secret_is_in_the_description(made: dict[str, Any], key: tuple[str, str]) -> None:
    assert TOKEN not in str(made)
    (server,) = made["spec"]["containers"]
    token = next(each for each in server["env"] if each["name"] == "JUPYTERHUB_API_TOKEN")
    assert token["valueFrom"]["secretKeyRef"]["name"] == "server-uabc234-5ec4e700"


@pytest.mark.parametrize(("made", "key"), [(e, e) for e in EVERY], indirect=["made"])
async def test_others_places_are_in_no_volume(made: dict[str, Any], key: tuple[str, str]) -> None:
    """A whole bucket reaches a pod only where it may be read as a whole."""
    (server,) = made["spec"]["containers"]
    of_aqua = [each for each in server["volumeMounts"] if each["name"] == "bucket-aqua"]
    assert {each.get("subPath") for each in of_aqua} <= {"products", "users/uabc234", "shared"}
    for each in server["volumeMounts"]:
        assert each["mountPath"] != "/s3/aqua"
        if each["mountPath"].startswith("/s3/eodata"):
            assert each["readOnly"] is True or each.get("mountPropagation")
    for volume in made["spec"]["volumes"]:
        if "hostPath" in volume:
            assert volume["hostPath"]["path"] == "/var/lib/cscale/servers/server-uabc234"


@pytest.fixture(scope="module")
def namespaces(control_plane: Access) -> Iterator[Access]:
    """Namespaces of each security standard, with the accounts that pods name."""
    control_plane.kubectl("create", "namespace", NAMESPACE)
    control_plane.kubectl("create", "serviceaccount", "server-uabc234", "-n", NAMESPACE)
    account = ("serviceaccount", "default", "-n", NAMESPACE)
    until(lambda: control_plane.get(*account) is not None, "the default account")
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.cluster
@pytest.mark.parametrize(("profile", "mode"), EVERY)
def test_a_real_api_server_takes_the_pod(namespaces: Access, profile: str, mode: str) -> None:
    pod = yaml.safe_load(golden(profile, mode).read_text(encoding="utf-8"))
    # The strictest standard that the mode allows: a hostPath is none of the restricted volumes.
    level = "restricted" if mode in ("csi", "none") else "privileged"
    label = f"pod-security.kubernetes.io/enforce={level}"
    namespaces.kubectl("label", "namespace", NAMESPACE, label, "--overwrite")
    pod["metadata"]["namespace"] = NAMESPACE
    namespaces.apply([pod], "--dry-run=server", "--validate=strict")
