"""A search as one provider takes it: first request, next links, and what is left to do here.

Rules: STAC API Item Search 1.0 ("Query Parameter Table", "Paging") and its extensions Filter, Sort
and Fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urljoin

from cscale_core.catalog.capabilities import Capabilities
from cscale_core.catalog.fields import to_ask
from cscale_core.catalog.query import SearchQuery, SortKey

Method = Literal["GET", "POST"]

# What a next link may ask to be sent along; anything else (Host, Cookie, ...) is left out.
_LINK_HEADERS = frozenset({"accept", "prefer", "search-after"})
_NEWEST_FIRST = SortKey(field="datetime", direction="desc")
_CLOUD = "eo:cloud_cover"
_CLOUDS = frozenset((_CLOUD,))
_NOT_PROPERTIES = frozenset(("id", "collection", "geometry", "bbox", "type"))


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a page of a search."""

    method: Method
    url: str
    body: dict[str, Any] | None = None
    params: dict[str, str] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for the same request."""
        parts = [self.method, self.url, self.body, self.params, self.headers]
        return json.dumps(parts, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Condition:
    """The filter of a question, the cloud cover in it, in both forms of CQL2."""

    json: dict[str, Any]
    text: str | None
    """None where the text form cannot say it."""
    properties: frozenset[str]


@dataclass(frozen=True, slots=True)
class Extras:
    """The parts of a question that only some providers take."""

    filter: Condition | None
    sortby: tuple[SortKey, ...]
    fields: dict[str, list[str]] | None

    def offered(self, capabilities: Capabilities) -> Extras:
        """Those of them that a provider says it takes and has not refused before."""
        takes_filter = capabilities.filter_json or (
            capabilities.filter_text and self.filter is not None and self.filter.text is not None
        )

        def taken(part: str, offered: bool) -> bool:
            return offered and self.name(part) not in capabilities.refused

        return Extras(
            filter=self.filter if taken("filter", takes_filter) else None,
            sortby=self.sortby if taken("sortby", capabilities.sort) else (),
            fields=self.fields if taken("fields", capabilities.fields) else None,
        )

    def name(self, part: str) -> str:
        """What is remembered when a provider refuses this part of this question."""
        if part == "filter" and self.filter is not None:
            return f"filter {json.dumps(self.filter.json, sort_keys=True)}"
        if part == "sortby":
            return "sortby " + ",".join(map(str, self.sortby))
        return part

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what is there; what is easiest to do here comes first."""
        return tuple(part for part in ("fields", "sortby", "filter") if getattr(self, part))

    def without(self, part: str) -> Extras:
        """The same without one part."""
        return Extras(
            filter=None if part == "filter" else self.filter,
            sortby=() if part == "sortby" else self.sortby,
            fields=None if part == "fields" else self.fields,
        )


def order_of(query: SearchQuery) -> tuple[SortKey, ...]:
    """The order asked for; newest first when none is."""
    return tuple(query.sortby) or (_NEWEST_FIRST,)


def condition_of(query: SearchQuery) -> Condition | None:
    """The whole condition of a question; ``max_cloud_cover`` is ``eo:cloud_cover <= n``."""
    given = query.condition
    cover = query.max_cloud_cover
    clear = {"op": "<=", "args": [{"property": _CLOUD}, cover]}
    if given is None:
        return Condition(clear, f"{_CLOUD} <= {cover}", _CLOUDS) if cover is not None else None
    properties = frozenset(given.properties())
    text = given.as_text()
    if cover is None:
        return Condition(given.as_json(), text, properties)
    both = {"op": "and", "args": [given.as_json(), clear]}
    joined = None if text is None else f"({text}) AND {_CLOUD} <= {cover}"
    return Condition(both, joined, properties | _CLOUDS)


def extras_of(query: SearchQuery) -> Extras:
    """What a question holds beside the plain parameters."""
    condition = condition_of(query)
    checked = sorted(condition.properties) if condition is not None else ()
    return Extras(filter=condition, sortby=order_of(query), fields=to_ask(query, checked))


def first(
    query: SearchQuery, extras: Extras, capabilities: Capabilities, method: Method, size: int
) -> Request:
    """The request for the first page."""
    body = query.body(size)
    if extras.filter is not None:
        text = extras.filter.text
        language = capabilities.language(method) if text is not None else "cql2-json"
        body["filter-lang"] = language
        body["filter"] = extras.filter.json if language == "cql2-json" else text
    if extras.sortby:
        body["sortby"] = [
            {"field": _wire_name(key.field), "direction": key.direction} for key in extras.sortby
        ]
    if extras.fields is not None:
        body["fields"] = extras.fields
    if method == "POST":
        return Request("POST", capabilities.search, body)
    return Request("GET", capabilities.search, params=_parameters(body))


def _wire_name(member: str) -> str:
    return member if member in _NOT_PROPERTIES else f"properties.{member}"


def _parameters(body: Mapping[str, Any]) -> dict[str, str]:
    """The same search as GET parameters."""
    parameters: dict[str, str] = {}
    for name, value in body.items():
        if name == "sortby":
            parameters[name] = ",".join(
                ("-" if key["direction"] == "desc" else "+") + key["field"] for key in value
            )
        elif name == "fields":
            left_out = [f"-{member}" for member in value["exclude"]]
            parameters[name] = ",".join([*value["include"], *left_out])
        elif isinstance(value, dict):
            parameters[name] = json.dumps(value, separators=(",", ":"))
        elif isinstance(value, list):
            parameters[name] = ",".join(str(part) for part in value)
        else:
            parameters[name] = str(value)
    return parameters


def following(page: Mapping[str, Any], last: Request, page_url: str) -> Request | None:
    """The request for the page after this one, by its ``next`` link; None when there is none."""
    links = page.get("links")
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict) or link.get("rel") != "next" or not link.get("href"):
            continue
        try:
            url = urljoin(page_url, str(link["href"]))
        except ValueError:
            # An address that cannot be read is refused, with a sentence, when it is asked.
            url = str(link["href"])
        raw = link.get("headers")
        headers = {
            str(name): str(value)
            for name, value in (raw.items() if isinstance(raw, dict) else ())
            if str(name).lower() in _LINK_HEADERS and not {"\n", "\r"} & set(str(value))
        }
        if str(link.get("method", "GET")).upper() == "POST":
            given = link.get("body")
            body: dict[str, Any] = given if isinstance(given, dict) else {}
            if link.get("merge"):
                body = {**(last.body or {}), **body}
            return Request("POST", url, body, headers=headers)
        return Request("GET", url, headers=headers)
    return None


def matched(page: Mapping[str, Any]) -> int | None:
    """How many items there are in all, as the provider counts; None when it does not tell."""
    context = page.get("context")
    for value in (
        page.get("numberMatched"),
        context.get("matched") if isinstance(context, dict) else None,
    ):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None
