"""JupyterHub's side of the local proxy: all routes come back when the proxy was restarted."""

from __future__ import annotations

from jupyterhub.proxy import ConfigurableHTTPProxy


class LocalProxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # JupyterHub is not typed
    """Also gives a new proxy process the extra routes.

    JupyterHub gives it those of hub, users and services at once, but ``extra_routes`` only at its
    next periodic check, which may be five minutes later.
    """

    async def restore_routes(self) -> None:
        """Fill the empty routing table of a new proxy process."""
        await super().restore_routes()
        for route, target in self.extra_routes.items():
            await self.add_route(route, target, {"extra": True})
