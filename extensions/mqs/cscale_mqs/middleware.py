"""What surrounds every request: its id, its size, its public address, and the last answer."""

from __future__ import annotations

import logging
import re
import secrets
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cscale_mqs.problems import FAILURE, Problem

log = logging.getLogger("cscale.mqs")

MAX_BODY = 2**20
"""Bytes of a request body at most; a drawn area has some thousand points at the very most."""

_HOST = re.compile(r"[A-Za-z0-9._\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_SLASH = re.compile(rb"%2f", re.IGNORECASE)


class Guard:
    """Gives every request an id, bounds its body, and answers what nothing else has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event stream."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = identifier
        begun = False
        read = 0

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = [
                    (b"x-request-id", identifier.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY:
                # FastAPI makes 400 of any other exception while it reads a body.
                raise HTTPException(413, _too_large().message)
            return message

        try:
            length = Headers(scope=scope).get("content-length", "0")
            if not length.isdigit() or int(length) > MAX_BODY:
                raise _too_large()
            await self._app(scope, bounded, tagged)
        except Problem as problem:
            if begun:
                raise
            await problem.response(scope)(scope, receive, tagged)
        except Exception:
            log.exception("request %s failed", identifier)
            if begun:
                raise
            await FAILURE.response(scope)(scope, receive, tagged)


def _too_large() -> Problem:
    return Problem(
        413,
        f"A request has at most {MAX_BODY >> 20} MiB.",
        hint="Simplify the area, or ask in parts.",
    )


class PublicAddress:
    """Finds the address under which the client knows the service, for links.

    A configured public address wins; else the Host of the request, and X-Forwarded-Host and
    -Proto when the request comes from loopback, where a proxy may be. A slash that was
    percent-encoded in the path stays so, because ids of other people's collections may have one;
    one at the end says nothing (STAC Browser leaves it out, others add it).
    """

    def __init__(self, app: ASGIApp, *, public_root: str, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._public = public_root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event stream."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["public_root"] = self._public or self._from(scope)
            raw: bytes = scope.get("raw_path") or b""
            if _SLASH.search(raw):
                scope["path"] = unquote(_SLASH.sub(b"%252F", raw).decode("ascii", "replace"))
            short = scope["path"].rstrip("/")
            scope["path"] = f"{short}/" if short == self._prefix else short
        await self._app(scope, receive, send)

    def _from(self, scope: Scope) -> str:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        scheme, host = str(scope.get("scheme", "http")), headers.get(b"host", "")
        client = scope.get("client")
        if client and client[0] in ("127.0.0.1", "::1"):
            proto = headers.get(b"x-forwarded-proto", "").split(",")[0].strip()
            scheme = proto if proto in ("http", "https") else scheme
            host = headers.get(b"x-forwarded-host", "").split(",")[0].strip() or host
        if not _HOST.fullmatch(host):
            server = scope.get("server") or ("127.0.0.1", 80)
            host = f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{self._prefix}"


def decoded(identifier: str) -> str:
    """An id out of a path, with the slashes that :class:`PublicAddress` left encoded."""
    return identifier.replace("%2F", "/")
