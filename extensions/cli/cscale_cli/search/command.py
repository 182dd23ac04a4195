"""``cscale search``: options in; a table, GeoJSON or Parquet out.

Exit status: 0 when something answered, 1 when nobody did, 2 when the question cannot be
understood.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cscale_cli.search.asking import ask, opened
from cscale_cli.search.geojson import GeoJSONWriter
from cscale_cli.search.parquet import ParquetWriter
from cscale_cli.search.progress import Progress
from cscale_cli.search.question import question
from cscale_cli.search.report import Outcome, show_report
from cscale_cli.search.sites import find_site
from cscale_cli.search.table import Row, row, show_items
from cscale_core.catalog.query import SearchQuery
from cscale_core.errors import CScaleError
from cscale_core.site import Site
from cscale_core.untrusted import plain

_NOBODY_ANSWERED = 1
_NOT_UNDERSTOOD = 2
_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add ``search`` to the command line."""
    app.command()(search)


def search(
    bbox: Annotated[
        str, typer.Option(help="west,south,east,north in degrees; west > east: antimeridian.")
    ] = "",
    intersects: Annotated[
        str, typer.Option(help="A file of GeoJSON or WKT, or either of them written out.")
    ] = "",
    datetime: Annotated[
        str, typer.Option(help="A moment, a date, a month, or an interval start/end.")
    ] = "",
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="Id, alias or PROVIDER|id; may be repeated."),
    ] = None,
    item_id: Annotated[
        list[str] | None, typer.Option("--id", help="Id of an item; may be repeated.")
    ] = None,
    cloud_cover: Annotated[
        float | None, typer.Option(help="Cloud cover at most, in percent.")
    ] = None,
    condition: Annotated[
        str, typer.Option("--filter", help="A condition in CQL2, as text or as JSON.")
    ] = "",
    sortby: Annotated[
        str, typer.Option(help="Such as -datetime,+eo:cloud_cover; default: newest first.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Items at most, without --all.")
    ] = 100,
    everything: Annotated[
        bool, typer.Option("--all", help="Every item there is, page after page.")
    ] = False,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", "-p", help="Only this one; may be repeated."),
    ] = None,
    providers: Annotated[
        Path | None,
        typer.Option(help="YAML file of providers; default: the site, else the hub running here."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder of a federation that runs on this machine.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A GeoJSON FeatureCollection on standard output.")
    ] = False,
    parquet: Annotated[
        Path | None, typer.Option(help="Write the items to this file as stac-geoparquet.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Cut nothing to fit the terminal.")] = False,
) -> None:
    """Search every archive of the federation at once, and say what each of them did."""
    out, side = Console(), Console(stderr=True)
    try:
        query = question(
            bbox=bbox,
            intersects=intersects,
            datetime=datetime,
            collections=collection or (),
            ids=item_id or (),
            cloud_cover=cloud_cover,
            condition=condition,
            sortby=sortby,
            limit=limit,
            providers=provider or (),
        )
        outcome = _run(
            find_site(providers, data),
            query,
            everything=everything,
            as_json=as_json,
            parquet=parquet,
            wide=wide or not out.is_terminal,
            out=out,
            side=side,
        )
    except CScaleError as error:
        _explain(error, side, as_json=as_json)
        raise typer.Exit(_NOT_UNDERSTOOD) from error
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if outcome.all_failed:
        raise typer.Exit(_NOBODY_ANSWERED)


def _run(
    site: Site,
    query: SearchQuery,
    *,
    everything: bool,
    as_json: bool,
    parquet: Path | None,
    wide: bool,
    out: Console,
    side: Console,
) -> Outcome:
    """Ask, and give the answer to everybody who wants it."""
    rows: list[Row] | None = None if as_json or parquet else []

    def say(sentence: str) -> None:
        side.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)

    with ExitStack() as files:
        geojson = GeoJSONWriter(sys.stdout) if as_json else None
        file = files.enter_context(ParquetWriter(parquet)) if parquet else None
        progress = files.enter_context(Progress(side))

        def take(item: dict[str, Any]) -> None:
            if rows is not None:
                rows.append(row(item))
            if geojson is not None:
                geojson.add(item)
            if file is not None:
                file.add(item)
            progress.took()

        async def run() -> Outcome:
            async with opened(site, say) as federation:
                return await ask(federation, query, take, progress.event, everything=everything)

        outcome = asyncio.run(run())
        if geojson is not None:
            geojson.close(outcome)
        remarks = file.finish() if file is not None else []
    if rows:
        show_items(rows, out, wide=wide)
        out.print()
    if rows is None:
        show_report(outcome, side, wide=not side.is_terminal)
    else:
        show_report(outcome, out, wide=wide)
    for remark in remarks:
        say(remark)
    return outcome


def _explain(error: CScaleError, side: Console, *, as_json: bool) -> None:
    """Say what is wrong on the terminal, and as a problem to a program."""
    side.print("[red]✗[/] ", end="")
    side.print(plain(error.message), markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        side.print(f"  {plain(error.hint)}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(error.as_dict()))
