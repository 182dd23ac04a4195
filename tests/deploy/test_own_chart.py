"""The chart of what is ours: what each site gets, written down, and what must never be in it.

``UPDATE_GOLDEN=1`` writes the files anew; the difference is then to be read.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_cli.deploy.checking import buckets, hub_settings, own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests, name_of
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import ValueFiles, chosen
from cscale_openeo.config import Config
from tests.deploy.conftest import FOLDER, KUBERNETES, SITES
from tests.deploy.test_value_files import with_storage

GOLDEN = Path(__file__).parent / "golden"
METADATA = ipaddress.ip_address("169.254.169.254")
Objects = dict[str, dict[str, Any]]


def rendered(values: ValueFiles) -> Objects:
    """The objects of our chart by kind, namespace and name."""
    planned = releases(values, own_values(values).deployment, {})
    (own,) = [each for each in planned if each.name == "cscale"]
    return {name_of(each): each for each in manifests(Helm().template(own, KUBERNETES))}


@pytest.mark.usefixtures("helm_on_path")
@pytest.mark.parametrize("storage", ["node", "csi-geesefs", "csi-rclone", "csi-mountpoint"])
@pytest.mark.parametrize("site", SITES)
def test_objects_are_as_written_down(site: str, storage: str, tmp_path: Path) -> None:
    objects = rendered(with_storage(FOLDER, site, storage, tmp_path))
    path = GOLDEN / f"{site}-{storage}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all(objects.values(), sort_keys=True), encoding="utf-8")
    assert list(objects.values()) == list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.usefixtures("helm_on_path")
@pytest.mark.parametrize("site", SITES)
def test_every_bucket_is_mounted_on_every_node_in_a_container_of_its_own(site: str) -> None:
    values = chosen(FOLDER, site)
    spec = rendered(values)["DaemonSet/cscale-mounts"]["spec"]["template"]["spec"]
    mounting = {each["name"]: each for each in spec["containers"]}
    places = mounting.pop("places")
    assert mounting.keys() == {f"bucket-{name}" for name in buckets(hub_settings(values))}
    for name, container in mounting.items():
        target = f"/var/lib/cscale/buckets/{name.removeprefix('bucket-')}"
        assert container["args"][2] == target
        assert target in container["livenessProbe"]["exec"]["command"]
    for container in (places, *mounting.values()):
        (node,) = [each for each in container["volumeMounts"] if each["name"] == "node"]
        assert node["mountPropagation"] == "Bidirectional"
    keys = [
        each["valueFrom"]["secretKeyRef"]["name"]
        for container in mounting.values()
        for each in container["env"]
        if "valueFrom" in each
    ]
    assert set(keys) == {"cscale-mounts"}


def egress(objects: Objects) -> Iterator[dict[str, Any]]:
    for each in objects.values():
        if each["kind"] == "NetworkPolicy":
            assert "Egress" in each["spec"]["policyTypes"]
            yield from each["spec"]["egress"]


@pytest.mark.usefixtures("helm_on_path")
@pytest.mark.parametrize("site", SITES)
def test_nothing_reaches_the_metadata_service_or_everywhere(site: str) -> None:
    for rule in egress(rendered(chosen(FOLDER, site))):
        assert rule["to"], "an empty list would be everywhere"
        for block in (each["ipBlock"] for each in rule["to"] if "ipBlock" in each):
            network = ipaddress.ip_network(block["cidr"])
            excepted = map(ipaddress.ip_network, block.get("except", ()))
            assert METADATA not in network or any(METADATA in each for each in excepted)


@pytest.mark.usefixtures("helm_on_path")
def test_a_vo_that_may_not_go_everywhere_reaches_what_it_names(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    vo = FOLDER / "vos" / "waterwatch.yaml"
    mine.write_text(vo.read_text(encoding="utf-8"), encoding="utf-8")
    objects = rendered(chosen(FOLDER, "incd", [mine]))
    policy = objects["NetworkPolicy/cscale/cscale-vo-waterwatch.c-scale.eu"]["spec"]
    assert policy["egress"] == [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]
    assert policy["podSelector"]["matchLabels"]["c-scale.eu/vo"] == "waterwatch.c-scale.eu"


@pytest.mark.usefixtures("helm_on_path")
def test_a_destination_that_is_turned_off_is_not_reached(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    off = {"network": {"servers": {"catalogue": False}}}
    mine.write_text(yaml.safe_dump({"custom": {"cscale": off}}))
    before, after = rendered(chosen(FOLDER, "local")), rendered(chosen(FOLDER, "local", [mine]))
    name = "NetworkPolicy/cscale/cscale-servers"
    gone = [
        each for each in before[name]["spec"]["egress"] if each not in after[name]["spec"]["egress"]
    ]
    assert [each["to"] for each in gone] == [
        [{"podSelector": {"matchLabels": {"app": "catalogue"}}}]
    ]


@pytest.mark.usefixtures("helm_on_path")
def test_buckets_with_a_mode_of_their_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    moving = {"buckets": {"openeodata": {"mode": "csi", "claim": "eodata-nfs"}}}
    csi = {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"share": "/{bucket}"}}
    mine.write_text(
        yaml.safe_dump({"custom": {"cscale": {"settings": {"kubernetes": moving}, "csi": csi}}})
    )
    objects = rendered(chosen(FOLDER, "incd", [mine]))
    containers = objects["DaemonSet/cscale-mounts"]["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in containers] == ["places", "bucket-eodata"]
    claim = objects["PersistentVolumeClaim/cscale/eodata-nfs"]
    volume = objects[f"PersistentVolume/{claim['spec']['volumeName']}"]
    assert volume["spec"]["csi"]["volumeAttributes"] == {"share": "/openeodata"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_schema_refuses_what_is_not_known(helm: Path) -> None:
    files = [str(path) for path in chosen(FOLDER, "local").files]
    done = subprocess.run(
        [
            *(helm / "helm", "template", "cscale", FOLDER / "cscale"),
            *(word for file in files for word in ("--values", file)),
            "--set-json=" + "custom.cscale.mounts=" + json.dumps({"secrte": "x"}),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "secrte" in done.stderr


@pytest.mark.usefixtures("helm_on_path")
def test_the_openeo_service_takes_its_configuration() -> None:
    values = chosen(FOLDER, "incd")
    objects = rendered(values)
    text = objects["ConfigMap/cscale-openeo"]["data"]["config.json"]
    config = Config.model_validate_json(text)
    assert config.base_url == "https://hub.example.org/services/openeo"
    settings = hub_settings(values)
    assert settings.vos is not None
    assert [vo.rule for vo in config.vos] == list(settings.vos.rules())
    (container,) = objects["Deployment/cscale-openeo"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["runAsNonRoot"]
    assert config.s3.client_secret_file == Path("/etc/cscale/secrets/client-secret")
