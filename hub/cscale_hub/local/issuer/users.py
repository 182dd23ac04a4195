"""The people the identity provider knows, read from a file that may change while it runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from werkzeug.security import check_password_hash, generate_password_hash

from cscale_hub.local.issuer.files import InsecureFile, read_private

log = logging.getLogger(__name__)


class User(BaseModel):
    """One account. ``subject`` has the form of Check-in: 64 hexadecimal digits and ``@egi.eu``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    display_name: str
    email: str
    subject: str = Field(pattern=r"^[0-9a-f]{64}@egi\.eu$")
    password_hash: str = Field(repr=False)
    entitlements: tuple[str, ...] = ()
    enabled: bool = True


class UsersError(Exception):
    """The users file cannot be used."""


USER_LIST = TypeAdapter(tuple[User, ...])

UNKNOWN_USER_HASH = generate_password_hash("no such user")
"""Checked when the name is unknown, so that the answer takes as long as for a known one."""


def read_users(path: Path) -> tuple[User, ...]:
    """Read and validate the users file.

    :raises UsersError: unreadable, too widely readable, not valid, or with a doubled name.
    """
    try:
        users = USER_LIST.validate_json(read_private(path))
    except OSError as error:
        raise UsersError(f"cannot read the users file {path}: {error.strerror}") from error
    except InsecureFile as error:
        raise UsersError(str(error)) from error
    except ValidationError as error:
        # Inputs are left out of the message: they hold password hashes.
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise UsersError(f"{path}: " + "; ".join(lines)) from error
    for field in ("username", "subject"):
        values = [getattr(user, field) for user in users]
        if len(set(values)) != len(values):
            raise UsersError(f"{path}: a {field} is given twice")
    return users


class UserDirectory:
    """Look-up of users; a changed file is taken over at the next look-up.

    A file that has become unreadable does not lock anybody out: the last good content stays in
    force and the reason is logged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self._users = read_users(path)

    def _read_stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None  # told by read_users, which says why
        return status.st_mtime_ns, status.st_size, status.st_ino

    def all(self) -> tuple[User, ...]:
        """Every account, in the order of the file."""
        with self._lock:
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._users = read_users(self._path)
                except UsersError as error:
                    log.error("keeping the users read before: %s", error)
                else:
                    log.info("read %d users anew", len(self._users))
            return self._users

    def by_subject(self, subject: str) -> User | None:
        """The enabled account with this ``sub``, if there is one."""
        for user in self.all():
            if user.subject == subject and user.enabled:
                return user
        return None

    def authenticate(self, username: str, password: str) -> User | None:
        """The enabled account whose name and password these are, if there is one."""
        name = username.strip().lower()
        found = next((user for user in self.all() if user.username == name), None)
        hashed = found.password_hash if found else UNKNOWN_USER_HASH
        matches = check_password_hash(hashed, password)
        return found if found and found.enabled and matches else None
