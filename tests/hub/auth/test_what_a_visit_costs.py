"""How often a visit asks the database and the identity provider; counts, which no load changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.hub.auth.running_hub import RunningHub, Visitor
from tests.hub.auth.switched_issuer import SwitchedIssuer
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TIMES = 3
# A plain JupyterHub with GenericOAuthenticator needs 21 for a first login and 35 for a start.
MOST_AT_LOGIN = 25
MOST_AT_START = 45


def statements(hub: RunningHub) -> float:
    return hub.metric("test_sql_statements_total")


def cost(hub: RunningHub, work: Callable[[], object]) -> float:
    """SQL statements of the work, without those of asking for their number."""
    before = statements(hub)
    asking = statements(hub) - before
    before = statements(hub)
    work()
    return statements(hub) - before - asking


def test_login_asks_the_database_little(hub: RunningHub, issuer: SwitchedIssuer) -> None:
    def visit() -> None:
        with Visitor(hub) as visitor:
            assert visitor.sign_in("aqua").status_code == 200

    visit()
    # What else the hub does meanwhile only adds to it.
    assert min(cost(hub, visit) for _ in range(TIMES)) <= MOST_AT_LOGIN


def test_login_asks_the_provider_for_each_thing_once(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    before = len(issuer.asked)
    assert visitor.sign_in("aqua").status_code == 200
    asked = Counter(endpoint for endpoint, _ in issuer.asked[before:])
    assert asked["openid-configuration"] == asked["token"] == asked["userinfo"] == 1
    assert asked["certs"] <= 1


def test_start_asks_the_database_little(
    hub: RunningHub, issuer: SwitchedIssuer, visitor: Visitor
) -> None:
    visitor.sign_in("aqua")
    address = f"/users/{hub.slug('aqua')}/server"
    started = f"{hub.slug('aqua')} took"

    def start() -> None:
        before = hub.log.count(started)
        assert hub.api("POST", address).status_code in (201, 202)
        until(lambda: hub.log.count(started) > before, "the start of the server")

    def stopped() -> bool:
        return hub.api("DELETE", address).status_code == 204

    found = []
    for _ in range(TIMES):
        found.append(cost(hub, start))
        until(stopped, "the end of the server")
    assert min(found) <= MOST_AT_START
