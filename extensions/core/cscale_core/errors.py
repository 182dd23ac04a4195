"""Errors as part of the interface: what happened, what was kept, what to do.

Every failure a user can meet is a :class:`CScaleError` with a stable ``code``. The server maps
the class to an HTTP status in one place; nothing here knows HTTP.
"""

from __future__ import annotations

from typing import Any


class CScaleError(Exception):
    """A failure that is explained to the user.

    :param message: what happened, in one sentence, without secrets.
    :param hint: what was kept and what the user can do now.
    :param retryable: whether the same call may succeed later without a change.
    :param details: machine-readable facts (JSON values only).
    """

    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """The problem shape shared by the REST API, the CLI's ``--json`` and job errors."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
        if self.details:
            body["details"] = self.details
        return body


class InvalidInput(CScaleError):
    """The request cannot be understood or contradicts itself."""

    code = "invalid_input"


class NotFound(CScaleError):
    """The named thing does not exist, or is not visible to this user."""

    code = "not_found"


class Conflict(CScaleError):
    """The request contradicts the present state (a finished job cannot be canceled)."""

    code = "conflict"


class Forbidden(CScaleError):
    """The user is known and is not allowed to do this."""

    code = "forbidden"


class LoginRequired(CScaleError):
    """The session at the identity provider has ended; only a new login helps."""

    code = "login_required"


class UpstreamError(CScaleError):
    """A catalogue, back end or object store answered with an error of its own."""

    code = "upstream_error"


class UpstreamTimeout(UpstreamError):
    """A catalogue, back end or object store did not answer in time."""

    code = "upstream_timeout"


class StorageFull(CScaleError):
    """The bucket or disk has no room for the data."""

    code = "storage_full"


class DamagedData(CScaleError):
    """Bytes do not match their checksum, or a raster cannot be read."""

    code = "damaged_data"
