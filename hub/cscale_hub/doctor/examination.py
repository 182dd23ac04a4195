"""Everything that can be looked at, at the same time, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx

from cscale_hub.doctor.asking import SECONDS
from cscale_hub.doctor.catalogues import catalogues
from cscale_hub.doctor.certificates import certificates
from cscale_hub.doctor.documents import documents
from cscale_hub.doctor.findings import Finding, problem, warning
from cscale_hub.doctor.hub import hub
from cscale_hub.doctor.login import login
from cscale_hub.doctor.storage import storage
from cscale_hub.settings import Settings, SettingsError
from cscale_hub.vos import accepted_vos

LONGEST = 40.0


async def examine(settings: Settings) -> list[Finding]:
    """All findings, by part of the deployment; takes :data:`LONGEST` seconds at most."""
    try:
        vos = accepted_vos(settings)
    except SettingsError as error:
        return [problem("virtual organisations", str(error), "Mend the file; see cscale's manual.")]
    timeout = httpx.Timeout(SECONDS)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as http:
        parts = (
            _bounded("disk", asyncio.to_thread(documents, settings, vos)),
            _bounded("hub", hub(settings, http)),
            _bounded("sign-in", login(settings, http)),
            _bounded("object store", storage(settings, vos, http)),
            _bounded("catalogues", catalogues(settings, http)),
            _bounded("certificates", certificates(settings)),
        )
        found = await asyncio.gather(*parts)
    return [finding for part in found for finding in part]


async def _bounded(part: str, looking: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(LONGEST):
            return await looking
    except TimeoutError:
        return [
            warning(part, f"not looked through in {LONGEST:.0f} s", "Look again when it is calmer.")
        ]
