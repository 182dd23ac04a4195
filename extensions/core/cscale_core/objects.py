"""The object store: boto3 with our rules, and its errors said in our words.

Path-style addressing, the site's endpoint, the classic transfer client (boto3's CRT client
ignores ``endpoint_url`` and would go to AWS), credentials by the standard chain, so that the
loopback endpoint of the user's server is used where it is. Every method blocks: async callers
use ``asyncio.to_thread``. Needs boto3 (extras ``lab`` or ``openeo``).
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    ReadTimeoutError,
)

from cscale_core.addresses import ObjectAddress
from cscale_core.errors import (
    Conflict,
    CScaleError,
    Forbidden,
    LoginRequired,
    NotFound,
    StorageFull,
    UpstreamError,
    UpstreamTimeout,
)
from cscale_core.site import Site

PART_SIZE = 16 * 1024 * 1024
"""Bytes of one part of a multipart upload, and the largest object sent in one request."""

MAX_PARTS = 10_000
"""Parts allowed in one upload (Amazon S3 API, "Multipart upload limits")."""

SMALLEST_PART = 5 * 1024 * 1024
"""Bytes of any part but the last, at least (as above)."""

# One request copies at most 5 GiB; more goes part by part, inside the store. Never the CRT client.
_COPYING = TransferConfig(
    multipart_threshold=5 * 1024**3,
    multipart_chunksize=1024**3,
    max_concurrency=4,
    preferred_transfer_client="classic",
)

_FULL_CODES = {
    "507",
    "InsufficientCapacity",
    "InsufficientStorage",
    "NotEnoughSpace",
    "QuotaExceeded",
    "StorageFull",
    "XMinioStorageFull",
}
_FULL_WORDS = (
    "no space left",
    "no free volume",
    "no writable volume",
    "not enough data nodes",
    "quota exceeded",
    "insufficient storage",
    "disk quota",
)
_GONE_CODES = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NotFound"}
_REFUSED_CODES = {
    "401",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What the store says of one object. ``metadata`` is empty in listings."""

    address: ObjectAddress
    size: int
    etag: str
    modified: datetime | None
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One finished part of an upload."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class FolderPage:
    """Some of what lies in a folder.

    :ivar folders: prefixes, each with a slash at its end.
    :ivar next: by which the store goes on; empty: this was all.
    """

    folders: tuple[str, ...]
    objects: tuple[ObjectHead, ...]
    next: str


def _full(what: str, **facts: Any) -> StorageFull:
    return StorageFull(
        f"{what}: the object store has no room left.",
        hint="Delete what is no longer needed, or ask for a larger quota, then try again.",
        **facts,
    )


