"""The hub and its broker: ``python -m benchmarks.hub [--json FILE] [--people N] [--visits N]``, in
ten minutes on two processors that have nothing else to do.

Two hubs at one issuer, each in processes of its own, both with SQLite and a proxy in Python: ours
as :func:`cscale_hub.configure.configure` makes it, and a plain JupyterHub. Plain means:
oauthenticator's ``GenericOAuthenticator`` as a client of the same issuer, with the same scopes, and
nothing set that has a default. It therefore checks no ID token, keeps no login, knows no groups,
writes no records, and lets everybody in; what ours takes longer is the price of all that. The
spawner's class is the same, below ours with all that we put before it.

Login and start: people sign in at the issuer and start JupyterLab as a process of this machine,
each at both hubs, one after the other; at ours it loads our extension, at the plain one what is
installed beside it.
Simulated people: 500 sign in and start servers with a spawner that only waits for a second, in
rounds of fifty at each hub in turn, three new ones every second; seconds from the question to the
server, and how late the hub's event loop was meanwhile. Each round gives a p95, the figure is the
median of the rounds, so that what else the machine does in one of them counts little. Servers keep
running, so the last round meets all the others'.
Broker: the servers of 200 of them ask for S3 credentials at the same time, for the first time and
again; beside it the STS of SeaweedFS, asked for the same by as many callers without a broker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from benchmarks.figures import Figure, figure, quantile, report
from benchmarks.hubs.world import (
    BUCKET,
    PASSWORD,
    VO,
    Hub,
    Somebody,
    World,
    free_ports,
    people,
    world,
)
from cscale_hub.local.seaweedfs.config import RESEARCHER_ROLE
from cscale_hub.local.seaweedfs.iam import role_arn
from cscale_hub.places import VOStorage
from cscale_hub.storage import grants, session_policy

PEOPLE = 500
AT_A_TIME = 50
A_SECOND = 3.0
#: How often somebody tries again who is told that the provider does not answer at the moment.
TRIES = 5
VISITS = 12
#: Visits before the measured ones, which load what is loaded at first use.
WARM_UP = 2
CALLERS = 200
ROUNDS = 5
HUBS = ("ours", "plain")
KINDS = ("process", "waiting")

# Made once: it costs more than a login.
TLS = ssl.create_default_context()

GOAL_LOGIN = 1.1
GOAL_MANY = 1.2
#: Seconds: half of what a user's server waits for the broker.
GOAL_FIRST = 10.0


class Form(HTMLParser):
    """The first form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = values["action"]
        if tag == "input" and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")


async def sign_in(hub: Hub, somebody: Somebody) -> None:
    """From the hub's login through the issuer's form to the hub's home page."""
    async with httpx.AsyncClient(
        follow_redirects=True, timeout=120, trust_env=False, verify=TLS
    ) as browser:
        for _ in range(TRIES):
            home = await browser.get(f"{hub.url}/hub/oauth_login", params={"next": "/hub/home"})
            form = Form(home.text)
            if "password" in form.fields:
                fields = {**form.fields, "username": somebody.username, "password": PASSWORD}
                home = await browser.post(home.url.join(form.action), data=fields)
            if home.status_code != 503:
                break
        if home.status_code != 200 or not str(home.url).startswith(f"{hub.url}/hub/home"):
            raise RuntimeError(f"{hub.name}: no login, {home.status_code} at {home.url}")


async def start_server(http: httpx.AsyncClient, hub: Hub, name: str) -> None:
    """Ask for a server, and wait until the hub says that it is there."""
    headers = {"Authorization": f"token {hub.token}"}
    address = f"{hub.url}/hub/api/users/{name}/server"
    asked = await http.post(address, headers=headers)
    if asked.status_code == 201:
        return
    if asked.status_code != 202:
        raise RuntimeError(f"{hub.name} starts no server: {asked.status_code} {asked.text}")
    async with http.stream("GET", f"{address}/progress", headers=headers) as events:
        async for line in events.aiter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("failed"):
                raise RuntimeError(f"{hub.name}: {event}")
            if event.get("ready"):
                return


async def stop_server(http: httpx.AsyncClient, hub: Hub, name: str) -> None:
    address = f"{hub.url}/hub/api/users/{name}/server"
    await http.delete(address, headers={"Authorization": f"token {hub.token}"})


async def seconds(work: Awaitable[Any]) -> float:
    """How long it takes."""
    began = time.monotonic()
    await work
    return time.monotonic() - began


# -- login and start -----------------------------------------------------------------------------


