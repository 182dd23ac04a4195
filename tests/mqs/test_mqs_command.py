"""``cscale mqs``: what it serves, where it says it is, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

COMMAND = [sys.executable, "-m", "cscale_cli.main", "mqs"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("form", ["site", "providers"])
def test_it_serves_a_site_or_a_list_of_providers(
    tmp_path: Path, archives: SimpleNamespace, form: str
) -> None:
    file = tmp_path / f"{form}.yaml"
    content: dict[str, Any] = {
        "providers": [{"id": "alpha", "title": "Alpha", "url": archives.alpha}]
    }
    if form == "site":
        content |= {
            "user": "somebody",
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": archives.alpha},
            "entitlements": ["urn:mace:egi.eu:group:vo.example.eu:role=member#aai.egi.eu"],
        }
    file.write_text(yaml.safe_dump(content))
    with subprocess.Popen(
        [*COMMAND, f"--{form}", str(file), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert address is not None, line
            assert "1 provider" in line
            found = httpx.get(f"{address[0]}search", params={"limit": 2}, trust_env=False).json()
            assert [each["collection"] for each in found["features"]] == ["alpha|s2"] * 2
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--site"),
        (("--site", "a", "--providers", "b"), "--site"),
        (("--site", "/nothing.yaml"), "/nothing.yaml"),
        (("--providers", "/nothing.yaml"), "/nothing.yaml"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(options: tuple[str, ...], words: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content", ["- 1", "providers: 3", "providers: [{id: 'a b', title: x, url: y}]", "{", "x: 1"]
)
def test_a_file_that_says_something_wrong_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text(content)
    done = run("--providers", str(file))
    assert done.returncode == 2
    assert "providers.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70_000}, {"host": "all"}, {"prefix": "x"}, {"public_url": "hub"}, {"unknown": 1}],
)
def test_a_wrong_configuration_is_refused_at_start(tmp_path: Path, wrong: dict[str, Any]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"port": 1, **wrong}))
    done = subprocess.run(
        [sys.executable, "-m", "cscale_mqs", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert next(iter(wrong)) in done.stderr
    assert "Traceback" not in done.stderr
