"""What the identity provider must remember across a crash, in one SQLite file.

Codes, tokens and cookies are kept as SHA-256 digests only: a copy of the file gives nobody a
session. Every change that belongs together (spending a refresh token and storing its successor)
is one transaction. Times are seconds since 1970.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cscale_hub.local.issuer.files import DamagedState

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE sessions (
  digest TEXT PRIMARY KEY, subject TEXT NOT NULL, auth_time INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE consents (
  subject TEXT NOT NULL, client_id TEXT NOT NULL, scope TEXT NOT NULL,
  PRIMARY KEY (subject, client_id, scope)
) STRICT;
CREATE TABLE grants (
  id TEXT PRIMARY KEY, client_id TEXT NOT NULL, subject TEXT NOT NULL, scope TEXT NOT NULL,
  auth_time INTEGER NOT NULL, session TEXT NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER
) STRICT;
CREATE INDEX grants_of_session ON grants (session);
CREATE TABLE codes (
  digest TEXT PRIMARY KEY, grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
  redirect_uri TEXT NOT NULL, nonce TEXT, challenge TEXT NOT NULL,
  expires_at INTEGER NOT NULL, used_at INTEGER
) STRICT;
CREATE TABLE refresh_tokens (
  digest TEXT PRIMARY KEY, grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
  expires_at INTEGER NOT NULL, used_at INTEGER
) STRICT;
CREATE TABLE device_codes (
  digest TEXT PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL,
  scope TEXT NOT NULL, challenge TEXT, expires_at INTEGER NOT NULL, poll_interval INTEGER NOT NULL,
  polled_at REAL, state TEXT NOT NULL DEFAULT 'pending',
  grant_id TEXT REFERENCES grants (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE revoked_tokens (jti TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT;
"""


class SupportsClientId(Protocol):
    """Anything with a client_id."""

    client_id: str


class Spent(Exception):
    """A one-time secret (code, refresh token, device code) was already used."""


@dataclass(frozen=True, slots=True)
class Session:
    """A single sign-on session of a browser."""

    digest: str
    subject: str
    auth_time: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person allowed a client: the family that all tokens of one login belong to."""

    id: str
    client_id: str
    subject: str
    scope: str
    auth_time: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code as stored, with its grant."""

    digest: str
    grant: Grant
    redirect_uri: str
    nonce: str | None
    challenge: str
    expires_at: int
    used: bool

    def get_redirect_uri(self) -> str:
        """The redirect URI of the authorization request; authlib asks by this name."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """The granted scope; authlib asks by this name."""
        return self.grant.scope


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as stored, with its grant."""

    digest: str
    grant: Grant
    expires_at: int
    used: bool

    def get_scope(self) -> str:
        """The granted scope; authlib asks by this name."""
        return self.grant.scope

    def get_client_id(self) -> str:
        """The client it was given to."""
        return self.grant.client_id

    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at <= time.time()

    def is_revoked(self) -> bool:
        """Whether it was used up, or its grant was revoked."""
        return self.used or self.grant.revoked

    def check_client(self, client: SupportsClientId) -> bool:
        """Whether it was given to this client; authlib asks by this name."""
        return self.grant.client_id == client.client_id


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A device authorization (RFC 8628) as stored."""

    digest: str
    user_code: str
    client_id: str
    scope: str
    challenge: str | None
    expires_at: int
    state: str
    grant: Grant | None

    def get_client_id(self) -> str:
        """The client that started it; authlib asks by this name."""
        return self.client_id

    def get_scope(self) -> str:
        """The scope asked for; authlib asks by this name."""
        return self.scope

    def get_user_code(self) -> str:
        """The code people type; authlib asks by this name."""
        return self.user_code

    def is_expired(self) -> bool:
        """Whether its time is over; authlib asks by this name."""
        return self.expires_at <= time.time()


def digest(secret: str) -> str:
    """The form in which a secret is stored. The secrets are random, so no salt is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


GRANT_COLUMNS = "g.id, g.client_id, g.subject, g.scope, g.auth_time, g.revoked_at IS NOT NULL"


