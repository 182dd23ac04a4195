"""From the sign-in to a notebook on a real cluster, with nothing stood in for.

The identity provider, STS, the broker, the hub's pod, the server's image, its extension, the
containers that mount and the kernel are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.login.deployed_hub import NAMESPACE
from tests.cluster.login.federation import Federation, Person
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
Come = Callable[[str], Person]

# Cells that begin alike.
BEGIN = """
import hashlib, json, os, pathlib, time
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
def until(true, seconds=90):
    end = time.monotonic() + seconds
    while True:
        try:
            found = true()
        except (OSError, ClientError) as error:
            found = None
            if time.monotonic() > end:
                raise
        if found:
            return found
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.5)
def digest(data):
    return hashlib.sha256(data).hexdigest()
"""
WRITE = """
own = pathlib.Path("/s3/me")
key = "users/{user}/"
until(lambda: own.is_dir() and os.path.ismount(own.resolve()))
written = os.urandom(3 << 20)
(own / "by-the-mount.bin").write_bytes(written)
read = until(lambda: s3.get_object(Bucket="aquamonitor", Key=key + "by-the-mount.bin"))
given = os.urandom(2 << 20)
s3.put_object(Bucket="aquamonitor", Key=key + "by-boto3.bin", Body=given)
seen = until(lambda: (own / "by-boto3.bin").stat().st_size == len(given)
             and (own / "by-boto3.bin").read_bytes())
print(json.dumps({{
    "mount to S3": digest(read["Body"].read()) == digest(written),
    "S3 to mount": digest(seen) == digest(given),
    "fixed keys": [name for name in os.environ if name.startswith(("AWS_ACCESS", "AWS_SECRET"))],
    "temporary": bool(s3._request_signer._credentials.token),
    "user": os.getuid(),
    "given": digest(given),
}}))
"""
LOOK = """
other = "{other}"
until(lambda: pathlib.Path("/s3/aquamonitor/users").is_dir())
def refused(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""
key = f"users/{{other}}/by-boto3.bin"
print(json.dumps({{
    "own": sorted(each.name for each in pathlib.Path("/s3/aquamonitor/users").iterdir()),
    "theirs": pathlib.Path(f"/s3/aquamonitor/users/{{other}}/by-boto3.bin").exists(),
    "get": refused(lambda: s3.get_object(Bucket="aquamonitor", Key=key)),
    "put": refused(lambda: s3.put_object(Bucket="aquamonitor", Key=key, Body=b"x")),
    "list": refused(lambda: s3.list_objects_v2(Bucket="aquamonitor", Prefix=f"users/{{other}}/")),
    "elsewhere": refused(lambda: s3.list_objects_v2(Bucket="waterwatch", Prefix="products/")),
}}))
"""
AGAIN = """
own = pathlib.Path("/s3/me/by-boto3.bin")
there = s3.get_object(Bucket="aquamonitor", Key="users/{user}/by-boto3.bin")["Body"].read()
print(json.dumps({{
    "mount": digest(until(own.read_bytes)),
    "S3": digest(there),
}}))
"""


def left_on_the_node(uid: str) -> list[str]:
    """Mounts of a pod that is no more."""
    return [line for line in Path("/proc/mounts").read_text("utf-8").splitlines() if uid in line]


def test_from_the_sign_in_to_a_notebook_and_nothing_stays(
    federation: Federation, come: Come
) -> None:
    one = come("aqua")
    said = one.do("start")
    assert "A place for your server was found." in said
    pod = federation.server(one.name)
    ready = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
    assert ready["Ready"] == "True"

    found = one.run(BEGIN + WRITE.format(user=one.name))
    given = found.pop("given")
    assert found == {
        "mount to S3": True,
        "S3 to mount": True,
        "fixed keys": [],
        "temporary": True,
        "user": 1000,
    }

    # A manager of the same organisation, who may do more than most, and nothing with this.
    other = come("aqua-manager")
    other.do("start")
    assert other.run(BEGIN + LOOK.format(other=one.name)) == {
        "own": [other.name],
        "theirs": False,
        **dict.fromkeys(("get", "put", "list", "elsewhere"), "AccessDenied"),
    }
    other.do("stop")

    # The hub goes and comes: the server, its session and its credentials go on.
    federation.restart_hub()
    until(lambda: one.do("runs"), "the server in the hub's eyes")
    now = federation.server(one.name)
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    restarts = [each["restartCount"] for each in now["status"]["containerStatuses"]]
    assert not any(restarts), restarts
    assert one.run(BEGIN + AGAIN.format(user=one.name)) == {"mount": given, "S3": given}

    one.do("stop")
    for person in (one, other):
        until(lambda name=person.name: federation.server(name) is None, "the end of a pod")
    kept = ("secrets", "-n", NAMESPACE, "-l", "app.kubernetes.io/part-of=cscale-hub")
    until(lambda: not federation.access.get(*kept)["items"], "the end of a Secret")
    until(lambda: not left_on_the_node(pod["metadata"]["uid"]), "the end of the mounts")
    assert one.do("runs") is False
