"""What is published carries no signature, no token and no password."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cscale_core.ingest.unsigned import LEFT_OUT, expiry, is_signed, unsigned, without_secrets

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJlLW9mLWEtdG9rZW4"


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("s3://bucket/key with space", "s3://bucket/key with space"),
        ("/s3/bucket/a?b", "/s3/bucket/a?b"),
        ("https://h/a.tif", "https://h/a.tif"),
        ("https://h/a.tif?bands=1,2&year=2020", "https://h/a.tif?bands=1,2&year=2020"),
        ("https://user:word@h:8/a.tif", "https://h:8/a.tif"),
        (
            "https://h/a.tif?X-Amz-Signature=1&X-Amz-Date=2&x-amz-security-token=3&year=2020",
            "https://h/a.tif?year=2020",
        ),
        ("https://h/a?AWSAccessKeyId=AK&Signature=s&Expires=1700000000", "https://h/a"),
        ("https://h/a?se=2030-01-01&sp=r&sig=abc", "https://h/a?sp=r"),
        ("https://h/a?access_token=abc", "https://h/a"),
        # openEO back ends sign in the path.
        ("https://h/jobs/j/results/assets/dXNlcg/0af3/a.tif?expires=17", f"https://h/{LEFT_OUT}"),
    ],
)
def test_addresses_lose_what_signs_them_and_nothing_else(href: str, expected: str) -> None:
    assert unsigned(href) == expected
    assert is_signed(href) == (href != expected)
    assert unsigned(unsigned(href)) == unsigned(href)


def test_secrets_are_left_out_wherever_they_are() -> None:
    given = {
        "process_graph": {
            "load": {"arguments": {"url": "https://h/c.json?token=hidden-1", "bands": ["B02"]}},
            "udf": {"arguments": {"udf": "open('https://u:hidden-2@h/x') # a comment"}},
        },
        "environment": {"API_KEY": "hidden-3", "THREADS": "4", "MY_TOKEN": "hidden-4"},
        "command": ["run", "--password", "hidden-5", "--secret=hidden-6", "-n", "3"],
        "password": 12345678901,
        "header": f"Bearer {TOKEN}",
        "nested": [[{"credentials": {"user": "hidden-7"}}]],
        "text": f"the key AKIAABCDEFGHIJKLMNOP and {TOKEN}",
    }
    kept = without_secrets(given)
    text = json.dumps(kept)
    assert "hidden" not in text
    assert "12345678901" not in text
    assert TOKEN not in text
    assert "AKIA" not in text
    assert kept["process_graph"]["load"]["arguments"] == {
        "url": "https://h/c.json",
        "bands": ["B02"],
    }
    assert kept["environment"]["THREADS"] == "4"
    assert kept["command"] == [
        "run",
        "--password",
        LEFT_OUT,
        f"--secret={LEFT_OUT}",
        "-n",
        "3",
    ]


def test_ordinary_values_are_not_touched() -> None:
    ordinary = {
        "max_tokens": 5,
        "author": "A. Author",
        "keyword": "water",
        "tokenise": True,
        "authority": "EPSG",
        "key": "B02",
        "id": "S2A_MSIL1C_20200101T112451_N0208_R037_T29SPB_20200101T120000",
        "checksum": "1220" + "ab" * 32,
        "expression": "a ? b : c",
        "empty": None,
        "number": 0.1,
    }
    assert without_secrets(ordinary) == ordinary


def test_end_of_a_link_is_read_where_it_is_stated() -> None:
    assert expiry("https://h/f?expires=1700000000&x=1") == datetime.fromtimestamp(1700000000, UTC)
    assert expiry("https://h/f?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60") == datetime(
        2026, 1, 1, 0, 1, tzinfo=UTC
    )
    for href in ("s3://b/k", "https://h/f?expires=soon", "https://h/f?X-Amz-Expires=5", "http://["):
        assert expiry(href) is None
