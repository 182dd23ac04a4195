"""The door to one provider: requests with the login that is meant for it, and for nobody else."""

from __future__ import annotations

import asyncio
import base64
import netrc
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from cscale_core.errors import UpstreamError
from cscale_core.http import Answer, Egress, fetch, origin
from cscale_core.identity.tokens import TokenSource
from cscale_core.providers import Provider

_CONNECT = 10.0


class Door:
    """Asks one provider, under the guard of :mod:`cscale_core.http`.

    :param tokens: for providers with ``auth: bearer``; None where there are none.
    :param egress: where the provider, its links and its redirects may lead.
    """

    def __init__(
        self,
        provider: Provider,
        http: httpx.AsyncClient,
        egress: Egress,
        tokens: TokenSource | None,
    ) -> None:
        self.provider = provider
        self._http = http
        self._egress = egress
        self._tokens = tokens

    async def ask(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; the login goes along to the provider's own origin only.

        :raises Forbidden: when the address may not be asked.
        :raises UpstreamError: when nothing answers, or a login is needed and there is none.
        """
        sent = dict(headers or {})
        if origin(url) == origin(self.provider.url) and (login := await self._login()):
            sent["Authorization"] = login
        return await fetch(
            self._http,
            self._egress,
            method,
            url,
            body=body,
            params=params,
            headers=sent,
            timeout=httpx.Timeout(self.provider.deadline, connect=_CONNECT),
        )

    async def _login(self) -> str:
        provider = self.provider
        if provider.auth == "bearer":
            if self._tokens is None:
                raise UpstreamError(f"{provider.title} needs a login, and there is none here.")
            return f"Bearer {await self._tokens.token(provider.audience or provider.id)}"
        if provider.auth == "basic":
            return await asyncio.to_thread(_basic, provider)
        return ""


def _basic(provider: Provider) -> str:
    """The user's name and password for a provider's host, from ``~/.netrc``.

    The file's ``default`` entry is not taken: who writes the registry chooses the host.
    """
    host = urlsplit(provider.url).hostname or ""
    try:
        known = netrc.netrc().hosts.get(host)
    except FileNotFoundError:
        known = None
    except (netrc.NetrcParseError, OSError) as error:
        raise UpstreamError(f"The login for {provider.title} cannot be read: {error}") from error
    if known is None:
        raise UpstreamError(
            f"{provider.title} needs a user name and a password.",
            hint=f"Write them to ~/.netrc: machine {host} login NAME password PASSWORD.",
        )
    pair = f"{known[0]}:{known[2] or ''}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
