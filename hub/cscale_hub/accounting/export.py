"""Records of use in the forms that others read: CSV, and the messages of APEL.

- Cloud records: APEL's ``APEL-cloud-message: v0.4``, one block a server or job, as EGI's own
  notebooks service sends them. Pseudonyms stand where names would.
- Storage records: the StAR format (``eu-emi.eu/namespaces/2011/02/storagerecord``), one a day and
  bucket.

Sending them (SSM) is the site's business: it needs the site's host certificate.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.records import UsageRecord
from cscale_hub.accounting.store import Stored, Total

_STAR = "http://eu-emi.eu/namespaces/2011/02/storagerecord"
_NOTHING = "NULL"
ATTRIBUTES = ("category", "country", "field", "function")


@dataclass(frozen=True, slots=True)
class Declared:
    """How many people of a VO declared one value, and what they used; for Virtual Access.

    :param people: 0 where there are fewer than asked for: few can be guessed.
    """

    vo: str
    attribute: str
    value: str
    people: int
    cpu_hours: float


def summary_csv(month: Month, totals: Iterable[Total], stored: Iterable[Stored]) -> str:
    """One line a VO."""
    gib_hours: dict[str, float] = defaultdict(float)
    for each in stored:
        gib_hours[each.vo] += each.gib_hours
    by_vo = {total.vo: total for total in totals}
    rows: list[Sequence[object]] = []
    for vo in sorted(by_vo.keys() | gib_hours.keys()):
        total = by_vo.get(vo, Total(vo, 0, 0, 0.0, 0.0, 0.0, {}))
        rows.append(
            (
                *(month, vo, total.people, total.servers, sum(total.jobs.values())),
                *(_hours(total.cpu_hours), _hours(total.memory_gib_hours)),
                *(_hours(total.gpu_hours), _hours(gib_hours[vo])),
            )
        )
    names = "month,vo,people,servers,jobs,cpu_hours,memory_gib_hours,gpu_hours,storage_gib_hours"
    return _csv(names, rows)


def records_csv(records: Iterable[UsageRecord]) -> str:
    """One line a server or job; times in UTC, what still runs has no end."""
    names = (
        "id,kind,person,vo,profile,machine,started,ended,wall_seconds,cpus,cpu_hours,"
        "memory_gib_hours,gpu_hours,category,country,field,function"
    )
    rows = (
        (
            *(each.id, each.kind, each.person, each.vo, each.profile, each.machine),
            *(_time(each.started), "" if each.ended is None else _time(each.ended)),
            *(round(each.wall_seconds), f"{each.cpus:g}", _hours(each.cpu_hours)),
            *(_hours(each.memory_gib_hours), _hours(each.gpu_hours)),
            *(each.category, each.country, each.field, each.function),
        )
        for each in records
    )
    return _csv(names, rows)


def storage_csv(stored: Iterable[Stored]) -> str:
    """One line a day and bucket."""
    rows = ((each.day, each.vo, each.bucket, each.bytes) for each in stored)
    return _csv("day,vo,bucket,bytes", rows)


def declared_csv(month: Month, found: Iterable[Declared]) -> str:
    """One line a VO, attribute and value."""
    rows = (
        (month, each.vo, each.attribute, each.value, each.people or "", _hours(each.cpu_hours))
        for each in found
    )
    return _csv("month,vo,attribute,value,people,cpu_hours", rows)


def declared_by(records: Iterable[UsageRecord], fewest: int) -> list[Declared]:
    """What C-SCALE's Virtual Access asks for: users and use by what they declared of themselves.

    :param fewest: groups of fewer people are counted together, as ``other``.
    """
    people: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    hours: dict[tuple[str, str, str], float] = defaultdict(float)
    for record in records:
        for attribute in ATTRIBUTES:
            key = (record.vo, attribute, getattr(record, attribute) or "not declared")
            people[key].add(record.person)
            hours[key] += record.cpu_hours
    small = [key for key, members in people.items() if len(members) < fewest]
    for key in small:
        together = (key[0], key[1], "other")
        if key != together:
            people[together] |= people.pop(key)
            hours[together] += hours.pop(key)
    return [
        Declared(*key, len(people[key]) if len(people[key]) >= fewest else 0, hours[key])
        for key in sorted(people)
    ]


def apel_cloud(records: Iterable[UsageRecord], site: str) -> str:
    """APEL's cloud message."""
    blocks = ["".join(f"{key}: {value}\n" for key, value in _cloud(each, site)) for each in records]
    return "APEL-cloud-message: v0.4\n" + "%%\n".join(blocks) + ("%%\n" if blocks else "")


def _cloud(record: UsageRecord, site: str) -> list[tuple[str, object]]:
    running = record.ended is None
    nothing = ("NetworkType", "NetworkInbound", "NetworkOutbound", "PublicIPCount")
    return [
        ("VMUUID", record.id),
        ("SiteName", site),
        ("CloudComputeService", f"{site}-{record.kind}s"),
        ("MachineName", f"{record.kind}-{record.machine}"),
        ("LocalUserId", record.person),
        ("LocalGroupId", record.vo),
        ("GlobalUserName", record.person),
        ("FQAN", f"/{record.vo}/Role={_NOTHING}/Capability={_NOTHING}"),
        ("Status", "started" if running else "completed"),
        ("StartTime", round(record.started)),
        ("EndTime", _NOTHING if record.ended is None else round(record.ended)),
        ("SuspendDuration", _NOTHING),
        ("WallDuration", round(record.wall_seconds)),
        ("CpuDuration", round(record.cpu_hours * 3600)),
        ("CpuCount", f"{record.cpus:g}"),
        *((name, _NOTHING) for name in nothing),
        ("Memory", record.memory // 10**6 or _NOTHING),
        ("Disk", _NOTHING),
        ("BenchmarkType", _NOTHING),
        ("Benchmark", _NOTHING),
        ("StorageRecordId", _NOTHING),
        ("ImageId", record.profile or _NOTHING),
        ("CloudType", "C-SCALE Hub"),
    ]


def star(stored: Iterable[Stored], site: str, created: datetime) -> str:
    """Storage records as StAR: one XML document.

    :param created: when the records are made.
    """
    ElementTree.register_namespace("sr", _STAR)
    root = ElementTree.Element(f"{{{_STAR}}}StorageUsageRecords")

    def add(parent: ElementTree.Element, name: str, text: str = "") -> ElementTree.Element:
        member = ElementTree.SubElement(parent, f"{{{_STAR}}}{name}")
        member.text = text or None
        return member

    stamp = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for each in stored:
        record = add(root, "StorageUsageRecord")
        about = hashlib.sha256(f"{site}\0{each.day}\0{each.bucket}".encode()).hexdigest()[:40]
        identity = add(record, "RecordIdentity")
        identity.set(f"{{{_STAR}}}createTime", stamp)
        identity.set(f"{{{_STAR}}}recordId", about)
        add(record, "StorageSystem", site)
        add(record, "Site", site)
        add(record, "StorageShare", each.bucket)
        add(record, "StorageMedia", "disk")
        add(add(record, "SubjectIdentity"), "Group", each.vo)
        add(record, "StartTime", f"{each.day}T00:00:00Z")
        add(record, "EndTime", f"{each.day}T23:59:59Z")
        add(record, "ResourceCapacityUsed", str(each.bytes))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n"


def _csv(names: str, rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names.split(","))
    writer.writerows(rows)
    return text.getvalue()


def _hours(value: float) -> str:
    return f"{value:.4f}"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
