"""A session's executors on Kubernetes, as Spark is told of them. Pure: nothing is asked or written.

The driver is the person's server, in the hub's namespace; executors are in the person's own. They
run the server's image, so that Python and packages are those of the notebook. Each belongs to the
session's Secret: when that is removed, the cluster removes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cscale_core.clusters import SparkKubernetes
from cscale_core.jobs.engines.spark.kubernetes import pod_template
from cscale_core.jobs.engines.spark.kubernetes.handing import HANDED
from cscale_core.jobs.engines.spark.kubernetes.manifest import label, namespace_of
from cscale_core.jobs.engines.spark.kubernetes.states import USER_LABEL
from cscale_core.jobs.engines.spark.options import SparkOptions, memory_text
from cscale_core.jobs.engines.spark.resources import Pod, pods
from cscale_core.site import Site

SERVER_LABEL = "c-scale.eu/server"
"""By which the hub removes what a server's sessions left."""
SESSION_LABEL = "cscale-hub/session"
AUTH_KEY = "spark-secret"
"""Member of the session's Secret by which driver and executors know each other: the driver's file,
in base 64, as Spark takes a file's content."""
# Where executors look for it before they have asked the driver for anything (SecurityManager of
# Spark); a file is read afterwards only.
_AUTH_VARIABLE = "_SPARK_AUTH_SECRET"
# Each may be taken by another session of this server; then the next ones are tried. Network
# policies let executors reach these: 7078 to 7110.
_DRIVER_PORT, _BLOCK_PORT, _TRIES = 7078, 7095, 15
_ENTRYPOINT = "/opt/entrypoint.sh"


@dataclass(frozen=True)
class Server:
    """The server that a session is in.

    :ivar pod: name of its pod.
    :ivar address: at which executors reach it.
    :ivar image: that it runs; empty: that of the site's Spark is taken.
    :ivar user: id of its processes, and that of its group.
    """

    pod: str
    address: str
    image: str
    user: int
    group: int


def executor(options: SparkOptions) -> Pod:
    """One executor, as large as it really is."""
    return pods(options)[1]


def secret_manifest(name: str, site: Site, server: Server, data: Mapping[str, str]) -> Any:
    """The Secret to which everything of a session belongs.

    :param data: base64.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "labels": _labels(name, site, server)},
        "data": dict(data),
    }


def template(
    name: str, uid: str, site: Site, settings: SparkKubernetes, server: Server
) -> dict[str, Any]:
    """The pod that Spark makes executors of.

    :param uid: of the session's Secret.
    """
    environment = {
        **pod_template.store_environment(site, settings),
        # Whoever the user of the image is, this can be written.
        "HOME": "/tmp",  # noqa: S108 - of a container of its own
    }
    security = pod_template.pod_security(settings)
    if server.image:
        # Java wants to know its user by name, so it is the one that the image has.
        security |= {"runAsUser": server.user, "runAsGroup": server.group}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": _labels(name, site, server),
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": name, "uid": uid}],
        },
        "spec": {
            "securityContext": security,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "serviceAccountName": settings.executor_service_account,
            "volumes": [
                *pod_template.secret_volumes(site, settings, name),
                *pod_template.data_volumes(site, settings),
            ],
            "containers": [
                {
                    "name": pod_template.CONTAINERS["executor"],
                    "command": [_ENTRYPOINT],
                    "securityContext": pod_template.container_security(),
                    "env": [
                        *({"name": key, "value": text} for key, text in environment.items()),
                        {
                            "name": _AUTH_VARIABLE,
                            "valueFrom": {"secretKeyRef": {"name": name, "key": AUTH_KEY}},
                        },
                    ],
                    "volumeMounts": [
                        *pod_template.secret_mounts(settings),
                        *pod_template.data_mounts(site, settings),
                    ],
                }
            ],
            **pod_template.placement(settings),
        },
    }


def properties(
    name: str,
    site: Site,
    settings: SparkKubernetes,
    options: SparkOptions,
    server: Server,
    *,
    api: str,
    template_file: str,
    auth_file: str,
) -> dict[str, str]:
    """Spark's properties of a session.

    :param api: address of the API server.
    :param template_file: with :func:`template`.
    :param auth_file: with the secret that executors have as :data:`AUTH_KEY`.
    """
    pod = executor(options)
    conf = {
        **options.conf,
        "spark.submit.deployMode": "client",
        "spark.master": f"k8s://{api}",
        "spark.kubernetes.namespace": namespace_of(settings, site.user),
        "spark.kubernetes.container.image": server.image or settings.image,
        "spark.kubernetes.container.image.pullPolicy": settings.pull_policy,
        "spark.kubernetes.executor.podTemplateFile": template_file,
        "spark.kubernetes.executor.podTemplateContainerName": pod_template.CONTAINERS["executor"],
        "spark.kubernetes.executor.podNamePrefix": name,
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.executor.cores": str(pod.cpus),
        "spark.kubernetes.executor.limit.cores": str(pod.cpus),
        "spark.executor.memory": memory_text(pod.heap),
        # Said, so that what is asked for is what was counted.
        "spark.executor.memoryOverhead": memory_text(pod.overhead),
        "spark.driver.host": server.address,
        "spark.driver.bindAddress": server.address,
        "spark.driver.port": str(_DRIVER_PORT),
        "spark.driver.blockManager.port": str(_BLOCK_PORT),
        "spark.port.maxRetries": str(_TRIES),
        "spark.authenticate": "true",
        "spark.authenticate.secret.driver.file": auth_file,
        # Said, so that Spark does not write the secret into the pods' descriptions.
        "spark.authenticate.secret.executor.file": f"{HANDED}/{AUTH_KEY}",
        "spark.network.crypto.enabled": "true",
        "spark.ui.killEnabled": "false",
        "spark.pyspark.python": settings.python,
    }
    if settings.pull_secrets:
        conf["spark.kubernetes.container.image.pullSecrets"] = ",".join(settings.pull_secrets)
    if settings.context:
        conf["spark.kubernetes.context"] = settings.context
    if options.python_memory:
        conf["spark.executor.pyspark.memory"] = options.python_memory
    if options.max_executors:
        conf |= {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.minExecutors": str(options.min_executors or 0),
            "spark.dynamicAllocation.maxExecutors": str(options.max_executors),
        }
    else:
        conf["spark.executor.instances"] = str(pod.count)
    store = pod_template.store_properties(site, settings)
    if "fs.s3a.aws.credentials.provider" in store and settings.credentials in ("server", "secret"):
        # The driver asks its server; only executors have the file.
        container = "software.amazon.awssdk.auth.credentials.ContainerCredentialsProvider"
        store["fs.s3a.aws.credentials.provider"] += f",{container}"
    return conf | {f"spark.hadoop.{key}": text for key, text in store.items()}


def _labels(name: str, site: Site, server: Server) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "cscale-hub",
        SESSION_LABEL: name,
        SERVER_LABEL: label(server.pod),
        USER_LABEL: label(site.user),
    }
