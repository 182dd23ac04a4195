"""The pages people see: login, consent, device code, logout, and errors.

Plain HTML that works without scripts. Every form carries a token against forgery, and no page
may be framed.
"""

from __future__ import annotations

import logging
import time
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from flask import Blueprint, Response, g, make_response, redirect, render_template, request

from cscale_hub.local.issuer.clients import Client
from cscale_hub.local.issuer.endpoints import Server
from cscale_hub.local.issuer.protection import FormTokens, GuessLimiter
from cscale_hub.local.issuer.store import DeviceCode, Session
from cscale_hub.local.issuer.users import User

log = logging.getLogger(__name__)

SCOPE_TEXTS = {
    "openid": "the identifier of your account",
    "profile": "your name and user name",
    "email": "your e-mail address",
    "voperson_id": "your community identifier",
    "eduperson_entitlement": "the virtual organisations and roles you belong to",
    "offline_access": "access while you are away, until you end it",
}

FORM_FIELDS = frozenset({"username", "password", "form_token", "action"})
"""The fields of our own forms; everything else belongs to the client's request."""

ONE_OF_EACH = ("client_id", "redirect_uri", "response_type", "scope", "state")


class PageError(Exception):
    """A request that can be answered by nothing but an error page."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Pages:
    """The interactive part of the issuer as Flask views."""

    def __init__(self, server: Server, forms: FormTokens) -> None:
        self._server = server
        self._services = server.services
        self._config = server.services.config
        self._forms = forms
        limit = self._config.login_failures_per_minute
        self._logins = GuessLimiter(limit)
        self._user_codes = GuessLimiter(limit)
        # Cookies are shared by all ports of a host, so the port is part of their names.
        self._session_cookie = f"cscale-issuer-session-{self._config.port}"
        self._form_cookie = f"cscale-issuer-form-{self._config.port}"

    def blueprint(self) -> Blueprint:
        """The routes, below the realm path."""
        pages = Blueprint("pages", __name__)
        pages.before_request(self._load_session)
        pages.register_error_handler(PageError, self._show_error)
        openid = "/protocol/openid-connect"
        pages.add_url_rule(f"{openid}/auth", "auth", self.auth, methods=["GET", "POST"])
        pages.add_url_rule(
            "/login-actions/authenticate", "authenticate", self.authenticate, methods=["POST"]
        )
        pages.add_url_rule("/login-actions/consent", "consent", self.consent, methods=["POST"])
        pages.add_url_rule(f"{openid}/logout", "logout", self.logout, methods=["GET", "POST"])
        pages.add_url_rule("/device", "device", self.device, methods=["GET", "POST"])
        return pages

    # What all pages share

    def _load_session(self) -> None:
        cookie = request.cookies.get(self._session_cookie)
        session = self._services.store.session(cookie) if cookie else None
        user = self._services.users.by_subject(session.subject) if session else None
        g.session = session if user else None
        g.user = user

    def _show_error(self, error: PageError) -> tuple[Response, int]:
        return self._page("error.html", message=error.message), error.status

    def _page(self, template: str, *, form_origin: str = "", **context: Any) -> Response:
        """Render a page, with a form token and the headers that protect it.

        :param form_origin: where a form's answer redirects to; browsers hold redirects against
            the form-action directive as well.
        """
        cookie = request.cookies.get(self._form_cookie, "")
        fresh = not cookie
        if fresh:
            cookie = self._forms.new_cookie()
        response = make_response(
            render_template(
                template,
                base=self._config.realm_path,
                form_token=self._forms.token(cookie),
                user=g.user,
                **context,
            )
        )
        if fresh:
            self._set_cookie(response, self._form_cookie, cookie)
        actions = " ".join(["'self'", *([form_origin] if form_origin else [])])
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action {actions}"
        )
        return response

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        # No Secure flag: the server speaks plain HTTP on loopback only.
        response.set_cookie(
            name, value, path=self._config.realm_path, httponly=True, samesite="Lax"
        )

    def _check_form(self) -> None:
        cookie = request.cookies.get(self._form_cookie, "")
        if not self._forms.matches(cookie, request.form.get("form_token", "")):
            raise PageError(
                "This form was not opened in this browser, or cookies are off. "
                "Go back to the service and start the login again.",
                403,
            )

    def _own_fields_apart(self) -> dict[str, str]:
        """The client's parameters of a POST to the authorization endpoint."""
        return {name: value for name, value in request.form.items() if name not in FORM_FIELDS}

    # Login

    def _try_login(self) -> tuple[User | None, str, int]:
        """Check the submitted name and password: user, message, HTTP status."""
        username = request.form.get("username", "").strip().lower()
        known = any(user.username == username for user in self._services.users.all())
        # All unknown names share one counter, so that made-up names cost no memory.
        key = username if known else ""
        wait = self._logins.seconds_to_wait(key)
        if wait:
            return None, f"Too many failed logins. Try again in {wait} seconds.", 429
        user = self._services.users.authenticate(username, request.form.get("password", ""))
        if user is None:
            self._logins.failed(key)
            log.warning("failed login for %s", username if known else "an unknown name")
            return None, "The user name or the password is wrong.", 401
        self._logins.succeeded(key)
        log.info("login of %s", user.username)
        return user, "", 200

    def _open_session(self, user: User) -> tuple[str, Session]:
        """A new session for a fresh login; the one before it in this browser ends."""
        store = self._services.store
        if g.session is not None and g.session.subject != user.subject:
            store.end_session(g.session)
        cookie = store.start_session(user.subject, self._config.session_seconds)
        session = store.session(cookie)
        if session is None:  # session_seconds is at least 1
            raise PageError("The session has ended already. Try again.", 500)
        g.session, g.user = session, user
        return cookie, session

    def _login_page(
        self, action: str, *, message: str = "", status: int = 200, **context: Any
    ) -> Response:
        names = [user.username for user in self._services.users.all() if user.enabled]
        response = self._page(
            "login.html",
            action=action,
            names=names,
            message=message,
            username=request.form.get("username", ""),
            **context,
        )
        response.status_code = status
        if status == 429:
            response.headers["Retry-After"] = "60"
        return response

    # Authorization endpoint

    def _client_of_request(self) -> tuple[Client, str]:
        """Client and redirect URI, checked before anything may be redirected there.

        :raises PageError: RFC 6749, section 4.1.2.1: such errors are shown, not redirected.
        """
        for name in ONE_OF_EACH:
            if len(request.args.getlist(name)) > 1:
                raise PageError(f"The request gives {name} more than once.")
        client = self._services.clients.get(request.args.get("client_id", ""))
        if client is None:
            raise PageError("The service that sent you here is not registered (client_id).")
        redirect_uri = request.args.get("redirect_uri", "")
        if not client.check_redirect_uri(redirect_uri):
            raise PageError(
                f"The redirect_uri of the request is not registered for {client.title}."
            )
        return client, redirect_uri

    def _grant_of_request(self, redirect_uri: str) -> Any:
        """authlib's grant for a valid authorization request.

        :raises OAuth2Error: to be sent to the redirect URI.
        """
        try:
            if request.args.get("response_type") != "code":
                raise OAuth2Error(error="unsupported_response_type")
            for name in ("request", "request_uri"):
                if name in request.args:
                    raise OAuth2Error(error=f"{name}_not_supported")
            if request.args.get("response_mode", "query") != "query":
                raise InvalidRequestError("Only response_mode=query is supported.")
            grant = self._server.get_consent_grant(end_user=g.user)
        except OAuth2Error as error:
            error.redirect_uri = redirect_uri
            error.state = request.args.get("state")
            raise
        return grant

    def _redirect_error(self, error: OAuth2Error) -> Response:
        uri = add_params_to_uri(
            error.redirect_uri, [*error.get_body(), ("iss", self._config.issuer)]
        )
        return _see_other(uri)

    def _finish(self, grant: Any, client: Client, session: Session, *, allowed: bool) -> Response:
        """Send the code, or the refusal, to the client."""
        grant.request.session = session
        if not allowed:
            log.info("release of data to %s refused", client.client_id)
        user = g.user if allowed else None
        response = cast(
            "Response",
            self._server.create_authorization_response(grant.request, user, grant=grant),
        )
        return _see_other(response.location) if response.location else response

    def _too_old(self) -> bool:
        """Whether the client wants a more recent login than the session has (``max_age``)."""
        value = request.args.get("max_age", "")
        return (
            value.isdecimal()
            and g.session is not None
            and time.time() - g.session.auth_time > int(value)
        )

    def auth(self) -> Response:
        """The authorization endpoint (OpenID Connect Core, section 3.1.2.1)."""
        if request.method == "POST":
            query = urlencode(self._own_fields_apart())
            return _see_other(f"{self._config.endpoint('auth')}?{query}")
        client, redirect_uri = self._client_of_request()
        try:
            grant = self._grant_of_request(redirect_uri)
        except OAuth2Error as error:
            return self._redirect_error(error)
        scope = grant.request.scope
        prompts = request.args.get("prompt", "").split()
        session = g.session
        silent = "none" in prompts
        if session is None or self._too_old() or {"login", "select_account"} & set(prompts):
            if silent:
                return self._redirect_error(
                    OAuth2Error(
                        error="login_required",
                        redirect_uri=redirect_uri,
                        state=request.args.get("state"),
                    )
                )
            return self._login_page_for(client, redirect_uri, scope)
        agreed = self._services.store.has_consented(session.subject, client.client_id, scope)
        if agreed and "consent" not in prompts:
            return self._finish(grant, client, session, allowed=True)
        if silent:
            return self._redirect_error(
                OAuth2Error(
                    error="consent_required",
                    redirect_uri=redirect_uri,
                    state=request.args.get("state"),
                )
            )
        return self._page(
            "consent.html",
            form_origin=_origin(redirect_uri),
            action=self._action("consent"),
            client=client,
            releases=_releases(scope),
        )

    def _action(self, name: str) -> str:
        query = request.query_string.decode("ascii", "replace")
        return f"{self._config.realm_path}/login-actions/{name}?{query}"

    def _login_page_for(
        self, client: Client, redirect_uri: str, scope: str, message: str = "", status: int = 200
    ) -> Response:
        return self._login_page(
            self._action("authenticate"),
            form_origin=_origin(redirect_uri),
            message=message,
            status=status,
            client=client,
            releases=_releases(scope),
        )

    def authenticate(self) -> Response:
        """The submitted login form. To log in here is to agree to the release it names."""
        client, redirect_uri = self._client_of_request()
        self._check_form()
        try:
            grant = self._grant_of_request(redirect_uri)
        except OAuth2Error as error:
            return self._redirect_error(error)
        scope = grant.request.scope
        user, message, status = self._try_login()
        if user is None:
            return self._login_page_for(client, redirect_uri, scope, message, status)
        cookie, session = self._open_session(user)
        self._services.store.record_consent(user.subject, client.client_id, scope)
        response = self._finish(grant, client, session, allowed=True)
        self._set_cookie(response, self._session_cookie, cookie)
        return response

    def consent(self) -> Response:
        """The submitted consent form."""
        client, redirect_uri = self._client_of_request()
        self._check_form()
        try:
            grant = self._grant_of_request(redirect_uri)
        except OAuth2Error as error:
            return self._redirect_error(error)
        session = g.session
        if session is None:
            return self._login_page_for(client, redirect_uri, grant.request.scope)
        allowed = request.form.get("action") == "allow"
        if allowed:
            self._services.store.record_consent(
                session.subject, client.client_id, grant.request.scope
            )
        return self._finish(grant, client, session, allowed=allowed)

    # Device codes

    def device(self) -> Response:
        """Where people type the code their device shows (RFC 8628, section 3.3)."""
        action = f"{self._config.realm_path}/device"
        cookie = ""
        if request.method == "POST":
            self._check_form()
            if "username" in request.form:
                user, message, status = self._try_login()
                if user is None:
                    return self._login_page(
                        action, message=message, status=status, user_code=_user_code()
                    )
                cookie, _ = self._open_session(user)
        response = self._device_step(action)
        if cookie:
            self._set_cookie(response, self._session_cookie, cookie)
        return response

    def _device_step(self, action: str) -> Response:
        user_code = _user_code()
        if g.session is None:
            return self._login_page(action, user_code=user_code)
        if not user_code:
            return self._page("device.html", action=action, message="")
        session: Session = g.session
        wait = self._user_codes.seconds_to_wait(session.subject)
        if wait:
            response = self._page(
                "device.html",
                action=action,
                message=f"Too many wrong codes. Try again in {wait} seconds.",
            )
            response.status_code = 429
            return response
        found = self._services.store.device_by_user_code(user_code)
        if found is None or found.state != "pending" or found.is_expired():
            self._user_codes.failed(session.subject)
            response = self._page(
                "device.html",
                action=action,
                message="This code is not known, was answered already, or has expired.",
            )
            response.status_code = 404
            return response
        answer = request.form.get("action", "") if request.method == "POST" else ""
        if answer in {"allow", "deny"}:
            return self._answer_device(found, session, allowed=answer == "allow")
        return self._page(
            "device_confirm.html",
            action=action,
            user_code=user_code,
            client=self._services.clients[found.client_id],
            releases=_releases(found.scope),
        )

    def _answer_device(self, device: DeviceCode, session: Session, *, allowed: bool) -> Response:
        if not self._services.store.decide_device(device, session, allowed=allowed):
            raise PageError("This code was answered already, or has expired.", 404)
        log.info("device of %s %s", device.client_id, "allowed" if allowed else "denied")
        if allowed:
            message = "Your device is connected. You can close this page."
        else:
            message = "Nothing was released. You can close this page."
        return self._page("done.html", title="Device", message=message)

    # Logout

    def logout(self) -> Response:
        """The logout endpoint; without a valid hint the person is asked first."""
        try:
            checked = self._server.validate_endpoint_request("end_session")
        except OAuth2Error as error:
            raise PageError(error.description or "The logout request is not valid.") from None
        if checked.needs_confirmation and g.session is not None:
            if request.method != "POST" or "form_token" not in request.form:
                return self._page(
                    "logout.html",
                    action=self._config.endpoint("logout"),
                    form_origin=_origin(checked.redirect_uri) if checked.redirect_uri else "",
                    fields={
                        name: value
                        for name, value in request.values.items()
                        if name not in FORM_FIELDS
                    },
                )
            self._check_form()
        response = self._server.create_endpoint_response("end_session", checked)
        response = (
            _see_other(response.location)
            if response is not None
            else self._page("done.html", title="Logged out", message="You are logged out.")
        )
        self._load_session()
        if g.session is None:  # a hint of somebody else's login leaves this browser's alone
            response.delete_cookie(
                self._session_cookie, path=self._config.realm_path, httponly=True, samesite="Lax"
            )
        return response


def _see_other(uri: str) -> Response:
    """303: the browser follows with GET, whatever the method was (RFC 9700, section 4.12)."""
    return cast("Response", redirect(uri, 303))


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _user_code() -> str:
    """The code as typed or linked, in the form it is stored: upper case, one dash."""
    letters = "".join(
        char for char in request.values.get("user_code", "").upper() if char.isalnum()
    )
    return f"{letters[:4]}-{letters[4:8]}" if letters else ""


def _releases(scope: str) -> list[str]:
    return [SCOPE_TEXTS[name] for name in scope.split() if name in SCOPE_TEXTS]
