"""Where a result comes from, as an item says it: inputs, expression, software, job.

Processing Extension v1.2.0; ``derived_from`` links of the STAC best practices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from cscale_core.catalog.interval import parse_interval
from cscale_core.errors import InvalidInput
from cscale_core.ingest.unsigned import is_signed, unsigned, without_secrets
from cscale_core.site import Site

#: Property with the id of the job in its owner's list; loaders of items ignore it.
JOB_PROPERTY = "cscale:job"
ENGINE_PROPERTY = "cscale:engine"


@dataclass(frozen=True)
class Lineage:
    """Where a result comes from.

    :param engine: ``spark``, ``openeo``, …; also the format of ``processing:expression``.
    :param job_id: the job's id in the user's list.
    :param expression: what was computed: an openEO process (``{"process_graph": {…}}``), or an
        application's arguments.
    :param inputs: STAC items, or at least their ``id`` and ``collection``.
    :param software: name to version.
    :param level: processing level, such as ``L3``; empty: not known.
    """

    engine: str
    job_id: str
    expression: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Mapping[str, Any]] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    level: str = ""


def processing_properties(lineage: Lineage, computed: str) -> dict[str, Any]:
    """The item's properties that speak of its making, without secrets.

    :param computed: when, in RFC 3339.
    """
    properties: dict[str, Any] = {
        "processing:datetime": computed,
        "processing:lineage": lineage.description or f"Computed by {lineage.engine}.",
        JOB_PROPERTY: lineage.job_id,
        ENGINE_PROPERTY: lineage.engine,
    }
    if lineage.software:
        properties["processing:software"] = dict(lineage.software)
    if lineage.level:
        properties["processing:level"] = lineage.level
    if lineage.expression:
        properties["processing:expression"] = {
            "format": lineage.engine,
            "expression": without_secrets(lineage.expression),
        }
    return properties


def derived_from(inputs: Sequence[Mapping[str, Any]], site: Site) -> list[dict[str, str]]:
    """A link to each input: its own address, else the one it has in the site's catalogue."""
    links: dict[str, dict[str, str]] = {}
    for item in inputs:
        own = next(
            (str(link["href"]) for link in item.get("links", ()) if link.get("rel") == "self"),
            "",
        )
        # A signed address ends; the item's place in the catalogue does not.
        href = own if own and not is_signed(own) else _in_catalogue(item, site)
        links[href] = {
            "rel": "derived_from",
            "href": href,
            "type": "application/geo+json",
            "title": str(item["id"]),
        }
    return list(links.values())


def _in_catalogue(item: Mapping[str, Any], site: Site) -> str:
    collection = quote(str(item.get("collection", "")), safe="")
    identifier = quote(str(item["id"]), safe="")
    return f"{site.catalogue.url.rstrip('/')}/collections/{collection}/items/{identifier}"


def foreign_links(links: Any) -> list[dict[str, str]]:
    """The ``derived_from`` links that a back end states, without what signs them."""
    found = []
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "derived_from" and link.get("href"):
            kept = {name: str(link[name]) for name in ("type", "title") if link.get(name)}
            found.append({"rel": "derived_from", "href": unsigned(str(link["href"])), **kept})
    return found


def period_of(inputs: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The first and the last moment of the inputs; None when they state none."""
    times = [
        str(moment)
        for item in inputs
        for key in ("start_datetime", "datetime", "end_datetime")
        if (moment := (item.get("properties") or {}).get(key))
    ]
    return (min(times), max(times)) if times else None


def stated_period(text: str) -> tuple[datetime, datetime] | None:
    """Both ends of the interval that a job says it is about; None when it does not say both."""
    try:
        interval = parse_interval(text)
    except InvalidInput:
        return None
    if interval.start is None or interval.end is None:
        return None
    return interval.start, interval.end
