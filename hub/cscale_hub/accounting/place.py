"""Where the settings say that records of use are kept, and the key of the pseudonyms in them."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from cscale_hub.accounting.meter import Meter
from cscale_hub.accounting.store import UsageStore
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import ensure_secret, read_secret
from cscale_hub.settings import Settings, SettingsError


def open_store(settings: Settings) -> UsageStore:
    """The records, made when they are not there.

    :raises SettingsError: when the database cannot be used.
    """
    named = settings.accounting.database_file
    place = Layout(settings.data).usage
    where = f"the address in {named}" if named else str(place)
    url = read_secret(named) if named else f"sqlite:///{place}"
    try:
        return UsageStore(url)
    except (SQLAlchemyError, ImportError) as error:
        # Not its words: they may hold the address, and with it the password.
        raise SettingsError(
            f"The records of use cannot be opened at {where} ({type(error).__name__})"
        ) from error


def open_usage(settings: Settings) -> Meter:
    """The meter of this hub.

    :raises SettingsError: when the database cannot be used.
    """
    key = ensure_secret(settings.secrets_folder / "pseudonym-key")
    return Meter(open_store(settings), key.encode())
