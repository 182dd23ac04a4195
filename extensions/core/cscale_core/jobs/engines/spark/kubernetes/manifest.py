"""The SparkApplication of a job and its Secret.

What Kubernetes is told of the pods (volumes, security, variables) goes into pod templates, which
Spark itself reads: that needs an operator of 2.0 or newer, and no admission webhook. Nothing in the
application is a secret: parameters and the token of the credentials endpoint are in a Secret that
belongs to the application and is removed with it.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cscale_core.clusters import SparkKubernetes, SparkSite
from cscale_core.errors import InvalidInput
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.jobs.engines.spark.kubernetes import pod_entry, pod_template
from cscale_core.jobs.engines.spark.kubernetes.handing import HANDED
from cscale_core.jobs.engines.spark.kubernetes.pod_template import CONTAINERS
from cscale_core.jobs.engines.spark.kubernetes.states import (
    GROUP,
    JOB_LABEL,
    USER_LABEL,
    VERSION,
    VO_LABEL,
)
from cscale_core.jobs.engines.spark.options import memory_text
from cscale_core.jobs.engines.spark.places import View, filled
from cscale_core.jobs.engines.spark.process import Program
from cscale_core.jobs.engines.spark.resources import Pod, pods
from cscale_core.site import Site

#: Where the Python requirements are in the pods.
REQUIREMENTS = "/opt/cscale-python"
#: The container that installs Python requirements before Spark starts.
INSTALLER = "python-requirements"
#: Bytes of a Secret; Kubernetes takes one MiB.
LARGEST_SECRET = 900_000
ENTRY = "run.py"

_NOT_LABEL = re.compile(r"[^A-Za-z0-9._-]+")


def application_name(job_id: str) -> str:
    """The name of a job's application, by which it is found again, and of its Secret."""
    return f"cscale-{job_id}"


def label(text: str) -> str:
    """A text as the value of a label."""
    return _NOT_LABEL.sub("-", text)[:63].strip("-._")


def namespace_of(settings: SparkKubernetes, user: str) -> str:
    """Where the user's applications run."""
    return settings.namespace.replace("{user}", user)


def pod_site(site: Site, settings: SparkKubernetes) -> Site:
    """The site as an application in a pod sees it; who the user is elsewhere is left out."""
    return site.model_copy(
        update={
            "mount": settings.mount or site.mount,
            "mount_mode": "fuse" if settings.mount else "none",
            "entitlements": (),
            "providers": (),
            "site_registry": None,
            "openeo": (),
            "slurm": (),
            "spark": SparkSite(),
            "broker_url": "",
        }
    )


@dataclass(frozen=True)
class Described:
    """What is made in the cluster for a job."""

    application: dict[str, Any]
    secret: dict[str, str]

    @property
    def name(self) -> str:
        return str(self.application["metadata"]["name"])

    def secret_manifest(self, uid: str, extra: dict[str, str]) -> dict[str, Any]:
        """The Secret, which belongs to the application of that uid and goes with it."""
        metadata = self.application["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": self.name,
                "labels": metadata["labels"],
                "ownerReferences": [
                    {
                        "apiVersion": f"{GROUP}/{VERSION}",
                        "kind": "SparkApplication",
                        "name": self.name,
                        "uid": uid,
                    }
                ],
            },
            "data": encoded({**self.secret, **extra}),
        }


def encoded(data: dict[str, str]) -> dict[str, str]:
    """Data of a Secret as the API takes it."""
    return {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}


def check_places(process: Program, view: View) -> None:
    """Refuse files that pods cannot see.

    :raises InvalidInput: with the first of them.
    """
    for place in (process.main, *process.py_files, *process.jars):
        if view.object(place) is None:
            raise InvalidInput(
                f"{place} is on this server only; the cluster's pods cannot see it.",
                hint="Put it into a bucket of yours, and name it by s3:// or its mounted path.",
            )


def describe(
    work: Work, site: Site, settings: SparkKubernetes, main_modules: dict[str, str]
) -> Described:
    """What is made in the cluster for a job.

    :param main_modules: module of each named application.
    :raises InvalidInput: when it is too large to be handed over.
    """
    maker = _Maker(work, site, settings, main_modules)
    secret = maker.secret()
    size = sum(map(len, encoded(secret).values()))
    if size > LARGEST_SECRET:
        raise InvalidInput(
            f"The job's parameters are {size} bytes; a cluster takes {LARGEST_SECRET}.",
            hint="Give it fewer inputs, or put them into a file in a bucket that the program "
            "reads.",
        )
    return Described(maker.application(), secret)


