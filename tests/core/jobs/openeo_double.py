"""An openEO back end over real HTTP with the documented defects, each behind a switch.

Shapes and defects are openeo-python-driver's: a start is answered 202 whatever becomes of it and
does nothing after an error, the log is answered 200 also when it cannot be read, links to results
are signed for a while, the list of jobs is paged or cut off, nothing is logged before a job runs.

A test holds the object and turns its switches; ``python tests/core/jobs/openeo_double.py`` serves
one in a process of its own and is steered over ``/control`` (benchmarks).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

API = "/openeo/1.2"
ACTIVE = ("queued", "running")
_BRIEF = ("id", "title", "description", "status", "progress", "created", "updated")


class Refusal(Exception):
    """An answer that is an error of the openEO API."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code

    def answer(self) -> JSONResponse:
        body = {"id": "r-double", "code": self.code, "message": str(self), "links": []}
        return JSONResponse(body, self.status)


@dataclass
class RemoteJob:
    """One job at the double."""

    id: str
    owner: str
    body: dict[str, Any]
    status: str = "created"
    progress: float | None = None
    usage: dict[str, Any] | None = None
    costs: float | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Any] | None = None
    starts: int = 0
    not_ready: int = 0
    changed: float = field(default_factory=time.time)
    #: (seconds since 1970, status) still to come.
    schedule: list[tuple[float, str]] = field(default_factory=list)
    #: Members that it gets when the schedule has finished it.
    bill: dict[str, Any] = field(default_factory=dict)

    def to(self, status: str, **members: Any) -> None:
        """Change the status, and other members."""
        self.status, self.changed = status, time.time()
        for name, value in members.items():
            setattr(self, name, value)

    def say(self, message: str, level: str = "info", **members: Any) -> None:
        """Add an entry to the log; its id is the driver's: a piece of JSON."""
        number = len(self.log) + 1
        entry = {
            "id": json.dumps([1700000000000 + number, number]),
            "time": "2026-01-01T00:00:00Z",
            "level": level,
            "message": message,
        }
        self.log.append({**entry, **members})

    def follow_schedule(self, now: float) -> None:
        while self.schedule and self.schedule[0][0] <= now:
            self.changed, self.status = self.schedule.pop(0)
            if self.status == "finished":
                vars(self).update(self.bill)

    def described(self) -> dict[str, Any]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.changed))
        shown = {
            "id": self.id,
            **{name: self.body.get(name) for name in ("title", "description", "process")},
            "status": self.status,
            "created": "2026-01-01T00:00:00Z",
            "updated": stamp,
            "progress": self.progress,
            "usage": self.usage,
            "costs": self.costs,
            "job_options": self.body.get("job_options"),
        }
        return {name: value for name, value in shown.items() if value is not None}


@dataclass
class Switches:
    """What is wrong with the double; the defaults are a back end that is well."""

    page: int = 0  # jobs in a page of the list; 0: all
    cut: int = 0  # the list ends here without a word; 0: nowhere
    list_off: tuple[str, ...] = ()  # members the list does not show
    list_also: tuple[str, ...] = ()  # members the list shows beside the usual
    list_hides: set[str] = field(default_factory=set)  # jobs it has not heard of yet
    ghosts: dict[str, str] = field(default_factory=dict)  # deleted jobs it still shows: status
    storm: int = 0  # requests answered 503; -1: all
    storm_code: str = "InfrastructureMaintenance"
    lost_answers: int = 0  # creations that are done and answered 502
    no_login: bool = False  # every token is refused
    refused: set[str] = field(default_factory=set)  # bearers that have expired
    oldest_token: int = 0  # tokens with a lower number have expired
    start_ignored: bool = False  # starts are taken and nothing happens
    starts_as: str = "running"  # what a job becomes when it is started
    places: int = 0  # jobs of a user that may be active; 0: any
    refuse: dict[str, Refusal] = field(default_factory=dict)  # "create", "start", "results", …
    log_fails: bool = False  # 200, and the last entry says that reading failed
    log_offset_ignored: bool = False
    log_ids: bool = True
    log_page: int = 0
    log_linked: bool = False
    link_seconds: float = 3600.0
    estimates: bool = True
    health: int = 200
    logins: tuple[str, ...] = ("oidc",)
    discovery: bool = True
    budget: float | None = None  # credits of the user; None: it does not tell
    issuer: str = ""  # identity provider; empty: the double's own, which only renews
    client: dict[str, Any] = field(
        default_factory=lambda: {"id": "client", "grant_types": ["refresh_token"]}
    )
    scopes: tuple[str, ...] = ("openid",)


