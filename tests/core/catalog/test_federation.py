"""The federated search against small STAC APIs that behave as real ones are known to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cscale_core.catalog.federation import Federation, SearchResult
from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import InvalidInput
from cscale_core.http import guarded_client
from cscale_core.site import Site

Handler = Callable[[Request], Any]


def item(name: str, day: str | None, *, lon: float = 10.0, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "s2",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[lon, 45], [lon + 1, 45], [lon + 1, 46], [lon, 46], [lon, 45]]],
        },
        "bbox": [lon, 45, lon + 1, 46],
        "properties": {"datetime": f"{day}T10:00:00Z" if day else None, **properties},
        "links": [],
        "assets": {"B04": {"href": f"https://data.example.eu/{name}/B04.tif"}},
    }


SORTS = "https://api.stacspec.org/v1.0.0/item-search#sort"


def api(
    post: Handler, get: Handler | None = None, *, conforms_to: tuple[str, ...] = ()
) -> Starlette:
    async def landing(_: Request) -> Response:
        return JSONResponse({"conformsTo": list(conforms_to), "links": []})

    async def search(request: Request) -> Response:
        if request.method == "POST":
            return await post(request)
        assert get is not None
        return await get(request)

    methods = ["POST", "GET"] if get else ["POST"]
    return Starlette(routes=[Route("/", landing), Route("/search", search, methods=methods)])


def answering(*items: Any, **members: Any) -> Starlette:
    async def search(_: Request) -> Response:
        return JSONResponse({"type": "FeatureCollection", "features": list(items), **members})

    return api(search)


@pytest.fixture
def site_of(make_site: Callable[..., Site]) -> Callable[..., Site]:
    def make(urls: dict[str, str], allowed: tuple[str, ...] = (), **extra: Any) -> Site:
        return make_site(
            providers=[
                {"id": name, "title": f"Archive {name}", "url": url, "deadline": 3.0, **extra}
                for name, url in urls.items()
            ],
            allowed_hosts=allowed,
        )

    return make


async def search(site: Site, tokens: Any = None, **query: Any) -> SearchResult:
    async with guarded_client(site) as http:
        return await Federation(site, http, tokens).search(SearchQuery(**query))


def ids(result: SearchResult) -> list[str]:
    return [found["id"] for found in result.items]


async def test_results_of_all_providers_are_merged_newest_first_with_undated_last(
    serve: Any, site_of: Any
) -> None:
    site = site_of(
        {
            "a": serve(
                answering(
                    item("old", "2024-01-01"), item("undated", None), item("same-a", "2024-02-01")
                )
            ),
            "b": serve(answering(item("new", "2024-03-01"), item("same-b", "2024-02-01"))),
        }
    )
    result = await search(site)
    assert ids(result) == ["new", "same-a", "same-b", "old", "undated"]
    assert [found["cscale:provider"] for found in result.items] == ["b", "a", "b", "a", "a"]
    assert [(r.id, r.status, r.returned) for r in result.providers] == [
        ("a", "ok", 3),
        ("b", "ok", 2),
    ]
    assert result.complete


async def test_a_dead_provider_is_reported_in_a_sentence_and_the_others_answer(
    serve: Any, site_of: Any, free_port: int
) -> None:
    site = site_of(
        {"dead": f"http://127.0.0.1:{free_port}", "b": serve(answering(item("x", "2024-01-01")))}
    )
    result = await search(site)
    assert ids(result) == ["x"]
    dead = result.providers[0]
    assert dead.status == "error"
    assert "cannot be reached" in dead.error
    assert not result.complete


async def test_a_hanging_provider_times_out_while_the_others_do_not_wait_for_it_in_turn(
    serve: Any, site_of: Any
) -> None:
    async def hang(_: Request) -> Response:
        await asyncio.sleep(15)
        return JSONResponse({})

    site = site_of({name: serve(api(hang)) for name in ("a", "b")}, deadline=3.0)
    begun = time.monotonic()
    result = await search(site)
    assert time.monotonic() - begun < 5.9
    assert [r.status for r in result.providers] == ["timeout", "timeout"]
    assert "within 3 seconds" in result.providers[0].error


async def test_what_came_before_a_deadline_is_kept_and_said(serve: Any, site_of: Any) -> None:
    async def first_then_hang(request: Request) -> Response:
        if (await request.json()).get("token"):
            await asyncio.sleep(8)
        link = {
            "rel": "next",
            "method": "POST",
            "href": "search",
            "merge": True,
            "body": {"token": "2"},
        }
        return JSONResponse({"features": [item("one", "2024-01-01")], "links": [link]})

    result = await search(site_of({"a": serve(api(first_then_hang))}, deadline=1.0))
    assert ids(result) == ["one"]
    assert result.providers[0].status == "timeout"
    assert "1 items came before" in result.providers[0].note


@pytest.mark.parametrize("status", [404, 405, 415, 501, 401, 403])
async def test_get_is_used_where_post_is_not_offered(serve: Any, site_of: Any, status: int) -> None:
    asked: dict[str, str] = {}

    async def no_post(_: Request) -> Response:
        return Response(status_code=status)

    async def get(request: Request) -> Response:
        asked.update(request.query_params)
        return JSONResponse({"features": [item("x", "2024-01-02")]})

    result = await search(
        site_of({"a": serve(api(no_post, get))}),
        bbox=(9, 44, 12, 47),
        datetime="2024-01-01/2024-01-31",
        collections=["s2"],
        ids=["x", "y"],
        limit=7,
    )
    assert ids(result) == ["x"]
    assert asked == {
        "limit": "100",  # it cannot sort, so it is read whole, in its own page size
        "bbox": "9.0,44.0,12.0,47.0",
        "datetime": "2024-01-01T00:00:00Z/2024-01-31T23:59:59.999999Z",
        "collections": "s2",
        "ids": "x,y",
    }


async def test_other_refusals_of_post_are_errors_and_not_asked_again_by_get(
    serve: Any, site_of: Any
) -> None:
    async def refuse(_: Request) -> Response:
        return JSONResponse({"code": "BadRequest", "description": "no such field"}, 400)

    async def get(_: Request) -> Response:
        return JSONResponse({"features": [item("unfiltered", "2024-01-02")]})

    result = await search(site_of({"a": serve(api(refuse, get))}))
    assert result.items == []
    assert result.providers[0].status == "error"
    assert "no such field" in result.providers[0].error


async def test_next_links_are_followed_by_post_merge_and_stop_at_the_limit(
    serve: Any, site_of: Any
) -> None:
    bodies: list[dict[str, Any]] = []

    async def paged(request: Request) -> Response:
        body = await request.json()
        bodies.append(body)
        page = int(body.get("token", 0))
        link = {
            "rel": "next",
            "method": "POST",
            "href": "/search",
            "merge": True,
            "body": {"token": page + 1},
            "headers": {"Host": "evil.example", "Search-After": "x"},
        }
        features = [item(f"p{page}-{n}", "2024-01-01") for n in range(2)]
        return JSONResponse({"features": features, "links": [link], "numberMatched": 100})

    site = site_of({"a": serve(api(paged, conforms_to=(SORTS,)))}, limit=2)
    result = await search(site, collections=["s2"], limit=5)
    assert len(result.items) == 5
    assert result.next
    assert [body.get("token") for body in bodies] == [None, 1, 2]
    assert all(body["collections"] == ["s2"] for body in bodies), "a merged page keeps its filters"
    assert result.providers[0].matched == 100


async def test_a_next_link_that_leads_back_ends_the_reading(serve: Any, site_of: Any) -> None:
    async def no_post(_: Request) -> Response:
        return Response(status_code=405)

    async def loop(request: Request) -> Response:
        name = request.query_params.get("token", "0")
        link = {"rel": "next", "href": str(request.url.replace(query="token=1"))}
        return JSONResponse({"features": [item(name, "2024-01-01")], "links": [link]})

    result = await search(site_of({"a": serve(api(no_post, loop))}), limit=1000)
    assert ids(result) == ["0", "1"]
    assert "leads back" in result.providers[0].note


async def test_cloud_cover_is_applied_here_and_unknown_cover_is_said(
    serve: Any, site_of: Any
) -> None:
    app = answering(
        item("clear", "2024-01-01", **{"eo:cloud_cover": 3.5}),
        item("cloudy", "2024-01-02", **{"eo:cloud_cover": 80}),
        item("unknown", "2024-01-03"),
    )
    result = await search(site_of({"a": serve(app)}), max_cloud_cover=10)
    assert ids(result) == ["clear"]
    note = result.providers[0].note
    assert "1 cloudier than asked" in note
    assert "1 without a stated cloud cover" in note


async def test_items_that_do_not_answer_the_question_are_left_out_and_said(
    serve: Any, site_of: Any
) -> None:
    app = answering(
        item("right", "2024-01-10"), item("late", "2024-05-01"), item("far", "2024-01-10", lon=100)
    )
    result = await search(site_of({"a": serve(app)}), bbox=(9, 44, 12, 47), datetime="2024-01")
    assert ids(result) == ["right"]
    assert "2 outside the question" in result.providers[0].note


async def test_an_area_outside_everything_gives_nothing_and_is_ok(serve: Any, site_of: Any) -> None:
    result = await search(
        site_of({"a": serve(answering(numberMatched=0))}), bbox=(-170, -60, -169, -59)
    )
    assert result.items == []
    assert result.providers[0].status == "ok"
    assert result.providers[0].matched == 0
    assert result.complete


async def test_invalid_items_are_counted_and_do_not_stop_the_rest(serve: Any, site_of: Any) -> None:
    app = answering(
        "text",
        None,
        {"type": "Feature", "id": "x"},
        {**item("no-geometry", "2024-01-01"), "geometry": [1, 2]},
        {**item("bad-asset", "2024-01-01"), "assets": {"B04": "x"}},
        item("good", "2024-01-01"),
        {**item("strange-time", "2024-01-01"), "properties": {"datetime": "yesterday"}},
    )
    result = await search(site_of({"a": serve(app)}))
    assert ids(result) == ["no-geometry", "bad-asset", "good", "strange-time"]
    assert [bool(found.get("cscale:repaired")) for found in result.items] == [
        *(True, True, False, False)
    ]
    assert result.providers[0].status == "ok"
    assert "not valid" in result.providers[0].note


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HTMLResponse("<h1>Maintenance</h1>"), "did not answer with JSON"),
        (JSONResponse({"detail": "<b>boom</b>"}, 500), "status 500"),
        (JSONResponse(["not", "a", "list of items"]), "list of items"),
        (Response('{"features": [' + "[" * 200_000, media_type="application/json"), "JSON"),
        (Response('{"features": [NaN]}', media_type="application/json"), "JSON"),
        (JSONResponse({}, 403), "does not let you search"),
    ],
)
async def test_nonsense_is_an_error_of_that_provider(
    serve: Any, site_of: Any, answer: Response, words: str
) -> None:
    async def nonsense(_: Request) -> Response:
        return answer

    result = await search(
        site_of({"a": serve(api(nonsense)), "b": serve(answering(item("x", "2024-01-01")))})
    )
    assert ids(result) == ["x"]
    assert result.providers[0].status == "error"
    assert words in result.providers[0].error


async def test_an_endless_answer_is_cut(serve: Any, site_of: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "cscale_core.http.fetch.__kwdefaults__",
        {
            "body": None,
            "params": None,
            "headers": None,
            "timeout": None,
            "max_bytes": 100_000,
        },
    )

    async def large(_: Request) -> Response:
        return Response(b" " * 200_000, media_type="application/json")

    result = await search(site_of({"a": serve(api(large))}))
    assert "answered with more than" in result.providers[0].error


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/search", "file:///etc/passwd"],
)
async def test_redirects_and_next_links_to_forbidden_places_are_not_followed(
    serve: Any, site_of: Any, target: str
) -> None:
    async def redirect(_: Request) -> Response:
        return RedirectResponse(target, 307)

    async def link(_: Request) -> Response:
        return JSONResponse(
            {"features": [item("x", "2024-01-01")], "links": [{"rel": "next", "href": target}]}
        )

    result = await search(site_of({"a": serve(api(redirect)), "b": serve(api(link))}))
    assert [r.status for r in result.providers] == ["error", "error"]
    assert all("asked" in r.error for r in result.providers)
    assert ids(result) == ["x"], "what came before the forbidden link is kept"


async def test_the_body_of_a_search_survives_a_redirect(serve: Any, site_of: Any) -> None:
    async def echo(request: Request) -> Response:
        body = await request.json()
        return JSONResponse({"features": [item(body["ids"][0], "2024-01-01")]})

    real = serve(api(echo))

    async def moved(_: Request) -> Response:
        return RedirectResponse(f"{real}/search", 301)

    site = site_of({"a": serve(api(moved))}, allowed=(real.removeprefix("http://"),))
    assert ids(await search(site, ids=["x"])) == ["x"]


class _Tokens:
    async def token(self, audience: str) -> str:
        return f"token-for-{audience}"


async def test_the_token_goes_to_the_provider_and_nowhere_else(serve: Any, site_of: Any) -> None:
    seen: dict[str, str | None] = {}

    async def second(request: Request) -> Response:
        seen["second"] = request.headers.get("authorization")
        return JSONResponse({"features": [item("two", "2024-01-01")]})

    other = serve(api(second))

    async def first(request: Request) -> Response:
        seen["first"] = request.headers.get("authorization")
        link = {
            "rel": "next",
            "method": "POST",
            "href": f"{other}/search",
            "headers": {"Authorization": "Bearer stolen"},
        }
        return JSONResponse({"features": [item("one", "2024-01-01")], "links": [link]})

    site = site_of(
        {"a": serve(api(first))},
        (other.removeprefix("http://"),),
        auth="bearer",
        audience="archive",
    )
    result = await search(site, _Tokens())
    assert sorted(ids(result)) == ["one", "two"]
    assert seen == {"first": "Bearer token-for-archive", "second": None}


async def test_only_the_chosen_providers_are_asked(
    serve: Any, site_of: Any, free_port: int
) -> None:
    site = site_of(
        {"a": f"http://127.0.0.1:{free_port}", "b": serve(answering(item("x", "2024-01-01")))}
    )
    result = await search(site, providers=["b"])
    assert [r.status for r in result.providers] == ["skipped", "ok"]
    assert result.complete
    with pytest.raises(InvalidInput, match="no provider 'zz'"):
        await search(site, providers=["zz"])


async def test_relative_asset_addresses_become_absolute(serve: Any, site_of: Any) -> None:
    relative = item("x", "2024-01-01")
    relative["assets"] = {
        "a": {"href": "./f/B04.tif"},
        "b": {"href": "/s3/vobucket/products/c/x/b.tif"},
    }
    relative["links"] = [{"rel": "self", "href": "https://cat.example.eu/c/items/x"}]
    result = await search(site_of({"a": serve(answering(relative))}))
    assets = result.items[0]["assets"]
    assert assets["a"]["href"] == "https://cat.example.eu/c/items/f/B04.tif"
    assert assets["b"]["href"] == "/s3/vobucket/products/c/x/b.tif"


async def test_a_name_that_resolves_to_a_private_address_is_refused_unless_allowed(
    serve: Any, site_of: Any, monkeypatch: Any
) -> None:
    url = serve(answering(item("x", "2024-01-01")))
    port = url.rsplit(":", 1)[1]

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    named = {"a": f"http://stac.example.eu:{port}"}
    refused = await search(site_of(named))
    assert refused.providers[0].status == "error"
    assert "private address" in refused.providers[0].error
    assert ids(await search(site_of(named, allowed=("stac.example.eu",)))) == ["x"]


async def test_the_client_itself_refuses_when_a_name_changes_its_meaning(
    serve: Any, site_of: Any, monkeypatch: Any
) -> None:
    port = serve(answering(item("x", "2024-01-01"))).rsplit(":", 1)[1]
    looked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["93.184.215.14"] if len(looked) % 2 else ["127.0.0.1"]

    monkeypatch.setattr("cscale_core.http._resolve", resolve)
    result = await search(site_of({"a": f"http://stac.example.eu:{port}"}))
    assert "private address" in result.providers[0].error
    assert len(looked) == 4, "the connection looked again, for the landing page and the search"


async def test_a_plain_client_is_still_guarded_by_text_and_address(
    site_of: Any, serve: Any
) -> None:
    async def redirect(_: Request) -> Response:
        return RedirectResponse("http://localhost:1/", 307)

    site = site_of({"a": serve(api(redirect))})
    async with httpx.AsyncClient(follow_redirects=True) as http:
        result = await Federation(site, http, None).search(SearchQuery())
    assert "not a service of this site" in result.providers[0].error


@pytest.mark.parametrize(
    "query",
    [
        {"bbox": (1, 2, 3)},
        {"bbox": (0, 10, 1, 5)},
        {"bbox": (0, 0, 1, float("nan"))},
        {"bbox": (0, 0, 1, 1), "intersects": {"type": "Point", "coordinates": [0, 0]}},
        {"intersects": {"type": "Nonsense"}},
        {"datetime": "2024-13-01"},
        {"datetime": "2024-02-01/2024-01-01"},
        {"datetime": "../.."},
        {"limit": 0},
        {"max_cloud_cover": 101},
        {"unknown": 1},
    ],
)
def test_questions_that_make_no_sense_are_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SearchQuery(**query)


async def test_a_box_over_the_antimeridian_finds_both_sides(serve: Any, site_of: Any) -> None:
    app = answering(
        item("east", "2024-01-01", lon=178.5),
        item("west", "2024-01-02", lon=-179.5),
        item("no", "2024-01-01"),
    )
    result = await search(site_of({"a": serve(app)}), bbox=(178, 44, -178, 47))
    assert ids(result) == ["west", "east"]
