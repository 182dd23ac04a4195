"""The issuer of the local federation in this process, with switches for what can go wrong.

What it signs and how it rotates refresh tokens is the issuer's own code, which ends a session whose
refresh token is used twice; only outages, delays and forgeries are put in between.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import httpx
import jwt

from cscale_hub.local.issuer.app import create_app
from cscale_hub.local.issuer.config import IssuerConfig
from cscale_hub.local.issuer.demo import demo_clients, write_demo_users
from cscale_hub.local.issuer.files import write_private
from cscale_hub.local.issuer.keys import KeyRing
from cscale_hub.local.issuer.users import USER_LIST, read_users

MEMBER = "urn:mace:egi.eu:group:{}:role=member#aai.egi.eu"

Claims = dict[str, Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """The issuer has a log of its own."""


class SwitchedIssuer:
    """A running issuer. Endpoints go by the last part of their path."""

    def __init__(self, folder: Path, port: int, hub_url: str) -> None:
        self.data_dir = folder / "issuer"
        self.users_file = self.data_dir / "users.json"
        self.secrets_dir = folder / "secrets"
        self.passwords = write_demo_users(self.users_file, self.secrets_dir)
        self._accounts = self.users_file.read_bytes()
        self.config = IssuerConfig(
            port=port,
            data_dir=self.data_dir,
            users_file=self.users_file,
            clients=demo_clients(self.secrets_dir, hub_url),
        )
        self._app = create_app(self.config)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.reset()

    def reset(self) -> None:
        """Every switch off, the accounts as they were."""
        self.status: dict[str, int] = {}
        self.life: int | None = None
        self.forge: Callable[[Claims], str] | None = None
        self.userinfo: Callable[[Claims], Claims] | None = None
        self._held: dict[str, threading.Event] = {}
        self.waiting = 0
        write_private(self.users_file, self._accounts)

    # Switches

    def start(self) -> None:
        """Listen, again if need be."""
        self._server = _Server(("127.0.0.1", self.config.port), _Quiet)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="issuer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """No network: nothing listens any more."""
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=30)

    @contextmanager
    def holding(self, endpoint: str) -> Iterator[None]:
        """Slow: this endpoint answers when the block is over."""
        event = self._held[endpoint] = threading.Event()
        try:
            yield
        finally:
            del self._held[endpoint]
            event.set()

    def rotate_keys(self) -> None:
        KeyRing(self.data_dir).rotate(self.config.access_token_seconds)

    def grant(self, username: str, *entitlements: str) -> None:
        """These are all entitlements the person has from now on."""
        users = tuple(
            user.model_copy(update={"entitlements": entitlements})
            if user.username == username
            else user
            for user in read_users(self.users_file)
        )
        write_private(self.users_file, USER_LIST.dump_json(users))

    def end_session(self, refresh_token: str) -> None:
        """As if the person had ended it at the provider; renewal is then ``invalid_grant``."""
        self._call("revoke", refresh_token).raise_for_status()

    # What a test asks

    def in_force(self, token: str) -> bool:
        return bool(self._call("token/introspect", token).json()["active"])

    def subject(self, username: str) -> str:
        return next(u.subject for u in read_users(self.users_file) if u.username == username)

    def renewals(self) -> int:
        """Renewals that were asked for so far."""
        return sum(form.get("grant_type") == "refresh_token" for _, form in self.asked)

    def _call(self, endpoint: str, token: str) -> httpx.Response:
        secret = (self.secrets_dir / "oidc-cscale-hub").read_text()
        return httpx.post(
            self.config.endpoint(endpoint),
            data={"token": token},
            auth=httpx.BasicAuth("cscale-hub", secret),
            timeout=60,
            trust_env=False,
        )

    # Forgeries: each takes the true claims and gives a token

    def signed(self, claims: Claims, *, kid: str = "", key: Any = None) -> str:
        own = KeyRing(self.data_dir).signing_key()
        pem = key or own.as_pem(private=True)
        return jwt.encode(claims, pem, "RS256", {"kid": kid or str(own.kid)})

    def unsigned(self, claims: Claims) -> str:
        return _joined({"alg": "none", "kid": self._kid()}, claims) + "."

    def signed_with_the_public_key(self, claims: Claims) -> str:
        """The classic confusion: the public key as the shared secret of HS256."""
        public = KeyRing(self.data_dir).signing_key().as_pem(private=False)
        content = _joined({"alg": "HS256", "kid": self._kid()}, claims)
        mac = hmac.new(public, content.encode(), hashlib.sha256).digest()
        return f"{content}.{_encoded(mac)}"

    def _kid(self) -> str:
        return str(KeyRing(self.data_dir).signing_key().kid)

    # The switches at work

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        endpoint = environ["PATH_INFO"].rsplit("/", 1)[-1]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        form = dict(parse_qsl(body.decode("latin-1")))
        self.asked.append((endpoint, form or dict(parse_qsl(environ["QUERY_STRING"]))))
        if (held := self._held.get(endpoint)) is not None:
            self.waiting += 1
            held.wait(timeout=120)
        status = self.status.get(endpoint, self.status.get("*"))
        if status is not None:
            start_response(f"{status} Switched", [("Content-Type", "text/plain")])
            return [b"switched off"]
        said: list[Any] = []
        content = b"".join(self._app(environ, lambda *answer: said.extend(answer)))
        if said[0].startswith("200") and endpoint in ("token", "userinfo"):
            content = json.dumps(self._changed(endpoint, json.loads(content))).encode()
        headers = [(name, value) for name, value in said[1] if name != "Content-Length"]
        start_response(said[0], [*headers, ("Content-Length", str(len(content)))])
        return [content]

    def _changed(self, endpoint: str, answer: dict[str, Any]) -> dict[str, Any]:
        if endpoint == "userinfo":
            return self.userinfo(answer) if self.userinfo else answer
        if self.life is not None:
            answer["expires_in"] = self.life
        if self.forge is not None and "id_token" in answer:
            claims = jwt.decode(answer["id_token"], options={"verify_signature": False})
            answer["id_token"] = self.forge(claims)
        return answer


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _joined(header: dict[str, str], claims: Claims) -> str:
    return ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