class Double:
    """The back end: its jobs, its switches, and every request it got."""

    def __init__(self) -> None:
        self.jobs: dict[str, RemoteJob] = {}
        self.switches = Switches()
        self.url = ""
        #: (seconds since 1970, method, path, user) of each request; where there is no login, the
        #: program that asks, with a question mark.
        self.requests: list[tuple[float, str, str, str]] = []
        self.bearers: list[str] = []
        self.options: dict[str, Any] = {}
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self._numbers = itertools.count(1)
        self._basic = itertools.count(1)
        self._refreshes = 0
        self._links_valid_from = 0.0
        answer = {Refusal: lambda request, refusal: refusal.answer()}
        self.app: ASGIApp = self._guarded(
            Starlette(routes=list(self._routes()), exception_handlers=answer)
        )

    # -- for tests -------------------------------------------------------------------------------

    def count(self, method: str, ending: str = "") -> int:
        """Requests of a method whose path ends so."""
        return sum(1 for _, m, path, _ in self.requests if m == method and path.endswith(ending))

    def add(self, owner: str = "u", **members: Any) -> RemoteJob:
        """A job that is there already."""
        body = members.pop("body", {"title": "t", "description": ""})
        job = RemoteJob(id=f"r{next(self._numbers)}", owner=owner, body=body, **members)
        self.jobs[job.id] = job
        return job

    def expire_links(self) -> None:
        """Every link that was signed so far has ended."""
        self._links_valid_from = time.time()

    # -- plumbing --------------------------------------------------------------------------------

    def _routes(self) -> Iterator[Route]:
        api = (
            ("/", self._capabilities, ["GET"]),
            ("/health", self._health, ["GET"]),
            ("/credentials/basic", self._credentials, ["GET"]),
            ("/credentials/oidc", self._providers, ["GET"]),
            ("/me", self._me, ["GET"]),
            ("/jobs", self._list, ["GET"]),
            ("/jobs", self._create, ["POST"]),
            ("/jobs/{job}", self._describe, ["GET"]),
            ("/jobs/{job}", self._delete, ["DELETE"]),
            ("/jobs/{job}/estimate", self._estimate, ["GET"]),
            ("/jobs/{job}/logs", self._logs, ["GET"]),
            ("/jobs/{job}/results", self._results, ["GET"]),
            ("/jobs/{job}/results", self._start, ["POST"]),
            ("/jobs/{job}/results", self._stop, ["DELETE"]),
            ("/files/{job}/{name}", self._file, ["GET", "HEAD"]),
        )
        for path, answer, methods in api:
            yield Route(API + path, answer, methods=methods)
        yield Route("/.well-known/openeo", self._versions)
        yield Route("/issuer/.well-known/openid-configuration", self._issuer)
        yield Route("/issuer/token", self._token, methods=["POST"])
        yield Route("/control/jobs", self._control_jobs, methods=["POST"])
        yield Route("/control/switches", self._control_switches, methods=["POST"])
        yield Route("/control/requests", self._control_requests)
        yield Route("/control/changes", self._control_changes)

    def _guarded(self, app: Starlette) -> ASGIApp:
        async def guard(scope: Scope, receive: Receive, send: Send) -> None:
            path = str(scope.get("path", ""))
            if scope["type"] != "http" or path.startswith("/control"):
                await app(scope, receive, send)
                return
            request = Request(scope, receive)
            bearer = request.headers.get("authorization", "")
            short = path.removeprefix(API)
            agent = request.headers.get("user-agent", "").partition("/")[0]
            who = self._user(bearer) if bearer else f"?{agent}"
            self.requests.append((time.time(), request.method, short, who))
            self.on_request(request.method, short)
            try:
                self._check(short, bearer)
                await app(scope, receive, send)
            except Refusal as refusal:
                await refusal.answer()(scope, receive, send)

        return guard

    @staticmethod
    def _user(bearer: str) -> str:
        return bearer.rpartition("/")[2].split("-")[0]

    def _check(self, path: str, bearer: str) -> None:
        switches = self.switches
        if switches.storm:
            switches.storm -= 1 if switches.storm > 0 else 0
            raise Refusal(503, switches.storm_code, "come back later")
        if not path.startswith(("/jobs", "/me")):
            return
        self.bearers.append(bearer)
        if not bearer:
            raise Refusal(401, "AuthenticationRequired", "Unauthorized.")
        number = bearer.rpartition("-")[2]
        expired = number.isdigit() and int(number) < switches.oldest_token
        if switches.no_login or expired or bearer in switches.refused:
            raise Refusal(403, "TokenInvalid", "Authorization token has expired or is invalid.")

    def _job(self, request: Request) -> RemoteJob:
        job = self.jobs.get(request.path_params["job"])
        owner = self._user(request.headers.get("authorization", ""))
        if job is None or job.owner != owner:
            raise Refusal(404, "JobNotFound", "The batch job does not exist.")
        job.follow_schedule(time.time())
        return job

    def _refused(self, act: str) -> None:
        if act in self.switches.refuse:
            raise self.switches.refuse[act]

    # -- what it is ------------------------------------------------------------------------------

    async def _versions(self, request: Request) -> Response:
        if not self.switches.discovery:
            raise Refusal(404, "NotFound")
        versions = [{"url": f"{self.url}{API}", "api_version": "1.2.0", "production": True}]
        return JSONResponse({"versions": versions})

    async def _capabilities(self, request: Request) -> Response:
        paths = {
            "/jobs": ["GET", "POST"],
            "/jobs/{id}": ["GET", "DELETE"],
            "/jobs/{id}/results": ["GET", "POST", "DELETE"],
            "/jobs/{id}/logs": ["GET"],
        }
        if self.switches.estimates:
            paths["/jobs/{id}/estimate"] = ["GET"]
        if self.switches.budget is not None:
            paths["/me"] = ["GET"]
        for login in self.switches.logins:
            paths[f"/credentials/{login}"] = ["GET"]
        return JSONResponse(
            {
                "api_version": "1.2.0",
                "backend_version": "0.1",
                "stac_version": "1.0.0",
                "id": "double",
                "title": "Double",
                "description": "A double.",
                "endpoints": [{"path": p, "methods": methods} for p, methods in paths.items()],
                "links": [],
            }
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "well"}, self.switches.health)

    async def _credentials(self, request: Request) -> Response:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic" or base64.b64decode(given) != b"ada:secret":
            raise Refusal(403, "CredentialsInvalid", "Credentials are not correct.")
        return JSONResponse({"access_token": f"u-{next(self._basic)}"})

    async def _providers(self, request: Request) -> Response:
        provider = {
            "id": "egi",
            "issuer": self.switches.issuer or f"{self.url}/issuer",
            "title": "Issuer",
            "scopes": list(self.switches.scopes),
            "default_clients": [self.switches.client],
        }
        return JSONResponse({"providers": [provider]})

    async def _me(self, request: Request) -> Response:
        return JSONResponse({"user_id": "u", "budget": self.switches.budget})

    async def _issuer(self, request: Request) -> Response:
        issuer = f"{self.url}/issuer"
        return JSONResponse(
            {
                "issuer": issuer,
                "token_endpoint": f"{issuer}/token",
                "authorization_endpoint": f"{issuer}/authorize",
                "scopes_supported": ["openid", "offline_access"],
            }
        )

    async def _token(self, request: Request) -> Response:
        """An access token for a refresh token, which is another one each time."""
        given = parse_qs((await request.body()).decode())["refresh_token"][0]
        if given != f"refresh-{self._refreshes}":
            return JSONResponse({"error": "invalid_grant"}, 400)
        self._refreshes += 1
        body = {"access_token": f"u-{self._refreshes}", "token_type": "Bearer"}
        return JSONResponse({**body, "refresh_token": f"refresh-{self._refreshes}"})

    # -- jobs ------------------------------------------------------------------------------------

    async def _create(self, request: Request) -> Response:
        self._refused("create")
        owner = self._user(request.headers["authorization"])
        job = self.add(owner, body=await request.json())
        job.schedule = [tuple(step) for step in self.options.get("schedule", ())]
        self.on_request("created", job.id)
        if self.switches.lost_answers:
            self.switches.lost_answers -= 1
            return Response("Bad gateway", 502)
        headers = {"OpenEO-Identifier": job.id, "Location": f"{self.url}{API}/jobs/{job.id}"}
        return Response(status_code=201, headers=headers)

    async def _list(self, request: Request) -> Response:
        self._refused("list")
        switches = self.switches
        owner = self._user(request.headers["authorization"])
        now = time.time()
        entries = []
        for job in reversed(self.jobs.values()):
            if job.owner == owner and job.id not in switches.list_hides:
                job.follow_schedule(now)
                described = job.described()
                shown = {*_BRIEF, *switches.list_also} - {*switches.list_off}
                brief = [name for name in described if name in shown]
                entries.append({name: described[name] for name in brief})
        entries += [{"id": name, "status": status} for name, status in switches.ghosts.items()]
        links = []
        if switches.cut:
            entries = entries[: switches.cut]
        if switches.page:
            first = int(request.query_params.get("page", 0)) * switches.page
            if first + switches.page < len(entries):
                following = first // switches.page + 1
                href = f"{self.url}{API}/jobs?limit={switches.page}&page={following}"
                links.append({"rel": "next", "href": href})
            entries = entries[first : first + switches.page]
        return JSONResponse({"jobs": entries, "links": links})

    async def _describe(self, request: Request) -> Response:
        self._refused("describe")
        return JSONResponse(self._job(request).described())

    async def _delete(self, request: Request) -> Response:
        del self.jobs[self._job(request).id]
        return Response(status_code=204)

    async def _estimate(self, request: Request) -> Response:
        self._job(request)
        if not self.switches.estimates:
            raise Refusal(501, "FeatureUnsupported")
        self._refused("estimate")
        return JSONResponse({"costs": 12.5, "duration": "PT2H", "size": 1000})

    async def _start(self, request: Request) -> Response:
        job = self._job(request)
        self._refused("start")
        active = [j for j in self.jobs.values() if j.owner == job.owner and j.status in ACTIVE]
        if self.switches.places and len(active) >= self.switches.places:
            raise Refusal(400, "ConcurrentJobLimit", "You have too many jobs running.")
        job.starts += 1
        if job.status in ("created", "canceled") and not self.switches.start_ignored:
            job.to(self.switches.starts_as)
            delays = self.options.get("delays")
            if delays:
                now = time.time()
                seconds = delays[str(job.body.get("title"))]
                job.schedule = [(now + after, status) for after, status in seconds]
                job.bill = self.options.get("bill", {})
        return Response(status_code=202)  # whatever became of it

    async def _stop(self, request: Request) -> Response:
        job = self._job(request)
        self._refused("stop")
        if job.status == "finished":
            raise Refusal(400, "JobNotRunning", "It has finished.")
        job.to("canceled")
        return Response(status_code=204)

    async def _logs(self, request: Request) -> Response:
        job = self._job(request)
        self._refused("logs")
        switches = self.switches
        lines = [] if job.status in ("created", "queued") else list(job.log)
        if level := request.query_params.get("level"):
            lines = [line for line in lines if line["level"] == level]
        offset = request.query_params.get("offset", "")
        if offset and not switches.log_offset_ignored:
            names = [line["id"] for line in lines]
            lines = lines[names.index(offset) + 1 :] if offset in names else lines
        links = []
        if switches.log_page and len(lines) > switches.log_page:
            lines = lines[: switches.log_page]
            if switches.log_linked:
                query = str(request.url.include_query_params(offset=lines[-1]["id"]))
                links.append({"rel": "next", "href": query})
        if not switches.log_ids:
            lines = [{**line, "id": ""} for line in lines]
        if switches.log_fails:
            text = f"Log collection for job {job.id} failed. (req_id: r-1) Internal"
            lines.append({"id": "", "code": "Internal", "level": "error", "message": text})
        return JSONResponse({"level": "debug", "logs": lines, "links": links})

    # -- results ---------------------------------------------------------------------------------

    async def _results(self, request: Request) -> Response:
        job = self._job(request)
        self._refused("results")
        if job.status != "finished" or job.not_ready:
            job.not_ready -= 1 if job.not_ready else 0
            raise Refusal(400, "JobNotFinished", "Batch job has not finished computing.")
        signed = time.time()
        ends = int(signed + self.switches.link_seconds)
        assets = {
            name: {
                "href": f"{self.url}{API}/files/{job.id}/{name}?signed={signed}&expires={ends}",
                "roles": ["data"],
                **members,
            }
            for name, members in job.assets.items()
        }
        document = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "extent": {
                "spatial": {"bbox": [[-6, 36, -5, 37]]},
                "temporal": {"interval": [["2019-01-01T00:00:00Z", "2022-01-01T00:00:00Z"]]},
            },
            "links": [],
            **(job.results or {}),
        }
        if isinstance(document.get("assets", {}), dict):
            document["assets"] = {**document.get("assets", {}), **assets}
        return JSONResponse(document)

    async def _file(self, request: Request) -> Response:
        signed = float(request.query_params["signed"])
        if signed < self._links_valid_from or time.time() > int(request.query_params["expires"]):
            raise Refusal(410, "ResultLinkExpired", "The link has expired.")
        return Response(b"bytes", media_type="image/tiff")

    # -- from another process --------------------------------------------------------------------

    async def _control_jobs(self, request: Request) -> Response:
        """Add jobs: a list of {owner, title, description, status, schedule}."""
        made = []
        for entry in await request.json():
            job = self.add(
                entry["owner"],
                body={"title": entry["title"], "description": entry.get("description", "")},
                status=entry.get("status", "running"),
                assets={"a.tif": {"type": "image/tiff"}},
            )
            job.schedule = [tuple(step) for step in entry.get("schedule", ())]
            made.append(job.id)
        return JSONResponse(made)

    async def _control_switches(self, request: Request) -> Response:
        """Set switches, and how long after its start a job of a title takes for each status."""
        body = await request.json()
        self.options = body.pop("options", self.options)
        for name, value in body.items():
            setattr(self.switches, name, value)
        return JSONResponse({})

    async def _control_requests(self, request: Request) -> Response:
        return JSONResponse(self.requests)

    async def _control_changes(self, request: Request) -> Response:
        """Owner, title, status and moment of the last change of each job."""
        now = time.time()
        for job in self.jobs.values():
            job.follow_schedule(now)
        rows = [(j.owner, j.body.get("title"), j.status, j.changed) for j in self.jobs.values()]
        return JSONResponse(rows)


def main() -> None:
    """Serve a double on a free port and print its address."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)  # who reads the address may connect at once
    double = Double()
    double.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(double.url, flush=True)
    config = uvicorn.Config(double.app, log_level="error", lifespan="off")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
