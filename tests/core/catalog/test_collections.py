"""The list of all collections: whose they are, what is shown, what happens when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cscale_core.catalog import collections as module
from cscale_core.catalog.collections import Collections
from cscale_core.catalog.federation import Federation
from cscale_core.errors import NotFound, UpstreamError
from cscale_core.http import guarded_client
from cscale_core.site import Site

Listing = Callable[..., Any]


def collection(name: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": name,
        "stac_version": "1.1.0",
        "description": f"About {name}",
        "license": "CC-BY-4.0",
        "extent": {
            "spatial": {"bbox": [[-10, 35, 30, 60]]},
            "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
        },
        "links": [],
        **members,
    }


class Api:
    """A STAC API that has collections, in pages."""

    def __init__(self, *collections: Any, size: int = 100, **queryables: Any) -> None:
        self.collections = list(collections)
        self.size = size
        self.queryables = queryables
        self.status = 200
        self.delay = 0.0
        self.listed = 0
        self.loop = False

    def app(self) -> Starlette:
        async def many(request: Request) -> Response:
            self.listed += 1
            await asyncio.sleep(self.delay)
            at = int(request.query_params.get("at", 0))
            following = 0 if self.loop else at + self.size
            links = []
            if following < len(self.collections):
                links = [{"rel": "next", "href": f"collections?at={following}"}]
            page = self.collections[at : at + self.size]
            return JSONResponse({"collections": page, "links": links}, status_code=self.status)

        async def one(request: Request) -> Response:
            name = unquote(request.path_params["name"])
            found = [each for each in self.collections if each["id"] == name]
            return JSONResponse(found[0] if found else {}, status_code=200 if found else 404)

        async def some(request: Request) -> Response:
            name = request.path_params.get("name", "all")
            if name not in self.queryables:
                return JSONResponse({}, status_code=404)
            return JSONResponse({"properties": self.queryables[name]})

        return Starlette(
            routes=[
                Route("/collections", many),
                Route("/collections/{name}/queryables", some),
                Route("/collections/{name}", one),
                Route("/queryables", some),
            ]
        )


@pytest.fixture
def listing_of(make_site: Callable[..., Site]) -> Listing:
    @asynccontextmanager
    async def make(urls: dict[str, str], **extra: Any) -> AsyncIterator[Collections]:
        site = make_site(
            providers=[
                {"id": name, "title": name.upper(), "url": url, "deadline": 2.0, **extra}
                for name, url in urls.items()
            ]
        )
        async with guarded_client(site) as http:
            yield Collections(Federation(site, http, None))

    return make


async def test_collections_are_named_after_their_provider_and_every_page_is_read(
    serve: Any, listing_of: Listing
) -> None:
    a = Api(*(collection(f"c{n}") for n in range(5)), size=2)
    b = Api(collection("c1"), collection("urn:eop:VITO:x|y"))
    async with listing_of({"a": serve(a.app()), "b": serve(b.app())}) as collections:
        found = await collections.list()
        assert [each.id for each in found.collections] == [
            *(f"a|c{n}" for n in range(5)),
            "b|c1",
            "b|urn:eop:VITO:x|y",
        ]
        assert found.complete
        assert [(each.id, each.status, each.returned) for each in found.providers] == [
            ("a", "ok", 5),
            ("b", "ok", 2),
        ]
        first = found.collections[0]
        assert (first.provider, first.provider_title, first.own_id) == ("a", "A", "c0")
        assert first.bbox == [[-10, 35, 30, 60]]
        assert first.interval == [["2015-06-23T00:00:00Z", None]]
        assert (first.description, first.licence) == ("About c0", "CC-BY-4.0")
        document = await collections.get("b|urn:eop:VITO:x|y")
        assert document["id"] == "b|urn:eop:VITO:x|y"
        assert document["cscale:provider"] == "b"
        documents, reports = await collections.documents()
        assert [each["id"] for each in documents] == [each.id for each in found.collections]
        assert len(reports) == 2
    assert (a.listed, b.listed) == (3, 1), "what was read is kept"


async def test_a_provider_that_fails_is_told_and_what_it_had_stays_stale(
    serve: Any, listing_of: Listing, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(module, "FRESH", 0.0)
    monkeypatch.setattr(module, "AFTER_FAILURE", 0.0)
    a = Api(collection("c"))
    urls = {"a": serve(a.app()), "dead": f"http://127.0.0.1:{free_port}"}
    async with listing_of(urls) as collections:
        found = await collections.list()
        assert [each.status for each in found.providers] == ["ok", "error"]
        assert "cannot be reached" in found.providers[1].error
        assert not found.complete
        a.status = 500
        found = await collections.list()
        assert [(each.id, each.stale) for each in found.collections] == [("a|c", True)]
        assert found.providers[0].status == "error"
        assert found.providers[0].returned == 1
        a.status, a.delay = 200, 6.0
        found = await collections.list()
        assert found.providers[0].status == "timeout"
        assert found.collections[0].stale
        a.delay = 0.0
        found = await collections.list()
        assert [(each.id, each.stale) for each in found.collections] == [("a|c", False)]
        with pytest.raises(UpstreamError):
            await collections.get("dead|c")


async def test_a_failure_is_not_asked_about_with_every_question(
    serve: Any, listing_of: Listing
) -> None:
    a = Api(collection("c"))
    a.status = 503
    async with listing_of({"a": serve(a.app())}) as collections:
        await asyncio.gather(*(collections.list() for _ in range(5)))
        await collections.list()
        assert a.listed == 1
        assert (await collections.get("a|c"))["id"] == "a|c", "one collection may still answer"


async def test_names_that_lead_nowhere_are_told(serve: Any, listing_of: Listing) -> None:
    async with listing_of({"a": serve(Api(collection("c")).app())}) as collections:
        for name in ("a|x", "x|c", "c", "a|", "|", ""):
            with pytest.raises(NotFound):
                await collections.get(name)


async def test_untrusted_documents_are_checked_and_shown_as_text(
    serve: Any, listing_of: Listing
) -> None:
    odd = collection(
        "s2",
        title="Sentinel-2 <script>alert(1)</script>",
        description="A <b>bold</b>\u0000 claim",
        license=7,
        keywords=["x", 3, None],
        extent={"spatial": {"bbox": [[1, 2], "x", [1, 2, 3, 4, 5, 6]]}, "temporal": None},
        summaries={"platform": ["sentinel-2a", 4], "constellation": "Sentinel-2"},
    )
    api = Api(odd, "no", {"type": "Collection"}, {"type": "Catalog", "id": "cat"}, collection("x"))
    async with listing_of({"a": serve(api.app())}) as collections:
        found = await collections.list()
    first = found.collections[0]
    assert "<" not in first.title + first.description
    assert "\u0000" not in first.description
    assert first.bbox == [[1, 2, 4, 5]]
    assert (first.interval, first.licence, first.keywords) == ([], "", ["x"])
    assert (first.mission, first.platforms) == ("Sentinel-2", ["sentinel-2a"])
    assert [each.own_id for each in found.collections] == ["s2", "x"]
    assert "3 that are no collections" in found.providers[0].note


@pytest.mark.parametrize(
    ("name", "mission"),
    [
        ("sentinel-2-l2a", "Sentinel-2"),
        ("SENTINEL1_GRD", "Sentinel-1"),
        ("sentinel-5p-l2-no2", "Sentinel-5P"),
        ("landsat-c2-l2", "Landsat"),
        ("cop-dem-glo-30", "Copernicus DEM"),
        ("clms_ndvi", "CLMS"),
        ("something", ""),
    ],
)
async def test_collections_are_grouped_by_mission(
    name: str, mission: str, serve: Any, listing_of: Listing
) -> None:
    async with listing_of({"a": serve(Api(collection(name)).app())}) as collections:
        assert (await collections.list()).collections[0].mission == mission


async def test_a_list_without_an_end_is_cut(serve: Any, listing_of: Listing) -> None:
    api = Api(collection("c"), collection("d"), size=1)
    api.loop = True
    async with listing_of({"a": serve(api.app())}) as collections:
        found = await collections.list()
    assert api.listed < 5
    assert "no end" in found.providers[0].note


async def test_collections_of_a_static_catalogue_are_its_children(
    serve: Any, listing_of: Listing
) -> None:
    async def catalogue(_: Request) -> Response:
        links = [{"rel": "child", "href": f"./{name}/collection.json"} for name in ("one", "gone")]
        return JSONResponse({"type": "Catalog", "id": "root", "links": links})

    async def child(_: Request) -> Response:
        return JSONResponse(collection("one"))

    routes = [Route("/catalog.json", catalogue), Route("/one/collection.json", child)]
    url = serve(Starlette(routes=routes)) + "/catalog.json"
    async with listing_of({"files": url}, kind="static") as collections:
        found = await collections.list()
        assert [each.id for each in found.collections] == ["files|one"]
        assert "404" in found.providers[0].note
        assert (await collections.queryables("files|one"))["properties"] == {}


async def test_queryables_of_one_and_of_all_with_who_has_them(
    serve: Any, listing_of: Listing
) -> None:
    cloud, number = {"eo:cloud_cover": {"type": "number"}}, {"gsd": {"type": "number"}}
    a = Api(collection("c"), c=cloud, all=cloud | number)
    b = Api(collection("d"), all=cloud)
    silent = Api(collection("e"))
    urls = {"a": serve(a.app()), "b": serve(b.app()), "silent": serve(silent.app())}
    async with listing_of(urls) as collections:
        own = await collections.queryables("a|c")
        assert own["properties"] == cloud
        assert own["additionalProperties"] is True
        assert (await collections.queryables("b|d"))["properties"] == cloud, "falls back to all"
        assert (await collections.queryables("silent|e"))["properties"] == {}
        everything = await collections.queryables()
        has = {key: each["cscale:providers"] for key, each in everything["properties"].items()}
        assert has == {"eo:cloud_cover": ["a", "b"], "gsd": ["a"]}
        assert everything["cscale:everywhere"] == ["eo:cloud_cover"]
        with pytest.raises(NotFound):
            await collections.queryables("nobody|c")


async def test_who_tells_no_queryables_is_not_asked_with_every_question(
    serve: Any, listing_of: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def nothing(request: Request) -> Response:
        asked.append(request.url.path)
        await asyncio.sleep(30 if "slow" in request.url.path else 0)
        return JSONResponse({}, status_code=404)

    base = serve(Starlette(routes=[Route("/{path:path}", nothing)]))
    async with listing_of({"none": f"{base}/none", "slow": f"{base}/slow"}) as collections:
        async with asyncio.timeout(15):
            for _ in range(3):
                assert (await collections.queryables())["properties"] == {}
        assert sorted(asked) == ["/none/queryables", "/slow/queryables"]
        monkeypatch.setattr(module, "_MAX_QUERYABLES", 5)
        for number in range(20):
            await collections.queryables(f"none|made-up-{number}")
        [kept] = [known for (name, _), known in collections._known.items() if name == "none"]
        assert len(kept.queryables) <= 5, "names that do not exist do not fill the memory"
