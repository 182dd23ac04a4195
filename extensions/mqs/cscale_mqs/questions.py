"""What clients may ask, and how it becomes a question to the federation.

stac-fastapi reads the parameters of both methods; here they become one :class:`SearchQuery`. What
this service does not know is refused (OGC API - Features, requirement 8): a condition that were
left out silently would make the answer a lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import attr
from fastapi import Query
from pydantic import BaseModel, Field, ValidationError, model_validator
from stac_fastapi.api.models import (
    ItemCollectionUri,
    create_get_request_model,
    create_post_request_model,
    create_request_model,
)
from stac_fastapi.extensions import (
    CollectionSearchExtension,
    FieldsExtension,
    FreeTextExtension,
    ItemCollectionFilterExtension,
    SearchFilterExtension,
    TokenPaginationExtension,
)
from stac_fastapi.extensions.collection_search.request import BaseCollectionSearchGetRequest
from stac_fastapi.extensions.fields import FieldsConformanceClasses
from stac_fastapi.extensions.filter.client import AsyncBaseFiltersClient
from stac_fastapi.extensions.filter.request import FilterExtensionPostRequest
from stac_fastapi.extensions.free_text.free_text import FreeTextConformanceClasses
from stac_fastapi.extensions.query import QueryConformanceClasses, QueryExtension
from stac_fastapi.extensions.sort import (
    ItemCollectionSortExtension,
    SearchSortExtension,
    SortConformanceClasses,
)
from stac_fastapi.types.search import BaseSearchPostRequest, Limit
from starlette.requests import Request

from cscale_core.catalog.filter import parse_filter
from cscale_core.catalog.query import SearchQuery
from cscale_mqs.links import SEPARATOR
from cscale_mqs.problems import explain_validation, invalid

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
COLLECTIONS_PAGE = 100
"""Collections of a page when the client does not say how many."""

_SORT_CLASSES = [
    SortConformanceClasses.ITEM_SEARCH_SORT,
    "https://api.stacspec.org/v1.0.0/item-search#sort",  # the one that pystac-client looks for
]
# The Query extension's operators that say the same in CQL2.
_OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}
_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
_WILDCARD = re.compile(r"([%_\\])")
_SPELLED = {"filter_expr": "filter", "filter_lang": "filter-lang", "filter_crs": "filter-crs"}


class _FilterBody(FilterExtensionPostRequest):  # type: ignore[misc]  # stac-fastapi is not typed
    """A filter in CQL2 JSON, or in CQL2 text as pystac-client sends it."""

    filter_expr: dict[str, Any] | str | None = Field(None, alias="filter")
    filter_lang: Literal["cql2-json", "cql2-text"] | None = Field(None, alias="filter-lang")


class _SearchBody(BaseSearchPostRequest):  # type: ignore[misc]
    """A search as stac-fastapi takes it, and a refusal of what is no object at all."""

    @model_validator(mode="before")
    @classmethod
    def validate_spatial(cls, values: Any) -> Any:
        """One area at most (STAC API Item Search); in place of a check that expects an object."""
        if not isinstance(values, dict):
            raise ValueError("the body is a JSON object")
        if values.get("intersects") and values.get("bbox"):
            raise ValueError("bbox and intersects cannot be given both")
        return values


@attr.s
class _CollectionsRequest(BaseCollectionSearchGetRequest):  # type: ignore[misc]
    """Collection search, page by page."""

    limit: Annotated[Limit | None, Query(description="Collections of a page.")] = attr.ib(
        default=COLLECTIONS_PAGE
    )
    offset: Annotated[int | None, Query(ge=0, description="Collections before the page.")] = (
        attr.ib(default=None)
    )


@attr.s
class _ItemsRequest(ItemCollectionUri):  # type: ignore[misc]
    """Items of a collection, also as pystac-client asks for them: by ids, and saying again of
    which collection."""

    ids: Annotated[str | None, Query(description="Ids of items, with commas between.")] = attr.ib(
        default=None
    )
    collections: Annotated[str | None, Query(description="This collection, or nothing.")] = attr.ib(
        default=None
    )


class Requests:
    """The parameters of every route, with the extensions they come from.

    :param queryables: answers what can be filtered by.
    """

    def __init__(self, queryables: AsyncBaseFiltersClient) -> None:
        search_filter = SearchFilterExtension(client=queryables)
        search_filter.POST = _FilterBody
        item_search = [
            SearchSortExtension(conformance_classes=_SORT_CLASSES),
            FieldsExtension(),
            search_filter,
            QueryExtension(conformance_classes=[QueryConformanceClasses.SEARCH]),
            TokenPaginationExtension(),
        ]
        features = [
            ItemCollectionSortExtension(conformance_classes=[SortConformanceClasses.FEATURES_SORT]),
            FieldsExtension(conformance_classes=[FieldsConformanceClasses.ITEMS]),
            ItemCollectionFilterExtension(client=queryables),
            TokenPaginationExtension(),
        ]
        free_text = FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.COLLECTIONS])
        collections = CollectionSearchExtension.from_extensions([free_text])
        self.extensions = [*item_search, *features, collections]
        self.search_get = create_get_request_model(item_search)
        self.search_post = create_post_request_model(item_search, base_model=_SearchBody)
        self.items = create_request_model("MQSItems", base_model=_ItemsRequest, extensions=features)
        self.collections = create_request_model(
            "MQSCollections", base_model=_CollectionsRequest, extensions=[free_text]
        )


def refuse_unknown(request: Request, model: Any) -> None:
    """Refuse query parameters that the route does not have.

    :param model: one of the models of :class:`Requests`.
    :raises Problem: 400.
    """
    known = {_SPELLED.get(field.name, field.name) for field in attr.fields(model)}
    _refuse(set(request.query_params) - known)


def refuse_unknown_members(body: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Refuse members of a search body that the search does not have.

    :raises Problem: 400.
    """
    _refuse(set(body) - {_SPELLED.get(name, name) for name in model.model_fields})


