"""What is left of a VO's allowance for one person, and the words when nothing is.

How much was used is told by accounting (:data:`UsageReader`); without it nothing counts as used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cscale_hub.vo_model import Quota


@dataclass(frozen=True, slots=True)
class Used:
    """CPU hours of servers and jobs in the current calendar month, for one VO."""

    own: float
    everybody: float


UsageReader = Callable[[str, str], Awaitable[Used]]
"""Tells what was used, for the name of a VO and a person's slug."""


def bounded(quota: Quota) -> bool:
    """Whether it matters how much was used."""
    return quota.cpu_hours_month is not None or quota.total.cpu_hours_month is not None


def remaining(quota: Quota, used: Used) -> float | None:
    """CPU hours that this person may still use this month; None where there is no bound."""
    bounds = (
        (quota.cpu_hours_month, used.own),
        (quota.total.cpu_hours_month, used.everybody),
    )
    left = [bound - spent for bound, spent in bounds if bound is not None]
    return max(0.0, min(left)) if left else None


def refusal(title: str, quota: Quota, used: Used, running: int) -> str:
    """Why no further server of this VO starts for this person; empty when one may.

    :param title: the VO's name for people.
    :param running: the person's servers that run for the VO now.
    """
    if running >= quota.servers:
        few = "one server" if quota.servers == 1 else f"{quota.servers} servers"
        return f"You may run {few} at a time for {title}. Stop one first."
    if remaining(quota, used) == 0:
        whose = "your" if used.own >= (quota.cpu_hours_month or float("inf")) else "all members'"
        return (
            f"{title} has no CPU hours left for you this month: {whose} allowance is used up. It "
            "begins anew on the first day of the month; files and results are kept."
        )
    return ""


def words(quota: Quota, used: Used) -> str:
    """What is left, for the page on which a server is chosen; empty where there is no bound."""
    left = remaining(quota, used)
    if left is None:
        return ""
    if quota.cpu_hours_month is not None and left == quota.cpu_hours_month - used.own:
        return f"{left:,.0f} of your {quota.cpu_hours_month:,.0f} CPU hours are left this month."
    return f"{left:,.0f} CPU hours are left for all members this month."
