"""The demo users of the local federation: made once, passwords in files of mode 0600.

The names say what the account shows; there are no invented people.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import generate_password_hash

from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import read_secret, write_secret

AUTHORITY = "#aai.egi.eu"
_COUNTRY = f"urn:mace:egi.eu:res:c-scale:country:PT{AUTHORITY}"
# No letters or digits that are mistaken for each other: passwords are typed from a terminal.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class DemoUser:
    """One demo user; ``memberships`` are pairs of a VO's group and a role."""

    username: str
    display_name: str
    about: str
    memberships: tuple[tuple[str, str], ...]

    @property
    def entitlements(self) -> list[str]:
        """As Check-in spells them; each user also has a capability, which is not a group."""
        groups = [
            f"urn:mace:egi.eu:group:{group}:role={role}{AUTHORITY}"
            for group, role in self.memberships
        ]
        return [*groups, _COUNTRY]


_AQUA = "aquamonitor.c-scale.eu"
_WATER = "waterwatch.c-scale.eu"
DEMO_USERS = (
    DemoUser("aqua", "Aqua Monitor member", f"member of {_AQUA}", ((_AQUA, "member"),)),
    DemoUser(
        "aqua-manager",
        "Aqua Monitor manager",
        f"manager of {_AQUA}",
        ((_AQUA, "member"), (_AQUA, "manager")),
    ),
    DemoUser("water", "Water Watch member", f"member of {_WATER}", ((_WATER, "member"),)),
    DemoUser(
        "both", "Member of two VOs", "member of both VOs", ((_AQUA, "member"), (_WATER, "member"))
    ),
    DemoUser(
        "outsider",
        "Member of another VO",
        "in no VO that this hub accepts",
        (("vo.notebooks.egi.eu", "member"),),
    ),
)


def users_file(layout: Layout) -> Path:
    """The issuer's users, with password hashes."""
    return layout.secrets / "issuer-users.json"


def passwords_file(layout: Layout) -> Path:
    """The demo users' passwords, for ``cscale up`` to show."""
    return layout.secrets / "demo-passwords.json"


def ensure_people(layout: Layout) -> dict[str, str]:
    """The demo users' passwords by name; users are made on the first start and kept.

    :raises SecretError: when a file is there and readable by others.
    """
    if not (users_file(layout).exists() and passwords_file(layout).exists()):
        passwords = {user.username: _password() for user in DEMO_USERS}
        users = [
            {
                "username": user.username,
                "display_name": user.display_name,
                "email": f"{user.username}@example.org",
                "subject": f"{secrets.token_hex(32)}@egi.eu",
                "password_hash": generate_password_hash(passwords[user.username]),
                "entitlements": user.entitlements,
            }
            for user in DEMO_USERS
        ]
        write_secret(users_file(layout), json.dumps(users, indent=1))
        write_secret(passwords_file(layout), json.dumps(passwords, indent=1))
    stored: dict[str, str] = json.loads(read_secret(passwords_file(layout)))
    return stored


def _password() -> str:
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
    return "-".join(groups)
