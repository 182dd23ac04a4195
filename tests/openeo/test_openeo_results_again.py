"""A result that was published is loaded by another job, and gives the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openeo
import pytest
import rasterio
from openeo.rest.auth.auth import BearerAuth
from openeo_builders import INTERVALS, LABELS, area_extent, child, load_node, node, par, ref
from openeo_servers import Issuer, Running

from tests.waiting import until

pytestmark = pytest.mark.spark

ALICE = "a" * 64 + "@egi.eu"


def yearly() -> dict[str, Any]:
    """The median of each year, three bands in a file a year."""
    return {
        "load": load_node(),
        "coarse": node("resample_spatial", data=ref("load"), resolution=30, method="near"),
        "yearly": node(
            "aggregate_temporal",
            data=ref("coarse"),
            intervals=INTERVALS,
            labels=LABELS,
            reducer=child(r=node("median", data=par("data"))),
        ),
        "save": node(
            "save_result",
            True,
            data=ref("yearly"),
            format="GTiff",
            options={"filename_prefix": "yearly"},
        ),
    }


def again(bands: list[str], reducer: str) -> dict[str, Any]:
    """What was published, over time."""
    return {
        "load": node(
            "load_collection",
            id="results",
            spatial_extent=area_extent(),
            temporal_extent=["2019-01-01", "2022-01-01"],
            bands=bands,
        ),
        "one": node(
            "reduce_dimension",
            data=ref("load"),
            dimension="t",
            reducer=child(r=node(reducer, data=par("data"), ignore_nodata=False)),
        ),
        "save": node("save_result", True, data=ref("one"), format="GTiff"),
    }


def test_published_results_are_loaded_again_with_the_same_pixels(
    service: Running, issuer: Issuer, tmp_path: Path
) -> None:
    connection = openeo.connect(service.url)
    connection.auth = BearerAuth(f"oidc/egi/{issuer.token(ALICE)}")
    job = connection.create_job({"process_graph": yearly()}, title="Yearly")
    job.start()
    until(lambda: job.status() in ("finished", "error", "canceled"), "the end of the job", 240)
    assert job.status() == "finished", job.logs()
    job.get_results().download_files(tmp_path)
    layers = []
    for label in LABELS:
        with rasterio.open(tmp_path / f"yearly_{label}.tif") as dataset:
            layers.append(dataset.read())
    truth = np.stack(layers)

    items = job.get_results().get_metadata()["cscale:items"]
    assert [item["properties"]["datetime"][:10] for item in items] == LABELS
    for item in items:
        (asset,) = item["assets"].values()
        assert [band["name"] for band in asset["bands"]] == ["B11", "B08", "B03"]
        assert asset["proj:code"] == "EPSG:32630"
        assert asset["type"].endswith("profile=cloud-optimized")
    service.catalogue.items += items
    service.catalogue.bare.add("results")
    try:
        with httpx.Client(base_url=service.url, trust_env=False, timeout=120) as http:
            for reducer, index in (("first", 0), ("last", 2)):
                answer = http.post(
                    "/result",
                    headers=issuer.bearer(ALICE),
                    json={"process": {"process_graph": again(["B03", "B11"], reducer)}},
                )
                assert answer.status_code == 200, answer.text
                with rasterio.MemoryFile(answer.content) as memory, memory.open() as dataset:
                    assert dataset.descriptions == ("B03", "B11")
                    found = dataset.read()
                np.testing.assert_array_equal(found, truth[index][[2, 0]])
    finally:
        service.catalogue.items[:] = [
            item for item in service.catalogue.items if item["collection"] != "results"
        ]
        service.catalogue.bare.clear()
