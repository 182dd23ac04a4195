"""The one list of jobs: submitting to any engine, finding what is there, and where jobs can run."""

from __future__ import annotations

import hashlib
import json
from builtins import list as list_of
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, overload

from pydantic import ValidationError

from cscale_core.client import html
from cscale_core.client.connection import JSON, Connection, quoted
from cscale_core.client.job import PATIENCE, Job, new_key
from cscale_core.client.screens import say
from cscale_core.client.words import ago
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.jobs.model import BackendState, EngineName, JobSpec, JobStatus
from cscale_core.untrusted import plain

#: What can be said of a job beside its engine and process.
_MEMBERS = frozenset(JobSpec.model_fields) - {"engine", "process"} | {"key", "reuse"}
#: What has failed or was stopped is not given instead of a new job.
_USELESS = frozenset({JobStatus.ERROR, JobStatus.CANCELED, JobStatus.LOST})
#: Jobs of one title that are compared with a new one, the newest first.
_COMPARED = 20
_MOST_SHOWN = 20
_GRAPH_HINT = "Give a DataCube of the openEO client, or the graph as a mapping."


class HasGraph(Protocol):
    """Such as a ``DataCube`` of the openEO client."""

    def flat_graph(self) -> Mapping[str, Any]:
        """The process graph as openEO's API takes it."""


