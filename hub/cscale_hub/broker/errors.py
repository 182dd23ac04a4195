"""What the broker refuses and why, in the problem shape of the REST APIs."""

from __future__ import annotations

from typing import Any


class BrokerError(Exception):
    """A refusal or failure that is explained to the caller.

    :param message: what happened, in one sentence, without secrets.
    :param hint: what the user or operator can do.
    :param retry_after: seconds after which the same request may succeed.
    :param user: whom it is about, where that is known before anything is decided.
    """

    code = "internal"
    status = 500
    retryable = False

    def __init__(
        self, message: str, *, hint: str = "", retry_after: float = 0, user: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        self.user = user

    def body(self, request_id: str) -> dict[str, Any]:
        """``{code, message, hint, retryable, request_id}``."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "request_id": request_id,
        }


class InvalidInputError(BrokerError):
    """The request names something that is not offered."""

    code, status = "invalid_input", 400


class LoginRequiredError(BrokerError):
    """No caller, or the session at the identity provider has ended."""

    code, status = "login_required", 401


class ForbiddenError(BrokerError):
    """The caller is known and may not have this."""

    code, status = "forbidden", 403


class SharedServerError(BrokerError):
    """The user's server is open to others, who would get the user's credentials."""

    code, status = "conflict", 409


class TooManyRequestsError(BrokerError):
    """The caller asks too often."""

    code, status, retryable = "too_many_requests", 429, True


class UpstreamRefusalError(BrokerError):
    """An upstream answered in a way that waiting does not mend."""

    code, status = "upstream_error", 502


class UpstreamDownError(BrokerError):
    """An upstream does not answer, or fails for now."""

    code, status, retryable = "upstream_error", 503, True
