"""One job of the list: what is known of it, waiting, its log, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from cscale_core.client import html
from cscale_core.client.connection import JSON, Connection, quoted
from cscale_core.client.words import moment
from cscale_core.errors import CScaleError
from cscale_core.jobs.model import JobError, JobSpec, JobStatus, Transferred
from cscale_core.untrusted import plain

if TYPE_CHECKING:
    from cscale_core.client.logs import Log
    from cscale_core.client.results import Results

#: How long a change is repeated while the server is away, seconds.
PATIENCE = 30.0
_WAITING = frozenset({JobStatus.CREATED, JobStatus.QUEUED})

Progress = bool | Callable[["Job"], object]


class JobFailed(CScaleError):
    """A job that was waited for did not finish; ``details["job"]`` is its id."""

    code = "job_failed"


def new_key() -> str:
    """An idempotency key that nobody has used."""
    return uuid4().hex


class Job:
    """A job of the list, as it was when it was asked for last (:meth:`refresh`).

    ``await job`` waits for its end without holding up the notebook.
    """

    def __init__(self, connection: Connection, document: JSON) -> None:
        self._connection = connection
        self.take(document)

    # -- what is known ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return str(self._document["id"])

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return int(self._document["revision"])

    @property
    def status(self) -> JobStatus:
        return JobStatus(self._document["status"])

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status.ended

    @property
    def title(self) -> str:
        return str(self._document["spec"]["title"])

    @property
    def engine(self) -> str:
        return str(self._document["spec"]["engine"])

    @property
    def backend(self) -> str:
        return str(self._document["spec"]["backend"])

    @property
    def progress(self) -> float | None:
        """From 0 to 1; None when it is not known."""
        found = self._document["progress"]
        return None if found is None else float(found)

    @property
    def message(self) -> str:
        """One line: what it does now."""
        return str(self._document["message"])

    @property
    def wanted(self) -> str:
        """``cancel`` or ``pause`` where that was asked for and is not done yet."""
        return str(self._document.get("wanted", ""))

    @property
    def error(self) -> JobError | None:
        """Why it failed, and what can be done."""
        found = self._document.get("error")
        return None if found is None else JobError.model_validate(found)

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self._document["created"])

    @property
    def updated(self) -> datetime:
        return datetime.fromisoformat(self._document["updated"])

    @property
    def ended_at(self) -> datetime | None:
        return moment(self._document["ended"])

    @property
    def queued_time(self) -> timedelta:
        """How long it has waited for its turn, so far."""
        return self._time_in(_WAITING)

    @property
    def running_time(self) -> timedelta:
        """How long it has run, so far; rests are not counted."""
        return self._time_in(frozenset({JobStatus.RUNNING}))

    def _time_in(self, statuses: frozenset[JobStatus]) -> timedelta:
        end = self.ended_at or datetime.now(UTC)
        begun = [
            (JobStatus(phase["status"]), datetime.fromisoformat(phase["since"]))
            for phase in self._document["phases"]
        ] or [(JobStatus.QUEUED, self.created)]
        ends = [since for _, since in begun[1:]] + [end]
        zero = timedelta()
        spent = (
            max(until - since, zero)
            for (status, since), until in zip(begun, ends, strict=True)
            if status in statuses
        )
        return sum(spent, zero)

    @property
    def transferred(self) -> Transferred | None:
        """Files and bytes, of jobs that move files."""
        found = self._document.get("transferred")
        return None if found is None else Transferred.model_validate(found)

    @property
    def costs(self) -> float | None:
        """In the currency or credits of the back end; None when not known."""
        found = self._document.get("costs")
        return None if found is None else float(found)

    @property
    def usage(self) -> JSON:
        """What it used, in the words and units of the engine."""
        return dict(self._document.get("usage") or {})

    @property
    def cloned_from(self) -> str:
        """Id of the job that this repeats."""
        return str(self._document.get("cloned_from", ""))

    @property
    def ui_path(self) -> str:
        """Path of the engine's own pages behind the hub, while there are any."""
        return str(self._document["ui_path"])

    @property
    def result_count(self) -> int:
        """How many result items there are."""
        if "result_count" in self._document:
            return int(self._document["result_count"])
        return len(self._document.get("results") or ())

    @property
    def spec(self) -> JobSpec:
        """What was asked for, whole."""
        return JobSpec.model_validate(self._all()["spec"])

    @property
    def idempotency_key(self) -> str:
        """The key it was submitted with."""
        return str(self._all().get("idempotency_key", ""))

    def summary(self) -> JSON:
        """What the list says of it, as the server wrote it."""
        return dict(self._document)

    def as_dict(self) -> JSON:
        """Everything that the server says of it."""
        return dict(self._all())

    def _all(self) -> JSON:
        if not self._whole:
            self.refresh()
        return self._document

    def refresh(self, *, patience: float = 0.0) -> Self:
        """Ask the server anew.

        :param patience: seconds for which a server that does not answer is asked again.
        :raises NotFound: when it was deleted.
        """
        self.take(self._connection.call("GET", self._path(), patience=patience))
        return self

    def take(self, document: JSON) -> None:
        """A newer description, whole or a summary."""
        self._document = dict(document)
        self._whole = "process" in document["spec"]

    def _path(self, *parts: str) -> str:
        return "/".join(("jobs", quoted(self.id), *parts))

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None, *, progress: Progress = True) -> Self:
        """Wait until it ends. Interrupting leaves it running; wait again wherever you like.

        A server that starts anew meanwhile is waited for.

        :param timeout: seconds at most.
        :param progress: show a bar; or call this with the job after every change.
        :raises JobFailed: when it ends other than finished.
        :raises NotEnded: when the time is over; it goes on.
        :raises ServerAway: when the server does not come back; remote jobs go on.
        """
        from cscale_core.client.waiting import wait

        wait(self, self._connection, timeout, progress)
        return self.check()

    async def wait_async(self, timeout: float | None = None, *, progress: Progress = False) -> Self:
        """As :meth:`wait`, without holding up the event loop."""
        from cscale_core.client.waiting import wait_async

        await wait_async(self, self._connection, timeout, progress)
        return self.check()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.wait_async().__await__()

    def check(self) -> Self:
        """The job itself, when it has finished.

        :raises JobFailed: when it ended otherwise.
        """
        if self.ended and self.status != JobStatus.FINISHED:
            error = self.error
            said = f": {error.message}" if error else "."
            raise JobFailed(
                f"Job {self.id} ended as {self.status}{said}",
                hint=error.hint if error else "",
                retryable=bool(error and error.retryable),
                job=self.id,
            )
        return self

    # -- the log ---------------------------------------------------------------------------------

    def logs(self, *, follow: bool = False, level: str = "info", tail: int | None = None) -> Log:
        """Its log: to be iterated over, printed, or shown by the notebook.

        :param follow: the iteration waits for new lines and ends with the job.
        :param level: the least level shown: ``debug``, ``info``, ``warning`` or ``error``.
        :param tail: only so many of the last lines there are.
        """
        from cscale_core.client.logs import Log

        return Log(self._connection, self, follow=follow, level=level, tail=tail)

    # -- what can be done ------------------------------------------------------------------------

    def cancel(self) -> Self:
        """Ask it to end; its status follows when the engine has ended it."""
        return self._change("cancel")

    def pause(self) -> Self:
        """Ask it to rest.

        :raises Conflict: when its engine cannot.
        """
        return self._change("pause")

    def resume(self) -> Self:
        """Let it go on after a rest."""
        return self._change("resume")

    def _change(self, what: str) -> Self:
        self.take(self._connection.call("POST", self._path(what)))
        return self

    def clone(self, *, suggested: bool = False, key: str = "", **changes: Any) -> Job:
        """A new job that computes the same.

        :param suggested: with the options that the failure suggested (more memory, …).
        :param changes: ``title``, ``backend``, ``process``, ``options``, ``vo``, ``output``.
        :param key: idempotency key; empty: a new one.
        """
        return self._made("clone", key, json={"suggested": suggested, "changes": changes})

    def publish(self) -> Job:
        """The job that copies its results to the VO's products and registers them."""
        return self._made("publish", "")

    def _made(self, what: str, key: str, **body: Any) -> Job:
        path, key = self._path(what), key or new_key()
        made = self._connection.call("POST", path, key=key, patience=PATIENCE, **body)
        return Job(self._connection, made)

    def delete(self) -> None:
        """Remove it, when it has ended, from the list. Its results stay in the bucket."""
        self._connection.call("DELETE", self._path())

    def results(self) -> Results:
        """Its result items, with links that work now.

        :raises Conflict: when it has none yet.
        """
        from cscale_core.client.results import Results

        return Results(self._connection, self)

    # -- shown -----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        title = f" {plain(self.title)!r}" if self.title else ""
        return f"<Job {plain(self.id)}{title} {self.engine} {self.status}>"

    def _repr_html_(self) -> str:
        return html.job_card(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and (self.id, self._connection.url) == (
            other.id,
            other._connection.url,
        )

    def __hash__(self) -> int:
        return hash(self.id)
