"""What is counted of servers: whole, once, never more than was seen, and not under a name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cscale_hub.accounting.meter import Meter
from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.records import Attributes, UsageRecord, declared, pseudonym
from cscale_hub.accounting.store import Stored, UsageStore
from tests.hub.accounting.conftest import HOUR, NOVEMBER, offer

if TYPE_CHECKING:
    from tests.hub.accounting.conftest import Metered

NOBODY = Attributes()


async def test_a_server_counts_what_it_held_from_start_to_stop(metered: Metered) -> None:
    await metered.meter.begin("ann", "", offer(gpu=1), NOBODY)
    metered.clock.now += 3 * HOUR
    record = await metered.meter.end("ann", "", at_last_sight=False)
    assert record is not None
    used = await metered.meter.used("aqua.example", "ann")
    assert used.own == used.everybody == pytest.approx(6)
    [total] = metered.store.totals(NOVEMBER, metered.clock.now)
    assert total.memory_gib_hours == pytest.approx(12)
    assert total.gpu_hours == pytest.approx(3)
    assert total.servers == total.people == 1


async def test_use_of_one_vo_is_not_anothers_and_of_one_person_not_anothers(
    metered: Metered,
) -> None:
    await metered.meter.begin("ann", "", offer(), NOBODY)
    await metered.meter.begin("bob", "", offer(cpu=1), NOBODY)
    await metered.meter.begin("ann", "other", offer("water.example"), NOBODY)
    metered.clock.now += HOUR
    for slug, server in (("ann", ""), ("bob", ""), ("ann", "other")):
        await metered.meter.end(slug, server, at_last_sight=False)
    used = await metered.meter.used("aqua.example", "ann")
    assert (used.own, used.everybody) == (pytest.approx(2), pytest.approx(3))


async def test_a_hub_that_was_killed_counts_until_it_last_saw_the_server(metered: Metered) -> None:
    record = await metered.meter.begin("ann", "", offer(), NOBODY)
    metered.clock.now += HOUR
    await metered.meter.seen("ann", "", record)
    metered.clock.now += 10 * HOUR  # nobody was there
    again = metered.after_a_restart()
    await again.meter.settle(list)
    used = await again.meter.used("aqua.example", "ann")
    assert used.own == pytest.approx(2)
    again.store.close()


async def test_a_server_that_outlives_the_hub_goes_on_being_counted(metered: Metered) -> None:
    await metered.meter.begin("ann", "work", offer(), NOBODY)
    again = metered.after_a_restart()
    await again.meter.settle(lambda: [("ann", "work")])
    again.clock.now += 4 * HOUR
    await again.meter.seen("ann", "work", None)
    await again.meter.end("ann", "work", at_last_sight=False)
    assert (await again.meter.used("aqua.example", "ann")).own == pytest.approx(8)
    again.store.close()


async def test_writing_twice_changes_nothing(metered: Metered) -> None:
    record = await metered.meter.begin("ann", "", offer(), NOBODY)
    assert not metered.store.add(record)
    metered.clock.now += HOUR
    await metered.meter.end("ann", "", at_last_sight=False)
    metered.clock.now += HOUR
    assert await metered.meter.end("ann", "", at_last_sight=False) is None
    assert not metered.store.close_record(record.id, metered.clock.now)
    assert not metered.store.touch(record.id, metered.clock.now)
    assert (await metered.meter.used("aqua.example", "ann")).own == pytest.approx(2)


async def test_a_start_ends_what_was_never_seen_to_end(metered: Metered) -> None:
    first = await metered.meter.begin("ann", "", offer(), NOBODY)
    metered.clock.now += HOUR
    await metered.meter.seen("ann", "", first)
    metered.clock.now += 5 * HOUR
    await metered.meter.begin("ann", "", offer(), NOBODY)
    assert metered.store.running() == {("aqua.example", "small"): 1}
    assert (await metered.meter.used("aqua.example", "ann")).own == pytest.approx(2)


async def test_the_allowance_begins_anew_with_the_month(metered: Metered) -> None:
    metered.clock.now = NOVEMBER - HOUR
    await metered.meter.begin("ann", "", offer(), NOBODY)
    metered.clock.now = NOVEMBER + HOUR
    await metered.meter.end("ann", "", at_last_sight=False)
    assert (await metered.meter.used("aqua.example", "ann")).own == pytest.approx(2)
    before = Month.parse("2026-10")
    assert metered.store.cpu_hours("aqua.example", before.start, before.end) == {
        metered.meter.person("ann"): pytest.approx(2)
    }


def job(**members: object) -> UsageRecord:
    given = {
        "id": "j1",
        "kind": "job",
        "person": "p1",
        "vo": "aqua.example",
        "profile": "openeo",
        "machine": "j1",
        "started": NOVEMBER,
        "seen": NOVEMBER + HOUR,
        "ended": NOVEMBER + HOUR,
        **members,
    }
    return UsageRecord(**given)  # type: ignore[arg-type]


def test_what_a_job_measured_counts_and_is_spread_over_its_time(metered: Metered) -> None:
    metered.store.add(job(cpu_seconds=7200.0))
    metered.store.add(job(id="j2", cpu_seconds=3600.0, ended=NOVEMBER, seen=NOVEMBER))
    store = metered.store
    assert store.cpu_hours("aqua.example", NOVEMBER, NOVEMBER + HOUR) == {"p1": pytest.approx(3)}
    half = store.cpu_hours("aqua.example", NOVEMBER + HOUR / 2, NOVEMBER + HOUR)
    assert half == {"p1": pytest.approx(1)}
    [total] = store.totals(NOVEMBER, NOVEMBER + 2 * HOUR)
    assert total.jobs == {"openeo": 2}
    assert total.servers == 0


@settings(deadline=None)  # other programs load the machine
@given(
    start=st.floats(0, 100 * HOUR),
    length=st.floats(1, 100 * HOUR),
    cuts=st.lists(st.floats(0, 200 * HOUR), max_size=5),
    measured=st.booleans(),
)
def test_parts_of_a_time_add_up_to_the_whole(
    start: float, length: float, cuts: list[float], measured: bool
) -> None:
    store = UsageStore("sqlite://")
    end = NOVEMBER + start + length
    record = job(
        started=NOVEMBER + start,
        ended=end,
        seen=end,
        cpus=2.0,
        cpu_seconds=1000.0 if measured else None,
    )
    store.add(record)
    edges = [NOVEMBER, *sorted(NOVEMBER + cut for cut in cuts), NOVEMBER + 300 * HOUR]
    parts = sum(
        sum(store.cpu_hours("aqua.example", since, until).values())
        for since, until in itertools.pairwise(edges)
    )
    store.close()
    assert parts == pytest.approx(record.cpu_hours, rel=1e-6)


def test_a_days_later_look_at_a_bucket_replaces_the_earlier(metered: Metered) -> None:
    store = metered.store
    store.store_sizes([Stored("2026-11-01", "aqua", "aqua.example", 5)])
    store.store_sizes([Stored("2026-11-01", "aqua", "aqua.example", 7)])
    store.store_sizes([Stored("2026-11-02", "aqua", "aqua.example", 9)])
    assert [each.bytes for each in store.stored("2026-11-01", "2026-11-30")] == [7, 9]
    assert [each.bytes for each in store.last_stored()] == [9]


def test_a_pseudonym_needs_the_key() -> None:
    assert pseudonym(b"one", "ann") == pseudonym(b"one", "ann")
    assert pseudonym(b"one", "ann") != pseudonym(b"two", "ann")
    assert "ann" not in pseudonym(b"one", "ann")


def test_names_of_servers_are_not_in_the_records(metered: Metered) -> None:
    meter: Meter = metered.meter
    assert "thesis" not in "".join(meter._who("ann", "thesis"))
    assert meter._who("ann", "thesis") != meter._who("ann", "other")


def test_only_what_virtual_access_asks_for_is_taken_from_entitlements() -> None:
    root = "urn:mace:egi.eu:res:c-scale:"
    found = declared(
        [
            f"{root}user-category:education#aai.egi.eu",
            f"{root}country:CZ",
            f"{root}research-field:land%20surface#aai.egi.eu",
            f"{root}user-function:researcher#aai.egi.eu",
            f"{root}company:CESNET#aai.egi.eu",
            f"{root}accept-email:true#aai.egi.eu",
            f"{root}country:PT",
            "urn:mace:egi.eu:group:country:DE#aai.egi.eu",
        ]
    )
    assert found == Attributes("education", "CZ", "land surface", "researcher")


@pytest.mark.parametrize("value", ["=1+1", "+1", "%3Dcmd", "a%0Ab", "@x", "%22a"])
def test_a_value_that_a_spreadsheet_or_a_message_would_misread_is_not_kept(value: str) -> None:
    assert declared([f"urn:mace:egi.eu:res:c-scale:country:{value}#aai.egi.eu"]) == NOBODY


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-00", "26-11", "2026-1", "x"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no month"):
        Month.parse(text)


def test_a_month_ends_where_the_next_begins() -> None:
    december = Month.parse("2026-12")
    assert december.end == Month.parse("2027-01").start
    assert (december.first_day, december.last_day) == ("2026-12-01", "2026-12-31")
    assert Month.parse("2028-02").last_day == "2028-02-29"
