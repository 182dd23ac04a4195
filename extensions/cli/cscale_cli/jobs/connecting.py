"""Whose list of jobs it is: that of the server around this shell, of a hub, or of the hub here.

A token comes from a file that nobody else can read, never from an option or a variable: both are
seen by others, and stay in the shell's history.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from cscale_cli.hub_login import HubLogin
from cscale_core.client import Jobs, here
from cscale_core.errors import InvalidInput, UpstreamError

TOKEN_FILE_VARIABLE = "CSCALE_TOKEN_FILE"  # noqa: S105 - the name of a variable, not a secret
_HINT = (
    "Start one here with: cscale up. Or name a hub: --hub URL, with a file that holds a token of "
    f"it: --token-file FILE, or {TOKEN_FILE_VARIABLE}."
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Door:
    """How the list is reached, as the options say it."""

    hub: str = ""
    user: str = ""
    token_file: Path | None = None
    data: Path | None = None
    start: bool = False


@contextmanager
def opened(door: Door, say: Say) -> Iterator[Jobs]:
    """The list of jobs behind a door.

    :raises InvalidInput: when the options do not say whose, or a file cannot be used.
    :raises CScaleError: when the hub does not let in, or the server does not run.
    """
    if door.hub:
        with _hub(door) as login:
            _let_in(login, _token(door.token_file), door.user)
            yield _jobs(login, door, say)
    elif door.data is None and os.environ.get("JUPYTERHUB_SERVICE_URL"):
        yield here().jobs
    else:
        url, user, password = _local(door)
        with HubLogin(url) as login:
            try:
                login.sign_in(user, password)
            except httpx.HTTPError as error:
                raise UpstreamError(f"The hub at {url} does not answer: {error}") from error
            yield _jobs(login, door, say)


def _hub(door: Door) -> HubLogin:
    parts = urlsplit(door.hub)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{door.hub!r} is not the address of a hub.", hint="Such as https://…")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise InvalidInput(
            "A token is sent over HTTPS only, or on this machine.",
            hint=f"Use https://{parts.netloc}.",
        )
    return HubLogin(door.hub)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _let_in(login: HubLogin, token: str, user: str) -> None:
    try:
        found = login.use_token(token)
    except httpx.HTTPError as error:
        raise UpstreamError(f"The hub at {login.hub_url} does not answer: {error}") from error
    if user and user != found:
        raise InvalidInput(
            f"The token is one of {found}, not of {user}.", hint="Leave --user out, or change it."
        )


def _token(file: Path | None) -> str:
    """The token in a private file."""
    from cscale_hub.local.secrets import SecretError, read_secret

    named = file or Path(os.environ.get(TOKEN_FILE_VARIABLE, ""))
    if named == Path():
        raise InvalidInput(
            "No file with a token of the hub is named.",
            hint="Make a token on the hub's token page, put it into a file of mode 0600, and name "
            f"that: --token-file FILE, or {TOKEN_FILE_VARIABLE}.",
        )
    try:
        return read_secret(named)
    except SecretError as error:
        raise InvalidInput(str(error)) from error


def _local(door: Door) -> tuple[str, str, str]:
    """Address, user and password of the hub that runs on this machine.

    The passwords of its demonstration users are in its data folder, for its owner only.
    """
    none = InvalidInput("There is no hub here whose jobs could be shown.", hint=_HINT)
    try:
        from cscale_hub.local.lifecycle import Federation, FederationError
        from cscale_hub.local.people import DEMO_USERS
        from cscale_hub.settings import SettingsError, load_settings
    except ImportError:
        # The image of a user's server does not carry the hub.
        raise none from None
    try:
        federation = Federation(door.data or load_settings().data)
        if not federation.is_running():
            raise none
        passwords = federation.passwords
        user = door.user or DEMO_USERS[0].username
        if user not in passwords:
            raise InvalidInput(
                f"There is no demonstration user {user}.",
                hint=f"There are {', '.join(passwords)}.",
            )
        return federation.hub_url, user, passwords[user]
    except (FederationError, SettingsError) as error:
        raise InvalidInput(str(error), hint=none.hint) from error


def _jobs(login: HubLogin, door: Door, say: Say) -> Jobs:
    """The list of somebody who is let in, whose server runs."""
    if not login.server_runs():
        if not door.start:
            raise UpstreamError(
                f"The server of {login.user} does not run.",
                hint=f"Start it at {login.hub_url}/hub/spawn, or add --start. Jobs elsewhere go "
                "on without it.",
                retryable=True,
            )
        login.start_server(say)
    return login.workspace.jobs
