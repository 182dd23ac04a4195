"""Keys of order, choices of members, and what is remembered between two merged pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cscale_core.catalog.cursor import Cursors, State
from cscale_core.catalog.fields import to_ask, trimmed
from cscale_core.catalog.kept import KeptPages
from cscale_core.catalog.order import key_of
from cscale_core.catalog.place import Place, short
from cscale_core.catalog.query import Fields, SearchQuery, SortKey
from cscale_core.catalog.seen import MOST_SEEN, Seen
from cscale_core.catalog.wire import Request, following
from cscale_core.errors import InvalidInput
from cscale_core.http import Answer
from tests.core.catalog.doubles import make_item

DAY = "2024-03-10T10:00:00Z"


def ordered(items: list[dict[str, Any]], *keys: str) -> list[str]:
    key = key_of([SortKey.model_validate(each) for each in keys])
    return [item["id"] for item in sorted(items, key=key)]


def test_times_are_compared_as_moments_not_as_texts() -> None:
    items = [
        make_item("a", "2024-03-10T10:00:00Z"),
        make_item("b", "2024-03-10T10:00:00.5Z"),
        make_item("c", "2024-03-10T13:00:00+02:00"),
        make_item("d", None, properties={"start_datetime": "2024-03-10T10:30:00Z"}),
        make_item("e", "yesterday"),
        make_item("f", None),
    ]
    assert ordered(items, "-datetime") == ["c", "d", "b", "a", "e", "f"]
    assert ordered(items, "+datetime") == ["a", "b", "d", "c", "e", "f"]


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.lists(st.none()),
)


@given(st.lists(values, max_size=8), st.booleans())
def test_any_values_can_be_ordered_and_missing_ones_are_last(found: list[Any], down: bool) -> None:
    items = [make_item(str(n), DAY, properties={"p": value}) for n, value in enumerate(found)]
    items.reverse()
    names = ordered(items, "-p" if down else "+p")
    numbers = [
        found[int(name)] for name in names if isinstance(found[int(name)], int | float | bool)
    ]
    assert numbers == sorted(numbers, reverse=down)
    texts = [found[int(name)] for name in names if isinstance(found[int(name)], str)]
    assert texts == sorted(texts, reverse=down)
    missing = [found[int(name)] is None or isinstance(found[int(name)], list) for name in names]
    assert missing == sorted(missing)


def test_members_are_cut_as_asked_and_names_stay() -> None:
    item = make_item("x", DAY, properties={"eo:cloud_cover": 5, "a.b": 1, "gsd": 10})
    item["cscale:provider"] = "p"

    def cut(*names: str) -> dict[str, Any]:
        return trimmed(item, Fields.model_validate(list(names)))

    names = {"type", "id", "collection", "cscale:provider"}
    assert set(cut("geometry")) == {*names, "geometry"}
    assert cut("properties.eo:cloud_cover", "gsd")["properties"] == {"eo:cloud_cover": 5, "gsd": 10}
    assert cut("properties.a.b")["properties"] == {"a.b": 1}
    assert cut("assets.B04.href")["assets"] == item["assets"]
    assert cut("assets.B99")["id"] == "x"
    assert set(cut("-id", "-collection")) == set(item)
    assert "datetime" not in cut("-properties.datetime")["properties"]
    assert set(item) - set(cut("-links", "-assets")) == {"links", "assets"}
    assert cut("properties", "-properties.gsd")["properties"].keys() == {
        *("datetime", "eo:cloud_cover", "a.b")
    }
    assert trimmed(item, None) is item
    assert item["properties"]["gsd"] == 10, "the item itself is not changed"


def test_what_is_needed_here_is_asked_for_although_nobody_wants_it() -> None:
    query = SearchQuery(fields=["-geometry", "-properties", "-assets"], sortby="-gsd")
    assert to_ask(query, []) == {"include": [], "exclude": ["assets"]}
    asked = to_ask(SearchQuery(fields=["assets"], sortby="-gsd"), ["eo:cloud_cover"])
    assert asked is not None
    assert {"assets", "geometry", "properties.gsd", "properties.eo:cloud_cover"} <= set(
        asked["include"]
    )
    assert to_ask(SearchQuery(), []) is None


requests = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST"]),
    url=st.text(max_size=20),
    body=st.none() | st.dictionaries(st.sampled_from(["limit", "bbox", "token"]), st.integers()),
    params=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    headers=st.dictionaries(st.just("prefer"), st.text(max_size=5)),
)
marks = st.lists(st.binary(min_size=5, max_size=5), max_size=8).map(tuple)
places = st.builds(
    Place,
    mode=st.sampled_from(["", "asked", "checked", "own", "whole"]),
    request=st.none() | requests,
    taken=st.integers(0, 10_000),
    last=marks,
    behind=marks,
    reached=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    failures=st.integers(0, 3),
    done=st.booleans(),
    count=st.none() | st.integers(0, 10**6),
    sent=st.lists(st.sampled_from(["filter", "fields"])).map(tuple),
)


@given(
    st.dictionaries(st.text("abc", min_size=1), places, max_size=12),
    st.lists(
        st.tuples(st.binary(min_size=5, max_size=5), st.integers(-(2**31) + 1, 2**31 - 1)),
        max_size=9,
    ),
)
def test_a_cursor_says_again_what_was_written(found: dict[str, Place], given: list[Any]) -> None:
    seen = Seen()
    for product, moment in given:
        seen.add(product, list(found)[:2], float(moment))
    query = SearchQuery(bbox=(1, 2, 3, 4), collections=["s2"])
    cursors = Cursors(b"key")
    state = cursors.read(query, cursors.write(query, State(found, seen)))
    assert state.places == found
    assert list(state.places) == list(found), "in the same order"
    assert state.seen == seen


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    with pytest.raises(InvalidInput):
        Cursors(b"key").read(SearchQuery(), text)


def test_an_old_cursor_is_refused(monkeypatch: Any) -> None:
    cursors = Cursors(b"key")
    cursor = cursors.write(SearchQuery(), State({"a": Place()}))
    assert cursors.read(SearchQuery(), cursor).places == {"a": Place()}
    monkeypatch.setattr("cscale_core.catalog.cursor._FRESH", -1)
    with pytest.raises(InvalidInput, match="too old"):
        cursors.read(SearchQuery(), cursor)


def test_the_largest_cursor_still_fits_into_an_address() -> None:
    seen = Seen()
    for number in range(MOST_SEEN):
        seen.add(short(str(number)), ["p1", "p2"], 1.7e9 - 77 * number)
    query = SearchQuery(bbox=(1, 2, 3, 4), collections=["s2"])
    found = {}
    for number in range(20):
        body = {**query.body(100), "token": f"next:{short(str(number)).hex() * 4}"}
        found[f"provider-{number}"] = Place(
            mode="asked",
            request=Request("POST", f"https://stac{number}.example.eu/v1/search", body),
            taken=50,
            last=tuple(short(f"{number} {n}") for n in range(8)),
            behind=tuple(short(f"{number} {n} r") for n in range(8)),
            reached=1.7e9,
        )
    assert len(Cursors(b"key").write(query, State(found, seen))) < 12_000


def test_what_cannot_come_again_is_forgotten() -> None:
    def seen() -> Seen:
        made = Seen()
        made.add(b"early", ["a"], 0.0)
        made.add(b"late_", ["a"], 100_000.0)
        made.add(b"never", ["a"], None)
        return made

    kept = seen()
    kept.forget([50_000.0, 40_000.0], newest_first=True)
    assert set(kept.products) == {b"early", b"never"}
    kept = seen()
    kept.forget([50_000.0, 60_000.0], newest_first=False)
    assert set(kept.products) == {b"late_", b"never"}
    for reached, direction in (([50_000.0, None], True), ([50_000.0], None), ([], True)):
        kept = seen()
        kept.forget(reached, newest_first=direction)
        assert len(kept.products) == 3
    kept.forget([], newest_first=True, most=1)
    assert len(kept.products) == 1


def test_an_archive_may_have_a_product_twice() -> None:
    seen = Seen()
    seen.add(b"xxxxx", ["a"], None)
    assert not seen.had(b"xxxxx", "a")
    assert seen.had(b"xxxxx", "b")
    assert not seen.had(b"xxxxx", "b")
    seen.add(b"xxxxx", ["a"], None)
    assert seen.had(b"xxxxx", "b")


def test_kept_pages_make_room_and_grow_old() -> None:
    def answer(size: int) -> Answer:
        return Answer(200, b"x" * size, "http://127.0.0.1/", httpx.Headers())

    kept = KeptPages(most_bytes=100)
    for name in "abcde":
        kept.put("p", name, answer(25))
    assert [name for name in "abcde" if kept.get("p", name) is not None] == list("bcde")
    kept.put("p", "large", answer(26))
    assert kept.get("p", "large") is None
    assert kept.get("q", "b") is None
    old = KeptPages(fresh=-1)
    old.put("p", "a", answer(1))
    assert old.get("p", "a") is None


def test_next_links_are_read_as_the_specification_says() -> None:
    last = Request("POST", "https://a.eu/search", {"limit": 5, "bbox": [1, 2, 3, 4]})

    def link(**members: Any) -> Request | None:
        page = {"links": [{"rel": "self", "href": "x"}, 5, {"rel": "next", **members}]}
        return following(page, last, "https://a.eu/v1/search")

    assert link(href="search?token=2") == Request("GET", "https://a.eu/v1/search?token=2")
    assert link(href="/s", method="post", body={"token": 1}) == Request(
        "POST", "https://a.eu/s", {"token": 1}
    )
    assert link(href="/s", method="POST", merge=True, body={"token": 1}) == Request(
        "POST", "https://a.eu/s", {"limit": 5, "bbox": [1, 2, 3, 4], "token": 1}
    )
    found = link(href="/s", headers={"Host": "evil", "Prefer": "x", "Search-After": "a\r\nHost: b"})
    assert found is not None
    assert found.headers == {"Prefer": "x"}
    assert link() is None
    assert link(href="http://[") is not None, "refused when it is asked, with a sentence"
    assert following({"links": "none"}, last, "https://a.eu/") is None