class JobTable(Sequence[Job]):
    """Jobs of the list, the newest first."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = tuple(jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> JobTable: ...
    def __getitem__(self, index: int | slice) -> Job | JobTable:
        found = self._jobs[index]
        return found if isinstance(found, Job) else JobTable(found)

    def __len__(self) -> int:
        return len(self._jobs)

    def __repr__(self) -> str:
        lines = [repr(job) for job in self._jobs[:_MOST_SHOWN]]
        if len(self._jobs) > _MOST_SHOWN:
            lines.append(f"… and {len(self._jobs) - _MOST_SHOWN} more")
        return "\n".join(lines) or "No jobs."

    def _repr_html_(self) -> str:
        return html.job_table(self._jobs)


class Jobs:
    """Every job of one user, whoever submitted it: the panel, a notebook, the command line.

    ``jobs[id]`` is one of them; iterating gives all, the newest first.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The server whose list it is."""
        return self._connection

    # -- finding ---------------------------------------------------------------------------------

    def __getitem__(self, job_id: str) -> Job:
        """:raises NotFound: when there is none."""
        path = f"jobs/{quoted(job_id)}"
        return Job(self._connection, self._connection.call("GET", path, patience=PATIENCE))

    def __iter__(self) -> Iterator[Job]:
        return iter(self.list())

    def list(
        self,
        *,
        status: str | Sequence[str] = (),
        engine: str | Sequence[str] = (),
        search: str = "",
    ) -> JobTable:
        """Jobs, the newest first.

        :param status: only of these; ``open`` stands for all that have not ended.
        :param engine: only of these.
        :param search: only with this in title, id or back end, whatever the case.
        """
        statuses, engines = _given(status), _given(engine)
        unknown = statuses - {*JobStatus, "open"}
        if unknown:
            raise InvalidInput(
                f"There is no status {', '.join(sorted(unknown))}.",
                hint=f"There are: open, {', '.join(JobStatus)}.",
            )
        answer = self._connection.call("GET", "jobs", patience=PATIENCE)
        found = [Job(self._connection, document) for document in answer["jobs"]]
        wanted = search.casefold()
        chosen = [
            job
            for job in found
            if (not statuses or job.status in statuses or ("open" in statuses and not job.ended))
            and (not engines or job.engine in engines)
            and wanted in f"{job.title}\n{job.id}\n{job.backend}".casefold()
        ]
        return JobTable(sorted(chosen, key=lambda job: (job.created, job.revision), reverse=True))

    def last(self) -> Job:
        """The newest.

        :raises NotFound: when there is none.
        """
        found = self.list()
        if not found:
            raise NotFound("There is no job yet.")
        return found[0]

    def find(self, *, title: str | None = None, process: Any = None) -> JobTable:
        """Jobs that do the same: those with this title, this process, or both.

        :param process: a process graph, a ``DataCube``, or what a spec has as ``process``.
        """
        if title is None and process is None:
            raise InvalidInput("Say what to find: a title, a process, or both.")
        found = [job for job in self.list() if title is None or job.title == title]
        if process is not None:
            wanted = fingerprint(as_process(process))
            found = [job for job in found if fingerprint(job.spec.process) == wanted]
        return JobTable(found)

    # -- submitting ------------------------------------------------------------------------------

    @overload
    def submit(self, what: JobSpec, *, key: str = "", reuse: bool = False) -> Job: ...
    @overload
    def submit(
        self,
        what: EngineName,
        process: JSON,
        *,
        title: str = "",
        backend: str = "",
        vo: str = "",
        options: Mapping[str, Any] | None = None,
        area: JSON | None = None,
        period: str = "",
        inputs: Sequence[JSON] = (),
        output: str = "",
        key: str = "",
        reuse: bool = False,
    ) -> Job: ...
    def submit(
        self,
        what: JobSpec | EngineName,
        process: JSON | None = None,
        *,
        key: str = "",
        reuse: bool = False,
        **members: Any,
    ) -> Job:
        """Submit a job: a spec, or an engine with its process and the other members of a spec.

        However often the connection breaks, there is one job.

        :param key: idempotency key, where you submit the same again yourself; else one is made.
        :param reuse: a job of the same title that computes the same, and has finished or is on its
            way, is given instead.
        :raises InvalidInput: when it cannot be right; nothing was submitted.
        """
        spec = what if isinstance(what, JobSpec) else _spec(what, process, members)
        if reuse and (present := self._same(spec)) is not None:
            say(
                f"Job {plain(present.id)} ({present.status}, made {ago(present.created)}) computes "
                "the same and is given instead; reuse=False makes a new one."
            )
            return present
        made = self._connection.call(
            "POST",
            "jobs",
            json=spec.model_dump(mode="json"),
            key=key or new_key(),
            patience=PATIENCE,
        )
        return Job(self._connection, made)

    def _same(self, spec: JobSpec) -> Job | None:
        candidates = [
            job
            for job in self.list(engine=spec.engine)
            if job.title == spec.title
            and job.status not in _USELESS
            and (not spec.backend or job.backend == spec.backend)
        ]
        for job in candidates[:_COMPARED]:
            found = job.spec
            same = (
                fingerprint(found.process) == fingerprint(spec.process)
                # Defaults were filled in when it was submitted.
                and found.options.items() >= spec.options.items()
                and fingerprint(found.inputs) == fingerprint(spec.inputs)
            )
            if same:
                return job
        return None

    def openeo(self, graph: Any, **members: Any) -> Job:
        """Submit an openEO job.

        :param graph: a process graph, or a ``DataCube`` of the openEO client; where it saves
            nothing, its result is saved as ``format`` (``GTiff``).
        :param members: as of :meth:`submit`, and ``format``.
        """
        saved_as = members.pop("format", "GTiff")
        process = as_process(graph)
        if not isinstance(process.get("process_graph"), Mapping):
            raise InvalidInput("This is not a process graph.", hint=_GRAPH_HINT)
        process["process_graph"] = saving(process["process_graph"], saved_as)
        return self.submit("openeo", process, **members)

    def spark(
        self, application: str, arguments: Mapping[str, Any] | None = None, **more: Any
    ) -> Job:
        """Submit a named application to Spark.

        :param arguments: of the application.
        :param more: members of :meth:`submit`; everything else is an argument, too.
        """
        members = {name: more.pop(name) for name in tuple(more) if name in _MEMBERS}
        process = {"application": application, "arguments": {**(arguments or {}), **more}}
        return self.submit("spark", process, **members)

    def slurm(self, command: Sequence[str], **members: Any) -> Job:
        """Submit a program of yours to a cluster.

        :param command: the program and its arguments.
        :param members: ``modules``, ``container``, ``environment``, and those of :meth:`submit`.
        """
        if isinstance(command, str):
            raise InvalidInput(
                "A command is a list: the program and its arguments.",
                hint='Such as ["python3", "mine.py", "{output}"].',
            )
        process: JSON = {"command": list_of(command)}
        for name in ("modules", "container", "environment"):
            if name in members:
                process[name] = members.pop(name)
        return self.submit("slurm", process, **members)

    # -- before submitting -----------------------------------------------------------------------

    def estimate(self, spec: JobSpec) -> JSON:
        """What a job would cost: ``known``, ``costs``, ``duration``, ``size``, ``pods``, …

        :raises InvalidInput: when it would be refused.
        """
        body = spec.model_dump(mode="json")
        return dict(self._connection.call("POST", "jobs/estimate", json=body))

    def script(self, spec: JobSpec) -> str:
        """The batch script that a Slurm job would be."""
        body = spec.model_dump(mode="json")
        return str(self._connection.call("POST", "jobs/script", json=body)["script"])

    def backends(self) -> list_of[BackendState]:
        """Where jobs can run, and whether each place answers."""
        found = self._connection.call("GET", "jobs/backends", patience=PATIENCE)["backends"]
        return [BackendState.model_validate(each) for each in found]

    def __repr__(self) -> str:
        return repr(self.list())

    def _repr_html_(self) -> str:
        return self.list()._repr_html_()


def fingerprint(value: Any) -> str:
    """The same for JSON values that are the same, whatever the order of their members."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(members: Mapping[str, Any]) -> JobSpec:
    """A spec from its members.

    :raises InvalidInput: in a sentence, naming the member that is wrong.
    """
    try:
        return JobSpec.model_validate(members)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'spec'}: {each['msg']}" for each in error.errors()
        )
        raise InvalidInput(f"The job cannot be right: {said}.") from error


