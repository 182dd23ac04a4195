"""``cscale search`` against archives that answer, page, die and send what they should not."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cscale_cli.main import GROUP, build
from tests.cli.archives import Archive, item

RUNNER = CliRunner()
Start = Callable[..., Archive]
Write = Callable[..., Path]


def search(providers: Path, *options: str) -> Result:
    own = EntryPoint("search", "cscale_cli.search.command:register", GROUP)
    other = EntryPoint("local", "cscale_hub.local.commands:register", GROUP)
    return RUNNER.invoke(build([own, other]), ["search", "--providers", str(providers), *options])


def days(name: str, count: int, **properties: Any) -> list[dict[str, Any]]:
    return [item(f"{name}-{n:03}", f"2024-03-{n % 28 + 1:02}", **properties) for n in range(count)]


def test_items_of_all_archives_are_listed_newest_first_with_who_has_them(
    archive: Start, providers_file: Write
) -> None:
    file = providers_file(
        north=archive(item("old", "2024-01-01", **{"eo:cloud_cover": 12.4})),
        south=archive(item("new", "2024-02-01")),
    )
    result = search(file)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["id", "date", "cloud", "collection", "provider"]
    assert lines[1].split() == ["new", "2024-02-01", "10:00", "–", "s2", "south"]
    assert lines[2].split() == ["old", "2024-01-01", "10:00", "12", "%", "s2", "north"]
    assert "✓ north  1 item" in result.stdout
    assert "2 items." in result.stdout


def test_with_one_archive_killed_the_others_items_are_listed_and_the_dead_one_is_named(
    archive: Start, providers_file: Write
) -> None:
    dead = archive(item("lost", "2024-01-01"))
    file = providers_file(alive=archive(item("found", "2024-01-01")), dead=dead)
    dead.kill()
    result = search(file)
    assert result.exit_code == 0, result.output
    assert "found" in result.stdout
    assert "✗ dead" in result.stdout
    assert "cannot be reached" in result.stdout
    assert "incomplete without dead" in result.stdout


def test_when_nobody_answers_the_exit_status_is_1_and_each_is_named(
    archive: Start, providers_file: Write
) -> None:
    first, second = archive(), archive()
    file = providers_file(first=first, second=second)
    first.kill()
    second.kill()
    result = search(file)
    assert result.exit_code == 1
    assert "✗ first" in result.output
    assert "✗ second" in result.output


def test_nothing_found_is_no_error(archive: Start, providers_file: Write) -> None:
    result = search(providers_file(empty=archive()))
    assert result.exit_code == 0
    assert "0 items." in result.stdout


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        (["--bbox", "1,2,3"], "--bbox", "west,south,east,north"),
        (["--bbox", "a,b,c,d"], "--bbox", "west,south,east,north"),
        (["--bbox", "10,46,11,45"], "--bbox", "west,south,east,north"),
        (["--datetime", "yesterday"], "--datetime", "2024-05-01/2024-06-30"),
        (["--datetime", "2024-02-01/2024-01-01"], "--datetime", "2024-05-01/2024-06-30"),
        (["--filter", "eo:cloud_cover <"], "--filter", "CQL2"),
        (["--intersects", "POLYGON((10 45, 11"], "--intersects", "WKT"),
        (["--intersects", "no-such-file.geojson"], "--intersects", "GeoJSON"),
        (["--intersects", "{not json"], "--intersects", "GeoJSON"),
        (["--sortby", "-a b"], "--sortby", "-datetime"),
        (["--cloud-cover", "101"], "--cloud-cover", ""),
        (["--provider", "nobody"], "nobody", "known"),
    ],
)
def test_question_that_cannot_be_understood_exits_with_2_and_says_how_it_is_written(
    archive: Start, providers_file: Write, options: list[str], said: str, hint: str
) -> None:
    there = archive(item("x", "2024-01-01"))
    result = search(providers_file(there=there), *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert hint.lower() in result.stderr.lower()
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert there.asked == []


def test_a_problem_is_json_too_where_json_is_asked_for(
    archive: Start, providers_file: Write
) -> None:
    result = search(providers_file(there=archive()), "--json", "--bbox", "1,2,3")
    assert result.exit_code == 2
    problem = json.loads(result.stdout)
    assert problem["code"] == "invalid_input"
    assert "west,south,east,north" in problem["hint"]


def test_limit_is_kept_and_what_is_left_is_said(archive: Start, providers_file: Write) -> None:
    file = providers_file(a=archive(*days("a", 20)), b=archive(*days("b", 20)))
    result = search(file, "--limit", "7")
    assert result.exit_code == 0, result.output
    assert sum("2024-03" in line for line in result.stdout.splitlines()) == 7
    assert "7 items" in result.stdout
    assert "--all" in result.stdout


def test_all_follows_the_pages_of_every_archive(archive: Start, providers_file: Write) -> None:
    first = archive(*days("a", 45))
    file = providers_file(a=first, b=archive(*days("b", 33)))
    result = search(file, "--all", "--limit", "5", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    names = [feature["id"] for feature in answer["features"]]
    assert len(names) == len(set(names)) == 78
    dates = [feature["properties"]["datetime"] for feature in answer["features"]]
    assert dates == sorted(dates, reverse=True)
    assert len(first.asked) > 1
    assert answer["cscale:complete"] is True


def test_json_is_a_feature_collection_with_the_report_and_nothing_else_is_on_stdout(
    archive: Start, providers_file: Write
) -> None:
    dead = archive()
    file = providers_file(alive=archive(*days("a", 3)), dead=dead)
    dead.kill()
    result = search(file, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["type"] == "FeatureCollection"
    assert len(answer["features"]) == answer["numberReturned"] == 3
    assert answer["features"][0]["cscale:provider"] == "alive"
    assert answer["cscale:complete"] is False
    assert [(each["id"], each["status"]) for each in answer["cscale:providers"]] == [
        ("alive", "ok"),
        ("dead", "error"),
    ]
    assert "✗ dead" in result.stderr


def test_json_of_nothing_is_an_empty_feature_collection(
    archive: Start, providers_file: Write
) -> None:
    answer = json.loads(search(providers_file(empty=archive()), "--json").stdout)
    assert answer["features"] == []
    assert answer["cscale:complete"] is True


def test_every_option_reaches_the_archives(archive: Start, providers_file: Write) -> None:
    there = archive(item("x", "2024-03-01", **{"eo:cloud_cover": 5, "gsd": 10}))
    other = archive()
    result = search(
        providers_file(there=there, other=other),
        *("--bbox", "-10,40,20,50"),
        *("--datetime", "2024-03"),
        *("-c", "s2", "--id", "x"),
        *("--cloud-cover", "20"),
        *("--filter", "gsd = 10"),
        *("--sortby", "-datetime"),
        *("--provider", "there"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert [feature["id"] for feature in json.loads(result.stdout)["features"]] == ["x"]
    body = there.asked[0]
    assert body["bbox"] == [-10, 40, 20, 50]
    assert body["datetime"].startswith("2024-03-01T00:00:00")
    assert body["collections"] == ["s2"]
    assert body["ids"] == ["x"]
    assert other.asked == []


@pytest.mark.parametrize(
    ("option", "found"), [(["--cloud-cover", "20"], 1), (["--filter", "eo:cloud_cover > 50"], 1)]
)
def test_condition_that_an_archive_does_not_know_is_applied_all_the_same(
    archive: Start, providers_file: Write, option: list[str], found: int
) -> None:
    there = archive(
        item("clear", "2024-03-01", **{"eo:cloud_cover": 5}),
        item("cloudy", "2024-03-02", **{"eo:cloud_cover": 80}),
    )
    answer = json.loads(search(providers_file(there=there), *option, "--json").stdout)
    assert len(answer["features"]) == found


AREAS = {
    "inside.wkt": "POLYGON((10.2 45.2, 10.4 45.2, 10.4 45.4, 10.2 45.2))",
    "outside.wkt": "POLYGON((30 45, 31 45, 31 46, 30 45))",
    "inside.geojson": '{"type": "Point", "coordinates": [10.5, 45.5]}',
    "outside.geojson": '{"type": "Feature", "properties": {}, "geometry": '
    '{"type": "Point", "coordinates": [30.5, 45.5]}}',
}


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("name", AREAS)
def test_area_comes_as_wkt_or_geojson_written_out_or_in_a_file(
    archive: Start, providers_file: Write, tmp_path: Path, name: str, written_out: bool
) -> None:
    path = tmp_path / name
    path.write_text(AREAS[name], encoding="utf-8")
    result = search(
        providers_file(there=archive(item("x", "2024-03-01"))),
        "--json",
        "--intersects",
        AREAS[name] if written_out else str(path),
    )
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["features"]) == name.startswith("inside")


def test_what_an_archive_writes_never_reaches_the_terminal_as_control_sequences(
    archive: Start, providers_file: Write
) -> None:
    evil = item("\x1b[2J\x9b31m[red]evil[/]", "2024-03-01", collection="s2\r\n\x1b]0;title\x07")
    file = providers_file(there=archive(evil))
    for options in ((), ("--wide",), ("--json",)):
        result = search(file, *options)
        assert result.exit_code == 0, result.output
        assert not {"\x1b", "\x9b", "\x07", "\r"} & set(result.output)
    assert "[red]evil[/]" in search(file).stdout
