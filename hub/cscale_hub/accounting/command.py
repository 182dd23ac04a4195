"""``cscale accounting``: what virtual organisations used, for people and for other programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import httpx
import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from cscale_hub.accounting.export import (
    apel_cloud,
    declared_by,
    declared_csv,
    records_csv,
    star,
    storage_csv,
    summary_csv,
)
from cscale_hub.accounting.periods import Month
from cscale_hub.accounting.place import open_store
from cscale_hub.accounting.store import Stored, UsageStore
from cscale_hub.local.layout import Layout
from cscale_hub.local.secrets import SecretError
from cscale_hub.settings import Settings, SettingsError, load_settings
from cscale_hub.vos import accepted_vos

DataOption = Annotated[
    Path | None,
    typer.Option(help="Data folder; default: CSCALE_DATA, else ~/.local/share/cscale."),
]
MonthOption = Annotated[str, typer.Option(help="Such as 2026-11; default: this month.")]


def register(app: typer.Typer) -> None:
    """Add ``accounting`` to the command line."""
    commands = typer.Typer(
        no_args_is_help=True, help="What virtual organisations used: tables, CSV, APEL."
    )
    commands.command()(summary)
    commands.command()(records)
    commands.command()(storage)
    commands.command()(measure)
    commands.command()(declared)
    app.add_typer(commands, name="accounting")


def summary(
    month: MonthOption = "",
    data: DataOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """What each VO used in a month."""
    with _opened(month, data) as (store, wanted, _):
        totals = store.totals(wanted.start, wanted.end)
        stored = store.stored(wanted.first_day, wanted.last_day)
    if as_csv:
        typer.echo(summary_csv(wanted, totals, stored), nl=False)
    elif as_json:
        found = {
            "month": str(wanted),
            "vos": [asdict(total) for total in totals],
            "stored": [asdict(each) for each in stored],
        }
        typer.echo(json.dumps(found, indent=1))
    elif not totals and not stored:
        typer.echo(f"Nothing was used in {wanted}.")
    else:
        table = Table(box=None, padding=(0, 3, 0, 0))
        columns = ("VO", "people", "servers", "jobs", "CPU h", "memory GiB h", "GPU h")
        for column in columns:
            table.add_column(column, justify="left" if column == "VO" else "right")
        for total in totals:
            table.add_row(
                *(total.vo, str(total.people), str(total.servers), str(sum(total.jobs.values()))),
                *(f"{total.cpu_hours:,.1f}", f"{total.memory_gib_hours:,.1f}"),
                f"{total.gpu_hours:,.1f}",
            )
        Console().print(table)


def records(
    month: MonthOption = "",
    data: DataOption = None,
    form: Annotated[
        Literal["csv", "apel"], typer.Option("--format", help="apel: its cloud message.")
    ] = "csv",
) -> None:
    """Every server and job that ran in a month, under pseudonyms."""
    with _opened(month, data) as (store, wanted, settings):
        found = store.records(wanted.start, wanted.end)
    text = apel_cloud(found, settings.accounting.site) if form == "apel" else records_csv(found)
    typer.echo(text, nl=False)


def storage(
    month: MonthOption = "",
    data: DataOption = None,
    form: Annotated[
        Literal["csv", "star"], typer.Option("--format", help="star: storage records of APEL.")
    ] = "csv",
) -> None:
    """What each bucket held on the days of a month."""
    with _opened(month, data) as (store, wanted, settings):
        found = store.stored(wanted.first_day, wanted.last_day)
    site = settings.accounting.site
    typer.echo(
        star(found, site, datetime.now(UTC)) if form == "star" else storage_csv(found), nl=False
    )


def declared(
    month: MonthOption = "",
    data: DataOption = None,
    fewest: Annotated[
        int, typer.Option(min=1, help="Smaller groups of people are counted together.")
    ] = 3,
) -> None:
    """Users and use by what they declared (C-SCALE's Virtual Access), as CSV."""
    with _opened(month, data) as (store, wanted, _):
        found = store.records(wanted.start, wanted.end)
    typer.echo(declared_csv(wanted, declared_by(found, fewest)), nl=False)


def measure(
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Look what each VO's bucket holds now and note it; to be run once a day or more often."""
    # Signing takes a second to load, and every other command would wait for it too.
    from cscale_hub.accounting import storage as buckets
    from cscale_hub.broker.errors import BrokerError
    from cscale_hub.broker.sts import read_keys

    console = Console(stderr=True)
    with _opened("", data) as (store, _, settings):
        file = settings.accounting.storage_key_file
        try:
            if file is None:
                raise SettingsError(
                    "accounting.storage_key_file is not set: without a key no bucket can be "
                    "listed. What was measured before stays."
                )
            place = buckets.Place(
                settings.storage.endpoint, settings.storage.region, read_keys(file)
            )
            vos = accepted_vos(settings)
        except (SettingsError, BrokerError) as error:
            _fail(str(error))

        async def look(status: Status) -> tuple[list[Stored], list[str]]:
            async with httpx.AsyncClient(trust_env=False) as http:
                return await buckets.measure(
                    place,
                    vos,
                    datetime.now(UTC),
                    http,
                    lambda bucket, objects: status.update(f"{bucket}: {objects:,} objects"),
                )

        with console.status("Listing", spinner="dots") as status:
            found, failed = asyncio.run(look(status))
        store.store_sizes(found)
    if as_json:
        typer.echo(json.dumps({"stored": [asdict(each) for each in found], "failed": failed}))
    else:
        for each in found:
            typer.echo(f"{each.vo}: {each.bytes / 2**30:.2f} GiB in {each.bucket}")
    if failed:
        _fail("Not measured, what was noted before stays: " + "; ".join(failed))


@contextmanager
def _opened(month: str, data: Path | None) -> Iterator[tuple[UsageStore, Month, Settings]]:
    """The records, the month that is meant and the settings; what is wrong is one line."""
    try:
        wanted = Month.parse(month) if month else Month.of(datetime.now(UTC).timestamp())
        settings = _settings(data)
        named = settings.accounting.database_file
        if named is None and not (place := Layout(settings.data).usage).exists():
            raise SettingsError(f"There are no records of use: {place} is not there.")
        store = open_store(settings)
    except (ValueError, SettingsError, SecretError) as error:
        _fail(str(error))
    try:
        yield store, wanted, settings
    finally:
        store.close()


def _fail(words: str) -> NoReturn:
    Console(stderr=True).print(words, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def _settings(data: Path | None) -> Settings:
    settings = load_settings()
    folder = Layout((data or settings.data).expanduser().absolute())
    # What a federation of one machine runs with, where there is one in the folder.
    if folder.settings.exists():
        return load_settings(folder.settings, environment=False)
    return settings.model_copy(update={"data": folder.data})
