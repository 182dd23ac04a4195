"""The batch cluster of the one-machine federation: it comes up, is private, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cscale_hub.local import services, system
from cscale_hub.local.layout import Layout
from cscale_hub.local.processes import processes_with
from cscale_hub.local.slurm import packages
from cscale_hub.local.slurm.config import SlurmConfig
from cscale_hub.local.slurm.daemons import CONF_VARIABLE, Daemons
from cscale_hub.local.slurm.slurm_conf import slurm_conf
from tests.waiting import until

slurm = pytest.mark.slurm


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in held]
    for listener in held:
        listener.close()
    return ports


def config_in(folder: Path) -> SlurmConfig:
    port, controller, node = free_ports(3)
    return SlurmConfig(port=port, controller_port=controller, node_port=node, data_dir=folder)


@pytest.fixture
def config() -> Iterator[SlurmConfig]:
    absent = packages.missing_packages()
    if absent:
        pytest.skip(f"Slurm is absent: install the Debian packages {' '.join(absent)}")
    with tempfile.TemporaryDirectory(prefix="cscale-slurm-") as folder:
        yield config_in(Path(folder))


@pytest.fixture
def daemons(config: SlurmConfig, tmp_path: Path) -> Iterator[Daemons]:
    made = Daemons(config, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def asked(config: SlurmConfig, method: str, path: str, **more: Any) -> dict[str, Any]:
    transport = httpx.HTTPTransport(uds=str(config.rest_socket))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as http:
        described = http.get("/openapi/v3").json()["paths"]
        found = max(
            int(match[1]) for p in described if (match := re.match(r"/slurm/v0\.0\.(\d+)/ping", p))
        )
        answer = http.request(method, f"/slurm/v0.0.{found}{path}", **more)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def submitted(config: SlurmConfig, script: str) -> str:
    job = {
        "name": "x",
        "current_working_directory": str(config.work_dir),
        "environment": {"PATH": "/usr/bin:/bin"},
        "standard_output": f"{config.work_dir}/out",
    }
    body = {"script": f"#!/bin/bash\n{script}\n", "job": job}
    return str(asked(config, "POST", "/job/submit", json=body)["job_id"])


def state(daemons: Daemons, job: str) -> str:
    return daemons.command("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").stdout.strip()


def left(config: SlurmConfig) -> list[int]:
    return processes_with(CONF_VARIABLE, str(config.slurm_conf))


@slurm
def test_a_job_that_comes_by_the_socket_runs_as_this_account(daemons: Daemons) -> None:
    job = submitted(daemons.config, "id -u; sinfo -h -o %P")
    until(lambda: state(daemons, job) == "COMPLETED", "its end")
    lines = (daemons.config.work_dir / "out").read_text().split()
    assert lines == [str(os.getuid()), "main*"]


@slurm
def test_nobody_else_reaches_it(daemons: Daemons) -> None:
    """Neither its socket nor its keys, nor a port that takes work without MUNGE's word."""
    config = daemons.config
    for folder in (config.data_dir, config.socket_dir):
        assert folder.stat().st_mode & 0o077 == 0
    assert (config.data_dir / "munge.key").stat().st_mode & 0o077 == 0
    ports = {config.controller_port, config.node_port}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, listening = line.split()[1], line.split()[3] == "0A"
            if listening and int(address.partition(":")[2], 16) in ports:
                assert address.startswith("0100007F:"), line
    if os.getuid() == 0:
        stranger = os.fork()
        if stranger == 0:
            os.setuid(65534)
            try:
                socket.socket(socket.AF_UNIX).connect(str(config.rest_socket))
            except PermissionError:
                os._exit(13)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(stranger, 0)[1]) == 13


@slurm
def test_jobs_end_with_the_cluster_and_run_again_with_the_next(
    daemons: Daemons, tmp_path: Path
) -> None:
    config = daemons.config
    job = submitted(config, "echo begun >> begun; sleep 600 & wait")
    until((config.work_dir / "begun").exists, "its start")
    daemons.stop()
    assert left(config) == []
    again = Daemons(config, tmp_path)
    try:
        again.start()
        assert state(again, job) == "PENDING"
    finally:
        again.stop()
    assert left(config) == []


