"""The signing keys: RSA 2048 in one private file, with rotation.

The newest key signs. A key that was replaced stays in the published set until the last token it
can have signed has ended; then it is dropped. Refresh tokens are opaque and survive a rotation.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet, RSAKey
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cscale_hub.local.issuer.files import DamagedState, read_private, write_private

RETIRE_LEEWAY_SECONDS = 60
"""A verifier's clock may be this much behind ours."""


class StoredKey(BaseModel):
    """One private key as kept on disk. Times are seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: int
    retires: int | None
    """When it leaves the published set; null for the key that signs."""
    jwk: dict[str, Any]


STORED_KEYS = TypeAdapter(list[StoredKey])


class KeyRing:
    """The keys in ``data_dir/keys.json``; a rotation by another process is noticed.

    :raises DamagedState: the file exists and holds no usable keys.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "keys.json"
        self._lock_path = data_dir / "keys.lock"
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: list[tuple[StoredKey, RSAKey]] = []
        with self._file_lock():
            if not self._path.exists():
                self._write([_new_key()])
        self.signing_key()

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, keys: list[StoredKey]) -> None:
        content = [key.model_dump(mode="json") for key in keys]
        write_private(self._path, json.dumps(content, indent=1).encode())

    def _read(self) -> list[StoredKey]:
        try:
            keys = STORED_KEYS.validate_json(read_private(self._path))
        except ValidationError:
            # The cause is left out: it would quote private keys.
            raise DamagedState(f"{self._path} does not hold signing keys") from None
        if all(key.retires is not None for key in keys):
            raise DamagedState(f"{self._path} holds no key to sign with")
        return keys

    def _current(self) -> list[tuple[StoredKey, RSAKey]]:
        """All keys still in force, newest first."""
        with self._lock:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                stored = sorted(self._read(), key=lambda key: key.created, reverse=True)
                self._keys = [(key, RSAKey.import_key(key.jwk)) for key in stored]
                self._stamp = stamp
            now = time.time()
            return [
                (stored, key)
                for stored, key in self._keys
                if stored.retires is None or stored.retires > now
            ]

    def signing_key(self) -> RSAKey:
        """The private key that signs now; its ``kid`` goes into the header."""
        return next(key for stored, key in self._current() if stored.retires is None)

    def verification_keys(self) -> KeySet:
        """The keys that tokens still in force may be signed with."""
        return KeySet([key for _, key in self._current()])

    def published(self) -> dict[str, Any]:
        """The JWKS document (RFC 7517): public members only."""
        return {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "alg": "RS256"}
                for _, key in self._current()
            ]
        }

    def rotate(self, token_seconds: int) -> str:
        """Add a new signing key and return its ``kid``.

        :param token_seconds: the longest life of a signed token; the former key is published
            that long from now on.
        """
        now = int(time.time())
        new = _new_key()
        with self._file_lock():
            kept = []
            for key in self._read():
                if key.retires is None:
                    retires = now + token_seconds + RETIRE_LEEWAY_SECONDS
                    kept.append(key.model_copy(update={"retires": retires}))
                elif key.retires > now:
                    kept.append(key)
            self._write([new, *kept])
        return str(new.jwk["kid"])


def _new_key() -> StoredKey:
    key = RSAKey.generate_key(2048, private=True)
    jwk = key.as_dict(private=True)
    jwk["kid"] = key.thumbprint()
    return StoredKey(created=int(time.time()), retires=None, jwk=dict(jwk))
