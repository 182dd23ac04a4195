"""The community's catalogue, the archives that are searched, and the openEO back ends."""

from __future__ import annotations

import asyncio

import httpx

from cscale_hub.doctor.asking import NoAnswer, ask, ask_json
from cscale_hub.doctor.findings import Finding, ok, problem, warning
from cscale_hub.settings import Settings

_TRANSACTION = "/ogcapi-features/extensions/transaction"


async def catalogues(settings: Settings, http: httpx.AsyncClient) -> list[Finding]:
    """All of them at the same time."""
    found = await asyncio.gather(
        _community(settings, http),
        *(_archive(each.id, each.url, http) for each in settings.all_providers),
        *(_openeo(each.id, each.url, http) for each in settings.offered_backends),
    )
    return list(found)


async def _community(settings: Settings, http: httpx.AsyncClient) -> Finding:
    part = "catalogue"
    try:
        page = await ask_json(http, settings.catalogue.url, redirected=True)
    except NoAnswer as error:
        return problem(part, str(error), f"{error.advice} Nothing can be registered until then.")
    if not page.get("stac_version"):
        return problem(part, f"{settings.catalogue.url} is no STAC API", "Correct catalogue.url.")
    classes = page.get("conformsTo")
    if not any(_TRANSACTION in str(each) for each in (classes or ())):
        return warning(
            part,
            "it does not say that items can be added (Transactions)",
            "Turn the extension on in the catalogue, or products can be searched and not "
            "registered.",
        )
    return ok(part, f"{settings.catalogue.url} takes items")


async def _archive(name: str, url: str, http: httpx.AsyncClient) -> Finding:
    part = f"archive {name}"
    try:
        answer = await ask(http, url, redirected=True)
    except NoAnswer as error:
        return warning(part, str(error), f"{error.advice} Searches go on without it and say so.")
    if answer.status_code >= 400 and answer.status_code not in (401, 403):
        return warning(
            part,
            f"{url} answers {answer.status_code}",
            "Look at its address in the settings. Searches go on without it and say so.",
        )
    return ok(part, "answers")


async def _openeo(name: str, url: str, http: httpx.AsyncClient) -> Finding:
    part = f"openEO {name}"
    for address in (f"{url.rstrip('/')}/.well-known/openeo", url):
        try:
            page = await ask_json(http, address, redirected=True)
        except NoAnswer as error:
            last = error
            continue
        if page.get("versions") or page.get("api_version"):
            return ok(part, "answers")
        last = NoAnswer(f"{address} is no openEO back end", "Look at its address in the settings.")
    return warning(part, str(last), f"{last.advice} Its jobs wait until then.")