class _Maker:
    """Puts the manifest together."""

    def __init__(
        self, work: Work, site: Site, settings: SparkKubernetes, main_modules: dict[str, str]
    ) -> None:
        self._work = work
        self._site = site
        self._settings = settings
        self._modules = main_modules
        self._view = View(site, settings.mount)
        self._program = work.process if isinstance(work.process, Program) else None
        self._output = self._view.output(work.output)

    def secret(self) -> dict[str, str]:
        inputs = json.dumps(self._view.translated(self._work.spec.inputs))
        if self._program is not None:
            return {"inputs.json": inputs}
        run = self._work.application_run(pod_site(self._site, self._settings))
        run = run.model_copy(update={"arguments": self._view.translated(run.arguments)})
        return {
            "parameters.json": run.model_dump_json(),
            ENTRY: Path(pod_entry.__file__).read_text(encoding="utf-8"),
        }

    def application(self) -> dict[str, Any]:
        settings, options = self._settings, self._work.options
        job = self._work.job
        name = application_name(job.id)
        labels = {
            "app.kubernetes.io/managed-by": "cscale-hub",
            JOB_LABEL: label(job.id),
            USER_LABEL: label(self._site.user),
        }
        if job.spec.vo:
            labels[VO_LABEL] = label(job.spec.vo)
        driver, executor = pods(options, self._site.spark.driver_memory)
        spec: dict[str, Any] = {
            "type": "Python",
            "pythonVersion": "3",
            "mode": "cluster",
            "sparkVersion": settings.spark_version,
            "image": settings.image,
            "imagePullPolicy": settings.pull_policy,
            "mainApplicationFile": self._main(),
            "arguments": self._arguments(),
            "sparkConf": self._conf(),
            "hadoopConf": pod_template.store_properties(self._site, settings),
            "restartPolicy": {
                "type": "OnFailure",
                "onFailureRetries": 0,
                "onSubmissionFailureRetries": 3,
                "onSubmissionFailureRetryInterval": 20,
            },
            "timeToLiveSeconds": settings.time_to_live,
            "driver": {
                **self._pod(driver, labels),
                "serviceAccount": settings.service_account,
            },
            "executor": {
                **self._pod(executor, labels),
                "serviceAccount": settings.executor_service_account,
                "instances": options.executors or max(1, options.min_executors or 0)
                if options.max_executors or options.executors
                else executor.count,
                # Their state says why they ended; they go with the application.
                "deleteOnTermination": False,
            },
        }
        if settings.pull_secrets:
            spec["imagePullSecrets"] = list(settings.pull_secrets)
        if options.max_executors:
            spec["dynamicAllocation"] = {
                "enabled": True,
                "initialExecutors": max(1, options.min_executors or 0),
                "minExecutors": options.min_executors or 0,
                "maxExecutors": options.max_executors,
                "shuffleTrackingEnabled": True,
            }
        if dependencies := self._dependencies():
            spec["deps"] = dependencies
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "SparkApplication",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {"cscale-hub/title": job.spec.title},
            },
            "spec": spec,
        }

    # -- what runs -----------------------------------------------------------------------------

    def _file(self, place: str) -> str:
        """A file in a bucket as Spark in a pod finds it."""
        if self._settings.mount:
            return f"local://{self._view.seen(place)}"
        return self._view.seen(place).replace("s3://", "s3a://", 1)

    def _main(self) -> str:
        if self._program is None:
            return f"local://{HANDED}/{ENTRY}"
        return self._file(self._program.main)

    def _arguments(self) -> list[str]:
        if self._program is None:
            return [self._modules[self._work.spec.process["application"]]]
        return filled(
            self._program.arguments,
            self._view,
            output=self._output,
            inputs=f"{HANDED}/inputs.json",
        )

    def _dependencies(self) -> dict[str, list[str]]:
        if self._program is None:
            return {}
        said = {
            "jars": [self._file(place) for place in self._program.jars],
            "pyFiles": [self._file(place) for place in self._program.py_files],
            "packages": self._program.packages,
            "repositories": list(self._site.spark.repositories) if self._program.packages else [],
        }
        return {key: many for key, many in said.items() if many}

    def _conf(self) -> dict[str, str]:
        options, settings = self._work.options, self._settings
        conf = {
            **options.conf,
            "spark.pyspark.python": settings.python,
            "spark.ui.killEnabled": "false",
            # Where packages are kept: the home of the pods' user cannot be written.
            "spark.jars.ivy": "/tmp/.ivy2",  # noqa: S108 - of a container of its own
        }
        if options.python_memory:
            conf["spark.executor.pyspark.memory"] = options.python_memory
        if settings.event_log:
            conf["spark.eventLog.enabled"] = "true"
            conf["spark.eventLog.dir"] = settings.event_log
        return conf

    # -- pods ----------------------------------------------------------------------------------

    def _pod(self, pod: Pod, labels: dict[str, str]) -> dict[str, Any]:
        return {
            "cores": pod.cpus,
            "memory": memory_text(pod.heap),
            "memoryOverhead": memory_text(pod.overhead),
            "labels": labels,
            "template": {"spec": self._template(pod.role)},
        }

    def _template(self, role: str) -> dict[str, Any]:
        settings = self._settings
        security = pod_template.container_security()
        template: dict[str, Any] = {
            "securityContext": pod_template.pod_security(settings),
            # The driver starts executors; they have nothing to ask of the cluster.
            "automountServiceAccountToken": role == "driver",
            "enableServiceLinks": False,
            "volumes": self._volumes(),
            "containers": [
                {
                    "name": CONTAINERS[role],
                    "securityContext": security,
                    "env": self._environment(),
                    "volumeMounts": self._volume_mounts(),
                }
            ],
            **pod_template.placement(settings),
        }
        if self._program is not None and self._program.python:
            template["initContainers"] = [
                {
                    "name": INSTALLER,
                    "image": settings.image,
                    "imagePullPolicy": settings.pull_policy,
                    "securityContext": security,
                    "command": self._install(self._program.python),
                    "resources": {
                        "requests": {"cpu": "250m", "memory": "512Mi"},
                        "limits": {"cpu": "1", "memory": "1Gi"},
                    },
                    "env": [{"name": "HOME", "value": REQUIREMENTS}],
                    "volumeMounts": [{"name": "cscale-python", "mountPath": REQUIREMENTS}],
                }
            ]
        if role == "driver" and self._work.options.seconds:
            template["activeDeadlineSeconds"] = self._work.options.seconds
        return template

    def _install(self, requirements: list[str]) -> list[str]:
        index = self._settings.requirements_index
        return [
            self._settings.python,
            *("-m", "pip", "install", "--no-input", "--no-cache-dir"),
            "--disable-pip-version-check",
            *("--target", REQUIREMENTS),
            *(("--index-url", index) if index else ()),
            "--",
            *requirements,
        ]

    def _environment(self) -> list[dict[str, str]]:
        said = {
            "CSCALE_JOB_ID": self._work.job.id,
            "CSCALE_OUTPUT": self._output,
            **pod_template.store_environment(self._site, self._settings),
        }
        if self._program is not None:
            said["CSCALE_INPUTS"] = f"{HANDED}/inputs.json"
            if self._program.python:
                said["PYTHONPATH"] = REQUIREMENTS
            said.update(self._program.environment)
        return [{"name": name, "value": text} for name, text in said.items()]

    def _volumes(self) -> list[dict[str, Any]]:
        name = application_name(self._work.job.id)
        found = pod_template.secret_volumes(self._site, self._settings, name)
        if self._program is not None and self._program.python:
            found.append({"name": "cscale-python", "emptyDir": {"sizeLimit": "8Gi"}})
        return [*found, *pod_template.data_volumes(self._site, self._settings)]

    def _volume_mounts(self) -> list[dict[str, Any]]:
        found = pod_template.secret_mounts(self._settings)
        if self._program is not None and self._program.python:
            found.append({"name": "cscale-python", "mountPath": REQUIREMENTS})
        return [*found, *pod_template.data_mounts(self._site, self._settings)]
