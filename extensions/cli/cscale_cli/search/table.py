"""The items of an answer as a table: at 80 columns on a terminal, whole where it is piped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cscale_cli.terminal import shortened
from cscale_core.catalog.interval import item_interval
from cscale_core.catalog.items import PROVIDER_MEMBER
from cscale_core.catalog.mirrors import MIRRORS_MEMBER
from cscale_core.untrusted import plain

HEADINGS = ("id", "date", "cloud", "collection", "provider")
_GAP = 2
_UNKNOWN = "–"
# What collection and provider keep at most where the line is short; the id gets the rest.
_NARROW = {"collection": 18, "provider": 14}
_SHORTEST_ID = 16


@dataclass(frozen=True, slots=True)
class Row:
    """What a line of the table says of one item; text that a terminal can take."""

    id: str
    date: str
    cloud: str
    collection: str
    provider: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells in the order of the headings."""
        return self.id, self.date, self.cloud, self.collection, self.provider


def row(item: dict[str, Any]) -> Row:
    """The line of one item."""
    properties = item["properties"]
    sensed = item_interval(properties)
    moment = (sensed.start or sensed.end) if sensed else None
    cover = properties.get("eo:cloud_cover")
    known = isinstance(cover, int | float) and not isinstance(cover, bool)
    mirrors = item.get(MIRRORS_MEMBER)
    further = f" +{len(mirrors)}" if isinstance(mirrors, list) and mirrors else ""
    return Row(
        id=plain(item["id"]),
        date=moment.strftime("%Y-%m-%d %H:%M") if moment else _UNKNOWN,
        cloud=f"{cover:.0f} %" if known else _UNKNOWN,
        collection=plain(item.get("collection") or _UNKNOWN),
        provider=plain(item.get(PROVIDER_MEMBER) or _UNKNOWN) + further,
    )


def _natural(rows: Sequence[Row]) -> list[int]:
    """The width of each column if nothing is cut."""
    columns = zip(HEADINGS, *(each.cells for each in rows), strict=True)
    return [max(cell_len(cell) for cell in column) for column in columns]


def _narrowed(widths: Sequence[int], width: int) -> list[int]:
    """The same where a line has ``width`` cells: id, collection and provider give way."""
    gaps = _GAP * (len(HEADINGS) - 1)
    fitted = dict(zip(HEADINGS, widths, strict=True))
    for name in ("collection", "provider"):
        excess = sum(fitted.values()) + gaps - width
        if excess <= 0:
            break
        fitted[name] = max(min(fitted[name], _NARROW[name]), fitted[name] - excess)
    excess = sum(fitted.values()) + gaps - width
    if excess > 0:
        fitted["id"] = max(min(fitted["id"], _SHORTEST_ID), fitted["id"] - excess)
    return list(fitted.values())


def show_items(rows: Sequence[Row], console: Console, *, wide: bool) -> None:
    """Print the table.

    :param wide: nothing is cut, however long the lines become: for pipes and files. The width of
        the console grows with them.
    """
    natural = _natural(rows)
    widths = natural if wide else _narrowed(natural, console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name, width in zip(HEADINGS, widths, strict=True):
        table.add_column(
            name, width=width, no_wrap=True, justify="right" if name == "cloud" else "left"
        )
    for each in rows:
        cells = zip(each.cells, widths, strict=True)
        table.add_row(*(Text(shortened(cell, width)) for cell, width in cells))
    if wide:
        console.width = max(console.width, sum(widths) + _GAP * len(widths))
    console.print(table)
