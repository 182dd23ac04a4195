"""Real servers for the openEO tests, on free loopback ports: issuer, catalogue, S3, the service."""

from __future__ import annotations

import base64
import contextlib
import copy
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import jwt
from botocore.config import Config as BotoConfig
from cryptography.hazmat.primitives.asymmetric import rsa
from openeo_builders import CRS, Scene, scene_box

from tests.waiting import until

BUCKET = "aquamonitor"
VO = "aquamonitor.c-scale.eu"
OTHER_VO = "waterwatch.c-scale.eu"


def free_port() -> int:
    """A free port whose neighbour 10000 above is free too (SeaweedFS takes it for gRPC)."""
    for _ in range(100):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port > 55000:
                continue
            second = stack.enter_context(socket.socket())
            try:
                second.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def reply(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serve(handler: type[_Handler]) -> Iterator[str]:
    """Run a handler; yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _b64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class Issuer:
    """A stub identity provider whose keys and answers the test holds in its hands."""

    url: str = ""
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    entitlements: dict[str, list[str]] = field(default_factory=dict)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    client_secret: str = "secret-of-the-openeo-service"

    def rotate(self, kid: str) -> None:
        """Publish a new key beside the old ones."""
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, subject: str, kid: str = "one", **claims: Any) -> str:
        """A signed access token."""
        now = int(time.time())
        body = {
            "iss": self.url,
            "sub": subject,
            "aud": ["openeo"],
            "iat": now,
            "exp": now + 600,
            "typ": "Bearer",
            **claims,
        }
        return jwt.encode(body, self.keys[kid], algorithm="RS256", headers={"kid": kid})

    def bearer(self, subject: str, **claims: Any) -> dict[str, str]:
        """The header of an openEO request."""
        return {"Authorization": f"Bearer oidc/egi/{self.token(subject, **claims)}"}


def entitlement(group: str) -> str:
    return f"urn:mace:egi.eu:group:{group}:role=member#aai.egi.eu"


@contextlib.contextmanager
def run_issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.rotate("one")

    class Handler(_Handler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            if issuer.broken:
                self.reply({"error": "out of order"}, 500)
            elif self.path == "/jwks":
                keys = []
                for kid, key in issuer.keys.items():
                    numbers = key.public_key().public_numbers()
                    keys.append(
                        {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid}
                        | {"n": _b64(numbers.n), "e": _b64(numbers.e)}
                    )
                self.reply({"keys": keys})
            elif self.path == "/userinfo":
                token = self.headers["Authorization"].removeprefix("Bearer ")
                subject = jwt.decode(token, options={"verify_signature": False})["sub"]
                self.reply(
                    {
                        "sub": subject,
                        "name": "Some One",
                        "eduperson_entitlement": issuer.entitlements.get(subject, []),
                    }
                )
            elif self.path == "/.well-known/openid-configuration":
                self.reply(
                    {
                        "issuer": issuer.url,
                        "token_endpoint": f"{issuer.url}/token",
                        "userinfo_endpoint": f"{issuer.url}/userinfo",
                    }
                )
            else:
                self.reply({}, 404)

        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(
                self.rfile.read(int(self.headers["Content-Length"])).decode()
            )
            login = base64.b64encode(f"cscale-openeo-service:{issuer.client_secret}".encode())
            if self.headers.get("Authorization") != f"Basic {login.decode()}":
                self.reply({"error": "invalid_client"}, 401)
                return
            issuer.asked.append(self.path)
            token = issuer.token(
                "service-account", aud=form["audience"], azp="cscale-openeo-service"
            )
            self.reply({"access_token": token, "token_type": "Bearer", "expires_in": 600})

    with serve(Handler) as url:
        issuer.url = url
        yield issuer


@dataclass
class Catalogue:
    """A small STAC API over a list of items, with pages of two and a switch to break it.

    :ivar bare: collections that describe nothing, as those are that our own publishing makes.
    """

    url: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)
    broken: bool = False
    searches: list[dict[str, Any]] = field(default_factory=list)


COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "scenes",
    "title": "Scenes",
    "description": "Simulated scenes",
    "license": "other",
    "extent": {
        "spatial": {"bbox": [scene_box()]},
        "temporal": {"interval": [["2019-01-01T00:00:00Z", None]]},
    },
    "item_assets": {
        "B11": {"roles": ["data"], "bands": [{"name": "B11", "eo:common_name": "swir16"}]},
        "B08": {"roles": ["data"], "bands": [{"name": "B08", "eo:common_name": "nir"}]},
        "B03": {"roles": ["data"], "bands": [{"name": "B03", "eo:common_name": "green"}]},
    },
    "links": [],
}


@contextlib.contextmanager
def run_catalogue(items: list[dict[str, Any]]) -> Iterator[Catalogue]:
    state = Catalogue(items=items)

    class Handler(_Handler):
        def do_GET(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            if state.broken:
                self.reply({"code": "broken"}, 500)
            elif path == "/collections":
                self.reply({"collections": [COLLECTION], "links": []})
            elif path == "/collections/scenes":
                self.reply(COLLECTION)
            elif (name := path.removeprefix("/collections/")) in state.bare:
                self.reply({**COLLECTION, "id": name, "item_assets": {}})
            else:
                self.reply({"code": "NotFound"}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.searches.append(body)
            if state.broken:
                self.reply({"code": "broken"}, 500)
                return
            start, end = body["datetime"].split("/")
            west, south, east, north = body["bbox"]
            found = [
                item
                for item in state.items
                if item["collection"] in body["collections"]
                and (start == ".." or item["properties"]["datetime"] >= start)
                and (end == ".." or item["properties"]["datetime"] <= end)
                and item["bbox"][0] <= east
                and item["bbox"][2] >= west
                and item["bbox"][1] <= north
                and item["bbox"][3] >= south
            ]
            page = int(body.get("token", 0))
            links = []
            if page + 2 < len(found):
                links = [
                    {
                        "rel": "next",
                        "method": "POST",
                        "href": f"{state.url}/search",
                        "body": {"token": page + 2},
                        "merge": True,
                    }
                ]
            features = found[page : page + 2]
            self.reply({"type": "FeatureCollection", "features": features, "links": links})

    with serve(Handler) as url:
        state.url = url
        yield state


@dataclass
class ObjectStore:
    """A SeaweedFS of the test's own, and its keys."""

    url: str
    access_key: str
    secret_key: str
    token: str | None = None

    @property
    def client(self) -> Any:
        return boto3.session.Session(region_name="us-east-1").client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            aws_session_token=self.token,
            config=BotoConfig(s3={"addressing_style": "path"}),
        )


