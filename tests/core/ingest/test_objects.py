"""The object store against a real SeaweedFS."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cscale_core import objects
from cscale_core.addresses import ObjectAddress
from cscale_core.errors import (
    Conflict,
    Forbidden,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
)
from cscale_core.objects import PART_SIZE, SMALLEST_PART, ObjectStore
from cscale_core.site import Site

HERE = ObjectAddress("vobucket", "products/a b/ü#%.bin")


def test_an_object_is_written_read_listed_copied_and_deleted(store: ObjectStore) -> None:
    store.put(HERE, b"0123456789", content_type="text/plain", metadata={"sha256": "abc"})
    assert store.get(HERE) == b"0123456789"
    assert store.get(HERE, start=2, length=3) == b"234"
    head = store.head(HERE)
    assert (head.size, head.content_type, head.metadata) == (10, "text/plain", {"sha256": "abc"})
    other = ObjectAddress("vobucket", "products/copy")
    store.copy(HERE, other, metadata={"x": "y"})
    assert store.head(other).metadata == {"x": "y"}
    assert [one.address for one in store.list("vobucket", "products/")] == [HERE, other]
    store.delete(HERE)
    store.delete(HERE)
    assert store.find(HERE) is None


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    for address in (HERE, ObjectAddress("no-such-bucket", "x")):
        with pytest.raises(NotFound, match="does not exist"):
            store.get(address)
        with pytest.raises(NotFound):
            store.head(address)


def test_an_upload_is_invisible_until_it_is_complete(store: ObjectStore) -> None:
    upload = store.start_upload(HERE)
    upload.part(b"x" * 5 * 2**20)
    assert store.find(HERE) is None
    upload.part(b"end")
    upload.complete()
    upload.abort()
    assert store.head(HERE).size == 5 * 2**20 + 3
    with pytest.raises(Conflict):
        upload.part(b"more")


def test_an_aborted_upload_leaves_nothing(store: ObjectStore) -> None:
    upload = store.start_upload(HERE)
    upload.part(b"x" * 5 * 2**20)
    assert store.unfinished_uploads("vobucket") == (HERE,)
    upload.abort()
    upload.abort()
    assert store.unfinished_uploads("vobucket") == ()
    assert store.find(HERE) is None


@pytest.mark.parametrize("size", [0, 10, PART_SIZE, PART_SIZE + 1])
def test_a_local_file_goes_up_whole_with_its_digest(
    store: ObjectStore, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    digest = store.put_file(HERE, path, content_type="image/tiff")
    assert store.get(HERE) == path.read_bytes()
    assert store.head(HERE).metadata["sha256"] == digest


def test_a_signed_address_serves_without_credentials(store: ObjectStore) -> None:
    store.put(HERE, b"data")
    with urllib.request.urlopen(store.presign(HERE, 60)) as answer:  # noqa: S310
        assert answer.read() == b"data"
    saved = store.presign(HERE, 60, download=True)
    with urllib.request.urlopen(saved) as answer:  # noqa: S310
        assert answer.read() == b"data"
        name = quote(HERE.key.rpartition("/")[2], safe="")
        assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{name}"


def test_wrong_keys_are_forbidden_and_no_keys_ask_for_a_login(
    site: Site, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Forbidden):
        ObjectStore(site).put(HERE, b"x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(LoginRequired):
        ObjectStore(site).put(HERE, b"x")


def test_a_dead_store_and_a_dead_credentials_endpoint_are_told_apart(
    make_site: Callable[..., Site], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(s3={"endpoint": f"http://127.0.0.1:{free_port}"})
    with pytest.raises(UpstreamError, match="cannot be reached") as caught:
        ObjectStore(site).head(HERE)
    assert caught.value.retryable
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{free_port}/v1/s3")
    with pytest.raises(UpstreamError, match="credentials"):
        ObjectStore(site).head(HERE)


def test_a_full_store_is_told_as_full_and_still_reads(
    full_weed: object, make_site: Callable[..., Site]
) -> None:
    site = make_site(s3={"endpoint": full_weed.endpoint})  # type: ignore[attr-defined]
    store = ObjectStore(site)

    def fill() -> None:
        for number in range(30):
            store.put(ObjectAddress("vobucket", f"fill/{number}"), os.urandom(1_500_000))

    with pytest.raises(StorageFull, match="no room"):
        fill()
    assert len(store.get(ObjectAddress("vobucket", "fill/0"))) == 1_500_000
    upload = store.start_upload(HERE)
    with pytest.raises(StorageFull):
        upload.part(os.urandom(6 * 2**20))
    upload.abort()
    assert store.unfinished_uploads("vobucket") == ()


def test_an_upload_is_taken_up_after_its_finished_parts(store: ObjectStore) -> None:
    parts = [os.urandom(5 * 2**20), os.urandom(5 * 2**20), b"end"]
    first = store.start_upload(HERE)
    first.part(parts[0])
    first.leave()
    with pytest.raises(Conflict):
        first.part(parts[1])
    second = store.resume_upload(HERE, first.id)
    assert second.size == len(parts[0])
    second.part(parts[1])
    second.part(parts[2])
    third = store.resume_upload(HERE, first.id, size=sum(map(len, parts)))
    assert third.size == sum(map(len, parts)), "nothing is missing but the completion"
    third.complete()
    assert store.get(HERE) == b"".join(parts)
    with pytest.raises(NotFound):
        store.resume_upload(HERE, first.id)


def test_a_part_that_is_too_small_to_be_followed_is_sent_again(store: ObjectStore) -> None:
    upload = store.start_upload(HERE)
    upload.part(b"a" * SMALLEST_PART)
    upload.part(b"short")
    again = store.resume_upload(HERE, upload.id, size=3 * SMALLEST_PART)
    assert again.size == SMALLEST_PART
    again.part(b"b" * SMALLEST_PART)
    again.complete()
    assert store.get(HERE) == b"a" * SMALLEST_PART + b"b" * SMALLEST_PART


def test_parts_are_listed_over_pages_and_a_gap_ends_them(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.start_upload(HERE)
    for letter in b"abcd":
        upload.part(bytes([letter]) * SMALLEST_PART)
    listed = store.client.list_parts
    asked: list[int] = []

    def two_a_page(**request: Any) -> Any:
        answer = listed(**{**request, "MaxParts": 2})
        asked.append(len(answer["Parts"]))
        return answer

    # The paginator asks the client's own method.
    monkeypatch.setattr(store.client, "list_parts", two_a_page)
    assert store.resume_upload(HERE, upload.id).size == 4 * SMALLEST_PART
    assert asked == [2, 2]
    monkeypatch.undo()
    for number in (6, 7):
        store.client.upload_part(
            Bucket=HERE.bucket, Key=HERE.key, UploadId=upload.id, PartNumber=number, Body=b"x"
        )
    assert store.resume_upload(HERE, upload.id).size == 4 * SMALLEST_PART
    store.abort_upload(HERE, upload.id)
    store.abort_upload(HERE, upload.id)
    assert store.unfinished_uploads("vobucket") == ()


def test_of_parts_that_two_servers_sent_none_is_mixed_up(store: ObjectStore) -> None:
    upload = store.start_upload(HERE)
    upload.part(b"a" * SMALLEST_PART)
    other = store.resume_upload(HERE, upload.id)
    upload.part(b"b" * SMALLEST_PART)
    other.part(b"c" * SMALLEST_PART)
    third = store.resume_upload(HERE, upload.id)
    assert third.size in (SMALLEST_PART, 2 * SMALLEST_PART)
    assert other.size == 2 * SMALLEST_PART
    other.complete()
    assert store.get(HERE) == b"a" * SMALLEST_PART + b"c" * SMALLEST_PART


def test_an_object_gets_new_metadata_part_by_part(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of more than 5 GiB does, which one request does not copy."""
    data = os.urandom(12 * 2**20)
    store.put(HERE, data)
    monkeypatch.setattr(objects._COPYING, "multipart_threshold", SMALLEST_PART)
    monkeypatch.setattr(objects._COPYING, "multipart_chunksize", SMALLEST_PART)
    store.copy(HERE, HERE, content_type="image/tiff", metadata={"sha256": "x"})
    head = store.head(HERE)
    assert (head.content_type, head.metadata, "-" in head.etag) == (
        "image/tiff",
        {"sha256": "x"},
        True,
    )
    assert store.get(HERE) == data


@pytest.mark.parametrize(
    ("headers", "room"),
    [
        ({}, None),
        ({"x-rgw-quota-bucket-size": "-1", "x-rgw-bytes-used": "5"}, None),
        ({"x-rgw-quota-bucket-size": "100", "x-rgw-bytes-used": "40"}, 60),
        ({"x-rgw-quota-bucket-size": "100", "x-rgw-bytes-used": "140"}, 0),
    ],
)
def test_the_room_is_what_the_gateway_says(
    store: ObjectStore, headers: dict[str, str], room: int | None
) -> None:
    def said(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ResponseMetadata"]["HTTPHeaders"] |= headers

    store.client.meta.events.register("after-call.s3.HeadBucket", said)
    assert store.room("vobucket") == room
    store.reach("vobucket", "products/")
