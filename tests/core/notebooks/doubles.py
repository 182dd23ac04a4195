"""Notebooks of every temper, and an object store in memory that keeps to grants."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from PIL import Image

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import Forbidden, NotFound
from cscale_core.notebooks.library import Submission
from cscale_core.objects import ObjectHead
from cscale_core.site import Site

VO = "aqua.example"
OTHER_VO = "water.example"
BUCKETS = {VO: "aqua", OTHER_VO: "water"}
ALICE, BOB = "ualiceaaaaaa", "ubobbbbbbbbb"


def png(colour: tuple[int, int, int] = (10, 90, 200), size: tuple[int, int] = (900, 600)) -> bytes:
    made = BytesIO()
    Image.new("RGB", size, colour).save(made, "PNG")
    return made.getvalue()


def output(**data: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()[:8],
        "source": source,
        "metadata": {},
        "outputs": list(outputs),
        "execution_count": 1,
    }


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "m1", "source": source, "metadata": {}}


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def picture_output(data: bytes) -> dict[str, Any]:
    return output(**{"image/png": base64.b64encode(data).decode(), "text/plain": "<Figure>"})


class MemoryStore:
    """What all users' stores are over: the objects of every bucket."""

    def __init__(self) -> None:
        self.objects: dict[ObjectAddress, tuple[bytes, datetime]] = {}
        self.lock = threading.Lock()
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)

    def of(self, site: Site) -> UserStore:
        return UserStore(self, site)


class UserStore:
    """One user's: refuses what the site's grants do not give, as session policies do."""

    def __init__(self, memory: MemoryStore, site: Site) -> None:
        self.memory = memory
        self.site = site
        self.before_put: Callable[[ObjectAddress], None] = lambda address: None

    def _check(self, bucket: str, key: str, *, write: bool = False) -> None:
        for grant in self.site.grants:
            inside = grant.bucket == bucket and key.startswith(grant.prefix)
            if inside and (grant.access == "rw" or not write):
                return
        raise Forbidden("The object store does not allow it.")

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectHead]:
        self._check(bucket, prefix)
        with self.memory.lock:
            kept = sorted(self.memory.objects.items(), key=lambda one: one[0].key)
        for address, (data, when) in kept:
            if address.bucket == bucket and address.key.startswith(prefix):
                yield ObjectHead(address, len(data), hashlib.sha256(data).hexdigest(), when)

    def get(self, address: ObjectAddress, *, start: int = 0, length: int | None = None) -> bytes:
        self._check(address.bucket, address.key)
        with self.memory.lock:
            if address not in self.memory.objects:
                raise NotFound("It does not exist.")
            data = self.memory.objects[address][0]
        return data[start:] if length is None else data[start : start + length]

    def put(self, address: ObjectAddress, data: bytes, *, content_type: str = "") -> None:
        self._check(address.bucket, address.key, write=True)
        self.before_put(address)
        with self.memory.lock:
            self.memory.clock += timedelta(seconds=1)
            self.memory.objects[address] = (data, self.memory.clock)

    def delete(self, address: ObjectAddress) -> None:
        self._check(address.bucket, address.key, write=True)
        with self.memory.lock:
            self.memory.objects.pop(address, None)


def site_of(user: str, **roles: str) -> Site:
    """The site of a user: by VO (first label) what they are: member, reader, curator or author."""
    grants = []
    names = {name.split(".")[0]: name for name in BUCKETS}
    for short, role in roles.items():
        vo = names[short]
        own = {"prefix": f"shared/published/{user}/", "access": "rw"}
        whole = {"prefix": "shared/", "access": "rw" if role == "curator" else "ro"}
        given = {"member": (whole, own), "reader": (whole,), "curator": (whole,), "author": (own,)}
        place = {"bucket": BUCKETS[vo], "vo": vo, "purpose": "shared"}
        grants += [place | each for each in given[role]]
    return Site.model_validate(
        {
            "user": user,
            "display_name": f"{user.title()} <b>",
            "vos": [names[short] for short in roles],
            "s3": {"endpoint": "http://127.0.0.1:9"},
            "catalogue": {"url": "http://127.0.0.1:9/catalogue"},
            "grants": grants,
        }
    )


def submission(made: dict[str, Any] | None = None, **changes: Any) -> Submission:
    members: dict[str, Any] = {
        "notebook": made or notebook(code("1 + 1", output(**{"text/plain": "2"}))),
        "source": "analysis.ipynb",
        "source_sha256": hashlib.sha256(json.dumps(made).encode()).hexdigest(),
        "vo": VO,
        "title": "Water quality",
        "outputs": True,
    }
    return Submission(**members | changes)
