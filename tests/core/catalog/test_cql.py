"""CQL2 conditions: what is read, what is refused, and that items are told apart as they must be."""

from __future__ import annotations

import json
import math
import operator
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.cql import parse_filter
from cscale_core.errors import InvalidInput

SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 46], [10, 45]]]}
ITEM: dict[str, Any] = {
    "type": "Feature",
    "id": "X1",
    "collection": "s2",
    "geometry": SQUARE,
    "bbox": [10, 45, 11, 46],
    "properties": {
        "datetime": "2024-05-01T10:00:00Z",
        "start_datetime": "2024-05-01T09:00:00Z",
        "end_datetime": "2024-05-01T11:00:00Z",
        "acquired": "2024-05-01T10:00:00Z",
        "eo:cloud_cover": 12.5,
        "platform": "sentinel-2a",
        "instruments": ["msi", "x"],
        "nothing": None,
        "orbit": 5,
        "flag": True,
        "street": "Große Straße",
        "place": "São Tomé",
        "nested": {"a": 1},
        "dotted.name": 7,
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "eo:cloud_cover <= 20",
        '"eo:cloud_cover" <= 20',
        "properties.eo:cloud_cover < 20",
        "20 > eo:cloud_cover",
        "id = 'X1' AND collection = 's2'",
        "nested.a = 1 AND dotted.name = 7",
        "missing = 3 OR eo:cloud_cover < 20",
        "NOT (missing = 3 AND eo:cloud_cover > 20)",
        "missing IS NULL AND nothing IS NULL AND platform IS NOT NULL",
        "platform LIKE 'sent%' AND platform LIKE 'sentinel_2_' AND platform NOT LIKE 'S%'",
        "CASEI(platform) = CASEI('SENTINEL-2A')",
        "CASEI(platform) IN (CASEI('Sentinel-2A'), 'x')",
        "CASEI(street) = CASEI('GROSSE STRASSE')",
        "CASEI(platform) LIKE CASEI('SENT%')",
        "ACCENTI(place) = ACCENTI('Sao Tomé')",
        "CASEI(ACCENTI(place)) = 'sao tome'",
        "platform IN ('a', 'sentinel-2a') AND orbit IN (1, 5) AND flag IN (TRUE)",
        "orbit NOT IN (1, 2)",
        "orbit IN (missing, 5)",
        "orbit BETWEEN 1 AND 5 AND orbit NOT BETWEEN 6 AND 7",
        "orbit BETWEEN orbit AND 9",
        "orbit + 1 = 6 AND orbit * 2 - 1 = 9 AND orbit / 2 = 2.5 AND orbit % 2 = 1",
        "flag = TRUE AND flag <> FALSE",
        "A_CONTAINS(instruments, ('msi')) AND A_OVERLAPS(instruments, ('msi', 'z'))",
        "A_EQUALS(instruments, ('msi', 'x')) AND A_CONTAINEDBY(instruments, ('msi', 'x', 'y'))",
        "S_INTERSECTS(geometry, POINT(10.5 45.5))",
        "S_INTERSECTS(POINT(10.5 45.5), geometry) AND S_CONTAINS(geometry, POINT(10.5 45.5))",
        "S_INTERSECTS(geometry, BBOX(10.9, 45.9, 20, 50))",
        "S_WITHIN(geometry, POLYGON((0 0, 90 0, 90 90, 0 90, 0 0)))",
        "S_DISJOINT(geometry, POINT(0 0)) AND S_TOUCHES(geometry, POINT(10 45))",
        # Times.
        "datetime > TIMESTAMP('2024-04-01T00:00:00Z')",
        "datetime = TIMESTAMP('2024-05-01T12:00:00.000+02:00')",
        "datetime BETWEEN TIMESTAMP('2024-01-01T00:00:00Z') AND TIMESTAMP('2025-01-01T00:00:00Z')",
        "acquired BETWEEN TIMESTAMP('2024-01-01T00:00:00Z') AND TIMESTAMP('2025-01-01T00:00:00Z')",
        "datetime = '2024-05-01T12:00:00+02:00'",
        "'2024-04-01' < datetime",
        "end_datetime > start_datetime AND start_datetime <= datetime",
        "T_AFTER(datetime, TIMESTAMP('2024-04-01T00:00:00Z'))",
        "T_INTERSECTS(datetime, INTERVAL('2024-04-01T00:00:00Z', '..'))",
        "T_DURING(datetime, INTERVAL('2024-04-01', '2024-06-01'))",
        "T_INTERSECTS(INTERVAL(start_datetime, end_datetime), INTERVAL('..', '2024-05-01'))",
        # A date is its whole day.
        "datetime = DATE('2024-05-01')",
        "datetime >= DATE('2024-05-01') AND datetime <= DATE('2024-05-01')",
        "datetime BETWEEN DATE('2024-05-01') AND DATE('2024-05-01')",
        "datetime BETWEEN '2024-05-01' AND '2024-05-01'",
        "NOT (datetime <> DATE('2024-05-01'))",
        "NOT (datetime > DATE('2024-05-01') OR datetime < DATE('2024-05-01'))",
        "datetime IN (DATE('2024-05-01'), DATE('2024-06-01'))",
        "T_INTERSECTS(datetime, DATE('2024-05-01'))",
        "T_INTERSECTS(datetime, INTERVAL('2024-04-01', '2024-05-01'))",
        "NOT (T_AFTER(datetime, DATE('2024-05-01')))",
    ],
)
def test_what_holds_matches_and_its_contrary_does_not(text: str) -> None:
    condition = parse_filter(text)
    assert condition.local, condition.reason
    assert condition.decide(ITEM) is True
    assert parse_filter({"op": "not", "args": [condition.as_json()]}).decide(ITEM) is False


