"""Spark's monitoring API over HTTP: an application's own UI, the history server, a Connect server.

The addresses are the operator's or our own; none comes from a user or a catalogue.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from cscale_core.errors import NotFound, UpstreamError, UpstreamTimeout
from cscale_core.jobs.engines.spark.figures import Get, figures

#: Spark's first answer is slow: it starts its web framework for it.
TIMEOUT = httpx.Timeout(15.0, connect=5.0)


@asynccontextmanager
async def monitoring(root: str) -> AsyncIterator[Get]:
    """Ask below ``ROOT/api/v1``.

    The questions raise NotFound for an application that is not known, UpstreamError else.
    """
    # A client of httpx looks for certificates when it is made, which takes a moment of the loop's.
    make = functools.partial(httpx.AsyncClient, timeout=TIMEOUT, trust_env=False)
    async with await asyncio.to_thread(make) as client:

        async def get(path: str) -> Any:
            try:
                response = await client.get(f"{root.rstrip('/')}/api/v1{path}")
                if response.status_code == 404:
                    raise NotFound("Spark's monitoring does not know the application.")
                return response.raise_for_status().json()
            except httpx.TimeoutException as error:
                raise UpstreamTimeout(
                    "Spark's monitoring did not answer in time.", retryable=True
                ) from error
            except (httpx.HTTPError, ValueError) as error:
                raise UpstreamError(
                    "Spark's monitoring does not answer.", retryable=True, reason=str(error)
                ) from error

        yield get


async def figures_at(root: str, application: str = "") -> dict[str, Any]:
    """The figures of an application, from a UI or a history server.

    :raises NotFound: when it is not known there.
    :raises UpstreamError: when it does not answer.
    """
    async with monitoring(root) as get:
        return await figures(get, application)
