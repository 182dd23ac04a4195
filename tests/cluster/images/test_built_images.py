"""What is in images that were built: ``TAG=test BASE=debootstrap scripts/images.sh mount hub``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.cluster
IMAGES = ("hub", "mount")


def buildah(*arguments: str) -> str:
    program = shutil.which("buildah")
    if program is None:
        pytest.skip("buildah is missing: install buildah (scripts/system-packages.sh cluster)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"buildah {' '.join(arguments)}: {done.stderr}")
    return done.stdout


class Built:
    """An image, and a container of it."""

    def __init__(self, name: str) -> None:
        self.name = f"localhost/cscale/{name}:test"
        try:
            self.config: dict[str, Any] = json.loads(buildah("inspect", "--type=image", self.name))[
                "Docker"
            ]["config"]
        except RuntimeError:
            pytest.skip(f"{self.name} is not built: TAG=test scripts/images.sh {name}")
        self.container = buildah("from", "--pull-never", self.name).strip()
        self.root = Path(buildah("mount", self.container).strip())

    def run(self, *command: str) -> str:
        """What a program in it prints; in a file, as buildah loses what is said at the very end."""
        words = ("sh", "-c", '"$@" > /tmp/said', "sh", *command)
        buildah("run", "--isolation=chroot", self.container, "--", *words)
        return (self.root / "tmp" / "said").read_text(encoding="utf-8")

    def bill(self) -> dict[str, Any]:
        return dict(json.loads(self.run("cat", "/usr/share/cscale/sbom.cdx.json")))


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest) -> Iterator[Built]:
    built = Built(request.param)
    yield built
    buildah("rm", built.container)


def locked() -> dict[str, str]:
    """Name and version of everything in the lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, flags=re.MULTILINE)
    return {normal(name): version for name, version in found}


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_runs_as_somebody_without_rights(image: Built) -> None:
    assert image.config["User"] == image.config["User"].lstrip("0")
    assert int(image.run("id", "-u")) >= 1000
    # Nothing that is run can be changed by whoever runs it.
    assert image.run("find", "/opt", "-writable", "-not", "-type", "l").strip() == ""


def test_versions_are_those_of_the_lock(image: Built) -> None:
    versions = locked()
    installed = {
        normal(each["name"]): each["version"]
        for each in image.bill()["components"]
        if each["purl"].startswith("pkg:pypi/")
    }
    ours = {
        name: version for name, version in installed.items() if name not in ("cscale-hub", "pip")
    }
    assert ours
    assert {name: versions.get(name) for name in ours} == ours


def test_bill_of_materials_names_every_package(image: Built) -> None:
    bill = image.bill()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    packages = image.run("dpkg-query", "--show", "--showformat=${Package}\\n").split()
    named = {each["name"] for each in bill["components"] if each["purl"].startswith("pkg:deb/")}
    assert set(packages) == named
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(set(references)) == len(references)


def test_labels_say_what_it_is_made_of(image: Built) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"]
    assert labels["org.opencontainers.image.revision"]


def test_hub_has_what_the_chart_wants_and_no_more() -> None:
    image = Built("hub")
    try:
        code = (
            "import importlib.util as u, jupyterhub, kubespawner, oauthenticator, psycopg, pycurl, "
            "jupyterhub_idle_culler, cscale_hub.node.servers;"
            "print([n for n in ('rasterio', 'osgeo', 'pyspark', 'jupyterlab') if u.find_spec(n)])"
        )
        assert image.run("python", "-c", code).strip() == "[]"
        assert image.config["Healthcheck"]["Test"][0] == "CMD"
        configuration = "/usr/local/etc/jupyterhub/jupyterhub_config.d/50-cscale.py"
        assert "chart_settings" in image.run("cat", configuration)
        # What binds places on a node.
        for program in ("mount", "umount"):
            assert image.run("which", program).strip()
    finally:
        buildah("rm", image.container)


def test_mount_has_rclone_and_fuse() -> None:
    image = Built("mount")
    try:
        assert image.run("rclone", "version").startswith("rclone v")
        for program in ("fusermount3", "mountpoint", "mount-bucket", "stat"):
            assert image.run("which", program).strip()
        assert "user_allow_other" in image.run("cat", "/etc/fuse.conf")
    finally:
        buildah("rm", image.container)
