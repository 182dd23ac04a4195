"""How fast objects are read: in a pod through a mount, and by boto3 in ranges, past every mount.

Whole objects from their first byte to the last, and pieces of a mebibyte here and there, as a COG
is read; each object is read for the first time, as nothing may come out of a cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.node import ADDRESS, Node
from tests.cluster.spawn.running_hub import NAMESPACE
from tests.cluster.spawn.store import ACCESS_KEY, PORT, SECRET_KEY, Store

MIB = 2**20
SIZE = 64 * MIB
STEP = 8 * MIB
PIECES = 32
# By the golden ratio: spread, and never beside the one before.
OFFSETS = [int(number * 0.6180339887 % 1.0 * (SIZE // MIB - 1)) * MIB for number in range(PIECES)]

_THROUGH = """
import json, sys, time
whole, some, step, size, offsets = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:6])
began = time.monotonic()
read = 0
with open(whole, "rb", buffering=0) as file:
    while piece := file.read(step):
        read += len(piece)
through = time.monotonic() - began
assert read == size, read
began = time.monotonic()
with open(some, "rb", buffering=0) as file:
    for offset in offsets:
        file.seek(offset)
        left = 2**20
        while left:
            left -= len(file.read(left))
print(json.dumps([through, time.monotonic() - began]))
"""
_RANGES = """
import json, sys, time
import boto3
from botocore.config import Config
endpoint, access, secret, whole, some, step, size, offsets = (
    *sys.argv[1:6], *map(json.loads, sys.argv[6:9]))
client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access,
    aws_secret_access_key=secret, region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, proxies={}))

def get(place, first, length):
    bucket, _, key = place.partition("/")
    answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{first + length - 1}")
    return len(answer["Body"].read())

client.list_buckets()
began = time.monotonic()
read = sum(get(whole, first, min(step, size - first)) for first in range(0, size, step))
through = time.monotonic() - began
assert read == size, read
began = time.monotonic()
assert sum(get(some, offset, 2**20) for offset in offsets) == len(offsets) * 2**20
print(json.dumps([through, time.monotonic() - began]))
"""
_NUMBERS = [json.dumps(each) for each in (STEP, SIZE, OFFSETS)]


def write_objects(store: Store, folder: Path, places: list[str]) -> None:
    """Put an object of :data:`SIZE` random bytes at each place."""
    file = folder / "random"
    with Path("/dev/urandom").open("rb") as source:
        file.write_bytes(source.read(SIZE))
    for place in places:
        store.rclone("copyto", str(file), f":s3:{place}")
    file.unlink()


def through_mount(node: Node, pod: str, whole: str, some: str) -> tuple[float, float]:
    """Seconds for a whole object, and for the pieces of another, read in a pod."""
    said = node.plane.access.kubectl(
        *("exec", pod, f"--namespace={NAMESPACE}", "--container=notebook", "--"),
        *("python3", "-c", _THROUGH, f"/s3/{whole}", f"/s3/{some}", *_NUMBERS),
    )
    return tuple(json.loads(said))


def by_ranges(node: Node, whole: str, some: str) -> tuple[float, float]:
    """The same by boto3, on the node."""
    keys = (f"http://{ADDRESS}:{PORT}", ACCESS_KEY, SECRET_KEY)
    done = subprocess.run(
        [*node.inside, sys.executable, "-c", _RANGES, *keys, whole, some, *_NUMBERS],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return tuple(json.loads(done.stdout))
