"""Our errors for what the official client raises, in sentences that name the back end."""

from __future__ import annotations

from cscale_core.backends import OpenEOBackend
from cscale_core.errors import (
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.jobs.engines.openeo.codes import meaning

_SAYING: dict[type[CScaleError], str] = {
    LoginRequired: "does not accept the login",
    Forbidden: "does not allow it",
    NotFound: "does not know it",
    InvalidInput: "refuses the job",
}


def code_of(error: CScaleError) -> str:
    """The openEO code of a translated error; empty when there was none."""
    return str(error.details.get("openeo_code", ""))


def translated(error: Exception, backend: OpenEOBackend) -> CScaleError:
    """Our error for one of the client's (``OpenEoApiError``, ``requests``).

    Its details keep the HTTP ``status`` and the ``openeo_code``.
    """
    if isinstance(error, CScaleError):
        return error
    import requests

    if isinstance(error, requests.Timeout):
        return UpstreamTimeout(f"{backend.title} did not answer in time.", retryable=True)
    if isinstance(error, requests.JSONDecodeError):
        return UpstreamError(f"{backend.title} did not answer with JSON.", retryable=True)
    if isinstance(error, requests.RequestException):
        return UpstreamError(
            f"{backend.title} cannot be reached.", retryable=True, reason=type(error).__name__
        )
    status = getattr(error, "http_status_code", None)
    if status is None:
        return UpstreamError(
            f"{backend.title} gave an answer that is not understood: {str(error)[:500]}",
            retryable=True,
            reason=type(error).__name__,
        )
    code = str(getattr(error, "code", "") or "")
    said = str(getattr(error, "message", "") or error).strip()[:1000]
    if said.startswith("<"):  # of a proxy before it, or of something else that is there now
        said = f"a web page came instead of an answer (status {status})."
    means = meaning(code, status)
    return means.kind(
        f"{backend.title} {_SAYING.get(means.kind, 'says')}: {said}",
        hint=means.hint,
        retryable=means.retryable,
        status=status,
        openeo_code=code,
    )
