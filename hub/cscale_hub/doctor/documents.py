"""What lies on the hub's own disk: VO file, secrets, logo, announcements, audit log, records."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from cscale_hub.accounting.place import open_store
from cscale_hub.announcements import AnnouncementsError, read_announcements
from cscale_hub.audit import audit_file
from cscale_hub.doctor.findings import Finding, ok, problem, warning
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import SecretError, read_secret
from cscale_hub.settings import Settings, SettingsError
from cscale_hub.vo_model import VOFile

SMALLEST_DISK = 2 * 2**30
LARGEST_LOGO = 2**20
# Those the hub does not start without; it makes the others.
_SECRETS = ("auth-state-key", "cookie-secret", "proxy-token", "operator-token")


def documents(settings: Settings, vos: VOFile) -> list[Finding]:
    """All of them."""
    return [
        *_vos(vos),
        *_secrets(settings),
        *_announcements(settings),
        *_logo(settings),
        *_audit(settings),
        *_accounting(settings),
        *_disk(settings),
    ]


def _vos(vos: VOFile) -> Iterator[Finding]:
    words = f"{_number(len(vos.vos), 'VO')}, {_number(len(vos.profiles), 'profile')}"
    yield ok("virtual organisations", words)
    for name, vo in vos.vos.items():
        if "" in vo.entitlement.authorities:
            yield warning(
                "virtual organisations",
                f"{name} takes entitlements that name no authority",
                "Name the authority that may speak for the VO, else every source that the identity "
                "provider passes on can claim membership.",
            )
        if vo.shared_notebooks.tokens_while_shared:
            yield warning(
                "virtual organisations",
                f"{name} gives tokens to servers that are shared",
                "Everybody in such a server can use them. Set tokens_while_shared to false unless "
                "that is meant.",
            )


def _secrets(settings: Settings) -> Iterator[Finding]:
    folder = settings.secrets_folder
    files = [folder / name for name in _SECRETS]
    named = (
        settings.identity.client_secret_file,
        settings.accounting.database_file,
        settings.accounting.storage_key_file,
    )
    files += [file for file in named if file is not None]
    wrong = 0
    for file in files:
        try:
            read_secret(file)
        except SecretError as error:
            wrong += 1
            yield problem(
                "secrets",
                str(error),
                "Put it there with mode 0600, owned by the hub's account; on one machine "
                "`cscale up` makes those in the data folder.",
            )
    if not wrong:
        yield ok("secrets", f"{_number(len(files), 'file')}, readable by their owner only")


def _announcements(settings: Settings) -> Iterator[Finding]:
    path = settings.hub.announcements_file or Layout(settings.data).announcements
    try:
        found = read_announcements(path)
    except AnnouncementsError as error:
        yield warning(
            "announcements", str(error), "Mend the file; the hub shows what it read before."
        )
        return
    yield ok("announcements", _number(len(found), "announcement"))


def _logo(settings: Settings) -> Iterator[Finding]:
    path = settings.branding.logo_file
    if path is None:
        return
    try:
        size = path.stat().st_size
    except OSError as error:
        yield problem(
            "logo",
            f"{path} cannot be read: {error.strerror}",
            "Put the picture there or take branding.logo_file away: the hub does not start.",
        )
        return
    if size > LARGEST_LOGO:
        yield warning(
            "logo", f"{path} has {size / 2**20:.1f} MiB", "Use a smaller one: every page loads it."
        )
    else:
        yield ok("logo", f"{path}")


def _audit(settings: Settings) -> Iterator[Finding]:
    path = audit_file(settings)
    folder = next(each for each in path.parents if each.exists())
    if not os.access(path if path.exists() else folder, os.W_OK):
        yield problem(
            "audit log",
            f"{path} cannot be written",
            "Give its folder to the hub's account: without the log nobody is let in.",
        )
    elif path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield problem(
            "audit log", f"{path} can be read by others", f"Take that away: chmod 600 {path}"
        )
    else:
        yield ok("audit log", f"{path}")


def _accounting(settings: Settings) -> Iterator[Finding]:
    named = settings.accounting.database_file
    if named is None and not Layout(settings.data).usage.exists():
        yield ok("records of use", "none yet: the hub makes them with its first start")
        return
    try:
        store = open_store(settings)
        try:
            running = sum(store.running().values())
        finally:
            store.close()
    except (SettingsError, SecretError) as error:
        yield problem("records of use", str(error), "The hub does not start without; see its disk.")
    except SQLAlchemyError as error:
        yield problem(
            "records of use",
            f"they cannot be read ({type(error).__name__})",
            "Look at their database; until then nothing is counted and no allowance holds.",
        )
    else:
        yield ok("records of use", f"{_number(running, 'server')} counted now")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder: Path = settings.data
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    words = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < SMALLEST_DISK:
        yield problem("disk", words, "Make room: the hub's database and logs are there.")
    else:
        yield ok("disk", words)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
