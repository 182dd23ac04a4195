"""The settings of the local identity provider, validated before anything listens."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type

GrantType = Literal[
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
]

Endpoint = Literal[
    "discovery",
    "certs",
    "auth",
    "device",
    "token",
    "userinfo",
    "introspect",
    "revoke",
    "logout",
]

SCOPES = (
    "openid",
    "profile",
    "email",
    "voperson_id",
    "eduperson_entitlement",
    "offline_access",
)
"""The scopes of EGI Check-in that the hub and the openEO service ask for."""


class ConfigError(Exception):
    """The settings cannot be used; the message says which one and why."""


def _check_uri(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{uri!r} is not an absolute http(s) URI")
    if parts.fragment or "#" in uri:
        raise ValueError(f"{uri!r} carries a fragment (RFC 6749 section 3.1.2)")
    if "*" in uri:
        raise ValueError(f"{uri!r} carries a wildcard: redirect URIs are compared exactly")
    return uri


class ClientConfig(BaseModel):
    """One registered client (relying party)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    title: str = ""
    """The name people read on the login and consent pages; the client_id when empty."""
    secret_file: Path | None = None
    """File (mode 0600) with the client secret; null makes the client public."""
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[GrantType, ...]
    audiences: tuple[str, ...] = ()
    """Audiences this client may ask for by token exchange and client credentials."""
    token_audience: tuple[str, ...] = ()
    """``aud`` of the access tokens of its logins; the client_id when empty."""
    exchanges_for: tuple[str, ...] = ()
    """Audiences, besides its own client_id, whose tokens this client may exchange."""

    @field_validator("redirect_uris", "post_logout_redirect_uris")
    @classmethod
    def _exact_uris(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_uri(uri) for uri in value)

    @model_validator(mode="after")
    def _consistent(self) -> ClientConfig:
        if "authorization_code" in self.grant_types and not self.redirect_uris:
            raise ValueError(f"client {self.client_id}: authorization_code needs redirect_uris")
        secret_grants = {"client_credentials", TOKEN_EXCHANGE_GRANT} & set(self.grant_types)
        if self.secret_file is None and secret_grants:
            raise ValueError(
                f"client {self.client_id}: {', '.join(sorted(secret_grants))} needs a secret_file"
            )
        return self

    @property
    def default_audience(self) -> tuple[str, ...]:
        """``aud`` of an access token that asks for no other audience."""
        return self.token_audience or (self.client_id,)


class IssuerConfig(BaseModel):
    """Everything the identity provider is told. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    realm_path: str = Field(default="/auth/realms/egi", pattern=r"^(/[A-Za-z0-9._-]+)+$")
    data_dir: Path
    users_file: Path
    clients: tuple[ClientConfig, ...]
    access_token_seconds: int = Field(default=3600, ge=1, le=86400)
    refresh_token_seconds: int = Field(default=30 * 86400, ge=1)
    session_seconds: int = Field(default=8 * 3600, ge=1)
    """Life of the single sign-on session in the browser."""
    code_seconds: int = Field(default=60, ge=1, le=600)
    device_code_seconds: int = Field(default=600, ge=1, le=3600)
    device_interval_seconds: int = Field(default=5, ge=1, le=60)
    rotate_refresh_tokens: bool = True
    """Give a new refresh token at each refresh; EGI Check-in does not always do so."""
    login_failures_per_minute: int = Field(default=10, ge=1)
    faults: dict[Endpoint, Annotated[int, Field(ge=400, le=599)]] = Field(default_factory=dict)
    """For tests of an outage: endpoint -> HTTP status it answers with."""

    @field_validator("host")
    @classmethod
    def _loopback(cls, value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(
                f"host {value!r} is a name; give a loopback address such as 127.0.0.1"
            ) from None
        if not address.is_loopback:
            raise ValueError(
                f"host {value} is not a loopback address: this demonstration identity provider "
                "must never be reachable from a network; use EGI Check-in there"
            )
        return value

    @model_validator(mode="after")
    def _unique_clients(self) -> IssuerConfig:
        names = [client.client_id for client in self.clients]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"client_id given twice: {', '.join(sorted(twice))}")
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and port of this server, as browsers see them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def issuer(self) -> str:
        """The ``iss`` of every token; never taken from a request's Host header."""
        return self.origin + self.realm_path

    def endpoint(self, name: str) -> str:
        """URL of an endpoint below ``protocol/openid-connect``."""
        return f"{self.issuer}/protocol/openid-connect/{name}"


def load_config(path: Path) -> IssuerConfig:
    """Read and validate the settings file.

    :raises ConfigError: with one line per wrong setting.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    try:
        return IssuerConfig.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from error