def weed_program() -> str | None:
    """The SeaweedFS binary of this environment."""
    return shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )


@contextlib.contextmanager
def run_object_store(folder: Path) -> Iterator[ObjectStore]:
    program = weed_program()
    assert program is not None
    store = ObjectStore("", "test-access", "test-secret-of-no-worth")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "test",
                        "credentials": [
                            {"accessKey": store.access_key, "secretKey": store.secret_key}
                        ],
                        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                    }
                ]
            }
        )
    )
    s3_port = free_port()
    command = [
        program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={free_port()}", f"-volume.port={free_port()}",
        f"-filer.port={free_port()}", f"-s3.port={s3_port}", f"-admin.port={free_port()}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false",
        "-master.telemetry=false", f"-s3.config={folder / 's3.json'}",
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder
        )
    store.url = f"http://127.0.0.1:{s3_port}"
    try:

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError((folder / "weed.log").read_text()[-2000:])
            try:
                store.client.create_bucket(Bucket=BUCKET)
                store.client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
            except Exception:
                return False
            return True

        until(up, "the object store")
        yield store
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def run_sts_store(folder: Path, issuer: Issuer) -> Iterator[str]:
    """The local federation's own object store, with STS that trusts the issuer; its address."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("s3_grpc", "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc")
    port = free_port()
    config = {
        "port": port,
        "ports": {name: free_port() for name in names},
        "data_dir": str(folder / "data"),
        "secrets_dir": str(folder / "secrets"),
        "issuer": issuer.url,
        "jwks_url": f"{issuer.url}/jwks",
        "vos": [{"name": VO, "bucket": BUCKET}, {"name": OTHER_VO, "bucket": "waterwatch"}],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cscale_hub.local.seaweedfs",
                "--config",
                str(folder / "config.json"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError((folder / "s3.log").read_text()[-3000:])
            try:
                keys = assume(url, issuer.token("someone", aud=["s3"], azp="cscale-hub"))
                keys.client.put_object(Bucket=BUCKET, Key="products/ready", Body=b"1")
            except Exception:
                return False
            return True

        until(up, "the object store", 90)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def assume(url: str, token: str) -> ObjectStore:
    """The researchers' role, as the broker takes it."""
    from botocore import UNSIGNED

    sts = boto3.session.Session(region_name="us-east-1").client(
        "sts", endpoint_url=url, config=BotoConfig(signature_version=UNSIGNED)
    )
    keys = sts.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::role/cscale-researcher",
        RoleSessionName="test",
        WebIdentityToken=token,
    )["Credentials"]
    return ObjectStore(url, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def upload_scenes(store: ObjectStore, scenes: list[Scene]) -> list[dict[str, Any]]:
    """The scenes' files in the bucket, and items that name them there."""
    items = []
    for scene in scenes:
        item = copy.deepcopy(scene.item)
        item["links"] = [{"rel": "self", "href": f"http://catalogue.test/items/{scene.id}"}]
        for band, asset in item["assets"].items():
            key = f"products/scenes/{scene.id}/{band}.tif"
            store.client.upload_file(asset["href"], BUCKET, key)
            asset["href"] = f"s3://{BUCKET}/{key}"
        items.append(item)
    return items


@dataclass
class Running:
    """A started service."""

    url: str
    port: int
    data_dir: Path
    config_file: Path
    process: subprocess.Popen[bytes]
    issuer: Issuer
    catalogue: Catalogue
    store: ObjectStore
    log: Path

    def kill(self) -> None:
        """kill -9, the service alone: jobs are in sessions of their own."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start on the same configuration and data, and wait until it answers."""
        environment = dict(os.environ)
        environment["AWS_PROFILE"] = "whoever-runs-the-service"
        environment["CANARY_SECRET_KEY"] = "canary-of-the-environment"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cscale_openeo", "--config", str(self.config_file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

        def up() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text()[-3000:])
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200

        until(up, "the service", despite=httpx.HTTPError)

    def stop(self) -> int:
        """SIGTERM, and how it ended."""
        self.process.terminate()
        return self.process.wait(timeout=10)


