"""``cscale deploy move``: a volume's files into a bucket, followed to the end.

The job runs in the cluster and goes on without this command; called again, it is followed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from cscale_cli.deploy.helm import DeployError, Kubectl
from cscale_cli.deploy.moving_job import Move, Moved, result_of, state_of, users_of
from cscale_core.errors import Conflict, InvalidInput

_LOOK_SECONDS = 2.0
_LINES = 5
Tell = Callable[[str], None]


def begin(kubectl: Kubectl, move: Move, job: dict[str, object], *, final: bool) -> None:
    """Begin the job, or find it running.

    :param final: it is the last one, after which nobody may write to the volume any more.
    :raises Conflict: when somebody still may.
    :raises InvalidInput: when there is no such volume.
    :raises DeployError: when the cluster refuses it.
    """
    if kubectl.get(move.namespace, "persistentvolumeclaim", move.claim) is None:
        raise InvalidInput(
            f"There is no claim {move.claim} in the namespace {move.namespace}.",
            hint=f"kubectl get persistentvolumeclaims --namespace {move.namespace} lists them.",
        )
    if final:
        listed = kubectl.get(move.namespace, "pods") or {}
        if users := users_of(move.claim, listed.get("items") or ()):
            raise Conflict(
                f"{len(users)} pods still have the claim {move.claim}: {', '.join(users[:5])}.",
                hint="Stop these servers, and let nobody start one until the bucket is shown in "
                "place of the claim; then call this again. Nothing was changed.",
            )
    found = kubectl.get(move.namespace, "job", move.job)
    if found is not None and (final or state_of(found) != "running"):
        # What it copied is found again.
        cancel(kubectl, move)
        found = None
    if found is None:
        kubectl.run("create", "--filename=-", text=json.dumps(job))


def cancel(kubectl: Kubectl, move: Move) -> None:
    """End the job; what it copied stays.

    :raises DeployError: when the cluster refuses it.
    """
    kubectl.run(
        *("delete", "job", move.job, f"--namespace={move.namespace}"),
        *("--ignore-not-found", "--cascade=foreground", "--wait"),
    )


def follow(kubectl: Kubectl, move: Move, tell: Tell) -> Moved:
    """Wait for the end of the job.

    :param tell: is given what the job says, when it is new.
    :raises DeployError: when it failed, or is not there any more.
    """
    last = ""
    while True:
        found = kubectl.get(move.namespace, "job", move.job)
        if found is None:
            raise DeployError(
                f"The job {move.job} is not there any more; what it copied is in the bucket.",
                hint="Call this again, and it goes on.",
            )
        state = state_of(found)
        said = _log(kubectl, move)
        if said and said[-1] != last:
            last = said[-1]
            tell(last)
        if state == "complete":
            return result_of(last)
        if state == "failed":
            raise DeployError(
                f"The files of {move.claim} are not all in the bucket {move.bucket}: "
                + " | ".join(said[-_LINES:]),
                hint="The volume is as it was, and what was copied is in the bucket. Files that "
                "changed while they were copied are no harm before the last pass (--final).",
            )
        time.sleep(_LOOK_SECONDS)


def as_dict(move: Move, moved: Moved, *, final: bool) -> dict[str, object]:
    """For ``--json``."""
    return {"bucket": move.bucket, "claim": move.claim, "final": final, **asdict(moved)}


def _log(kubectl: Kubectl, move: Move) -> list[str]:
    """The last that was said by the pod that was begun last; nothing where it says nothing yet."""
    try:
        said = kubectl.run(
            *("logs", f"job/{move.job}", f"--namespace={move.namespace}", f"--tail={_LINES}")
        )
    except DeployError:
        # It has no pod yet, or that has not begun.
        return []
    return [line for line in said.splitlines() if line.strip()]
