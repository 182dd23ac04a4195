"""The forms in which use leaves the hub."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cscale_cli.main import build
from cscale_hub.accounting.export import (
    apel_cloud,
    declared_by,
    declared_csv,
    records_csv,
    star,
    summary_csv,
)
from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.records import UsageRecord
from cscale_hub.accounting.store import Stored, Total, UsageStore
from tests.hub.accounting.conftest import HOUR, NOVEMBER

RUNNER = CliRunner()


def server(
    person: str = "p1", ended: float | None = NOVEMBER + HOUR, **members: str
) -> UsageRecord:
    return UsageRecord(
        id=f"id-{person}-{ended}",
        kind="server",
        person=person,
        vo="aqua.example",
        profile="small",
        machine=person,
        started=NOVEMBER,
        seen=NOVEMBER + HOUR,
        ended=ended,
        cpus=2.0,
        memory=4 * 2**30,
        **members,  # type: ignore[arg-type]
    )


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_summary_has_a_line_for_each_vo_also_for_one_that_only_stores() -> None:
    total = Total("aqua.example", 2, 3, 5.5, 11.0, 0.0, {"openeo": 4, "staging": 1})
    stored = [Stored("2026-11-01", "water", "water.example", 2**30)]
    aqua, water = rows(summary_csv(Month.parse("2026-11"), [total], stored))
    assert (aqua["vo"], aqua["cpu_hours"], aqua["jobs"]) == ("aqua.example", "5.5000", "5")
    assert (water["vo"], water["storage_gib_hours"], water["people"]) == (
        "water.example",
        "24.0000",
        "0",
    )


def test_a_record_that_is_open_has_no_end() -> None:
    [done, open_] = rows(records_csv([server(), server(ended=None)]))
    assert done["ended"] == "2026-11-01T01:00:00Z"
    assert open_["ended"] == ""
    assert done["cpu_hours"] == open_["cpu_hours"] == "2.0000"
    assert done["memory_gib_hours"] == "4.0000"


def test_apel_gets_a_block_for_each_record() -> None:
    text = apel_cloud([server(), server("p2", ended=None)], "SITE-A")
    head, _, body = text.partition("\n")
    assert head == "APEL-cloud-message: v0.4"
    first, second, end = body.split("%%\n")
    assert end == ""
    fields = dict(line.split(": ", 1) for line in first.splitlines())
    assert fields["SiteName"] == "SITE-A"
    assert fields["FQAN"] == "/aqua.example/Role=NULL/Capability=NULL"
    assert fields["Status"] == "completed"
    assert fields["WallDuration"] == "3600"
    assert fields["CpuDuration"] == "7200"
    assert fields["EndTime"] == str(int(NOVEMBER + HOUR))
    assert fields["Memory"] == "4294"
    running = dict(line.split(": ", 1) for line in second.splitlines())
    assert (running["Status"], running["EndTime"]) == ("started", "NULL")


def test_storage_records_have_the_same_id_each_time() -> None:
    stored = [Stored("2026-11-02", "aqua", "aqua.example", 42)]
    space = {"sr": "http://eu-emi.eu/namespaces/2011/02/storagerecord"}

    def read(when: datetime) -> tuple[str | None, ElementTree.Element]:
        root = ElementTree.fromstring(star(stored, "SITE-A", when))  # noqa: S314
        [record] = root.findall("sr:StorageUsageRecord", space)
        identity = record.find("sr:RecordIdentity", space)
        assert identity is not None
        return identity.get(f"{{{space['sr']}}}recordId"), record

    first, record = read(datetime(2026, 11, 3, tzinfo=UTC))
    second, _ = read(datetime(2026, 11, 9, tzinfo=UTC))
    assert first == second
    assert record.findtext("sr:SubjectIdentity/sr:Group", None, space) == "aqua.example"
    assert record.findtext("sr:ResourceCapacityUsed", None, space) == "42"
    assert record.findtext("sr:StorageShare", None, space) == "aqua"


def test_few_people_with_a_value_are_not_told_apart() -> None:
    records = [server(f"p{number}", country="CZ") for number in range(3)]
    records += [server("p8", country="PT"), server("p9", country="NL")]
    found = {
        (each.attribute, each.value): each
        for each in declared_by(records, fewest=3)
        if each.attribute == "country"
    }
    assert found[("country", "CZ")].people == 3
    assert found[("country", "CZ")].cpu_hours == pytest.approx(6)
    # Two are together less than three: how many they are is not told.
    assert found[("country", "other")].people == 0
    assert ("country", "PT") not in found
    text = declared_csv(Month.parse("2026-11"), found.values())
    assert "PT" not in text
    assert {row["value"] for row in rows(text)} == {"CZ", "other"}


def test_the_command_reads_what_a_hub_wrote(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    store = UsageStore(f"sqlite:///{tmp_path / 'hub' / 'usage.sqlite'}")
    store.add(server(category="education"))
    store.store_sizes([Stored("2026-11-02", "aqua", "aqua.example", 42)])
    store.close()
    options = ["--month", "2026-11", "--data", str(tmp_path)]
    for command in (
        ["summary", "--csv"],
        ["summary"],
        ["summary", "--json"],
        ["records"],
        ["records", "--format", "apel"],
        ["storage"],
        ["storage", "--format", "star"],
    ):
        result = RUNNER.invoke(build(), ["accounting", *command, *options])
        assert result.exit_code == 0, result.output
        assert "aqua" in result.stdout
    result = RUNNER.invoke(build(), ["accounting", "declared", "--fewest", "1", *options])
    assert "aqua.example,category,education,1,2.0000" in result.stdout


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    for options, words in (
        (["--month", "November"], "is no month"),
        ([], "There are no records of use"),
    ):
        command = ["accounting", "summary", "--data", str(tmp_path), *options]
        result = RUNNER.invoke(build(), command)
        assert result.exit_code == 1
        assert words in result.output
        assert "Traceback" not in result.output
