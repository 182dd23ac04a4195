"""A VO file with many places, on the real SeaweedFS: its session policies do what the file says."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from cscale_hub.storage import grants, reachable, session_policy
from cscale_hub.vo_model import VOFile

ALICE, BOB = "ualiceaaaaaa", "ubobbbbbbbbb"
ONE, TWO = "one.example", "Two.example"
FILE = VOFile.model_validate(
    {
        "vos": {
            ONE: {
                "title": "One",
                "entitlement": {"group": ONE},
                "roles": {"member": ["member"], "manager": ["manager"], "guest": ["guest"]},
                "bucket": "one-own",
                "products": {"guest": "ro", "member": "rw", "manager": "rwd"},
                "homes": ["member", "manager"],
                "places": [
                    {"bucket": "one-own", "prefix": "inbox/", "access": {"manager": "rwd"}},
                    {
                        "bucket": "one-scratch",
                        "prefix": "runs/{user}/",
                        "access": {"member": "rwd"},
                    },
                    {
                        "bucket": "archive",
                        "access": {"member": "ro", "manager": "ro", "guest": "ro"},
                    },
                ],
            },
            TWO: {
                "title": "Two",
                "entitlement": {"group": TWO},
                "bucket": "two-own",
                "places": [
                    {"bucket": "archive", "prefix": "open/", "access": {"member": "ro"}},
                    {"bucket": "joint", "prefix": "two/", "access": {"member": "rw"}},
                ],
            },
        }
    }
)


@pytest.fixture(scope="module")
def places(make_store: Any) -> Any:
    made = make_store(vos=FILE.storages(), buckets=["archive-of-nobody"])
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client_of(places: Any) -> Any:
    def make(slug: str, **roles: set[str]) -> Any:
        held = {{"one": ONE, "two": TWO}[name]: given for name, given in roles.items()}
        policy = session_policy(reachable(grants(FILE.storages(), held, slug)))
        return places.client(places.credentials(places.issuer.token(), policy))

    return make


def allowed(call: Any, **parameters: Any) -> bool:
    """Whether S3 does it; that there is no such object is no refusal."""
    try:
        call(**parameters)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status not in (403, 404):
            raise
        return bool(status == 404)
    return True


def access(client: Any, bucket: str, prefix: str) -> str:
    """What a client may do below a prefix: l(ist), r(ead), w(rite), d(elete)."""
    key = f"{prefix}probe"
    tried = {
        "l": allowed(client.list_objects_v2, Bucket=bucket, Prefix=prefix),
        "r": allowed(client.get_object, Bucket=bucket, Key=key),
        "w": allowed(client.put_object, Bucket=bucket, Key=key, Body=b"x"),
        "d": allowed(client.delete_object, Bucket=bucket, Key=key),
    }
    return "".join(letter for letter, done in tried.items() if done)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (
            "guest",
            {
                ("one-own", "products/"): "lr",
                ("one-own", f"users/{ALICE}/"): "",
                ("one-own", "inbox/"): "",
                ("one-own", "shared/"): "lr",
                ("one-own", f"shared/published/{ALICE}/"): "lr",
                ("one-scratch", f"runs/{ALICE}/"): "",
                ("archive", "any/"): "lr",
            },
        ),
        (
            "member",
            {
                ("one-own", "products/"): "lrw",
                ("one-own", f"users/{ALICE}/"): "lrwd",
                ("one-own", f"users/{BOB}/"): "",
                ("one-own", "users/"): "",
                ("one-own", "inbox/"): "",
                ("one-own", "shared/"): "lr",
                ("one-own", "shared/published/"): "lr",
                ("one-own", f"shared/published/{ALICE}/"): "lrwd",
                ("one-own", f"shared/published/{BOB}/"): "lr",
                ("two-own", "shared/"): "",
                ("two-own", f"shared/published/{ALICE}/"): "",
                ("one-scratch", f"runs/{ALICE}/"): "lrwd",
                ("one-scratch", f"runs/{BOB}/"): "",
                ("one-scratch", "runs/"): "",
                ("archive", ""): "lr",
                ("archive-of-nobody", ""): "",
                ("two-own", "products/"): "",
                ("joint", "two/"): "",
            },
        ),
        (
            "manager",
            {
                ("one-own", "products/"): "lrwd",
                ("one-own", f"users/{ALICE}/"): "lrwd",
                ("one-own", f"users/{BOB}/"): "",
                ("one-own", "inbox/"): "lrwd",
                ("one-own", "shared/examples/"): "lrwd",
                ("one-own", f"shared/published/{BOB}/"): "lrwd",
                ("two-own", "shared/"): "",
                ("archive", ""): "lr",
            },
        ),
    ],
)
def test_each_role_has_the_access_of_the_file(client_of: Any, role: str, may: Any) -> None:
    client = client_of(ALICE, one={role})
    assert {place: access(client, *place) for place in may} == may


def test_somebody_of_two_vos_has_both_and_of_another_nothing_more(client_of: Any) -> None:
    client = client_of(BOB, one={"guest"}, two={"member"})
    assert access(client, "one-own", "products/") == "lr"
    assert access(client, "two-own", f"users/{BOB}/") == "lrwd"
    assert access(client, "two-own", f"users/{ALICE}/") == ""
    assert access(client, "joint", "two/") == "lrw"
    assert access(client, "joint", "one/") == ""
    assert access(client, "one-own", f"users/{BOB}/") == ""


def test_a_whole_bucket_is_listed_from_its_root(client_of: Any) -> None:
    client = client_of(ALICE, one={"guest"})
    assert allowed(client.list_objects_v2, Bucket="archive")
    assert not allowed(client.list_objects_v2, Bucket="one-own")
    outside = client_of(ALICE, two={"member"})
    assert not allowed(outside.list_objects_v2, Bucket="archive")
    assert allowed(outside.list_objects_v2, Bucket="archive", Prefix="open/")
