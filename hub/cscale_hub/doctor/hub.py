"""The hub itself, through the address that people open: version, broker, metrics."""

from __future__ import annotations

import re

import httpx

from cscale_hub.doctor.asking import NoAnswer, ask, ask_json
from cscale_hub.doctor.findings import Finding, ok, problem, warning
from cscale_hub.local.secrets import SecretError, read_secret
from cscale_hub.settings import Settings, public_url

PART = "hub"
OLDEST = (6, 1, 1)
"""Below it are known holes in sharing and tokens."""


async def hub(settings: Settings, http: httpx.AsyncClient) -> list[Finding]:
    """Whether it answers, and what its own figures say."""
    address = public_url(settings)
    try:
        answer = await ask(http, f"{address}/hub/health")
        if answer.status_code != httpx.codes.OK:
            raise NoAnswer(
                f"{address}/hub/health answers {answer.status_code}",
                "The proxy runs and the hub behind it does not: look at the hub's log.",
            )
        version = str((await ask_json(http, f"{address}/hub/api")).get("version", ""))
    except NoAnswer as error:
        return [problem(PART, str(error), error.advice)]
    found = [_version(address, version), await _broker(settings, http)]
    found += await _metrics(settings, http)
    return found


def _version(address: str, version: str) -> Finding:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        return problem(
            PART,
            f"JupyterHub {version or 'of an unknown version'}",
            f"Update it to {'.'.join(map(str, OLDEST))} or newer: sharing and tokens have known "
            "holes before.",
        )
    return ok(PART, f"{address} answers, JupyterHub {version}")


async def _broker(settings: Settings, http: httpx.AsyncClient) -> Finding:
    try:
        answer = await ask(http, f"{settings.broker.url}/healthz")
    except NoAnswer as error:
        return problem("broker", str(error), f"{error.advice} No server gets credentials.")
    if answer.status_code != httpx.codes.OK:
        return problem(
            "broker",
            f"{settings.broker.url}/healthz answers {answer.status_code}",
            "No server gets credentials. Look at its log, and at the proxy's route to it.",
        )
    return ok("broker", "answers")


async def _metrics(settings: Settings, http: httpx.AsyncClient) -> list[Finding]:
    part = "metrics"
    try:
        token = read_secret(settings.secrets_folder / "prometheus-token")
    except SecretError as error:
        return [warning(part, str(error), "The hub makes it when it starts; restart it.")]
    headers = {"Authorization": f"token {token}"}
    try:
        answer = await ask(http, f"{public_url(settings)}/hub/metrics", headers=headers)
    except NoAnswer as error:
        return [warning(part, str(error), error.advice)]
    if answer.status_code != httpx.codes.OK:
        return [
            warning(
                part,
                f"the hub does not show them for Prometheus' token ({answer.status_code})",
                "Restart the hub: it reads the token when it starts.",
            )
        ]
    return [ok(part, "shown for Prometheus' token"), *_told(answer.text)]


def _told(text: str) -> list[Finding]:
    """What the hub's own figures say is wrong now."""
    found: list[Finding] = []
    if (pause := _value(text, "cscale_identity_provider_pause_seconds")) > 0:
        found.append(
            warning(
                "sign-in",
                f"the hub leaves the identity provider alone for {pause:.0f} s after a failure",
                "Sessions are kept meanwhile. Look at the hub's log for what it answered.",
            )
        )
    if _value(text, "cscale_accounting_readable", missing=1.0) == 0:
        found.append(
            problem(
                "records of use",
                "the hub cannot read them",
                "Look at their database; until then nothing is counted and no allowance holds.",
            )
        )
    starts = _value(text, "jupyterhub_server_spawn_duration_seconds_count")
    good = _value(text, "jupyterhub_server_spawn_duration_seconds_count", 'status="success"')
    if starts >= 5 and good / starts < 0.9:
        found.append(
            warning(
                "servers",
                f"{starts - good:.0f} of {starts:.0f} starts failed since the hub began",
                "Look at the hub's log, and at events of the cluster.",
            )
        )
    return found


def _value(text: str, name: str, label: str = "", missing: float = 0.0) -> float:
    """The sum of a metric's samples with a label."""
    pattern = rf"^{re.escape(name)}(\{{[^}}]*\}})? ([-+0-9.e]+)$"
    samples = [
        float(value) for labels, value in re.findall(pattern, text, re.MULTILINE) if label in labels
    ]
    return sum(samples) if samples else missing
