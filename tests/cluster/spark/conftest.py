"""The image of Spark on the node, once."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.spark import executor_image
from tests.cluster.spawn.conftest import load


@pytest.fixture(scope="session")
def spark_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name; the test is skipped where it cannot be had."""
    image = executor_image.make()
    load(cluster, image, tmp_path_factory.mktemp("spark-image"))
    return image
