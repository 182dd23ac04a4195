"""The table and the report of ``cscale search`` on a terminal of 80 columns and in a pipe."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from cscale_cli.search.report import Outcome, show_report, summary
from cscale_cli.search.table import row, show_items
from cscale_cli.terminal import shortened
from cscale_core.catalog.report import ProviderReport
from cscale_core.untrusted import plain
from tests.cli.archives import item

LONG = "S2A_MSIL2A_20240501T105621_N0510_R094_T30SVF_20240501T163012"


def listed(*items: dict[str, Any], wide: bool = False, width: int = 80) -> list[str]:
    sink = io.StringIO()
    console = Console(file=sink, width=width, force_terminal=not wide, color_system=None)
    show_items([row(each) for each in items], console, wide=wide)
    return sink.getvalue().splitlines()


def found(**members: Any) -> dict[str, Any]:
    given = item(LONG, "2024-05-01", collection="sentinel-2-l2a", **{"eo:cloud_cover": 7.6})
    return given | {"cscale:provider": "earth-search"} | members


@pytest.mark.parametrize("width", [80, 100])
def test_line_of_a_long_product_fits_the_terminal_and_ids_keep_both_ends(width: int) -> None:
    heading, line = listed(found(), width=width)
    assert cell_len(line.rstrip()) <= width
    assert line.startswith("S2A_MS")
    assert line.split()[0].endswith("_20240501T163012")
    assert "…" in line
    assert "2024-05-01 10:00" in line
    assert "8 %" in line
    assert "sentinel-2-l2a" in line
    assert "earth-search" in line
    assert heading.split() == ["id", "date", "cloud", "collection", "provider"]


def test_long_names_of_collection_and_provider_give_way_too() -> None:
    urn = "urn:eop:VITO:CGS_S1_GRD_SIGMA0_L1_WITH_A_LONG_NAME"
    long = found(collection=urn, **{"cscale:provider": "a-provider-with-quite-a-long-name"})
    _, line = listed(long)
    assert cell_len(line.rstrip()) <= 80
    assert line.count("…") == 3


def test_in_a_pipe_nothing_is_cut() -> None:
    urn = "urn:eop:VITO:" + "X" * 200
    _, line = listed(found(collection=urn), wide=True)
    assert LONG in line
    assert urn in line
    assert "\x1b" not in line


def test_mirrors_are_counted_beside_the_nearest_provider() -> None:
    mirrors = [{"provider": "cdse"}, {"provider": "terrascope"}]
    _, line = listed(found(**{"cscale:mirrors": mirrors}), width=120)
    assert "earth-search +2" in line


@pytest.mark.parametrize(
    "members",
    [
        {"properties": {"datetime": None}},
        {"properties": {"datetime": "not a time", "eo:cloud_cover": "much"}},
        {"properties": {}, "collection": None, "cscale:mirrors": "none"},
    ],
)
def test_what_an_item_does_not_say_is_a_dash(members: dict[str, Any]) -> None:
    _, line = listed(found(**members), width=120)
    assert "–" in line


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "a…defg"),
        ("abcdefg", 1, "…"),
        ("abc", 0, ""),
        ("雪雪雪雪", 5, "…雪雪"),
    ],
)
def test_shortened_text_keeps_its_ends_and_its_width(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short
    assert cell_len(shortened(text, width)) <= width


def test_plain_text_has_nothing_that_a_terminal_obeys() -> None:
    said = plain("a\x1b[31mb\x9b2Jc\r\nd\u202ee\u2066f\x00g")
    assert said.replace("�", "").replace(" ", "") == "a[31mb2Jcdefg"
    assert plain("Åse (déjà) 雪 [bold]") == "Åse (déjà) 雪 [bold]"


def report(name: str, status: Any = "ok", **members: Any) -> ProviderReport:
    return ProviderReport(id=name, title=name, status=status, **members)


def reported(outcome: Outcome) -> str:
    sink = io.StringIO()
    show_report(outcome, Console(file=sink, width=80, color_system=None))
    return sink.getvalue()


def test_report_names_every_provider_with_what_it_did() -> None:
    said = reported(
        Outcome(
            (
                report("near", matched=1200, returned=100, pages=1, elapsed=0.31, mirrors=3),
                report("far", applied_here=["filter"], note="2 cloudier than asked left out"),
                report("dead", "timeout", error="[red]Dead[/] did not answer within 20 seconds."),
                report("poor", "unsupported", error="It cannot do this search."),
                report("other", "skipped", note="it has nothing of this area"),
            ),
            returned=100,
            matched=1300,
            more=True,
        )
    ).replace("\n", " ")
    for words in (
        "✓ near   100 items of 1,200, 3 the same as others', 1 page, 0.3 s",
        "applied here, because it cannot: filter",
        "2 cloudier than asked left out",
        "✗ dead",
        "[red]Dead[/] did not answer within 20 seconds.",
        "✗ poor",
        "– other  not asked",
        "it has nothing of this area",
        "100 items of 1,300; there are more: raise --limit, or ask for --all",
        "without dead, poor",
    ):
        assert words in said


def test_skipped_providers_alone_are_no_failure() -> None:
    outcome = Outcome((report("a", "skipped"), report("b", "skipped")), returned=0)
    assert outcome.complete
    assert not outcome.all_failed
    assert summary(outcome) == "0 items."


def test_items_that_came_before_a_deadline_are_an_answer() -> None:
    outcome = Outcome((report("slow", "timeout", returned=3),), returned=3)
    assert not outcome.complete
    assert not outcome.all_failed
