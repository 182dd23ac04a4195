"""Puts every login on record, with who was refused and why."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.web import HTTPError
from traitlets import Any as AnyTrait

from cscale_hub.accounting.reports import HANDLERS as OF_USE
from cscale_hub.announcement_feed import HANDLERS as OF_ANNOUNCEMENTS
from cscale_hub.audit import AuditLog, LoginEvent
from cscale_hub.auth.checkin import CheckinAuthenticator, NoAcceptedVO
from cscale_hub.sharing.routes import HANDLERS as OF_SHARING
from cscale_hub.vos import vo_names


class NotOnRecord(HTTPError):
    """The audit log cannot be written."""

    def __init__(self) -> None:
        super().__init__(503, "the audit log cannot be written")
        self.jupyterhub_message = (
            "The hub's audit log cannot be written, so nobody is let in. Nothing is lost; tell "
            "the operator, who has to look at the hub's disk."
        )


class AuditedAuthenticator(CheckinAuthenticator):
    """Check-in, with an audit log: a login that cannot be put on record does not happen."""

    cscale_audit: AuditLog | None = AnyTrait(
        None, allow_none=True, help="The audit log; None: nothing is written."
    ).tag(config=True)

    def get_handlers(self, app: Any) -> list[Any]:
        """Those of the login, of sharing and announcements, and where servers tell of jobs."""
        return [*super().get_handlers(app), *OF_USE, *OF_SHARING, *OF_ANNOUNCEMENTS]

    async def get_authenticated_user(
        self, handler: Any, data: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Finish the login, and note how it ended.

        :raises NotOnRecord: when the audit log cannot be written.
        :raises HTTPError: what refused it.
        """
        try:
            found: dict[str, Any] | None = await super().get_authenticated_user(handler, data)
        except HTTPError as error:
            if not isinstance(error, NoAcceptedVO):  # noted in check_allowed, where the name is
                outcome = "failed" if error.status_code >= 500 else "refused"
                await self._tell(outcome, code=f"http-{error.status_code}")
            raise
        except Exception as error:
            await self._tell("failed", code=type(error).__name__)
            raise
        if found is None:
            await self._tell("refused", code="not-allowed")
        else:
            await self._tell("allowed", found["name"], tuple(vo_names(found.get("groups") or ())))
        return found

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Only members of an accepted VO; who is none of them is put on record by slug.

        :raises NoAcceptedVO: for those.
        """
        try:
            return await super().check_allowed(username, auth_model)
        except NoAcceptedVO:
            await self._tell("refused", username, code="no-accepted-vo")
            raise

    async def _tell(
        self, outcome: Any, user: str = "", vos: tuple[str, ...] = (), code: str = ""
    ) -> None:
        if self.cscale_audit is None:
            return
        event = LoginEvent(outcome=outcome, user=user, vos=vos, code=code)
        try:
            await asyncio.to_thread(self.cscale_audit.record, event)
        except OSError as error:
            self.log.exception("The audit log cannot be written")
            raise NotOnRecord from error
