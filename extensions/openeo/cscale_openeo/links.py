"""Signed, expiring links to results, for people and programs without a token.

A signature is an HMAC-SHA256 over job, file and expiry by a key that never leaves the data folder.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from urllib.parse import quote

from cscale_openeo.credentials import write_secret
from cscale_openeo.errors import OpenEOError


class LinkSigner:
    """Makes and checks links below the service's address."""

    def __init__(self, key_file: Path, base_url: str, seconds: int) -> None:
        if not key_file.exists():
            write_secret(key_file, secrets.token_hex(32))
        self._key = bytes.fromhex(key_file.read_text(encoding="utf-8").strip())
        self._base_url = base_url
        self._seconds = seconds

    def _signature(self, job: str, file: str, expires: int) -> str:
        message = f"{job}\n{file}\n{expires}".encode()
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _query(self, job: str, file: str) -> str:
        expires = int(time.time()) + self._seconds
        return f"expires={expires}&signature={self._signature(job, file, expires)}"

    def file(self, job: str, file: str) -> str:
        """A link that downloads one file."""
        return f"{self._base_url}/results/{job}/files/{quote(file)}?{self._query(job, file)}"

    def document(self, job: str) -> str:
        """The canonical link: the results' STAC document, without a token."""
        return f"{self._base_url}/results/{job}?{self._query(job, '')}"

    def check(self, job: str, file: str, expires: int, signature: str) -> None:
        """Accept a link or not.

        :raises OpenEOError: PermissionsInsufficient when it is not ours, ResultLinkExpired (410).
        """
        if not hmac.compare_digest(self._signature(job, file, expires), signature):
            raise OpenEOError("PermissionsInsufficient", "The link's signature is not right.")
        if expires < time.time():
            raise OpenEOError(
                "ResultLinkExpired",
                "The link to the batch job result has expired. Please request the results again.",
            )
