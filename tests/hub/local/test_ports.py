"""Ports are kept between starts, and change only when another program took them."""

from __future__ import annotations

import socket
from pathlib import Path

from cscale_hub.local.ports import FIRST, choose, is_free

NAMES = ("hub", "s3", "issuer")


def test_ports_are_the_same_on_the_second_start(tmp_path: Path) -> None:
    first, notes = choose(NAMES, tmp_path / "ports.json", {})
    assert len(set(first.values())) == len(NAMES)
    assert notes == []
    assert choose(NAMES, tmp_path / "ports.json", {}) == (first, [])


def test_taken_port_is_replaced_and_said(tmp_path: Path) -> None:
    first, _ = choose(NAMES, tmp_path / "ports.json", {})
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["s3"]))
        other.listen()
        assert not is_free(first["s3"])
        second, notes = choose(NAMES, tmp_path / "ports.json", {})
    assert second["s3"] != first["s3"]
    assert {name: second[name] for name in ("hub", "issuer")} == {
        name: first[name] for name in ("hub", "issuer")
    }
    assert len(notes) == 1
    assert str(first["s3"]) in notes[0]
    # The new one is what is remembered from now on.
    assert choose(NAMES, tmp_path / "ports.json", {})[0] == second


def test_new_ports_are_in_a_row_of_which_none_is_taken(tmp_path: Path) -> None:
    names = [str(number) for number in range(24)]
    for number in range(20):
        ports, _ = choose(names, tmp_path / f"{number}.json", {})
        assert len(set(ports.values())) == 24
        assert len({(port - FIRST) // 32 for port in ports.values()}) == 1, ports


def test_wanted_port_is_used_when_free(tmp_path: Path) -> None:
    free, _ = choose(("x",), tmp_path / "a.json", {})
    ports, notes = choose(NAMES, tmp_path / "b.json", {"hub": free["x"]})
    assert ports["hub"] == free["x"]
    assert notes == []


def test_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{not json", encoding="utf-8")
    ports, _ = choose(NAMES, tmp_path / "ports.json", {})
    assert choose(NAMES, tmp_path / "ports.json", {})[0] == ports
