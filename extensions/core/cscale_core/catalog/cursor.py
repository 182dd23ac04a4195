"""The cursor: where one search stands at every provider, signed, small enough for a URL.

Whoever holds the key can go on, so a search survives a restart of the service. What a cursor says
goes back to providers as requests, therefore nobody else can write one.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from itsdangerous import BadSignature, TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from cscale_core.catalog.place import Place
from cscale_core.catalog.query import SearchQuery
from cscale_core.catalog.seen import Seen
from cscale_core.catalog.wire import Request
from cscale_core.errors import InvalidInput

LONGEST = 64 * 1024
_SALT = "cscale.catalog.cursor"
_FRESH = 7 * 24 * 3600
_HASH = 5
_UNKNOWN = -(2**31)
_HINT = "Start the search anew, and use the cursor of its answer as it is."


@dataclass(slots=True)
class State:
    """One search between two merged pages."""

    places: dict[str, Place] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)


class Cursors:
    """Writes and reads cursors.

    :param key: what they are signed with; the same key reads them after a restart.
    """

    def __init__(self, key: bytes) -> None:
        self._signer = TimestampSigner(key, salt=_SALT)

    def write(self, query: SearchQuery, state: State) -> str:
        """The cursor of a state."""
        base = query.body(0)
        ids = list(state.places)
        head = _written([_packed(name, place, base) for name, place in state.places.items()])
        body = struct.pack(">I", len(head)) + head + _packed_seen(state.seen, ids)
        packer = zlib.compressobj(9, zdict=_dictionary(query))
        packed = packer.compress(body) + packer.flush()
        signed = query.fingerprint()[:16].encode() + base64_encode(packed)
        return self._signer.sign(signed).decode()

    def read(self, query: SearchQuery, cursor: str) -> State:
        """The state of a cursor.

        :raises InvalidInput: when it is none of ours, of another search, or too old.
        """
        try:
            if len(cursor) > LONGEST:
                raise BadSignature("too long")
            signed = self._signer.unsign(cursor, max_age=_FRESH)
        except (BadSignature, UnicodeEncodeError) as error:
            raise InvalidInput(
                "The cursor is not valid here, or too old to go on from.", hint=_HINT
            ) from error
        if signed[:16].decode() != query.fingerprint()[:16]:
            raise InvalidInput("The cursor belongs to another search.", hint=_HINT)
        try:
            return _unpacked_state(query, base64_decode(signed[16:]))
        except (zlib.error, struct.error, ValueError, TypeError, LookupError) as error:
            # Written by another release.
            raise InvalidInput("The cursor is too old to go on from.", hint=_HINT) from error


def _unpacked_state(query: SearchQuery, packed: bytes) -> State:
    body = zlib.decompressobj(zdict=_dictionary(query)).decompress(packed)
    (length,) = struct.unpack_from(">I", body)
    base = query.body(0)
    entries = json.loads(body[4 : 4 + length])
    places = {entry[0]: _unpacked(entry, base) for entry in entries}
    return State(places, _unpacked_seen(body[4 + length :], list(places)))


def _dictionary(query: SearchQuery) -> bytes:
    """What most requests have in common with the question, so that it need not be repeated."""
    asked = query.model_dump(mode="json", exclude={"limit", "providers"}, exclude_defaults=True)
    return _written([asked, query.body(0)])[-32768:]


def _written(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _packed(name: str, place: Place, base: Mapping[str, Any]) -> list[Any]:
    request = place.request
    asked = None
    if request is not None:
        asked = [
            request.method[0],
            request.url,
            _difference(request.body, base),
            _difference(request.params, base),
            request.headers,
        ]
    return [
        name,
        place.mode,
        asked,
        place.taken,
        b"".join(place.last).hex(),
        b"".join(place.behind).hex(),
        place.reached,
        place.failures,
        place.done,
        place.count,
        place.sent,
    ]


def _difference(
    given: Mapping[str, Any] | None, base: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]] | None:
    if given is None:
        return None
    same = [name for name, value in given.items() if name in base and base[name] == value]
    return same, {name: value for name, value in given.items() if name not in same}


def _together(packed: Any, base: Mapping[str, Any]) -> dict[str, Any] | None:
    if packed is None:
        return None
    same, other = packed
    return {**{name: base[name] for name in same}, **other}


def _unpacked(entry: list[Any], base: Mapping[str, Any]) -> Place:
    _, mode, asked, taken, last, behind, reached, failures, done, count, sent = entry
    request = None
    if asked is not None:
        method, url, body, params, headers = asked
        request = Request(
            "POST" if method == "P" else "GET",
            url,
            _together(body, base),
            _together(params, base),
            headers,
        )
    return Place(
        mode=mode,
        request=request,
        taken=taken,
        last=_hashes(bytes.fromhex(last)),
        behind=_hashes(bytes.fromhex(behind)),
        reached=reached,
        failures=failures,
        done=done,
        count=count,
        sent=tuple(sent),
    )


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + _HASH] for at in range(0, len(joined), _HASH))


def _packed_seen(seen: Seen, ids: list[str]) -> bytes:
    """Column by column, because that is compressed best: hashes, archives, times."""
    bits = {name: 1 << number for number, name in enumerate(ids)}
    width = (len(ids) + 7) // 8
    hashes, archives, times = bytearray(), bytearray(), bytearray()
    for product, entries in seen.products.items():
        for providers, moment in entries:
            hashes += product
            archives += sum(bits.get(name, 0) for name in providers).to_bytes(width, "big")
            whole = _UNKNOWN if moment is None else max(_UNKNOWN + 1, min(int(moment), 2**31 - 1))
            times += struct.pack(">i", whole)
    return bytes(hashes + archives + times)


def _unpacked_seen(packed: bytes, ids: list[str]) -> Seen:
    width = (len(ids) + 7) // 8
    number = len(packed) // (_HASH + width + 4)
    hashes = _hashes(packed[: number * _HASH])
    archives = packed[number * _HASH : number * (_HASH + width)]
    times = struct.unpack_from(f">{number}i", packed, number * (_HASH + width))
    seen = Seen()
    for index, product in enumerate(hashes):
        bits = int.from_bytes(archives[index * width : (index + 1) * width], "big")
        providers = [name for place, name in enumerate(ids) if bits >> place & 1]
        moment = None if times[index] == _UNKNOWN else float(times[index])
        seen.add(product, providers, moment)
    return seen
