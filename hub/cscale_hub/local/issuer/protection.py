"""Protection of the login pages: form tokens against forgery, and a brake on guessing."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections import deque
from pathlib import Path

from cscale_hub.local.issuer.files import read_private, write_private

WINDOW_SECONDS = 60


class FormTokens:
    """Form tokens tied to a cookie of the browser (signed double submit).

    The key lies in ``data_dir``, so that a form opened before a restart still works after it.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / "form.key"
        if not path.exists():
            write_private(path, secrets.token_bytes(32))
        self._key = read_private(path)

    def new_cookie(self) -> str:
        """A fresh cookie value."""
        return secrets.token_urlsafe(24)

    def token(self, cookie: str) -> str:
        """The value of the hidden form field for a cookie."""
        return hmac.new(self._key, cookie.encode(), hashlib.sha256).hexdigest()

    def matches(self, cookie: str, token: str) -> bool:
        """Whether a form was rendered for the browser that sends it."""
        return bool(cookie) and hmac.compare_digest(self.token(cookie).encode(), token.encode())


class GuessLimiter:
    """Counts failures per key in the last minute; too many and the key has to wait.

    Kept in memory: a restart forgets it, and who can restart the server needs no guessing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._failures: dict[str, deque[float]] = {}

    def seconds_to_wait(self, key: str) -> int:
        """0 when another try is allowed."""
        now = time.monotonic()
        with self._lock:
            failures = self._recent(key, now)
            if len(failures) < self._limit:
                return 0
            return math.ceil(failures[-self._limit] + WINDOW_SECONDS - now)

    def failed(self, key: str) -> None:
        """Count a failure."""
        now = time.monotonic()
        with self._lock:
            self._failures.setdefault(key, deque()).append(now)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        with self._lock:
            self._failures.pop(key, None)

    def _recent(self, key: str, now: float) -> deque[float]:
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= now - WINDOW_SECONDS:
            failures.popleft()
        if not failures:
            self._failures.pop(key, None)
        return failures
