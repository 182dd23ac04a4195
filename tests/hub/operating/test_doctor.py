"""What the doctor says of a hub with its sign-in and nothing else, and of one that is broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cscale_cli.main import build
from cscale_hub.local.secrets import write_secret
from cscale_hub.settings import load_settings
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.operating.conftest import Operated

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
RUNNER = CliRunner()


def examined(*options: str) -> tuple[int, list[dict[str, str]]]:
    """Exit status and findings."""
    result = RUNNER.invoke(build(), ["doctor", "--json", *options])
    assert "Traceback" not in result.output
    return result.exit_code, json.loads(result.stdout)["findings"]


def of(findings: list[dict[str, str]], part: str) -> list[dict[str, str]]:
    return [finding for finding in findings if finding["part"] == part]


@pytest.fixture(scope="module")
def findings(operated: Operated) -> list[dict[str, str]]:
    status, found = examined("--data", str(operated.federation.data))
    assert status == 1
    return found


def test_what_works_is_told(findings: list[dict[str, str]]) -> None:
    for part in ("hub", "broker", "metrics", "secrets", "audit log", "records of use", "logo"):
        [finding] = of(findings, part)
        assert (finding["status"], finding["advice"]) == ("ok", ""), finding
    told = [finding["found"] for finding in of(findings, "sign-in")]
    assert any("knows the client cscale-hub" in each for each in told)
    assert any("leads back to" in each for each in told)
    assert {finding["status"] for finding in of(findings, "sign-in")} <= {"ok", "warning"}


def test_what_does_not_answer_is_told_with_what_to_do(findings: list[dict[str, str]]) -> None:
    for part in ("object store", "catalogue"):
        [finding] = of(findings, part)
        assert finding["status"] == "problem"
    archive = of(findings, "archive site-c")[0]
    assert archive["status"] == "warning"
    assert "go on without it" in archive["advice"]
    assert all(finding["advice"] for finding in findings if finding["status"] != "ok")


def test_it_leaves_no_trace(operated: Operated, findings: list[dict[str, str]]) -> None:
    assert findings
    text = (operated.federation.log_dir / "issuer.log").read_text(encoding="utf-8")
    secret = (operated.federation.layout.secrets / "client-cscale-hub").read_text().strip()
    assert secret not in text
    assert secret not in json.dumps(findings)


def deployment(operated: Operated, folder: Path, **changes: Any) -> Path:
    """The settings of a deployment that shares the services and has files of its own."""
    settings = load_settings(operated.federation.layout.settings, environment=False)
    document = settings.model_dump(mode="json")
    document["data"] = str(folder)
    for name, value in changes.items():
        document[name] = {**document[name], **value} if isinstance(value, dict) else value
    (folder / "secrets").mkdir(parents=True)
    for secret in operated.federation.layout.secrets.iterdir():
        if secret.is_file():
            shutil.copy(secret, folder / "secrets" / secret.name)
    file = folder / "cscale.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_a_wrong_secret_and_one_that_others_can_read_are_told(
    operated: Operated, tmp_path: Path
) -> None:
    wrong = tmp_path / "client-secret"
    write_secret(wrong, "not-the-secret")
    file = deployment(operated, tmp_path / "d", identity={"client_secret_file": str(wrong)})
    open_ = tmp_path / "d" / "secrets" / "cookie-secret"
    open_.chmod(0o644)
    (tmp_path / "d" / "secrets" / "proxy-token").unlink()
    status, found = examined("--settings", str(file))
    assert status == 1
    told = [each["found"] for each in of(found, "secrets")]
    assert any("cookie-secret is accessible to others" in each for each in told)
    assert any("proxy-token cannot be read" in each for each in told)
    signing = [each for each in of(found, "sign-in") if each["status"] == "problem"]
    assert [each["found"] for each in signing] == [
        "it does not take the client cscale-hub (invalid_client)"
    ]
    assert "not-the-secret" not in json.dumps(found)


def test_an_address_that_is_not_registered_is_told(operated: Operated, tmp_path: Path) -> None:
    file = deployment(operated, tmp_path / "d", hub={"port": 1})
    status, found = examined("--settings", str(file))
    assert status == 1
    [callback] = [each for each in of(found, "sign-in") if "does not lead back" in each["found"]]
    assert "http://127.0.0.1:1/hub/oauth_callback" in callback["advice"] + callback["found"]
    assert of(found, "hub")[0]["status"] == "problem"


def test_files_of_its_own_that_are_wrong_are_told(operated: Operated, tmp_path: Path) -> None:
    file = deployment(operated, tmp_path / "d")
    (tmp_path / "d" / "announcements.yaml").write_text("- {text: x, level: loud}")
    (tmp_path / "d" / "logs").mkdir()
    (tmp_path / "d" / "logs" / "audit.jsonl").touch(0o644)
    (tmp_path / "d" / "logs" / "audit.jsonl").chmod(0o644)
    (tmp_path / "d" / "hub").mkdir()
    (tmp_path / "d" / "hub" / "usage.sqlite").write_text("no database, but long enough to look")
    _, found = examined("--settings", str(file))
    [announced] = of(found, "announcements")
    assert announced["status"] == "warning"
    assert "level" in announced["found"]
    [audit] = of(found, "audit log")
    assert (audit["status"], "chmod 600" in audit["advice"]) == ("problem", True)
    assert of(found, "records of use")[0]["status"] == "problem"
    mode = (tmp_path / "d" / "logs" / "audit.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o644  # told, not changed


def test_a_vo_file_that_is_wrong_is_one_finding(operated: Operated, tmp_path: Path) -> None:
    vos = tmp_path / "vos.yaml"
    vos.write_text("vos: {}", encoding="utf-8")
    file = deployment(operated, tmp_path / "d", vos=None, vos_file=str(vos))
    status, found = examined("--settings", str(file))
    assert status == 1
    assert [each["part"] for each in found] == ["virtual organisations"]


def test_an_identity_provider_that_is_down_is_told(operated: Operated) -> None:
    layout = operated.federation.layout
    state = json.loads((layout.programs / "issuer.state.json").read_text(encoding="utf-8"))
    os.kill(state["launcher"], signal.SIGSTOP)  # so that it stays down
    try:
        os.kill(state["pid"], signal.SIGKILL)
        status, found = examined("--data", str(operated.federation.data))
    finally:
        os.kill(state["launcher"], signal.SIGCONT)
    assert status == 1
    signing = of(found, "sign-in")
    assert signing[0]["status"] == "problem"
    assert "cannot be reached" in signing[0]["found"]
    issuer = operated.federation.settings.identity.issuer

    def answers() -> bool:
        return httpx.get(f"{issuer}/.well-known/openid-configuration").status_code == 200

    until(answers, "the issuer", despite=httpx.TransportError)


def test_words_for_people_name_part_finding_and_advice(operated: Operated) -> None:
    result = RUNNER.invoke(build(), ["doctor", "--data", str(operated.federation.data)])
    assert result.exit_code == 1
    assert "✗ object store: " in result.output
    assert "No bucket can be read until then." in result.output
    assert "✓ broker: answers" in result.output
