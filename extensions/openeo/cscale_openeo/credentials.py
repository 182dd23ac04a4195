"""S3 credentials of jobs: short-lived, narrowed to one job, in the AWS container format.

The service holds the only secret (its client secret). Each job gets a session that may read its
VO's products and its owner's files and write its own results, through a loopback endpoint guarded
by a random token in a file only the job's processes read.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

import httpx

from cscale_openeo.config import S3Settings
from cscale_openeo.errors import OpenEOError

#: Life that credentials have at least when they are handed out. boto3 asks anew 15 minutes before
#: the end, and insists at 10.
MINIMUM_LIFE = dt.timedelta(minutes=20)


def session_policy(bucket: str, slug: str, job: str) -> str:
    """The inline policy of a job's session, shorter than STS's 2048 characters.

    Read the VO's products and the user's own files; write and remove the job's results.
    """
    arn = f"arn:aws:s3:::{bucket}"
    results = f"{arn}/users/{slug}/jobs/{job}/*"
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["s3:GetObject"],
                    "Resource": [f"{arn}/products/*", f"{arn}/users/{slug}/*"],
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "s3:PutObject",
                        "s3:DeleteObject",
                        "s3:AbortMultipartUpload",
                        "s3:ListMultipartUploadParts",
                    ],
                    "Resource": [results],
                },
            ],
        },
        separators=(",", ":"),
    )


def write_secret(path: Path, text: str) -> None:
    """A file that only its owner can read, written before anybody can open it."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def job_token(path: Path) -> str:
    """The token in a job's file, made at first use."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_secret(path, token)
        return token


def same_secret(given: str, expected: str) -> bool:
    """Comparison that takes as long for a wrong secret as for a right one."""
    return hmac.compare_digest(given.encode(), expected.encode())


class CredentialIssuer:
    """Gets and keeps the sessions of jobs."""

    def __init__(self, settings: S3Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._sessions: dict[str, tuple[dt.datetime, dict[str, str]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def credentials(self, bucket: str, slug: str, job: str) -> dict[str, str]:
        """``{AccessKeyId, SecretAccessKey, Token, Expiration}`` with 20 minutes to go or more.

        :raises OpenEOError: UpstreamUnavailable when the issuer or the store does not give any.
        """
        if self._settings.static is not None:
            return self._static()
        lock = self._locks.setdefault(job, asyncio.Lock())
        async with lock:
            known = self._sessions.get(job)
            if known is not None and known[0] - dt.datetime.now(dt.UTC) > MINIMUM_LIFE:
                return known[1]
            token = await self._service_token()
            policy = session_policy(bucket, slug, job)
            found: dict[str, Any]
            try:
                found = await asyncio.to_thread(self._assume, token, f"openeo-{job}"[:64], policy)
            except OpenEOError:
                if known is not None and known[0] > dt.datetime.now(dt.UTC):
                    return known[1]  # shorter than we like, and better than none
                raise
            expires = found.pop("expires")
            self._sessions[job] = (expires, found)
            return found

    def forget(self, job: str) -> None:
        """Drop a job's session; it ends by itself at the store."""
        self._sessions.pop(job, None)
        self._locks.pop(job, None)

    def _static(self) -> dict[str, str]:
        static = self._settings.static
        if static is None:
            raise OpenEOError("Internal", "There are no static keys.")
        end = dt.datetime.now(dt.UTC) + dt.timedelta(hours=12)
        return {
            "AccessKeyId": static.access_key,
            "SecretAccessKey": static.secret_file.read_text(encoding="utf-8").strip(),
            "Token": "",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _service_token(self) -> str:
        settings = self._settings
        if settings.client_secret_file is None:
            raise OpenEOError("Internal", "The service has no client secret.")
        secret = settings.client_secret_file.read_text(encoding="utf-8").strip()
        try:
            response = await self._http.post(
                settings.token_endpoint,
                data={"grant_type": "client_credentials", "audience": settings.audience},
                auth=(settings.client_id, secret),
            )
            response.raise_for_status()
            return str(response.json()["access_token"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise OpenEOError(
                "UpstreamUnavailable",
                "The identity provider gave the service no token for the object store.",
            ) from error

    def _assume(self, token: str, name: str, policy: str) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.session.Session(region_name=self._settings.region).client(
            "sts",
            endpoint_url=self._settings.endpoint,
            config=Config(signature_version=UNSIGNED, connect_timeout=10, read_timeout=30),
        )
        try:
            answer = client.assume_role_with_web_identity(
                RoleArn=self._settings.role_arn,
                RoleSessionName=name,
                WebIdentityToken=token,
                Policy=policy,
                DurationSeconds=self._settings.session_seconds,
            )["Credentials"]
        except (BotoCoreError, ClientError) as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            raise OpenEOError(
                "UpstreamUnavailable",
                f"The object store gives no credentials ({code or type(error).__name__}).",
            ) from error
        expires: dt.datetime = answer["Expiration"]
        return {
            "AccessKeyId": answer["AccessKeyId"],
            "SecretAccessKey": answer["SecretAccessKey"],
            "Token": answer["SessionToken"],
            "Expiration": expires.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "expires": expires,
        }
