"""The certificates of the services that are asked over HTTPS: how long they last."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from cscale_hub.doctor.asking import SECONDS
from cscale_hub.doctor.findings import Finding, problem, warning
from cscale_hub.settings import Settings, public_url

SOON_DAYS = 14.0


async def certificates(settings: Settings, context: ssl.SSLContext | None = None) -> list[Finding]:
    """What ends soon. Services that do not answer are told elsewhere."""
    addresses = {
        urlsplit(url).netloc
        for url in (
            public_url(settings),
            settings.identity.issuer,
            settings.storage.endpoint,
            settings.catalogue.url,
            settings.broker.url,
        )
        if url.startswith("https:")
    }
    trusted = context or ssl.create_default_context()
    found = await asyncio.gather(*(_certificate(each, trusted) for each in sorted(addresses)))
    return [finding for finding in found if finding is not None]


async def _certificate(address: str, context: ssl.SSLContext) -> Finding | None:
    parts = urlsplit(f"//{address}")
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=context
            )
    except (OSError, TimeoutError):
        return None  # it is told where the service is asked
    try:
        shown: dict[str, Any] = writer.get_extra_info("peercert") or {}
    finally:
        writer.close()
    days = (ssl.cert_time_to_seconds(str(shown.get("notAfter"))) - time.time()) / 86400
    return _judged(address, days)


def _judged(address: str, days: float) -> Finding | None:
    words = f"that of {address} ends in {days:.0f} days"
    if days < 2:
        return problem("certificate", words, "Renew it now; nothing reaches the service then.")
    if days < SOON_DAYS:
        return warning("certificate", words, "Renew it; see why nothing does by itself.")
    return None
