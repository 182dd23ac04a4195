"""The Kubernetes API, asked with the login of the pod or of a kubeconfig, errors in our words.

kubernetes_asyncio finds the login (service account, kubeconfig, exec plugins) and renews it; what
is asked and answered are plain JSON objects. Loading it takes a second, so it is loaded in a thread
when the cluster is first asked.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import aiohttp

from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)

#: Seconds for an answer; for the next line of a stream.
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 90.0
_LARGEST_LINE = 16 * 1024 * 1024


class Expired(CScaleError):
    """What was to be watched from is too long ago: list anew (410)."""

    code = "expired"


class QuotaExceeded(CScaleError):
    """The namespace has no room left for it."""

    code = "quota_exceeded"


def refusal(status: int, body: bytes, what: str, headers: Mapping[str, str]) -> CScaleError:
    """The error behind an answer that is none (a ``Status`` object, or a proxy's page)."""
    try:
        said = json.loads(body)
        message, reason = str(said.get("message", "")), str(said.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = "", ""
    details: dict[str, Any] = {"status": status, "reason": reason}
    told = f"{what}: {message[:500]}" if message else f"{what}: the cluster answered {status}."
    if status == 401:
        return LoginRequired(
            f"{what}: the cluster does not accept the login of your server.",
            hint="Restart your server; if that does not help, tell the operator.",
            **details,
        )
    if status == 403 and "exceeded quota" in message:
        return QuotaExceeded(
            told, hint="Wait until other applications have ended.", retryable=True, **details
        )
    if status == 403:
        return Forbidden(
            told,
            hint="The role of your server in the cluster lacks this: tell the operator.",
            **details,
        )
    if status == 404:
        return NotFound(told, **details)
    if status == 409:
        return Conflict(told, **details)
    if status == 410:
        return Expired(told, retryable=True, **details)
    if status in (400, 422):
        return InvalidInput(told, **details)
    if headers.get("Retry-After", "").isdigit():
        details["retry_after"] = int(headers["Retry-After"])
    return UpstreamError(told, retryable=status == 429 or status >= 500, **details)


class Kubernetes:
    """One cluster; used on one event loop.

    :param kubeconfig: file of its address and login; empty: the pod's, else kubectl's own.
    """

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._api: Any = None
        self._connecting = asyncio.Lock()

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._api is None:
                self._api = await self._connect()
            return self._api

    async def _connect(self) -> Any:
        def load() -> Any:
            import kubernetes_asyncio.client
            import kubernetes_asyncio.config

            return kubernetes_asyncio

        try:
            library = await asyncio.to_thread(load)
        except ImportError as error:
            raise UpstreamError(
                "Your server cannot talk to Kubernetes.",
                hint="The operator installs cscale-hub[spark-kubernetes] in it.",
            ) from error
        configuration = library.client.Configuration()
        try:
            if not self._kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
                library.config.load_incluster_config(client_configuration=configuration)
            else:
                await library.config.load_kube_config(
                    config_file=self._kubeconfig or None,
                    context=self._context or None,
                    client_configuration=configuration,
                )
        except (library.config.ConfigException, OSError) as error:
            raise UpstreamError(
                f"The login for the cluster cannot be read: {error}",
                hint="It is the pod's service account, or the kubeconfig that the site names.",
            ) from error
        return library.client.ApiClient(configuration)

    async def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        api, self._api = self._api, None
        if api is not None:
            await api.close()

    async def _send(
        self,
        method: str,
        path: str,
        what: str,
        query: Iterable[tuple[str, Any]],
        body: Any,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """The answer, when it is one; a refused login is renewed once."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        for attempt in (1, 2):
            api = await self._connected()
            try:
                response: aiohttp.ClientResponse = await api.call_api(
                    path,
                    method,
                    query_params=list(query),
                    header_params={"Accept": "application/json, */*", "Content-Type": kind},
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _request_timeout=timeout,
                )
                if response.status < 300:
                    return response
                answer = await response.read()
            except TimeoutError as error:
                raise UpstreamTimeout(
                    f"{what}: the cluster did not answer in time.", retryable=True
                ) from error
            except (aiohttp.ClientError, OSError) as error:
                raise UpstreamError(
                    f"{what}: the cluster cannot be reached.",
                    retryable=True,
                    reason=type(error).__name__,
                ) from error
            if response.status == 401 and attempt == 1:
                # Its token ended: one that is read anew may serve.
                if self._api is api:
                    await self.close()
                continue
            raise refusal(response.status, answer, what, response.headers)
        raise AssertionError  # the second attempt returns or raises

    async def request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Iterable[tuple[str, Any]] = (),
        body: Any = None,
    ) -> Any:
        """The JSON of an answer.

        :param what: names the act, for errors.
        :raises CScaleError: NotFound, Conflict, Forbidden, LoginRequired, … as the cluster says.
        """
        data = await self._read(method, path, what, query, body)
        try:
            return json.loads(data)
        except ValueError as error:
            raise UpstreamError(f"{what}: the answer is no JSON.", retryable=True) from error

    async def text(self, path: str, what: str, *, query: Iterable[tuple[str, Any]] = ()) -> bytes:
        """An answer that is no JSON (a log)."""
        return await self._read("GET", path, what, query, None)

    async def _read(
        self, method: str, path: str, what: str, query: Iterable[tuple[str, Any]], body: Any
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        response = await self._send(method, path, what, query, body, timeout)
        try:
            return await response.read()
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"{what}: the answer did not come in time.", retryable=True
            ) from error
        except aiohttp.ClientError as error:
            raise UpstreamError(f"{what}: the answer broke off.", retryable=True) from error

    async def stream(
        self, path: str, what: str, *, query: Iterable[tuple[str, Any]]
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a watch, until the cluster ends it.

        :raises CScaleError: as :meth:`request`; also when nothing comes for too long.
        """
        timeout = aiohttp.ClientTimeout(
            sock_connect=ANSWER_SECONDS, sock_read=SILENCE_SECONDS, total=None
        )
        response = await self._send("GET", path, what, query, None, timeout)
        try:
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
                if len(rest) > _LARGEST_LINE:
                    raise UpstreamError(f"{what}: an object is too large.")
        except TimeoutError as error:
            raise UpstreamTimeout(f"{what}: nothing came for long.", retryable=True) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamError(f"{what}: the stream broke off.", retryable=True) from error
        finally:
            response.close()