def _refuse(unknown: Collection[str]) -> None:
    if unknown:
        names = ", ".join(sorted(unknown))
        raise invalid(
            f"{names}: there is no such parameter here"[:300],
            "See the description of this API, which its landing page links to.",
        )


def from_get(given: Mapping[str, Any], most: int) -> SearchQuery:
    """The question of a GET request.

    :param given: the parameters as stac-fastapi read them.
    :param most: items of a page at most.
    :raises Problem: 400.
    """
    members = {
        name: given.get(name)
        for name in ("collections", "ids", "bbox", "datetime", "intersects", "limit", "sortby")
    }
    if isinstance(members["ids"], str):
        members["ids"] = members["ids"].split(",")
    if members["intersects"]:
        members["intersects"] = _json("intersects", members["intersects"])
    if names := [name.strip() for name in given.get("fields") or () if name.strip()]:
        members["fields"] = _fields(
            [name.removeprefix("+") for name in names if name[0] != "-"],
            [name[1:] for name in names if name[0] == "-"],
        )
    expression = given.get("filter_expr")
    if expression and given.get("filter_lang") == "cql2-json":
        expression = _json("filter", expression)
    query = given.get("query")
    return _question(
        members,
        expression,
        given.get("filter_crs"),
        _json("query", query) if query else None,
        most,
    )


def from_post(model: Any, most: int) -> SearchQuery:
    """The question of a checked request body.

    :param most: items of a page at most.
    :raises Problem: 400.
    """
    members = {
        "collections": model.collections,
        "ids": model.ids,
        "bbox": model.bbox,
        "datetime": model.datetime,
        "limit": model.limit,
        "sortby": [key.model_dump(include={"field", "direction"}) for key in model.sortby or ()],
    }
    if model.intersects is not None:
        members["intersects"] = model.intersects.model_dump(mode="json", exclude_none=True)
    if model.fields is not None and (model.fields.include or model.fields.exclude):
        members["fields"] = _fields(model.fields.include or (), model.fields.exclude or ())
    return _question(members, model.filter_expr, model.filter_crs, model.query, most)


def _fields(include: Collection[str], exclude: Collection[str]) -> dict[str, list[str]]:
    """What is in both lists, or has a part of it among the included, is included (Fields 1.0)."""
    excluded = [
        name
        for name in exclude
        if not any(other == name or other.startswith(f"{name}.") for other in include)
    ]
    return {"include": sorted(include), "exclude": sorted(excluded)}


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{name}: this is not JSON") from error


def _question(
    members: Mapping[str, Any], expression: Any, crs: str | None, query: Any, most: int
) -> SearchQuery:
    given = {name: value for name, value in members.items() if value}
    # As it stands in addresses, encoded once too often; no archive has such an id.
    given["collections"] = [name.replace("%7C", SEPARATOR) for name in given.get("collections", ())]
    if crs and crs != CRS84:
        raise invalid(f"filter-crs: {crs} is not offered, only CRS84"[:300])
    if given.get("datetime"):
        given["datetime"] = given["datetime"].upper()
    given["limit"] = min(given.get("limit") or 10, most)
    conditions = _conditions(query) if query else []
    if expression:
        conditions.append(parse_filter(expression).as_json())
    if conditions:
        _refuse_our_names(conditions)
        one = len(conditions) == 1
        given["filter"] = conditions[0] if one else {"op": "and", "args": conditions}
    try:
        return SearchQuery(**given)
    except ValidationError as error:
        raise invalid(explain_validation(error.errors(include_url=False))) from error


def _refuse_our_names(condition: Any) -> None:
    """Refuse a condition on ``PROVIDER|collection``: no provider knows its collection so."""
    if isinstance(condition, list):
        for each in condition:
            _refuse_our_names(each)
    elif isinstance(condition, dict):
        arguments = condition.get("args")
        if isinstance(arguments, list) and {"property": "collection"} in arguments:
            names = [each for listed in arguments for each in (listed, *_inside(listed))]
            if any(isinstance(each, str) and SEPARATOR in each for each in names):
                raise invalid(
                    "filter: a collection of this service cannot be asked for in a filter",
                    "Name it in the parameter collections.",
                )
        _refuse_our_names(arguments)


def _inside(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _conditions(query: Any) -> list[dict[str, Any]]:
    """The Query extension's object as CQL2 conditions, all of which must hold."""
    if not isinstance(query, dict):
        raise invalid("query: an object of properties is expected")
    found: list[dict[str, Any]] = []
    for name, wanted in query.items():
        if not isinstance(wanted, dict) or not wanted:
            raise invalid(f"query: {name}: an object of operators is expected"[:300])
        for operator, value in wanted.items():
            prop = {"property": name.removeprefix("properties.")}
            if operator in _PATTERNS and isinstance(value, str):
                pattern = _PATTERNS[operator].format(_WILDCARD.sub(r"\\\1", value))
                found.append({"op": "like", "args": [prop, pattern]})
            elif operator in _OPERATORS:
                found.append({"op": _OPERATORS[operator], "args": [prop, value]})
            else:
                raise invalid(f"query: {name}: {operator} cannot be asked so"[:300])
    if not found:
        raise invalid("query: an object of properties is expected")
    return found
