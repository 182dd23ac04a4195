"""A federation whose hub is a pod, and the people who come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.login.deployed_hub import HUB_IMAGE, MOUNT_IMAGE, SERVER_IMAGE
from tests.cluster.login.federation import Federation, Person
from tests.cluster.spawn.conftest import load


@pytest.fixture(scope="session")
def federation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    if cluster.node is None:
        pytest.skip("the provider runs beside its cluster here; only one of our own can be used")
    folder = tmp_path_factory.mktemp("federation")
    for image in (HUB_IMAGE, SERVER_IMAGE, MOUNT_IMAGE):
        load(cluster, image, folder)
    made = Federation(cluster.node, folder)
    try:
        made.start()
        yield made
    finally:
        made.tell()
        made.stop()


@pytest.fixture
def come(federation: Federation) -> Iterator[Callable[[str], Person]]:
    """Lets somebody sign in, by the name of a demonstration account."""
    people: list[Person] = []

    def sign_in(account: str) -> Person:
        people.append(Person(federation, account))
        return people[-1]

    yield sign_in
    for person in people:
        person.leave()
