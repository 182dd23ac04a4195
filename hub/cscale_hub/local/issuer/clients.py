"""The registered clients, as authlib's server asks for them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from authlib.oauth2.rfc6749 import ClientMixin

from cscale_hub.local.issuer.config import ClientConfig, ConfigError
from cscale_hub.local.issuer.files import InsecureFile, read_private


class Client(ClientMixin):  # type: ignore[misc]
    """A client with its secret read from file.

    :raises ConfigError: when the secret file is absent, empty, or readable by others.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.client_id = config.client_id
        self.title = config.title or config.client_id
        self._secret: bytes | None = None
        if config.secret_file is not None:
            try:
                self._secret = read_private(config.secret_file).strip()
            except (OSError, InsecureFile) as error:
                raise ConfigError(f"secret of client {config.client_id}: {error}") from error
            if not self._secret:
                raise ConfigError(f"secret of client {config.client_id} is empty")
        # authlib's userinfo and logout endpoints read client metadata by its registered names.
        self.client_metadata = {"post_logout_redirect_uris": list(config.post_logout_redirect_uris)}

    @property
    def is_public(self) -> bool:
        """Whether the client has no secret."""
        return self._secret is None

    def get_client_id(self) -> str:
        """The client_id."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: a redirect URI must be in every request."""
        return

    def get_allowed_scope(self, scope: str | None) -> str:
        """The scope granted for a request; one that asks for none gets ``openid``."""
        return " ".join(dict.fromkeys((scope or "openid").split()))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exact comparison, character by character (RFC 9700, section 2.1)."""
        return redirect_uri in self.config.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Comparison in constant time."""
        return self._secret is not None and hmac.compare_digest(
            self._secret, client_secret.encode()
        )

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """A public client has no way to authenticate; a confidential one has to."""
        if self.is_public:
            return method == "none"
        return method in {"client_secret_basic", "client_secret_post"}

    def check_response_type(self, response_type: str) -> bool:
        """Only codes are given out by the authorization endpoint."""
        return response_type == "code" and "authorization_code" in self.config.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether the client was registered for this grant."""
        return grant_type in self.config.grant_types


def load_clients(configs: Iterable[ClientConfig]) -> dict[str, Client]:
    """All clients by client_id.

    :raises ConfigError: when a secret cannot be read.
    """
    return {config.client_id: Client(config) for config in configs}
