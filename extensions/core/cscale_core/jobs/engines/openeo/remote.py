"""One openEO back end: its connection by the official client, made at first use, and its limits.

The client blocks, so each back end has a few threads of its own; one that hangs does not hold up
the others. Retries of the client are off: who asks decides when to ask again.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cscale_core import __version__
from cscale_core.backends import OpenEOBackend
from cscale_core.errors import LoginRequired, UpstreamError
from cscale_core.identity.tokens import TokenSource
from cscale_core.jobs.engines.openeo.codes import RENEWABLE
from cscale_core.jobs.engines.openeo.failures import code_of, translated
from cscale_core.jobs.engines.openeo.login import Login, NoLogin, login_for
from cscale_core.jobs.polling import Limiter, Pace, Places

THREADS = 4
REQUEST_SECONDS = 60
#: Requests a second that users' acts and the ends of jobs may cost; watching waits for them.
ACT_RATE = 5.0
ACT_BURST = 20.0

_T = TypeVar("_T")


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Remote:
    """Calls at one back end.

    :ivar watching: limits what is asked without anybody having acted.
    :ivar acting: limits what users and the ends of jobs ask for.
    :ivar places: jobs that wait for a free place there.
    :ivar encouraged: is set when somebody has logged in, and is then another one.
    """

    def __init__(self, backend: OpenEOBackend, tokens: TokenSource, pace: Pace) -> None:
        self.backend = backend
        self.watching = Limiter(pace.filling, pace.burst)
        act_rate, act_burst = max(ACT_RATE, pace.rate), max(ACT_BURST, pace.burst)
        self.acting = Limiter(act_rate, act_burst, beside=self.watching)
        self.places = Places()
        self.encouraged = asyncio.Event()
        self._tokens = tokens
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"openeo-{backend.id}")
        self._connection: Any = None
        self._capabilities: Any = None
        self._login: Login | None = None
        self._renewals = 0
        self._look_for_login = False
        self._lock = threading.Lock()

    async def act(self, ask: Callable[[Any], _T]) -> _T:
        """Run ``ask(connection)`` for a user or the end of a job; errors as :meth:`call`."""
        await self.acting.turn()
        return await self.call(ask)

    async def call(self, ask: Callable[[Any], _T]) -> _T:
        """Run ``ask(connection)`` in a thread; a refused login is renewed once.

        :raises CScaleError: for whatever went wrong.
        """
        renewals = self._renewals
        try:
            return await self._once(ask)
        except LoginRequired as error:
            absent = isinstance(self._login, NoLogin)
            if self._login is None or not (absent or code_of(error) in RENEWABLE):
                raise
            # Of several requests refused together the first one renews.
            if renewals == self._renewals:
                self._renewals += 1
                # Where there was none, the user may have logged in meanwhile (openeo-auth).
                self._look_for_login = absent
                self._login.renew()
            return await self._once(ask)

    def use(self, login: Login) -> None:
        """Log in so from now on; on the event loop, after a first request."""
        self._renewals += 1
        self._look_for_login = False
        self._login = login
        self._connection.auth = login

    async def _once(self, ask: Callable[[Any], _T]) -> _T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, functools.partial(self._do, ask, loop))
        except Exception as error:
            raise translated(error, self.backend) from error

    def _do(self, ask: Callable[[Any], _T], loop: asyncio.AbstractEventLoop) -> _T:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(loop)
            elif self._look_for_login:
                self._log_in(self._connection, loop)
            self._look_for_login = False
        return ask(self._connection)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        # Half a second and 28 MB: only where openEO is used.
        import openeo
        import requests

        session = requests.Session()
        # No proxy stands between this machine and itself.
        session.trust_env = not is_loopback(self.backend.url)
        connection = openeo.connect(
            self.backend.url, session=session, default_timeout=REQUEST_SECONDS, auto_validate=False
        )
        self._check_discovered(connection.root_url)
        # Who asks: a back end's operator may want to know.
        agent = f"cscale/{__version__} {connection.default_headers['User-Agent']}"
        connection.default_headers["User-Agent"] = agent
        self._capabilities = connection.capabilities()
        self._log_in(connection, loop)
        return connection

    def _log_in(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        before = self._login
        found = login_for(connection, self._capabilities, self.backend, self._tokens, loop)
        # Looking for a login takes a while, in which the user may have logged in (:meth:`use`).
        if self._login is before:
            self._login = found
        connection.auth = self._login

    def _check_discovered(self, url: str) -> None:
        """A back end's own list of versions must not lead a token off https."""
        if self.backend.url.startswith("https:") and not url.startswith("https:"):
            raise UpstreamError(
                f"{self.backend.title} names an address without https for its API: {url}",
                hint="Tell the operator; nothing was sent there.",
            )

    def close(self) -> None:
        """Give back the threads; a request under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