def _explained(error: Exception, what: str) -> CScaleError:
    """Our error for one of boto3's. ``what`` names the operation and the object."""
    if isinstance(error, NoCredentialsError):
        return LoginRequired(
            f"{what}: no credentials for the object store were found.",
            hint="Run this inside a server started by C-SCALE Hub, and log in again.",
        )
    if isinstance(error, CredentialRetrievalError | MetadataRetrievalError):
        return UpstreamError(
            f"{what}: the credentials for the object store could not be renewed.",
            hint="The hub's broker may be down, or your login has ended: log in again.",
            retryable=True,
        )
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return UpstreamTimeout(f"{what}: the object store did not answer in time.", retryable=True)
    if isinstance(error, EndpointConnectionError | ConnectionClosedError | HTTPClientError):
        return UpstreamError(f"{what}: the object store cannot be reached.", retryable=True)
    if not isinstance(error, ClientError):
        return UpstreamError(f"{what}: {type(error).__name__}.")

    answer = error.response.get("Error", {})
    code, said = str(answer.get("Code", "")), str(answer.get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    facts: dict[str, Any] = {"s3_code": code, "status": status}
    if code in _FULL_CODES or status == 507 or any(words in said.lower() for words in _FULL_WORDS):
        return _full(what, **facts)
    if code in _GONE_CODES or status == 404:
        return NotFound(f"{what}: it does not exist.", **facts)
    if code in _REFUSED_CODES or status in (401, 403):
        return Forbidden(
            f"{what}: the object store does not allow it.",
            hint="Your virtual organisation may not give you this place, or your login has ended.",
            **facts,
        )
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status in (409, 412):
        return Conflict(f"{what}: it exists already or is being written.", **facts)
    return UpstreamError(
        f"{what}: the object store answered {code or status}.",
        retryable=status >= 500 or code in ("SlowDown", "RequestTimeout"),
        **facts,
    )


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _explained(error, what) from error


def _md5(data: bytes) -> str:
    # Content-MD5 is the one checksum that every S3 server checks; it guards the wire, not trust.
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _is_vague(error: UpstreamError) -> bool:
    return error.details.get("status") == 500 and error.details.get("s3_code") == "InternalError"


def _takes(client: Any, address: ObjectAddress, upload_id: str, data: bytes) -> bool:
    try:
        client.upload_part(
            Bucket=address.bucket, Key=address.key, UploadId=upload_id, PartNumber=1, Body=data
        )
    except ClientError:
        return False
    return True


def _is_full(client: Any, address: ObjectAddress, size: int) -> bool:
    """Whether the store still takes an empty part, but not one of ``size`` bytes.

    SeaweedFS 4.48 answers 500 InternalError when its volumes or its disk are full (seen with both),
    and so tells nothing; what it still does tells. Nothing of the question stays behind.
    """
    try:
        upload_id = client.create_multipart_upload(Bucket=address.bucket, Key=address.key)[
            "UploadId"
        ]
        try:
            return _takes(client, address, upload_id, b"") and not _takes(
                client, address, upload_id, bytes(size)
            )
        finally:
            client.abort_multipart_upload(
                Bucket=address.bucket, Key=address.key, UploadId=upload_id
            )
    except (BotoCoreError, ClientError):
        # A store that does not even answer this has another fault; the first error is told.
        return False


@contextmanager
def _writing(client: Any, address: ObjectAddress, size: int) -> Iterator[None]:
    """As :func:`_explaining`, and finds out whether a vague refusal means a full store."""
    try:
        with _explaining(f"Writing {address.s3}"):
            yield
    except UpstreamError as error:
        if size and _is_vague(error) and _is_full(client, address, size):
            raise _full(f"Writing {address.s3}", **error.details) from error
        raise


class Upload:
    """One multipart upload; nothing is visible before :meth:`complete`.

    Parts are sent one after another; :meth:`abort` and :meth:`leave` wait for the part under way,
    so that no part arrives after them and stays behind.

    :param parts: what an earlier run sent, from the first on.
    """

    def __init__(
        self, client: Any, address: ObjectAddress, upload_id: str, parts: Iterable[Part] = ()
    ) -> None:
        self._client = client
        self._parts = list(parts)
        self._lock = threading.Lock()
        self._ended = False
        self.id = upload_id
        self.address = address

    @property
    def size(self) -> int:
        """Bytes that the store has."""
        return sum(part.size for part in self._parts)

    def part(self, data: bytes) -> None:
        """Send the next part (at least 5 MiB, but for the last).

        :raises Conflict: after :meth:`complete`, :meth:`abort` or :meth:`leave`.
        :raises StorageFull: when the store has no room; the caller aborts.
        """
        with self._lock, _writing(self._client, self.address, len(data)):
            if self._ended:
                raise Conflict(f"The upload of {self.address.s3} has ended.")
            number = len(self._parts) + 1
            answer = self._client.upload_part(
                Bucket=self.address.bucket,
                Key=self.address.key,
                UploadId=self.id,
                PartNumber=number,
                Body=data,
                ContentMD5=_md5(data),
            )
            self._parts.append(Part(number, len(data), str(answer["ETag"])))

    def complete(self) -> None:
        """Make the object visible."""
        with self._lock, _explaining(f"Finishing {self.address.s3}"):
            self._client.complete_multipart_upload(
                Bucket=self.address.bucket,
                Key=self.address.key,
                UploadId=self.id,
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": part.number, "ETag": part.etag} for part in self._parts
                    ]
                },
            )
            self._ended = True

    def leave(self) -> None:
        """Send nothing more, and keep the parts for :meth:`ObjectStore.resume_upload`."""
        with self._lock:
            self._ended = True

    def abort(self) -> None:
        """Throw the parts away. Doing it twice, or after the store forgot it, is no error."""
        with self._lock:
            if self._ended:
                return
            try:
                with _explaining(f"Ending the upload of {self.address.s3}"):
                    self._client.abort_multipart_upload(
                        Bucket=self.address.bucket, Key=self.address.key, UploadId=self.id
                    )
            except NotFound:
                # Somebody else ended it.
                pass
            self._ended = True


def _usable(listed: Iterable[Part], size: int | None) -> list[Part]:
    """The parts that an upload can go on after: the first ones without a gap.

    A part that was sent twice is listed twice by SeaweedFS 4.48 (seen), and nobody knows which one
    those after it follow: the upload goes on before it. A part below the smallest size is kept only
    when the object ends with it.
    """
    by_number: dict[int, list[Part]] = defaultdict(list)
    for part in listed:
        by_number[part.number].append(part)
    usable: list[Part] = []
    while len(same := by_number[len(usable) + 1]) == 1:
        usable += same
    short = usable and usable[-1].size < SMALLEST_PART
    if short and sum(part.size for part in usable) != size:
        del usable[-1]
    return usable


