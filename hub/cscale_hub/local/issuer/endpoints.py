"""The endpoints beside the token endpoint: userinfo, introspection, revocation, device, logout."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from authlib.consts import default_json_headers
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidRequestError,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc6750 import BearerTokenValidator, InvalidTokenError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceAuthorizationEndpoint
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core import UserInfoEndpoint
from authlib.oidc.rpinitiated import EndSessionEndpoint
from flask import Flask, g
from flask import request as flask_request
from joserfc.jwk import KeySet

from cscale_hub.local.issuer.clients import Client
from cscale_hub.local.issuer.config import SCOPES
from cscale_hub.local.issuer.grants import (
    ALL_CLIENTS,
    CONFIDENTIAL_CLIENTS,
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    DeviceGrant,
    IdToken,
    RefreshTokenGrant,
    RequirePKCE,
    Services,
    TokenExchangeGrant,
    require_s256,
)
from cscale_hub.local.issuer.keys import KeyRing
from cscale_hub.local.issuer.store import RefreshToken, Session, Store
from cscale_hub.local.issuer.tokens import AccessToken, TokenFactory, user_claims


class Server(AuthorizationServer):  # type: ignore[misc]
    """authlib's Flask authorization server with our services attached."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services

    def authenticate_client(
        self, request: Any, methods: list[str], endpoint: str = "token"
    ) -> Client:
        """Authenticate the client; an unreadable Authorization header is a refusal too.

        :raises InvalidClientError: RFC 6749, section 5.2.
        """
        try:
            return cast("Client", super().authenticate_client(request, methods, endpoint))
        except UnicodeDecodeError:
            raise InvalidClientError(
                "The Authorization header is not UTF-8.", status_code=401
            ) from None


class AccessTokenValidator(BearerTokenValidator):  # type: ignore[misc]
    """Accepts access tokens of this issuer, whichever service they are addressed to.

    A service that got a token (openEO) may ask here who its bearer is.
    """

    def __init__(self, tokens: TokenFactory) -> None:
        super().__init__(realm="egi")
        self._tokens = tokens

    def authenticate_token(self, token_string: str) -> AccessToken | None:
        """The verified token."""
        return self._tokens.verify(token_string)


class UserInfo(UserInfoEndpoint):  # type: ignore[misc]
    """Who the bearer is, with entitlements (OpenID Connect Core, section 5.3)."""

    def __call__(self, request: Any) -> tuple[int, dict[str, object], Any]:
        """Answer for a person's token that has scope ``openid``.

        :raises OAuth2Error: 401 with WWW-Authenticate, or 403 for too little scope.
        """
        token: AccessToken = self.resource_protector.acquire_token("openid")
        if token.user is None:
            raise InvalidTokenError("A service account has no user information.", realm="egi")
        return 200, user_claims(token.user, token.scope), default_json_headers


def find_token(services: Services, token: str) -> AccessToken | RefreshToken | None:
    """The token in force, whatever its kind; the hint of the client is not needed for that."""
    return services.store.refresh_token(token) or services.tokens.verify(token)


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    """Whether a token is in force and what it says (RFC 7662), for confidential clients."""

    CLIENT_AUTH_METHODS: ClassVar[list[str]] = CONFIDENTIAL_CLIENTS

    def query_token(
        self, token_string: str, token_type_hint: str | None
    ) -> AccessToken | RefreshToken | None:
        """The token in force, if there is one."""
        return find_token(self.server.services, token_string)

    def check_permission(self, token: Any, client: Client, request: Any) -> bool:
        """Access tokens: any authenticated client; refresh tokens: the client they belong to."""
        return isinstance(token, AccessToken) or token.check_client(client)

    def introspect_token(self, token: AccessToken | RefreshToken) -> dict[str, object]:
        """The members of RFC 7662, section 2.2, and for a person those of userinfo."""
        services: Services = self.server.services
        if isinstance(token, RefreshToken):
            return {
                "iss": services.config.issuer,
                "sub": token.grant.subject,
                "client_id": token.grant.client_id,
                "azp": token.grant.client_id,
                "scope": token.grant.scope,
                "exp": token.expires_at,
                "token_type": "refresh_token",
            }
        body: dict[str, object] = {
            "iss": services.config.issuer,
            "sub": token.subject,
            "aud": list(token.audience),
            "client_id": token.client_id,
            "azp": token.client_id,
            "scope": token.scope,
            "jti": token.jti,
            "iat": token.issued_at,
            "exp": token.expires_at,
            "token_type": "Bearer",
            "username": token.user.username if token.user else token.subject,
        }
        if token.user is not None:
            body.update(user_claims(token.user, token.scope))
        return body


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """Revocation (RFC 7009). A refresh token takes every token of its login with it."""

    CLIENT_AUTH_METHODS: ClassVar[list[str]] = ALL_CLIENTS

    def query_token(
        self, token_string: str, token_type_hint: str | None
    ) -> AccessToken | RefreshToken | None:
        """The token in force, if there is one."""
        return find_token(self.server.services, token_string)

    def revoke_token(self, token: AccessToken | RefreshToken, request: Any) -> None:
        """Refuse the token from now on."""
        store: Store = self.server.services.store
        if isinstance(token, RefreshToken):
            store.revoke_grant(token.grant.id)
        else:
            store.revoke_access_token(token.jti, token.expires_at)