@pytest.mark.parametrize(
    "text",
    [
        "missing <= 20",
        "nothing = 3",
        "nothing <> 3",
        "missing LIKE 'a%'",
        "missing IN (1, 2)",
        "missing BETWEEN 1 AND 2",
        "missing = 3 AND eo:cloud_cover < 20",
        "platform = NULL",
        # Of kinds that cannot be compared.
        "orbit = '5'",
        "platform > 5",
        "flag = 1",
        "instruments = 'msi'",
        "nested = 'a'",
        "A_CONTAINS(platform, ('sentinel-2a'))",
        "platform > TIMESTAMP('2024-04-01T00:00:00Z')",
        "T_AFTER(missing, TIMESTAMP('2024-04-01T00:00:00Z'))",
    ],
)
def test_what_an_item_does_not_say_neither_matches_nor_the_contrary(text: str) -> None:
    condition = parse_filter(text)
    contrary = parse_filter(f"NOT ({text})")
    assert condition.decide(ITEM) is None
    assert contrary.decide(ITEM) is None
    assert not condition.matches(ITEM)
    assert not contrary.matches(ITEM)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("buffered(orbit) = 3", "buffered"),
        ("orbit ^ 2 = 25", "cannot be compared"),
        ("1 / orbit = 2", "may be zero"),
        ("orbit / 0 = 2", "may be zero"),
        ("orbit = 90071992547409930", "digits"),
        ("acquired <= DATE('2024-05-01')", "write TIMESTAMP"),
        ("T_DURING(datetime, TIMESTAMP('2024-05-01T00:00:00Z'))", "interval"),
        ("T_MEETS(datetime, INTERVAL('2024-05-01', '..'))", "two intervals"),
        ("S_INTERSECTS(outline, POINT(1 2))", "geometry of the items"),
        ("S_DWITHIN(geometry, POINT(1 2), 5, 'm')", "number of arguments"),
    ],
)
def test_what_is_doubtful_is_left_to_the_provider_and_says_why(text: str, reason: str) -> None:
    condition = parse_filter(text)
    assert not condition.local
    assert reason in condition.reason
    assert condition.as_json()
    with pytest.raises(InvalidInput, match="cannot be applied here"):
        condition.matches(ITEM)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "eo:cloud_cover <=",
        "a = 1 AND (b",
        "flag",
        "TRUE",
        "1 + 2",
        "a == 1",
        "datetime > TIMESTAMP('nonsense')",
        "datetime > DATE('2024-13-01')",
        "datetime > 'yesterday'",
        "T_DURING(datetime, INTERVAL('x', '..'))",
        "S_INTERSECTS(geometry, POINT(1 200))",
        "{not json",
        {"op": "and", "args": []},
        {"op": "and", "args": [[]]},
        {"op": "and", "args": ["x"]},
        {"op": "and", "args": [{"property": "flag"}]},
        {"op": "not", "args": [True, True]},
        {"op": "=", "args": {"a": 1}},
        {"op": 5, "args": []},
        {"property": "flag"},
        {},
        {"op": "=", "args": [{"property": "a"}, float("nan")]},
        {"op": "=", "args": [{"property": "a'; DROP"}, 1]},
    ],
)
def test_what_is_no_condition_is_refused_in_a_sentence(given: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(given)
    assert refused.value.message.startswith(("The filter", "The area", "'2024-13-01'"))


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "(" * DEEP + "a=1" + ")" * DEEP,
        "(" * 40 + "a=1" + ")" * 40,
        "NOT " * 2000 + "a=1",
        "NOT(" * 30 + "a=1" + ")" * 30,
        "a = " + "- " * 1000 + "1",
        "a = " + "^".join("1" * 250),
        "a = " + "+(1)" * 250,
        " = ".join("a" * 250),
        "a IS NULL" + " IS NULL" * 250,
        "a BETWEEN 1 AND 2" + " BETWEEN 1 AND 2" * 250,
        " AND ".join(["a=1"] * 1001),
        "a = '" + "x" * 9000 + "'",
    ],
)
def test_text_beyond_the_bounds_never_reaches_the_native_parser(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"nested|longer|operators"):
        parse_filter(text)


