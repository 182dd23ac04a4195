"""The bill of materials of an image, as CycloneDX 1.6: Debian packages and Python distributions.

Run inside the image, by the image's own Python; standard library only. Package URLs are those of
https://github.com/package-url/purl-spec, the document's form that of https://cyclonedx.org.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from urllib.parse import quote

_FORMAT = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"


def debian() -> list[dict[str, object]]:
    """The installed Debian packages."""
    answer = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={_FORMAT}"],
        capture_output=True,
        text=True,
        check=True,
    )
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    found: list[dict[str, object]] = []
    for line in answer.stdout.splitlines():
        name, version, architecture, status = line.split("\t")
        if status == "installed":
            qualifiers = f"arch={architecture}&distro={codename}"
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?{qualifiers}"
            found.append(_component(name, version, purl))
    return found


def python() -> list[dict[str, object]]:
    """The installed Python distributions."""
    return [_python_component(each) for each in distributions() if each.metadata["Name"]]


def _python_component(distribution: Distribution) -> dict[str, object]:
    name, version = distribution.metadata["Name"], distribution.version
    normal = re.sub(r"[-_.]+", "-", name).lower()  # PEP 503
    component = _component(name, version, f"pkg:pypi/{normal}@{quote(version, safe='')}")
    if licence := distribution.metadata.json.get("license_expression"):
        component["licenses"] = [{"expression": licence}]
    return component


def _component(name: str, version: str, purl: str) -> dict[str, object]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def document(name: str, version: str) -> dict[str, object]:
    """The whole document for the image of that name."""
    components = {str(each["bom-ref"]): each for each in (*debian(), *python())}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [components[reference] for reference in sorted(components)],
    }


if __name__ == "__main__":
    print(json.dumps(document(*sys.argv[1:3]), indent=1))
