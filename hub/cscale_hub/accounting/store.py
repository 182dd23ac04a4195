"""Where records of use are kept: a table of SQLite or PostgreSQL, through SQLAlchemy.

Every write can be done again without harm: a record that is there is not added twice, one that
has ended stays ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    case,
    create_engine,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from cscale_hub.accounting.records import COLUMNS, UsageRecord

_METADATA = MetaData()
_USAGE = Table(
    "cscale_usage",
    _METADATA,
    Column("id", String(40), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("person", String(32), nullable=False),
    Column("vo", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("machine", String(255), nullable=False),
    Column("started", Float(53), nullable=False),
    Column("seen", Float(53), nullable=False),
    Column("ended", Float(53)),
    Column("cpus", Float(53), nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("cpu_seconds", Float(53)),
    Column("category", String(64), nullable=False),
    Column("country", String(64), nullable=False),
    Column("field", String(64), nullable=False),
    Column("function", String(64), nullable=False),
    Index("cscale_usage_vo", "vo", "started"),
    Index("cscale_usage_open", "ended"),
)
_STORED = Table(
    "cscale_stored",
    _METADATA,
    Column("day", String(10), primary_key=True),
    Column("bucket", String(63), primary_key=True),
    Column("vo", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

_END = func.coalesce(_USAGE.c.ended, _USAGE.c.seen)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a bucket held on one day; ``day`` as in 2026-11-21."""

    day: str
    bucket: str
    vo: str
    bytes: int

    @property
    def gib_hours(self) -> float:
        """The day counts whole."""
        return self.bytes / 2**30 * 24


@dataclass(frozen=True, slots=True)
class Total:
    """What a VO used between two moments; ``jobs`` counts those that ended, by engine."""

    vo: str
    people: int
    servers: int
    cpu_hours: float
    memory_gib_hours: float
    gpu_hours: float
    jobs: dict[str, int]


