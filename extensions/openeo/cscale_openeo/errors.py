"""Errors of the openEO API: a code of the specification, its HTTP status, and what to do.

Codes and statuses follow ``errors.json`` of openEO API 1.2.0; the ones it lacks are marked.
"""

from __future__ import annotations

import uuid
from typing import Any

# code -> HTTP status.
STATUS: dict[str, int] = {
    "Internal": 500,
    "NotFound": 404,
    "FeatureUnsupported": 501,
    "InfrastructureMaintenance": 503,
    "InfrastructureBusy": 503,
    "RequestTimeout": 408,
    "NoDataForUpdate": 400,
    "PropertyNotEditable": 400,
    "CollectionNotFound": 404,
    "StorageFailure": 500,
    "StorageQuotaExceeded": 400,
    "FileNotFound": 404,
    "ContentTypeInvalid": 400,
    "ProcessInvalid": 400,
    "ProcessGraphNotFound": 404,
    "PredefinedProcessExists": 400,
    "ProcessGraphMissing": 400,
    "ProcessGraphInvalid": 400,
    "ProcessGraphComplexity": 400,
    "ProcessUnsupported": 400,
    "ProcessParameterUnsupported": 400,
    "ProcessParameterInvalid": 400,
    "ProcessParameterRequired": 400,
    "JobNotFound": 404,
    "JobLocked": 400,
    "JobNotFinished": 400,
    "JobNotStarted": 400,
    "ResultLinkExpired": 410,
    "BillingPlanInvalid": 400,
    "BudgetInvalid": 400,
    "AuthenticationRequired": 401,
    "AuthenticationSchemeInvalid": 403,
    "TokenInvalid": 403,
    "PermissionsInsufficient": 403,
    # Not in errors.json: an exception of load_collection in the process specification.
    "NoDataAvailable": 400,
    # Not in errors.json: a malformed request body or query.
    "RequestInvalid": 400,
    "InvalidLogLevel": 400,
    # Not in errors.json: a service this one needs does not answer.
    "UpstreamUnavailable": 503,
    # Not in errors.json: what a job may end with.
    "InputUnreadable": 500,
    "UDFFailed": 400,
    "JobCrashed": 500,
}


class OpenEOError(Exception):
    """A failure in the shape of the openEO API: ``{id, code, message, links}``."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.id = f"r-{uuid.uuid4().hex[:16]}"
        self.code = code
        self.message = message
        self.status = STATUS.get(code, 500) if status is None else status

    def as_dict(self) -> dict[str, Any]:
        """The error object of the specification."""
        return {"id": self.id, "code": self.code, "message": self.message, "links": []}