def service_config(
    folder: Path, port: int, issuer: Issuer, catalogue: Catalogue, store: ObjectStore, **more: Any
) -> dict[str, Any]:
    """The configuration file's content."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "s3.secret"
    secret.write_text(store.secret_key)
    secret.chmod(0o600)

    def vo(name: str, bucket: str) -> dict[str, Any]:
        return {
            "name": name,
            "bucket": bucket,
            "group": name,
            "namespaces": ["mace:egi.eu"],
            "authorities": ["aai.egi.eu"],
            "roles": {"member": ["member"]},
            "enrol_url": f"https://enrol.example/{name}",
        }

    return {
        "host": "127.0.0.1",
        "port": port,
        "prefix": "/services/openeo",
        "data_dir": str(folder / "data"),
        "issuer": issuer.url,
        "jwks_url": f"{issuer.url}/jwks",
        "userinfo_url": f"{issuer.url}/userinfo",
        "vos": [vo(VO, BUCKET), vo(OTHER_VO, "waterwatch")],
        "catalogue_url": catalogue.url,
        "s3": {
            "endpoint": store.url,
            "static": {"access_key": store.access_key, "secret_file": str(secret)},
        },
        "tile_size": 48,
        **more,
    }


@contextlib.contextmanager
def run_service(
    folder: Path, issuer: Issuer, catalogue: Catalogue, store: ObjectStore, **more: Any
) -> Iterator[Running]:
    port = free_port()
    config = service_config(folder, port, issuer, catalogue, store, **more)
    config_file = folder / "config.json"
    config_file.write_text(json.dumps(config))
    running = Running(
        url=f"http://127.0.0.1:{port}/services/openeo",
        port=port,
        data_dir=folder / "data",
        config_file=config_file,
        process=None,  # type: ignore[arg-type]
        issuer=issuer,
        catalogue=catalogue,
        store=store,
        log=folder / "service.log",
    )
    running.start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(10)
            except subprocess.TimeoutExpired:
                running.process.kill()
        _stop_jobs(running.data_dir)


def _stop_jobs(data_dir: Path) -> None:
    """End applications a test left running."""
    from cscale_core.errors import NotFound
    from cscale_core.jobs.spark_submit import SparkProcess

    for folder in data_dir.glob("jobs/*/run-*/spark"):
        with contextlib.suppress(NotFound):
            SparkProcess.attach(folder).terminate(grace=1.0)


__all__ = [
    "BUCKET", "CRS", "OTHER_VO", "VO", "Catalogue", "Issuer", "ObjectStore", "Running",
    "entitlement", "run_catalogue", "run_issuer", "run_object_store", "run_service",
    "upload_scenes", "weed_program",
]  # fmt: skip
