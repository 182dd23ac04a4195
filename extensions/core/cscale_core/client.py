"""The API of a user's server as Python calls, for notebooks, scripts and the demonstration.

One job list serves the panel and the notebook: what is submitted here is seen there. In a notebook
``Workspace.here()`` finds the server that runs the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
)

JSON = dict[str, Any]
ENDED = frozenset({"finished", "error", "canceled", "lost"})
_BY_CODE = {
    kind.code: kind for kind in (Conflict, Forbidden, InvalidInput, LoginRequired, NotFound)
}


class JobFailed(CScaleError):
    """A job that was waited for did not finish."""

    code = "job_failed"


class Workspace:
    """One user's server.

    :param url: address of the server, such as ``http://127.0.0.1:8000/user/NAME/``.
    :param http: carries the authorization (a header, cookies).
    """

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url.rstrip("/")
        self._http = http

    @classmethod
    def here(cls) -> Workspace:
        """The server that runs this kernel.

        :raises InvalidInput: outside a server started by JupyterHub.
        """
        url = os.environ.get("JUPYTERHUB_SERVICE_URL", "")
        token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
        if not url or not token:
            raise InvalidInput(
                "This is not a server started by C-SCALE Hub.",
                hint="Run it in a notebook of the hub.",
            )
        headers = {"Authorization": f"token {token}"}
        return cls(url, httpx.Client(headers=headers, timeout=60.0))

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One call; ``path`` is relative to ``cscale/api/v1``.

        :raises CScaleError: of the kind that the server names.
        """
        try:
            answer = self._http.request(method, f"{self.url}/cscale/api/v1/{path}", **kwargs)
        except httpx.HTTPError as error:
            raise UpstreamError(f"Your server does not answer: {error}", retryable=True) from error
        if answer.is_error:
            raise _as_error(answer)
        return answer.json() if answer.content else None

    def search(self, **query: Any) -> JSON:
        """Search every archive at once: ``{"items": [...], "providers": [...]}``.

        Keywords: ``bbox``, ``intersects``, ``datetime``, ``collections``, ``ids``, ``limit``,
        ``providers``, ``max_cloud_cover`` (percent).
        """
        return dict(self.call("POST", "search", json=query))

    def stage(self, items: list[JSON], assets: list[str] | None = None, **options: Any) -> JSON:
        """Start bringing items into the VO's bucket; returns the job."""
        return dict(self.call("POST", "stage", json={"items": items, "assets": assets} | options))

    def register(self, items: list[JSON]) -> JSON:
        """Register staged items in the community's catalogue; returns the outcome of each."""
        return dict(self.call("POST", "register", json={"items": items}))

    def submit(self, engine: str, process: JSON, title: str = "", **options: Any) -> JSON:
        """Submit a job (engines ``openeo`` and ``spark``); returns it."""
        spec = {"engine": engine, "process": process, "title": title} | options
        return dict(self.call("POST", "jobs", json=spec))

    def job(self, job_id: str) -> JSON:
        return dict(self.call("GET", f"jobs/{job_id}"))

    def jobs(self) -> list[JSON]:
        """Every job of the list, newest first."""
        found: list[JSON] = self.call("GET", "jobs")["jobs"]
        return sorted(found, key=lambda job: str(job["created"]), reverse=True)

    def cancel(self, job_id: str) -> JSON:
        return dict(self.call("POST", f"jobs/{job_id}/cancel"))

    def logs(self, job_id: str) -> Iterator[JSON]:
        """Every log line so far, oldest first."""
        after = 0
        while True:
            lines = self.call("GET", f"jobs/{job_id}/logs", params={"after": after})["logs"]
            if not lines:
                return
            yield from lines
            after = lines[-1]["id"]

    def publish(self, job_id: str) -> JSON:
        """Register a finished job's results in the community's catalogue."""
        return dict(self.call("POST", f"jobs/{job_id}/publish"))

    def follow(
        self,
        job: JSON,
        on_change: Callable[[JSON], None] = lambda job: None,
        *,
        pause: Callable[[], object] = lambda: time.sleep(1),
    ) -> JSON:
        """Wait until a job ends, telling every new revision.

        :param pause: called between two looks; an event stream can end it early.
        :raises JobFailed: when the job ends other than finished.
        """
        revision = -1
        while True:
            job = self.job(job["id"])
            if job["revision"] != revision:
                revision = job["revision"]
                on_change(job)
            if job["status"] in ENDED:
                break
            pause()
        if job["status"] != "finished":
            error = job.get("error") or {}
            raise JobFailed(
                f"Job {job['id']} ended as {job['status']}: {error.get('message', '')}".strip(": "),
                hint=str(error.get("hint", "")),
                job=job["id"],
            )
        return job


def _as_error(answer: httpx.Response) -> CScaleError:
    try:
        body = answer.json()
        kind = _BY_CODE.get(body["code"], UpstreamError)
        return kind(
            str(body["message"]),
            hint=str(body.get("hint", "")),
            retryable=bool(body.get("retryable")),
        )
    except (ValueError, KeyError, TypeError):
        request = answer.request
        return UpstreamError(
            f"{request.method} {request.url.path} answered {answer.status_code}.",
            retryable=answer.status_code >= 500,
        )
