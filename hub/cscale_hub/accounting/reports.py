"""Where users' servers tell of jobs that ended: ``POST /hub/api/cscale/jobs``.

A report is taken once, whoever sends it how often, and only for a VO of the person. A person could
invent jobs of their own; they would count against their own allowance.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.user import User
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from tornado.web import HTTPError

from cscale_hub.accounting.ended_job import EndedJob
from cscale_hub.accounting.meter import Meter
from cscale_hub.accounting.records import declared
from cscale_hub.auth.login import entitlements
from cscale_hub.vos import GROUP_PREFIX

REPORT_SCOPE = "custom:cscale-usage:report"
"""To tell of ended jobs; a server has it for itself."""
DESCRIPTION = {"description": "Tell the hub of jobs that ended, for accounting"}
METER_SETTING = "cscale_meter"
MOST = 200
_LARGEST = 256 * 1024


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid")

    jobs: Annotated[list[EndedJob], Field(max_length=MOST)]


class JobReportHandler(APIHandler):  # type: ignore[misc]  # JupyterHub is not typed
    """Takes the reports of one person's servers."""

    async def post(self) -> None:
        """Write them; the answer says how many were of a VO that the person is in.

        :raises HTTPError: 403 for what is no server, 400 for what cannot be, 503 when the records
            cannot be written.
        """
        person = self.current_user
        of_servers = any(
            scope.startswith(f"{REPORT_SCOPE}!server=") for scope in self.expanded_scopes
        )
        if not of_servers or not isinstance(person, User):
            raise HTTPError(403, "Only users' servers report jobs")
        if len(self.request.body) > _LARGEST:
            raise HTTPError(413, "The report is too large")
        try:
            report = _Report.model_validate_json(self.request.body)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise HTTPError(400, f"{where}: {wrong['msg']}") from error
        groups = {group.name for group in person.groups}
        jobs = [job for job in report.jobs if f"{GROUP_PREFIX}{job.vo}" in groups]
        meter: Meter = self.settings[METER_SETTING]
        state: dict[str, Any] = await person.get_auth_state() or {}
        claims = entitlements(state.get(self.authenticator.user_auth_state_key) or {})
        try:
            await meter.add_jobs(person.name, jobs, declared(claims))
        except SQLAlchemyError as error:
            self.log.error("Jobs could not be counted: %s", type(error).__name__)
            raise HTTPError(503, "The records of use cannot be written now") from error
        self.finish(json.dumps({"taken": len(jobs), "refused": len(report.jobs) - len(jobs)}))


HANDLERS = [(r"/api/cscale/jobs", JobReportHandler)]
