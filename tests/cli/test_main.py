"""The command line collects everybody's subcommands, and says what is wrong in one line."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

from typer.testing import CliRunner

from cscale_cli.main import GROUP, build

RUNNER = CliRunner()


def own() -> EntryPoint:
    return EntryPoint("local", "cscale_hub.local.commands:register", GROUP)


def doctor() -> EntryPoint:
    return EntryPoint("doctor", "cscale_hub.doctor.command:register", GROUP)


def test_help_lists_the_commands() -> None:
    result = RUNNER.invoke(build(), ["--help"])
    assert result.exit_code == 0
    for command in ("up", "down", "doctor"):
        assert command in result.output


def test_package_that_is_not_installed_is_left_out_and_named() -> None:
    absent = EntryPoint("spark", "no_such_package.commands:register", GROUP)
    result = RUNNER.invoke(build([own(), absent]), ["--help"])
    assert result.exit_code == 0
    assert "down" in result.output
    assert "no_such_package" in result.output


def test_doctor_without_a_federation_exits_with_1_and_says_why(tmp_path: Path) -> None:
    result = RUNNER.invoke(build([doctor()]), ["doctor", "--data", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "No federation was ever started" in result.output
    assert not (tmp_path / "none").exists()


def test_doctor_as_json_is_json(tmp_path: Path) -> None:
    command = ["doctor", "--json", "--data", str(tmp_path / "none")]
    result = RUNNER.invoke(build([doctor()]), command)
    assert result.exit_code == 1
    state = json.loads(result.stdout)
    assert state["running"] is False
    assert {offer["name"] for offer in state["offers"]} == {"FUSE", "Java", "PostgreSQL", "Slurm"}


def test_down_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    result = RUNNER.invoke(build([own()]), ["down", "--data", str(tmp_path)])
    assert result.exit_code == 0
    assert "Nothing ran" in result.output


def test_unusable_data_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = RUNNER.invoke(build([own()]), ["up", "--data", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert "cannot be used" in result.output
    assert "Traceback" not in result.output
