"""What is given to whom: identity, limits, sharing, cache, audit, in this order.

The rules: a caller is a user's server; while others may enter a server of the user nothing is
given of a VO that does not allow it (``tokens_while_shared`` in the VO file); every hand-over and
every refusal of a known user is on record; what is cached is bound to the login and the grants it
was made for, so a new login or a changed membership never gets the old thing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from cscale_hub.audit import AuditEvent, AuditLog
from cscale_hub.auth.renewal import OneAtATime
from cscale_hub.broker.access_token import AccessToken
from cscale_hub.broker.config import STS_MINIMUM, BrokerConfig
from cscale_hub.broker.errors import (
    BrokerError,
    ForbiddenError,
    InvalidInputError,
    LoginRequiredError,
    SharedServerError,
    UpstreamDownError,
)
from cscale_hub.broker.exchange import SameToken, TokenExchange
from cscale_hub.broker.hub import Caller, Hub, Person
from cscale_hub.broker.limits import RateLimiter
from cscale_hub.broker.sts import (
    RoleAssumer,
    S3Credentials,
    Session,
    read_keys,
    static_credentials,
)
from cscale_hub.places import StorageError
from cscale_hub.storage import grants, reachable, session_policy

_FRESH = 0.8
# Less is no use to anybody. More would be too much: the hub renews a login that lives a minute when
# a part of it is over, and looks only now and then.
_LEAST = 10.0
_CACHED = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One authenticated question; ``token`` is the caller's JupyterHub token."""

    token: str = field(repr=False)
    request_id: str


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    person: Person
    until: float


class Once(Generic[T]):
    """A cache in which each key is made by one task, for which all who ask wait.

    A failure is told to all who wait and is not kept.

    :param fresh: the part of its life for which a value is given again.
    """

    def __init__(self, fresh: float = _FRESH, clock: Callable[[], float] = time.time) -> None:
        self._fresh = fresh
        self._clock = clock
        self._kept: dict[str, tuple[T, float]] = {}
        self._making = OneAtATime()

    async def get(
        self, key: str, make: Callable[[], Awaitable[T]], expires: Callable[[T], float]
    ) -> tuple[T, bool]:
        """The value, and whether it was there."""
        kept = self._kept.get(key)
        if kept is not None and kept[1] > self._clock():
            return kept[0], True
        return await self._making.run(key, lambda: self._make(key, make, expires)), False

    def forget(self, key: str) -> None:
        """Have the value made anew at the next question."""
        self._kept.pop(key, None)

    async def _make(
        self, key: str, make: Callable[[], Awaitable[T]], expires: Callable[[T], float]
    ) -> T:
        value = await make()
        now = self._clock()
        if len(self._kept) >= _CACHED:
            self._kept = {name: kept for name, kept in self._kept.items() if kept[1] > now}
        self._kept[key] = (value, now + self._fresh * (expires(value) - now))
        return value


