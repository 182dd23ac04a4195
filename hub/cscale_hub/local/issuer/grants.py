"""The grants of the token endpoint: authlib's flows on our store and tokens."""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar, cast

from authlib.common.security import generate_token
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    TokenEndpointMixin,
    UnauthorizedClientError,
    grants,
)
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant
from authlib.oidc.core.grants import OpenIDCode
from authlib.oidc.core.grants.util import is_openid_scope

from cscale_hub.local.issuer.clients import Client
from cscale_hub.local.issuer.config import TOKEN_EXCHANGE_GRANT, IssuerConfig
from cscale_hub.local.issuer.store import (
    Code,
    DeviceCode,
    Grant,
    RefreshToken,
    Spent,
    Store,
)
from cscale_hub.local.issuer.tokens import Principal, TokenFactory
from cscale_hub.local.issuer.users import UserDirectory

log = logging.getLogger(__name__)

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type name
JWT_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - a type name

ALL_CLIENTS = ["client_secret_basic", "client_secret_post", "none"]
CONFIDENTIAL_CLIENTS = ["client_secret_basic", "client_secret_post"]


class InvalidTargetError(OAuth2Error):  # type: ignore[misc]
    """The audience asked for is not one this client may have (RFC 8693, section 2.2.2)."""

    error = "invalid_target"


class Services:
    """What the grants and endpoints work with; each finds it as ``self.server.services``."""

    def __init__(
        self,
        config: IssuerConfig,
        store: Store,
        users: UserDirectory,
        tokens: TokenFactory,
        clients: dict[str, Client],
    ) -> None:
        self.config = config
        self.store = store
        self.users = users
        self.tokens = tokens
        self.clients = clients

    def principal(self, grant: Grant) -> Principal | None:
        """The person behind a grant, unless the grant or the account has ended."""
        user = self.users.by_subject(grant.subject)
        return Principal(user, grant) if user and not grant.revoked else None

    def generate(
        self,
        grant_type: str,
        client: Client,
        user: Principal | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """authlib's token generator for the grants in which a person takes part."""
        granted = client.get_allowed_scope(scope)
        access_token, expires = self.tokens.access_token(
            client=client.config,
            principal=user,
            scope=granted,
            audience=client.config.default_audience,
        )
        token: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires - int(time.time()),
            "scope": granted,
        }
        if include_refresh_token:
            token["refresh_token"] = generate_token(48)
            token["refresh_expires_in"] = self.config.refresh_token_seconds
        return token

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Spend what the tokens are given for, together with storing the new refresh token.

        Of two requests with the same one-time secret exactly one wins; the other revokes the
        grant, since one of the two must be a thief (RFC 9700, section 4.14.2).
        """
        now = int(time.time())
        access_expires = now + token["expires_in"]
        refresh = (
            (token["refresh_token"], now + self.config.refresh_token_seconds)
            if "refresh_token" in token
            else None
        )
        grant = request.user.grant
        try:
            match request.authorization_code, request.refresh_token, request.credential:
                case Code() as code, _, _:
                    self.store.spend_code(code, access_expires, refresh)
                case _, RefreshToken() as old, _:
                    self.store.spend_refresh_token(old, access_expires, refresh)
                case _, _, DeviceCode() as device:
                    self.store.spend_device_code(device, access_expires, refresh)
        except Spent:
            log.warning("a one-time secret of grant %s was used twice at once", grant.id)
            self.store.revoke_grant(grant.id)
            raise InvalidGrantError("It was used before; the login is revoked.") from None


class RequirePKCE(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256 for every client, public or not (RFC 9700, section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar[list[str]] = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a missing challenge, and any method but S256 (none means plain)."""
        require_s256(grant.request.payload.data)
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: Any) -> str:
        """The challenge stored with the code."""
        return cast("Code", authorization_code).challenge

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        """Nothing else is ever stored."""
        return "S256"


def require_s256(data: Any) -> None:
    """Refuse a request that does not start PKCE with S256.

    :raises InvalidRequestError: RFC 7636, section 4.4.1.
    """
    if not data.get("code_challenge"):
        raise InvalidRequestError("Missing 'code_challenge': PKCE is required.")
    if data.get("code_challenge_method") != "S256":
        raise InvalidRequestError("'code_challenge_method' must be S256.")


