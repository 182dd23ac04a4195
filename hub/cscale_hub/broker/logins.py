"""What the hub tells the broker of a person: the one part of the broker that runs inside the hub.

``GET /hub/api/cscale/logins/NAME`` answers with the access token the hub keeps, its end, the
person's groups, the VO of each of their servers and which of these are shared. JupyterHub's own
answer about a user holds all of auth_state; the refresh token in it must not leave the hub, so the
broker has no scope for that and asks here. The authenticator registers :data:`HANDLERS`.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from sqlalchemy import or_
from tornado.web import HTTPError

from cscale_hub.broker.scopes import READ_SCOPE


class LoginHandler(APIHandler):  # type: ignore[misc]  # JupyterHub is not typed
    """One person's login, for a service with the broker's scope."""

    async def get(self, name: str) -> None:
        """The login as JSON; ``access_token`` is null when the hub keeps none.

        :raises HTTPError: 403 without the scope, 404 when there is no such user.
        """
        if READ_SCOPE not in self.expanded_scopes:
            raise HTTPError(403, f"This needs the scope {READ_SCOPE}")
        user = self.find_user(name)
        if user is None:
            raise HTTPError(404)
        state = await user.get_auth_state() or {}
        self.set_header("Cache-Control", "no-store")
        self.finish(
            json.dumps(
                {
                    "name": user.name,
                    "groups": sorted(group.name for group in user.groups),
                    "access_token": state.get("access_token"),
                    "expires_at": state.get("expires_at"),
                    "servers": self._servers(user.orm_user),
                }
            )
        )

    def _servers(self, owner: orm.User) -> dict[str, dict[str, Any]]:
        """VO and sharing of each server, running or not, by name."""
        shared = {
            share.spawner_id
            for share in self.db.query(orm.Share).filter(
                orm.Share.owner_id == owner.id,
                or_(orm.Share.expires_at.is_(None), orm.Share.expires_at > orm.Share.now()),
            )
        }
        return {
            spawner.name: {
                "vo": str((spawner.user_options or {}).get("vo") or ""),
                "shared": spawner.id in shared,
            }
            for spawner in owner.orm_spawners.values()
        }


HANDLERS = [(r"/api/cscale/logins/([^/]+)", LoginHandler)]
