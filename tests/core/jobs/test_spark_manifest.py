"""The SparkApplication and the Secret of a job: valid, as the site says, and without a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))
from spark_application_schema import SPARK_APPLICATION

from cscale_core.clusters import SparkKubernetes, SparkSite
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.jobs.engines.spark.kubernetes import pod_entry
from cscale_core.jobs.engines.spark.kubernetes.manifest import (
    Described,
    check_places,
    describe,
    label,
    namespace_of,
)
from cscale_core.jobs.engines.spark.options import options_of
from cscale_core.jobs.engines.spark.places import View, output_prefix
from cscale_core.jobs.engines.spark.process import Program, process_of
from cscale_core.jobs.model import Job, JobSpec, utc_now
from cscale_core.site import Site
from cscale_core.workflows.applications import Application

JOB = "j-261121000000-0badcafe"
CODE = "s3://vobucket/users/utest/code/job.py"


class Arguments(BaseModel):
    items: list[dict[str, Any]] = []


@pytest.fixture
def described(make_site: Callable[..., Site], tmp_path: Path) -> Callable[..., Described]:
    def make(
        process: dict[str, Any] | None = None, *, inputs: Any = (), **settings: Any
    ) -> Described:
        options = settings.pop("options", {})
        kubernetes = SparkKubernetes.model_validate(
            {"namespace": "spark-{user}", "image": "spark:1", **settings}
        )
        site = make_site(
            spark=SparkSite(kinds=("kubernetes",), kubernetes=kubernetes),
            entitlements=["urn:geant:secret-group"],
            broker_url="https://broker.example.eu",
        )
        known = {"test": Application("test", "Test", tmp_path / "test_spark.py", Arguments)}
        body = {"engine": "spark", "process": process or {"main": CODE}, "options": options}
        spec = JobSpec.model_validate({**body, "vo": "vo.example.eu", "inputs": list(inputs)})
        job = Job(id=JOB, revision=1, spec=spec, created=utc_now(), updated=utc_now())
        work = Work(
            job,
            process_of(spec.process, known),
            options_of(spec.options),
            output_prefix(site, spec, JOB),
        )
        found = describe(work, site, kubernetes, {"test": "cscale_core.workflows.test_spark"})
        wrong = list(Draft202012Validator(SPARK_APPLICATION).iter_errors(found.application))
        assert wrong == []
        return found

    return make


def pods(found: Described) -> list[dict[str, Any]]:
    spec = found.application["spec"]
    return [spec[role]["template"]["spec"] for role in ("driver", "executor")]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["containers"][0]["env"]}


def test_program_of_ones_own_with_all_it_may_have(described: Callable[..., Described]) -> None:
    item = {"id": "a", "assets": {"B": {"href": "s3://vobucket/products/a.tif"}}}
    process = {
        "main": "/s3/vobucket/users/utest/code/job.py",
        "arguments": ["s3://vobucket/products/a.tif", "--to={output}", "{inputs}", "plain"],
        "packages": ["org.example:thing_2.13:1.0"],
        "python": ["xarray>=2024", "rioxarray"],
        "py_files": ["s3://vobucket/users/utest/code/helpers.zip"],
        "jars": ["s3://vobucket/users/utest/code/x.jar"],
        "environment": {"LEVEL": "3"},
    }
    options = {"min_executors": 0, "max_executors": 8, "time_limit": "1:00:00"}
    found = described(process, inputs=[item], options=options, mount="/data", python="python3.12")
    spec = found.application["spec"]
    assert spec["mainApplicationFile"] == "local:///data/vobucket/users/utest/code/job.py"
    home = f"/data/vobucket/users/utest/jobs/{JOB}"
    assert spec["arguments"] == [
        "/data/vobucket/products/a.tif",
        f"--to={home}",
        "/etc/cscale/inputs.json",
        "plain",
    ]
    assert spec["deps"] == {
        "jars": ["local:///data/vobucket/users/utest/code/x.jar"],
        "pyFiles": ["local:///data/vobucket/users/utest/code/helpers.zip"],
        "packages": ["org.example:thing_2.13:1.0"],
    }
    assert spec["dynamicAllocation"]["maxExecutors"] == 8
    driver, executor = pods(found)
    assert driver["activeDeadlineSeconds"] == 3600
    assert "activeDeadlineSeconds" not in executor
    install = driver["initContainers"][0]["command"]
    assert install[0] == "python3.12"
    assert install[-3:] == ["--", "xarray>=2024", "rioxarray"]
    for pod in (driver, executor):
        said = environment(pod)
        assert said["LEVEL"] == "3"
        assert said["CSCALE_OUTPUT"] == home
        assert said["PYTHONPATH"] == "/opt/cscale-python"
    inputs = json.loads(found.secret["inputs.json"])
    assert inputs[0]["assets"]["B"]["href"] == "/data/vobucket/products/a.tif"


def test_without_mounts_files_are_read_through_s3a(described: Callable[..., Described]) -> None:
    found = described({"main": CODE, "arguments": ["{output}"]})
    spec = found.application["spec"]
    assert spec["mainApplicationFile"] == "s3a://vobucket/users/utest/code/job.py"
    assert spec["arguments"] == [f"s3://vobucket/users/utest/jobs/{JOB}"]
    assert spec["hadoopConf"]["fs.s3.impl"].endswith("S3AFileSystem")


def test_named_application_finds_its_parameters_in_the_secret(
    described: Callable[..., Described],
) -> None:
    item = {"id": "a", "assets": {"B": {"href": "s3://vobucket/products/a.tif"}}}
    process = {"application": "test", "arguments": {"items": [item]}}
    found = described(process, mount="/data", options={"collection": "mine"})
    spec = found.application["spec"]
    assert spec["mainApplicationFile"] == "local:///etc/cscale/run.py"
    assert spec["arguments"] == ["cscale_core.workflows.test_spark"]
    asked = json.loads(found.secret["parameters.json"])
    assert asked["collection"] == "mine"
    assert asked["output"] == f"s3://vobucket/users/utest/jobs/{JOB}/"
    href = asked["arguments"]["items"][0]["assets"]["B"]["href"]
    assert href == "/data/vobucket/products/a.tif"
    assert asked["site"]["mount"] == "/data"
    assert "secret-group" not in found.secret["parameters.json"]
    assert found.secret["run.py"] == Path(pod_entry.__file__).read_text()


def test_pods_are_as_restricted_as_can_be(described: Callable[..., Described]) -> None:
    found = described({"main": CODE, "python": ["x"]}, run_as=1000, group=100)
    driver, executor = pods(found)
    for pod in (driver, executor):
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 100,
            "fsGroup": 100,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for container in (*pod["containers"], *pod["initContainers"]):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["runAsNonRoot"] is True
            assert "privileged" not in security
    assert driver["automountServiceAccountToken"] is True
    assert executor["automountServiceAccountToken"] is False
    spec = found.application["spec"]
    assert spec["driver"]["serviceAccount"] == "spark"
    assert spec["executor"]["serviceAccount"] == "default"
    names = [pod["containers"][0]["name"] for pod in (driver, executor)]
    assert names == ["spark-kubernetes-driver", "spark-kubernetes-executor"]


def test_pods_see_the_buckets_as_the_site_says(described: Callable[..., Described]) -> None:
    mounts = [
        {"name": "buckets", "path": "/s3", "host_path": "/var/lib/s3/{user}"},
        {"name": "shared", "path": "/shared", "claim": "data-{user}", "read_only": True},
    ]
    found = described(mount="/s3", mounts=mounts)
    for pod in pods(found):
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert volumes["buckets"]["hostPath"]["path"] == "/var/lib/s3/utest"
        assert volumes["shared"]["persistentVolumeClaim"] == {"claimName": "data-utest"}
        seen = {each["name"]: each for each in pod["containers"][0]["volumeMounts"]}
        assert seen["buckets"]["mountPropagation"] == "HostToContainer"
        assert seen["shared"]["readOnly"] is True
        assert seen["cscale-job"] == {
            "name": "cscale-job",
            "mountPath": "/etc/cscale",
            "readOnly": True,
        }


@pytest.mark.parametrize("credentials", ["none", "endpoint", "server", "secret"])
def test_no_secret_is_in_the_application(
    described: Callable[..., Described], credentials: str
) -> None:
    found = described(
        credentials=credentials,
        credentials_url="https://broker.example.eu/v1/s3",
        credentials_secret="keys-{user}",
    )
    token = {"token": "Bearer abc"}
    secret = found.secret_manifest("uid-1", token)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert secret["data"]["token"] == "QmVhcmVyIGFiYw=="
    text = json.dumps(found.application)
    assert "abc" not in text
    for pod in pods(found):
        said = environment(pod)
        assert not [
            name
            for name in said
            if name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        ]
        assert ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in said) is (credentials == "endpoint")
        assert ("AWS_CONFIG_FILE" in said) is (credentials == "server")
        assert ("AWS_SHARED_CREDENTIALS_FILE" in said) is (credentials == "secret")
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert ("cscale-keys" in volumes) is (credentials == "secret")
        if credentials == "secret":
            assert volumes["cscale-keys"]["secret"]["secretName"] == "keys-utest"
    conf = found.application["spec"]["sparkConf"] | found.application["spec"]["hadoopConf"]
    assert not [key for key in conf if key.endswith((".secret.key", ".access.key", "token"))]


def test_memory_is_what_was_counted(described: Callable[..., Described]) -> None:
    options = {"driver_memory": "4g", "executor_memory": "2g", "python_memory": "1g"}
    spec = described(options={**options, "executor_cores": 3, "executors": 5}).application["spec"]
    assert (spec["driver"]["memory"], spec["driver"]["memoryOverhead"]) == ("4g", "1638m")
    assert (spec["executor"]["memory"], spec["executor"]["memoryOverhead"]) == ("2g", "819m")
    assert spec["sparkConf"]["spark.executor.pyspark.memory"] == "1g"
    assert (spec["executor"]["cores"], spec["executor"]["instances"]) == (3, 5)


def test_parameters_larger_than_a_secret_are_refused(described: Callable[..., Described]) -> None:
    items = [{"id": "a" * 1000, "assets": {}} for _ in range(1000)]
    with pytest.raises(InvalidInput) as caught:
        described(inputs=items)
    assert "file in a bucket" in caught.value.hint


def test_file_of_the_server_only_is_refused(make_site: Callable[..., Site]) -> None:
    view = View(make_site(), "/s3")
    with pytest.raises(InvalidInput) as caught:
        check_places(Program(main="/home/test/job.py"), view)
    assert "s3://" in caught.value.hint
    with pytest.raises(InvalidInput):
        check_places(Program(main=CODE, jars=["s3://somebody-elses/x.jar"]), view)
    check_places(Program(main="/home/test/s3/vobucket/users/utest/job.py"), view)


def test_names_are_what_kubernetes_takes() -> None:
    assert label("vo.example.eu") == "vo.example.eu"
    assert label("a b/c: " + "x" * 80) == ("a-b-c-" + "x" * 80)[:63]
    settings = SparkKubernetes(namespace="spark-{user}", image="x")
    assert namespace_of(settings, "utest") == "spark-utest"


def test_entry_in_the_pod_says_progress_and_leaves_the_error(tmp_path: Path) -> None:
    handed = tmp_path / "handed"
    handed.mkdir()
    entry = Path(pod_entry.__file__).read_text()
    last = tmp_path / "last-words"
    (handed / "run.py").write_text(entry.replace("/dev/termination-log", str(last)))
    (handed / "parameters.json").write_text('{"job_id": "x"}')
    (tmp_path / "an_application.py").write_text(
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "here = Path(sys.argv[2]).parent\n"
        "assert json.loads(Path(sys.argv[2]).read_text()) == {'job_id': 'x'}\n"
        '(here / \'progress.json\').write_text(\'{"done": 1, "total": 2, "message": "half"}\')\n'
        "time.sleep(2.5)\n"
        '(here / \'error.json\').write_text(\'{"code": "c", "message": "m"}\')\n'
        "sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, str(handed / "run.py"), "an_application"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout.splitlines()[0])
    assert (said["level"], said["done"], said["total"]) == ("progress", 1, 2)
    assert json.loads(last.read_text()) == {"code": "c", "message": "m"}
