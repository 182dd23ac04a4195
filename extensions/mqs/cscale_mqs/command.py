"""``cscale mqs``: serve the providers of a site file, or of a list of providers, as one STAC API.

Nothing of the service is imported before the command runs, so that ``cscale --help`` stays quick
and works without the ``mqs`` extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cscale_core.errors import InvalidInput

if TYPE_CHECKING:
    from cscale_mqs.config import Config


def register(app: typer.Typer) -> None:
    """Add ``mqs`` to the command line."""
    app.command()(mqs)


def mqs(
    site: Annotated[Path | None, typer.Option(help="Site file whose providers are served.")] = None,
    providers: Annotated[
        Path | None,
        typer.Option(help="YAML file that declares providers."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8090,
    public_url: Annotated[
        str, typer.Option(help="Address by which clients know it; empty: as they ask.")
    ] = "",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="host or host:port that may be asked although private; repeatable."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder for what must survive a restart; none: nothing.")
    ] = None,
) -> None:
    """Serve all archives of the federation as one STAC API, until Ctrl-C."""
    from cscale_mqs.serving import serve

    try:
        config = _config(site, providers, host, port, public_url, allow_host or [], data)
    except InvalidInput as error:
        typer.echo(" ".join(filter(None, [error.message, error.hint])), err=True)
        raise typer.Exit(2) from error

    def announce(address: str) -> None:
        count = len(config.providers)
        what = f"{count} provider{'s' if count != 1 else ''}"
        typer.echo(f"Serving {what} at http://{address}{config.prefix}/")

    status = serve(config, announce)
    if status:
        raise typer.Exit(status)


def _config(
    site: Path | None,
    providers: Path | None,
    host: str,
    port: int,
    public_url: str,
    allowed_hosts: list[str],
    data: Path | None,
) -> Config:
    """The configuration that the options say.

    :raises InvalidInput: when a file or an option cannot be used.
    """
    from pydantic import ValidationError

    from cscale_core.providers import load_providers_file
    from cscale_core.site import load_site
    from cscale_mqs.config import Config
    from cscale_mqs.problems import explain_validation

    members: dict[str, Any]
    if site is not None and providers is None:
        known = load_site(site)
        members = known.model_dump(include={"providers", "site_registry", "allowed_hosts"})
    elif providers is not None and site is None:
        file = load_providers_file(providers)
        members = {
            "providers": file.everything(),
            "site_registry": file.site_registry,
            "allowed_hosts": file.allowed_hosts,
        }
    else:
        raise InvalidInput("Name either a site file (--site) or a list of providers (--providers).")
    members["allowed_hosts"] = (*members.get("allowed_hosts", ()), *allowed_hosts)
    try:
        return Config(host=host, port=port, public_url=public_url, data_dir=data, **members)
    except ValidationError as error:
        reason = explain_validation(error.errors(include_url=False))
        raise InvalidInput(f"This cannot be served: {reason}") from error