def saving(graph: Mapping[str, Any], saved_as: str) -> JSON:
    """A flat process graph that saves its result, where it saved nothing."""
    nodes = {name: dict(node) for name, node in graph.items()}
    if any(node.get("process_id") == "save_result" for node in nodes.values()):
        return nodes
    results = [name for name, node in nodes.items() if node.get("result")]
    if len(results) != 1:
        return nodes  # the back end says what is wrong with it
    del nodes[results[0]]["result"]
    name = "save"
    while name in nodes:
        name += "_"
    nodes[name] = {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": results[0]}, "format": saved_as},
        "result": True,
    }
    return nodes


def _spec(engine: str, process: JSON | None, members: JSON) -> JobSpec:
    if members.get("options") is None:
        members.pop("options", None)
    inputs = list_of(members.pop("inputs", ()))
    return spec_of({"engine": engine, "process": process, "inputs": inputs, **members})


def as_process(graph: Any) -> JSON:
    """What a spec has as ``process``, from it or from a process graph in one of its forms.

    :raises InvalidInput: when it is neither.
    """
    flat = getattr(graph, "flat_graph", None)
    if callable(flat):
        return {"process_graph": dict(flat())}
    if not isinstance(graph, Mapping):
        raise InvalidInput("This is not a process graph.", hint=_GRAPH_HINT)
    nodes = [node for node in graph.values() if isinstance(node, Mapping)]
    if nodes and all("process_id" in node for node in nodes) and len(nodes) == len(graph):
        return {"process_graph": dict(graph)}
    if "process" in graph and isinstance(graph["process"], Mapping):
        return dict(graph["process"])  # a whole job as openEO's API writes it
    return dict(graph)


def _given(names: str | Sequence[str]) -> set[str]:
    return {names} if isinstance(names, str) else set(names)
