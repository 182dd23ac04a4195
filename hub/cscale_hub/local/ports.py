"""Free loopback ports, kept from one start to the next.

Addresses end up in bookmarks, catalogues and tokens, so a port is used again whenever it is free;
only when another program took it is a new one chosen, and the caller is told.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# Below the range from which the kernel takes ports for outgoing connections (32768 and up), and
# far enough below for services that also listen at port + 10000.
FIRST, LAST = 18_000, 22_700
# New ports are side by side in a row of which none is taken. Two federations would else often want
# one port: what the one has chosen and not opened yet, or what is starting again, looks free.
_ROW = 32


def is_free(port: int) -> bool:
    """Whether nothing listens on the loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection in TIME_WAIT does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(
    names: Iterable[str], file: Path, preferred: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Ports for all names: the ones of last time, else the preferred ones, else any free ones.

    :param file: where they are remembered; written when anything changed.
    :param preferred: ports to try first for a name that has none yet.
    :returns: the ports, and one sentence for each port that had to change.
    :raises OSError: when no free port is left.
    """
    remembered = _read(file)
    chosen: dict[str, int] = {}
    notes: list[str] = []
    new = (port for port in _rows() if port not in {*chosen.values(), *remembered.values()})
    for name in names:
        wanted = preferred.get(name) or remembered.get(name)
        if wanted and wanted not in chosen.values() and is_free(wanted):
            chosen[name] = wanted
            continue
        chosen[name] = next(new)
        if wanted:
            notes.append(
                f"Port {wanted} ({name}) is taken by another program; using {chosen[name]} instead."
            )
    if chosen != remembered:
        file.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")
    return chosen, notes


def _read(file: Path) -> dict[str, int]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a first start, or a damaged file: new ports are as good
    if not isinstance(content, dict):
        return {}
    return {name: port for name, port in content.items() if isinstance(port, int)}


def _rows() -> Iterator[int]:
    """The ports of one free row after the other."""
    for _ in range(500):
        first = FIRST + _ROW * secrets.randbelow((LAST - FIRST) // _ROW)
        row = range(first, first + _ROW)
        if all(map(is_free, row)):
            yield from row
    raise OSError(f"no free ports on 127.0.0.1 between {FIRST} and {LAST}")
