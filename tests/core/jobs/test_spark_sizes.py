"""Sizes of Spark applications by name, and whether they fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cscale_core.jobs.engines.spark.options import SparkOptions
from cscale_core.jobs.engines.spark.sizes import sizes
from cscale_core.site import Site

CLUSTER = {"namespace": "spark", "image": "spark:4"}


def test_on_one_machine_there_are_no_sizes(make_site: Callable[..., Site]) -> None:
    assert sizes(make_site()) == []


def spark(**more: Any) -> dict[str, Any]:
    return {"kinds": ["kubernetes"], "kubernetes": CLUSTER, **more}


def test_sizes_say_what_their_pods_ask_for(make_site: Callable[..., Site]) -> None:
    found = {size.name: size for size in sizes(make_site(spark=spark()))}
    assert list(found) == ["small", "medium", "large"]
    driver, executor = found["small"].pods
    assert (driver["memory"], driver["count"]) == ("1433m", 1)
    # 2 GiB of heap and 0.4 of it beside, for Python.
    assert (executor["memory"], executor["cpus"]) == ("2867m", 1)
    assert found["small"].fits is None
    for size in found.values():
        SparkOptions.model_validate(size.options)


def test_what_does_not_fit_says_what_would(make_site: Callable[..., Site]) -> None:
    node = {"cpus": 4, "memory": "8g"}
    found = {size.name: size for size in sizes(make_site(spark=spark(node=node)))}
    assert [found[name].fits for name in ("small", "medium", "large")] == [True, True, False]
    assert "the largest node has 8g" in found["large"].problem
    assert "fits" in found["large"].problem
    assert found["medium"].problem == ""


@pytest.mark.parametrize("cpus", [1, 2])
def test_processors_count_too(make_site: Callable[..., Site], cpus: int) -> None:
    node = {"cpus": cpus, "memory": "64g"}
    found = {size.name: size for size in sizes(make_site(spark=spark(node=node)))}
    assert found["small"].fits is True
    assert found["medium"].fits is (cpus >= 2)
    assert found["large"].fits is False