def _listed(bucket: str, entry: dict[str, Any]) -> ObjectHead:
    """An object as a listing tells of it."""
    return ObjectHead(
        address=ObjectAddress(bucket, str(entry["Key"])),
        size=int(entry["Size"]),
        etag=str(entry.get("ETag", "")).strip('"'),
        modified=entry.get("LastModified"),
    )


class ObjectStore:
    """The site's object store, as the user. Safe to use from several threads.

    Every method raises :class:`~cscale_core.errors.StorageFull`, ``Forbidden``, ``NotFound``,
    ``LoginRequired`` or ``UpstreamError``.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client, made at first use."""
        with self._lock, _explaining("Asking for credentials of the object store"):
            if self._client is None:
                self._client = boto3.session.Session().client(
                    "s3",
                    endpoint_url=self._site.s3.endpoint,
                    region_name=self._site.s3.region,
                    config=Config(
                        s3={"addressing_style": "path"},
                        signature_version="s3v4",
                        retries={"mode": "standard", "max_attempts": 4},
                        connect_timeout=5,
                        read_timeout=60,
                        max_pool_connections=16,
                        # Trailing checksums are refused by older Ceph; ours are sent explicitly.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._client

    def put(
        self,
        address: ObjectAddress,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Write one object in one request; the store checks MD5 and SHA-256 before it is visible.

        :param metadata: user metadata, ASCII.
        """
        with _writing(self.client, address, len(data)):
            self.client.put_object(
                Bucket=address.bucket,
                Key=address.key,
                Body=data,
                ContentType=content_type,
                ContentMD5=_md5(data),
                ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                Metadata=metadata or {},
            )

    def put_file(
        self,
        address: ObjectAddress,
        path: Path,
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
    ) -> str:
        """Write a local file, in parts when it is large, with its SHA-256 in the metadata.

        :returns: the SHA-256 of the file, hexadecimal.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            kept = {**(metadata or {}), "sha256": digest}
            size = path.stat().st_size
            if size <= PART_SIZE:
                self.put(address, file.read(), content_type=content_type, metadata=kept)
                return digest
            upload = self.start_upload(address, content_type=content_type, metadata=kept)
            try:
                while data := file.read(max(PART_SIZE, size // (MAX_PARTS - 1))):
                    upload.part(data)
                upload.complete()
            finally:
                upload.abort()
        return digest

    def get(self, address: ObjectAddress, *, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of an object, or ``length`` of them from ``start``."""
        request: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key}
        if start or length is not None:
            request["Range"] = f"bytes={start}-" + (
                "" if length is None else str(start + length - 1)
            )
        with _explaining(f"Reading {address.s3}"):
            data: bytes = self.client.get_object(**request)["Body"].read()
        return data

    def head(self, address: ObjectAddress) -> ObjectHead:
        """Size, ETag and metadata of an object.

        :raises NotFound: when there is none.
        """
        with _explaining(f"Looking at {address.s3}"):
            answer = self.client.head_object(Bucket=address.bucket, Key=address.key)
        return ObjectHead(
            address=address,
            size=int(answer["ContentLength"]),
            etag=str(answer.get("ETag", "")).strip('"'),
            modified=answer.get("LastModified"),
            content_type=str(answer.get("ContentType", "")),
            metadata={str(k).lower(): str(v) for k, v in answer.get("Metadata", {}).items()},
        )

    def find(self, address: ObjectAddress) -> ObjectHead | None:
        """As :meth:`head`, and None when there is no such object."""
        try:
            return self.head(address)
        except NotFound:
            return None

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectHead]:
        """All objects below a prefix, page by page, in the order of their keys."""
        with _explaining(f"Listing s3://{bucket}/{prefix}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix
            ):
                for entry in page.get("Contents", ()):
                    yield _listed(bucket, entry)

    def folder(
        self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> FolderPage:
        """What lies right below a prefix: at most ``limit`` folders and objects.

        :param after: ``next`` of the page before.
        """
        further = {"ContinuationToken": after} if after else {}
        with _explaining(f"Listing s3://{bucket}/{prefix}"):
            page = self.client.list_objects_v2(
                Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=limit, **further
            )
        return FolderPage(
            folders=tuple(str(entry["Prefix"]) for entry in page.get("CommonPrefixes", ())),
            objects=tuple(_listed(bucket, entry) for entry in page.get("Contents", ())),
            next=str(page.get("NextContinuationToken", "")) if page.get("IsTruncated") else "",
        )

    def delete(self, address: ObjectAddress) -> None:
        """Remove an object; one that is not there is no error (S3 semantics)."""
        with _explaining(f"Deleting {address.s3}"):
            self.client.delete_object(Bucket=address.bucket, Key=address.key)

    def copy(
        self,
        source: ObjectAddress,
        target: ObjectAddress,
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Copy inside the store, with new metadata.

        The same source and target change only the metadata.
        """
        with _explaining(f"Copying {source.s3} to {target.s3}"):
            self.client.copy(
                {"Bucket": source.bucket, "Key": source.key},
                target.bucket,
                target.key,
                ExtraArgs={
                    "MetadataDirective": "REPLACE",
                    "ContentType": content_type,
                    "Metadata": metadata or {},
                },
                Config=_COPYING,
            )

    def start_upload(
        self,
        address: ObjectAddress,
        *,
        content_type: str = "application/octet-stream",
        metadata: dict[str, str] | None = None,
    ) -> Upload:
        """Begin a multipart upload; the caller ends it by ``complete`` or ``abort``."""
        with _explaining(f"Writing {address.s3}"):
            answer = self.client.create_multipart_upload(
                Bucket=address.bucket,
                Key=address.key,
                ContentType=content_type,
                Metadata=metadata or {},
            )
        return Upload(self.client, address, str(answer["UploadId"]))

    def resume_upload(
        self, address: ObjectAddress, upload_id: str, *, size: int | None = None
    ) -> Upload:
        """Take up an upload again, after the parts that the store has.

        :param size: bytes of the whole object, where they are known: only then can a last part
            below 5 MiB be kept.
        :raises NotFound: when the store has forgotten the upload, or it was completed.
        """
        listed = []
        with _explaining(f"Looking for the upload of {address.s3}"):
            for page in self.client.get_paginator("list_parts").paginate(
                Bucket=address.bucket, Key=address.key, UploadId=upload_id
            ):
                listed += [
                    Part(int(part["PartNumber"]), int(part["Size"]), str(part["ETag"]))
                    for part in page.get("Parts", ())
                ]
        return Upload(self.client, address, upload_id, _usable(listed, size))

    def abort_upload(self, address: ObjectAddress, upload_id: str) -> None:
        """Throw away an upload that nobody is at; no error when the store forgot it."""
        Upload(self.client, address, upload_id).abort()

    def unfinished_uploads(self, bucket: str, prefix: str = "") -> tuple[ObjectAddress, ...]:
        """Multipart uploads below a prefix that were neither completed nor aborted."""
        found = []
        with _explaining(f"Listing uploads of s3://{bucket}/{prefix}"):
            for page in self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=prefix
            ):
                found += [str(entry["Key"]) for entry in page.get("Uploads", ())]
        return tuple(ObjectAddress(bucket, key) for key in found)

    def reach(self, bucket: str, prefix: str = "") -> None:
        """Ask for one key below a prefix, and forget the answer: the store is there.

        :raises Forbidden: when it is, and does not let the user list.
        """
        with _explaining(f"Listing s3://{bucket}/{prefix}"):
            self.client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)

    def room(self, bucket: str) -> int | None:
        """Bytes that the bucket's quota leaves; None where the store does not tell.

        Ceph's gateway tells a bucket's owner, in headers of HEAD (``X-RGW-Quota-Bucket-Size``, -1
        without a quota, and ``X-RGW-Bytes-Used``); S3 itself has nothing for it.
        """
        with _explaining(f"Looking at s3://{bucket}"):
            answer = self.client.head_bucket(Bucket=bucket)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        try:
            quota = int(headers["x-rgw-quota-bucket-size"])
            used = int(headers["x-rgw-bytes-used"])
        except (KeyError, ValueError):
            # Another store, or not the owner.
            return None
        return max(0, quota - used) if quota > 0 else None

    def presign(
        self, address: ObjectAddress, seconds: int = 3600, *, download: bool = False
    ) -> str:
        """A URL that gives the object to its bearer; it ends with the credentials at the latest.

        :param download: a browser saves the file under its name, whatever it is (RFC 6266).
        """
        asked = {"Bucket": address.bucket, "Key": address.key}
        if download:
            name = quote(address.key.rpartition("/")[2], safe="")
            asked["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{name}"
        with _explaining(f"Signing {address.s3}"):
            url: str = self.client.generate_presigned_url(
                "get_object",
                Params=asked,
                ExpiresIn=seconds,
            )
        return url