class DeviceAuthorization(DeviceAuthorizationEndpoint):  # type: ignore[misc]
    """Start of the device flow (RFC 8628, section 3.1); public clients bring PKCE."""

    @property
    def EXPIRES_IN(self) -> int:  # noqa: N802 - authlib's name
        """Life of the codes in seconds, by setting."""
        services: Services = self.server.services
        return services.config.device_code_seconds

    @property
    def INTERVAL(self) -> int:  # noqa: N802 - authlib's name
        """Seconds between two polls, by setting."""
        services: Services = self.server.services
        return services.config.device_interval_seconds

    def authenticate_client(self, request: Any) -> Client:
        """Authenticate the client and check that it may use this flow.

        :raises OAuth2Error: RFC 8628, section 3.1.
        """
        client: Client = super().authenticate_client(request)
        if not client.check_grant_type(DEVICE_CODE_GRANT_TYPE):
            raise UnauthorizedClientError("The client is not authorized to use device codes.")
        if client.is_public or "code_challenge" in request.form:
            require_s256(request.form)
        return client

    def get_verification_uri(self) -> str:
        """The page where people type the code."""
        services: Services = self.server.services
        return f"{services.config.issuer}/device"

    def save_device_credential(
        self, client_id: str, scope: str | None, data: dict[str, Any]
    ) -> None:
        """Keep it until its person answers or its time is over."""
        services: Services = self.server.services
        services.store.issue_device_code(
            device_code=data["device_code"],
            user_code=data["user_code"],
            client_id=client_id,
            scope=services.clients[client_id].get_allowed_scope(scope),
            challenge=flask_request.form.get("code_challenge"),
            seconds=data["expires_in"],
            interval=data["interval"],
        )


class EndSession(EndSessionEndpoint):  # type: ignore[misc]
    """Logout started by a client (OpenID Connect RP-Initiated Logout 1.0)."""

    def __init__(self, keys: KeyRing) -> None:
        super().__init__()
        self._keys = keys

    def validate_request(self, request: Any) -> Any:
        """Check the hint and the redirect URI.

        :raises InvalidRequestError: the hint is not ours, or the redirect URI is not registered.
        """
        try:
            checked = super().validate_request(request)
        except ValueError:
            # authlib refuses quotes in its own error text; whatever it was, the hint is wrong.
            raise InvalidRequestError("The id_token_hint is not valid.") from None
        if request.payload.data.get("post_logout_redirect_uri") and not checked.redirect_uri:
            raise InvalidRequestError("The post_logout_redirect_uri is not registered.")
        return checked

    def is_post_logout_redirect_uri_legitimate(
        self, request: Any, post_logout_redirect_uri: str, client: Client, logout_hint: str | None
    ) -> bool:
        """True: without a hint the person is asked first, and the URI is a registered one."""
        return True

    def get_server_jwks(self) -> KeySet:
        """The keys a hint may be signed with."""
        return self._keys.verification_keys()

    def get_algorithms(self) -> list[str]:
        """The one algorithm of this issuer."""
        return ["RS256"]

    def end_session(self, end_session_request: Any) -> None:
        """Close the session the hint was made in, and the one of this browser if it is theirs."""
        services: Services = self.server.services
        claims = end_session_request.id_token_claims
        if claims is not None and isinstance(claims.get("sid"), str):
            services.store.end_session_of_grant(claims["sid"])
        session: Session | None = g.session
        if session is not None and (claims is None or claims.get("sub") == session.subject):
            services.store.end_session(session)


class Issuer(IssuerParameter):  # type: ignore[misc]
    """Names the issuer in authorization responses (RFC 9207), against mix-up attacks."""

    def __init__(self, server: Server) -> None:
        self._issuer = server.services.config.issuer
        super().__call__(server)

    def get_issuer(self) -> str:
        """The issuer."""
        return self._issuer


def create_server(app: Flask, services: Services, keys: KeyRing) -> Server:
    """The authorization server with every grant and endpoint of this issuer."""
    server = Server(services)
    app.config["OAUTH2_SCOPES_SUPPORTED"] = list(SCOPES)
    server.init_app(app, query_client=services.clients.get, save_token=services.save_token)
    server.register_token_generator("default", services.generate)
    server.register_extension(Issuer)
    server.register_grant(AuthorizationCodeGrant, [IdToken(), RequirePKCE(required=True)])
    server.register_grant(RefreshTokenGrant, [IdToken()])
    server.register_grant(DeviceGrant, [IdToken()])
    server.register_grant(ClientCredentialsGrant)
    server.register_grant(TokenExchangeGrant)
    protector = ResourceProtector()
    protector.register_token_validator(AccessTokenValidator(services.tokens))
    server.register_endpoint(UserInfo(resource_protector=protector))
    server.register_endpoint(Introspection)
    server.register_endpoint(Revocation)
    # This endpoint class of authlib has no ``server`` attribute before it is instantiated.
    server.register_endpoint(DeviceAuthorization(server))
    server.register_endpoint(EndSession(keys))
    return server
