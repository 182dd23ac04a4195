"""The official openEO client, logged in with the hub's token: no device code, no second login.

Used through :func:`cscale_core.identity.connect`.
"""

from __future__ import annotations

from typing import Any

import openeo
from openeo.rest.auth.auth import OpenEoApiAuthBase

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.identity.tokens import LoopbackTokens
from cscale_core.site import load_site


class _HubAuth(OpenEoApiAuthBase):  # type: ignore[misc]  # openeo is untyped
    """Puts the present token on each request (openEO API 1.2, bearer ``oidc/PROVIDER/TOKEN``)."""

    def __init__(self, backend: OpenEOBackend) -> None:
        self._backend = backend
        self._tokens = LoopbackTokens()

    def __call__(self, req: Any) -> Any:
        token = self._tokens.read(self._backend.audience)
        req.headers["Authorization"] = f"Bearer oidc/{self._backend.provider}/{token}"
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


def connection(backend: str) -> openeo.Connection:
    """The connection that :func:`cscale_core.identity.connect` gives; errors as there."""
    chosen = _chosen(backend, load_site().openeo)
    made = openeo.connect(chosen.url)
    if chosen.audience:
        made.auth = _HubAuth(chosen)
    return made
