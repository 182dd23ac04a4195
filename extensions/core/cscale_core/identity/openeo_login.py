"""The official openEO client, logged in with the hub's token: no device code, no second login.

The token is fetched for each request, so a notebook that stays open for days never holds an
expired one. Needs the package ``openeo`` (extra ``lab``).
"""

from __future__ import annotations

from typing import Any

import openeo
from openeo.rest.auth.auth import OpenEoApiAuthBase

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.identity.tokens import LoopbackTokens
from cscale_core.site import load_site

# The identity provider's id in ``GET /credentials/oidc`` of every back end of the federation.
_PROVIDER = "egi"


class _HubAuth(OpenEoApiAuthBase):  # type: ignore[misc]  # openeo is untyped
    """Puts the present token on each request (openEO API 1.2, bearer ``oidc/PROVIDER/TOKEN``)."""

    def __init__(self, audience: str) -> None:
        self._audience = audience
        self._tokens = LoopbackTokens()

    def __call__(self, req: Any) -> Any:
        token = self._tokens.read(self._audience)
        req.headers["Authorization"] = f"Bearer oidc/{_PROVIDER}/{token}"
        return req


def _chosen(backend: str, backends: tuple[OpenEOBackend, ...]) -> OpenEOBackend:
    if not backends:
        raise InvalidInput("This site offers no openEO back end.")
    if not backend:
        return backends[0]
    for candidate in backends:
        if candidate.id == backend:
            return candidate
    known = ", ".join(candidate.id for candidate in backends)
    raise NotFound(f"There is no openEO back end {backend!r}.", hint=f"Known: {known}.")


def connect(backend: str = "") -> openeo.Connection:
    """A connection to one of the site's openEO back ends, logged in as the user.

    :param backend: id of the back end in the site file; empty: the first.
    :raises NotFound: when the site has no back end of that id.
    :raises InvalidInput: when there is no site file or it names no back end.
    :raises LoginRequired: at a request, when the user's session has ended.
    """
    chosen = _chosen(backend, load_site().openeo)
    connection = openeo.connect(chosen.url)
    if chosen.audience:
        connection.auth = _HubAuth(chosen.audience)
    return connection
