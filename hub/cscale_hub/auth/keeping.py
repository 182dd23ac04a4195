"""Keeps logins good while people are signed in: looks at membership, renews tokens, ends sessions.

JupyterHub asks for a look at most once per request, but for many requests at the same time; refresh
tokens are rotated, so the second use of one would end the session. Therefore one look at a time per
person, under a lock, with auth_state read inside it, and rotated tokens saved before the lock is
given back. An answer ``invalid_grant`` means a new login; an outage of the provider changes nothing
until the access token ends, and some time more, and a slow one does not keep anybody waiting.

JupyterHub takes the answer "login needed" only from browsers; a request with an API token goes on
as if nothing had happened (``auth_refresh_strict``, off by default since 6.1). Whoever has left
all accepted VOs, or whose session ended, therefore loses the hub groups and the kept tokens at
once: nothing that stands on them is given any more, whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cscale_core.identity.entitlements import VORule
from cscale_hub.auth.login import USERINFO, groups_of, new_login, with_userinfo
from cscale_hub.auth.oidc import TokenError
from cscale_hub.auth.provider import Provider, ProviderError, Refused
from cscale_hub.auth.renewal import OneAtATime, Outage
from cscale_hub.auth.telemetry import CHECKS, PAUSE, REVOCATIONS
from cscale_hub.vos import vo_names

# A look as recent as this counts as one of now.
_JUST_NOW = 5.0
# JupyterHub saves a login after a moment; one that is not saved by then was not let in after all.
_SAVING_SECONDS = 30.0
_LOGGED_OUT = "logged_out"


@dataclass(frozen=True, slots=True)
class Terms:
    """How logins are kept. Times in seconds."""

    rules: Sequence[VORule]
    scope: str
    ahead: float
    """Before the end of an access token at which it is renewed."""
    interval: float
    """Between two looks at a person's membership."""
    grace: float
    """After the end of an access token for which an outage of the provider is waited out."""
    longest_pause: float
    """For which a provider that does not answer is left alone at most."""
    patience: float
    """For which a request waits for the provider; the look itself goes on."""


