"""Archives that misbehave: the page comes all the same, and says which of them did what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.core.catalog.doubles import CORE, Behaviour, Doubles, make_item, running


@pytest.fixture
def doubles() -> Iterator[tuple[Doubles, str]]:
    app = Doubles()
    with running(app) as root:
        yield app, root


def days(prefix: str, first: int, last: int) -> list[dict[str, Any]]:
    return [make_item(f"{prefix}{n:02d}", f"2024-05-{n:02d}T10:00:00Z") for n in range(first, last)]


def test_every_page_comes_and_every_failure_is_named(
    launch: Callable[..., Any], made: SimpleNamespace, doubles: Any
) -> None:
    app, root = doubles
    app.archives |= {
        "good": Behaviour(items=days("g", 1, 21), largest_page=6),
        "getonly": Behaviour(items=days("o", 1, 16), post=405, largest_page=4),
        "lax": Behaviour(items=days("l", 1, 6), conforms_to=CORE, ignores=frozenset({"datetime"})),
        "invalid": Behaviour(
            items=["text", None, {"properties": {"datetime": "2024-05-03"}}, *days("i", 1, 4)]
        ),
        "late": Behaviour(items=days("t", 1, 5), hangs={0}),
        "broken": Behaviour(items=days("b", 1, 5), fails=dict.fromkeys(range(9), 99)),
    }
    providers = [
        made.provider(name, f"{root}/{name}", deadline=2 if name == "late" else 10)
        for name in app.archives
    ]
    service = launch(providers)
    asked = {"datetime": "2024-05-02T00:00:00Z/..", "limit": 10}
    answer = service.post(**asked)
    found: list[str] = []
    statuses: dict[str, str] = {}
    for _ in range(30):
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += made.ids(page)
        failed = {each["id"]: each["status"] for each in page["mqs:providers"] if each["error"]}
        statuses = failed | statuses
        assert page["mqs:complete"] is not bool(
            [each for each in page["mqs:providers"] if each["status"] in ("error", "timeout")]
        )
        following = made.links(page, "next")
        if not following:
            break
        answer = service.http.post(following[0]["href"], json=following[0]["body"])
    assert len(found) == len(set(found))
    expected = [f"g{n:02d}" for n in range(2, 21)] + [f"o{n:02d}" for n in range(2, 16)]
    expected += [f"l{n:02d}" for n in range(2, 6)] + [f"i{n:02d}" for n in range(2, 4)]
    assert sorted(found) == sorted(expected)
    assert statuses == {"late": "timeout", "broken": "error"}


def test_one_product_in_two_archives_is_one_item_with_its_mirror(
    launch: Callable[..., Any], doubles: Any, made: SimpleNamespace
) -> None:
    app, root = doubles
    name = "S2B_MSIL2A_20240504T100559_N0510_R022_T33TUM_20240504T134210"
    app.archives |= {
        "near": Behaviour(items=[make_item(name, "2024-05-04T10:05:59Z")]),
        "far": Behaviour(items=[make_item(f"{name}.SAFE", "2024-05-04T10:05:59Z")]),
    }
    service = launch([made.provider(name, f"{root}/{name}") for name in app.archives])
    [found] = service.search()["features"]
    assert found["collection"] == "near|s2"
    assert [each["provider"] for each in found["cscale:mirrors"]] == ["far"]
    assert "far" in found["assets"]["B04"]["alternate"]
    [alone] = service.search(collections=["far|s2"])["features"]
    assert alone["collection"] == "far|s2"