class UsageStore:
    """The records; safe to use from several threads and, on PostgreSQL, several hubs."""

    def __init__(self, url: str) -> None:
        waiting = {"timeout": 30} if url.startswith("sqlite") else {}
        self._engine: Engine = create_engine(url, connect_args=waiting, pool_pre_ping=True)
        _METADATA.create_all(self._engine)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def add(self, record: UsageRecord) -> bool:
        """Add a record; False when it was there."""
        try:
            with self._engine.begin() as connection:
                connection.execute(_USAGE.insert().values(**asdict(record)))
        except IntegrityError:
            return False
        return True

    def begin(self, record: UsageRecord) -> None:
        """Add a server's record; an earlier one under its name ended when it was last seen."""
        earlier = update(_USAGE).where(
            _is_open(), _USAGE.c.person == record.person, _USAGE.c.machine == record.machine
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(earlier.values(ended=_USAGE.c.seen))
                connection.execute(_USAGE.insert().values(**asdict(record)))
        except IntegrityError:
            return  # it is there already, and open: nothing was changed

    def open(self, person: str, machine: str) -> UsageRecord | None:
        """The server that runs under this name, as far as the records know."""
        chosen = (
            select(_USAGE)
            .where(_is_open(), _USAGE.c.person == person, _USAGE.c.machine == machine)
            .order_by(_USAGE.c.started.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(chosen).mappings().first()
        return _record(row) if row else None

    def touch(self, record_id: str, seen: float) -> bool:
        """Note that it still runs; False when there is no such open record."""
        change = update(_USAGE).where(
            _USAGE.c.id == record_id, _USAGE.c.ended.is_(None), _USAGE.c.seen <= seen
        )
        with self._engine.begin() as connection:
            return bool(connection.execute(change.values(seen=seen)).rowcount)

    def close_record(self, record_id: str, ended: float | None) -> bool:
        """Note its end; None: when it was last seen. False when it has ended before."""
        change = update(_USAGE).where(_USAGE.c.id == record_id, _USAGE.c.ended.is_(None))
        end = _USAGE.c.seen if ended is None else ended
        with self._engine.begin() as connection:
            return bool(connection.execute(change.values(ended=end, seen=end)).rowcount)

    def close_all_but(self, running: Collection[tuple[str, str]]) -> int:
        """End, when they were last seen, the servers that are not among these.

        :param running: person and machine of each server that runs.
        """
        change = update(_USAGE).where(_is_open())
        if running:
            named = tuple_(_USAGE.c.person, _USAGE.c.machine).in_(list(running))
            change = change.where(~named)
        with self._engine.begin() as connection:
            return connection.execute(change.values(ended=_USAGE.c.seen)).rowcount

    def records(self, since: float, until: float) -> list[UsageRecord]:
        """The records that ran between two moments, whole, the earliest first."""
        chosen = select(_USAGE).where(*_between(since, until))
        with self._engine.connect() as connection:
            rows = connection.execute(chosen.order_by(_USAGE.c.started, _USAGE.c.id)).mappings()
            return [_record(row) for row in rows]

    def cpu_hours(self, vo: str, since: float, until: float) -> dict[str, float]:
        """CPU hours of each person for a VO, of what ran between two moments."""
        chosen = (
            select(_USAGE.c.person, func.sum(_cpu_seconds(since, until)) / 3600.0)
            .where(_USAGE.c.vo == vo, *_between(since, until))
            .group_by(_USAGE.c.person)
        )
        with self._engine.connect() as connection:
            return {person: float(hours) for person, hours in connection.execute(chosen)}

    def totals(self, since: float, until: float) -> list[Total]:
        """What each VO used between two moments, by name."""
        inside = _inside(since, until)
        chosen = (
            select(
                _USAGE.c.vo,
                func.count(_USAGE.c.person.distinct()),
                func.sum(case((_USAGE.c.kind == "server", 1), else_=0)),
                func.sum(_cpu_seconds(since, until)) / 3600.0,
                func.sum(_USAGE.c.memory / float(2**30) * inside) / 3600.0,
                func.sum(_USAGE.c.gpus * inside) / 3600.0,
            )
            .where(*_between(since, until))
            .group_by(_USAGE.c.vo)
            .order_by(_USAGE.c.vo)
        )
        ended = (
            select(_USAGE.c.vo, _USAGE.c.profile, func.count())
            .where(_USAGE.c.kind == "job", _USAGE.c.ended >= since, _USAGE.c.ended < until)
            .group_by(_USAGE.c.vo, _USAGE.c.profile)
        )
        jobs: dict[str, dict[str, int]] = {}
        with self._engine.connect() as connection:
            for vo, engine, count in connection.execute(ended):
                jobs.setdefault(vo, {})[engine] = count
            return [
                Total(vo, people, servers, float(cpu), float(memory), float(gpu), jobs.get(vo, {}))
                for vo, people, servers, cpu, memory, gpu in connection.execute(chosen)
            ]

    def running(self) -> dict[tuple[str, str], int]:
        """How many servers run, by VO and profile."""
        chosen = (
            select(_USAGE.c.vo, _USAGE.c.profile, func.count())
            .where(_is_open())
            .group_by(_USAGE.c.vo, _USAGE.c.profile)
        )
        with self._engine.connect() as connection:
            return {(vo, profile): count for vo, profile, count in connection.execute(chosen)}

    def store_sizes(self, found: Iterable[Stored]) -> None:
        """Note what buckets hold; a later look at the same day replaces the earlier."""
        for each in found:
            same = (_STORED.c.day == each.day, _STORED.c.bucket == each.bucket)
            with self._engine.begin() as connection:
                connection.execute(_STORED.delete().where(*same))
                connection.execute(_STORED.insert().values(**asdict(each)))

    def stored(self, first: str, last: str) -> list[Stored]:
        """What buckets held from one day to another, both counted."""
        chosen = (
            select(_STORED)
            .where(_STORED.c.day >= first, _STORED.c.day <= last)
            .order_by(_STORED.c.day, _STORED.c.bucket)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(chosen).mappings()
            return [Stored(row["day"], row["bucket"], row["vo"], row["bytes"]) for row in rows]

    def last_stored(self) -> list[Stored]:
        """What each bucket held when it was last looked at."""
        newest = (
            select(_STORED.c.bucket, func.max(_STORED.c.day).label("day"))
            .group_by(_STORED.c.bucket)
            .subquery()
        )
        same = (_STORED.c.bucket == newest.c.bucket) & (_STORED.c.day == newest.c.day)
        chosen = select(_STORED).join(newest, same).order_by(_STORED.c.bucket)
        with self._engine.connect() as connection:
            rows = connection.execute(chosen).mappings()
            return [Stored(row["day"], row["bucket"], row["vo"], row["bytes"]) for row in rows]


def _inside(since: float, until: float) -> Any:
    """Seconds of a record that lie between two moments."""
    begin = case((_USAGE.c.started < since, since), else_=_USAGE.c.started)
    return case((until < _END, until), else_=_END) - begin


def _cpu_seconds(since: float, until: float) -> Any:
    """CPU seconds of a record between two moments; what was measured is spread evenly over it."""
    inside = _inside(since, until)
    whole = case((_USAGE.c.started < _END, _END - _USAGE.c.started), else_=1.0)
    # A job that began and ended in the same moment has no length to spread over.
    part = case((_USAGE.c.started < _END, inside / whole), else_=1.0)
    return case(
        (_USAGE.c.cpu_seconds.is_not(None), _USAGE.c.cpu_seconds * part),
        else_=_USAGE.c.cpus * inside,
    )


def _is_open() -> Any:
    return (_USAGE.c.kind == "server") & _USAGE.c.ended.is_(None)


def _between(since: float, until: float) -> tuple[Any, ...]:
    return (_USAGE.c.started < until, or_(since < _END, _USAGE.c.started >= since))


def _record(row: Any) -> UsageRecord:
    return UsageRecord(**{name: row[name] for name in COLUMNS})
