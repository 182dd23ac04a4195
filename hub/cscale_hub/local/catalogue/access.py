"""Who may write: a bearer token of the issuer, and membership of an accepted VO.

The token's signature is checked with the issuer's published keys (RS256 only), with issuer,
audience and expiry; entitlements are not in the token, they are asked at userinfo and believed
for some minutes. Reads are open: searching is what a catalogue is for, and the service listens
on loopback only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cscale_core.identity.entitlements import vo_roles
from cscale_core.identity.slug import user_slug
from cscale_hub.local.catalogue.config import CatalogueConfig
from cscale_hub.local.catalogue.problems import Problem

log = logging.getLogger("cscale.catalogue")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSAL_SECONDS = 15.0
KEY_REFRESH_SECONDS = 5.0
REMEMBERED_TOKENS = 1024
MAX_BODY = 64 * 1024 * 1024


FAILURE = Problem(
    500,
    "the catalogue failed on this request",
    hint="its log tells more under the request id",
)


@dataclass(frozen=True, slots=True)
class Writer:
    """A caller that may write: the token's subject and the VOs that allow it."""

    subject: str
    vos: tuple[str, ...]


class TokenVerifier:
    """Verifies bearer tokens and knows the memberships behind them.

    :param http: a client of the caller, used for the issuer only.
    """

    def __init__(self, config: CatalogueConfig, http: httpx.AsyncClient) -> None:
        self._config = config
        self._http = http
        self._rules = config.vo_rules
        self._keys: dict[str, Any] = {}
        self._keys_asked = float("-inf")
        self._lock = asyncio.Lock()
        self._known: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()

    async def writer(self, token: str) -> Writer:
        """The writer behind a token.

        :raises Problem: 401 for a token that is not valid, 403 for a valid one without an
            accepted membership, 503 when the issuer cannot be asked.
        """
        claims = await self._claims(token)
        subject = str(claims["sub"])
        digest = hashlib.sha256(token.encode()).hexdigest()
        async with self._lock:
            vos = self._remembered(digest)
            if vos is None:
                vos = await self._memberships(token, subject)
                life = self._config.userinfo_seconds if vos else REFUSAL_SECONDS
                life = min(life, self._config.userinfo_seconds)
                self._known[digest] = (time.monotonic() + life, vos)
                while len(self._known) > REMEMBERED_TOKENS:
                    self._known.popitem(last=False)
        if not vos:
            raise Problem(
                403,
                "you are not a member of a virtual organisation that may write here",
                hint="ask the manager of your virtual organisation; reading needs no membership",
            )
        return Writer(subject, vos)

    def _remembered(self, digest: str) -> tuple[str, ...] | None:
        entry = self._known.get(digest)
        if entry is None or entry[0] <= time.monotonic():
            self._known.pop(digest, None)
            return None
        return entry[1]

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != "RS256":
                raise jwt.InvalidAlgorithmError("only RS256 is accepted")
            key = await self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=5,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise unauthorised("the access token has expired", "get a new token") from error
        except jwt.InvalidAudienceError as error:
            raise unauthorised(
                f"the access token is not for the audience {self._config.audience!r}",
                "exchange it at the issuer, or get one from the hub's broker",
            ) from error
        except jwt.PyJWTError as error:
            log.info("refused a token: %s", type(error).__name__)
            raise unauthorised("the access token is not valid") from error
        return claims

    async def _key(self, kid: str) -> Any:
        async with self._lock:
            if kid not in self._keys and (
                time.monotonic() - self._keys_asked >= KEY_REFRESH_SECONDS or not self._keys
            ):
                document = await self._ask(self._config.certs)
                self._keys_asked = time.monotonic()
                self._keys = {
                    str(item.get("kid", "")): jwt.PyJWK(item, algorithm="RS256").key
                    for item in document.get("keys", [])
                    if item.get("kty") == "RSA" and item.get("use", "sig") == "sig"
                }
            if kid not in self._keys:
                raise jwt.InvalidKeyError("no such signing key")
            return self._keys[kid]

    async def _memberships(self, token: str, subject: str) -> tuple[str, ...]:
        person = await self._ask(self._config.userinfo, token)
        if person.get("sub") != subject:
            # OpenID Connect Core 5.3.2: the answer must not be used then.
            raise unauthorised("userinfo speaks of somebody else than the access token")
        values = person.get("eduperson_entitlement", [])
        entitlements = [values] if isinstance(values, str) else [str(value) for value in values]
        return tuple(sorted(vo_roles(entitlements, self._rules)))

    async def _ask(self, url: str, token: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = await self._http.get(url, headers=headers)
            if token and answer.status_code in (400, 401, 403):
                raise unauthorised("the issuer does not accept the access token any more")
            answer.raise_for_status()
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("the issuer cannot be asked: %s", error)
            raise Problem(
                503,
                "the identity provider cannot be asked who you are",
                hint="nothing was changed; try again in a moment",
                retryable=True,
                headers={"Retry-After": "5"},
            ) from error
        return document if isinstance(document, dict) else {}


def unauthorised(message: str, hint: str = "") -> Problem:
    """401 with the challenge that RFC 6750 asks for."""
    return Problem(401, message, hint=hint, headers={"WWW-Authenticate": "Bearer"})


class AccessMiddleware:
    """Gives every request an id, lets writes through for writers only, and answers what nothing
    else has answered."""

    def __init__(
        self, app: ASGIApp, *, verifier: TokenVerifier, prefix: str, read_only: bool
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._search = f"{prefix}/search"
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event stream."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identifier = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = identifier

        begun = False

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", []), (b"x-request-id", identifier.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._authorise(scope)
            await self._app(scope, receive, tagged)
        except Problem as problem:
            await problem.response(scope)(scope, receive, tagged)
        except Exception:
            log.exception("request %s failed", identifier)
            if begun:
                raise
            await FAILURE.response(scope)(scope, receive, tagged)

    async def _authorise(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise Problem(413, f"a request has at most {MAX_BODY} bytes", hint="send fewer items")
        method = scope["method"]
        if method in SAFE_METHODS or (method == "POST" and scope["path"] == self._search):
            return
        if self._read_only:
            raise Problem(405, "this catalogue is read-only", headers={"Allow": "GET, HEAD"})
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise unauthorised(
                "writing needs an access token",
                "send Authorization: Bearer with a token of the issuer for this catalogue",
            )
        writer = await self._verifier.writer(token.strip())
        scope["state"]["writer"] = writer
        who = user_slug(writer.subject)
        log.info("%s %r by %s (%s)", method, scope["path"], who, ", ".join(writer.vos))
