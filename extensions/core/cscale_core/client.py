"""The API of a user's server as Python calls, for notebooks, scripts and the demonstration.

One job list serves the panel and the notebook: what is submitted here is seen there. In a notebook
``Workspace.here()`` finds the server that runs the kernel.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

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
_API = "cscale/api/v1"
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
            answer = self._http.request(method, f"{self.url}/{_API}/{path}", **kwargs)
        except httpx.HTTPError as error:
            raise UpstreamError(f"Your server does not answer: {error}", retryable=True) from error
        if answer.is_error:
            raise _as_error(answer)
        return answer.json() if answer.content else None

    def search(self, **query: Any) -> JSON:
        """Search every archive at once: one page of whole items, and how each archive did.

        ``{"items": [...], "providers": [...], "next": "...", "complete": true, "matched": 12}``;
        ``next`` given as ``cursor`` with the same question gives the page that follows, and is
        empty when there is none. ``complete`` is false when an archive did not answer in full:
        ``providers`` says which and why.

        Keywords: ``bbox``, ``intersects``, ``datetime``, ``collections``, ``ids``, ``filter``
        (CQL2), ``max_cloud_cover`` (percent), ``sortby``, ``fields``, ``limit`` (items of a
        page), ``providers``, ``cursor``.
        """
        headers = {"Accept": "application/json"}
        return dict(self.call("POST", "catalog/search", json=query, headers=headers))

    def search_all(
        self, on_page: Callable[[JSON], None] | None = None, **query: Any
    ) -> Iterator[JSON]:
        """Every item that answers the question, page after page, as :meth:`search`.

        :param on_page: called with each page as :meth:`search` gives it, before its items.
            Without it, an archive that does not answer in full is a warning.
        """
        tell = _warn_of_gaps(set()) if on_page is None else on_page
        while True:
            page = self.search(**query)
            tell(page)
            yield from page["items"]
            if not page["next"]:
                return
            query["cursor"] = page["next"]

    def search_stream(self, **query: Any) -> Iterator[JSON]:
        """One page as it comes in: what a map or a list needs of each item, at once.

        Gives objects by ``type``: ``items`` (slim ones of one archive), ``report`` (how an
        archive did), at the end ``page`` (which of the items, in which order, and ``next``).

        :raises CScaleError: of the kind that the server names, also in the middle.
        """
        last: JSON = {}
        try:
            with self._http.stream(
                "POST",
                f"{self.url}/{_API}/catalog/search",
                json=query,
                headers={"Accept": "application/x-ndjson"},
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise _as_error(answer)
                for line in _lines(answer.iter_bytes()):
                    last = json.loads(line)
                    if last["type"] == "problem":
                        raise _of_problem(last)
                    yield last
        except httpx.HTTPError as error:
            raise UpstreamError(f"Your server does not answer: {error}", retryable=True) from error
        if last.get("type") != "page":
            raise UpstreamError("The answer of your server broke off.", retryable=True)

    def item(self, ref: str) -> JSON:
        """A whole item by the reference that :meth:`search_stream` gave."""
        return dict(self.call("GET", f"catalog/items/{quote(ref, safe='')}"))

    def collections(self) -> JSON:
        """The collections of every archive, and how each archive did."""
        return dict(self.call("GET", "catalog/collections"))

    def providers(self) -> list[JSON]:
        """The archives, and whether each answers at the moment."""
        found: list[JSON] = self.call("GET", "catalog/providers")["providers"]
        return found

    def stage(
        self, items: list[JSON] | list[str], assets: list[str] | None = None, **options: Any
    ) -> JSON:
        """Start bringing items, or those with these references, into the VO's bucket.

        Returns the job.
        """
        kind = "refs" if items and isinstance(items[0], str) else "items"
        return dict(self.call("POST", "stage", json={kind: items, "assets": assets} | options))

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


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Bytes up to each line feed, and to nothing else that Unicode calls the end of a line."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _warn_of_gaps(known: set[str]) -> Callable[[JSON], None]:
    """Warns once of each archive whose items are missing."""

    def tell(page: JSON) -> None:
        for report in page["providers"]:
            if report["status"] not in ("ok", "skipped") and report["id"] not in known:
                known.add(report["id"])
                warnings.warn(f"Items may be missing: {report['error']}", stacklevel=3)

    return tell


def _of_problem(body: JSON) -> CScaleError:
    kind = _BY_CODE.get(body["code"], UpstreamError)
    return kind(
        str(body["message"]),
        hint=str(body.get("hint", "")),
        retryable=bool(body.get("retryable")),
    )


def _as_error(answer: httpx.Response) -> CScaleError:
    try:
        return _of_problem(answer.json())
    except (ValueError, KeyError, TypeError):
        request = answer.request
        return UpstreamError(
            f"{request.method} {request.url.path} answered {answer.status_code}.",
            retryable=answer.status_code >= 500,
        )