class Broker:
    """Answers ``/v1/token`` and ``/v1/s3``.

    :param exchange: how a login becomes a token for one audience.
    :param sts: gives the credentials of the role.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        hub: Hub,
        exchange: TokenExchange | SameToken,
        sts: RoleAssumer,
        audit: AuditLog,
    ) -> None:
        self._config = config
        self._hub = hub
        self._exchange = exchange
        self._sts = sts
        self._vos = config.vos.storages()
        self._open = frozenset(
            name for name, vo in config.vos.vos.items() if vo.shared_notebooks.tokens_while_shared
        )
        self._audit = audit
        self._limits = RateLimiter(config.rate_limit)
        self._known: Once[_Known] = Once(fresh=1.0)
        self._tokens: Once[AccessToken] = Once()
        self._credentials: Once[S3Credentials] = Once()

    async def token(self, request: Request, audience: str) -> dict[str, str]:
        """An access token for one of the offered audiences.

        :raises BrokerError: as the class of it says.
        """
        if audience not in self._config.audiences:
            raise InvalidInputError(
                f"There are no tokens for {audience!r}.",
                hint="Audiences: " + ", ".join(self._config.audiences) + ".",
            )

        async def give(caller: Caller, person: Person) -> tuple[dict[str, str], AuditEvent]:
            if person.shared_vos:
                # A token cannot be narrowed to a VO: it opens all that the person may.
                self._check_open(person.vo_roles)

            async def make() -> AccessToken:
                return await self._exchanged(request, person, audience)

            key = _key(caller.user, audience, person.login.value)
            token, cached = await self._tokens.get(key, make, lambda made: made.expires)
            expires = _rfc3339(token.expires)
            body = {
                "access_token": token.value,
                "token_type": "Bearer",
                "audience": audience,
                "expires_at": expires,
            }
            event = AuditEvent(
                action="token.issue",
                outcome="issued",
                user=caller.user,
                cached=cached,
                expires_at=expires,
            )
            return body, event

        return await self._answer(request, "token.issue", audience, give)

    async def s3_credentials(self, request: Request) -> dict[str, str]:
        """S3 credentials for the user's own grants, in the AWS container format.

        :raises BrokerError: as the class of it says.
        """

        async def give(caller: Caller, person: Person) -> tuple[dict[str, str], AuditEvent]:
            policy, vos = self._policy(caller, person)

            async def make() -> S3Credentials:
                return await self._assumed(request, caller, person, policy)

            key = _key(caller.user, policy, person.login.value)
            made, cached = await self._credentials.get(key, make, lambda each: each.expires)
            expires = _rfc3339(made.expires)
            body = {
                "AccessKeyId": made.access_key_id,
                "SecretAccessKey": made.secret_access_key,
                "Token": made.session_token,
                "Expiration": expires,
            }
            event = AuditEvent(
                action="s3.issue",
                outcome="issued",
                user=caller.user,
                vos=vos,
                cached=cached,
                expires_at=expires,
                access_key_id=made.access_key_id,
            )
            return body, event

        return await self._answer(request, "s3.issue", self._config.s3.audience, give)

    async def _answer(
        self,
        request: Request,
        action: Literal["token.issue", "s3.issue"],
        audience: str,
        give: Callable[[Caller, Person], Awaitable[tuple[dict[str, str], AuditEvent]]],
    ) -> dict[str, str]:
        about = {"audience": audience, "request_id": request.request_id}
        user = ""
        try:
            known = await self._recognise(request)
            caller, user = known.caller, known.caller.user
            about |= {"server": caller.server, "token_id": caller.token_id}
            self._limits.take(user)
            if known.person.shared_vos:
                self._check_open({*known.person.shared_vos, known.person.server_vo})
            body, event = await give(caller, known.person)
        except BrokerError as error:
            if user := user or error.user:
                refusal = AuditEvent(
                    action=action,
                    outcome="failed" if error.status >= 500 else "refused",
                    user=user,
                    code=error.code,
                )
                await self._record(refusal.model_copy(update=about))
            raise
        await self._record(event.model_copy(update=about))
        return body

    def _check_open(self, vos: Iterable[str]) -> None:
        """See that all these VOs give credentials to servers that others may enter.

        :raises SharedServerError: naming those that do not.
        """
        closed = sorted(set(vos) - self._open)
        if closed:
            titles = [self._config.vos.vos[vo].title for vo in closed if vo in self._config.vos.vos]
            owners = f" for {', '.join(titles)}" if titles else ""
            raise SharedServerError(
                f"Your server is shared, so it gets no credentials{owners}.",
                hint="Stop sharing it (Share menu, or the hub's page), then try again.",
            )

    async def _record(self, event: AuditEvent) -> None:
        """On record first, then given.

        :raises UpstreamDownError: when it cannot be written; then nothing is given.
        """
        try:
            await asyncio.to_thread(self._audit.record, event)
        except OSError as error:
            raise UpstreamDownError(
                "The audit log cannot be written, so nothing is given.",
                hint="The operator has to look at the broker's disk.",
                retry_after=30,
            ) from error

    async def _recognise(self, request: Request, *, anew: bool = False) -> _Known:
        """Who asks; a positive answer counts for some seconds, a negative one never."""
        key = _key(request.token)
        if anew:
            self._known.forget(key)

        async def make() -> _Known:
            caller = await self._hub.caller(request.token)
            person = await self._hub.person(caller.user, caller.server)
            return _Known(caller, person, time.time() + self._config.identity_cache)

        known, _ = await self._known.get(key, make, lambda made: made.until)
        return known

    async def _login(self, request: Request, person: Person) -> AccessToken:
        """The user's login with enough life; if it has not, the hub is asked to renew it.

        :raises LoginRequiredError: when it has ended.
        """
        login = person.login
        if login.life < self._config.minimum_life:
            # Asking the hub who the caller is makes it look whether the login is to be renewed.
            login = (await self._recognise(request, anew=True)).person.login
        if login.life < _LEAST:
            raise LoginRequiredError(
                "Your login at the identity provider has ended.", hint="Log in to the hub again."
            )
        return login

    async def _exchanged(self, request: Request, person: Person, audience: str) -> AccessToken:
        """A token for the audience.

        :raises LoginRequiredError: when the login has ended.
        """
        login = await self._login(request, person)
        try:
            return await self._exchange.exchange(login, audience)
        except LoginRequiredError:
            # The hub may have renewed it since it was asked last.
            renewed = (await self._recognise(request, anew=True)).person.login
            if renewed.value == login.value:
                raise
            return await self._exchange.exchange(renewed, audience)

    def _policy(self, caller: Caller, person: Person) -> tuple[str, tuple[str, ...]]:
        """The session policy of this user, and the VOs it is for.

        Of a server that others may enter it is for the server's VO alone.
        """
        roles = person.vo_roles
        if person.shared_vos:
            roles = {vo: held for vo, held in roles.items() if vo == person.server_vo}
        try:
            given = reachable(grants(self._vos, roles, caller.user), person.server_vo)
            if not given:
                raise ForbiddenError(
                    "You are in no virtual organisation that has storage here.",
                    hint="Ask for membership, then log in to the hub again.",
                )
            return session_policy(given), tuple(sorted({grant.vo for grant in given}))
        except StorageError as error:
            raise ForbiddenError(f"No S3 credentials can be made: {error}.") from error

    async def _assumed(
        self, request: Request, caller: Caller, person: Person, policy: str
    ) -> S3Credentials:
        s3 = self._config.s3
        if s3.mode == "web-identity":
            token = await self._exchanged(request, person, s3.audience)
            session = self._session(caller, policy, token)
            return await self._sts.with_web_identity(token.value, session)
        session = self._session(caller, policy, await self._login(request, person))
        assert s3.key_file is not None  # noqa: S101 - the configuration was checked
        keys = await asyncio.to_thread(read_keys, s3.key_file)
        if s3.mode == "static":
            return static_credentials(keys, session.duration)
        return await self._sts.with_keys(keys, s3.region, session)

    def _session(self, caller: Caller, policy: str, token: AccessToken) -> Session:
        """Not longer than the token it stands on; STS makes nothing shorter than its minimum."""
        duration = max(STS_MINIMUM, min(self._config.s3.duration, int(token.life)))
        return Session(caller.user, policy, duration)


def _key(*parts: str) -> str:
    """A cache key that holds no secret."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
