"""What a SparkApplication's status says, in our words.

States are those of ``sparkoperator.k8s.io/v1beta2`` (operator 2.5, ``ApplicationStateType``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cscale_core.jobs.model import JobStatus

GROUP = "sparkoperator.k8s.io"
VERSION = "v1beta2"
PLURAL = "sparkapplications"

#: Labels of ours on applications and pods.
JOB_LABEL = "cscale-hub/job"
USER_LABEL = "cscale-hub/user"
VO_LABEL = "cscale-hub/vo"
#: The operator's label of all pods of an application.
APP_LABEL = f"{GROUP}/app-name"

STATES: dict[str, tuple[JobStatus, str]] = {
    "": (JobStatus.QUEUED, "waiting for the Spark operator"),
    "SUBMITTED": (JobStatus.QUEUED, "waiting for its driver"),
    "PENDING_RERUN": (JobStatus.QUEUED, "submitted again soon"),
    "INVALIDATING": (JobStatus.QUEUED, "submitted again, as it was changed in the cluster"),
    "SUBMISSION_FAILED": (JobStatus.QUEUED, "the operator could not submit it"),
    "SUSPENDING": (JobStatus.QUEUED, "being suspended in the cluster"),
    "SUSPENDED": (JobStatus.QUEUED, "suspended in the cluster"),
    "RESUMING": (JobStatus.QUEUED, "being resumed in the cluster"),
    "RUNNING": (JobStatus.RUNNING, "running"),
    "SUCCEEDING": (JobStatus.RUNNING, "ending"),
    "FAILING": (JobStatus.RUNNING, "failing"),
    "UNKNOWN": (JobStatus.RUNNING, "the cluster does not know how its driver is"),
    "COMPLETED": (JobStatus.FINISHED, "finished"),
    "FAILED": (JobStatus.ERROR, "failed"),
}
#: States that the operator leaves by itself, and soon; one that stays has no operator.
PASSING = frozenset({"SUBMISSION_FAILED", "FAILING", "UNKNOWN", "INVALIDATING", "PENDING_RERUN"})


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Application:
    """One SparkApplication as the cluster has it."""

    name: str
    uid: str
    state: str
    error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    driver_pod: str = ""
    ui_service: str = ""
    ui_port: int = 4040
    spark_id: str = ""
    executors: Mapping[str, str] = field(default_factory=dict)
    ended: datetime | None = None
    templated: bool = True

    @classmethod
    def of(cls, body: dict[str, Any]) -> Application:
        """From the API's JSON; members that are missing are not known yet."""
        metadata = body.get("metadata") or {}
        status = body.get("status") or {}
        state = status.get("applicationState") or {}
        driver = status.get("driverInfo") or {}
        spec = body.get("spec") or {}
        return cls(
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            state=str(state.get("state", "")),
            error=str(state.get("errorMessage", "")),
            labels=dict(metadata.get("labels") or {}),
            deleting=bool(metadata.get("deletionTimestamp")),
            driver_pod=str(driver.get("podName", "")),
            ui_service=str(driver.get("webUIServiceName", "")),
            ui_port=int(driver.get("webUIPort") or 4040),
            spark_id=str(status.get("sparkApplicationId", "")),
            executors=dict(status.get("executorState") or {}),
            ended=_time(status.get("terminationTime")),
            templated=bool((spec.get("driver") or {}).get("template")),
        )

    @property
    def status(self) -> JobStatus:
        """In the one vocabulary; a state of a later operator counts as queued."""
        return STATES.get(self.state, (JobStatus.QUEUED, ""))[0]

    @property
    def words(self) -> str:
        """One line for people."""
        known = STATES.get(self.state)
        if known is None:
            return f"in a state not known here: {self.state[:60]}"
        if self.state == "RUNNING" and self.executors:
            running = sum(state == "RUNNING" for state in self.executors.values())
            return f"running, {running} of {len(self.executors)} executors"
        if self.state == "SUBMISSION_FAILED" and self.error:
            return f"{known[1]}: {self.error[:200]}"
        return known[1]
