"""The list of a user's jobs at a back end (``GET /jobs``), page by page.

Some back ends page, some cut the list off without a word, some give it whole. The order is not
defined, and a list holds every job the user ever made there, so reading stops when all that was
looked for has been seen.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import urljoin, urlsplit

from cscale_core.errors import NotFound, UpstreamError
from cscale_core.jobs.engines.openeo.remote import Remote
from cscale_core.jobs.model import Job
from cscale_core.jobs.polling import Limiter

#: Jobs asked for in one page; a back end may give fewer.
PAGE = 500
#: Pages read of one list at most.
MOST_PAGES = 100

Listed = dict[str, Any]


def mark(job_id: str) -> str:
    """The words in a remote job's description by which it is found again."""
    return f"C-SCALE job {job_id}"


def _same_origin(url: str, other: str) -> bool:
    return urlsplit(url)[:2] == urlsplit(other)[:2]


def _page(url: str, connection: Any) -> tuple[list[Listed], str]:
    """One page: its jobs, and the address of the next; ``url`` empty: the first."""
    if url:
        answer = connection.get(url, auth=connection.auth, expected_status=200)
    else:
        answer = connection.get("/jobs", params={"limit": PAGE}, expected_status=200)
    body = answer.json()
    if not isinstance(body, dict) or not isinstance(body.get("jobs"), list):
        raise UpstreamError("The back end's list of jobs is not a list.", retryable=True)
    jobs = [job for job in body["jobs"] if isinstance(job, dict) and job.get("id")]
    links = body.get("links")
    following = ""
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next" and link.get("href"):
            following = urljoin(answer.url, str(link["href"]))
    # The login goes to the back end only, whatever a link says.
    return jobs, following if _same_origin(following, connection.root_url) else ""


async def pages(remote: Remote, limiter: Limiter) -> AsyncGenerator[list[Listed]]:
    """The pages of the list, each when it is asked for.

    :raises CScaleError: when a page cannot be had.
    """
    url = ""
    asked = set()
    for _ in range(MOST_PAGES):
        await limiter.turn()
        ask: Callable[[Any], tuple[list[Listed], str]] = functools.partial(_page, url)
        jobs, url = await remote.call(ask)
        yield jobs
        if not url or url in asked:
            return
        asked.add(url)


async def find_marked(remote: Remote, job: Job) -> str:
    """The id of the remote job that was made for ours, or an empty string.

    A list without descriptions makes those of the same title be looked at one by one.

    :raises CScaleError: when the back end does not answer.
    """
    words = mark(job.id)
    async with aclosing(pages(remote, remote.acting)) as listed:
        async for page in listed:
            for entry in page:
                description = entry.get("description")
                if description is None and entry.get("title", job.spec.title) == job.spec.title:
                    description = (await described(remote, entry["id"])).get("description")
                if words in str(description or ""):
                    return str(entry["id"])
    return ""


async def described(remote: Remote, identifier: str) -> Listed:
    """``GET /jobs/{id}`` for the search; a job deleted meanwhile describes nothing."""
    try:
        answer = await remote.act(lambda connection: connection.job(identifier).describe())
    except NotFound:
        return {}
    return dict(answer)
