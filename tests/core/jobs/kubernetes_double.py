"""The part of the Kubernetes API that the Spark engine asks, over real HTTP, and its defects.

Objects have uids and resource versions; a watch streams what changes after a version, and says 410
when that is too long ago; names are given once; what belongs to a deleted object is removed with
it; logs begin at whole seconds; who is not allowed is told 403. A test is the operator: it gives
applications their states, and makes pods, events and logs.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from jsonschema import Draft202012Validator
from spark_application_schema import SPARK_APPLICATION

GROUP = "sparkoperator.k8s.io"
NAMESPACE = "spark-utest"
TOKEN = "kube-login-0001"

_SCHEMA = Draft202012Validator(SPARK_APPLICATION)


def problem(status: int, reason: str, message: str) -> web.Response:
    """A ``Status`` object, as the API server answers errors."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": status,
    }
    return web.json_response(body, status=status)


@dataclass
class Fault:
    """One answer that goes wrong.

    :ivar status: what is answered; 0: nothing, the connection breaks.
    :ivar after: the act is done, and only its answer goes wrong.
    """

    method: str
    path: str
    status: int
    message: str = "the double says no"
    after: bool = False
    times: int = 1


@dataclass
class KubernetesDouble:
    """One cluster with one namespace."""

    accepted: set[str] = field(default_factory=lambda: {TOKEN})
    denied: set[tuple[str, str]] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    old_definition: bool = False
    installed: bool = True
    page: int = 500
    applications: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    monitoring: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._uids = itertools.count(1)
        self._version = 100
        self._oldest = 100
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._pages: dict[str, list[dict[str, Any]]] = {}
        self._open: set[asyncio.Task[Any]] = set()
        self.url = ""

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        app = web.Application(middlewares=[self._guard])
        core = f"/api/v1/namespaces/{NAMESPACE}"
        ours = f"/apis/{GROUP}/v1beta2/namespaces/{NAMESPACE}/sparkapplications"
        app.add_routes(
            [
                web.get("/version", self._get_version),
                web.get(ours, self._list),
                web.post(ours, self._create),
                web.get(ours + "/{name}", self._get),
                web.delete(ours + "/{name}", self._delete),
                web.post(core + "/secrets", self._create_secret),
                web.get(core + "/secrets/{name}", self._get_secret),
                web.patch(core + "/secrets/{name}", self._patch_secret),
                web.delete(core + "/secrets/{name}", self._delete_secret),
                web.get(core + "/pods", self._list_pods),
                web.delete(core + "/pods", self._delete_pods),
                web.get(core + "/pods/{name}/log", self._log),
                web.get(core + "/events", self._list_events),
                web.get(core + "/services/{name}/proxy/{path:.*}", self._proxy),
                web.get(core + "/pods/{name}/proxy/{path:.*}", self._proxy),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        for task in list(self._open):
            task.cancel()
        assert self._runner is not None
        await self._runner.cleanup()

    def kubeconfig(self, path: Path, token: str = TOKEN) -> Path:
        """A login for the cluster."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "user"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    # -- every request -------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.accepted:
            return problem(401, "Unauthorized", "Unauthorized")
        found = re.search(r"/namespaces/[^/]+/([a-z]+)", request.path)
        resource = found[1] if found else ""
        if request.path.endswith("/log"):
            resource = "pods/log"
        elif "/proxy/" in request.path:
            resource += "/proxy"
        if (request.method, resource) in self.denied:
            return problem(403, "Forbidden", f'{resource} is forbidden: User "utest" cannot do it')
        if resource == "sparkapplications" and not self.installed:
            return web.Response(status=404, text="404 page not found")
        fault = next(
            (
                fault
                for fault in self.faults
                if fault.times and fault.method == request.method and fault.path in request.path
            ),
            None,
        )
        if fault is not None:
            fault.times -= 1
            if fault.after:
                await handler(request)
            if fault.status == 0:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            reason = {403: "Forbidden", 429: "TooManyRequests"}.get(fault.status, "Problem")
            return problem(fault.status, reason, fault.message)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _get_version(self, _: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v1.36.0"})

    # -- applications --------------------------------------------------------------------------

    async def _record(self, kind: str, body: dict[str, Any]) -> None:
        async with self._changed:
            self._version += 1
            body["metadata"]["resourceVersion"] = str(self._version)
            self._history.append((self._version, kind, copy.deepcopy(body)))
            self._changed.notify_all()

    @staticmethod
    def _selected(request: web.Request, body: dict[str, Any]) -> bool:
        labels = body["metadata"].get("labels") or {}
        selector = request.query.get("labelSelector", "")
        wanted = (part.partition("=") for part in selector.split(",") if part)
        return all(labels.get(key) == value for key, _, value in wanted)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        wrong = [error.message for error in _SCHEMA.iter_errors(body)]
        if wrong:
            return problem(422, "Invalid", "; ".join(wrong[:3]))
        name = body["metadata"]["name"]
        if name in self.applications:
            return problem(409, "AlreadyExists", f'sparkapplications "{name}" already exists')
        self.created.append(copy.deepcopy(body))
        if self.old_definition:
            body["spec"]["driver"].pop("template", None)
            body["spec"]["executor"].pop("template", None)
        body["metadata"]["uid"] = f"uid-{next(self._uids)}"
        body["metadata"]["creationTimestamp"] = "2026-11-21T00:00:00Z"
        self.applications[name] = body
        await self._record("ADDED", body)
        return web.json_response(body, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.applications:
            return problem(404, "NotFound", f'sparkapplications "{name}" not found')
        return web.json_response(self.applications[name])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.applications:
            return problem(404, "NotFound", f'sparkapplications "{name}" not found')
        await self.remove(name)
        return web.json_response({"status": "Success"})

    async def remove(self, name: str) -> None:
        """Delete an application and what belongs to it."""
        body = self.applications.pop(name)
        uid = body["metadata"]["uid"]
        for kept in (self.secrets, self.pods):
            for other in [
                key
                for key, value in kept.items()
                if any(o["uid"] == uid for o in value["metadata"].get("ownerReferences", ()))
            ]:
                del kept[other]
        await self._record("DELETED", body)

    async def state(self, name: str, state: str, error: str = "", **status: Any) -> None:
        """What the operator writes down."""
        body = self.applications[name]
        known = body.setdefault("status", {"driverInfo": {}})
        known["applicationState"] = {"state": state, "errorMessage": error}
        known.update(copy.deepcopy(status))
        await self._record("MODIFIED", body)

    def compact(self) -> None:
        """Forget what happened before now, as the API server does after some minutes."""
        self._oldest = self._version + 1
        self._version += 1
        self._history.clear()

    async def break_watches(self) -> None:
        """End all streams, as a restart of the API server does."""
        for task in list(self._open):
            task.cancel()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        rest = request.query.get("continue", "")
        items = (
            self._pages.pop(rest)
            if rest
            else [b for b in self.applications.values() if self._selected(request, b)]
        )
        size = min(self.page, int(request.query.get("limit") or self.page))
        metadata = {"resourceVersion": str(self._version)}
        if len(items) > size:
            metadata["continue"] = f"page-{next(self._uids)}"
            self._pages[metadata["continue"]] = items[size:]
        return web.json_response({"metadata": metadata, "items": items[:size]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])

        async def send(kind: str, body: dict[str, Any]) -> None:
            await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")

        async def stream() -> None:
            nonlocal seen
            if seen < self._oldest:
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                await send("ERROR", status)
                return
            while True:
                async with self._changed:
                    while not (news := [each for each in self._history if each[0] > seen]):
                        await self._changed.wait()
                for version, kind, body in news:
                    seen = version
                    if self._selected(request, body):
                        await send(kind, body)
                bookmark = {"kind": "SparkApplication", "metadata": {"resourceVersion": str(seen)}}
                await send("BOOKMARK", bookmark)

        task = asyncio.create_task(stream())
        self._open.add(task)
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", 60))):
                await task
        except (TimeoutError, asyncio.CancelledError, ConnectionError):
            # The time is over, the test broke the stream, or nobody listens any more.
            pass
        finally:
            task.cancel()
            self._open.discard(task)
        return response

    # -- secrets -------------------------------------------------------------------------------

    async def _create_secret(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["metadata"]["name"]
        if name in self.secrets:
            return problem(409, "AlreadyExists", f'secrets "{name}" already exists')
        body["metadata"]["uid"] = f"uid-{next(self._uids)}"
        owners = {o["uid"] for o in body["metadata"].get("ownerReferences", ())}
        living = {b["metadata"]["uid"] for b in self.applications.values()}
        if owners and not owners & living:
            # The garbage collector removes what belongs to nobody.
            return web.json_response(body, status=201)
        self.secrets[name] = body
        return web.json_response(body, status=201)

    async def _get_secret(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.secrets:
            return problem(404, "NotFound", f'secrets "{name}" not found')
        return web.json_response(self.secrets[name])

    async def _patch_secret(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        name = request.match_info["name"]
        if name not in self.secrets:
            return problem(404, "NotFound", f'secrets "{name}" not found')
        self.secrets[name]["data"].update((await request.json())["data"])
        return web.json_response(self.secrets[name])

    async def _delete_secret(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.secrets.pop(name, None) is None:
            return problem(404, "NotFound", f'secrets "{name}" not found')
        return web.json_response({"status": "Success"})

    def handed(self, name: str) -> dict[str, str]:
        """What is in a Secret."""
        data = self.secrets[name]["data"]
        return {key: base64.b64decode(text).decode() for key, text in data.items()}

    # -- pods ----------------------------------------------------------------------------------

    def pod(
        self,
        application: str,
        role: str = "driver",
        number: str = "",
        *,
        phase: str = "Running",
        waiting: tuple[str, str] | None = None,
        terminated: dict[str, Any] | None = None,
        unschedulable: str = "",
        **status: Any,
    ) -> str:
        """A pod of an application; gives its name."""
        name = f"{application}-{role}" if role == "driver" else f"{application}-exec-{number}"
        labels = {f"{GROUP}/app-name": application, "spark-role": role}
        if number:
            labels["spark-exec-id"] = number
        state: dict[str, Any] = {}
        if waiting:
            state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
        elif terminated:
            state = {"terminated": terminated}
        elif phase == "Running":
            state = {"running": {"startedAt": "2026-11-21T00:00:00Z"}}
        body: dict[str, Any] = {"phase": phase, **status}
        if state:
            body["containerStatuses"] = [{"name": f"spark-kubernetes-{role}", "state": state}]
        if unschedulable:
            body["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": unschedulable,
                }
            ]
        uid = self.applications[application]["metadata"]["uid"]
        self.pods[name] = {
            "metadata": {"name": name, "labels": labels, "ownerReferences": [{"uid": uid}]},
            "status": body,
        }
        return name

    async def _list_pods(self, request: web.Request) -> web.Response:
        items = [body for body in self.pods.values() if self._selected(request, body)]
        return web.json_response({"items": items})

    async def _delete_pods(self, request: web.Request) -> web.Response:
        chosen = [name for name, body in self.pods.items() if self._selected(request, body)]
        for name in chosen:
            del self.pods[name]
        return web.json_response({"items": []})

    def event(self, name: str, reason: str, message: str) -> None:
        self.events.append(
            {
                "involvedObject": {"name": name},
                "reason": reason,
                "message": message,
                "lastTimestamp": f"2026-11-21T00:00:{len(self.events):02}Z",
            }
        )

    async def _list_events(self, request: web.Request) -> web.Response:
        name = request.query["fieldSelector"].partition("=")[2]
        items = [each for each in self.events if each["involvedObject"]["name"] == name]
        return web.json_response({"items": items})

    async def _log(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pods:
            return problem(404, "NotFound", f'pods "{name}" not found')
        since = request.query.get("sinceTime", "")
        assert re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?", since)
        lines = [
            f"{time} {text}\n"
            for time, text in self.logs.get(name, ())
            # The parameter has whole seconds; everything of that second is given.
            if time[:19] >= since.removesuffix("Z")
        ]
        data = "".join(lines).encode()[: int(request.query["limitBytes"])]
        return web.Response(body=data, content_type="text/plain")

    async def _proxy(self, request: web.Request) -> web.Response:
        path = "/" + request.match_info["path"].removeprefix("api/v1/")
        if path not in self.monitoring:
            return problem(503, "ServiceUnavailable", "no endpoints available for service")
        return web.json_response(self.monitoring[path])

    # -- for tests -----------------------------------------------------------------------------

    def asked(self, method: str, part: str) -> int:
        """How often something was asked."""
        return sum(each[0] == method and part in each[1] for each in self.requests)
