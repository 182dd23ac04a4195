"""Short-lived credentials on loopback, for everything that runs inside the user's server.

A second, loopback-only HTTP listener answers

- ``GET /v1/s3`` in the AWS container-credentials format, so that boto3, s3fs, GDAL, rclone,
  DuckDB and Spark refresh by themselves (``AWS_CONTAINER_CREDENTIALS_FULL_URI``), and
- ``GET /v1/token?audience=...`` with an access token for openEO or the catalogue,

both only to who can read the 0600 token file. It keeps nothing itself: credentials come from the
hub's broker through :class:`cscale_core.identity.tokens.BrokerTokens`, which holds them in memory
for a minute and asks for them once at a time. While others may enter the server the broker refuses,
and so does this endpoint (409).

The address outlives the server: the next one takes the same port and the same name of the token
file where it can, so that an application that runs on (Spark on this machine) is answered again.
The secret is new each time; it is read from the file at each question.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
from logging import Logger, getLogger
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from cscale_core.errors import CScaleError, InvalidInput, LoginRequired
from cscale_core.identity.tokens import CredentialSource
from cscale_core.site import Site
from cscale_server import problems

LOOPBACK = "127.0.0.1"


class NoBroker:
    """The source where the site has no broker: says so, retryably, instead of failing oddly."""

    async def token(self, audience: str) -> str:
        raise self._error(f"an access token for {audience}")

    async def s3_credentials(self) -> dict[str, Any]:
        raise self._error("S3 credentials")

    @staticmethod
    def _error(what: str) -> problems.NotConfigured:
        return problems.NotConfigured(
            f"This site has no credentials broker, so there is no way to get {what}.",
            hint="The operator sets broker_url in the site file; "
            "credentials of your own can be given in the environment.",
        )


class _LoopbackHandler(web.RequestHandler):
    """GET with the right ``Authorization``, or a problem in JSON."""

    def initialize(self, listener: LoopbackListener) -> None:
        self.listener = listener
        self.request_id = uuid4().hex

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    def prepare(self) -> None:
        if self.request.method != "GET":
            raise web.HTTPError(405)
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), self.listener.secret.encode()):
            raise LoginRequired(
                "The credentials endpoint needs the content of its token file.",
                hint="AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names the file.",
            )

    def log_exception(self, *exc_info: Any) -> None:
        error = exc_info[1]
        if isinstance(error, web.HTTPError | CScaleError):
            self.listener.tell(str(error))
        else:
            self.listener.log.error(
                "Credentials endpoint failed [%s]", self.request_id, exc_info=exc_info
            )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, CScaleError):
            self.set_status(problems.status_of(error))
            body = problems.problem(error, self.request_id)
        elif isinstance(error, web.HTTPError):
            body = problems.plain_problem(status_code, self._reason, self.request_id)
        else:
            body = problems.unexpected_problem(self.request_id)
        self.finish(json.dumps(body))


class _S3Handler(_LoopbackHandler):
    async def get(self) -> None:
        credentials = await self.listener.source.s3_credentials()
        self.listener.tell("")
        self.finish(json.dumps(credentials))


class _TokenHandler(_LoopbackHandler):
    async def get(self) -> None:
        audience = self.get_query_argument("audience", "")
        if not audience:
            raise InvalidInput("audience: name the service the token is for.")
        token = await self.listener.source.token(audience)
        self.finish(
            json.dumps({"access_token": token, "token_type": "Bearer", "audience": audience})
        )


class _UnknownHandler(_LoopbackHandler):
    def get(self) -> None:
        raise web.HTTPError(404)


class LoopbackListener:
    """The listener: :meth:`bind` when the extension loads, :meth:`start` on the event loop.

    :param source: where credentials come from.
    :param folder: a folder of this server for the token file; made with mode 0700.
    :param kept: file that remembers the port from one server to the next; None: any port.
    :param agreed: port and token file that what runs beside this server was told; None: free.
    """

    def __init__(
        self,
        source: CredentialSource,
        folder: Path,
        log: Logger | None = None,
        *,
        kept: Path | None = None,
        agreed: tuple[int, Path] | None = None,
    ) -> None:
        self.source = source
        self.log = log or getLogger(__name__)
        self.secret = secrets.token_urlsafe(32)
        self.port = 0
        self._agreed = agreed
        self._folder = agreed[1].parent if agreed else folder
        self._kept = None if agreed else kept
        self._trouble = ""
        self._sockets: list[socket.socket] = []
        self._server: HTTPServer | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def token_file(self) -> Path:
        """The file with the secret. Of two machines that share the folder each has its own."""
        if self._agreed:
            return self._agreed[1]
        return self._folder / f"loopback-{socket.gethostname()}-{self.port}.token"

    def bind(self) -> None:
        """Take a port, that of last time where it is free, and write the token file.

        Needs no event loop.
        """
        last = self._last_port()
        try:
            self._sockets = bind_sockets(last, LOOPBACK)
        except OSError as error:
            if self._agreed:
                raise OSError(
                    error.errno, f"Port {last}, which was agreed on for credentials, is taken"
                ) from error
            # Another server of this user has it, or a stranger.
            self._sockets = bind_sockets(0, LOOPBACK)
        self.port = self._sockets[0].getsockname()[1]
        if not last:
            self._keep_port()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        # Who has the port has the file: what is there is of a server that was killed.
        self.token_file.unlink(missing_ok=True)
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.secret)

    def _last_port(self) -> int:
        if self._agreed:
            return self._agreed[0]
        if self._kept is None:
            return 0
        try:
            port = int(self._kept.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0  # a first start, or a damaged file: any port will do
        return port if 1024 <= port <= 65535 else 0

    def _keep_port(self) -> None:
        if self._kept is None:
            return
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text(f"{self.port}\n", encoding="ascii")
        except OSError as error:
            self.log.warning("The credentials endpoint will have another port next time: %s", error)

    def tell(self, trouble: str) -> None:
        """Log a trouble once, however often SDKs try again; empty: it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                self.log.warning("Credentials endpoint: %s", trouble)
            else:
                self.log.info("Credentials endpoint: it works")

    async def start(self) -> None:
        """Begin to answer; questions that came since :meth:`bind` wait in the socket's queue."""
        arguments = {"listener": self}
        application = web.Application(
            [
                ("/v1/s3", _S3Handler, arguments),
                ("/v1/token", _TokenHandler, arguments),
                (".*", _UnknownHandler, arguments),
            ],
            log_function=lambda handler: None,
        )
        self._server = HTTPServer(application, max_body_size=1024, idle_connection_timeout=60)
        self._server.add_sockets(self._sockets)

    async def stop(self) -> None:
        """Close the port and remove the token file."""
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None
        for bound in self._sockets:
            bound.close()
        self._sockets = []
        self.token_file.unlink(missing_ok=True)

    def environment(self, site: Site) -> dict[str, str]:
        """Variables that lead SDKs in kernels, terminals and jobs here and to the site's S3."""
        endpoint = urlsplit(site.s3.endpoint)
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/v1/s3",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file),
            "CSCALE_TOKEN_URL": self.url,
            "AWS_ENDPOINT_URL_S3": site.s3.endpoint,
            "AWS_REGION": site.s3.region,
            "AWS_DEFAULT_REGION": site.s3.region,
            # GDAL's own names: host and port, and path-style addressing.
            "AWS_S3_ENDPOINT": endpoint.netloc + endpoint.path.rstrip("/"),
            "AWS_HTTPS": "NO" if endpoint.scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
