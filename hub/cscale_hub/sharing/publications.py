"""Where users' servers tell what became of published notebooks: ``POST /hub/api/cscale/notebooks``.

It is for the audit log. Who may publish what is the object store's business, which does not tell
anybody; so this is the word of the person's own server, on record under the person's name.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Literal

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.user import User
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tornado.web import HTTPError

from cscale_hub.accounting.reports import REPORT_SCOPE
from cscale_hub.audit import AuditLog, PublicationEvent
from cscale_hub.vos import GROUP_PREFIX

AUDIT_SETTING = "cscale_audit"
"""Of the web application: the audit log."""

PATH = r"/api/cscale/notebooks"
_LARGEST = 8 * 1024


class Told(BaseModel):
    """What a server tells."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["notebook.publish", "notebook.unpublish", "notebook.open"]
    outcome: Literal["done", "refused", "failed"]
    code: str = Field(default="", pattern=r"^[a-z_]{0,40}$")
    vo: str = Field(min_length=1, max_length=64)
    author: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9-]{1,62})?$")
    notebook: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9-]{0,79})?$")
    version: str = Field(default="", pattern=r"^[0-9]{0,4}$")
    source_hash: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class PublicationHandler(APIHandler):  # type: ignore[misc]  # JupyterHub is not typed
    """Takes what one person's server tells."""

    async def post(self) -> None:
        """Put it on record.

        :raises HTTPError: 403 for what is no server or of another VO, 400 for what cannot be, 503
            when the log cannot be written.
        """
        person = self.current_user
        of_servers = any(
            scope.startswith(f"{REPORT_SCOPE}!server=") for scope in self.expanded_scopes
        )
        if not of_servers or not isinstance(person, User):
            raise HTTPError(403, "Only users' servers tell of notebooks")
        if len(self.request.body) > _LARGEST:
            raise HTTPError(413, "The report is too large")
        try:
            told = Told.model_validate_json(self.request.body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise HTTPError(400, f"{where}: {wrong['msg']}") from error
        if f"{GROUP_PREFIX}{told.vo}" not in {group.name for group in person.groups}:
            raise HTTPError(403, "Notebooks of other virtual organisations are not theirs to tell")
        audit: AuditLog = self.settings[AUDIT_SETTING]
        event = PublicationEvent(user=person.name, **told.model_dump())
        try:
            await asyncio.to_thread(audit.record, event)
        except OSError as error:
            self.log.error("A publication is not on record: %s", error)
            raise HTTPError(503, "The audit log cannot be written now") from error
        self.set_status(HTTPStatus.NO_CONTENT)
