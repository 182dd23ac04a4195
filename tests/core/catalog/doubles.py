"""A STAC API that behaves as real ones are known to: well, slowly, oddly, or not at all.

One server answers for many archives, each below a path of its own; what each one does is set by
its :class:`Behaviour`, at any time. The search itself is done properly (area, time, ids,
collections, CQL2, order, fields), so that a client that is told less than it asked for must notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from cql2 import Expr

from tests.waiting import until

Item = dict[str, Any]

CORE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
)
SORT = "https://api.stacspec.org/v1.0.0/item-search#sort"
FIELDS = "https://api.stacspec.org/v1.0.0/item-search#fields"
FILTER = (
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
)
CQL2_JSON = "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json"
CQL2_TEXT = "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text"
EVERYTHING = (*CORE, SORT, FIELDS, *FILTER, CQL2_JSON, CQL2_TEXT)
_PLAIN = {"limit", "bbox", "intersects", "datetime", "collections", "ids"}
_EXTENSIONS = {"filter", "filter-lang", "sortby", "fields"}


def make_item(name: str, moment: str | None, *, lon: float = 10.0, **members: Any) -> Item:
    """A valid item; ``properties`` among the members are added to the time."""
    properties = {"datetime": moment, **members.pop("properties", {})}
    ring = [[lon, 45], [lon + 1, 45], [lon + 1, 46], [lon, 46], [lon, 45]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": "s2",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [lon, 45, lon + 1, 46],
        "properties": properties,
        "links": [],
        "assets": {"B04": {"href": f"https://data.example.eu/{name}/B04.tif"}},
        **members,
    }


@dataclass
class Behaviour:
    """What one archive holds and how it answers."""

    items: list[Any] = field(default_factory=list)
    conforms_to: tuple[str, ...] = EVERYTHING
    largest_page: int = 100
    latency: float = 0.0
    """Seconds before every answer."""
    post: int = 200
    """The status of every POST; 200: it is answered."""
    paging: str = "post merge"
    """``post merge``, ``post whole``, ``get``, ``relative``, ``header``, ``loop``, ``circle``,
    ``endless`` (new links, the same items), ``empty`` (new links, no items), ``overlap``."""
    fails: dict[int, int] = field(default_factory=dict)
    """How often the page with this number (from 0) is answered by status 503."""
    hangs: set[int] = field(default_factory=set)
    """Pages that are never answered."""
    ignores: frozenset[str] = frozenset()
    """Parameters that are taken and not used."""
    strict: bool = False
    """Whether parameters of extensions that it does not state are answered by status 400."""
    refuses: frozenset[str] = frozenset()
    """Parameters that are answered by status 400 although it states them."""
    own_order: bool = False
    """Whether items come as they are listed, whatever is asked."""
    nulls_first: bool = False
    matched: str = "right"
    """``right``, ``absent``, ``context`` or a number."""
    landing: int = 200
    aggregate: Any = None
    """What is answered to every question for an aggregation; None: status 404."""
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """What came in: method, path, parameters."""

    @property
    def searches(self) -> list[dict[str, Any]]:
        """The parameters of all searches."""
        return [asked for _, path, asked in self.asked if path.endswith("/search")]


class Doubles:
    """The ASGI application; ``archives`` are their behaviours by name."""

    def __init__(self) -> None:
        self.archives: dict[str, Behaviour] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        _, name, *rest = scope["path"].split("/")
        archive = self.archives[name]
        path = "/" + "/".join(rest)
        given: dict[str, Any] = dict(parse_qsl(scope["query_string"].decode()))
        if scope["method"] == "POST":
            given = json.loads(body or b"{}")
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        given |= {"token": headers["search-after"]} if "search-after" in headers else {}
        archive.asked.append((scope["method"], path, given))
        if archive.latency:
            await asyncio.sleep(archive.latency)
        root = f"http://{headers['host']}/{name}"
        status, answer = await self._answer(archive, scope["method"], path, given, root)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/geo+json"),
                    (b"content-length", str(len(data)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": data})

    async def _answer(
        self, archive: Behaviour, method: str, path: str, given: dict[str, Any], root: str
    ) -> tuple[int, Any]:
        if path in ("/", ""):
            return archive.landing, _landing(archive, root)
        if path.startswith("/collections/"):
            *_, collection, _, name = path.split("/")
            for item in archive.items:
                if isinstance(item, dict) and item.get("id") == name:
                    same = item.get("collection") == collection
                    return (200, item) if same else (404, {"code": "NotFound"})
            return 404, {"code": "NotFound"}
        if path == "/aggregate" and archive.aggregate is not None:
            return 200, archive.aggregate
        if path != "/search":
            return 404, {}
        if method == "POST" and archive.post != 200:
            return archive.post, {"code": "no POST here"}
        stated = {
            name
            for name, needed in (("filter", FILTER[0]), ("sortby", SORT), ("fields", FIELDS))
            if needed in archive.conforms_to
        }
        stated |= {"filter-lang"} & {f"{name}-lang" for name in stated}
        unknown = set(given) - _PLAIN - stated - {"token", "page"}
        refused = (archive.refuses | (unknown if archive.strict else set())) & set(given)
        if refused:
            return 400, {"description": f"{sorted(refused)} not known here"}
        return await self._page(archive, method, given, root)

    async def _page(
        self, archive: Behaviour, method: str, given: dict[str, Any], root: str
    ) -> tuple[int, Any]:
        limit = min(int(given.get("limit", 10)), archive.largest_page)
        start, number = 0, 0
        if "token" in given:
            start, number, limit = (int(part) for part in str(given["token"]).split("-"))
        if number in archive.hangs:
            await asyncio.sleep(3600)
        if archive.fails.get(number, 0) > 0:
            archive.fails[number] -= 1
            return 503, {"description": "out of order"}
        asked = {name: value for name, value in given.items() if name not in archive.ignores}
        found = _found(archive, asked)
        features = found[start : start + limit]
        if archive.paging == "empty" and number:
            features = []
        if archive.paging == "endless":
            features = found[:limit]
        if fields := asked.get("fields"):
            features = [_with_fields(item, fields) for item in features]
        step = max(limit - 2, 1) if archive.paging == "overlap" else limit
        token = f"{start + step}-{number + 1}-{limit}"
        page: dict[str, Any] = {"type": "FeatureCollection", "features": features, "links": []}
        unending = archive.paging in ("loop", "circle", "endless", "empty")
        if start + limit < len(found) or unending:
            if archive.paging == "circle" and number:
                token = f"0-0-{limit}"
            if archive.paging == "loop" and number:
                token = str(given["token"])
            page["links"] = [_next(archive, method, given, token, root)]
        if archive.matched == "right":
            page["numberMatched"] = len(found)
        elif archive.matched == "context":
            page["context"] = {"matched": len(found)}
        elif archive.matched != "absent":
            page["numberMatched"] = int(archive.matched)
        return 200, page


def _landing(archive: Behaviour, root: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "id": "double",
        "description": "a double",
        "stac_version": "1.0.0",
        "conformsTo": list(archive.conforms_to),
        "links": [
            {"rel": "self", "href": root},
            {"rel": "search", "href": f"{root}/search", "type": "application/geo+json"},
            {
                "rel": "search",
                "href": f"{root}/search",
                "type": "application/geo+json",
                "method": "POST",
            },
        ],
    }


def _next(
    archive: Behaviour, method: str, given: dict[str, Any], token: str, root: str
) -> dict[str, Any]:
    link: dict[str, Any] = {"rel": "next", "href": f"{root}/search"}
    if archive.paging == "header" and method == "POST":
        return {**link, "method": method, "merge": True, "headers": {"Search-After": token}}
    if method == "GET" or archive.paging == "get":
        # In this direction everything can be written into one address.
        flat = {
            name: value if isinstance(value, str) else _flat(value) for name, value in given.items()
        }
        if archive.paging == "header":
            flat.pop("token", None)
            query = urlencode(flat)
            return {**link, "href": f"{root}/search?{query}", "headers": {"Search-After": token}}
        return {**link, "href": f"{root}/search?{urlencode({**flat, 'token': token})}"}
    link["method"] = "POST"
    if archive.paging == "relative":
        link["href"] = "search"
    if archive.paging == "post whole":
        return {**link, "body": {**given, "token": token}}
    return {**link, "merge": True, "body": {"token": token}}


def _flat(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ",".join(
            ("-" if key["direction"] == "desc" else "+") + key["field"] for key in value
        )
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _listed(value: Any) -> list[Any]:
    return value.split(",") if isinstance(value, str) else list(value or [])


def _found(archive: Behaviour, asked: dict[str, Any]) -> list[Any]:
    found = [item for item in archive.items if not isinstance(item, dict) or _matches(item, asked)]
    if archive.own_order:
        return found
    keys = [("datetime", True)]
    if "sortby" in asked and SORT in archive.conforms_to:
        keys = []
        for key in _listed(asked["sortby"]):
            text = key if isinstance(key, str) else None
            name = text.lstrip("+- ") if text is not None else key["field"]
            down = text.startswith("-") if text is not None else key["direction"] == "desc"
            keys.append((name.removeprefix("properties."), down))
    for name, down in reversed(keys):
        known = [item for item in found if _sortable(item, name) is not None]
        nulls = [item for item in found if _sortable(item, name) is None]
        known.sort(key=lambda item, name=name: _sortable(item, name), reverse=down)  # type: ignore[misc]
        found = [*nulls, *known] if archive.nulls_first else [*known, *nulls]
    return found


def _sortable(item: Any, name: str) -> Any:
    if not isinstance(item, dict):
        return None
    return item.get(name) if name in ("id", "collection") else item.get("properties", {}).get(name)


def _matches(item: Item, asked: dict[str, Any]) -> bool:
    if "filter" in asked:
        given = asked["filter"]
        try:
            if not Expr(given if isinstance(given, dict) else _maybe_json(given)).matches(item):
                return False
        except Exception:
            # A property that is not there: neither true nor false, so it does not match.
            return False
    if (ids := _listed(asked.get("ids"))) and item.get("id") not in ids:
        return False
    if (names := _listed(asked.get("collections"))) and item.get("collection") not in names:
        return False
    if "bbox" in asked:
        west, south, east, north = map(float, _listed(asked["bbox"]))
        left, low, right, high = item["bbox"]
        if west > right or east < left or south > high or north < low:
            return False
    if "datetime" in asked:
        begin, _, end = str(asked["datetime"]).partition("/")
        moment = item["properties"].get("datetime")
        if moment is None or (begin != ".." and moment < begin[:19]):
            return False
        if end not in ("", "..") and moment > end:
            return False
    return True


def _maybe_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _with_fields(item: Any, fields: Any) -> Any:
    if isinstance(fields, str):
        names = fields.split(",")
        fields = {
            "include": [name.lstrip("+ ") for name in names if name[0] != "-"],
            "exclude": [name[1:] for name in names if name[0] == "-"],
        }
    include, exclude = fields.get("include") or [], fields.get("exclude") or []
    kept = {name: value for name, value in item.items() if name not in exclude}
    if not include:
        return kept
    whole = {name for name in include if "." not in name} | {"id", "type", "collection"}
    kept = {name: value for name, value in kept.items() if name in whole}
    parts = [name.partition(".")[2] for name in include if name.startswith("properties.")]
    if "properties" not in whole:
        kept["properties"] = {
            name: value for name, value in item["properties"].items() if name in parts
        }
    return kept


class _Quiet(uvicorn.Server):
    """Without handlers of signals, which belong to the main thread."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def running(application: Callable[..., Any], *, lifespan: bool = False) -> Iterator[str]:
    """Serve an ASGI application from a thread; gives its base URL."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        log_level="error",
        lifespan="on" if lifespan else "off",
        timeout_graceful_shutdown=1,
    )
    server = _Quiet(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the double", pause=0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
