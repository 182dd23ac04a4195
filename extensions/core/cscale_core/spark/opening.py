"""``session()``: a Spark session whose driver is in this kernel.

On the cluster its executors are pods of the person's own namespace; elsewhere Spark runs in this
server. What it is asked for is checked before anything is started.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import InvalidInput, UpstreamError
from cscale_core.jobs.engines.programs import mistakes
from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.resources import check_fits
from cscale_core.site import Site, load_site
from cscale_core.spark.executors import AUTH_KEY, Server, properties, template
from cscale_core.spark.keeping import Keeper

Place = Literal["", "local", "kubernetes"]
_POD_VARIABLES = ("CSCALE_SERVER", "CSCALE_POD_IP")


def session(title: str = "notebook", *, where: Place = "", **options: Any) -> Any:
    """A Spark session, ``pyspark.sql.SparkSession``; ``stop()`` it when it is no longer needed.

    ``session(executors=4, executor_memory="8g")``. What is asked for is what the cluster is asked
    for: the overhead is counted once, and a size that no node has is refused with the largest that
    fits.

    :param title: name in Spark's pages.
    :param where: ``local`` in this server, ``kubernetes`` on the cluster; empty: as the site says.
    :param options: members of :class:`SparkOptions`; for executors ``executors`` (or
        ``max_executors``), ``executor_memory``, ``executor_memory_overhead``, ``executor_cores``,
        ``python_memory`` and ``conf``.
    :raises InvalidInput: for options that do not exist or do not fit, and where another session
        is open, which would be changed.
    :raises CScaleError: when the cluster refuses.
    """
    site = load_site()
    try:
        asked = SparkOptions.model_validate(options)
    except ValidationError as error:
        raise InvalidInput(
            f"The session cannot be made: {'; '.join(mistakes(error, 'session'))}"
        ) from error
    place = where or site.spark.kinds[0]
    builder = _builder(title)
    if place == "local":
        for key, value in {**asked.conf, "spark.master": site.spark.master}.items():
            builder = builder.config(key, value)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        return builder.getOrCreate()
    settings = site.spark.kubernetes
    if settings is None:
        raise InvalidInput("This site has no cluster for Spark.", hint="Use where='local'.")
    check_fits(
        asked.model_copy(update={"driver_memory": "", "driver_cores": None}),
        site.spark.node,
        site.spark.driver_memory,
    )
    return _on_kubernetes(builder, site, settings, asked)


def _builder(title: str) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UpstreamError(
            "Your server has no Spark.", hint="Choose a server that has it."
        ) from error
    if SparkSession.getActiveSession() is not None:
        raise InvalidInput(
            "This kernel has a Spark session already.", hint="stop() it, or go on with it."
        )
    return SparkSession.builder.appName(title)


def _on_kubernetes(
    builder: Any, site: Site, settings: SparkKubernetes, options: SparkOptions
) -> Any:
    server = _server()
    name = f"cscale-session-{secrets.token_hex(5)}"
    auth = secrets.token_urlsafe(32)
    api = api_address(settings)
    folder = Path(tempfile.mkdtemp(prefix="cscale-session-"))
    keeper = Keeper(name, site, settings, server, folder)
    try:
        uid = keeper.start({AUTH_KEY: base64.b64encode(auth.encode()).decode()})
        (folder / "auth").write_text(auth, encoding="ascii")
        (folder / "template.yaml").write_text(
            yaml.safe_dump(template(name, uid, site, settings, server)), encoding="utf-8"
        )
        conf = properties(
            *(name, site, settings, options, server),
            api=api,
            template_file=str(folder / "template.yaml"),
            auth_file=str(folder / "auth"),
        )
        # Its pages on loopback only: they are seen through the server's proxy.
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        os.environ["PYSPARK_PYTHON"] = settings.python
        if settings.kubeconfig:
            os.environ["KUBECONFIG"] = settings.kubeconfig
        for key, value in conf.items():
            builder = builder.config(key, value)
        opened = builder.getOrCreate()
    except BaseException:
        keeper.stop()
        raise
    context = opened.sparkContext
    keeper.ended = lambda: context._jsc is None
    return opened


def _server() -> Server:
    found = [os.environ.get(name, "") for name in _POD_VARIABLES]
    if not all(found):
        raise InvalidInput(
            "Sessions on the cluster are for servers that run in it.",
            hint="Use where='local', or submit a job.",
        )
    image = os.environ.get("CSCALE_IMAGE", "")
    return Server(found[0], found[1], image, os.getuid(), os.getgid())


def api_address(settings: SparkKubernetes) -> str:
    """Where the API server is, by the pod's variables or the site's kubeconfig.

    :raises InvalidInput: when neither says it.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not settings.kubeconfig and host and port:
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        document = yaml.safe_load(Path(settings.kubeconfig).read_text(encoding="utf-8"))
        wanted = settings.context or document["current-context"]
        contexts = {each["name"]: each["context"]["cluster"] for each in document["contexts"]}
        clusters = {each["name"]: each["cluster"]["server"] for each in document["clusters"]}
        return str(clusters[contexts[wanted]])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInput(
            "This server has no login for the cluster.",
            hint="Choose a server that may use Spark on the cluster.",
        ) from error
