"""The object store, asked as nobody: its answer, its clock, its buckets, its STS."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

import httpx

from cscale_hub.doctor.asking import LARGEST_SKEW, NoAnswer, ask, skew
from cscale_hub.doctor.findings import Finding, ok, problem, warning
from cscale_hub.settings import Settings
from cscale_hub.vo_model import VOFile

PART = "object store"


async def storage(settings: Settings, vos: VOFile, http: httpx.AsyncClient) -> list[Finding]:
    """The endpoint, its clock, every bucket of the VO file, and STS."""
    endpoint = settings.storage.endpoint
    try:
        answer = await ask(http, f"{endpoint}/")
    except NoAnswer as error:
        return [problem(PART, str(error), f"{error.advice} No bucket can be read until then.")]
    found: list[Finding] = []
    ahead = skew(answer, time.time())
    if ahead is not None and abs(ahead) > LARGEST_SKEW:
        found.append(
            problem(
                PART,
                f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this one",
                "Signatures are refused for that. Have both clocks set by NTP.",
            )
        )
    names = sorted({bucket for vo in vos.storages() for bucket in vo.buckets})
    looked = await asyncio.gather(*(_bucket(endpoint, name, http) for name in names))
    wrong = [finding for finding in looked if finding is not None]
    found += wrong
    if not wrong:
        found.append(ok(PART, f"{endpoint} answers; {len(names)} buckets, none open to all"))
    found.append(await _sts(endpoint, http))
    return found


async def _bucket(endpoint: str, name: str, http: httpx.AsyncClient) -> Finding | None:
    try:
        answer = await ask(http, f"{endpoint}/{quote(name)}?list-type=2&max-keys=1")
    except NoAnswer as error:
        return problem(PART, f"bucket {name}: {error}", error.advice)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return problem(
            PART, f"the bucket {name} is not there", "Make it, or correct its name in the VO file."
        )
    if answer.status_code == httpx.codes.OK:
        return problem(
            PART,
            f"the bucket {name} is open: anybody can list it without a login",
            "Take its public policy or ACL away.",
        )
    if answer.status_code >= 500:
        return problem(
            PART, f"bucket {name}: answers {answer.status_code}", "Look at the store's own log."
        )
    return None  # it refuses who is nobody, as it should


async def _sts(endpoint: str, http: httpx.AsyncClient) -> Finding:
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::role/doctor",
        "RoleSessionName": "doctor",
        "WebIdentityToken": "not.a.token",
        "DurationSeconds": "900",
    }
    try:
        answer = await ask(http, f"{endpoint}/", method="POST", form=form)
    except NoAnswer as error:
        return problem("STS", str(error), error.advice)
    if answer.status_code == httpx.codes.OK:
        return problem(
            "STS",
            "it gave credentials for a token that is none",
            "Stop the store: it verifies nothing.",
        )
    if answer.status_code in (400, 401, 403):
        return ok("STS", f"refuses what is no token ({answer.status_code})")
    return warning(
        "STS",
        f"does not look like STS at {endpoint} ({answer.status_code})",
        "Where the store has none, use the broker's mode static, and one store for each VO.",
    )
