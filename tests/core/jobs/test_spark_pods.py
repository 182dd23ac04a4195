"""The pods that Spark itself asks Kubernetes for: as large as we count, with all of our template.

Spark's own scheduler is started and talks to a listener that notes what it is asked for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from cscale_core.clusters import SparkKubernetes
from cscale_core.jobs import spark_submit
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.jobs.engines.spark.kubernetes.manifest import describe
from cscale_core.jobs.engines.spark.options import options_of
from cscale_core.jobs.engines.spark.places import output_prefix
from cscale_core.jobs.engines.spark.process import process_of
from cscale_core.jobs.engines.spark.resources import pods
from cscale_core.jobs.model import Job, JobSpec, utc_now
from cscale_core.site import Site

pytestmark = pytest.mark.spark
ANSWERS = {"uid": "u-1", "resourceVersion": "1", "creationTimestamp": "2026-11-21T00:00:00Z"}


class Listener:
    """Takes everything, and keeps the pods."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method in ("POST", "PUT", "PATCH"):
            body = await request.json()
            metadata = body.setdefault("metadata", {})
            metadata.update(ANSWERS, namespace="spark")
            metadata.setdefault("name", "x")
            if request.path.endswith("/pods"):
                self.pods[metadata["labels"]["spark-role"]] = body
            return web.json_response(body, status=201)
        if request.query.get("watch"):
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(30)
            return response
        if request.method == "GET" and not request.path.endswith("-driver"):
            metadata = {"resourceVersion": "1"}
            empty = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": []}
            return web.json_response(empty)
        return web.json_response({"kind": "Status", "status": "Success"})


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("install cscale-hub[spark]")
    made = Listener()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def submit(listener: Listener, role: str, conf: dict[str, str], main: str) -> dict[str, Any]:
    """Start Spark as the operator does, until it has asked for a pod of that role."""
    home = spark_submit.spark_home()
    java = spark_submit.find_java()
    mode = "cluster" if role == "driver" else "client"
    command = [str(home / "bin" / "spark-submit"), "--deploy-mode", mode]
    for key, value in conf.items():
        command += ["--conf", f"{key}={value}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--master",
        f"k8s://{listener.url}",
        main,
        env={
            **spark_submit.passed_environment(os.environ),
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "JAVA_HOME": str(java.parent.parent),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(120):
            # The listener lives on this loop and tells nobody.
            while role not in listener.pods and process.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
        await process.wait()
    return listener.pods[role]


@pytest.mark.parametrize("role", ["driver", "executor"])
async def test_real_spark_asks_for_what_we_count_and_keeps_our_template(
    make_site: Callable[..., Site], tmp_path: Path, listener: Listener, role: str
) -> None:
    settings = SparkKubernetes.model_validate(
        {
            "namespace": "spark",
            "image": "spark:1",
            "mount": "/s3",
            "mounts": [{"name": "buckets", "path": "/s3", "host_path": "/var/s3"}],
            "credentials": "endpoint",
            "credentials_url": "https://broker.example.eu/v1/s3",
        }
    )
    site = make_site()
    asked = {
        "driver_memory": "2g",
        "executor_memory": "3g",
        "python_memory": "700m",
        "executor_cores": 3,
    }
    process = {"main": "s3://vobucket/users/utest/a.py", "python": ["xarray"]}
    spec = JobSpec(engine="spark", process=process, options=asked)
    job = Job(id="j-1", revision=1, spec=spec, created=utc_now(), updated=utc_now())
    options = options_of(asked)
    work = Work(job, process_of(process, {}), options, output_prefix(site, spec, "j-1"))
    made = describe(work, site, settings, {}).application["spec"][role]
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **made["template"]}))
    main = tmp_path / "main.py"
    main.write_text("from pyspark import SparkContext\nimport time\nSparkContext()\ntime.sleep(99)")
    container = f"spark-kubernetes-{role}"
    # The driver's overhead is left to Spark: what it takes is what we count. The executors' is
    # given, as in the manifest, and that it runs Python, as the driver is told in a cluster.
    conf = {
        "spark.kubernetes.namespace": "spark",
        "spark.kubernetes.container.image": "spark:1",
        "spark.kubernetes.authenticate.executor.serviceAccountName": "default",
        f"spark.kubernetes.{role}.podTemplateFile": str(template),
        f"spark.kubernetes.{role}.podTemplateContainerName": container,
        "spark.kubernetes.submission.waitAppCompletion": "false",
        "spark.driver.memory": "2g" if role == "driver" else "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.executor.memory": "3g",
        "spark.executor.cores": "3",
        "spark.executor.pyspark.memory": "700m",
        "spark.executor.instances": "1",
        "spark.executor.memoryOverhead": made["memoryOverhead"],
        "spark.kubernetes.resource.type": "python",
    }
    where = "local:///s3/a.py" if role == "driver" else str(main)
    pod = await submit(listener, role, conf, where)

    counted = pods(options)[0 if role == "driver" else 1]
    body = pod["spec"]
    (found,) = [each for each in body["containers"] if each["name"] == container]
    assert found["resources"]["requests"]["memory"] == f"{counted.memory}Mi"
    assert found["resources"]["requests"]["cpu"] == str(counted.cpus)
    mine = made["template"]["spec"]
    (ours,) = mine["containers"]
    assert found["securityContext"] == ours["securityContext"]
    names = {each["name"]: each.get("value") for each in found["env"]}
    assert {each["name"]: each["value"] for each in ours["env"]}.items() <= names.items()
    mounts = {each["name"]: each for each in found["volumeMounts"]}
    assert mounts["buckets"]["mountPropagation"] == "HostToContainer"
    assert {"cscale-job", "buckets", "cscale-python"} <= mounts.keys()
    assert {each["name"] for each in mine["volumes"]} <= {each["name"] for each in body["volumes"]}
    assert body["securityContext"] == mine["securityContext"]
    assert body["automountServiceAccountToken"] is (role == "driver")
    assert body["initContainers"][0]["command"] == mine["initContainers"][0]["command"]
