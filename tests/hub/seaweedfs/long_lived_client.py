"""One client of S3 in one process that outlives its credentials: ``python … NAME ENDPOINT``.

It reads an object, says so, waits for a line on its standard input (which comes when every key
that there was has ended), and reads another object with what it has made before.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BUCKET = "aquamonitor"
FIRST, SECOND = "products/c/i/first", "products/c/i/second"
Read = Callable[[str], Any]


@contextlib.contextmanager
def with_boto3(endpoint: str) -> Iterator[Read]:
    import boto3

    client = boto3.session.Session().client("s3")
    yield lambda key: client.get_object(Bucket=BUCKET, Key=f"{key}.txt")["Body"].read().decode()


@contextlib.contextmanager
def with_s3fs(endpoint: str) -> Iterator[Read]:
    import s3fs

    files = s3fs.S3FileSystem()
    yield lambda key: files.cat_file(f"{BUCKET}/{key}.txt").decode()


@contextlib.contextmanager
def with_gdal(endpoint: str) -> Iterator[Read]:
    """GDAL's own search for credentials: rasterio is kept from handing it those of boto3."""
    import rasterio
    from rasterio.session import DummySession

    def read(key: str) -> int:
        with rasterio.open(f"/vsis3/{BUCKET}/{key}.tif") as image:
            return int(image.read(1)[0, 0])

    with rasterio.Env(session=DummySession()):
        yield read


@contextlib.contextmanager
def with_rasterio(endpoint: str) -> Iterator[Read]:
    import rasterio

    def read(key: str) -> int:
        with rasterio.open(f"s3://{BUCKET}/{key}.tif") as image:
            return int(image.read(1)[0, 0])

    yield read


@contextlib.contextmanager
def with_rclone(endpoint: str) -> Iterator[Read]:
    """One rclone that is asked over its remote control, as a mount is by the kernel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("rclone"), "rcd", "--rc-no-auth", "--config="]
    process = subprocess.Popen([*command, f"--rc-addr=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    options = f"provider=Other,env_auth=true,no_check_bucket=true,endpoint='{endpoint}'"

    def ask(what: str, **question: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/{what}",
            json.dumps(question).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def read(key: str) -> int:
        found = ask("operations/stat", fs=f":s3,{options}:{BUCKET}", remote=f"{key}.txt")
        return int(found["item"]["Size"])

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                ask("rc/noop")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield read
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def with_duckdb(endpoint: str) -> Iterator[Read]:
    import duckdb

    database = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("httpfs", "aws"):
        folder = importlib.resources.files(f"duckdb_extension_{name}") / "extensions"
        (version,) = folder.iterdir()
        database.load_extension(str(version / f"{name}.duckdb_extension"))
    address = endpoint.removeprefix("http://")
    database.execute(
        "CREATE SECRET (TYPE s3, PROVIDER credential_chain, REFRESH auto, REGION 'us-east-1', "
        f"ENDPOINT '{address}', USE_SSL false, URL_STYLE path)"
    )

    def read(key: str) -> int:
        found = database.read_parquet(f"s3://{BUCKET}/{key}.parquet").sum("n").fetchone()
        assert found is not None
        return int(found[0])

    yield read


CLIENTS = {
    "boto3": with_boto3,
    "s3fs": with_s3fs,
    "gdal": with_gdal,
    "rasterio": with_rasterio,
    "rclone": with_rclone,
    "duckdb": with_duckdb,
}


def main() -> None:
    name, endpoint = sys.argv[1:]
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    with CLIENTS[name](endpoint) as read:
        print(json.dumps(read(FIRST)), flush=True)
        sys.stdin.readline()
        print(json.dumps(read(SECOND)), flush=True)


if __name__ == "__main__":
    main()
