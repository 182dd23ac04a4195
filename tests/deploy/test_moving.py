"""Moving a volume, as far as no cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cscale_cli.deploy import moving
from cscale_cli.deploy.checking import hub_settings, own_values
from cscale_cli.deploy.helm import DeployError
from cscale_cli.deploy.moving_job import Moved, job, move_of, result_of, state_of, users_of
from cscale_cli.deploy.values import chosen
from cscale_core.errors import Conflict, InvalidInput
from tests.deploy.conftest import FOLDER

VALUES = chosen(FOLDER, "incd", [])
OWN, SETTINGS = own_values(VALUES), hub_settings(VALUES)
MOVE = move_of(OWN, SETTINGS, "openeodata", "archive", "refuse")


def ended(kind: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True"}]}}


def pod(name: str, *, claim: str, phase: str = "Running", component: str = "") -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component} if component else None
    volumes = [{"name": "a"}, {"name": "b", "persistentVolumeClaim": {"claimName": claim}}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"volumes": volumes},
        "status": {"phase": phase},
    }


class Kubectl:
    """A cluster with these objects; notes what it is told."""

    def __init__(self, **objects: Any) -> None:
        self.objects = {"persistentvolumeclaim": {}, **objects}
        self.told: list[tuple[str, ...]] = []

    def get(self, namespace: str, *what: str) -> Any:
        assert namespace == "cscale"
        found = self.objects.get(what[0])
        return found.pop(0) if isinstance(found, list) else found

    def run(self, *arguments: str, text: str = "") -> str:
        self.told.append(arguments)
        if arguments[0] == "logs":
            return str(self.objects["log"])
        if arguments[0] == "delete":
            self.objects.pop("job", None)
        return ""


def test_the_job_reads_the_volume_and_cannot_change_it() -> None:
    body = job(MOVE, OWN, SETTINGS)
    pod_spec = body["spec"]["template"]["spec"]
    (container,) = pod_spec["containers"]
    assert body["metadata"]["name"] == "cscale-move-openeodata"
    assert pod_spec["volumes"][0]["persistentVolumeClaim"] == {
        "claimName": "archive",
        "readOnly": True,
    }
    assert container["volumeMounts"][0]["readOnly"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod_spec["securityContext"]["runAsUser"] == 1000
    assert container["image"] == "registry.example.org/cscale/mount:0.1.0"
    environment = {each["name"]: each for each in container["env"]}
    assert environment["RCLONE_CONFIG_STORE_PROVIDER"]["value"] == "Ceph"
    keys = [name for name, each in environment.items() if "valueFrom" in each]
    assert keys == [
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID",
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY",
    ]
    assert "delete" not in container["command"][2]
    assert "rclone sync" not in container["command"][2]


def test_it_is_taken_as_yaml_too() -> None:
    body = job(MOVE, OWN, SETTINGS)
    assert yaml.safe_load(yaml.safe_dump(body)) == body


def test_what_cannot_be_a_bucket_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a bucket"):
        move_of(OWN, SETTINGS, "../x", "archive", "refuse")


def test_who_still_has_the_claim() -> None:
    pods = [
        pod("server-b", claim="archive"),
        pod("server-a", claim="archive", phase="Pending"),
        pod("server-c", claim="other"),
        pod("server-d", claim="archive", phase="Succeeded"),
        pod("cscale-move-x", claim="archive", component="move"),
    ]
    assert users_of("archive", pods) == ["server-a", "server-b"]


def test_the_last_pass_waits_for_nobody_and_begins_nothing() -> None:
    kubectl = Kubectl(pods={"items": [pod("server-a", claim="archive")]})
    with pytest.raises(Conflict, match="server-a") as refused:
        moving.begin(kubectl, MOVE, {}, final=True)  # type: ignore[arg-type]
    assert "Nothing was changed" in refused.value.hint
    assert kubectl.told == []


def test_a_volume_that_is_not_there_is_named() -> None:
    kubectl = Kubectl(persistentvolumeclaim=None)
    with pytest.raises(InvalidInput, match="no claim archive"):
        moving.begin(kubectl, MOVE, {}, final=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "final", "acts"),
    [
        (None, False, ["create"]),
        ({"status": {}}, False, []),
        ({"status": {}}, True, ["delete", "create"]),
        (ended("Complete"), False, ["delete", "create"]),
        (ended("Failed"), False, ["delete", "create"]),
    ],
    ids=["none", "running", "running before the last", "complete", "failed"],
)
def test_a_job_is_followed_or_begun_anew(found: Any, final: bool, acts: list[str]) -> None:
    kubectl = Kubectl(job=found)
    moving.begin(kubectl, MOVE, {}, final=final)  # type: ignore[arg-type]
    assert [each[0] for each in kubectl.told] == acts


def test_it_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_LOOK_SECONDS", 0.0)
    kubectl = Kubectl(
        job=[{"status": {}}, {"status": {}}, ended("Complete")], log="5 MiB\nmoved 7 2"
    )
    said: list[str] = []
    assert moving.follow(kubectl, MOVE, said.append) == Moved(7, 2)  # type: ignore[arg-type]
    assert said == ["moved 7 2"]


@pytest.mark.parametrize(
    ("found", "words"), [(None, "not there any more"), (ended("Failed"), "no room")]
)
def test_what_was_kept_is_told_when_it_fails(found: Any, words: str) -> None:
    kubectl = Kubectl(job=found, log="no room")
    with pytest.raises(DeployError, match=words) as refused:
        moving.follow(kubectl, MOVE, print)  # type: ignore[arg-type]
    assert "in the bucket" in f"{refused.value.message} {refused.value.hint}"


def test_words_of_a_job() -> None:
    assert (
        state_of({"status": {"conditions": [{"type": "Failed", "status": "False"}]}}) == "running"
    )
    assert result_of("a\nmoved 3 0\n") == Moved(3, 0)
