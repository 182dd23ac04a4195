"""The Flask application: routes, discovery, and the rules that hold for every request."""

from __future__ import annotations

import logging
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from cscale_hub.local.issuer.clients import load_clients
from cscale_hub.local.issuer.config import (
    DEVICE_CODE_GRANT,
    SCOPES,
    TOKEN_EXCHANGE_GRANT,
    IssuerConfig,
)
from cscale_hub.local.issuer.endpoints import Server, create_server
from cscale_hub.local.issuer.files import make_private_dir
from cscale_hub.local.issuer.grants import Services
from cscale_hub.local.issuer.keys import KeyRing
from cscale_hub.local.issuer.pages import Pages
from cscale_hub.local.issuer.protection import FormTokens
from cscale_hub.local.issuer.store import Store
from cscale_hub.local.issuer.tokens import TokenFactory
from cscale_hub.local.issuer.users import UserDirectory

log = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

MAX_BODY_BYTES = 64 * 1024

BODY_ONLY = frozenset({"token", "introspect", "revoke", "device_authorization"})
"""Endpoints whose parameters must be in the body: queries end up in logs (RFC 6749, 3.2)."""

FAULT_NAMES = {
    "openid.discovery": "discovery",
    "openid.certs": "certs",
    "openid.device_authorization": "device",
    "openid.token": "token",
    "openid.userinfo": "userinfo",
    "openid.introspect": "introspect",
    "openid.revoke": "revoke",
    "pages.auth": "auth",
    "pages.logout": "logout",
}


def discovery_document(config: IssuerConfig) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0, section 3, with the endpoints named as at Check-in."""
    auth_methods = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": config.issuer,
        "authorization_endpoint": config.endpoint("auth"),
        "token_endpoint": config.endpoint("token"),
        "device_authorization_endpoint": config.endpoint("auth/device"),
        "jwks_uri": config.endpoint("certs"),
        "userinfo_endpoint": config.endpoint("userinfo"),
        "introspection_endpoint": config.endpoint("token/introspect"),
        "revocation_endpoint": config.endpoint("revoke"),
        "end_session_endpoint": config.endpoint("logout"),
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            DEVICE_CODE_GRANT,
            TOKEN_EXCHANGE_GRANT,
        ],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": [*auth_methods, "none"],
        "introspection_endpoint_auth_methods_supported": auth_methods,
        "revocation_endpoint_auth_methods_supported": [*auth_methods, "none"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "name",
            "preferred_username",
            "email",
            "email_verified",
            "voperson_id",
            "eduperson_entitlement",
        ],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }


def create_app(config: IssuerConfig) -> Flask:
    """The application for validated settings; makes ``data_dir``, keys and database if absent.

    :raises ConfigError: a client's secret cannot be read.
    :raises UsersError: the users file cannot be used.
    """
    make_private_dir(config.data_dir)
    store = Store(config.data_dir)
    keys = KeyRing(config.data_dir)
    users = UserDirectory(config.users_file)
    tokens = TokenFactory(config, keys, store, users)
    services = Services(config, store, users, tokens, load_clients(config.clients))

    app = Flask(
        __name__,
        static_url_path=f"{config.realm_path}/static",
        template_folder="templates",
        static_folder="static",
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_refuse_foreign_host)
    app.before_request(_Faults(config))
    app.before_request(_check_parameters)
    app.after_request(_protect_and_log)
    app.register_error_handler(Exception, _server_error)

    server = create_server(app, services, keys)
    app.register_blueprint(_openid(config, server, keys), url_prefix=config.realm_path)
    app.register_blueprint(
        Pages(server, FormTokens(config.data_dir)).blueprint(), url_prefix=config.realm_path
    )
    app.add_url_rule("/healthz", "healthz", _healthz)
    app.add_url_rule(f"{config.realm_path}/healthz", "realm_healthz", _healthz)
    return app


def _openid(config: IssuerConfig, server: Server, keys: KeyRing) -> Blueprint:
    """The endpoints that programs call."""
    openid = Blueprint("openid", __name__)
    base = "/protocol/openid-connect"
    store = server.services.store

    def discovery() -> Response:
        return jsonify(discovery_document(config))

    def certs() -> Response:
        return jsonify(keys.published())

    def token() -> Response:
        store.prune()
        return cast("Response", server.create_token_response())

    def userinfo() -> Response:
        return cast("Response", server.create_endpoint_response("userinfo"))

    def introspect() -> Response:
        return cast("Response", server.create_endpoint_response("introspection"))

    def revoke() -> Response:
        return cast("Response", server.create_endpoint_response("revocation"))

    def device_authorization() -> Response:
        return cast("Response", server.create_endpoint_response("device_authorization"))

    for path, view, methods in (
        ("/.well-known/openid-configuration", discovery, ["GET"]),
        (f"{base}/certs", certs, ["GET"]),
        (f"{base}/token", token, ["POST"]),
        (f"{base}/userinfo", userinfo, ["GET", "POST"]),
        (f"{base}/token/introspect", introspect, ["POST"]),
        (f"{base}/revoke", revoke, ["POST"]),
        (f"{base}/auth/device", device_authorization, ["POST"]),
    ):
        openid.add_url_rule(path, view.__name__, view, methods=methods)
    return openid


def _healthz() -> Response:
    return jsonify(status="ok")


def _oauth_error(status: int, error: str, description: str) -> Response:
    response = jsonify(error=error, error_description=description)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _refuse_foreign_host() -> Response | None:
    """Refuse names other than loopback's: a web page may have its own name resolve to us."""
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        name = None
    if name in LOOPBACK_NAMES:
        return None
    return _oauth_error(421, "invalid_request", "This server answers on loopback names only.")


class _Faults:
    """Answers with the configured status, so that tests can have an outage."""

    def __init__(self, config: IssuerConfig) -> None:
        self._faults = config.faults

    def __call__(self) -> Response | None:
        name = FAULT_NAMES.get(request.endpoint or "")
        status = next((code for fault, code in self._faults.items() if fault == name), None)
        if status is None:
            return None
        return _oauth_error(status, "temporarily_unavailable", "A fault is configured here.")


def _check_parameters() -> Response | None:
    """Refuse doubled parameters and parameters in the query (RFC 6749, section 3.2)."""
    if (request.endpoint or "").removeprefix("openid.") not in BODY_ONLY:
        return None
    if request.args:
        return _oauth_error(400, "invalid_request", "Parameters belong in the request body.")
    doubled = [name for name, values in request.form.lists() if len(values) > 1]
    if doubled:
        return _oauth_error(400, "invalid_request", "A parameter is given more than once.")
    return None


def _protect_and_log(response: Response) -> Response:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Frame-Options"] = "DENY"
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    if request.endpoint != "static":
        headers["Cache-Control"] = "no-store"
    if not request.path.endswith("/healthz"):
        # Never the query: authorization responses and requests carry secrets in it.
        log.info("%s %s %d", request.method, request.path, response.status_code)
    return response


def _server_error(error: Exception) -> Response | HTTPException:
    if isinstance(error, HTTPException):
        return error
    log.exception("%s %s failed", request.method, request.path)
    return _oauth_error(500, "server_error", "The identity provider failed; see its log.")
