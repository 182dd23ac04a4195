"""What is published without what signs it: addresses, process graphs and job specs.

A signed address gives its file to everybody who reads it, until it ends; a password in an argument
is one for ever. Neither belongs into a catalogue. What is taken out is named, so that whoever
repeats a run sees what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

LEFT_OUT = "(left out)"

# Names in a query that sign, or let in: S3 in both versions, Google, Azure, CloudFront, tokens.
_SIGNING = re.compile(
    r"^(x-amz-.*|x-goog-.*|signature|sig|awsaccesskeyid|googleaccessid|key-pair-id|policy|"
    r"(access_?|id_|refresh_?|auth_?)?token|jwt|api_?key|apikey|access_?key|key|secret|password)$",
    re.IGNORECASE,
)
_ENDING = ("expires", "se", "exp")
# Words in the name of a member or variable whose value is nobody's business.
_SECRET_NAME = re.compile(
    r"secret|passw|credential|api_?-?key|access_?-?key|private_?-?key|authorization|cookie"
    r"|(^|[_-])(token|auth|pwd)($|[_-])",
    re.IGNORECASE,
)
_SECRET_ARGUMENT = re.compile(r"^(--?[A-Za-z0-9_-]+)=(.*)$", re.DOTALL)
_BEARER = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JSON Web Token
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # an access key of S3
    r"|(?i:bearer|basic) [A-Za-z0-9._~+/=-]{16,}"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


def expiry(href: str) -> datetime | None:
    """When a signed link ends; None when it does not say.

    Knows ``expires`` in seconds since 1970 (openeo-python-driver, S3 version 2), and
    ``X-Amz-Date`` with ``X-Amz-Expires`` (S3 version 4).
    """
    try:
        query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(href).query).items()}
        if "x-amz-expires" in query:
            signed = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed + timedelta(seconds=int(query["x-amz-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    return None


def is_signed(href: str) -> bool:
    """Whether an address carries a signature, a token or a user name."""
    return unsigned(href) != href


def unsigned(href: str) -> str:
    """The address without user name and signature; other parts of its query stay.

    Of one that ends and carries no signature in its query only the host is left: the signature is
    a part of its path (openeo-python-driver).
    """
    try:
        parts = urlsplit(href)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return LEFT_OUT
    if not parts.scheme or not parts.netloc:
        return href
    host = parts.netloc.rpartition("@")[2]
    signing = [name for name, _ in pairs if _SIGNING.match(name)]
    ending = [name for name, _ in pairs if name.lower() in _ENDING]
    if not signing and not ending:
        return href if host == parts.netloc else urlunsplit(parts._replace(netloc=host))
    if not signing:
        return f"{parts.scheme}://{host}/{LEFT_OUT}"
    kept = [pair for pair in pairs if pair[0] not in signing and pair[0] not in ending]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept), ""))


def without_secrets(value: Any, name: str = "") -> Any:
    """A copy of a JSON value in which nothing signs, lets in, or is called a secret."""
    if name and _SECRET_NAME.search(name) and value not in (None, "", {}, []):
        return value if isinstance(value, bool) else LEFT_OUT
    if isinstance(value, Mapping):
        return {key: without_secrets(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return _arguments(value)
    if isinstance(value, str):
        return _text(value)
    return value


def _arguments(values: list[Any] | tuple[Any, ...]) -> list[Any]:
    """A list, which may be a command: ``--password X`` hides what follows the option."""
    kept: list[Any] = []
    hides = False
    for value in values:
        kept.append(LEFT_OUT if hides and isinstance(value, str) else without_secrets(value))
        hides = (
            isinstance(value, str)
            and value.startswith("-")
            and "=" not in value
            and bool(_SECRET_NAME.search(value))
        )
    return kept


def _text(value: str) -> str:
    argument = _SECRET_ARGUMENT.match(value)
    if argument and _SECRET_NAME.search(argument[1]):
        return f"{argument[1]}={LEFT_OUT}"
    return _BEARER.sub(LEFT_OUT, _ADDRESS.sub(lambda match: unsigned(match[0]), value))
