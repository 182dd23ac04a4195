"""The hub's image as the zero-to-jupyterhub chart starts it: what JupyterHub is configured to.

Needs the image and the chart (``CSCALE_CHARTS``); no cluster.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cscale_cli.deploy.checking import own_values
from cscale_cli.deploy.helm import Helm
from cscale_cli.deploy.manifests import manifests
from cscale_cli.deploy.releases import releases
from cscale_cli.deploy.values import chosen
from tests.cluster import programs
from tests.cluster.images.test_built_images import Built, buildah
from tests.deploy.conftest import FOLDER, chart, helm, helm_on_path

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("helm_on_path")]
CONFIGURATION = "usr/local/etc/jupyterhub"
SECRETS = {
    "auth-state-key": "0" * 64,
    **dict.fromkeys(("operator-token", "prometheus-token", "pseudonym-key"), "o" * 40),
    "client-secret": "s" * 40,
}
VARIABLES = {
    "POD_NAMESPACE": "cscale",
    "HELM_RELEASE_NAME": "jupyterhub",
    "CONFIGPROXY_AUTH_TOKEN": "p" * 64,
    "PROXY_API_SERVICE_HOST": "127.0.0.1",
    "PROXY_API_SERVICE_PORT": "8001",
    "PROXY_PUBLIC_SERVICE_HOST": "127.0.0.1",
    "PROXY_PUBLIC_SERVICE_PORT": "80",
    "HUB_SERVICE_HOST": "127.0.0.1",
    "HUB_SERVICE_PORT": "8081",
}

__all__ = ["chart", "helm", "helm_on_path"]


def written(folder: Path, data: dict[str, str], *, encoded: bool) -> None:
    """The files of a mounted ConfigMap or Secret."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in data.items():
        content = base64.b64decode(text) if encoded else text.encode()
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o440)
        # As the pod's fsGroup makes it.
        os.chown(folder / name, 0, 1000)


@pytest.mark.parametrize("site", ["incd", "local"])
def test_the_chart_and_the_image_make_our_hub(
    site: str,
    chart: Callable[[str], Path],
) -> None:
    values = chosen(FOLDER, site)
    deployment = own_values(values).deployment
    planned = releases(values, deployment, {"jupyterhub": chart("jupyterhub")})
    objects = {
        (each["kind"], each["metadata"]["name"]): each
        for each in manifests(Helm().template(planned[-1], programs.VERSION))
    }
    image = Built("hub")
    try:
        folder = image.root / CONFIGURATION
        config: dict[str, Any] = objects["ConfigMap", "hub"]["data"]
        written(folder / "config", config, encoded=False)
        written(folder / "secret", objects["Secret", "hub"]["data"], encoded=True)
        written(folder / "existing-secret", {}, encoded=False)
        written(image.root / "etc/cscale/secrets", SECRETS, encoded=False)
        for name in ("jupyterhub_config.py", "z2jh.py"):
            written(folder, {name: config[name]}, encoded=False)
        words = [f"{name}={value}" for name, value in VARIABLES.items()]
        shown = image.run(
            "env",
            *words,
            "jupyterhub",
            f"--config=/{CONFIGURATION}/jupyterhub_config.py",
            "--show-config-json",
            # The site's database is not here.
            "--db=sqlite:////tmp/hub.sqlite",
        )
        found = json.loads(shown[shown.index("\n{") :])
        assert "AuditedAuthenticator" in str(found["JupyterHub"]["authenticator_class"])
        assert "ClusterSpawner" in str(found["JupyterHub"]["spawner_class"])
        names = {each["name"] for each in found["JupyterHub"]["services"]}
        assert names == {"operator", "prometheus", "broker", "idle-culler"}
        assert found["KubeSpawner"]["init_containers"] == []
    finally:
        buildah("rm", image.container)
