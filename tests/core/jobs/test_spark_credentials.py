"""What pods of Spark get to reach the object store with, and that an SDK takes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import LoginRequired, UpstreamError
from cscale_core.jobs.engines.spark.kubernetes.handing import (
    CONFIG,
    HANDED,
    KEYS,
    TOKEN,
    handed,
    look_again,
)


def settings(**more: Any) -> SparkKubernetes:
    body = {"namespace": "spark-{user}", "image": "registry.example.eu/spark:1"}
    return SparkKubernetes.model_validate(body | more)


class Source:
    """Gives credentials that are numbered, for so many seconds."""

    def __init__(self, seconds: float = 3600) -> None:
        self.count = 0
        self.seconds = seconds
        self.ended = False

    async def token(self, audience: str) -> str:
        return f"for-{audience}"

    async def s3_credentials(self) -> dict[str, Any]:
        if self.ended:
            raise LoginRequired("The session has ended.")
        self.count += 1
        return {
            "AccessKeyId": f"key-{self.count}",
            "SecretAccessKey": "very-secret",
            "Token": f"session-{self.count}",
            "Expiration": (datetime.now(UTC) + timedelta(seconds=self.seconds)).isoformat(),
        }


async def test_only_what_the_site_says_is_handed() -> None:
    source = Source()
    assert await handed(settings(), source) == {}
    assert await handed(settings(credentials="secret", credentials_secret="keys"), source) == {}
    url = "https://broker.example.eu/v1/s3"
    endpoint = settings(credentials="endpoint", credentials_url=url, credentials_audience="pods")
    assert await handed(endpoint, source) == {TOKEN: "Bearer for-pods"}
    assert source.count == 0


async def test_nobody_to_ask_is_told() -> None:
    with pytest.raises(UpstreamError, match="nobody here"):
        await handed(settings(credentials="server"), None)


async def test_a_session_that_has_ended_is_told() -> None:
    source = Source()
    source.ended = True
    with pytest.raises(LoginRequired):
        await handed(settings(credentials="server"), source)


async def test_an_sdk_takes_the_persons_credentials_and_the_renewed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(seconds=60)

    def mounted(members: dict[str, str]) -> None:
        """As the kubelet does, at another place."""
        for name, text in members.items():
            (tmp_path / name).write_text(text.replace(HANDED, str(tmp_path)), encoding="utf-8")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / CONFIG))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    mounted(await handed(settings(credentials="server"), source))
    found = Session().get_credentials()
    assert found.method == "custom-process"
    first = found.get_frozen_credentials()
    assert (first.access_key, first.token) == ("key-1", "session-1")
    # They are about to end, so it looks again, and finds what was renewed meanwhile.
    mounted(await handed(settings(credentials="server"), source))
    assert found.get_frozen_credentials().access_key == "key-2"


@pytest.mark.parametrize(("life", "seconds"), [(3600, 300), (720, 180), (8, 5)])
def test_they_are_looked_at_again_before_they_end(life: float, seconds: float) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=life)
    members = {KEYS: json.dumps({"Expiration": ends.isoformat()})}
    assert look_again(members, 300) == pytest.approx(seconds, abs=1)
    assert look_again({TOKEN: "Bearer x"}, 300) == 300
