"""Slurm by slurmrestd: JSON over http, on TCP or a socket of this machine, with Slurm's token.

The version of the API is found out at the first use: the newest the server has that is known here.
From v0.0.39 on some members have another form, which :func:`request_body` and :func:`task_of` know.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from cscale_core.clusters import SlurmCluster
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.identity.tokens import RenewableTokens, TokenSource
from cscale_core.jobs.engines.slurm.options import megabytes
from cscale_core.jobs.engines.slurm.script import Submission
from cscale_core.jobs.engines.slurm.states import Task, state_word

#: The last number of the oldest and newest version of the API whose forms are known here.
OLDEST, NEWEST = 36, 44
_SECONDS = 60.0
_CONNECTIONS = 4
_SUBMIT_PATH = re.compile(r"^/slurm/v0\.0\.(\d+)/job/submit/?$")
_JOBS_PATH = re.compile(r"^/slurmdb/v0\.0\.(\d+)/jobs/?$")
# Slurm's numbers (slurm_errno.h): a job that is not known or has ended, what the user may not, what
# the controller says of a request, and of credentials. The others are of the wire.
_UNKNOWN_JOB = {2017, 2021}
_DENIED = {2002}
_REQUEST = range(2000, 3000)
_CREDENTIALS = {1007, *range(6000, 6100)}
# The controller hangs up on a token it does not accept, which slurmrestd reports as this
# ("unspecified", "zero bytes received"; seen with 22.05), much as when there is no controller.
_HUNG_UP = {-1, 5005}


def request_body(submission: Submission, version: int) -> dict[str, Any]:
    """The body of ``POST /job/submit``: slurmrestd does not read the script's #SBATCH lines."""
    options, where = submission.options, submission.places
    pattern = submission.stream_pattern
    environment = dict(submission.environment)
    new = version >= 39

    def number(value: int) -> Any:
        return {"set": True, "number": value} if new else value

    job: dict[str, Any] = {
        "name": submission.name,
        "current_working_directory": where.base,
        "standard_output": where.stream("out", pattern),
        "standard_error": where.stream("err", pattern),
        "environment": [f"{k}={v}" for k, v in environment.items()] if new else environment,
    }
    text = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "reservation": options.reservation,
        "constraints": options.constraint,
        "array": options.array,
        "dependency": submission.dependency,
    }
    job.update({name: value for name, value in text.items() if value})
    if options.time_limit:
        job["time_limit"] = number(options.time_limit)
    if options.memory:
        job["memory_per_node"] = number(megabytes(options.memory))
    if options.memory_per_cpu:
        job["memory_per_cpu"] = number(megabytes(options.memory_per_cpu))
    if options.cpus:
        job["cpus_per_task"] = options.cpus
    if options.tasks:
        job["tasks"] = options.tasks
    if options.nodes:
        job["nodes"] = str(options.nodes)
    if options.gpus:
        kind = "gres/gpu" if version >= 40 else "gres:gpu" if new else "gpu"
        job["tres_per_node" if new else "gres"] = f"{kind}:{options.gpus}"
    if options.requeue is not None:
        # Before v0.0.39 these are two flags, and requeue: false does nothing (seen with 22.05).
        never = not options.requeue and not new
        job["no_requeue" if never else "requeue"] = never or options.requeue
    return {"script": submission.script, "job": job}


def _number(value: Any) -> int | None:
    """A number, plain or as ``{"set": …, "infinite": …, "number": …}``."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set", True) else None
    return int(value) if isinstance(value, int | float) else None


def _moment(value: Any) -> datetime | None:
    number = _number(value)
    return datetime.fromtimestamp(number, UTC) if number else None


def _exit(value: Any) -> tuple[int | None, int]:
    """Exit code and signal, of a wait status or of the later versions' object."""
    if isinstance(value, dict) and ("return_code" in value or "signal" in value):
        signal = value.get("signal") or {}
        return (
            _number(value.get("return_code")),
            _number(signal.get("id", signal.get("signal_id"))) or 0,
        )
    number = _number(value)
    return (None, 0) if number is None else ((number >> 8) & 0xFF, number & 0x7F)


def task_of(record: Mapping[str, Any]) -> Task:
    """A job record of the controller; the waiting tasks of an array may share one."""
    code, signal = _exit(record.get("exit_code"))
    array = _number(record.get("array_job_id"))
    index = _number(record.get("array_task_id")) if array else None
    return Task(
        slurm_id=str(array or record["job_id"]),
        index=index,
        state=state_word(record.get("job_state") or ""),
        name=str(record.get("name") or ""),
        reason=str(record.get("state_reason") or ""),
        exit_code=code,
        signal=signal,
        started=_moment(record.get("start_time")),
        ended=_moment(record.get("end_time")),
        nodes=str(record.get("nodes") or ""),
    )


