"""Where the service may listen."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cscale_openeo.config import Config, S3Settings, StaticKeys

VO = {
    "name": "demo",
    "bucket": "demo",
    "group": "demo",
    "namespaces": ["mace:egi.eu"],
    "authorities": [""],
    "roles": {},
}


def config(host: str, public_url: str = "") -> Config:
    keys = StaticKeys(access_key="x", secret_file=Path("/nowhere"))
    return Config.model_validate(
        {
            "host": host,
            "port": 8080,
            "public_url": public_url,
            "data_dir": "/data",
            "issuer": "https://aai.example.eu",
            "jwks_url": "https://aai.example.eu/certs",
            "userinfo_url": "https://aai.example.eu/userinfo",
            "vos": [VO],
            "catalogue_url": "https://stac.example.eu",
            "s3": S3Settings(endpoint="https://s3.example.eu", static=keys),
        }
    )


@pytest.mark.parametrize(
    ("host", "public_url"),
    [("127.0.0.1", ""), ("::1", ""), ("0.0.0.0", "https://x.eu/openeo"), ("::", "https://x.eu")],
)
def test_loopback_or_behind_a_certificate(host: str, public_url: str) -> None:
    assert config(host, public_url).host == host


@pytest.mark.parametrize(
    ("host", "public_url"),
    [
        ("0.0.0.0", ""),
        ("0.0.0.0", "http://x.eu/openeo"),
        ("192.0.2.1", "https://x.eu/openeo"),
        ("localhost", ""),
    ],
)
def test_nowhere_else(host: str, public_url: str) -> None:
    with pytest.raises(ValidationError, match="host must be"):
        config(host, public_url)