@slurm
def test_jobs_outlive_a_daemon(daemons: Daemons) -> None:
    config = daemons.config
    job = submitted(config, "touch begun; until [ -e go ]; do sleep 0.1; done; echo done")
    until((config.work_dir / "begun").exists, "its start")
    for name in ("slurmrestd", "slurmctld", "slurmd", "munged"):
        daemons.end(name)
    assert left(config)
    daemons.start()
    (config.work_dir / "go").touch()
    until(lambda: state(daemons, job) == "COMPLETED", "its end")
    assert (config.work_dir / "out").read_text() == "done\n"


def launched(config: SlurmConfig, folder: Path) -> subprocess.Popen[bytes]:
    file = folder / "slurm.json"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "cscale_hub.local.slurm", "--config", str(file)]
    with (folder / "launcher.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def healthy() -> bool:
        assert process.poll() is None, (folder / "launcher.log").read_text()[-3000:]
        try:
            return httpx.get(f"http://127.0.0.1:{config.port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    until(healthy, "health")
    return process


@slurm
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_service(
    config: SlurmConfig, tmp_path: Path, number: signal.Signals
) -> None:
    process = launched(config, tmp_path)
    submitted(config, "touch begun; sleep 600 & wait")
    until((config.work_dir / "begun").exists, "the job's start")
    os.kill(process.pid, number)
    status = process.wait(60)
    assert (status == 0) == (number == signal.SIGTERM)
    if number == signal.SIGTERM:
        assert left(config) == []
        return
    # The daemons follow; the job waits for the next start, which knows it by its mark.
    until(lambda: not daemons_of(config), "the end of the daemons")
    again = launched(config, tmp_path)
    again.terminate()
    assert again.wait(60) == 0
    assert left(config) == []


def daemons_of(config: SlurmConfig) -> list[int]:
    found = []
    for pid in left(config):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue  # it ended while we looked
        if name in ("munged", "slurmctld", "slurmd", "slurmrestd"):
            found.append(pid)
    return found


@slurm
def test_the_end_of_a_daemon_ends_the_service_so_that_it_is_started_again(
    config: SlurmConfig, tmp_path: Path
) -> None:
    process = launched(config, tmp_path)
    os.kill(daemons_of(config)[-1], signal.SIGKILL)
    assert process.wait(60) == 1
    assert daemons_of(config) == []


def test_a_long_path_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    one, same = config_in(deep), config_in(deep)
    assert len(str(one.socket_dir)) < 70
    assert one.socket_dir == same.socket_dir
    assert one.socket_dir != config_in(tmp_path / ("y" * 90)).socket_dir
    assert f"SlurmdSpoolDir={one.socket_dir}/spool" in slurm_conf(one)


def test_settings_win_over_ours(tmp_path: Path) -> None:
    config = config_in(tmp_path).model_copy(
        update={"settings": {"MinJobAge": "5"}, "node_features": "Gres=gpu:2"}
    )
    text = slurm_conf(config)
    assert "MinJobAge=5\n" in text
    assert text.count("MinJobAge") == 1
    assert "RealMemory=2000 Gres=gpu:2\n" in text


def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "SEARCH_PATH", str(tmp_path))
    offer = system.slurm()
    assert not offer.present
    assert "apt-get install munge slurm-client slurmctld slurmd slurmrestd" in offer.detail
    said = services.unavailable(Layout(tmp_path))
    assert list(said) == ["slurm"]
    assert "apt-get install" in said["slurm"]
    assert "\n" not in said["slurm"]


def test_a_path_that_slurm_cannot_have_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        services, "slurm", lambda: system.Offer("Slurm", True, "here", "batch jobs")
    )
    assert services.unavailable(Layout(tmp_path)) == {}
    assert "my data" in services.unavailable(Layout(tmp_path / "my data"))["slurm"]
