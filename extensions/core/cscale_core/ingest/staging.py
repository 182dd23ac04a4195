"""Bring the files of STAC items into the user's bucket, and write the items beside them.

First everything is planned (:func:`plan`: names, sources, sizes), then done (:func:`stage`). An
item's ``item.json`` is its mark of publication: it is written after *every* file of the whole
plan has arrived and was verified. What arrived before a failure is kept and not fetched again. With
notes (:mod:`cscale_core.ingest.notes`) a staging can also rest, or be killed, in the middle of a
file, and go on there.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from cscale_core.addresses import (
    ALTERNATE_EXTENSION,
    ObjectAddress,
    asset_addresses,
    parse,
    readable,
)
from cscale_core.catalog.items import PROVIDER_MEMBER, fault, self_link
from cscale_core.catalog.mirrors import MIRRORS_MEMBER
from cscale_core.errors import Conflict, CScaleError, DamagedData, InvalidInput, NotFound
from cscale_core.http import origin, site_egress
from cscale_core.ingest.checksums import FILE_EXTENSION
from cscale_core.ingest.download import Renew
from cscale_core.ingest.files import PlannedFile, StoredFile, stated_checksum
from cscale_core.ingest.names import ITEM_FILE, asset_names, item_prefix
from cscale_core.ingest.notes import StagingNotes
from cscale_core.ingest.pace import Pace
from cscale_core.ingest.transfer import OneAtATime, Transfer
from cscale_core.objects import PART_SIZE, ObjectStore
from cscale_core.site import Grant, Site

CONCURRENT_FILES = 4
_TELL_EVERY = 0.25
_LOOK_EVERY = 0.2
# Members of an item that are carried over; everything else says where the source had it.
_MEMBERS = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "properties")
_KEPT_LINKS = frozenset({"derived_from", "via", "license", "cite-as", "describedby"})
_SOURCE_FIELDS = ("href", "alternate", "alternate:name", "auth:refs", "storage:refs")


Finish = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Progress(Protocol):
    """Is told how far a staging is; called on the event loop, some times a second."""

    def __call__(
        self,
        files_done: int,
        files_total: int,
        bytes_done: int,
        bytes_total: int | None,
        message: str,
        /,
    ) -> None: ...


class StagingCanceled(Conflict):
    """The user stopped the staging; files that arrived are kept, nothing was published."""

    code = "canceled"


class StagingPaused(Conflict):
    """The user paused the staging; with its notes it goes on where it stopped."""

    code = "paused"


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One item with the files that will be brought, and where ``item.json`` will lie."""

    item: dict[str, Any]
    collection: str
    marker: ObjectAddress
    files: tuple[PlannedFile, ...]


@dataclass(frozen=True, slots=True)
class StagingPlan:
    """What a staging will do. ``left_out`` says in sentences what it will not, and why."""

    items: tuple[PlannedItem, ...]
    grant: Grant
    site: Site
    left_out: tuple[str, ...]

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        return tuple(file for item in self.items for file in item.files)

    @property
    def known_bytes(self) -> int:
        """Bytes of the files whose size is stated."""
        return sum(file.size or 0 for file in self.files)

    @property
    def unknown_sizes(self) -> int:
        """How many files state no size."""
        return sum(file.size is None for file in self.files)


# -- planning ------------------------------------------------------------------------------


