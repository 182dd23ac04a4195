"""Runs stac-api-validator without the internet, and says what it wanted from there.

``python offline_validator.py OPTIONS``: the options are the validator's own. It reads JSON schemas
by ``requests``; those of STAC 1.1 and GeoJSON come from pystac, which brings them along. Any other
schema, and any connection to another machine, fails and is named on the last line of the output
(``outside: nothing`` when there was none).
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from pystac.validation.local_validator import get_local_schema_cache
from stac_api_validator.__main__ import main
from stac_validator import utilities

LOOPBACK = ("127.0.0.1", "::1")
schemas = get_local_schema_cache()
used: set[str] = set()
outside: set[str] = set()

fetch = utilities.fetch_and_parse_file
connect = socket.socket.connect


def fetch_local(path: str, headers: Any = None) -> Any:
    if path in schemas:
        used.add(path)
        return schemas[path]
    return fetch(path, headers)


def connect_local(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
        outside.add(str(address[0]))
        raise ConnectionRefusedError(f"{address[0]} is not this machine")
    connect(self, address)


def resolve_local(host: Any, *arguments: Any, **options: Any) -> Any:
    if host not in (*LOOPBACK, "localhost", None):
        outside.add(str(host))
        raise socket.gaierror(f"{host} is not this machine")
    return resolve(host, *arguments, **options)


resolve = socket.getaddrinfo
utilities.fetch_and_parse_file = fetch_local
socket.socket.connect = connect_local  # type: ignore[method-assign]
socket.getaddrinfo = resolve_local

if __name__ == "__main__":
    try:
        main(prog_name="stac-api-validator")
    finally:
        print("schemas:", ", ".join(sorted(used)) or "none")
        print("outside:", ", ".join(sorted(outside)) or "nothing")
        sys.stdout.flush()
