"""Who gets credentials from the real SeaweedFS, and what they can do with them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa

ALICE, BOB = "ualiceaaaaaa", "ubobbbbbbbbb"
AQUA, WATER = "aquamonitor.c-scale.eu", "waterwatch.c-scale.eu"


def refused(call: Any, **parameters: Any) -> bool:
    """Whether S3 answers 403."""
    try:
        call(**parameters)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


@pytest.fixture(scope="module")
def alice(store: Any) -> Any:
    return store.user(ALICE)


@pytest.fixture(scope="module")
def bob(store: Any) -> Any:
    """In both VOs; has one object in each place."""
    client = store.user(BOB, AQUA, WATER)
    client.put_object(Bucket="aquamonitor", Key=f"users/{BOB}/secret", Body=b"bob's secret")
    client.put_object(Bucket="aquamonitor", Key="products/s2/item/B03.tif", Body=b"product")
    client.put_object(Bucket="waterwatch", Key="products/s2/item/B03.tif", Body=b"water")
    return client


# -- STS -------------------------------------------------------------------------------------------


def test_a_token_of_the_issuer_for_s3_gives_credentials_for_an_hour(store: Any) -> None:
    credentials = store.credentials(store.issuer.token())
    assert credentials["AccessKeyId"].startswith("ASIA")
    assert credentials["Expiration"].endswith("Z")


def forged(issuer: Any) -> str:
    return str(issuer.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)))


def symmetric(issuer: Any) -> str:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": issuer.kid})


def unsigned(issuer: Any) -> str:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, None, algorithm="none", headers={"kid": issuer.kid})


@pytest.mark.parametrize(
    ("make", "status"),
    [
        pytest.param(forged, 400, id="signed by another key"),
        pytest.param(symmetric, 400, id="HS256"),
        pytest.param(unsigned, 400, id="alg none"),
        pytest.param(lambda i: i.token(aud=["openeo"]), 400, id="audience openeo"),
        pytest.param(lambda i: i.token(aud=["catalogue"]), 400, id="audience catalogue"),
        pytest.param(lambda i: i.token(aud=[]), 400, id="no audience"),
        pytest.param(lambda i: i.token(exp=int(time.time()) - 10), 400, id="expired"),
        pytest.param(lambda i: i.token(iss="http://127.0.0.1:1/x"), 403, id="another issuer"),
        pytest.param(lambda i: i.token(azp="cscale-openeo"), 403, id="a user's own client"),
        pytest.param(lambda i: i.token(aud=["openeo"], azp="s3"), 403, id="azp named like s3"),
        pytest.param(lambda _: "x.y.z", 403, id="no token at all"),
    ],
)
def test_other_tokens_give_nothing(store: Any, make: Any, status: int) -> None:
    answer = store.sts(make(store.issuer))
    assert answer.status_code == status, answer.text
    assert "SecretAccessKey" not in answer.text


@pytest.mark.parametrize("role", ["arn:aws:iam::role/cscale-openeo", "arn:aws:iam::role/x", ""])
def test_the_hub_s_client_gets_no_other_role(store: Any, role: str) -> None:
    assert store.sts(store.issuer.token(), RoleArn=role).status_code == 403


def test_a_tampered_session_token_is_refused(store: Any) -> None:
    credentials = store.credentials(store.issuer.token())
    header, body, signature = credentials["SessionToken"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["spol"] = ""
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    client = store.client(credentials | {"SessionToken": f"{header}.{changed}.{signature}"})
    assert refused(client.get_object, Bucket="aquamonitor", Key="products/x")


@pytest.mark.parametrize(
    "call",
    [
        lambda sts: sts.assume_role(
            RoleArn="arn:aws:iam::000000000000:role/cscale-researcher", RoleSessionName="again"
        ),
        lambda sts: sts.get_federation_token(Name="again"),
    ],
)
def test_narrowed_credentials_cannot_be_traded_for_wider_ones(store: Any, call: Any) -> None:
    from cscale_hub.places import VOStorage
    from cscale_hub.storage import grants, session_policy

    policy = session_policy(grants([VOStorage(AQUA, "aquamonitor")], {AQUA: {"member"}}, ALICE))
    sts = store.client(store.credentials(store.issuer.token(), policy), "sts")
    assert refused(call, sts=sts)


def test_a_key_rotation_at_the_issuer_needs_no_restart(make_store: Any) -> None:
    store = make_store()
    store.start()
    assert store.sts(store.issuer.token()).status_code == 200
    store.issuer.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    store.issuer.kid = "key-2"
    assert store.sts(store.issuer.token()).status_code == 200
    store.stop()


# -- S3 --------------------------------------------------------------------------------------------


def test_nobody_comes_in_without_credentials(store: Any, bob: Any) -> None:
    for path in ("", "aquamonitor", "aquamonitor?list-type=2", f"aquamonitor/users/{BOB}/secret"):
        assert httpx.get(f"{store.endpoint}/{path}", trust_env=False).status_code == 403
    put = httpx.put(f"{store.endpoint}/newbucket", trust_env=False)
    assert put.status_code == 403
    bearer = {"Authorization": f"Bearer {store.issuer.token()}"}
    direct = httpx.get(
        f"{store.endpoint}/aquamonitor/products/s2/item/B03.tif", headers=bearer, trust_env=False
    )
    assert direct.status_code == 403


def test_a_public_acl_does_not_open_an_object(store: Any, alice: Any) -> None:
    key = f"users/{ALICE}/public"
    alice.put_object(Bucket="aquamonitor", Key=key, Body=b"x", ACL="public-read")
    url = f"{store.endpoint}/aquamonitor/{key}"
    assert httpx.get(url, trust_env=False).status_code == 403


def test_a_user_works_at_home_and_in_products(alice: Any, bob: Any) -> None:
    home = f"users/{ALICE}/notes.txt"
    alice.put_object(Bucket="aquamonitor", Key=home, Body=b"one")
    alice.put_object(Bucket="aquamonitor", Key=home, Body=b"two")
    assert alice.get_object(Bucket="aquamonitor", Key=home)["Body"].read() == b"two"
    alice.delete_object(Bucket="aquamonitor", Key=home)
    product = alice.get_object(Bucket="aquamonitor", Key="products/s2/item/B03.tif")
    assert product["Body"].read() == b"product"
    alice.put_object(Bucket="aquamonitor", Key="products/s2/mine/B03.tif", Body=b"new")


def test_a_missing_object_is_missing_and_not_forbidden(alice: Any) -> None:
    with pytest.raises(ClientError) as caught:
        alice.head_object(Bucket="aquamonitor", Key="products/none")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_multipart_upload_and_its_abort(alice: Any) -> None:
    target = {"Bucket": "aquamonitor", "Key": f"users/{ALICE}/big"}
    part, last = b"a" * (5 * 2**20), b"end"
    upload = alice.create_multipart_upload(**target)["UploadId"]
    etags = [
        alice.upload_part(**target, UploadId=upload, PartNumber=n, Body=body)["ETag"]
        for n, body in ((1, part), (2, last))
    ]
    assert len(alice.list_parts(**target, UploadId=upload)["Parts"]) == 2
    parts = [{"ETag": etag, "PartNumber": n} for n, etag in enumerate(etags, 1)]
    alice.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
    assert alice.get_object(**target)["Body"].read() == part + last
    again = alice.create_multipart_upload(**target)["UploadId"]
    alice.abort_multipart_upload(**target, UploadId=again)


@pytest.mark.parametrize(
    ("bucket", "key"),
    [("aquamonitor", f"users/{BOB}/secret"), ("waterwatch", "products/s2/item/B03.tif")],
)
def test_another_user_and_a_foreign_vo_are_closed(
    alice: Any, bob: Any, bucket: str, key: str
) -> None:
    target = {"Bucket": bucket, "Key": key}
    source = {"Bucket": bucket, "Key": key}
    home = {"Bucket": "aquamonitor", "Key": f"users/{ALICE}/stolen"}
    assert refused(alice.get_object, **target)
    assert refused(alice.head_object, **target)
    assert refused(alice.put_object, **target, Body=b"x")
    assert refused(alice.delete_object, **target)
    assert refused(alice.copy_object, **home, CopySource=source)
    upload = alice.create_multipart_upload(**home)["UploadId"]
    copy_part = {"UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert refused(alice.upload_part_copy, **home, **copy_part)
    bulk = {"Bucket": bucket, "Delete": {"Objects": [{"Key": key}]}}
    assert alice.delete_objects(**bulk)["Errors"][0]["Code"] == "AccessDenied"
    assert bob.head_object(**target)["ContentLength"] > 0


@pytest.mark.parametrize(
    "key",
    [
        f"users/{ALICE}/../{BOB}/secret",
        f"products/../users/{BOB}/secret",
        f"users/{ALICE}//../{BOB}/secret",
        f"users/{ALICE}/./../../users/{BOB}/secret",
    ],
)
def test_dots_in_a_key_lead_nowhere(alice: Any, bob: Any, key: str) -> None:
    for call in (alice.get_object, alice.head_object, alice.delete_object):
        with pytest.raises(ClientError):
            call(Bucket="aquamonitor", Key=key)
    with pytest.raises(ClientError):
        alice.put_object(Bucket="aquamonitor", Key=key, Body=b"overwritten")
    prefix = key.removesuffix("secret")
    assert "Contents" not in alice.list_objects_v2(Bucket="aquamonitor", Prefix=prefix)
    body = bob.get_object(Bucket="aquamonitor", Key=f"users/{BOB}/secret")["Body"].read()
    assert body == b"bob's secret"


@pytest.mark.parametrize("prefix", ["", "users", "users/", f"users/{BOB}/", "products", "p"])
def test_listing_elsewhere_is_refused(alice: Any, bob: Any, prefix: str) -> None:
    for call in (alice.list_objects_v2, alice.list_objects):
        assert refused(call, Bucket="aquamonitor", Prefix=prefix)
        assert refused(call, Bucket="aquamonitor", Prefix=prefix, Delimiter="/")
    assert refused(alice.list_objects_v2, Bucket="waterwatch", Prefix="products/")


def test_own_prefixes_are_listed_with_and_without_delimiter(alice: Any, bob: Any) -> None:
    alice.put_object(Bucket="aquamonitor", Key=f"users/{ALICE}/d/x", Body=b"x")
    found = alice.list_objects_v2(Bucket="aquamonitor", Prefix=f"users/{ALICE}/d/")
    assert [each["Key"] for each in found["Contents"]] == [f"users/{ALICE}/d/x"]
    top = alice.list_objects(Bucket="aquamonitor", Prefix="products/", Delimiter="/")
    assert [each["Prefix"] for each in top["CommonPrefixes"]] == ["products/s2/"]


def test_the_bucket_itself_is_closed_to_users(alice: Any) -> None:
    bucket = {"Bucket": "aquamonitor"}
    document = {"Version": "2012-10-17", "Statement": []}
    assert refused(alice.create_bucket, Bucket="newbucket")
    assert refused(alice.delete_bucket, **bucket)
    assert refused(alice.head_bucket, **bucket)
    assert refused(alice.get_bucket_location, **bucket)
    assert refused(alice.list_multipart_uploads, **bucket)
    assert refused(alice.list_object_versions, **bucket, Prefix="products/")
    assert refused(alice.get_bucket_policy, **bucket)
    assert refused(alice.put_bucket_policy, **bucket, Policy=json.dumps(document))
    assert alice.list_buckets()["Buckets"] == []


def test_products_are_deleted_by_managers_only(store: Any, alice: Any, bob: Any) -> None:
    target = {"Bucket": "aquamonitor", "Key": "products/s2/old/B03.tif"}
    alice.put_object(**target, Body=b"old")
    assert refused(alice.delete_object, **target)
    bulk = alice.delete_objects(Bucket="aquamonitor", Delete={"Objects": [{"Key": target["Key"]}]})
    assert bulk["Errors"][0]["Code"] == "AccessDenied"
    assert alice.head_object(**target)["ContentLength"] == 3
    manager = store.user("umanageraaaa", roles=("manager",))
    manager.delete_object(**target)
    with pytest.raises(ClientError):
        alice.head_object(**target)
    assert refused(manager.get_object, Bucket="aquamonitor", Key=f"users/{BOB}/secret")


def test_the_openeo_service_writes_one_job_and_reads_products(store: Any, bob: Any) -> None:
    from cscale_hub.storage import openeo_session_policy

    token = store.issuer.token(azp="cscale-openeo-service", sub="service@egi.eu")
    role = "arn:aws:iam::role/cscale-openeo"
    policy = openeo_session_policy("aquamonitor", BOB, "j-1")
    narrow = store.client(store.credentials(token, policy, RoleArn=role))
    wide = store.client(store.credentials(token, RoleArn=role))
    result = {"Bucket": "aquamonitor", "Key": f"users/{BOB}/jobs/j-1/slope.tif"}
    for client in (narrow, wide):
        client.put_object(**result, Body=b"slope")
        client.get_object(Bucket="aquamonitor", Key="products/s2/item/B03.tif")
        assert refused(client.put_object, Bucket="aquamonitor", Key="products/x", Body=b"")
        assert refused(client.get_object, Bucket="aquamonitor", Key=f"users/{BOB}/secret")
    other = {"Bucket": "aquamonitor", "Key": f"users/{BOB}/jobs/j-2/slope.tif"}
    assert refused(narrow.put_object, **other, Body=b"x")
    assert not refused(wide.put_object, **other, Body=b"x")
