"""One user's server as Python calls: search, staging, registration, and its list of jobs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import httpx

from cscale_core.client.connection import JSON, Connection, quoted
from cscale_core.client.job import PATIENCE, Job, new_key
from cscale_core.client.joblist import Jobs
from cscale_core.errors import InvalidInput, UpstreamError


class Workspace:
    """One user's server.

    :param url: address of the server, such as ``http://127.0.0.1:8000/user/NAME/``.
    :param http: carries the authorization (a header, cookies).
    :ivar jobs: the one list of jobs.
    """

    def __init__(self, url: str, http: httpx.Client) -> None:
        self._connection = Connection(url, http)
        self.jobs = Jobs(self._connection)

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return self._connection.url

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One call; ``path`` is relative to ``cscale/api/v1``.

        :raises CScaleError: of the kind that the server names.
        """
        return self._connection.call(method, path, **kwargs)

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
        return dict(self.call("POST", "catalog/search", json=query))

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
        for line in self._connection.lines("catalog/search", query):
            last = line
            yield line
        if last.get("type") != "page":
            raise UpstreamError("The answer of your server broke off.", retryable=True)

    def item(self, ref: str) -> JSON:
        """A whole item by the reference that :meth:`search_stream` gave."""
        return dict(self.call("GET", f"catalog/items/{quoted(ref)}"))

    def collections(self) -> JSON:
        """The collections of every archive, and how each archive did."""
        return dict(self.call("GET", "catalog/collections"))

    def providers(self) -> list[JSON]:
        """The archives, and whether each answers at the moment."""
        found: list[JSON] = self.call("GET", "catalog/providers")["providers"]
        return found

    def stage(
        self, items: list[JSON] | list[str], assets: list[str] | None = None, **options: Any
    ) -> Job:
        """Start bringing items, or those with these references, into the VO's bucket.

        :param options: ``vo``, ``title``, and ``register`` (also write them to the catalogue).
        """
        kind = "refs" if items and isinstance(items[0], str) else "items"
        body = {kind: items, "assets": assets} | options
        made = self.call("POST", "stage", json=body, key=new_key(), patience=PATIENCE)
        return Job(self._connection, made)

    def register(self, items: list[JSON]) -> JSON:
        """Register staged items in the community's catalogue; returns the outcome of each."""
        return dict(self.call("POST", "register", json={"items": items}))


@lru_cache(maxsize=1)
def _workspace(url: str, token: str) -> Workspace:
    headers = {"Authorization": f"token {token}"}
    return Workspace(url, httpx.Client(headers=headers, timeout=60.0, trust_env=False))


def here() -> Workspace:
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
    return _workspace(url, token)


def _warn_of_gaps(known: set[str]) -> Callable[[JSON], None]:
    """Warns once of each archive whose items are missing."""

    def tell(page: JSON) -> None:
        for report in page["providers"]:
            if report["status"] not in ("ok", "skipped") and report["id"] not in known:
                known.add(report["id"])
                warnings.warn(f"Items may be missing: {report['error']}", stacklevel=3)

    return tell
