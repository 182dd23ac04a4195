"""A person's Spark jobs on a real API server, and an operator that does what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from cscale_core.clusters import SparkKubernetes
from cscale_core.jobs.engines.spark import SparkEngine
from cscale_core.jobs.engines.spark.kubernetes.following import Rhythm
from cscale_core.jobs.engines.spark.kubernetes.states import APP_LABEL
from cscale_core.jobs.manager import JobManager
from cscale_core.jobs.model import Job, JobSpec
from cscale_core.jobs.store import JobStore
from cscale_core.site import Site
from cscale_core.workflows.applications import Application
from cscale_hub.spawn.cluster_spark import person_objects
from tests.cluster.access import Access
from tests.waiting import soon

HUB = "cscale-test-hub"
DEFINITION = Path(__file__).parent / "sparkapplications.yaml"
ROLES = Path(__file__).parents[3] / "helm-values" / "cscale" / "spark" / "cluster-roles.yaml"
PROGRAM = {"main": "s3://vobucket/users/{user}/code/job.py", "arguments": ["--to", "{output}"]}


class Arguments(BaseModel):
    """What the test's application takes."""

    count: int = 3


class Tokens:
    """The same token at each request."""

    async def token(self, audience: str) -> str:
        return f"very-secret-{audience}"


def cluster_roles(hub: str = HUB) -> list[dict[str, Any]]:
    """What a deployment makes once."""
    text = ROLES.read_text(encoding="utf-8").replace("{hub}", hub)
    return list(yaml.safe_load_all(text))


def namespace_documents(user: str, hub: str = HUB) -> list[dict[str, Any]]:
    """What the hub makes for one person."""
    settings = SparkKubernetes(namespace="spark-{user}", image="registry.example/spark:1")
    return person_objects(settings, user, hub, f"system:serviceaccount:{hub}:hub")


class Operator:
    """Writes the status of applications, as the Spark operator does."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._namespace = namespace

    def say(self, name: str, state: str, error: str = "", **members: Any) -> None:
        """Let an application be in a state."""
        told = {"state": state, **({"errorMessage": error} if error else {})}
        status = {"applicationState": told, "driverInfo": {}, **members}
        self._access.kubectl(
            *("patch", "sparkapplication", name, "--namespace", self._namespace),
            *("--subresource=status", "--type=merge", "--patch", json.dumps({"status": status})),
        )

    def start_driver(self, application: dict[str, Any]) -> str:
        """Make the driver's pod, from the template; gives its name."""
        metadata, driver = application["metadata"], application["spec"]["driver"]
        spec = driver["template"]["spec"]
        spec["containers"][0]["image"] = application["spec"]["image"]
        spec["serviceAccountName"] = driver["serviceAccount"]
        name = f"{metadata['name']}-driver"
        labels = {APP_LABEL: metadata["name"], "spark-role": "driver", **driver["labels"]}
        owner = {key: application[key] for key in ("apiVersion", "kind")}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": labels,
                "ownerReferences": [
                    {**owner, "name": metadata["name"], "uid": metadata["uid"], "controller": True}
                ],
            },
            "spec": spec,
        }
        self._access.apply([pod], "--validate=strict")
        return name


class World:
    """One person with a namespace of their own, and their server's jobs.

    :cvar patience: seconds that are waited for something.
    """

    patience = 60.0

    def __init__(self, access: Access, folder: Path, user: str, kubeconfig: Path) -> None:
        self.access = access
        self.folder = folder
        self.user = user
        self.namespace = f"spark-{user}"
        self.operator = Operator(access, self.namespace)
        self.kubeconfig = kubeconfig
        self.rhythm = Rhythm(look=1.0, attended=0.5, pods=0.5, operator=60.0)

    def site(self) -> Site:
        home = {"bucket": "vobucket", "access": "rw", "vo": "vo.example.eu"}
        return Site.model_validate(
            {
                "user": self.user,
                "vos": ["vo.example.eu"],
                "s3": {"endpoint": "http://127.0.0.1:9"},
                "catalogue": {"url": "http://127.0.0.1:9/catalogue"},
                "mount_root": "/s3",
                "mount": "/s3",
                "grants": [
                    {**home, "prefix": "products/", "purpose": "products"},
                    {**home, "prefix": f"users/{self.user}/", "purpose": "home"},
                ],
                "spark": {
                    "kinds": ["kubernetes"],
                    "node": {"cpus": 16, "memory": "32g"},
                    "kubernetes": {
                        "namespace": "spark-{user}",
                        "image": "localhost/pause:1",
                        "kubeconfig": str(self.kubeconfig),
                        "mount": "/s3",
                        "mounts": [{"name": "buckets", "path": "/s3", "claim": "buckets"}],
                        "credentials": "endpoint",
                        "credentials_url": "https://broker.example.eu/v1/s3",
                        "credentials_audience": "pods",
                    },
                },
            }
        )

    async def begin(self) -> None:
        """A new server of the person."""
        site = self.site()
        main = self.folder / "application_spark.py"
        engine = SparkEngine(
            site,
            self.folder / "spark",
            Tokens(),
            applications={"test": Application("test", "Test", main, Arguments)},
            rhythm=self.rhythm,
        )
        store = JobStore(self.folder / "jobs.sqlite")
        self.manager = JobManager(site, store, {"spark": engine}, lambda job: None)
        await self.manager.start()

    async def submit(self, **changes: Any) -> Job:
        program = {**PROGRAM, "main": PROGRAM["main"].replace("{user}", self.user)}  # type: ignore[attr-defined]
        body = {"engine": "spark", "process": program, "title": "Test", **changes}
        return await self.manager.submit(JobSpec.model_validate(body))

    async def submitted(self, **changes: Any) -> tuple[Job, str]:
        """A job whose application and Secret are in the cluster, and the application's name."""
        job = await self.submit(**changes)
        name = f"cscale-{job.id}"
        await self.until(lambda: self.get("secret", name), "its Secret")
        return job, name

    def get(self, kind: str, name: str = "") -> Any:
        names = (name,) if name else ()
        return self.access.get(kind, *names, "--namespace", self.namespace)

    async def until(self, look: Callable[[], object], what: str) -> None:
        """Wait until something is so in the cluster."""
        await soon(lambda: asyncio.to_thread(look), what, self.patience, pause=0.2)

    async def job(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        """Wait until something is so of a job."""
        return await soon(
            lambda: self.manager.get(job_id), "it", self.patience, fits=condition, pause=0.1
        )