def accounted_task(record: Mapping[str, Any]) -> Task:
    """A job record of accounting (slurmdbd)."""
    code, signal = _exit(record.get("exit_code"))
    array = record.get("array") or {}
    index = _number(array.get("task_id", array.get("task")))
    parent = _number(array.get("job_id"))
    state = record.get("state") or {}
    time = record.get("time") or {}
    used = [
        int(entry.get("count") or 0)
        for step in record.get("steps") or ()
        for entry in ((step.get("tres") or {}).get("requested") or {}).get("max") or ()
        if entry.get("type") == "mem"
    ]
    total = time.get("total") or {}
    return Task(
        slurm_id=str(parent or record["job_id"]),
        index=index if parent else None,
        state=state_word(state.get("current") or ""),
        name=str(record.get("name") or ""),
        reason=str(state.get("reason") or ""),
        exit_code=code,
        signal=signal,
        started=_moment(time.get("start")),
        ended=_moment(time.get("end")),
        nodes=str(record.get("nodes") or ""),
        seconds=_number(time.get("elapsed")),
        cpu_seconds=_number(total.get("seconds")),
        memory=max(used, default=0) or None,
    )


class RestSlurm:
    """A cluster's Slurm by slurmrestd.

    :param tokens: for a cluster with an ``audience``.
    """

    def __init__(self, cluster: SlurmCluster, slug: str, tokens: TokenSource) -> None:
        self._cluster = cluster
        self._user = cluster.account_name(slug)
        self._tokens = tokens
        socket = cluster.url.removeprefix("unix:") if cluster.url.startswith("unix:") else None
        self._http = httpx.AsyncClient(
            base_url="http://localhost" if socket else cluster.url.rstrip("/"),
            transport=httpx.AsyncHTTPTransport(uds=socket) if socket else None,
            # No proxy stands between this machine and itself, or inside the site.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(_SECONDS, connect=10.0, pool=600.0),
            limits=httpx.Limits(max_connections=_CONNECTIONS),
        )
        self._version: int | None = None
        self._accounting: int | None = None

    # -- requests ------------------------------------------------------------------------------

    async def _token(self) -> str:
        if self._cluster.audience:
            return await self._tokens.token(self._cluster.audience)
        if not self._cluster.token_file:
            return ""
        try:
            text = Path(self._cluster.token_file).expanduser().read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise LoginRequired(
                f"The token for {self._cluster.title} cannot be read.",
                hint=f"On the cluster, write the output of scontrol token into "
                f"{self._cluster.token_file} (mode 0600).",
            ) from error
        return text.strip().removeprefix("SLURM_JWT=")

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        token = await self._token()
        if expired(token) and not self._cluster.audience:
            raise self._token_refused()
        headers = {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": token} if token else {}
        title = self._cluster.title
        try:
            return await self._http.request(method, path, headers=headers, **more)
        except httpx.TimeoutException as error:
            raise UpstreamTimeout(f"{title} did not answer in time.", retryable=True) from error
        except httpx.ConnectError as error:
            raise UpstreamError(
                f"{title} cannot be reached: nothing answers there.", retryable=True
            ) from error
        except httpx.HTTPError as error:
            raise UpstreamError(f"{title} broke off the connection.", retryable=True) from error

    async def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """One request's answer; with a new token once, when the old one may be the trouble.

        :raises CScaleError: as :meth:`_refusal` has it.
        """
        status, body, text = await self._answer(method, path, **more)
        tokens, audience = self._tokens, self._cluster.audience
        refused = status == 401 or bool(_numbers(body) & (_HUNG_UP | _CREDENTIALS))
        if refused and audience and isinstance(tokens, RenewableTokens):
            before = await self._token()
            tokens.forget(audience)
            if await self._token() != before:
                status, body, text = await self._answer(method, path, **more)
        if status != 200 or body.get("errors"):
            raise self._refusal(status, body, text)
        return body

    async def _answer(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any], str]:
        response = await self._send(method, path, **more)
        try:
            body = response.json()
        except ValueError:
            # An error page, which is told as it is.
            body = None
        return response.status_code, body if isinstance(body, dict) else {}, response.text

    def _refusal(self, status: int, body: Mapping[str, Any], text: str) -> CScaleError:
        title = self._cluster.title
        errors = [entry for entry in body.get("errors") or () if isinstance(entry, dict)]
        numbers = _numbers(body)
        words = [str(e.get("description") or e.get("error") or "").strip() for e in errors]
        said = "; ".join(dict.fromkeys(filter(None, words)))[:500] or text.strip()[:200]
        facts: dict[str, Any] = {"status": status, "slurm_errors": sorted(numbers), "said": said}
        if status == 401 or numbers & _CREDENTIALS:
            return self._token_refused(**facts)
        if numbers & _UNKNOWN_JOB:
            return NotFound(f"{title} does not know this job.", **facts)
        if status == 403 or numbers & _DENIED:
            return Forbidden(f"{title} does not allow it: {said}", **facts)
        if any(number in _REQUEST for number in numbers):
            return InvalidInput(f"{title} refuses it: {said}", **facts)
        if status == 404:
            return NotFound(f"{title} does not know what was asked.", **facts)
        if status == 504 or "timed out" in said.lower():
            return UpstreamTimeout(f"Slurm at {title} did not answer in time.", retryable=True)
        if 400 <= status < 500 and status != 429:
            return InvalidInput(f"{title} refuses it: {said}", **facts)
        perhaps = ", or does not accept the token" if numbers & _HUNG_UP else ""
        return UpstreamError(
            f"Slurm at {title} does not answer at present{perhaps}: {said}",
            retryable=True,
            **facts,
        )

    def _token_refused(self, **facts: Any) -> LoginRequired:
        return LoginRequired(
            f"{self._cluster.title} does not accept the token.",
            hint="It may have expired: log in to the hub again."
            if self._cluster.audience
            else f"Write a new one (scontrol token) into {self._cluster.token_file}.",
            **facts,
        )

    async def _base(self) -> str:
        """The root of the API, its version found out first."""
        if self._version is None:
            paths: Iterable[str] = ()
            for description in ("/openapi/v3", "/openapi"):
                try:
                    paths = (await self._ask("GET", description)).get("paths") or ()
                    break
                except NotFound:
                    # The other name, which some versions have only.
                    continue
            submit = _versions(paths, _SUBMIT_PATH)
            if not submit:
                raise UpstreamError(
                    f"{self._cluster.title} has no version of Slurm's REST API that is known.",
                    hint=f"Known are v0.0.{OLDEST} to v0.0.{NEWEST}.",
                )
            self._version = max(submit)
            self._accounting = max(_versions(paths, _JOBS_PATH), default=None)
        return f"/slurm/v0.0.{self._version}"

    # -- what the engine asks ------------------------------------------------------------------

    async def submit(self, submission: Submission) -> str:
        base = await self._base()
        assert self._version is not None  # noqa: S101 - found out by _base()
        body = request_body(submission, self._version)
        answer = await self._ask("POST", f"{base}/job/submit", json=body)
        identifier = _number(answer.get("job_id"))
        if not identifier:
            raise UpstreamError(f"{self._cluster.title} gave no id for the job.", retryable=True)
        return str(identifier)

    async def jobs(self, identifiers: Collection[str]) -> dict[str, tuple[Task, ...]]:
        base = await self._base()
        # All jobs of all users come in one answer: of one job its own record is asked for.
        path = f"{base}/job/{next(iter(identifiers))}" if len(identifiers) == 1 else f"{base}/jobs"
        try:
            records = (await self._ask("GET", path)).get("jobs") or ()
        except NotFound:
            if len(identifiers) != 1:
                raise
            return {}
        found: dict[str, list[Task]] = {}
        for task in map(task_of, records):
            if task.slurm_id in identifiers:
                found.setdefault(task.slurm_id, []).append(task)
        return {identifier: tuple(tasks) for identifier, tasks in found.items()}

    async def ended(self, identifier: str) -> tuple[Task, ...]:
        await self._base()
        if self._accounting is None:
            return ()
        try:
            answer = await self._ask("GET", f"/slurmdb/v0.0.{self._accounting}/job/{identifier}")
        except NotFound:
            return ()
        tasks = [accounted_task(record) for record in answer.get("jobs") or ()]
        return tuple(task for task in tasks if task.slurm_id == identifier)

    async def find(self, name: str) -> tuple[str, ...]:
        base = await self._base()
        records = (await self._ask("GET", f"{base}/jobs")).get("jobs") or ()
        tasks = [task_of(record) for record in records]
        if self._accounting is not None and not any(task.name == name for task in tasks):
            wanted = {"job_name": name} if self._accounting >= 40 else {"users": self._user}
            path = f"/slurmdb/v0.0.{self._accounting}/jobs"
            records = (await self._ask("GET", path, params=wanted)).get("jobs") or ()
            tasks = [accounted_task(record) for record in records]
        return tuple(sorted({task.slurm_id for task in tasks if task.name == name}, key=int))

    async def cancel(self, identifier: str) -> None:
        base = await self._base()
        try:
            await self._ask("DELETE", f"{base}/job/{identifier}")
        except NotFound:
            # It has ended, and perhaps been forgotten: what it became is asked next.
            return

    async def close(self) -> None:
        await self._http.aclose()


def _numbers(body: Mapping[str, Any]) -> set[int]:
    errors = [entry for entry in body.get("errors") or () if isinstance(entry, dict)]
    return {int(entry.get("error_number") or entry.get("error_code") or 0) for entry in errors}


def expired(token: str) -> bool:
    """Whether a token says of itself that its time is over; one that cannot be read does not."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) <= time.time()
    except (ValueError, LookupError, TypeError):
        # Not a JWT with an end: Slurm judges it.
        return False


def _versions(paths: Iterable[str], pattern: re.Pattern[str]) -> list[int]:
    numbers = [int(match[1]) for path in paths if (match := pattern.match(path))]
    return [number for number in numbers if OLDEST <= number <= NEWEST]
