"""Asking a service one question, with words for each way in which it can fail to answer."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

SECONDS = 8.0
LARGEST_SKEW = 60.0


class NoAnswer(Exception):
    """A service did not answer; ``str()`` says why, ``advice`` what to do."""

    def __init__(self, words: str, advice: str) -> None:
        super().__init__(words)
        self.advice = advice


async def ask(
    http: httpx.AsyncClient,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
    redirected: bool = False,
) -> httpx.Response:
    """The answer, whatever its status.

    :param redirected: whether redirects are followed; never where something secret is sent.
    :raises NoAnswer: when there is none.
    """
    host = urlsplit(url).netloc
    try:
        return await http.request(
            method, url, headers=headers, data=form, auth=auth, follow_redirects=redirected
        )
    except httpx.TimeoutException as error:
        raise NoAnswer(
            f"{host} did not answer in {SECONDS:.0f} s",
            "Look whether it runs, and whether a firewall or network policy lets the hub reach it.",
        ) from error
    except (httpx.TransportError, httpx.InvalidURL, ssl.SSLError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise NoAnswer(
                f"the certificate of {host} is not trusted",
                "Renew it, or have its authority among those of this machine (SSL_CERT_FILE).",
            ) from error
        raise NoAnswer(
            f"{host} cannot be reached ({type(error).__name__})",
            "Look at the address in the settings, whether the service runs, and at name "
            "resolution and firewalls on the way.",
        ) from error


async def ask_json(http: httpx.AsyncClient, url: str, **options: Any) -> dict[str, Any]:
    """A JSON object.

    :raises NoAnswer: when there is no answer, or another one.
    """
    answer = await ask(http, url, **options)
    if answer.status_code != httpx.codes.OK:
        raise NoAnswer(
            f"{url} answers {answer.status_code}", "Look at the address in the settings."
        )
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoAnswer(f"{url} does not answer with JSON", "Look at the address in the settings.")
    return found


def skew(answer: httpx.Response, now: float) -> float | None:
    """Seconds by which the service's clock is ahead of ours; None when it does not tell."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp() - now
    except (KeyError, ValueError):
        return None
