"""What a program left: its files brought to the bucket where they are not, and described there.

Everything here blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import InvalidInput, NotFound
from cscale_core.jobs.engines.spark.backend import Work
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

#: Files that are brought to the bucket; more of them are a data set of its own.
MOST_FILES = 1000

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Left:
    """The result items, and sentences on what is not in them."""

    items: list[dict[str, Any]]
    left_out: list[str] = field(default_factory=list)


def own_item(work: Work, site: Site) -> dict[str, Any] | None:
    """The item that an application wrote beside its files as ``item.json``; None without one."""
    try:
        item = json.loads(ObjectStore(site).get(_address(work, "item.json", site)))
    except (NotFound, ValueError):
        return None
    return item if isinstance(item, dict) and item.get("assets") else None


def _address(work: Work, name: str, site: Site) -> ObjectAddress:
    address = addresses.parse(work.output + name, site)
    if address is None:
        raise InvalidInput(f"{work.output + name} names no object.")
    return address


def of_bucket(work: Work, site: Site, report: Report) -> Left:
    """Describe the files below the job's prefix in the bucket.

    :raises CScaleError: when they cannot be listed or read.
    """
    # Imported here: rasterio and numpy cost a server half a second it may never need.
    from cscale_core.workflows.results.items import item_id
    from cscale_core.workflows.results.prefixes import describe_outputs
    from cscale_core.workflows.results.provenance import Lineage

    report(1.0, "reading the results")
    job = work.job
    found = describe_outputs(
        work.output,
        Lineage(
            engine="spark",
            job_id=job.id,
            expression=work.expression,
            inputs=job.spec.inputs,
            description="Computed by a PySpark program.",
        ),
        site,
        identifier=item_id(job.spec.title, job.id),
        collection=work.collection,
        title=job.spec.title,
        period=_period(job.spec.period),
        area=job.spec.area,
    )
    return Left(found.items, found.left_out)


def _period(text: str) -> tuple[datetime, datetime] | None:
    start, _, end = text.partition("/")
    try:
        return datetime.fromisoformat(start), datetime.fromisoformat(end)
    except ValueError:
        # Not stated, or open at one end.
        return None


def of_folder(work: Work, site: Site, folder: Path, report: Report) -> Left:
    """Bring the files of a folder to the job's prefix in the bucket, and describe them.

    :raises CScaleError: when the bucket does not take them.
    """
    store = ObjectStore(site)
    paths = sorted(_files(folder))
    for index, path in enumerate(paths[:MOST_FILES]):
        name = path.relative_to(folder).as_posix()
        report(index / len(paths), f"bringing {name} to the bucket")
        store.put_file(_address(work, name, site), path)
    if not paths:
        return Left([])
    left = of_bucket(work, site, report)
    if len(paths) > MOST_FILES:
        stays = f"{len(paths) - MOST_FILES} of {len(paths)} files stay in {folder}"
        return Left(left.items, [*left.left_out, stays])
    return left


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = PurePosixPath(path.relative_to(folder)).parts
        # Spark's and Hadoop's own (_SUCCESS, _temporary) begin with an underscore.
        if path.is_file() and not path.is_symlink() and not any(p[0] in "._" for p in parts):
            yield path
