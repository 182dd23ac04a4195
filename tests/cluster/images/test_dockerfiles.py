"""What is true of every image's recipe, without building one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))
pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions and their arguments, lines that go on put together."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def last_stage(path: Path) -> list[tuple[str, str]]:
    found = instructions(path)
    return found[max(n for n, (word, _) in enumerate(found) if word == "FROM") :]


def test_base_is_an_argument_of_every_stage(path: Path) -> None:
    found = instructions(path)
    assert found[0][0] == "ARG"
    assert found[0][1].startswith("BASE=")
    stages = [rest.split(" ")[0] for word, rest in found if word == "FROM"]
    assert set(stages) == {"${BASE}"}
    tools_stay_behind = len(stages)
    assert tools_stay_behind == 2


def test_it_does_not_run_as_root(path: Path) -> None:
    users = [rest for word, rest in last_stage(path) if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_it_says_whether_it_is_healthy_and_what_it_is(path: Path) -> None:
    found = last_stage(path)
    if path.parent.name != "singleuser-gpu":  # it has that of its base
        assert [word for word, _ in found].count("HEALTHCHECK") == 1
    labels = " ".join(rest for word, rest in found if word == "LABEL")
    for name in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_what_is_installed_is_that_of_a_lock(path: Path) -> None:
    runs = " ".join(rest for word, rest in instructions(path) if word == "RUN")
    assert "pip install" not in runs
    assert "environment.sh" in runs
    assert "sbom.py" in runs


def test_what_people_read_from_has_the_path_of_the_archive(path: Path) -> None:
    runs = " ".join(rest for word, rest in last_stage(path) if word == "RUN")
    # What stands on another image has its links.
    of_people = path.parent.name in ("singleuser", "singleuser-minimal", "spark")
    assert ("ln -s /s3/eodata /eodata" in runs) is of_people


def test_executors_can_start_where_spark_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    with_java = "default-jre-headless" in text
    copied = [rest for word, rest in last_stage(path) if word == "COPY"]
    assert ("images/spark/entrypoint.sh /opt/entrypoint.sh" in copied) is with_java


def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--format=json", "--config", ROOT / ".hadolint.yaml", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == []
