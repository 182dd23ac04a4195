"""``map_jobs``: one computation over the parts of an area, as many jobs at several back ends.

Nothing is noted beside the list of jobs. Each job has the name of the map and of its tile as its
title and an idempotency key made of them, so that whoever asks for the same again, after a kill or
in another notebook, finds what is there and adds what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from cscale_core.client import map_scene
from cscale_core.client.connection import JSON, ServerAway
from cscale_core.client.job import Job
from cscale_core.client.joblist import Jobs, fingerprint, spec_of
from cscale_core.client.results import Results
from cscale_core.client.screens import screen
from cscale_core.client.tile_state import TileState, key_of, title_of, tries_by_title
from cscale_core.client.waiting import NotEnded
from cscale_core.client.watching import Watch
from cscale_core.client.words import counted, listed
from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    InvalidInput,
    LoginRequired,
    NotFound,
    UpstreamError,
)
from cscale_core.jobs.model import JobSpec, JobStatus

if TYPE_CHECKING:
    from cscale_core.client.areas import GridSize, Tile

#: What a back end answers that takes nothing from this user now. Others may.
_REFUSALS = (Forbidden, LoginRequired, NotFound, UpstreamError)
#: Codes of errors of a job that another back end may not make.
_ELSEWHERE = frozenset({kind.code for kind in _REFUSALS} | {"upstream_timeout"})
#: So often a back end may ask to come back later, before it is left out.
_MOST_PUT_OFFS = 3
_LONGEST_NAME = 80
_TICK = 1.0

Build = Callable[["Tile"], JobSpec]


def map_jobs(
    build: Build,
    area: Any,
    *,
    name: str,
    grid: GridSize | None = None,
    tiles: Any = None,
    backends: Sequence[str] = (),
    parallel: int | Mapping[str, int] = 2,
    retries: int = 2,
    period: str = "",
    resume: bool = True,
    jobs: Jobs | None = None,
    wait: bool = True,
    progress: bool = True,
) -> MappedJobs:
    """Compute something over the parts of an area, a job each.

    What fails is done again as a clone, with the options that the failure suggests and, where
    there are several, at another back end. Interrupting leaves the jobs running; the same call
    later goes on where this one stopped, and does not compute again what has finished.

    :param build: gives the spec of a tile's job; the same spec for the same tile each time. Its
        title becomes ``NAME: TILE``; area and period are filled in where it leaves them out.
    :param area: GeoJSON, WKT, west-south-east-north in degrees, or anything with
        ``__geo_interface__``.
    :param name: of the whole; by it jobs are found again.
    :param grid: size of the parts: a number or ``"0.5 degrees"``, ``"20 km"`` (UTM), or with a
        CRS, ``(20_000, "EPSG:3035")``.
    :param tiles: instead of a grid: GeoJSON features with ids, a mapping of ids to geometries, or
        names of MGRS squares.
    :param backends: ids of the places to spread over; none: where the spec says, or the first.
    :param parallel: jobs of this map that may be open at once at each back end, or by its id.
    :param retries: how often a failed part is done again.
    :param resume: take up the jobs of an earlier call of this name; else it must be a new one.
    :param jobs: the list; None: that of the server that runs this kernel.
    :param wait: come back when all have ended; else wait with :meth:`MappedJobs.wait` or
        ``await``, and nothing is submitted before.
    :raises InvalidInput: when the area or the tiles are not understood.
    :raises Conflict: when jobs of this name compute something else.
    """
    from cscale_core.client.areas import split
    from cscale_core.client.workspace import here

    if not name.strip() or len(name) > _LONGEST_NAME or ": " in name:
        raise InvalidInput(
            f'A name has 1 to {_LONGEST_NAME} characters and no ": " in it.',
            hint="Jobs of the map are found again by it.",
        )
    if retries < 0:
        raise InvalidInput("retries is 0 or more.")
    mapped = MappedJobs(
        jobs or here().jobs,
        build,
        split(area, grid=grid, tiles=tiles),
        name=" ".join(name.split()),
        lanes=_lanes(backends, parallel),
        retries=retries,
        period=period,
        resume=resume,
    )
    return mapped.wait(progress=progress) if wait else mapped


def _lanes(backends: Sequence[str], parallel: int | Mapping[str, int]) -> dict[str, int]:
    """How many jobs may be open at each back end."""
    if isinstance(backends, str):
        raise InvalidInput("backends is a list of ids.")
    if isinstance(parallel, Mapping):
        names = list(backends) or list(parallel)
        if missing := [each for each in names if each not in parallel]:
            raise InvalidInput(f"parallel says nothing of {listed(missing)}.")
        lanes = {each: int(parallel[each]) for each in names}
    else:
        lanes = {each: int(parallel) for each in backends or ("",)}
    if min(lanes.values()) < 1:
        raise InvalidInput("parallel is 1 or more.")
    return lanes


class MappedJobs:
    """The parts of an area and their jobs.

    ``await`` it, or :meth:`wait`: while one of them runs jobs are submitted as places get free.

    :ivar tiles: what is known of each part, in order.
    :ivar notes: what was left out and why.
    """

    def __init__(
        self,
        jobs: Jobs,
        build: Build,
        tiles: Sequence[Tile],
        *,
        name: str,
        lanes: Mapping[str, int],
        retries: int,
        period: str,
        resume: bool,
    ) -> None:
        self.name = name
        self.tiles = [TileState(tile) for tile in tiles]
        self.notes: list[str] = []
        self._jobs = jobs
        self._build = build
        self._lanes = dict(lanes)
        self._out: dict[str, str] = {}
        self._put_off: dict[str, int] = {}
        self._retries = retries
        self._period = period
        self._resume = resume
        self._watch: Watch | None = None
        self._pause = 0.0

    # -- what is known ---------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether every part has finished or will not be tried again."""
        return all(state.settled for state in self.tiles)

    @property
    def finished(self) -> list[TileState]:
        """The parts that are computed."""
        return [state for state in self.tiles if state.status == JobStatus.FINISHED]

    @property
    def failed(self) -> list[TileState]:
        """The parts that will not be tried again, and why (``.why``)."""
        return [state for state in self.tiles if state.given_up]

    def __getitem__(self, tile_id: str) -> TileState:
        for state in self.tiles:
            if state.id == tile_id:
                return state
        raise NotFound(f"There is no tile {tile_id}.")

    def results(self) -> dict[str, Results]:
        """The results of every part that has finished, by its tile."""
        return {state.id: state.job.results() for state in self.finished if state.job is not None}

    # -- going on --------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Self:
        """Submit, follow and repeat until every part has ended. Interrupt it as you like.

        :raises NotEnded: when the time is over; jobs go on.
        :raises Conflict: when jobs of this name compute something else.
        :raises CScaleError: when no back end takes jobs.
        """
        shown = screen(progress)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._step(end):
                left = self._pause
                while left > 0:
                    shown.show(map_scene.MapScene(self))
                    time.sleep(min(left, _TICK))
                    left -= _TICK
        except BaseException as error:
            shown.close(map_scene.MapScene(self, _remark(error)))
            raise
        shown.close(map_scene.MapScene(self))
        return self

    async def wait_async(self, timeout: float | None = None, *, progress: bool = True) -> Self:
        """As :meth:`wait`, without holding up the event loop."""
        shown = screen(progress)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not await asyncio.to_thread(self._step, end):
                left = self._pause
                while left > 0:
                    shown.show(map_scene.MapScene(self))
                    await asyncio.sleep(min(left, _TICK))
                    left -= _TICK
        except BaseException as error:
            shown.close(map_scene.MapScene(self, _remark(error)))
            raise
        shown.close(map_scene.MapScene(self))
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self.wait_async().__await__()

    def retry(self, *, wait: bool = True, progress: bool = True) -> Self:
        """Do what has failed again, as often as at first; also at back ends that were left out."""
        self._out.clear()
        self.notes.clear()
        for state in self.failed:
            state.allowed = state.tries + 1 + self._retries
            state.given_up, state.again = "", True
        return self.wait(progress=progress) if wait else self

    def cancel(self) -> None:
        """Ask every open job of the map to end; nothing is submitted instead."""
        for state in self.tiles:
            state.give_up("canceled")
            if state.job is not None and not state.job.ended:
                state.job.cancel()

    def _step(self, end: float | None) -> bool:
        """Look once, and fill the places that are free; whether all has ended.

        :raises NotEnded: when the time is over.
        """
        if self._watch is None:
            self._begin()
        else:
            self._watch.look()
        assert self._watch is not None  # noqa: S101 - _begin() made it
        self._settle()
        # Where the server is away nothing can be submitted either.
        if not self._watch.note:
            self._fill()
        if self.ended:
            return True
        self._pause = self._watch.pause
        if end is not None and time.monotonic() >= end:
            raise NotEnded(
                f"{self.name} had not ended in the time that was given.",
                hint="Its jobs go on; the same call takes them up again.",
                retryable=True,
            )
        return False

    @property
    def note(self) -> str:
        """What stands in the way at the moment."""
        return self._watch.note if self._watch is not None else ""

    def _begin(self) -> None:
        """Find what is there of an earlier call, and which back ends answer."""
        by_title: dict[str, TileState] = {state.id: state for state in self.tiles}
        present = list(self._jobs.list())
        for state in self.tiles:
            state.allowed = 1 + self._retries
        for tile_id, tries in tries_by_title(self.name, present).items():
            if tile_id not in by_title:
                continue
            if not self._resume:
                raise Conflict(
                    f"There are jobs of the name {self.name!r} already.",
                    hint="Give another name, or take them up with resume=True.",
                )
            state = by_title[tile_id]
            number, job = max(tries.items())
            self._compare(state, job, number)
            state.adopt(job, number)
            # One that was left open by a call with fewer retries may go on.
            state.allowed = max(state.allowed, number)
        self._look_at_backends()
        self._watch = Watch(self._jobs.connection, self._open_jobs())

    def _compare(self, state: TileState, job: Job, number: int) -> None:
        wanted = key_of(self.name, state.id, fingerprint(_content(self._spec(state))), number)
        if job.idempotency_key != wanted:  # asks for the whole job
            raise Conflict(
                f"Job {job.id} of the name {self.name!r} computes something else for tile "
                f"{state.id}.",
                hint="Give another name for what has changed, or delete the jobs of this one.",
            )

    def _look_at_backends(self) -> None:
        """Leave out those that are offline.

        :raises InvalidInput: when one of them does not exist.
        """
        if not any(self._lanes):
            return
        known = {place.id: place for place in self._jobs.backends()}
        if strange := set(self._lanes) - known.keys():
            raise InvalidInput(
                f"There is no back end {listed(sorted(strange))}.",
                hint=f"There are: {', '.join(sorted(known))}." if known else "",
            )
        for name in self._lanes:
            if not known[name].online:
                self._leave_out(name, known[name].problem or "it is offline")

    def _leave_out(self, backend: str, why: str) -> None:
        self._out[backend] = why
        self.notes.append(f"{backend or 'The back end'} is left out: {why}")

    def _open_jobs(self) -> list[Job]:
        return [state.job for state in self.tiles if state.job is not None and not state.job.ended]

    def _settle(self) -> None:
        """Give up what was tried often enough, or stopped on purpose."""
        deleted = self._watch.deleted if self._watch is not None else set()
        for state in self.tiles:
            job = state.job
            if job is None or state.settled:
                continue
            if job.id in deleted:
                state.job = None
                state.give_up("its job was deleted")
            elif not job.ended or state.again:
                continue
            elif job.status == JobStatus.CANCELED:
                state.give_up("its job was canceled")
            elif state.tries >= state.allowed:
                said = job.error.message if job.error else f"it ended as {job.status}"
                state.give_up(f"{said} (tried {state.tries} times)" if state.tries > 1 else said)

    def _fill(self) -> None:
        """Submit where places are free: what failed first, then what is new."""
        waiting = [state for state in self.tiles if state.due]
        waiting.sort(key=lambda state: state.tries == 0)
        taken = Counter(map(self._lane, self._open_jobs()))
        for state in waiting:
            room = {
                name: places - taken[name]
                for name, places in self._lanes.items()
                if name not in self._out
            }
            if not any(places > 0 for places in room.values()):
                break
            backend = self._place(state, room)
            if backend is not None and self._submit(state, backend):
                taken[backend] += 1
        if any(state.due for state in self.tiles) and not taken and not self._places():
            raise UpstreamError(
                "No back end takes jobs: "
                + "; ".join(f"{name or 'the first'}: {why}" for name, why in self._out.items()),
                hint="What has finished is kept. retry(), or the same call, goes on later.",
                retryable=True,
            )

    def _places(self) -> set[str]:
        return set(self._lanes) - set(self._out)

    def _place(self, state: TileState, room: Mapping[str, int]) -> str | None:
        """The back end with the most room; after a failure another one, where there is one."""
        if state.chosen is not None and state.chosen in room:
            return state.chosen
        before = self._lane(state.job) if state.job is not None else None
        elsewhere = state.job is not None and len(room) > 1 and _may_go_elsewhere(state.job)
        free = [name for name in room if room[name] > 0 and not (elsewhere and name == before)]
        return max(free, key=lambda name: room[name] / self._lanes[name], default=None)

    def _lane(self, job: Job) -> str:
        return job.backend if job.backend in self._lanes else ""

    def _submit(self, state: TileState, backend: str) -> bool:
        """Whether there is a job now."""
        number = state.tries + 1
        spec = self._spec(state)
        key = key_of(self.name, state.id, fingerprint(_content(spec)), number)
        changes = {"title": title_of(self.name, state.id, number)}
        if backend:
            changes["backend"] = backend
        state.chosen = backend
        try:
            if state.job is None:
                job = self._jobs.submit(spec.model_copy(update=changes), key=key)
            else:
                job = state.job.clone(suggested=True, key=key, **changes)
        except InvalidInput as error:
            state.give_up(error.message)
            return False
        except ServerAway:
            return False  # the next look waits for it
        except _REFUSALS as error:
            self._refused(backend, error)
            return False
        assert self._watch is not None  # noqa: S101 - _begin() made it
        state.adopt(job, number)
        self._watch.add(job)
        self._put_off.pop(backend, None)
        return True

    def _refused(self, backend: str, error: CScaleError) -> None:
        """A back end takes nothing: leave it out, at once or when it does not get better."""
        self._put_off[backend] = self._put_off.get(backend, 0) + 1
        if not error.retryable or self._put_off[backend] >= _MOST_PUT_OFFS:
            self._leave_out(backend, error.message)

    def _spec(self, state: TileState) -> JobSpec:
        """What the user builds for a tile, with area and period filled in."""
        built = self._build(state.tile)
        if not isinstance(built, JobSpec):
            raise InvalidInput(f"build({state.id}) gave no JobSpec but {type(built).__name__}.")
        members: JSON = {}
        if built.area is None:
            members["area"] = state.tile.geometry
        if not built.period and self._period:
            members["period"] = self._period
        return spec_of({**built.model_dump(), **members})

    # -- shown -----------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many parts have each status; ``waiting`` are those that have no open job yet."""
        found: dict[str, int] = {}
        for state in self.tiles:
            found[state.status] = found.get(state.status, 0) + 1
        return found

    def __repr__(self) -> str:
        said = ", ".join(f"{count} {status}" for status, count in self.counts().items())
        return f"<MappedJobs {self.name!r}: {counted(len(self.tiles), 'tile')}, {said}>"

    def _repr_html_(self) -> str:
        return map_scene.MapScene(self).html()


def _content(spec: JobSpec) -> JSON:
    """What is computed, without what is chosen when it is submitted."""
    return spec.model_dump(mode="json", exclude={"title", "backend"})


def _may_go_elsewhere(job: Job) -> bool:
    return job.status == JobStatus.LOST or (job.error is not None and job.error.code in _ELSEWHERE)


def _remark(error: BaseException) -> str:
    if isinstance(error, CScaleError) and not error.retryable:
        return error.message
    return "Its jobs go on; the same call takes them up again, and submits what is left."
