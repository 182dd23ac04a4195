"""What the pods of an application and the cluster's events say of trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cscale_core.clusters import SparkNode
from cscale_core.jobs.engines.spark.kubernetes.manifest import INSTALLER
from cscale_core.jobs.engines.spark.kubernetes.pod_template import CONTAINERS
from cscale_core.jobs.engines.spark.kubernetes.states import Application
from cscale_core.jobs.engines.spark.options import SparkOptions, memory_text
from cscale_core.jobs.engines.spark.resources import pods as asked_pods
from cscale_core.jobs.engines.spark.resources import roomier
from cscale_core.jobs.model import JobError

_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
_CONFIG = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff"}
)
_MOUNT_EVENTS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_EXIT = re.compile(r"ExitCode: (-?\d+)")


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    code: int
    reason: str = ""
    words: str = ""

    @property
    def out_of_memory(self) -> bool:
        # 52 is Spark's own status for a heap that is full (SparkExitCode.OOM).
        return self.reason == "OOMKilled" or self.code in (52, 137)


@dataclass(frozen=True)
class Pod:
    """What is of interest of a pod."""

    name: str
    role: str
    number: str = ""
    phase: str = ""
    reason: str = ""
    message: str = ""
    waiting: tuple[str, str] = ("", "")
    unschedulable: str = ""
    ended: Ended | None = None
    began: bool = False
    installed: bool = True

    @classmethod
    def of(cls, body: dict[str, Any]) -> Pod:
        """From the API's JSON."""
        metadata, status = body.get("metadata") or {}, body.get("status") or {}
        labels = metadata.get("labels") or {}
        role = str(labels.get("spark-role", ""))
        waiting, ended, began = ("", ""), None, False
        installed = True
        statuses = [
            *(status.get("initContainerStatuses") or ()),
            *(status.get("containerStatuses") or ()),
        ]
        for container in statuses:
            state = container.get("state") or {}
            main = container.get("name") == CONTAINERS.get(role)
            if main and not state.get("waiting"):
                began = began or bool(state)
            if found := state.get("waiting"):
                reason = str(found.get("reason", ""))
                if reason not in ("ContainerCreating", "PodInitializing") and not waiting[0]:
                    waiting = (reason, str(found.get("message", "")))
            found = state.get("terminated")
            if found and container.get("name") == INSTALLER:
                installed = not found.get("exitCode")
            if found and main:
                ended = Ended(
                    int(found.get("exitCode", 0)),
                    str(found.get("reason", "")),
                    str(found.get("message", "")),
                )
        unschedulable = ""
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                unschedulable = str(condition.get("message") or condition.get("reason") or "")
        return cls(
            name=str(metadata.get("name", "")),
            role=role,
            number=str(labels.get("spark-exec-id", "")),
            phase=str(status.get("phase", "")),
            reason=str(status.get("reason", "")),
            message=str(status.get("message", "")),
            waiting=waiting,
            unschedulable=unschedulable,
            ended=ended,
            began=began,
            installed=installed,
        )

    @property
    def short(self) -> str:
        """For people: ``driver``, ``executor 3``."""
        return f"{self.role} {self.number}".strip() or self.name


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not start.

    :ivar lasting: nothing that happens in the cluster by itself ends it.
    """

    code: str
    message: str
    hint: str
    lasting: bool = False

    def error(self) -> JobError:
        return JobError(code=self.code, message=self.message, hint=self.hint)


def _short(text: str) -> str:
    return " ".join(text.split())[:400]


def _no_node(pod: Pod, options: SparkOptions, node: SparkNode | None, driver: str) -> Trouble:
    """Why the scheduler puts it nowhere."""
    said = _short(pod.unschedulable)
    if "persistentvolumeclaim" in said:
        return Trouble(
            "mount",
            f"A volume of the {pod.short} is not there: {said}",
            "Tell the operator: a mount of the site names a claim that the namespace has not, or "
            "that waits for its volume.",
            lasting=True,
        )
    if "Insufficient" not in said and "Too many pods" not in said:
        return Trouble(
            "no_node",
            f"No node takes the {pod.short}: {said}",
            "It starts when there is such a node. If that lasts, tell the operator: the site may "
            "ask for nodes that the cluster has not.",
        )
    asked = asked_pods(options, driver)[0 if pod.role == "driver" else 1]
    size = f"{asked.cpus} processors and {memory_text(asked.memory)}"
    largest = f"; the largest has {node.cpus:g} and {node.memory}" if node else ""
    return Trouble(
        "no_room",
        f"No node has room for the {pod.short}, which asks for {size}{largest}: {said}",
        "It starts when others have ended. A smaller one may start sooner.",
    )


def trouble(
    pods: Sequence[Pod],
    events: Iterable[dict[str, Any]],
    options: SparkOptions,
    node: SparkNode | None,
    driver_memory: str,
) -> Trouble | None:
    """Why the first pod that does not start does not.

    :param events: of that pod and of the application, the latest last.
    """
    for pod in pods:
        if pod.phase != "Pending":
            continue
        reason, said = pod.waiting
        if reason in _IMAGE:
            return Trouble(
                "image",
                f"The image of the {pod.short} cannot be had ({reason}): {_short(said)}",
                "Tell the operator: the name of the image or the login for its registry is wrong, "
                "or the registry does not answer.",
                lasting=True,
            )
        if reason in _CONFIG:
            return Trouble(
                "container",
                f"The container of the {pod.short} cannot be made ({reason}): {_short(said)}",
                "Tell the operator: something that the site names for pods is not there.",
                lasting=True,
            )
        if pod.unschedulable:
            return _no_node(pod, options, node, driver_memory)
    for event in reversed(list(events)):
        reason, said = str(event.get("reason", "")), str(event.get("message", ""))
        if reason in _MOUNT_EVENTS:
            return Trouble(
                "mount",
                f"A volume of the job cannot be mounted: {_short(said)}",
                "Tell the operator: a mount of the site or a Secret that it names is not there.",
                lasting=True,
            )
        if "exceeded quota" in said:
            return Trouble(
                "quota_exceeded",
                f"The namespace has no room left: {_short(said)}",
                "It goes on when other applications have ended.",
            )
    return None


def _memory(
    role: str, who: str, options: SparkOptions, node: SparkNode | None, driver: str
) -> JobError:
    asked = asked_pods(options, driver)[0 if role == "driver" else 1]
    better = roomier(options, role, node, driver)
    words = ", ".join(f"{name} {value}" for name, value in better.items())
    return JobError(
        code="out_of_memory",
        message=f"The {who} needed more memory than its pod has ({memory_text(asked.memory)}: "
        f"{memory_text(asked.heap)} heap, {memory_text(asked.overhead)} overhead).",
        hint=f"Try again with {words}, or with smaller tiles."
        if better
        else "No node has more memory: use smaller tiles or fewer scenes at a time.",
        details={"exit_code": 137, "role": role, "job_options": better},
    )


def _said(words: str) -> JobError | None:
    """The error that a named application left as its last words."""
    try:
        return JobError.model_validate(json.loads(words))
    except ValueError:
        return None


def failure(
    application: Application,
    pods: Sequence[Pod],
    found: Trouble | None,
    options: SparkOptions,
    node: SparkNode | None,
    driver_memory: str,
    requirements: Sequence[str] = (),
) -> JobError:
    """Why an application failed, from the driver's end, its executors' and the operator's words.

    :param found: what :func:`trouble` says.
    """
    driver = next((pod for pod in pods if pod.role == "driver"), None)
    ended = driver.ended if driver else None
    if driver is not None and driver.reason == "DeadlineExceeded":
        return JobError(
            code="time_limit",
            message="The time limit was over before the application ended.",
            hint="Give it more time, or fewer scenes.",
        )
    if driver is not None and driver.reason in ("Evicted", "NodeLost", "Preempted", "Shutdown"):
        return JobError(
            code="evicted",
            message=f"The driver was removed from its node ({driver.reason}): "
            f"{_short(driver.message)}",
            hint="Submit the job again.",
            retryable=True,
        )
    if ended is not None and ended.words and (said := _said(ended.words)) is not None:
        return said
    if driver is not None and not driver.installed:
        return JobError(
            code="requirements",
            message="The Python requirements could not be installed in the pods"
            + (f": {', '.join(requirements)}." if requirements else "."),
            hint="Look whether their names and versions exist for the image's Python; the "
            "operator can name an index that the cluster reaches.",
        )
    match = _EXIT.search(application.error)
    code = ended.code if ended else int(match[1]) if match else None
    if (ended and ended.out_of_memory) or code == 137:
        return _memory("driver", "driver", options, node, driver_memory)
    killed = [pod for pod in pods if pod.role == "executor" and pod.ended]
    for pod in killed:
        if pod.ended is not None and pod.ended.out_of_memory:
            return _memory("executor", pod.short, options, node, driver_memory)
    if found is not None:
        return found.error()
    evicted = next((pod for pod in pods if pod.reason == "Evicted"), None)
    if evicted is not None:
        return JobError(
            code="evicted",
            message=f"The {evicted.short} was removed from its node: {_short(evicted.message)}",
            hint="Submit the job again; on a full disk, with more and smaller parts.",
            retryable=True,
        )
    if "exceeded quota" in application.error:
        return JobError(
            code="quota_exceeded",
            message=f"The namespace has no room left: {_short(application.error)}",
            hint="Submit the job again when other applications have ended.",
            retryable=True,
        )
    status = f" with status {code}" if code is not None else ""
    words = f": {_short(application.error)}" if application.error else "."
    return JobError(
        code="failed",
        message=f"The Spark application failed{status}{words}",
        hint="The job's log says more."
        if ended
        else "Its driver did not come to run; the operator of the cluster can see why.",
        details={"exit_code": code} if code is not None else {},
    )
