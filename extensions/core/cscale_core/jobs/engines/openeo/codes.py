"""The error codes of the openEO API, each with what it means for us and what the user can do.

Codes and statuses: ``errors.json`` of openEO API 1.2, and what openeo-python-driver and its back
ends add to it (``ConcurrentJobLimit``, ``InvalidLogLevel``, …). A code that is not here is judged
by its HTTP status.
"""

from __future__ import annotations

from dataclasses import dataclass

from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
    UpstreamTimeout,
)


@dataclass(frozen=True)
class Meaning:
    """What a code means: the class of our error, what to do, and whether waiting helps."""

    kind: type[CScaleError]
    hint: str
    retryable: bool = False


_LOGIN = "Log in to the hub again; the job itself is not touched."
_GRAPH = "Correct the process graph and submit it as a new job."
_PLAN = "Name a plan of yours in the option plan; the back end lists them in its description."
_WAIT = "Nothing was lost; it is tried again."
_FILES = "Look at the files in your workspace at the back end."
_SERVICES = "Secondary services are not used here; tell the operator."

#: Codes after which the login is renewed once before anybody is bothered.
RENEWABLE = frozenset({"TokenInvalid", "AuthenticationRequired", "CredentialsInvalid"})

#: The back end has no free place for this user now; the job waits here and is tried again.
NO_PLACE = frozenset({"ConcurrentJobLimit", "TooManyJobs"})

#: Failures of the back end's own that say for certain that nothing was made.
REFUSED = frozenset({"InfrastructureMaintenance", "InfrastructureBusy", "TooManyRequests"})

#: An answer to "start" that says the job was started before.
STARTED_BEFORE = frozenset({"JobLocked"})

#: Results of a finished job that are not there yet.
NOT_READY = frozenset({"JobNotFinished", "JobNotStarted"})

