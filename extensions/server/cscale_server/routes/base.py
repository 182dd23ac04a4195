"""What every handler of the REST API has: bodies in, answers and problems out.

Every verb is decorated in the concrete class: ``authorized`` keeps the resource it saw first, so
in a shared base class it would check one handler's resource for another.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from jupyter_server.base.handlers import APIHandler
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from tornado import web
from tornado.iostream import StreamClosedError

from cscale_core.errors import CScaleError, Forbidden, InvalidInput
from cscale_server import problems
from cscale_server.models import ProblemLine
from cscale_server.routes.compression import SMALLEST, Compressor, takes_gzip

if TYPE_CHECKING:
    from cscale_server.app import CScaleExtension

PREFIX = "cscale/api/v1"
LINES = "application/x-ndjson"
"""Media type of answers that are given line by line, each line a JSON object."""

MAX_BODY = 32 * 1024 * 1024
"""Bytes of the largest request body: a thousand rich STAC items are a fifth of that."""

_READ_IN_THREAD = 128 * 1024

OWNER_VARIABLE = "JUPYTERHUB_USER"

_M = TypeVar("_M", bound=BaseModel)
_T = TypeVar("_T")


class CScaleHandler(APIHandler):
    """Bodies in, problems out. Holds no verbs; see the module's docstring."""

    _work: asyncio.Task[Any] | None = None

    def initialize(self, extension: CScaleExtension) -> None:
        """Called by tornado for each request, before anything else."""
        self.extension = extension

    @property
    def request_id(self) -> str:
        """Names this request in answers and in the log."""
        if not hasattr(self, "_request_id"):
            self._request_id = uuid4().hex
        return self._request_id

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        if len(self.request.body) > MAX_BODY:
            raise problems.BodyTooLarge(
                f"The request has more than {MAX_BODY // 1024**2} MiB.",
                hint="Send fewer items at a time.",
            )

    # -- in ----------------------------------------------------------------------------------

    async def body(self, model: type[_M]) -> _M:
        """The body as a model. A large one is read in a thread, so that the event loop goes on.

        :raises MalformedBody: when it is not a JSON object.
        :raises InvalidInput: when fields are missing, unknown or wrong.
        """
        if len(self.request.body) > _READ_IN_THREAD:
            return await asyncio.to_thread(self._read, model)
        return self._read(model)

    def _read(self, model: type[_M]) -> _M:
        try:
            data = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise problems.MalformedBody(
                f"The body is not JSON: {error}.", hint="Send a JSON object."
            ) from error
        if not isinstance(data, dict):
            raise problems.MalformedBody("The body is not a JSON object.")
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise problems.invalid_fields(error) from error

    def number(self, name: str, fallback: int, largest: int = 2**53) -> int:
        """A whole number from the query string, between 0 and ``largest``."""
        text = self.get_query_argument(name, str(fallback))
        if not re.fullmatch(r"\d{1,16}", text) or int(text) > largest:
            raise InvalidInput(f"{name}: a whole number from 0 to {largest} is expected.")
        return int(text)

    def words(self, name: str, longest: int, fallback: str | None = None) -> str:
        """A text from the query string; it must be there when there is no ``fallback``."""
        text: str | None = self.get_query_argument(name, fallback, strip=False)
        if text is None or (not text and fallback is None) or len(text) > longest:
            raise InvalidInput(f"{name}: a text of at most {longest} characters is expected.")
        return text

    def decimal(self, name: str, least: float, largest: float) -> float:
        """A number from the query string, between ``least`` and ``largest``."""
        try:
            value = float(self.get_query_argument(name, ""))
        except ValueError:
            value = float("nan")
        if not least <= value <= largest:
            raise InvalidInput(f"{name}: a number from {least:g} to {largest:g} is expected.")
        return value

    def seconds(self, name: str, longest: int) -> float:
        """A number of seconds from the query string, 0 where it is not given.

        More than ``longest`` is that.
        """
        text = self.get_query_argument(name, "0")
        if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
            raise InvalidInput(f"{name}: a number of seconds, 0 or more, is expected.")
        return min(float(text), float(longest))

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of some words from the query string; the first of them where it is not given."""
        word = self.get_query_argument(name, known[0])
        if word not in known:
            raise InvalidInput(f"{name}: one of {', '.join(known)} is expected.")
        return word

    def require_owner(self) -> None:
        """Only the owner changes things: they are done with the owner's credentials.

        On a server shared through JupyterHub others are authorized too, and may look.
        """
        owner = os.environ.get(OWNER_VARIABLE, "")
        if owner and self.current_user.username != owner:
            raise Forbidden(
                "Only the owner of this server can do that.",
                hint="It would be done with the owner's login. Use your own server for it.",
            )

    async def while_connected(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """The outcome of work that ends when the client goes away; None when it did."""
        # A task of its own, so that the end of the connection reaches it.
        self._work = asyncio.create_task(work)
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
        return None if self._work.cancelled() else self._work.result()

    def on_connection_close(self) -> None:
        if self._work is not None:
            self._work.cancel()
        super().on_connection_close()

    # -- out ---------------------------------------------------------------------------------

    def answer(self, content: Any, status: int = HTTPStatus.OK) -> None:
        """Finish with JSON; pydantic models and dataclasses are taken as they are."""
        self.set_status(status)
        data = to_json(content)
        compressor = self._compressor() if len(data) >= SMALLEST else None
        self.finish(compressor.last(data) if compressor else data)

    def _compressor(self) -> Compressor | None:
        """What compresses the answer, which says so; None where the client reads no gzip."""
        self.set_header("Vary", "Accept-Encoding")
        if not takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            return None
        self.set_header("Content-Encoding", "gzip")
        return Compressor()

    async def answer_lines(self, lines: AsyncGenerator[bytes, None]) -> None:
        """Finish with lines of JSON, each sent as soon as it is there; a failure on the way is
        the last line."""
        begun = False
        compressor: Compressor | None = None
        try:
            async with aclosing(lines):
                async for line in lines:
                    if not begun:
                        self.set_header("Content-Type", LINES)
                        self.set_header("X-Accel-Buffering", "no")
                        compressor = self._compressor()
                        begun = True
                    if compressor and len(line) >= SMALLEST:
                        self.write(await asyncio.to_thread(compressor.piece, line))
                    else:
                        self.write(compressor.piece(line) if compressor else line)
                    await self.flush()
        except StreamClosedError:
            return
        except Exception as error:
            if not begun:
                raise  # a wrong question, said by the status as everywhere
            self.log_exception(*sys.exc_info())
            _, problem = self.problem_of(error, HTTPStatus.INTERNAL_SERVER_ERROR)
            line = to_json(ProblemLine(**problem)) + b"\n"
            self.write(compressor.piece(line) if compressor else line)
        if compressor:
            self.write(compressor.last())
        self.finish(set_content_type=LINES)

    def log_exception(self, *exc_info: Any) -> None:
        error = exc_info[1]
        if isinstance(error, CScaleError):
            self.log.info(
                "%s %s: %s: %s [%s]",
                self.request.method,
                self.request.path,
                error.code,
                error.message,
                self.request_id,
            )
        elif isinstance(error, web.HTTPError):
            super().log_exception(*exc_info)
        else:
            self.log.error(
                "%s %s failed [%s]",
                self.request.method,
                self.request.path,
                self.request_id,
                exc_info=exc_info,
            )

    def problem_of(self, error: BaseException | None, status: int) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer for a failure."""
        if isinstance(error, CScaleError):
            return problems.status_of(error), problems.problem(error, self.request_id)
        if isinstance(error, web.HTTPError):
            message = error.log_message or HTTPStatus(status).phrase
            return status, problems.plain_problem(status, message, self.request_id)
        return status, problems.unexpected_problem(self.request_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        status, body = self.problem_of(kwargs.get("exc_info", (None, None))[1], status_code)
        self.set_status(status)
        self.finish(to_json(body))