def _grant(row: tuple[str, str, str, str, int, int]) -> Grant:
    return Grant(row[0], row[1], row[2], row[3], row[4], bool(row[5]))


class Store:
    """The SQLite file ``data_dir/issuer.sqlite3`` (rollback journal, so NFS is fine too).

    One connection per transaction: few requests per second, and no state shared by threads.

    :raises DamagedState: the file is no database, or of another version of this program.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "issuer.sqlite3"
        # The journal takes over the mode of the database file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._path.chmod(0o600)
        try:
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise DamagedState(f"{self._path}: {error}") from error
        self._pruned_at = 0.0

    def _migrate(self) -> None:
        with self._write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise DamagedState(
                    f"{self._path} has schema {version}, this program knows {SCHEMA_VERSION}"
                )

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        return db

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            yield db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def prune(self) -> None:
        """Forget what has ended; at most once an hour."""
        now = time.time()
        if now - self._pruned_at < 3600:
            return
        self._pruned_at = now
        # An hour late, so that a client still hears that its code has expired.
        past = (int(now) - 3600,)
        with self._write() as db:
            for table in ("sessions", "codes", "refresh_tokens", "device_codes", "revoked_tokens"):
                db.execute(f"DELETE FROM {table} WHERE expires_at < ?", past)  # noqa: S608
            db.execute("DELETE FROM grants WHERE expires_at < ?", past)

    # Single sign-on sessions and consent

    def start_session(self, subject: str, seconds: int) -> str:
        """Open a session and return the cookie's value."""
        cookie = secrets.token_urlsafe(32)
        now = int(time.time())
        with self._write() as db:
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)",
                (digest(cookie), subject, now, now + seconds),
            )
        return cookie

    def session(self, cookie: str) -> Session | None:
        """The session of a cookie, unless it has ended."""
        with self._read() as db:
            row = db.execute(
                "SELECT digest, subject, auth_time FROM sessions"
                " WHERE digest = ? AND expires_at > ?",
                (digest(cookie), int(time.time())),
            ).fetchone()
        return Session(*row) if row else None

    def end_session(self, session: Session) -> None:
        """Close a session and revoke its grants, except those for offline access.

        Like Keycloak: ``offline_access`` asks for exactly that, to outlive the session. Such a
        grant ends by revocation at the revoke endpoint.
        """
        self._end_session(session.digest)

    def end_session_of_grant(self, grant_id: str) -> None:
        """Close the session in which a grant was given, as :meth:`end_session` does."""
        with self._read() as db:
            row = db.execute("SELECT session FROM grants WHERE id = ?", (grant_id,)).fetchone()
        if row is not None:
            self._end_session(row[0])

    def _end_session(self, session_digest: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM sessions WHERE digest = ?", (session_digest,))
            db.execute(
                "UPDATE grants SET revoked_at = ? WHERE session = ? AND revoked_at IS NULL"
                " AND ' ' || scope || ' ' NOT LIKE '% offline_access %'",
                (int(time.time()), session_digest),
            )

    def record_consent(self, subject: str, client_id: str, scope: str) -> None:
        """Remember that a person agreed to release each scope to a client."""
        with self._write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO consents VALUES (?, ?, ?)",
                [(subject, client_id, name) for name in scope.split()],
            )

    def has_consented(self, subject: str, client_id: str, scope: str) -> bool:
        """Whether a person has agreed to every one of the scopes before."""
        with self._read() as db:
            rows = db.execute(
                "SELECT scope FROM consents WHERE subject = ? AND client_id = ?",
                (subject, client_id),
            ).fetchall()
        return set(scope.split()) <= {row[0] for row in rows}

    # Authorization codes

    def issue_code(
        self,
        *,
        client_id: str,
        subject: str,
        scope: str,
        session: Session,
        redirect_uri: str,
        nonce: str | None,
        challenge: str,
        code: str,
        seconds: int,
    ) -> None:
        """Store a fresh authorization code and the grant it stands for."""
        expires = int(time.time()) + seconds
        grant_id = secrets.token_urlsafe(16)
        with self._write() as db:
            db.execute(
                "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (grant_id, client_id, subject, scope, session.auth_time, session.digest, expires),
            )
            db.execute(
                "INSERT INTO codes VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (digest(code), grant_id, redirect_uri, nonce, challenge, expires),
            )

    def code(self, code: str) -> Code | None:
        """The stored authorization code, used or not."""
        with self._read() as db:
            row = db.execute(
                f"SELECT {GRANT_COLUMNS}, c.digest, c.redirect_uri, c.nonce, c.challenge,"  # noqa: S608
                " c.expires_at, c.used_at IS NOT NULL"
                " FROM codes c JOIN grants g ON g.id = c.grant_id WHERE c.digest = ?",
                (digest(code),),
            ).fetchone()
        if row is None:
            return None
        return Code(row[6], _grant(row[:6]), row[7], row[8], row[9], row[10], bool(row[11]))

    def spend_code(self, code: Code, access_expires: int, refresh: tuple[str, int] | None) -> None:
        """Use up a code and store the refresh token it is exchanged for, in one step.

        :param access_expires: when the access token given with it ends.
        :param refresh: the new refresh token and when it ends.
        :raises Spent: it was used meanwhile.
        """
        with self._write() as db:
            changed = db.execute(
                "UPDATE codes SET used_at = ? WHERE digest = ? AND used_at IS NULL",
                (int(time.time()), code.digest),
            ).rowcount
            if changed != 1:
                raise Spent
            # A used code is kept as long as its grant, so that a replay is recognised.
            self._extend(db, code.grant.id, access_expires, refresh)
            db.execute(
                "UPDATE codes SET expires_at ="
                " (SELECT g.expires_at FROM grants g WHERE g.id = grant_id) WHERE digest = ?",
                (code.digest,),
            )

    @staticmethod
    def _extend(
        db: sqlite3.Connection, grant_id: str, access_expires: int, refresh: tuple[str, int] | None
    ) -> None:
        if refresh is not None:
            db.execute(
                "INSERT INTO refresh_tokens VALUES (?, ?, ?, NULL)",
                (digest(refresh[0]), grant_id, refresh[1]),
            )
        ends = max(access_expires, refresh[1] if refresh else 0)
        db.execute(
            "UPDATE grants SET expires_at = max(expires_at, ?) WHERE id = ?", (ends, grant_id)
        )

    # Grants and refresh tokens

    def grant(self, grant_id: str) -> Grant | None:
        """The grant with this id, revoked or not."""
        with self._read() as db:
            row = db.execute(
                f"SELECT {GRANT_COLUMNS} FROM grants g WHERE g.id = ?",  # noqa: S608
                (grant_id,),
            ).fetchone()
        return _grant(row) if row else None

    def revoke_grant(self, grant_id: str) -> None:
        """End a grant: its refresh tokens and access tokens are no longer accepted."""
        with self._write() as db:
            db.execute(
                "UPDATE grants SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL",
                (int(time.time()), grant_id),
            )

    def refresh_token(self, token: str) -> RefreshToken | None:
        """The stored refresh token, used or not."""
        with self._read() as db:
            row = db.execute(
                f"SELECT {GRANT_COLUMNS}, r.digest, r.expires_at, r.used_at IS NOT NULL"  # noqa: S608
                " FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.digest = ?",
                (digest(token),),
            ).fetchone()
        return RefreshToken(row[6], _grant(row[:6]), row[7], bool(row[8])) if row else None

    def spend_refresh_token(
        self, token: RefreshToken, access_expires: int, refresh: tuple[str, int] | None
    ) -> None:
        """Replace a refresh token by its successor; without one, keep it in force.

        :raises Spent: it was used meanwhile.
        """
        with self._write() as db:
            if refresh is not None:
                changed = db.execute(
                    "UPDATE refresh_tokens SET used_at = ? WHERE digest = ? AND used_at IS NULL",
                    (int(time.time()), token.digest),
                ).rowcount
                if changed != 1:
                    raise Spent
            self._extend(db, token.grant.id, access_expires, refresh)

    # Device authorizations

    def issue_device_code(
        self,
        *,
        device_code: str,
        user_code: str,
        client_id: str,
        scope: str,
        challenge: str | None,
        seconds: int,
        interval: int,
    ) -> None:
        """Store a device authorization that waits for its user."""
        with self._write() as db:
            db.execute(
                "INSERT INTO device_codes (digest, user_code, client_id, scope, challenge,"
                " expires_at, poll_interval) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    digest(device_code),
                    user_code,
                    client_id,
                    scope,
                    challenge,
                    int(time.time()) + seconds,
                    interval,
                ),
            )

    def _device(self, where: str, value: str) -> DeviceCode | None:
        with self._read() as db:
            row = db.execute(
                "SELECT d.digest, d.user_code, d.client_id, d.scope, d.challenge, d.expires_at,"  # noqa: S608
                f" d.state, {GRANT_COLUMNS} FROM device_codes d"
                f" LEFT JOIN grants g ON g.id = d.grant_id WHERE {where} = ?",
                (value,),
            ).fetchone()
        if row is None:
            return None
        grant = _grant(row[7:13]) if row[7] else None
        return DeviceCode(row[0], row[1], row[2], row[3], row[4], row[5], row[6], grant)

    def device_code(self, device_code: str) -> DeviceCode | None:
        """The device authorization a client polls for."""
        return self._device("d.digest", digest(device_code))

    def device_by_user_code(self, user_code: str) -> DeviceCode | None:
        """The device authorization a person names."""
        return self._device("d.user_code", user_code)

    def polled_too_soon(self, device: DeviceCode) -> bool:
        """Note a poll. True when it came early; the interval then grows by 5 s (RFC 8628, 3.5)."""
        now = time.time()
        with self._write() as db:
            polled_at, interval = db.execute(
                "SELECT polled_at, poll_interval FROM device_codes WHERE digest = ?",
                (device.digest,),
            ).fetchone()
            early = polled_at is not None and now - polled_at < interval
            db.execute(
                "UPDATE device_codes SET polled_at = ?, poll_interval = ? WHERE digest = ?",
                (now, interval + 5 if early else interval, device.digest),
            )
        return early

    def decide_device(self, device: DeviceCode, session: Session, *, allowed: bool) -> bool:
        """Record the person's answer. False when the request was answered or ended before."""
        now = int(time.time())
        grant_id = secrets.token_urlsafe(16)
        with self._write() as db:
            changed = db.execute(
                "UPDATE device_codes SET state = ? WHERE digest = ? AND state = 'pending'"
                " AND expires_at > ?",
                ("approved" if allowed else "denied", device.digest, now),
            ).rowcount
            if changed != 1:
                return False
            if allowed:
                db.execute(
                    "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                    (
                        grant_id,
                        device.client_id,
                        session.subject,
                        device.scope,
                        session.auth_time,
                        session.digest,
                        device.expires_at,
                    ),
                )
                db.execute(
                    "UPDATE device_codes SET grant_id = ? WHERE digest = ?",
                    (grant_id, device.digest),
                )
        return True

    def spend_device_code(
        self, device: DeviceCode, access_expires: int, refresh: tuple[str, int] | None
    ) -> None:
        """Use up an approved device code and store its refresh token, in one step.

        :raises Spent: it was used meanwhile.
        """
        with self._write() as db:
            changed = db.execute(
                "UPDATE device_codes SET state = 'used' WHERE digest = ? AND state = 'approved'",
                (device.digest,),
            ).rowcount
            if changed != 1 or device.grant is None:
                raise Spent
            self._extend(db, device.grant.id, access_expires, refresh)

    # Single access tokens

    def revoke_access_token(self, jti: str, expires_at: int) -> None:
        """Refuse one access token for the rest of its life."""
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO revoked_tokens VALUES (?, ?)", (jti, expires_at))

    def is_revoked(self, jti: str) -> bool:
        """Whether this one access token was revoked."""
        with self._read() as db:
            row = db.execute("SELECT 1 FROM revoked_tokens WHERE jti = ?", (jti,)).fetchone()
        return row is not None