def _nested(levels: int, extra: str = "") -> dict[str, Any]:
    node: dict[str, Any] = {"op": "=", "args": [{"property": "a"}, 1]}
    for _ in range(levels):
        node = {"op": "not", "args": [node]}
    if extra:
        inner: Any = 1
        for _ in range(levels):
            inner = [inner]
        return {"op": "and", "args": [{"op": "=", "args": [{"property": "a"}, 1]}], extra: inner}
    return node


@pytest.mark.parametrize("document", [_nested(50), _nested(DEEP), _nested(DEEP, "more")])
def test_json_beyond_the_bounds_never_reaches_the_native_parser(document: Any) -> None:
    with pytest.raises(InvalidInput, match="nested"):
        parse_filter(document)
    assert parse_filter(_nested(20)).matches({"properties": {"a": 1}})


def test_json_text_beyond_the_bounds_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_filter('{"op":' * DEEP)
    with pytest.raises(InvalidInput, match="longer"):
        parse_filter('{"op": "' + "x" * 1_100_000)


def test_the_largest_that_is_let_through_is_survived_by_a_small_stack() -> None:
    """A native overflow ends the process, so it is tried in another one, on a thread's stack."""
    code = """
import contextlib
import threading
from cscale_core.catalog.cql import parse_filter
from cscale_core.errors import InvalidInput
threading.stack_size(512 * 1024)
def largest():
    nested = {"op": "=", "args": [{"property": "a"}, 1]}
    for _ in range(22):
        nested = {"op": "not", "args": [nested]}
    sums = "a = 1"
    for _ in range(5):
        sums = f"a = 1 + (1 + 1 + 1 + CASEI({sums}))"
    for text in (nested, sums, "(" * 23 + "a=1" + ")" * 23, "NOT " * 46 + "a=1",
                 "a=" + "-" * 46 + "1", " OR ".join(["a=1"] * 800), "a = " + "+".join("1" * 46),
                 "a = " + "^".join("1" * 46), "a IN (" + ",".join("1" * 3000) + ")",
                 "NOT(" * 15 + "a=1" + ")" * 15, "a IS NULL" + " IS NULL" * 46,
                 "a BETWEEN 1 AND 2" + " BETWEEN 1 AND 2" * 22, " = ".join("a" * 46)):
        with contextlib.suppress(InvalidInput):  # of the tree, which is looked at afterwards
            parsed = parse_filter(text)
            parsed.as_text()
            if parsed.local:
                parsed.decide({"properties": {"a": 1}})
    print("survived")
thread = threading.Thread(target=largest)
thread.start()
thread.join()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "survived"), run.stderr


@pytest.mark.parametrize(
    "text",
    [
        "eo:cloud_cover <= 20 AND (platform = 'a' OR NOT orbit > 3)",
        "place = 'it''s'",
        "(orbit + 1) * 2 = 12",
        "T_DURING(datetime, INTERVAL('2024-04-01T00:00:00Z', '..'))",
        "S_INTERSECTS(geometry, POLYGON((0 0, 1 0, 1 1, 0 0)))",
        '"view:sun-azimuth" < 5',
    ],
)
def test_text_and_json_say_the_same(text: str) -> None:
    condition = parse_filter(text)
    written = condition.as_text()
    assert written is not None
    assert parse_filter(written).as_json() == condition.as_json()
    assert parse_filter(json.dumps(condition.as_json())).as_json() == condition.as_json()


def test_what_text_cannot_say_is_not_written_as_text() -> None:
    times = {
        "op": "a_contains",
        "args": [{"property": "a"}, [{"timestamp": "2024-05-01T00:00:00Z"}]],
    }
    assert parse_filter(times).as_text() is None


def test_names_and_numbers_are_written_in_one_way() -> None:
    condition = parse_filter('properties.orbit = 5 AND "eo:cloud_cover" < 7.5')
    assert condition.properties() == {"orbit", "eo:cloud_cover"}
    assert json.dumps(condition.as_json()["args"][0]["args"]) == '[{"property": "orbit"}, 5]'


def test_dates_are_made_exact_before_anybody_is_asked() -> None:
    assert parse_filter("datetime <= DATE('2024-05-31')").as_json() == {
        "op": "<=",
        "args": [{"property": "datetime"}, {"timestamp": "2024-05-31T23:59:59.999999Z"}],
    }
    asked = parse_filter("T_INTERSECTS(datetime, INTERVAL('2024-05-01', '2024-05-31'))").as_json()
    assert asked["args"][1]["interval"] == ["2024-05-01T00:00:00Z", "2024-05-31T23:59:59.999999Z"]


def test_a_value_that_looks_like_an_expression_stays_a_value() -> None:
    """Items are untrusted: what they hold must not be evaluated."""
    condition = parse_filter("a = 1")
    for value in ({"property": "p0"}, {"op": "+", "args": [1, 0]}, [{"property": "p0"}], {"a": {}}):
        assert condition.decide({"properties": {"a": value}}) is None


@pytest.mark.parametrize(
    "value", ["\ud800", 10**400, -(2**70), math.nan, math.inf, "x" * 100_000, "\0"]
)
def test_odd_values_are_no_crash(value: Any) -> None:
    for text in ("a = 1", "a = 'x'", "a LIKE '%'", "a > TIMESTAMP('2024-01-01T00:00:00Z')"):
        assert parse_filter(text).decide({"properties": {"a": value}}) in (True, False, None)


@pytest.mark.parametrize(
    ("geometry", "bbox", "expected"),
    [
        (None, None, None),
        ({"type": "Polygon", "coordinates": "x"}, None, None),
        # An outline that crosses itself, as archives publish them.
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]},
            None,
            False,
        ),
        # Over the antimeridian.
        (
            {
                "type": "Polygon",
                "coordinates": [[[179, 44], [-179, 45], [-179, 46], [179, 46], [179, 44]]],
            },
            [179, 44, -179, 46],
            False,
        ),
    ],
)
def test_places_of_odd_items(geometry: Any, bbox: Any, expected: bool | None) -> None:
    condition = parse_filter("S_INTERSECTS(geometry, POINT(10.5 45.5))")
    assert condition.decide({"geometry": geometry, "bbox": bbox, "properties": {}}) is expected


# --- Against a second evaluation -----------------------------------------------------------------

NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5])
TEXTS = st.sampled_from(["a", "b", "A", "ab", "ß", "a%"])
START = datetime(2024, 5, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 4).map(lambda day: START + timedelta(days=day))
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | NUMBERS | TEXTS,
        "m": st.none() | NUMBERS,
        "s": st.none() | TEXTS | NUMBERS,
        "datetime": st.none() | MOMENTS,
        "updated": st.none() | MOMENTS,
    },
)


def _kind(value: Any) -> str:
    return "n" if isinstance(value, int | float) else type(value).__name__


def _compare(name: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None or _kind(left) != _kind(right):
        return None
    return COMPARED[name](left, right)


Meaning = Callable[[dict[str, Any]], bool | None]


def _or(verdicts: list[bool | None]) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _not(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict


def _stamp(moment: datetime) -> str:
    return f"TIMESTAMP('{moment:%Y-%m-%dT%H:%M:%SZ}')"


def _literal(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


@st.composite
def leaves(draw: st.DrawFn) -> tuple[str, Meaning]:
    kind = draw(st.sampled_from(["compare", "between", "in", "null", "time", "day", "relation"]))
    if kind in ("time", "day", "relation"):
        name, moment = draw(st.sampled_from(["datetime", "updated"])), draw(MOMENTS)
        if kind == "time":
            sign = draw(st.sampled_from(sorted(COMPARED)))
            return f"{name} {sign} {_stamp(moment)}", lambda i: _compare(sign, i.get(name), moment)
        last = moment + timedelta(days=1, microseconds=-1)
        if kind == "day":
            return (
                f"{name} = DATE('{moment:%Y-%m-%d}')",
                lambda i: None if i.get(name) is None else moment <= i[name] <= last,
            )
        relation = draw(st.sampled_from(["after", "before", "equals", "intersects", "disjoint"]))
        meaning = {
            "after": operator.gt,
            "before": operator.lt,
            "equals": operator.eq,
            "intersects": operator.eq,
            "disjoint": operator.ne,
        }[relation]
        return (
            f"T_{relation.upper()}({name}, {_stamp(moment)})",
            lambda i: None if i.get(name) is None else meaning(i[name], moment),
        )
    name = draw(st.sampled_from(["n", "m", "s", "absent"]))
    value = draw(NUMBERS | TEXTS)
    if kind == "null":
        return f"{name} IS NULL", lambda i: i.get(name) is None
    if kind == "between":
        low, high = draw(NUMBERS), draw(NUMBERS)
        return f"{name} BETWEEN {low} AND {high}", lambda i: _not(
            _or([_compare("<", i.get(name), low), _compare(">", i.get(name), high)])
        )
    if kind == "in":
        options = draw(st.lists(NUMBERS | TEXTS, min_size=1, max_size=3))
        listed = ", ".join(map(_literal, options))
        return f"{name} IN ({listed})", lambda i: _or(
            [_compare("=", i.get(name), option) for option in options]
        )
    sign = draw(st.sampled_from(sorted(COMPARED)))
    return f"{name} {sign} {_literal(value)}", lambda i: _compare(sign, i.get(name), value)


def _combined(
    inner: st.SearchStrategy[tuple[str, Meaning]],
) -> st.SearchStrategy[tuple[str, Meaning]]:
    def joined(word: str, parts: list[tuple[str, Meaning]]) -> tuple[str, Meaning]:
        text = f" {word} ".join(f"({part})" for part, _ in parts)
        if word == "OR":
            return text, lambda i: _or([meaning(i) for _, meaning in parts])
        return text, lambda i: _not(_or([_not(meaning(i)) for _, meaning in parts]))

    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        st.builds(joined, st.sampled_from(["AND", "OR"]), several),
        inner.map(lambda part: (f"NOT ({part[0]})", lambda i: _not(part[1](i)))),
    )


@given(st.recursive(leaves(), _combined, max_leaves=6), st.lists(ITEMS, max_size=6))
def test_conditions_mean_what_three_valued_logic_says(
    condition: tuple[str, Meaning], contents: list[dict[str, Any]]
) -> None:
    text, meaning = condition
    parsed = parse_filter(text)
    assert parsed.local, parsed.reason
    written = parsed.as_text()
    assert written is not None
    again = parse_filter(written)
    for content in contents:
        properties = {
            name: value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
            for name, value in content.items()
        }
        item = {"id": "x", "properties": properties}
        assert parsed.decide(item) is meaning(content), (text, properties)
        assert again.decide(item) is meaning(content), (written, properties)


INTERVALS = st.tuples(MOMENTS, MOMENTS).filter(lambda pair: pair[0] < pair[1])
# OGC 21-065r2, table 8: relations of two intervals.
RELATIONS: dict[str, Callable[[Any, Any, Any, Any], bool]] = {
    "after": lambda a, b, c, d: a > d,
    "before": lambda a, b, c, d: b < c,
    "contains": lambda a, b, c, d: a < c and b > d,
    "disjoint": lambda a, b, c, d: b < c or a > d,
    "during": lambda a, b, c, d: a > c and b < d,
    "equals": lambda a, b, c, d: a == c and b == d,
    "finishedBy": lambda a, b, c, d: a < c and b == d,
    "finishes": lambda a, b, c, d: a > c and b == d,
    "intersects": lambda a, b, c, d: a <= d and b >= c,
    "meets": lambda a, b, c, d: b == c,
    "metBy": lambda a, b, c, d: a == d,
    "overlappedBy": lambda a, b, c, d: c < a < d < b,
    "overlaps": lambda a, b, c, d: a < c < b < d,
    "startedBy": lambda a, b, c, d: a == c and b > d,
    "starts": lambda a, b, c, d: a == c and b < d,
}


@given(st.sampled_from(sorted(RELATIONS)), INTERVALS, INTERVALS)
def test_relations_of_intervals(name: str, ours: Any, asked: Any) -> None:
    one, other = ([f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in pair] for pair in (ours, asked))
    ends = [{"property": "start_datetime"}, {"property": "end_datetime"}]
    condition = parse_filter({"op": f"t_{name}", "args": [{"interval": ends}, {"interval": other}]})
    item = {"properties": {"start_datetime": one[0], "end_datetime": one[1]}}
    assert condition.decide(item) is RELATIONS[name](*ours, *asked)
