"""What the measurement of servers on Kubernetes is made of, without a cluster."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.spawning import fake_nodes
from benchmarks.spawning.hubs import FAKE, MOUNT, OurHub, PlainHub
from benchmarks.spawning.reading import MIB, OFFSETS, PIECES, SIZE
from cscale_hub.settings import load_settings


@pytest.fixture
def node(tmp_path: Path) -> Any:
    return SimpleNamespace(plane=SimpleNamespace(access=None), shared=tmp_path / "shared")


def test_our_hub_has_profiles_for_real_nodes_and_for_the_others(node: Any, tmp_path: Path) -> None:
    hub = OurHub(node, tmp_path / "ours")
    settings = load_settings(hub.folder / "cscale.yaml", environment=False)
    assert settings.vos is not None
    profiles = settings.vos.profiles
    assert profiles["many"].node_selector == FAKE
    assert profiles["node"].node_selector == {"kubernetes.io/hostname": "node"}
    assert profiles["sidecar"].image == MOUNT
    assert "many" in settings.vos.vos["aqua.example.eu"].profiles["member"]
    text = (hub.folder / "jupyterhub_config.py").read_text(encoding="utf-8")
    compile(text, "jupyterhub_config.py", "exec")


def test_the_plain_hub_has_nothing_of_ours_and_ports_of_its_own(node: Any, tmp_path: Path) -> None:
    ours = OurHub(node, tmp_path / "ours")
    ours.kubeconfig = tmp_path / "kubeconfig"
    plain = PlainHub(ours, tmp_path / "plain", {"a": "b"})
    text = (plain.folder / "jupyterhub_config.py").read_text(encoding="utf-8")
    compile(text, "jupyterhub_config.py", "exec")
    assert "cscale_hub" not in text
    assert not set(plain.ports) & set(ours.ports)
    assert plain.url != ours.url


def test_every_fake_node_has_addresses_of_its_own() -> None:
    made = [fake_nodes._node(f"fake-{number}", number) for number in range(5)]
    assert len({each["spec"]["podCIDR"] for each in made}) == 5
    assert all(each["spec"]["taints"] for each in made)


def test_pieces_are_spread_and_within_the_object() -> None:
    assert len(set(OFFSETS)) == PIECES
    assert all(0 <= offset <= SIZE - MIB for offset in OFFSETS)
    assert min(abs(a - b) for a, b in pairwise(OFFSETS)) > 2 * MIB
