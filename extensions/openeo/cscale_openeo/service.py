"""What the API does, apart from HTTP: checking, freezing, estimating, handing out results."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import httpx

from cscale_openeo import graph as graphs
from cscale_openeo.authentication import Authenticator, User
from cscale_openeo.catalogue import CatalogueClient
from cscale_openeo.config import Config
from cscale_openeo.credentials import CredentialIssuer
from cscale_openeo.errors import OpenEOError
from cscale_openeo.freezing import digest, freeze
from cscale_openeo.joblog import LEVELS
from cscale_openeo.links import LinkSigner
from cscale_openeo.manager import JobManager
from cscale_openeo.processes import specifications
from cscale_openeo.stac_collections import bands_of, bands_of_item, openeo_collection
from cscale_openeo.store import Store, StoredJob, new_job_id
from cscale_openeo.synchronous import compute_now, remove

_JOB_MEMBERS = ("title", "description", "process", "plan", "budget", "log_level", "job_options")
_PATCHABLE = ("title", "description", "process", "log_level", "job_options")


class Service:
    """All parts of the running service, made once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.data_dir.chmod(0o700)
        self.http = httpx.AsyncClient(
            timeout=httpx.Timeout(20.0, connect=5.0), follow_redirects=False, trust_env=False
        )
        self.store = Store(config.data_dir / "jobs.sqlite")
        self.authenticator = Authenticator(config, self.http)
        self.catalogue = CatalogueClient(config.catalogue_url, self.http)
        self.credentials = CredentialIssuer(config.s3, self.http)
        self.manager = JobManager(config, self.store, self.credentials)
        self.links = LinkSigner(
            config.data_dir / "link.key", config.base_url, config.result_link_seconds
        )
        self.site = config.site_view()
        # Synchronous runs: they have no row, and their processes may ask for keys too.
        self.sync_jobs: dict[str, StoredJob] = {}

    async def start(self) -> None:
        """Begin to work through jobs."""
        await self.manager.start()

    async def stop(self) -> None:
        """Let go of everything; running jobs go on."""
        await self.manager.stop()
        await self.http.aclose()
        self.store.close()

    # --- collections ----------------------------------------------------------------------------

    async def collections(self) -> list[dict[str, Any]]:
        """All collections, as openEO wants them."""
        found = await self.catalogue.collections()
        return [openeo_collection(c, self.config.base_url) for c in found]

    async def collection(self, identifier: str) -> dict[str, Any]:
        """One collection; bands come from an item where the collection has none."""
        found = await self.catalogue.collection(identifier)
        bands = bands_of(found)
        if not bands:
            items = await self.catalogue.sample(identifier)
            bands = bands_of_item(items[0]) if items else []
        return openeo_collection(found, self.config.base_url, bands)

    # --- graphs ---------------------------------------------------------------------------------

    def expanded(self, process: Any, owner: str) -> graphs.Graph:
        """The graph of a process with user-defined processes put in.

        :raises OpenEOError: when there is no graph or a call cannot be resolved.
        """
        graph = graphs.process_graph_of(process)
        defined = {p["id"]: p for p in self.store.processes(owner)}
        return graphs.expand(graph, defined) if defined else graph

    def checked(self, process: Any, owner: str) -> graphs.Graph:
        """An executable graph.

        :raises OpenEOError: the first problem found.
        """
        graph = self.expanded(process, owner)
        for problem in graphs.check(graph):
            if not problem.warning:
                raise problem.as_error()
        return graph

    async def frozen(self, graph: graphs.Graph) -> dict[str, Any]:
        """Search and keep the inputs of a graph."""
        return await freeze(graph, self.catalogue, self.config.max_items, self.config.local_inputs)

    async def validate(self, process: Any, owner: str) -> list[dict[str, Any]]:
        """All findings about a process; an empty search is one, marked as a warning."""
        try:
            graph = self.expanded(process, owner)
        except OpenEOError as error:
            return [{"code": error.code, "message": error.message}]
        problems = graphs.check(graph)
        if not problems:
            for name in graphs.loads(graph):
                try:
                    frozen = await self.frozen({name: {**graph[name], "result": True}})
                except OpenEOError as error:
                    if error.status >= 500:
                        raise
                    problems.append(graphs.Problem(error.code, error.message))
                    continue
                if not frozen[name]["items"]:
                    problems.append(
                        graphs.Problem(
                            "NoDataAvailable",
                            f"Warning: there is no data for node {name!r} at present.",
                            warning=True,
                        )
                    )
        return [{"code": p.code, "message": p.message} for p in problems]

    # --- jobs -----------------------------------------------------------------------------------

    def vo_for(self, user: User, options: dict[str, Any]) -> str:
        """The VO a job belongs to: ``job_options.vo`` or the user's first.

        :raises OpenEOError: PermissionsInsufficient when the user is not in it.
        """
        wanted = options.get("vo") or user.vos[0]
        if wanted not in user.vos:
            raise OpenEOError(
                "PermissionsInsufficient",
                f"You are not a member of {wanted}; yours are: {', '.join(user.vos)}.",
            )
        return str(wanted)

    def _body(self, given: dict[str, Any]) -> dict[str, Any]:
        body = {key: given[key] for key in _JOB_MEMBERS if given.get(key) is not None}
        # Unknown members at the top are job options too, as other back ends take them.
        options = body.get("job_options") or {}
        if not isinstance(options, dict):
            raise OpenEOError("RequestInvalid", "job_options must be an object.")
        body["job_options"] = {
            **{k: v for k, v in given.items() if k not in _JOB_MEMBERS},
            **options,
        }
        level = body.setdefault("log_level", "info")
        if level not in LEVELS:
            raise OpenEOError("InvalidLogLevel", f"log_level must be one of {', '.join(LEVELS)}.")
        for key in ("title", "description"):
            if not isinstance(body.get(key, ""), str):
                raise OpenEOError("RequestInvalid", f"{key} must be a text.")
        if body.get("budget") is not None:
            raise OpenEOError("BudgetInvalid", "There is no billing here, so no budget.")
        if body.get("plan") is not None:
            raise OpenEOError("BillingPlanInvalid", "There is no billing here, so no plan.")
        return body

    async def create_job(self, user: User, given: dict[str, Any]) -> StoredJob:
        """Check, freeze and store a new job.

        :raises OpenEOError: when the graph cannot run or the catalogue does not answer.
        """
        if "process" not in given:
            raise OpenEOError("ProcessGraphMissing", "The job has no process.")
        body = self._body(given)
        graph = self.checked(given["process"], user.subject)
        vo = self.vo_for(user, body["job_options"])
        frozen = await self.frozen(graph)
        body["process"] = {**given["process"], "process_graph": graph}
        body["given"] = given["process"]
        job = StoredJob(id=new_job_id(), owner=user.subject, slug=user.slug, vo=vo, body=body)
        self.manager.submit(job, frozen)
        return job

    async def patch_job(self, user: User, job: StoredJob, given: dict[str, Any]) -> None:
        """Change a job that neither waits nor runs.

        :raises OpenEOError: JobLocked, PropertyNotEditable, NoDataForUpdate.
        """
        if job.active:
            raise OpenEOError(
                "JobLocked",
                "Batch job is locked due to a queued or running batch computation.",
            )
        for key in given:
            if key not in (*_PATCHABLE, "plan", "budget"):
                raise OpenEOError(
                    "PropertyNotEditable", f"The specified property '{key}' is read-only."
                )
        if not given:
            raise OpenEOError("NoDataForUpdate", "No data specified to be updated.")
        changed = self._body(
            {**{k: job.body.get(k) for k in _JOB_MEMBERS if k != "process"}, **given}
        )
        vo = self.vo_for(user, changed["job_options"])
        if "process" in given:
            graph = self.checked(given["process"], user.subject)
            frozen = await self.frozen(graph)
            changed["process"] = {**given["process"], "process_graph": graph}
            changed["given"] = given["process"]
            self.manager.freeze(job, frozen)
        for key in _PATCHABLE:
            if key in given and given[key] is None:
                job.body.pop(key, None)
        job.body.update(changed)
        job.vo = vo
        if "process" in given:
            job.status = "created"  # what was computed is not of this process
        if not self.store.save(job, expected=("created", "canceled", "error", "finished")):
            raise OpenEOError("JobLocked", "Batch job was started meanwhile.")

    def describe(self, job: StoredJob, *, full: bool) -> dict[str, Any]:
        """A job as ``GET /jobs`` (not full) and ``GET /jobs/{id}`` show it."""
        shown: dict[str, Any] = {
            "id": job.id,
            "status": job.status,
            "created": job.created,
            "updated": job.updated,
        }
        for key in ("title", "description"):
            if job.body.get(key):
                shown[key] = job.body[key]
        progress, message = self.manager.progress(job)
        if progress is not None:
            shown["progress"] = progress
        if full:
            shown["process"] = job.body.get("given") or job.body["process"]
            shown["log_level"] = job.body.get("log_level", "info")
            shown["job_options"] = {**job.body.get("job_options", {}), "vo": job.vo}
            if job.body.get("usage"):
                shown["usage"] = job.body["usage"]
            if job.status == "running" and message:
                shown["cscale:message"] = message
            if job.body.get("error"):
                shown["cscale:error"] = job.body["error"]
        return shown

    def estimate(self, job: StoredJob) -> dict[str, Any]:
        """A rough guess from the number of rasters to read; there are no costs."""
        frozen = json.loads(self.manager.folder(job.id).frozen.read_text(encoding="utf-8"))
        rasters = sum(len(load["items"]) * len(load["bands"]) for load in frozen.values())
        seconds = round(25 + 0.1 * rasters)
        return {"duration": f"PT{seconds}S", "costs": 0, "downloads_included": 1}

    def page(self, user: User, limit: int | None, cursor: str) -> dict[str, Any]:
        """``GET /jobs``: newest first, with a link to the next page."""
        before = None
        if cursor:
            try:
                created, identifier = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
                before = (created, identifier)
            except ValueError as error:
                raise OpenEOError("RequestInvalid", "The page cursor is not ours.") from error
        size = min(limit or 1000, 1000)
        jobs = self.store.page(user.subject, size + 1, before)
        links = []
        if len(jobs) > size:
            jobs = jobs[:size]
            last = f"{jobs[-1].created}|{jobs[-1].id}".encode()
            mark = base64.urlsafe_b64encode(last).decode()
            href = f"{self.config.base_url}/jobs?limit={size}&page={mark}"
            links.append({"rel": "next", "href": href, "type": "application/json"})
        return {"jobs": [self.describe(job, full=False) for job in jobs], "links": links}

    def logs(self, job: StoredJob, offset: str, limit: int | None, level: str) -> dict[str, Any]:
        """``GET /jobs/{id}/logs``: entries after the one named by ``offset``."""
        if level not in LEVELS:
            raise OpenEOError("InvalidLogLevel", f"level must be one of {', '.join(LEVELS)}.")
        if offset and not offset.isdigit():
            raise OpenEOError("RequestInvalid", "offset is the id of a log entry.")
        entries = self.manager.log(job).entries(int(offset or 0), level)
        links = []
        if limit is not None and len(entries) > limit:
            entries = entries[:limit]
            href = (
                f"{self.config.base_url}/jobs/{job.id}/logs"
                f"?offset={entries[-1]['id']}&limit={limit}&level={level}"
            )
            links.append({"rel": "next", "href": href, "type": "application/json"})
        return {"level": level, "logs": entries, "links": links}

    # --- at once --------------------------------------------------------------------------------

    async def compute(self, user: User, given: dict[str, Any]) -> tuple[Path, str, Path]:
        """``POST /result``: (file, media type, folder to remove after sending).

        :raises OpenEOError: ProcessGraphComplexity when it is too large, RequestTimeout.
        """
        body = self._body(given)
        graph = self.checked(given.get("process"), user.subject)
        vo = self.vo_for(user, body["job_options"])
        frozen = await self.frozen(graph)
        if any(not load["items"] for load in frozen.values()):
            raise OpenEOError("NoDataAvailable", "There is no data for the given extents.")
        identifier = "s-" + secrets.token_hex(16)
        job = StoredJob(
            id=identifier,
            owner=user.subject,
            slug=user.slug,
            vo=vo,
            status="running",
            run=1,
            body={
                **body,
                "process": {"process_graph": graph},
                "frozen_digest": digest(frozen),
            },
        )
        folder = self.manager.folder(identifier).path
        folder.mkdir(mode=0o700)
        self.sync_jobs[identifier] = job
        try:
            task = self.manager.task(job, frozen)
            file, kind = await compute_now(
                self.config, task, folder, self.manager.environment(identifier)
            )
        except BaseException:
            remove(folder)
            raise
        finally:
            self.sync_jobs.pop(identifier, None)
            self.credentials.forget(identifier)
        return file, kind, folder

    def job_for_credentials(self, identifier: str) -> StoredJob | None:
        """A job whose processes may ask for keys now."""
        known = self.sync_jobs.get(identifier)
        if known is not None:
            return known
        job = self.store.get(identifier)
        return job if job is not None and job.status == "running" else None

    # --- user-defined processes -----------------------------------------------------------------

    def put_process(self, user: User, identifier: str, given: dict[str, Any]) -> None:
        """Store a user-defined process.

        :raises OpenEOError: when its id is taken by the back end or its graph is malformed.
        """
        if identifier in specifications():
            raise OpenEOError(
                "PredefinedProcessExists",
                "A predefined process with the given identifier exists.",
            )
        if not identifier.replace("_", "a").isalnum() or len(identifier) > 200:
            raise OpenEOError("ProcessInvalid", "A process id takes letters, digits and '_'.")
        graph = graphs.process_graph_of(given)
        graphs.order(graph, [graphs.result_node(graph), *graph])
        parameters = given.get("parameters") or []
        if not isinstance(parameters, list) or not all(
            isinstance(p, dict) and isinstance(p.get("name"), str) for p in parameters
        ):
            raise OpenEOError("ProcessInvalid", "parameters is a list of objects with a name.")
        self.store.put_process(user.subject, identifier, {**given, "id": identifier})
