"""The accounts and clients of the one-machine federation."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from werkzeug.security import check_password_hash, generate_password_hash

from cscale_hub.local.issuer.config import (
    DEVICE_CODE_GRANT,
    TOKEN_EXCHANGE_GRANT,
    ClientConfig,
)
from cscale_hub.local.issuer.files import make_private_dir, read_private, write_private
from cscale_hub.local.issuer.users import USER_LIST, User, read_users

AUTHORITY = "aai.egi.eu"
COUNTRY_CAPABILITY = f"urn:mace:egi.eu:res:c-scale:country:PT#{AUTHORITY}"
"""A capability (AARC-G027), which is not a group; every account has it, to be ignored."""

PASSWORDS = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A demonstration account: roles held, by virtual organisation."""

    username: str
    display_name: str
    roles: tuple[tuple[str, str], ...]


DEMO_ACCOUNTS = (
    DemoAccount("aqua", "Aqua Monitor member", (("aquamonitor.c-scale.eu", "member"),)),
    DemoAccount(
        "aqua-manager",
        "Aqua Monitor manager",
        (("aquamonitor.c-scale.eu", "member"), ("aquamonitor.c-scale.eu", "manager")),
    ),
    DemoAccount("water", "Water Watch member", (("waterwatch.c-scale.eu", "member"),)),
    DemoAccount(
        "both",
        "Member of both communities",
        (("aquamonitor.c-scale.eu", "member"), ("waterwatch.c-scale.eu", "member")),
    ),
    DemoAccount("outsider", "Member of no community here", (("vo.notebooks.egi.eu", "member"),)),
)


def _subject(username: str) -> str:
    """A fixed ``sub``, so that an account finds its data again after ``issuer/`` was deleted."""
    return hashlib.sha256(f"cscale-demo:{username}".encode()).hexdigest() + "@egi.eu"


def _user(account: DemoAccount, password: str) -> User:
    groups = [f"urn:mace:egi.eu:group:{vo}:role={role}#{AUTHORITY}" for vo, role in account.roles]
    return User(
        username=account.username,
        display_name=account.display_name,
        email=f"{account.username}@demo.invalid",
        subject=_subject(account.username),
        password_hash=generate_password_hash(password),
        entitlements=(*groups, COUNTRY_CAPABILITY),
    )


def write_demo_users(path: Path, secrets_dir: Path) -> dict[str, str]:
    """Make sure the demonstration accounts exist and return their passwords by user name.

    Passwords are random, made once, and kept (mode 0600) in ``secrets_dir/demo-users.json`` for
    ``cscale up`` to print. An account that is in the users file already is left as it is, except
    that a password which no longer matches is set anew; other accounts are not touched.

    :param path: the users file to write (mode 0600).
    :raises UsersError: the users file exists and cannot be used.
    """
    make_private_dir(secrets_dir)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    passwords_file = secrets_dir / "demo-users.json"
    known: dict[str, str] = {}
    if passwords_file.exists():
        known = PASSWORDS.validate_json(read_private(passwords_file))
    existing = read_users(path) if path.exists() else ()
    users = {user.username: user for user in existing}
    passwords: dict[str, str] = {}
    for account in DEMO_ACCOUNTS:
        name = account.username
        password = passwords[name] = known.get(name) or secrets.token_urlsafe(12)
        user = users.get(name)
        if user is None:
            users[name] = _user(account, password)
        elif not check_password_hash(user.password_hash, password):
            hashed = generate_password_hash(password)
            users[name] = user.model_copy(update={"password_hash": hashed})
    # Passwords first: after a crash between the two, the users file is corrected to them.
    if passwords != known:
        write_private(passwords_file, json.dumps(passwords, indent=1).encode())
    if tuple(users.values()) != existing:
        write_private(path, USER_LIST.dump_json(tuple(users.values()), indent=1))
    return passwords


def client_secret(secrets_dir: Path, client_id: str) -> Path:
    """The file with a client's secret, made (mode 0600) when it is absent."""
    make_private_dir(secrets_dir)
    path = secrets_dir / f"oidc-{client_id}"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())
    return path


def demo_clients(secrets_dir: Path, hub_url: str) -> tuple[ClientConfig, ...]:
    """The three clients of the federation; their secrets are made in ``secrets_dir``.

    :param hub_url: the hub as browsers see it, with its base URL, such as
        ``http://127.0.0.1:8000/``. Logins come back to ``hub/oauth_callback`` below it.
    """
    hub = hub_url.rstrip("/")
    return (
        ClientConfig(
            client_id="cscale-hub",
            title="C-SCALE Hub",
            secret_file=client_secret(secrets_dir, "cscale-hub"),
            redirect_uris=(f"{hub}/hub/oauth_callback",),
            post_logout_redirect_uris=(f"{hub}/", f"{hub}/hub/", f"{hub}/hub/login"),
            grant_types=("authorization_code", "refresh_token", TOKEN_EXCHANGE_GRANT),
            audiences=("s3", "openeo", "catalogue"),
        ),
        ClientConfig(
            client_id="cscale-openeo",
            title="openEO client",
            grant_types=(DEVICE_CODE_GRANT, "refresh_token"),
            token_audience=("openeo",),
        ),
        ClientConfig(
            client_id="cscale-openeo-service",
            title="openEO service",
            secret_file=client_secret(secrets_dir, "cscale-openeo-service"),
            grant_types=("client_credentials", TOKEN_EXCHANGE_GRANT),
            audiences=("s3", "catalogue"),
            exchanges_for=("openeo",),
        ),
    )
