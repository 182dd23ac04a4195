"""Our engine and the plain question beside it, over the archives of a measurement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cscale_core.catalog.federation import Federation
from cscale_core.http import guarded_client
from cscale_core.providers import Provider
from cscale_core.site import Catalogue, S3Site, Site


def providers(urls: Sequence[str], page: int) -> tuple[Provider, ...]:
    """The archives as providers that are asked for pages of this size."""
    return tuple(
        Provider(id=f"archive-{number:02}", title=f"Archive {number}", url=url, limit=page)
        for number, url in enumerate(urls)
    )


@asynccontextmanager
async def federation(urls: Sequence[str], page: int) -> AsyncIterator[Federation]:
    """A federation of the archives that knows already what each of them can do."""
    site = Site(
        user="bench",
        s3=S3Site(endpoint=""),
        catalogue=Catalogue(url=""),
        providers=providers(urls, page),
    )
    async with guarded_client(site) as http:
        engine = Federation(site, http, None)
        await engine.warm()
        yield engine