class IdToken(OpenIDCode):  # type: ignore[misc]
    """Adds an id_token to the answer whenever the scope has ``openid``."""

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """False: a replayed nonce is for the client to notice (OpenID Connect, 15.5.2)."""
        return False

    def process_token(self, grant: Any, response: Any) -> dict[str, Any]:
        """Sign the id_token for the access token just made."""
        _, token, _ = response
        if is_openid_scope(token.get("scope")):
            request = grant.request
            # RFC: a refreshed id_token carries no nonce (OpenID Connect, section 12.2).
            code = request.authorization_code
            token["id_token"] = grant.server.services.tokens.id_token(
                client=request.client.config,
                principal=request.user,
                access_token=token["access_token"],
                nonce=code.nonce if code else None,
            )
        return cast("dict[str, Any]", token)


class AuthorizationCodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization code (RFC 6749, section 4.1); codes live about a minute and work once."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ALL_CLIENTS

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Store the code; ``request.session`` is the browser session the person is known by."""
        services: Services = self.server.services
        data = request.payload.data
        services.store.issue_code(
            client_id=request.client.client_id,
            subject=request.session.subject,
            scope=request.scope,
            session=request.session,
            redirect_uri=request.payload.redirect_uri,
            nonce=data.get("nonce"),
            challenge=data["code_challenge"],
            code=code,
            seconds=services.config.code_seconds,
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """The code if it is in force. A second use revokes what the first one gave."""
        store: Store = self.server.services.store
        found = store.code(code)
        if found is None or found.grant.client_id != client.client_id:
            return None
        if found.used:
            log.warning("authorization code used twice: grant %s is revoked", found.grant.id)
            store.revoke_grant(found.grant.id)
            return None
        if found.expires_at <= time.time() or found.grant.revoked:
            return None
        return found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing left to do: saving the token has used up the code in the same transaction."""

    def authenticate_user(self, authorization_code: Code) -> Principal | None:
        """The person who logged in, unless the account was closed meanwhile."""
        services: Services = self.server.services
        return services.principal(authorization_code.grant)


class RefreshTokenGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    """Refresh (RFC 6749, section 6) with rotation and reuse detection (RFC 9700, 4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ALL_CLIENTS

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self) -> bool:  # noqa: N802 - authlib's name
        """Whether the old refresh token is replaced, by setting."""
        services: Services = self.server.services
        return services.config.rotate_refresh_tokens

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        """The token if it is in force. A spent one revokes the whole family."""
        store: Store = self.server.services.store
        found = store.refresh_token(refresh_token)
        if found is None or not found.check_client(self.request.client):
            return None
        if found.used:
            log.warning("refresh token used twice: grant %s is revoked", found.grant.id)
            store.revoke_grant(found.grant.id)
            raise InvalidGrantError("The refresh token was used before; the login is revoked.")
        if found.is_expired() or found.is_revoked():
            raise InvalidGrantError("The refresh token has expired or was revoked.")
        return found

    def authenticate_user(self, refresh_token: RefreshToken) -> Principal:
        """The person behind the token."""
        services: Services = self.server.services
        principal = services.principal(refresh_token.grant)
        if principal is None:
            raise InvalidGrantError("The account is closed.")
        # save_token, which authlib calls before it sets this, finds the grant here.
        self.request.user = principal
        return principal

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """Nothing left to do: saving the token has used up the old one."""


class DeviceGrant(DeviceCodeGrant):  # type: ignore[misc]
    """Device code (RFC 8628); a client that started with PKCE must finish with it."""

    def query_device_credential(self, device_code: str) -> DeviceCode:
        """The device authorization, unless it has given its tokens already."""
        store: Store = self.server.services.store
        found = store.device_code(device_code)
        if found is None or found.state == "used":
            raise InvalidGrantError("The device code is not known or was used before.")
        return found

    def validate_token_request(self) -> None:
        """The poll of the client, then its ``code_verifier``."""
        super().validate_token_request()
        challenge = self.request.credential.challenge
        if challenge is None:
            return
        verifier = self.request.form.get("code_verifier")
        if not verifier:
            raise InvalidRequestError("Missing 'code_verifier'")
        try:
            computed = create_s256_code_challenge(verifier)
        except UnicodeEncodeError:
            computed = ""
        if computed != challenge:
            raise InvalidGrantError("Code challenge failed.")

    def validate_device_credential(self, credential: DeviceCode) -> Principal:
        """The person who allowed it.

        :raises OAuth2Error: pending, slow_down, denied or expired (RFC 8628, section 3.5).
        """
        self._device = credential
        return cast("Principal", super().validate_device_credential(credential))

    def query_user_grant(self, user_code: str) -> tuple[Principal | None, bool] | None:
        """The person's answer, None while there is none."""
        services: Services = self.server.services
        device = self._device
        if device.state == "pending":
            return None
        if device.state == "denied" or device.grant is None:
            return None, False
        principal = services.principal(device.grant)
        return principal, principal is not None

    def should_slow_down(self, credential: DeviceCode) -> bool:
        """Whether the client polls more often than it was told to."""
        store: Store = self.server.services.store
        return store.polled_too_soon(credential)


class ClientCredentialsGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """Client credentials (RFC 6749, section 4.4), for one allowed ``audience``.

    A service account is not a person: whatever scope is asked for, none is granted, so its
    token opens no userinfo.
    """

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = CONFIDENTIAL_CLIENTS

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Sign the token; nothing is stored."""
        services: Services = self.server.services
        client: Client = self.request.client
        audience = self.request.form.get("audience")
        if audience is not None:
            require_audience(client, audience)
        access_token, expires = services.tokens.access_token(
            client=client.config,
            principal=None,
            scope="",
            audience=[audience] if audience else client.config.default_audience,
        )
        body = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires - int(time.time()),
            "scope": "",
        }
        return 200, body, self.TOKEN_RESPONSE_HEADER


class TokenExchangeGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """Token exchange (RFC 8693): a person's access token for one with another audience.

    The subject token must have been given to the client, or be addressed to it. The new token
    has exactly the audience asked for, no more scope, no longer life, and ends with the same
    login as the subject token.
    """

    GRANT_TYPE = TOKEN_EXCHANGE_GRANT
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = CONFIDENTIAL_CLIENTS

    def validate_token_request(self) -> None:
        """Check client, parameters and subject token.

        :raises OAuth2Error: RFC 8693, section 2.2.2.
        """
        services: Services = self.server.services
        client: Client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError("The client is not authorized to exchange tokens.")
        self.request.client = client
        form = self.request.form
        for name in ("subject_token", "subject_token_type", "audience"):
            if not form.get(name):
                raise InvalidRequestError(f"Missing '{name}' in request.")
        for name in ("actor_token", "actor_token_type", "resource"):
            if name in form:
                raise InvalidRequestError(f"'{name}' is not supported.")
        types = {ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE}
        if form["subject_token_type"] not in types:
            raise InvalidRequestError("'subject_token_type' must be an access token.")
        if form.get("requested_token_type", ACCESS_TOKEN_TYPE) not in types:
            raise InvalidRequestError("'requested_token_type' must be an access token.")
        require_audience(client, form["audience"])

        subject = services.tokens.verify(form["subject_token"])
        if subject is None or subject.user is None or subject.grant is None:
            raise InvalidRequestError("The subject token is not valid, expired, or revoked.")
        addressed = {client.client_id, *client.config.exchanges_for}
        if subject.client_id != client.client_id and not addressed & set(subject.audience):
            raise InvalidRequestError("The subject token is not addressed to this client.")
        wanted = (form.get("scope") or subject.scope).split()
        if not set(wanted) <= set(subject.scope.split()):
            raise InvalidScopeError("The subject token does not have this scope.")
        self._subject = subject
        self._scope = " ".join(wanted)

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Sign the token; nothing is stored."""
        services: Services = self.server.services
        subject = self._subject
        assert subject.user is not None  # noqa: S101 - narrows the type; checked above
        assert subject.grant is not None  # noqa: S101 - narrows the type; checked above
        access_token, expires = services.tokens.access_token(
            client=self.request.client.config,
            principal=Principal(subject.user, subject.grant),
            scope=self._scope,
            audience=[self.request.form["audience"]],
            expires_at=subject.expires_at,
        )
        body = {
            "access_token": access_token,
            "issued_token_type": ACCESS_TOKEN_TYPE,
            "token_type": "Bearer",
            "expires_in": expires - int(time.time()),
            "scope": self._scope,
        }
        return 200, body, self.TOKEN_RESPONSE_HEADER


def require_audience(client: Client, audience: str) -> None:
    """Refuse an audience the client was not registered for.

    :raises InvalidTargetError: RFC 8693, section 2.2.2.
    """
    if audience not in client.config.audiences:
        raise InvalidTargetError("The client may not have tokens for this audience.")
