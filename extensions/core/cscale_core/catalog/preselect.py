"""Leave out, before anything is asked, the providers that cannot have what is looked for.

A provider's data policy says which collections it has, of which area and time, and for whom. Only
what the policy states leaves a provider out; what it does not state may be there. The reason is a
sentence for the search's report, so that nobody takes a provider that was not asked for an empty
one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from shapely import make_valid
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from cscale_core.catalog.area import box_area
from cscale_core.catalog.interval import Interval, parse_interval
from cscale_core.catalog.query import SearchQuery, area
from cscale_core.identity.entitlements import holds, parse
from cscale_core.providers import CollectionPolicy, Coverage, Provider, policy_bounds
from cscale_core.site import Site

SEPARATOR = "|"
"""Between a provider's id and its collection, as in ``cdse|sentinel-2-l2a``."""


# Where items say their product type: STAC extensions product, SAR and Sentinel-2, and resto.
_TYPES = frozenset({"product:type", "sar:product_type", "s2:product_type", "productType"})


@dataclass(frozen=True, slots=True)
class _Part:
    """Something a provider may have: a collection of its policy, or what the policy leaves open."""

    name: str
    coverage: Coverage | None
    interval: str
    product_type: str


def why_not(provider: Provider, query: SearchQuery, site: Site, now: datetime) -> str:
    """Why a provider need not be asked, in a sentence; empty: ask it.

    :param now: aware; what intervals such as ``-P30D/..`` count from.
    """
    if query.providers and provider.id not in query.providers:
        return "It is not among the providers that were to be asked."
    needed = provider.policy.entitlement
    if needed and not holds(site.entitlements, needed):
        membership = parse(needed)
        group = membership.group if membership is not None else needed
        return f"It is for members of {group} only."
    parts = _parts(provider, query)
    if not parts:
        return f"It does not have {_listed(query.collections)}."
    types = _types(query) if any(part.product_type for part in parts) else ()
    typed = [part for part in parts if all(_may_be(part, wanted) for wanted in types)]
    if not typed:
        return f"It has no product of type {_listed(dict.fromkeys(chain(*types)))}."
    parts = typed
    when = parse_interval(query.datetime) if query.datetime else None
    in_time = [part for part in parts if when is None or _during(part, when, now)]
    if when is not None and not in_time:
        kept = dict.fromkeys(
            f"{part.name or 'everything'} {_spelled(part.interval, now)}" for part in parts
        )
        return f"It has nothing of the time asked for: it keeps {_listed(kept)}."
    asked = area(query)
    if asked is not None and not any(_within(part, asked) for part in in_time):
        return "It has nothing in the area asked for."
    return ""


def own_collections(provider: Provider, names: Iterable[str]) -> list[str]:
    """A provider's own ids of collections, for names as a search gives them.

    ``PROVIDER|collection`` is meant for that provider only; an alias or a product type of the
    policy becomes the ids that it stands for; any other name is taken for an own id, unless the
    policy says that there are no others.
    """
    found: list[str] = []
    for name in names:
        owner, prefixed, rest = name.partition(SEPARATOR)
        if prefixed and owner != provider.id:
            continue
        own = rest if prefixed else name
        stated = [policy.id for policy in provider.policy.collections if _means(policy, own)]
        if not stated and not _closed(provider):
            stated = [own]
        found += stated
    return list(dict.fromkeys(found))


def _closed(provider: Provider) -> bool:
    """Whether the policy tells all collections there are."""
    return provider.policy.complete and bool(provider.policy.collections)


def _means(policy: CollectionPolicy, name: str) -> bool:
    names = (policy.id, policy.product_type, *policy.aliases)
    return name.casefold() in (known.casefold() for known in names if known)


def _parts(provider: Provider, query: SearchQuery) -> list[_Part]:
    """What the provider has of what is asked; nothing when it has none of the collections."""
    policy = provider.policy
    known = {each.id: each for each in policy.collections}
    if query.collections:
        wanted = own_collections(provider, query.collections)
    else:
        wanted = [*known, *([] if _closed(provider) else [""])]
    parts = []
    for name in wanted:
        stated = known.get(name)
        coverage = stated.coverage if stated is not None else None
        parts.append(
            _Part(
                name=name,
                coverage=coverage if coverage is not None else policy.coverage,
                interval=(stated.interval if stated is not None else "") or policy.interval,
                product_type=stated.product_type if stated is not None else "",
            )
        )
    return parts


def _types(query: SearchQuery) -> tuple[tuple[str, ...], ...]:
    """Product types that the filter demands: each time one of several.

    Only what must hold in any case is looked at: comparisons that stand alone or under ``and``.
    """
    condition = query.condition
    document = None if condition is None else condition.as_json()
    if not isinstance(document, dict):
        return ()
    demands = document.get("args", []) if document.get("op") == "and" else [document]
    found = []
    for demand in demands:
        if not isinstance(demand, dict) or demand.get("op") not in ("=", "in"):
            continue
        first, second = demand["args"]
        values = second if isinstance(second, list) else [second]
        texts = tuple(value for value in values if isinstance(value, str))
        named = isinstance(first, dict) and first.get("property") in _TYPES
        if named and len(texts) == len(values) > 0:
            found.append(texts)
    return tuple(found)


def _may_be(part: _Part, wanted: Iterable[str]) -> bool:
    """Whether a part can be of one of the types; ``GRD`` and ``IW_GRDH_1S`` are one type."""
    stated = part.product_type.casefold()
    return not stated or any(
        stated in each.casefold() or each.casefold() in stated for each in wanted
    )


def _during(part: _Part, when: Interval, now: datetime) -> bool:
    return Interval(*policy_bounds(part.interval, now)).overlaps(when)


def _spelled(interval: str, now: datetime) -> str:
    start, end = (
        None if moment is None else moment.date() for moment in policy_bounds(interval, now)
    )
    if end is None:
        return f"from {start} on"
    return f"until {end}" if start is None else f"from {start} to {end}"


def _within(part: _Part, asked: BaseGeometry) -> bool:
    if part.coverage is None:
        return True
    if not isinstance(part.coverage, dict):
        return bool(box_area(part.coverage).intersects(asked))
    # A ring that crosses itself is nobody's reason to fail a search.
    return bool(make_valid(shape(part.coverage)).intersects(asked))


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else str(last)
