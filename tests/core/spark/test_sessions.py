"""What a session on the cluster asks for, before any cluster is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cscale_core import spark
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark.options import SparkOptions, mebibytes
from cscale_core.site import Site
from cscale_core.spark.executors import AUTH_KEY, Server, executor, properties, template
from cscale_core.spark.opening import api_address

SERVER = Server("server-uabc234", "10.1.2.3", "registry.example/server:1", 1000, 100)
SITE: dict[str, Any] = {
    "user": "uabc234",
    "s3": {"endpoint": "https://s3.example.eu"},
    "catalogue": {"url": "https://catalogue.example.eu"},
    "spark": {
        "kinds": ["kubernetes"],
        "node": {"cpus": 15.5, "memory": "30g"},
        "kubernetes": {
            "namespace": "spark-{user}",
            "image": "registry.example/spark:1",
            "mounts": [
                {"name": "eodata", "path": "/s3/eodata", "claim": "eodata", "read_only": True}
            ],
            "credentials": "endpoint",
            "credentials_url": "https://hub.example.eu/services/broker/v1/s3",
            "credentials_audience": "s3-pods",
        },
    },
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(SITE), encoding="utf-8")
    monkeypatch.setenv("CSCALE_SITE_FILE", str(path))
    for name in ("CSCALE_SERVER", "CSCALE_POD_IP", "CSCALE_IMAGE", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return Site.model_validate(SITE)


def conf_of(site: Site, **options: Any) -> dict[str, str]:
    settings = site.spark.kubernetes
    assert settings is not None
    return properties(
        *("cscale-session-1", site, settings, SparkOptions(**options), SERVER),
        api="https://10.96.0.1:443",
        template_file="/tmp/t.yaml",
        auth_file="/tmp/auth",
    )


def test_what_is_asked_for_is_what_was_counted(site: Site) -> None:
    options = {"executor_memory": "8g", "executor_memory_overhead": "4g", "executor_cores": 4}
    conf = conf_of(site, **options)
    asked = mebibytes(conf["spark.executor.memory"]) + mebibytes(
        conf["spark.executor.memoryOverhead"]
    )
    # Said once: nothing of it is set apart for Python again.
    assert "spark.executor.pyspark.memory" not in conf
    assert asked == executor(SparkOptions(**options)).memory == 12 * 1024
    assert conf["spark.executor.instances"] == "2"


def test_an_overhead_that_is_not_said_is_told_to_spark(site: Site) -> None:
    conf = conf_of(site, executor_memory="8g")
    assert mebibytes(conf["spark.executor.memoryOverhead"]) == int(8 * 1024 * 0.4)


def test_executors_know_the_driver_by_a_secret_that_is_in_no_property(site: Site) -> None:
    conf = conf_of(site)
    assert conf["spark.authenticate"] == "true"
    assert conf["spark.authenticate.secret.executor.file"].endswith(AUTH_KEY)
    assert "spark.authenticate.secret" not in conf


def test_executors_are_of_the_servers_image_and_belong_to_the_session(site: Site) -> None:
    settings = site.spark.kubernetes
    assert settings is not None
    assert conf_of(site)["spark.kubernetes.container.image"] == SERVER.image
    pod = template("cscale-session-1", "uid-1", site, settings, SERVER)
    assert pod["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Secret", "name": "cscale-session-1", "uid": "uid-1"}
    ]
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsUser"] == 1000
    (container,) = spec["containers"]
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    auth = next(each for each in container["env"] if each["name"] == "_SPARK_AUTH_SECRET")
    assert auth["valueFrom"]["secretKeyRef"] == {"name": "cscale-session-1", "key": AUTH_KEY}
    assert environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("https://hub.example.eu")
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/s3/eodata"]["readOnly"] is True
    claims = [each.get("persistentVolumeClaim") for each in spec["volumes"]]
    assert {"claimName": "eodata"} in claims


def test_executors_have_the_persons_credentials_by_a_file_that_is_renewed(site: Site) -> None:
    settings = site.spark.kubernetes
    assert settings is not None
    own = settings.model_copy(update={"credentials": "server"})
    pod = template("cscale-session-1", "uid-1", site, own, SERVER)
    (container,) = pod["spec"]["containers"]
    said = {each["name"]: each.get("value", "") for each in container["env"]}
    assert said["AWS_CONFIG_FILE"] == "/etc/cscale/aws-config"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in said
    files = [each for each in pod["spec"]["volumes"] if each["name"] == "cscale-job"]
    assert files[0]["secret"]["secretName"] == "cscale-session-1"
    properties_of = properties(
        *("cscale-session-1", site, own, SparkOptions(), SERVER),
        api="https://10.96.0.1:443",
        template_file="/tmp/t.yaml",
        auth_file="/tmp/auth",
    )
    # The driver has no such file, and asks its server.
    assert properties_of["spark.hadoop.fs.s3a.aws.credentials.provider"].split(",") == [
        f"software.amazon.awssdk.auth.credentials.{name}CredentialsProvider"
        for name in ("Profile", "Container")
    ]


def test_as_many_as_the_work_needs(site: Site) -> None:
    conf = conf_of(site, max_executors=8)
    assert conf["spark.dynamicAllocation.maxExecutors"] == "8"
    assert "spark.executor.instances" not in conf


def test_what_no_node_has_is_refused_with_what_fits(site: Site) -> None:
    with pytest.raises(InvalidInput, match="the largest node has 30g") as caught:
        spark.session(executor_memory="24g")
    assert "executor_memory of at most" in caught.value.hint
    with pytest.raises(InvalidInput, match="16 processors"):
        spark.session(executor_cores=16)


def test_an_option_that_does_not_exist_is_named(site: Site) -> None:
    with pytest.raises(InvalidInput, match="memory: Extra inputs"):
        spark.session(memory="4g")


def test_a_server_outside_the_cluster_is_told(site: Site) -> None:
    with pytest.raises(InvalidInput, match="for servers that run in it"):
        spark.session()


def test_the_address_is_of_the_pod_or_of_the_kubeconfig(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site.spark.kubernetes
    assert settings is not None
    with pytest.raises(InvalidInput, match="no login"):
        api_address(settings)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert api_address(settings) == "https://[fd00::1]:443"
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "one"}}],
                "clusters": [{"name": "one", "cluster": {"server": "https://api.example:6443"}}],
            }
        ),
        encoding="utf-8",
    )
    named = settings.model_copy(update={"kubeconfig": str(path)})
    assert api_address(named) == "https://api.example:6443"