class Keeper:
    """Keeps the logins of a hub's users, who are JupyterHub's ``User`` objects.

    :param log: a logger; it never gets a token.
    """

    def __init__(self, provider: Provider, terms: Terms, log: Any) -> None:
        self._provider = provider
        self._terms = terms
        self._log = log
        self._looks = OneAtATime()
        self._looked: dict[str, float] = {}
        self._unsaved: dict[str, tuple[float, str]] = {}
        self._late: set[str] = set()
        self._outage = Outage(terms.longest_pause)

    def logged_in(self, name: str, login: dict[str, Any]) -> None:
        """Somebody is let in with this login, which JupyterHub saves in a moment.

        The provider answered, and membership is known.
        """
        now = time.monotonic()
        self._looked[name] = now
        self._unsaved[name] = (now, login["access_token"])
        self._answered()

    async def look(self, user: Any, *, at_once: bool) -> bool:
        """Look at the membership again, and renew the access token, when it is time.

        Groups and tokens are saved here, under the lock. JupyterHub would save the auth_state it
        read some time before, and so put a spent refresh token in the place of a new one.

        :param at_once: look at the membership now, whenever that was done last.
        :returns: True when the session goes on, False when only a login helps.
        """
        try:
            # A look that keeps a request waiting does not keep the person's next ones waiting too.
            async with asyncio.timeout(0 if user.name in self._late else self._terms.patience):
                return await self._looks.run(
                    (user.name, at_once), lambda: self._look(user, at_once=at_once)
                )
        except TimeoutError:
            self._late.add(user.name)
            login = await user.get_auth_state()
            return bool(login) and self._kept(user, login, "no answer yet")

    async def _look(self, user: Any, *, at_once: bool) -> bool:
        try:
            async with self._looks.lock(user.name):
                return await self._looked_at(user, at_once=at_once)
        finally:
            self._late.discard(user.name)

    async def _looked_at(self, user: Any, *, at_once: bool) -> bool:
        login = await user.get_auth_state()
        if self._newer_login(user.name, login):
            return True
        began = time.monotonic()
        if not login or not login.get("sub"):
            return False
        age = began - self._looked.get(user.name, float("-inf"))
        due = bool(login.get("refresh_token")) and time.time() >= login.get(
            "renew_at", login["expires_at"] - self._terms.ahead
        )
        if not due and age < (_JUST_NOW if at_once else self._terms.interval):
            return True
        if self._outage.waiting:
            return self._kept(user, login, "it did not answer a moment ago")
        asked = "renewal" if due else "membership"
        try:
            current = await (self._renewed if due else self._seen)(user, login)
        except TokenError as error:
            self._log.error("The answer for %s cannot be believed: %s", user.name, error)
            CHECKS.labels(asked, "untrue").inc()
            return await self._end(user)
        except ProviderError as error:
            PAUSE.set(self._outage.failed(began))
            CHECKS.labels(asked, "unreachable").inc()
            return self._kept(user, login, error)
        self._answered()
        if user.name in self._unsaved:
            return True  # somebody logged in meanwhile
        if current is None:
            self._log.info("The session of %s at the provider has ended", user.name)
            CHECKS.labels(asked, "ended").inc()
            return await self._end(user)
        groups = groups_of(current, self._terms.rules)
        if not vo_names(groups):
            self._log.info("%s is in no accepted VO any more", user.name)
            CHECKS.labels(asked, "lost").inc()
            return await self._end(user)
        user.sync_groups(groups)
        self._looked[user.name] = time.monotonic()
        CHECKS.labels(asked, "done").inc()
        return True

    async def _seen(self, user: Any, login: dict[str, Any]) -> dict[str, Any] | None:
        """The login with fresh userinfo, saved; None when the session at the provider is over."""
        try:
            userinfo = await self._provider.userinfo(login["access_token"], login["sub"])
        except Refused as refused:
            if refused.status in (401, 403):
                return await self._renewed(user, login)
            raise
        return await self._save(user, with_userinfo(login, userinfo), login)

    async def _renewed(self, user: Any, login: dict[str, Any]) -> dict[str, Any] | None:
        """The login with new tokens, saved; None when the provider refuses the refresh token.

        :raises ProviderError: when the provider is out of reach.
        :raises TokenError: when its answer cannot be believed.
        """
        refresh_token = login.get("refresh_token")
        if not refresh_token:
            return None
        try:
            tokens = await self._provider.renew(refresh_token, self._terms.scope)
        except Refused as refused:
            if refused.error == "invalid_grant":
                return None
            raise
        tokens = {
            **tokens,
            # Not every answer brings new ones; then the old ones stay good.
            "refresh_token": tokens.get("refresh_token") or refresh_token,
            "id_token": tokens.get("id_token") or login.get("id_token"),
        }
        await self._check_id_token(tokens, login)
        # Saved before anything else is asked: the old refresh token is worth nothing any more.
        current = await self._save(
            user,
            {
                **new_login(tokens, login["sub"], login[USERINFO], self._terms.ahead),
                **({_LOGGED_OUT: True} if login.get(_LOGGED_OUT) else {}),
            },
            login,
        )
        try:
            userinfo = await self._provider.userinfo(current["access_token"], current["sub"])
        except ProviderError as error:
            self._log.warning("No userinfo after renewal, the last one is kept: %s", error)
            return current
        return await self._save(user, with_userinfo(current, userinfo), current)

    async def _check_id_token(self, tokens: dict[str, Any], login: dict[str, Any]) -> None:
        """A renewed ID token is true and about the same person.

        :raises TokenError: when it is not.
        """
        if tokens["id_token"] == login.get("id_token"):
            return
        try:
            claims = await self._provider.claims(tokens, None)
        except ProviderError as error:
            # Its key could not be had; the rotated refresh token must not be lost for that.
            self._log.warning("The renewed ID token is not kept: %s", error)
            tokens["id_token"] = login.get("id_token")
            return
        if claims["sub"] != login["sub"]:
            raise TokenError("the renewed ID token is about another person")

    async def _save(self, user: Any, new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        """Save a login that changed, unless somebody logged in meanwhile."""
        if new != old and user.name not in self._unsaved:
            await user.save_auth_state(new)
        return new

    def _newer_login(self, name: str, login: dict[str, Any] | None) -> bool:
        """Whether there is a newer login than this one, which is not saved yet."""
        since, token = self._unsaved.get(name, (float("-inf"), ""))
        waits = time.monotonic() - since < _SAVING_SECONDS
        if waits and (login or {}).get("access_token") != token:
            return True
        self._unsaved.pop(name, None)
        return False

    def _answered(self) -> None:
        self._outage.over()
        PAUSE.set(0)

    def _kept(self, user: Any, login: dict[str, Any], why: object) -> bool:
        """Whether the session outlasts an outage of the provider."""
        kept = time.time() < login["expires_at"] + self._terms.grace
        self._log.warning(
            "%s is out of reach, %s %s: %s",
            self._provider.issuer,
            user.name,
            "stays" if kept else "has to log in",
            why,
        )
        return bool(kept)

    async def _end(self, user: Any) -> bool:
        """Take away groups and tokens, unless somebody logged in meanwhile.

        :returns: whether somebody did.
        """
        login = await user.get_auth_state()
        if user.name in self._unsaved:
            return True
        await self._forget(user)
        if login:
            await self.revoke(login)
        return False

    async def _forget(self, user: Any) -> None:
        self._looked.pop(user.name, None)
        self._unsaved.pop(user.name, None)
        user.sync_groups([])
        await user.save_auth_state(None)

    async def logged_out(self, user: Any) -> None:
        """End the login at the provider; as long as a server of the user runs, not yet.

        What runs there needs short-lived keys to the end. The login ends with the last server.
        """
        await self._patiently(user, "logged out", lambda: self._log_out(user))

    async def server_stopped(self, user: Any, spawner: Any) -> None:
        """End the login of somebody who logged out while this server, the last one, ran."""
        if not _running(user, but=spawner):
            await self._patiently(user, "stopped", lambda: self._last_stopped(user))

    async def _patiently(self, user: Any, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for work, but not long; it goes on."""
        try:
            async with asyncio.timeout(self._terms.patience):
                await self._looks.run((user.name, what), work)
        except TimeoutError:
            self._log.warning("%s %s; the provider is told when it answers", user.name, what)

    async def _log_out(self, user: Any) -> None:
        async with self._looks.lock(user.name):
            login = await user.get_auth_state()
            if not login:
                return
            if _running(user):
                self._log.info("%s logged out; the login ends with the last server", user.name)
                await user.save_auth_state({**login, _LOGGED_OUT: True})
                return
            await self._forget(user)
        await self.revoke(login)

    async def _last_stopped(self, user: Any) -> None:
        async with self._looks.lock(user.name):
            login = await user.get_auth_state()
            if not login or not login.get(_LOGGED_OUT):
                return
            await self._forget(user)
        await self.revoke(login)

    async def revoke(self, login: dict[str, Any]) -> None:
        """Have the provider end the session of a login; a failure is only told."""
        kind = "refresh_token" if login.get("refresh_token") else "access_token"
        try:
            done = await self._provider.revoke(kind, login[kind])
        except ProviderError as error:
            self._log.warning("A login could not be ended at the provider: %s", error)
            REVOCATIONS.labels("unreachable").inc()
            return
        if done:
            REVOCATIONS.labels("done").inc()


def _running(user: Any, but: Any = None) -> bool:
    return any(spawner.active for spawner in user.spawners.values() if spawner is not but)
