"""Where ``cscale search`` finds the providers: a file of them, the site file, or the hub here.

A file that is named on the command line comes first, then the site file that the hub gives to a
user's server, then the federation that runs on this machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from cscale_core.errors import InvalidInput
from cscale_core.providers import load_providers_file
from cscale_core.site import SITE_FILE_VARIABLE, Catalogue, S3Site, Site, load_site


def find_site(providers: Path | None = None, data: Path | None = None) -> Site:
    """The site whose providers are searched.

    :param providers: a YAML file of providers.
    :param data: data folder of a federation on this machine; None: the usual one.
    :raises InvalidInput: when there is none, its file cannot be used, or it has no providers.
    """
    if providers is not None:
        site = site_of_providers(providers)
    elif data is None and os.environ.get(SITE_FILE_VARIABLE):
        site = load_site()
    else:
        site = _local_site(data)
    if not site.providers and site.site_registry is None:
        raise InvalidInput("There is no provider to search.", hint="Name some with --providers.")
    return site


def site_of_providers(path: Path) -> Site:
    """A site that has nothing but the providers that a file declares.

    :raises InvalidInput: when it cannot be read or is not valid.
    """
    file = load_providers_file(path)
    return Site(
        user="",
        s3=S3Site(endpoint=""),
        catalogue=Catalogue(url=""),
        providers=file.everything(),
        site_registry=file.site_registry,
        entitlements=file.entitlements,
        allowed_hosts=file.allowed_hosts,
    )


def _local_site(data: Path | None) -> Site:
    """The site of the federation that runs on this machine, as its users' servers see it."""
    none = InvalidInput(
        "There is no federation to search.",
        hint="Start one here with: cscale up. Or name a file of providers with --providers. "
        f"In a server of the hub, {SITE_FILE_VARIABLE} names the site.",
    )
    try:
        from cscale_hub.local.lifecycle import Federation, FederationError
        from cscale_hub.settings import SettingsError, load_settings
        from cscale_hub.spawn.site import site_document
        from cscale_hub.vos import accepted_vos
    except ImportError:
        # The image of a user's server does not carry the hub.
        raise none from None
    try:
        federation = Federation(data or load_settings().data)
        if not federation.is_running():
            raise none
        settings = federation.settings
        document = site_document(
            settings,
            accepted_vos(settings),
            slug="search",
            display_name="",
            roles={},
            mount=federation.layout.users,
            mount_mode="none",
        )
    except (FederationError, SettingsError) as error:
        raise InvalidInput(str(error), hint=none.hint) from error
    return Site.model_validate(document)
