"""The short, stable, safe name of a person, derived from the subject identifier."""

from __future__ import annotations

import base64
import hashlib


def user_slug(subject: str) -> str:
    """Twelve lower-case letters and digits that stand for a Check-in subject.

    ``sub`` (= ``voperson_id``) is 64 hexadecimal digits and ``@egi.eu``: too long for volume,
    label and bucket names, and not to be shown around. The slug is ``u`` and 55 bits of the
    subject's SHA-256 in base 32, so it never changes, needs no table, and is safe as a path
    segment, DNS label, S3 prefix and policy resource.

    :raises ValueError: when the subject is empty.
    """
    if not subject:
        raise ValueError("the subject identifier is empty")
    digest = hashlib.sha256(subject.encode()).digest()
    return "u" + base64.b32encode(digest).decode().lower()[:11]