def _stated_size(asset: dict[str, Any]) -> int | None:
    size = asset.get("file:size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


def _addresses(asset: dict[str, Any]) -> Iterable[str]:
    yield asset["href"]
    alternates = asset.get("alternate")
    for alternate in alternates.values() if isinstance(alternates, dict) else ():
        if isinstance(alternate, dict) and isinstance(alternate.get("href"), str):
            yield alternate["href"]


def _source(asset: dict[str, Any], base: str, site: Site, *, found: bool) -> Any:
    """The first address of an asset that can be read, or None."""
    for address in _addresses(asset):
        try:
            if own := readable(address, site, found=found):
                return own
            if base and not urlsplit(address).scheme and not address.startswith("/"):
                address = urljoin(base, address)
            origin(address)
        except (CScaleError, ValueError):
            # Another scheme, a path, a user name in it: the next address may do.
            continue
        return address
    return None


def _of_mirrors(item: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Assets that other archives have of the product and the item has not, by key.

    A search lists them beside the item (:mod:`cscale_core.catalog.mirrors`): the nearest copy may
    be one of which only some files were staged.
    """
    found: dict[str, dict[str, Any]] = {}
    mirrors = item.get(MIRRORS_MEMBER)
    for mirror in mirrors if isinstance(mirrors, list) else ():
        assets = mirror.get("assets") if isinstance(mirror, dict) else None
        for key, asset in assets.items() if isinstance(assets, dict) else ():
            usable = isinstance(asset, dict) and isinstance(asset.get("href"), str)
            if usable and key not in item["assets"]:
                found.setdefault(key, asset)
    return found


def _no_asset(item: dict[str, Any], missing: list[str]) -> InvalidInput:
    return InvalidInput(
        f"{item['id']} has no asset {', '.join(missing)}.",
        hint="It has: " + ", ".join(sorted(item["assets"])) + ".",
    )


def _planned_item(
    item: dict[str, Any],
    assets: list[str] | None,
    grant: Grant,
    site: Site,
    left_out: list[str],
) -> PlannedItem:
    chosen = list(item["assets"]) if assets is None else list(dict.fromkeys(assets))
    if elsewhere := _of_mirrors(item):
        # They may be other forms of the same bands, so they are brought only by name.
        item["assets"] |= elsewhere
        if assets is None:
            left_out.append(
                f"{', '.join(sorted(elsewhere))} of {item['id']}, which only mirrors have: name "
                "them to bring them"
            )
    if missing := [key for key in chosen if key not in item["assets"]]:
        if len(missing) == len(chosen):
            raise _no_asset(item, missing)
        left_out.append(f"{', '.join(missing)} of {item['id']}, which has none such")
        chosen = [key for key in chosen if key not in missing]
    collection = item.get("collection") or str(item.get(PROVIDER_MEMBER) or "staged")
    prefix = item_prefix(grant, collection, item["id"])
    names = asset_names(item["assets"])
    files = []
    for key in chosen:
        asset = item["assets"][key]
        source = _source(asset, self_link(item), site, found=PROVIDER_MEMBER in item)
        if source is None:
            reason = f"{key} of {item['id']} has no address that can be read here"
            if assets is not None:
                raise InvalidInput(
                    reason + ".", hint="Only https addresses and the site's own store are read."
                )
            left_out.append(reason)
            continue
        try:
            checksum = stated_checksum(asset.get("file:checksum"))
        except InvalidInput as error:
            checksum = None
            left_out.append(f"the checksum of {key} of {item['id']}: {error.message}")
        files.append(
            PlannedFile(
                item=item["id"],
                asset=key,
                source=source,
                address=ObjectAddress(grant.bucket, prefix + names[key]),
                size=_stated_size(asset),
                checksum=checksum,
                media_type=str(asset.get("type") or ""),
            )
        )
    if not files:
        raise InvalidInput(f"{item['id']} has no file that can be staged.")
    return PlannedItem(
        item, collection, ObjectAddress(grant.bucket, prefix + ITEM_FILE), tuple(files)
    )


def plan(
    items: list[dict[str, Any]], assets: list[str] | None, grant: Grant, site: Site
) -> StagingPlan:
    """Work out what has to be brought from where to where; asks nothing of anyone.

    :param assets: keys of the assets to bring, its own or of its mirrors; None: all its own that
        have a usable address.
    :param grant: where to put them: ``products/<collection>/<item>/`` below its prefix.
        Items of several collections may be chosen together, so one may lack some of them.
    :raises InvalidInput: when an item is not valid, or has none of them to bring; when a chosen
        asset is in no item; when the grant does not allow writing.
    """
    if grant.access != "rw":
        raise InvalidInput(f"You may not write to s3://{grant.bucket}/{grant.prefix}.")
    if not items:
        raise InvalidInput("No items were chosen.")
    left_out: list[str] = []
    planned: dict[ObjectAddress, PlannedItem] = {}
    for item in items:
        if reason := fault(item):
            raise InvalidInput(f"A chosen item cannot be used, it is {reason}.")
        try:
            json.dumps(item, allow_nan=False)
        except ValueError as error:
            raise InvalidInput(f"{item['id']} is not valid JSON: {error}") from error
        notes: list[str] = []
        one = _planned_item(copy.deepcopy(item), assets, grant, site, notes)
        if one.marker in planned:
            left_out.append(f"{item['id']} was chosen twice, the first is taken")
            continue
        planned[one.marker] = one
        left_out += notes
    everywhere = {key for one in planned.values() for key in one.item["assets"]}
    if nowhere := [key for key in dict.fromkeys(assets or ()) if key not in everywhere]:
        raise _no_asset(next(iter(planned.values())).item, nowhere)
    return StagingPlan(tuple(planned.values()), grant, site, tuple(left_out))


# -- doing ---------------------------------------------------------------------------------


class _Counter:
    """Counts files and bytes, and tells them a few times a second."""

    def __init__(self, staging: StagingPlan, progress: Progress) -> None:
        self._progress = progress
        self._sizes = {file.address: file.size for file in staging.files}
        self._bytes: dict[ObjectAddress, int] = {}
        self._told = 0.0
        self._pace = Pace()
        self.files_done = 0
        self.already = 0

    def bytes(self, file: PlannedFile, arrived: int, fetched: int) -> None:
        self._bytes[file.address] = arrived
        self._pace.add(fetched)
        if time.monotonic() - self._told >= _TELL_EVERY:
            self.tell(f"fetching {file.label}")

    def done(self, file: PlannedFile, stored: StoredFile) -> None:
        self.files_done += 1
        self.already += not stored.fresh
        self._bytes[file.address] = self._sizes[file.address] = stored.size
        self.tell(f"{file.label} " + ("arrived" if stored.fresh else "is there already"))

    def tell(self, message: str, *, paced: bool = True) -> None:
        self._told = time.monotonic()
        here = sum(self._bytes.values())
        sizes = [size for size in self._sizes.values() if size is not None]
        total = sum(sizes) if len(sizes) == len(self._sizes) else None
        pace = self._pace.words(total - here if total is not None else None) if paced else ""
        self._progress(
            self.files_done,
            len(self._sizes),
            here,
            total,
            f"{message}; {pace}" if pace else message,
        )


def _quiet(
    files_done: int, files_total: int, bytes_done: int, bytes_total: int | None, message: str, /
) -> None:
    """Progress that nobody wants to see."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user may want meanwhile; both are asked five times a second."""

    cancel: Callable[[], bool] = _never
    pause: Callable[[], bool] = _never

    async def heard(self) -> CScaleError:
        """Wait for one of them."""
        while True:
            if self.cancel():
                return StagingCanceled("The staging was canceled.")
            if self.pause():
                return StagingPaused("The staging is paused.")
            await asyncio.sleep(_LOOK_EVERY)


async def _bring_all(
    staging: StagingPlan, transfer: Transfer, counter: _Counter, wishes: Wishes
) -> tuple[dict[ObjectAddress, StoredFile], list[DamagedData]]:
    """Bring every file, some at a time. Damaged ones are listed; any other failure ends it."""
    stored: dict[ObjectAddress, StoredFile] = {}
    bad: list[DamagedData] = []
    waiting = iter(staging.files)

    async def work() -> None:
        for file in waiting:
            try:
                stored[file.address] = await transfer.bring(file)
            except DamagedData as error:
                bad.append(error)
                counter.tell(error.message)
            else:
                counter.done(file, stored[file.address])

    tasks = [asyncio.create_task(work()) for _ in range(CONCURRENT_FILES)]
    watch = asyncio.create_task(wishes.heard())
    everything = asyncio.gather(*tasks)
    ends: set[asyncio.Future[Any]] = {everything, watch}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and not everything.done():
            wish = watch.result()
            transfer.resting = isinstance(wish, StagingPaused)
            raise wish
        await everything
    except CScaleError as error:
        await _stop(tasks)
        raise _with_kept(error, stored, staging) from error.__cause__
    finally:
        await _stop([*tasks, watch])
        # Its tasks have ended; asking it keeps asyncio from complaining of an unread failure.
        await asyncio.gather(everything, return_exceptions=True)
    return stored, bad


async def _stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    ending = list(tasks)
    for task in ending:
        task.cancel()
    # Their own ends are told by the failure that made them stop.
    await asyncio.gather(*ending, return_exceptions=True)


def _with_kept(
    error: CScaleError, stored: dict[ObjectAddress, StoredFile], staging: StagingPlan
) -> CScaleError:
    """The same error, saying what is kept."""
    kept = (
        f"{len(stored)} of {len(staging.files)} files are in s3://{staging.grant.bucket}/ and are "
        "kept; no item of this staging was published. "
    )
    if isinstance(error, StagingPaused):
        kept += "Resume it to go on, also in the middle of a file."
    else:
        kept += "Stage again to go on from there."
    error.hint = " ".join(filter(None, [error.hint, kept]))
    error.details["kept"] = sorted(address.s3 for address in stored)
    return error


async def stage(
    plan: StagingPlan,
    store: ObjectStore,
    http: httpx.AsyncClient,
    *,
    progress: Progress = _quiet,
    cancelled: Callable[[], bool] = _never,
    paused: Callable[[], bool] = _never,
    notes: StagingNotes | None = None,
    renew: Renew | None = None,
    finish: Finish | None = None,
    one_at_a_time: OneAtATime | None = None,
    part_size: int = PART_SIZE,
) -> list[dict[str, Any]]:
    """Do what was planned.

    :param http: made by :func:`cscale_core.http.guarded_client`.
    :param cancelled: asked five times a second; True ends the staging.
    :param paused: asked as often; True lets it rest.
    :param notes: of this staging. Where it rests or its task is cancelled, the parts that arrived
        stay in the store, and a call with the notes goes on after them. However else it ends,
        nothing unseen stays behind. Without notes, parts are thrown away in each case.
    :param renew: asked for another address of a file when its source answers that it may not be
        read (401, 403, 410), as links that are signed end.
    :param finish: gives an item its last form, after its files have arrived.
    :param one_at_a_time: shared with stagings that run beside this one.
    :param part_size: bytes of a part, at least 5 MiB.
    :returns: the published items, in the order of the plan, with three addresses an asset.
    :raises DamagedData: when files are not what their items state; the others were still brought.
    :raises StorageFull: when the store has no room.
    :raises StagingCanceled: when ``cancelled`` said so.
    :raises StagingPaused: when ``paused`` said so.
    :raises UpstreamError: when a source or the store fails for good.
    """
    counter = _Counter(plan, progress)
    transfer = Transfer(
        store,
        http,
        site_egress(plan.site, public=True),
        counter.bytes,
        notes=notes,
        renew=renew,
        one_at_a_time=one_at_a_time,
        part_size=part_size,
    )
    try:
        return await _staged(plan, store, transfer, counter, Wishes(cancelled, paused), finish)
    except StagingPaused:
        raise
    except CScaleError as error:
        if notes is not None and (left := await notes.discard(store)):
            error.details["unfinished_uploads"] = left
        raise
    finally:
        if notes is not None:
            await asyncio.shield(notes.flush())


async def _staged(
    plan: StagingPlan,
    store: ObjectStore,
    transfer: Transfer,
    counter: _Counter,
    wishes: Wishes,
    finish: Finish | None,
) -> list[dict[str, Any]]:
    for sentence in plan.left_out:
        counter.tell(sentence)
    stored, bad = await _bring_all(plan, transfer, counter, wishes)
    if bad:
        raise _with_kept(_summary(bad), stored, plan)
    published: list[dict[str, Any]] = []
    for planned in plan.items:
        try:
            published.append(await _publish(planned, stored, store, plan.site, finish))
        except CScaleError as error:
            error.details["published"] = [item["id"] for item in published]
            error.hint = (
                f"All files are kept; {len(published)} of {len(plan.items)} items were published. "
                + error.hint
            )
            raise
    counter.tell(
        f"{len(published)} items published, {counter.files_done - counter.already} files fetched, "
        f"{counter.already} already there",
        paced=False,
    )
    return published


def _summary(bad: list[DamagedData]) -> DamagedData:
    if len(bad) == 1:
        return bad[0]
    return DamagedData(
        f"{len(bad)} files are damaged: " + " ".join(error.message for error in bad[:5]),
        hint=bad[0].hint,
        damaged=[error.details for error in bad],
    )


async def _publish(
    planned: PlannedItem,
    stored: dict[ObjectAddress, StoredFile],
    store: ObjectStore,
    site: Site,
    finish: Finish | None,
) -> dict[str, Any]:
    try:
        text = await asyncio.to_thread(store.get, planned.marker)
        before = json.loads(text)
    except (NotFound, ValueError):
        # Not published yet, or not by us: written anew.
        text, before = b"", None
    item = staged_item(planned, stored, before, site)
    if finish is not None:
        item = await finish(item)
    data = json.dumps(item, allow_nan=False, indent=1).encode()
    if data != text:
        await asyncio.to_thread(
            partial(store.put, planned.marker, data, content_type="application/geo+json")
        )
    return item


def staged_item(
    planned: PlannedItem,
    stored: dict[ObjectAddress, StoredFile],
    before: Any,
    site: Site,
) -> dict[str, Any]:
    """The item as it is published: the source's metadata, our addresses, sizes and checksums.

    :param before: the ``item.json`` that is there already: assets staged earlier stay in it.
    """
    source = planned.item
    item = {name: source[name] for name in _MEMBERS if name in source}
    item.setdefault("stac_version", "1.1.0")
    item["collection"] = planned.collection
    item["stac_extensions"] = _extensions(source.get("stac_extensions"))
    item["links"] = _links(source)
    assets = _earlier_assets(planned, before, site)
    for file in planned.files:
        asset = {
            name: value
            for name, value in source["assets"][file.asset].items()
            if name not in _SOURCE_FIELDS
        }
        arrived = stored[file.address]
        asset |= asset_addresses(file.address, site)
        asset |= {"file:size": arrived.size, "file:checksum": arrived.multihash}
        assets[file.asset] = asset
    item["assets"] = {key: assets[key] for key in sorted(assets)}
    return item


def _earlier_assets(planned: PlannedItem, before: Any, site: Site) -> dict[str, Any]:
    if fault(before) or before["id"] != planned.item["id"]:
        return {}
    prefix = planned.marker.key.removesuffix(ITEM_FILE)
    earlier = {}
    for key, asset in before["assets"].items():
        try:
            address = parse(asset["href"], site)
        except InvalidInput:
            # Somebody changed the file by hand; what it names is not ours.
            continue
        if address and address.bucket == planned.marker.bucket and address.key.startswith(prefix):
            earlier[key] = asset
    return earlier


def _extensions(stated: Any) -> list[str]:
    """The source's extensions, with ours in place of other versions of the same."""
    ours = (FILE_EXTENSION, ALTERNATE_EXTENSION)
    bases = tuple(uri.rsplit("/", 2)[0] + "/" for uri in ours)
    kept = [uri for uri in stated or () if isinstance(uri, str) and not uri.startswith(bases)]
    return [*kept, *ours]


def _links(source: dict[str, Any]) -> list[dict[str, Any]]:
    """Where it comes from: provenance links that are absolute, and one to the source item."""
    links = [
        {name: str(link[name]) for name in ("rel", "href", "type", "title") if link.get(name)}
        for link in source.get("links") or []
        if isinstance(link, dict)
        and link.get("rel") in _KEPT_LINKS
        and str(link.get("href", "")).startswith(("http://", "https://"))
    ]
    if not any(link["rel"] == "via" for link in links) and (href := self_link(source)):
        provider = source.get(PROVIDER_MEMBER)
        title = f"Source item at {provider}" if provider else "Source item"
        links.append({"rel": "via", "href": href, "type": "application/geo+json", "title": title})
    return links
