"""How much the buckets of the virtual organisations hold, by listing them.

Only each VO's own bucket counts: others may be shared by several. The key pair needs to list these
buckets and nothing else. The endpoint is asked in pages, one bucket after the other, so that the
store hardly notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element, ParseError

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from cscale_hub.accounting.store import Stored
from cscale_hub.broker.sts import KeyPair
from cscale_hub.vo_model import VOFile

PAGE = 1000
_SECONDS = 60.0
_ATTEMPTS = 3


class NotMeasured(Exception):
    """A bucket could not be listed to its end; nothing is noted of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where S3 is, and with what it is asked."""

    endpoint: str
    region: str
    keys: KeyPair


async def measure(
    place: Place,
    vos: VOFile,
    now: datetime,
    http: httpx.AsyncClient,
    progress: Callable[[str, int], None],
) -> tuple[list[Stored], list[str]]:
    """What each VO's bucket holds, and in words which could not be listed.

    :param progress: gets the bucket and the objects counted so far, after each page.
    """
    found: list[Stored] = []
    failed: list[str] = []
    for name, vo in vos.vos.items():
        try:
            size = await _size(place, vo.bucket, http, progress)
        except NotMeasured as error:
            failed.append(str(error))
            continue
        found.append(Stored(now.strftime("%Y-%m-%d"), vo.bucket, name, size))
    return found, failed


async def _size(
    place: Place, bucket: str, http: httpx.AsyncClient, progress: Callable[[str, int], None]
) -> int:
    """Bytes in a bucket (S3 API, ListObjectsV2)."""
    size = objects = 0
    token = ""
    while True:
        page = await _page(place, bucket, token, http)
        for entry in _all(page, "Contents"):
            objects += 1
            size += int(_text(entry, "Size") or 0)
        progress(bucket, objects)
        following = _text(page, "NextContinuationToken")
        if _text(page, "IsTruncated") != "true":
            return size
        if not following or following == token:
            raise NotMeasured(f"{bucket}: the store does not lead to the next page")
        token = following


async def _page(place: Place, bucket: str, token: str, http: httpx.AsyncClient) -> Element:
    question = {"list-type": "2", "max-keys": str(PAGE)}
    if token:
        question["continuation-token"] = token
    # In the order and writing that the signature is made of.
    query = urlencode(sorted(question.items()), quote_via=quote, safe="")
    url = f"{place.endpoint}/{quote(bucket)}?{query}"
    problem = ""
    for _ in range(_ATTEMPTS):
        request = AWSRequest("GET", url)
        credentials = Credentials(place.keys.key_id, place.keys.secret)
        S3SigV4Auth(credentials, "s3", place.region).add_auth(request)
        try:
            answer = await http.get(url, headers=dict(request.headers.items()), timeout=_SECONDS)
        except httpx.HTTPError as error:
            problem = f"the store does not answer ({type(error).__name__})"
            continue
        if answer.status_code >= 500:
            problem = f"the store answers {answer.status_code}"
            continue
        if answer.status_code != httpx.codes.OK:
            raise NotMeasured(f"{bucket}: the store refuses ({answer.status_code})")
        try:
            root: Element = fromstring(answer.content)
        except (ParseError, DefusedXmlException) as error:
            raise NotMeasured(f"{bucket}: the store's answer cannot be read") from error
        return root
    raise NotMeasured(f"{bucket}: {problem}")


def _all(parent: Element, name: str) -> list[Element]:
    """Members by name, whatever their namespace: stores differ in it."""
    return [each for each in parent if each.tag.rpartition("}")[2] == name]


def _text(parent: Element, name: str) -> str:
    found = _all(parent, name)
    return (found[0].text or "") if found else ""
