"""Conditions in CQL2 (OGC 21-065r2), as text or JSON: read, written, and applied to items here.

A provider that cannot filter gets its items filtered here, so the answer must be the one that a
filtering provider would give, or none at all: :attr:`Filter.reason` says why not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cql2 import Expr

from cscale_core.catalog.cql_apply import Doubtful, condition
from cscale_core.catalog.cql_bounds import LONGEST_JSON, check_text, check_tree, nodes
from cscale_core.catalog.cql_form import exact, normal
from cscale_core.errors import InvalidInput

JSON = dict[str, Any]
Item = dict[str, Any]

_HINT = "For example: eo:cloud_cover <= 20 AND platform = 'sentinel-2a'"


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that items are to meet; made by :func:`parse_filter`."""

    document: JSON = field(repr=False)
    reason: str = ""
    """Why it cannot be applied here; empty: it can."""
    _decide: Callable[[Item], bool | None] | None = field(default=None, repr=False, compare=False)

    @property
    def local(self) -> bool:
        """Whether it can be applied here."""
        return self._decide is not None

    def as_json(self) -> JSON:
        """As CQL2 JSON."""
        return self.document

    def as_text(self) -> str | None:
        """As CQL2 text; None where text cannot say the same."""
        try:
            text: str = Expr(self.document).to_text()
            if normal(Expr(text).to_json()) == normal(self.document):
                return text
        except Exception:  # cql2 raises plain Exception
            return None
        return None

    def properties(self) -> set[str]:
        """The names that it asks for, without ``properties.`` before them."""
        return {
            node["property"]
            for node in nodes(self.document)
            if isinstance(node, dict) and isinstance(node.get("property"), str)
        }

    def decide(self, item: Item) -> bool | None:
        """True, False, or None where the item does not say enough.

        :raises InvalidInput: when it cannot be applied here.
        """
        if self._decide is None:
            raise InvalidInput(f"The filter cannot be applied here: {self.reason}.")
        return self._decide(item)

    def matches(self, item: Item) -> bool:
        """Whether the item meets it; an item that does not say enough does not.

        :raises InvalidInput: when it cannot be applied here.
        """
        return self.decide(item) is True


def parse_filter(given: str | JSON) -> Filter:
    """A condition from CQL2 text, CQL2 JSON as text, or CQL2 JSON.

    :raises InvalidInput: with the place of the error where the parser tells it.
    """
    try:
        if isinstance(given, str):
            text = given.strip()
            if text.startswith("{"):
                if len(text) > LONGEST_JSON:
                    raise ValueError(f"it is longer than {LONGEST_JSON} characters")
                given = json.loads(text)
            else:
                check_text(text)
                given = Expr(text).to_json()
        check_tree(given)
        document = normal(exact(normal(Expr(given).to_json())))
        check_tree(document)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The filter cannot be used: {error}.", hint=_HINT) from error
    except Exception as error:  # cql2 raises plain Exception, with a drawing of the place
        said = str(error)[:500]
        raise InvalidInput(f"The filter is not CQL2: {said}", hint=_HINT) from error
    try:
        return Filter(document, _decide=condition(document))
    except Doubtful as doubt:
        return Filter(document, reason=str(doubt))
