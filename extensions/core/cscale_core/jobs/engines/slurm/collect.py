"""Results of a job: the files it left on the cluster, in the user's bucket and described.

What each file is says :mod:`cscale_core.workflows.results`; all are assets of one item. Where the
cluster mounts the buckets the files are there already and are only read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cscale_core import addresses
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import NotFound
from cscale_core.jobs.engine import JobHandle
from cscale_core.jobs.engines.slurm.script import Places
from cscale_core.jobs.engines.slurm.transport import File, Files
from cscale_core.jobs.model import Job
from cscale_core.objects import ObjectStore
from cscale_core.site import Site

#: Files that are taken; more of them are a data set of its own, not the result of a job.
MOST_FILES = 1000
_PIECE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Collected:
    """What became of the files: the items, and what was left on the cluster and why."""

    items: list[dict[str, Any]]
    left: str = ""


async def collect(
    handle: JobHandle,
    files: Files,
    where: Places,
    site: Site,
    *,
    limit: int,
    collection: str,
    expression: dict[str, Any],
) -> Collected:
    """Describe a finished job's files, after bringing them to the bucket where they are not.

    :param limit: bytes that are brought at most.
    :raises CScaleError: when the files cannot be read, or the bucket takes none.
    """
    source: Files | _OnBucket = files
    try:
        listing = await files.listing(where.output)
    except NotFound:
        if not where.on_bucket:
            raise
        source = _OnBucket(site, where)
        listing = await source.listing(where.output)
    found = sorted(listing, key=lambda file: file.path)
    chosen = [file for file in found if file.size and not _hidden(file)]
    if not chosen:
        return Collected([])
    size = sum(file.size for file in chosen)
    if len(chosen) > MOST_FILES:
        return Collected([], f"{len(chosen)} files are more than the {MOST_FILES} that are taken")
    if size > limit:
        return Collected([], f"{size} bytes are more than the {limit} that are brought from there")
    target = where.on_bucket
    if not target:
        grant = site.grant("home", handle.job.spec.vo)
        target = f"s3://{grant.bucket}/{grant.prefix}jobs/{handle.job.id}/"
    with tempfile.TemporaryDirectory(prefix="cscale-results-") as folder:
        work = _Work(handle.job, site, Path(folder), target, upload=not where.on_bucket)
        done = 0
        for file in chosen:
            handle.report(done / size, f"bringing {file.path}")
            await source.fetch(f"{where.output}/{file.path}", work.local(file))
            done += file.size
            await asyncio.to_thread(work.take, file)
        item = await asyncio.to_thread(work.item, collection, expression)
    return Collected([item])


def _hidden(file: File) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(file.path).parts)


class _OnBucket:
    """The output of a job whose cluster shows us no files, read from the bucket it wrote to."""

    def __init__(self, site: Site, where: Places) -> None:
        self._store = ObjectStore(site)
        self._output = where.output
        bucket, _, prefix = where.on_bucket.removeprefix("s3://").partition("/")
        self._root = ObjectAddress(bucket, prefix)

    async def listing(self, folder: str) -> Sequence[File]:
        def walk() -> list[File]:
            return [
                File(head.address.key.removeprefix(self._root.key), head.size)
                for head in self._store.list(self._root.bucket, self._root.key)
            ]

        return await asyncio.to_thread(walk)

    async def fetch(self, path: str, target: Path) -> None:
        key = self._root.key + path.removeprefix(self._output + "/")
        address = ObjectAddress(self._root.bucket, key)

        def copy() -> None:
            size = self._store.head(address).size
            with target.open("wb") as file:
                for start in range(0, size, _PIECE):
                    file.write(self._store.get(address, start=start, length=_PIECE))

        await asyncio.to_thread(copy)


class _Work:
    """Takes one file after the other; each is removed when it was taken. Blocks."""

    def __init__(self, job: Job, site: Site, folder: Path, target: str, *, upload: bool) -> None:
        self._job = job
        self._site = site
        self._folder = folder
        self._target = target
        self._store = ObjectStore(site) if upload else None
        self._assets: dict[str, dict[str, Any]] = {}

    def local(self, file: File) -> Path:
        return self._folder / ("file" + PurePosixPath(file.path).suffix.lower())

    def take(self, file: File) -> None:
        # Imported here: rasterio and numpy cost a server half a second it may never need.
        from cscale_core.workflows.results.files import asset_key, contents

        path = self.local(file)
        asset = contents(path, PurePosixPath(file.path).name)
        address = addresses.parse(self._target + file.path, self._site)
        assert address is not None  # noqa: S101 - an s3:// address always parses
        if self._store is not None:
            self._store.put_file(address, path, content_type=asset["type"])
        path.unlink()
        key = asset_key(file.path, self._assets)
        self._assets[key] = {
            **addresses.asset_addresses(address, self._site),
            "title": file.path,
            **asset,
        }

    def item(self, collection: str, expression: dict[str, Any]) -> dict[str, Any]:
        from cscale_core.workflows.results.items import described_item, item_id
        from cscale_core.workflows.results.provenance import Lineage, stated_period

        job = self._job
        return described_item(
            self._assets,
            identifier=item_id(job.spec.title, job.id),
            collection=collection,
            site=self._site,
            title=job.spec.title,
            period=stated_period(job.spec.period),
            area=job.spec.area,
            lineage=Lineage(
                engine="slurm",
                job_id=job.id,
                expression=expression,
                inputs=job.spec.inputs,
                description="Computed by a batch job under Slurm.",
            ),
        )