async def visits(
    hubs: dict[str, Hub], visitors: Iterable[Somebody], tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds from the click on *sign in* to the running server, one visitor after the other."""
    taken: dict[str, list[float]] = {name: [] for name in hubs}

    async def visit(hub: Hub, somebody: Somebody) -> None:
        await sign_in(hub, somebody)
        await start_server(http, hub, hub.person(somebody))

    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
        for number, somebody in enumerate(visitors):
            order = list(hubs.values()) if number % 2 else list(hubs.values())[::-1]
            for hub in order:
                taken[hub.name].append(await seconds(visit(hub, somebody)))
                await stop_server(http, hub, hub.person(somebody))
            tell(", ".join(f"{name} {values[-1]:.2f} s" for name, values in taken.items()))
    return {name: values[WARM_UP:] for name, values in taken.items()}


# -- simulated people ----------------------------------------------------------------------------


async def crowd(hub: Hub, members: Sequence[Somebody]) -> tuple[list[float], list[float]]:
    """Seconds of each start, and of each delay of the hub's event loop meanwhile."""
    limits = httpx.Limits(max_connections=None)
    taken: list[float] = []

    async with httpx.AsyncClient(timeout=300, trust_env=False, limits=limits) as http:

        async def one(number: int, somebody: Somebody) -> None:
            await asyncio.sleep(number / A_SECOND)
            await sign_in(hub, somebody)
            taken.append(await seconds(start_server(http, hub, hub.person(somebody))))

        began = time.time()
        async with asyncio.TaskGroup() as group:
            for number, somebody in enumerate(members):
                group.create_task(one(number, somebody))
        ended = time.time()
    rows = ((hub.folder / "lateness").read_text().splitlines()) if taken else []
    moments = (tuple(map(float, row.split())) for row in rows)
    return taken, [late for moment, late in moments if began <= moment <= ended]


async def crowds(
    hubs: dict[str, Hub], everybody: Sequence[Somebody], tell: Callable[[str], None]
) -> dict[str, tuple[list[float], list[float]]]:
    """All of them at both hubs, in turn: p95 of the starts, and of the delays, of each round."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in hubs}
    for turn, first in enumerate(range(0, len(everybody), AT_A_TIME)):
        members = everybody[first : first + AT_A_TIME]
        for name in HUBS if turn % 2 else HUBS[::-1]:
            taken, late = await crowd(hubs[name], members)
            found[name][0].append(quantile(taken, 0.95))
            found[name][1].append(quantile(late, 0.95))
            tell(
                f"{name}: start {found[name][0][-1]:.2f} s, late {found[name][1][-1] * 1000:.0f} ms"
            )
    return found


# -- the broker ----------------------------------------------------------------------------------


async def together(
    callers: Sequence[Any], ask: Callable[[Any], Awaitable[httpx.Response]]
) -> tuple[list[float], float]:
    """Seconds of each answer when all ask at once, and of all."""

    async def one(caller: Any) -> float:
        began = time.monotonic()
        answer = await ask(caller)
        if answer.status_code != 200:
            raise RuntimeError(f"no credentials: {answer.status_code} {answer.text}")
        return time.monotonic() - began

    began = time.monotonic()
    taken = await asyncio.gather(*map(one, callers))
    return list(taken), time.monotonic() - began


async def credentials(place: World, hub: Hub, count: int) -> dict[str, tuple[list[float], float]]:
    """What callers waited for, at the broker and at STS itself."""
    client_id = "ours-waiting"
    store = place.start_store(client_id)
    broker = place.start_broker(hub, client_id, store, role_arn(RESEARCHER_ROLE))
    tokens = [file.read_text() for file in sorted((hub.folder / "tokens").iterdir())][:count]
    # Each caller is a server of its own, with a connection of its own.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=120, trust_env=False, limits=limits) as http:

        def at_broker(token: str) -> Awaitable[httpx.Response]:
            return http.get(f"{broker}/v1/s3", headers={"Authorization": f"token {token}"})

        # One token for STS, as the broker would get it for its caller.
        answer = await http.get(
            f"{hub.api_url}/cscale/logins/{people(1)[0].slug}",
            headers={"Authorization": f"token {hub.broker_token}"},
        )
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": answer.json()["access_token"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": "s3",
        }
        secret = place.secret(client_id).read_text().strip()
        exchanged = await http.post(
            place.endpoints["token_endpoint"], data=exchange, auth=(client_id, secret)
        )
        storage = VOStorage(VO, BUCKET)

        def at_sts(somebody: Somebody) -> Awaitable[httpx.Response]:
            form = {
                "Action": "AssumeRoleWithWebIdentity",
                "Version": "2011-06-15",
                "RoleArn": role_arn(RESEARCHER_ROLE),
                "RoleSessionName": somebody.slug,
                "WebIdentityToken": exchanged.json()["access_token"],
                "DurationSeconds": "3000",
                "Policy": session_policy(grants([storage], {VO: {"member"}}, somebody.slug)),
            }
            return http.post(store, data=form)

        found = {"first": await together(tokens, at_broker)}
        again: tuple[list[float], float] = ([], 0.0)
        direct: tuple[list[float], float] = ([], 0.0)
        for _ in range(ROUNDS):
            again = _sum(again, await together(tokens, at_broker))
            direct = _sum(direct, await together(people(len(tokens)), at_sts))
        return found | {"again": again, "direct": direct}


def _sum(
    one: tuple[list[float], float], other: tuple[list[float], float]
) -> tuple[list[float], float]:
    return one[0] + other[0], one[1] + other[1]


# -- the run -------------------------------------------------------------------------------------


async def run(folder: Path, count: int, visitors: int) -> dict[str, Any]:
    """Everything, one after the other."""
    everybody = people(max(count, visitors))
    ports = {(name, kind): free_ports(3) for name in HUBS for kind in KINDS}
    redirects = {f"{name}-{kind}": f"http://127.0.0.1:{p[0]}" for (name, kind), p in ports.items()}
    with world(folder, everybody) as place:
        place.start_issuer(redirects)
        server = place.start_server()

        def hubs(kind: str) -> dict[str, Hub]:
            return {name: place.start_hub(name, kind, ports[name, kind], server) for name in HUBS}

        console = Console(stderr=True)
        tell = console.print
        console.print(f"{visitors} people sign in and start JupyterLab, at both hubs")
        with_processes = hubs("process")
        found: dict[str, Any] = {"visits": await visits(with_processes, everybody[:visitors], tell)}
        console.print(f"{count} people at both hubs, {AT_A_TIME} at a time")
        waiting = hubs("waiting")
        found["crowds"] = await crowds(waiting, everybody[:count], tell)
        found["people"] = count
        console.print(f"{min(count, CALLERS)} servers ask the broker")
        found["credentials"] = await credentials(place, waiting["ours"], CALLERS)
    return found


# -- figures -------------------------------------------------------------------------------------


def rows(found: dict[str, Any]) -> Iterator[Figure]:
    """The figures of what was found."""

    plain = "plain JupyterHub"
    visited = found["visits"]
    for name, statistic in (
        ("median", statistics.median),
        ("p95", lambda values: quantile(values, 0.95)),
    ):
        figures = statistic(visited["ours"]), statistic(visited["plain"])
        yield figure(f"login and start of JupyterLab, {name}", *figures, plain, "s", GOAL_LOGIN)
    for what, ours, other in zip(
        ("start", "event loop late"), found["crowds"]["ours"], found["crowds"]["plain"], strict=True
    ):
        figures = statistics.median(ours), statistics.median(other)
        rounds = f"{what}, p95, median of {len(ours)} rounds"
        yield figure(f"{found['people']} people: {rounds}", *figures, plain, "s", GOAL_MANY)
    first, again, direct = (found["credentials"][name] for name in ("first", "again", "direct"))
    callers = f"{len(first[0])} callers"
    p95 = [quantile(taken, 0.95) for taken, _ in (first, again, direct)]
    rate = [len(taken) / all_of_it for taken, all_of_it in (first, again, direct)]
    sts = "STS itself"
    yield figure(f"{callers}, first credentials: p95", p95[0], GOAL_FIRST, "bound", "s", 1.0)
    yield figure(
        f"{callers}, first credentials: a second",
        rate[0],
        len(first[0]) / GOAL_FIRST,
        "bound",
        "1/s",
        1.0,
        more_is_better=True,
    )
    yield figure(f"{callers}, again: p95", p95[1], p95[2], sts, "s", 1.0)
    yield figure(
        f"{callers}, again: a second", rate[1], rate[2], sts, "1/s", 1.0, more_is_better=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--people", type=int, default=PEOPLE, metavar="N")
    parser.add_argument("--visits", type=int, default=VISITS, metavar="N")
    arguments = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="cscale-bench-") as folder:
        found = asyncio.run(run(Path(folder), arguments.people, arguments.visits))
    return report(
        "Hub and broker",
        rows(found),
        arguments.json,
        caption="Other: a plain JupyterHub at the same issuer; for credentials, a bound, and the "
        "STS that the broker asks.",
    )


if __name__ == "__main__":
    sys.exit(main())
