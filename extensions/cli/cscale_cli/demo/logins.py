"""How often somebody had to sign in, and how often the hub renewed the tokens by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cscale_cli.hub_login import JourneyError, explain
from cscale_hub.audit import audit_file
from cscale_hub.local.lifecycle import Federation
from cscale_hub.local.secrets import read_secret


@dataclass(frozen=True, slots=True)
class Logins:
    """What the hub's audit log and its metrics tell since the start."""

    logins: int
    renewals: int


def count_logins(federation: Federation) -> Logins:
    """Ask a running hub.

    :raises JourneyError: when it does not tell.
    """
    lines = audit_file(federation.settings).read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    token = read_secret(federation.layout.secrets / "prometheus-token")
    answer = httpx.get(
        f"{federation.hub_url}/hub/metrics",
        headers={"Authorization": f"token {token}"},
        timeout=60,
        trust_env=False,
    )
    if answer.is_error:
        raise JourneyError(explain(answer))
    renewals = sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "cscale_login_checks_total"
        and sample.labels == {"asked": "renewal", "outcome": "done"}
    )
    return Logins(
        logins=sum(one["action"] == "login" and one["outcome"] == "allowed" for one in events),
        renewals=int(renewals),
    )
