"""Tells the hub, for its audit log, what was published, taken down and opened."""

from __future__ import annotations

import asyncio
from logging import Logger
from typing import Literal

import httpx

from cscale_core.notebooks.places import NotebookRef

Act = Literal["notebook.publish", "notebook.unpublish", "notebook.open"]

_TRIES = 4
_FIRST_PAUSE = 1.0
# The hub does not know the address, or this server may not use it: asking again changes nothing.
_NEVER = frozenset({400, 401, 403, 404, 405, 413})


class Telling:
    """What one server tells. Nobody waits for it, and nothing fails because of it."""

    def __init__(self, http: httpx.AsyncClient, url: str, token: str, log: Logger) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"token {token}"}
        self._log = log
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(
        self,
        action: Act,
        ref: NotebookRef,
        *,
        version: int | None = None,
        source_hash: str = "",
        refused: str = "",
    ) -> None:
        """Tell of one act.

        :param refused: code of the error by which it was refused; empty: it was done.
        """
        report = {
            "action": action,
            "outcome": "refused" if refused else "done",
            "code": refused,
            "vo": ref.vo,
            "author": ref.author,
            "notebook": ref.name,
            "version": "" if version is None else str(version),
            "source_hash": source_hash,
        }
        task = asyncio.create_task(self._send(report), name="cscale publication")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _send(self, report: dict[str, str]) -> None:
        trouble = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
            try:
                answer = await self._http.post(
                    self._url, json=report, headers=self._headers, timeout=10.0
                )
            except httpx.HTTPError as error:
                trouble = type(error).__name__
                continue
            if answer.is_success:
                return
            trouble = f"it answered {answer.status_code}"
            if answer.status_code in _NEVER:
                break
        self._log.warning(
            "%s of %s is not in the hub's audit log: %s",
            report["action"],
            report["notebook"],
            trouble,
        )
