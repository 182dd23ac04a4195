"""What the hub's settings say of Spark reaches the user's site file whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cscale_core.clusters import SparkSite
from cscale_core.site import Site
from cscale_hub.settings import Settings
from cscale_hub.spawn.site import site_document
from cscale_hub.vos import load_vos

CLUSTER: dict[str, Any] = {
    "title": "INCD",
    "kubeconfig": "/etc/kube/config",
    "context": "incd",
    "namespace": "spark-{user}",
    "image": "registry.example.eu/spark:4.3.0",
    "pull_policy": "Always",
    "pull_secrets": ["login"],
    "spark_version": "4.3.1",
    "python": "/opt/bin/python",
    "applications": False,
    "service_account": "drivers",
    "executor_service_account": "executors",
    "run_as": 1000,
    "group": 100,
    "mount": "/s3",
    "mounts": [
        {
            "name": "buckets",
            "path": "/s3",
            "host_path": "/var/s3/{user}",
            "claim": "",
            "sub_path": "",
            "read_only": True,
        },
        {
            "name": "home",
            "path": "/home",
            "host_path": "",
            "claim": "home-{user}",
            "sub_path": "x",
            "read_only": False,
        },
    ],
    "credentials": "endpoint",
    "credentials_url": "https://broker.example.eu/v1/s3",
    "credentials_audience": "pods",
    "credentials_secret": "keys",
    "requirements_index": "https://pypi.example.eu/simple",
    "node_selector": {"pool": "spark"},
    "priority_class": "low",
    "ui_url": "/spark/{name}/",
    "event_log": "s3a://logs/spark",
    "time_to_live": 3600,
}
SPARK: dict[str, Any] = {
    "kinds": ["kubernetes", "local"],
    "master": "local[4]",
    "driver_memory": "2g",
    "node": {"cpus": 16, "memory": "32g"},
    "kubernetes": CLUSTER,
    "repositories": ["https://maven.example.eu"],
    "history_url": "http://history:18080",
    "connect": [
        {"id": "c", "title": "C", "url": "sc://connect:15002", "ui": "http://connect:4040"}
    ],
}


def test_settings_of_spark_reach_the_site_file_whole(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, spark=SparkSite.model_validate(SPARK))
    vos = load_vos(None)
    role = next(iter(vos.vos))
    document = site_document(
        settings,
        vos,
        slug="ana",
        display_name="Ana",
        roles={role: ["member"]},
        mount=tmp_path,
        mount_mode="none",
    )
    read = Site.model_validate(yaml.safe_load(yaml.safe_dump(document)))
    assert read.spark.model_dump(mode="json") == SPARK
    plain = Settings(data=tmp_path).spark.model_dump(mode="json")
    assert Site.model_validate({**document, "spark": plain}).spark.kinds == ("local",)


@pytest.mark.parametrize(
    "change",
    [
        {"kubernetes": None},
        {"kinds": ["yarn"]},
        {"kinds": []},
        {"history_url": "ftp://x"},
        {"node": {"cpus": 0, "memory": "1g"}},
        {"kubernetes": {**CLUSTER, "namespace": "Not_A_Name"}},
        {"kubernetes": {**CLUSTER, "run_as": 0}},
        {"kubernetes": {**CLUSTER, "credentials_url": ""}},
        {"kubernetes": {**CLUSTER, "credentials_url": "http://broker/v1/s3"}},
        {"kubernetes": {**CLUSTER, "credentials": "secret", "credentials_secret": ""}},
        {"kubernetes": {**CLUSTER, "mounts": [{"name": "m", "path": "/s3"}]}},
        {"connect": [{"id": "c", "title": "C", "url": "http://x"}]},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SparkSite.model_validate({**SPARK, **change})