MEANINGS: dict[str, Meaning] = {
    # General
    "Internal": Meaning(
        UpstreamError, "Try again; if it stays, tell the back end's support the error.", True
    ),
    "NotFound": Meaning(NotFound, "Check the address of the back end."),
    "FeatureUnsupported": Meaning(
        InvalidInput, "This back end cannot do that; use another back end or leave it out."
    ),
    "InfrastructureMaintenance": Meaning(
        UpstreamError, f"The back end is under maintenance. {_WAIT}", True
    ),
    "InfrastructureBusy": Meaning(UpstreamError, f"The back end is overloaded. {_WAIT}", True),
    "TooManyRequests": Meaning(UpstreamError, f"The back end asks for patience. {_WAIT}", True),
    "UnsupportedApiVersion": Meaning(
        NotFound, "The version in the back end's address is gone; name its root without version."
    ),
    "RequestTimeout": Meaning(UpstreamTimeout, _WAIT, True),
    "NoDataForUpdate": Meaning(InvalidInput, "Name what should change."),
    "PropertyNotEditable": Meaning(InvalidInput, "Submit a new job with the changed value."),
    "ContentTypeInvalid": Meaning(InvalidInput, "Tell the operator: the request was not JSON."),
    "RequestInvalid": Meaning(InvalidInput, "Look at the options of the job."),
    "InvalidLogLevel": Meaning(
        InvalidInput, "Set the option log_level to debug, info, warning or error."
    ),
    # Money
    "BudgetInvalid": Meaning(
        InvalidInput, "Raise the option budget above the estimated costs, or leave it out."
    ),
    "PaymentRequired": Meaning(
        Forbidden,
        "Your credits at this back end do not cover the job. Ask for an estimate, take a smaller "
        "area or period, top up your account there, or use another back end.",
    ),
    "BillingPlanInvalid": Meaning(InvalidInput, _PLAN),
    "BillingPlanMissing": Meaning(InvalidInput, _PLAN),
    "EstimateComplexity": Meaning(
        InvalidInput, "There is no estimate for this graph; run it on a small area first."
    ),
    # Login
    "AuthenticationRequired": Meaning(LoginRequired, _LOGIN),
    "AuthenticationSchemeInvalid": Meaning(
        Forbidden, "The back end wants another kind of login; the operator sets auth for it."
    ),
    "TokenInvalid": Meaning(LoginRequired, _LOGIN),
    "CredentialsInvalid": Meaning(
        LoginRequired, "Check user name and password of this back end in ~/.netrc."
    ),
    "PermissionsInsufficient": Meaning(
        Forbidden,
        "Your account may not do that at this back end. Join its virtual organisation or ask its "
        "support, or use another back end.",
    ),
    # Data and files
    "CollectionNotFound": Meaning(
        InvalidInput, "Look at the collections of this back end; each has ids of its own."
    ),
    "NoDataAvailable": Meaning(
        InvalidInput, "There is no data for this area and period; search the catalogue first."
    ),
    "StorageFailure": Meaning(
        UpstreamError, "The back end could not store the files. Clone the job later.", True
    ),
    "StorageQuotaExceeded": Meaning(
        StorageFull, "Delete old jobs or files of yours at the back end, then clone the job."
    ),
    "FileNotFound": Meaning(InvalidInput, _FILES),
    "FilePathInvalid": Meaning(InvalidInput, _FILES),
    "FileOperationUnsupported": Meaning(InvalidInput, _FILES),
    "FolderOperationUnsupported": Meaning(InvalidInput, _FILES),
    "FileTypeInvalid": Meaning(InvalidInput, _FILES),
    "FileSizeExceeded": Meaning(InvalidInput, _FILES),
    "FileContentInvalid": Meaning(InvalidInput, _FILES),
    "FileLocked": Meaning(Conflict, _FILES, True),
    # Processes
    "ProcessInvalid": Meaning(InvalidInput, _GRAPH),
    "ProcessGraphMissing": Meaning(InvalidInput, _GRAPH),
    "ProcessGraphInvalid": Meaning(InvalidInput, _GRAPH),
    "ProcessGraphNotFound": Meaning(
        InvalidInput, "Store the user-defined process at this back end first."
    ),
    "PredefinedProcessExists": Meaning(InvalidInput, "Give your process another name."),
    "ProcessGraphComplexity": Meaning(InvalidInput, "Submit it as a batch job."),
    "ProcessUnsupported": Meaning(
        InvalidInput, "Replace the process by one this back end lists, or use another back end."
    ),
    "ProcessParameterUnsupported": Meaning(InvalidInput, _GRAPH),
    "ProcessParameterInvalid": Meaning(InvalidInput, _GRAPH),
    "ProcessParameterRequired": Meaning(InvalidInput, _GRAPH),
    "ProcessParameterMissing": Meaning(InvalidInput, _GRAPH),
    "ProcessArgumentInvalid": Meaning(InvalidInput, _GRAPH),
    "ProcessArgumentRequired": Meaning(InvalidInput, _GRAPH),
    "ProcessArgumentUnsupported": Meaning(InvalidInput, _GRAPH),
    "UDFFailed": Meaning(InvalidInput, "Correct the code of the UDF; the log has its traceback."),
    # Jobs
    "JobNotFound": Meaning(NotFound, "It was deleted there. Clone it to run it again."),
    "JobLocked": Meaning(
        Conflict, "The job waits or runs at the back end; cancel it there before changing it."
    ),
    "JobNotFinished": Meaning(Conflict, "Wait for the job to finish.", True),
    "JobNotStarted": Meaning(Conflict, "The job has not been started.", True),
    "JobNotRunning": Meaning(Conflict, "The job does not run any more."),
    "ConcurrentJobLimit": Meaning(
        Conflict, "The job waits here until one of yours at this back end has ended.", True
    ),
    "TooManyJobs": Meaning(
        Conflict, "The job waits here until one of yours at this back end has ended.", True
    ),
    "ResultLinkExpired": Meaning(
        Conflict,
        "The links to the results are signed for a while; ask for the results again.",
        True,
    ),
    # Secondary services
    "ServiceNotFound": Meaning(NotFound, _SERVICES),
    "ServiceUnsupported": Meaning(InvalidInput, _SERVICES),
    "ServiceConfigUnsupported": Meaning(InvalidInput, _SERVICES),
    "ServiceConfigInvalid": Meaning(InvalidInput, _SERVICES),
    "ServiceConfigRequired": Meaning(InvalidInput, _SERVICES),
}


def meaning(code: str, status: int) -> Meaning:
    """What an error answer means, by its code, else by its HTTP status."""
    known = MEANINGS.get(code)
    if known is not None:
        return known
    if status == 401:
        return Meaning(LoginRequired, _LOGIN)
    if status == 402:
        return MEANINGS["PaymentRequired"]
    if status == 403:
        return MEANINGS["PermissionsInsufficient"]
    if status in (404, 410):
        return Meaning(NotFound, "")
    if status in (408, 504):
        return MEANINGS["RequestTimeout"]
    if 400 <= status < 500 and status not in (425, 429):
        return Meaning(InvalidInput, "Look at the process graph and the options of the job.")
    return Meaning(UpstreamError, _WAIT, True)
