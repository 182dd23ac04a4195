"""Results in the object store are opened with the credentials of the server, without a mount."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cscale_core.addresses import ObjectAddress, asset_addresses
from cscale_core.errors import DamagedData
from cscale_core.objects import ObjectStore
from cscale_core.site import Site
from cscale_core.workflows.opening import open_items

ADDRESS = ObjectAddress("vobucket", "users/utest/jobs/j/slope a.tif")
VALUES = np.arange(600 * 500, dtype="float32").reshape(600, 500)


@pytest.fixture
def items(site: Site, store: ObjectStore) -> list[dict[str, Any]]:
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=500,
            height=600,
            count=1,
            dtype="float32",
            crs="EPSG:32629",
            transform=from_origin(500_000, 4_200_000, 10, 10),
            tiled=True,
            blockxsize=256,
            blockysize=256,
        ) as dataset:
            dataset.write(VALUES, 1)
            dataset.descriptions = ("slope",)
        store.put(ADDRESS, io.BytesIO(memory.read()).getvalue())
    asset = {**asset_addresses(ADDRESS, site), "type": "image/tiff", "roles": ["data"]}
    properties = {"datetime": "2020-01-01T00:00:00Z"}
    return [{"id": "i", "properties": properties, "assets": {"slope": asset}}]


def test_values_come_from_the_store(items: list[dict[str, Any]], site: Site) -> None:
    opened = open_items(items, site=site)
    np.testing.assert_array_equal(opened["slope"][100:110, 7], VALUES[100:110, 7])
    pieces = open_items(items, chunks={"x": 256, "y": 256}, site=site)
    assert float(pieces["slope"].mean()) == pytest.approx(VALUES.mean(), rel=1e-6)


def test_what_is_opened_can_be_sent_to_a_worker(items: list[dict[str, Any]], site: Site) -> None:
    pieces = open_items(items, chunks={}, fresh=lambda: items, site=site)
    sent = pickle.loads(pickle.dumps(pieces))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(sent["slope"], VALUES)


def test_object_that_was_removed_is_named(
    items: list[dict[str, Any]], site: Site, store: ObjectStore
) -> None:
    store.delete(ADDRESS)
    with pytest.raises(DamagedData, match="slope of i cannot be read"):
        open_items(items, site=site)["slope"].load()
