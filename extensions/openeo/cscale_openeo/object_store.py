"""The object store as the service and its jobs use it: boto3 with path-style addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cscale_openeo.errors import OpenEOError


def _client(endpoint: str, region: str, **keys: Any) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session(region_name=region).client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 3, "mode": "standard"},
        ),
        **keys,
    )


def job_client(endpoint: str, region: str) -> Any:
    """A client whose keys come from the standard chain and refresh by themselves."""
    return _client(endpoint, region)


def keyed_client(endpoint: str, region: str, keys: dict[str, str]) -> Any:
    """A client with keys in the container-credentials format."""
    return _client(
        endpoint,
        region,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("Token") or None,
    )


def explain(error: Exception, what: str) -> OpenEOError:
    """A botocore error as one of the API."""
    response = getattr(error, "response", {})
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in ("NoSuchKey", "404", "NotFound") or status == 404:
        return OpenEOError("FileNotFound", f"{what} does not exist any more.")
    if status == 507 or "Quota" in code or "Full" in code:
        return OpenEOError("StorageQuotaExceeded", f"There is no room in the bucket for {what}.")
    if status == 403 or code == "AccessDenied":
        return OpenEOError("PermissionsInsufficient", f"The object store refuses {what}.")
    return OpenEOError(
        "StorageFailure", f"The object store failed at {what} ({code or type(error).__name__})."
    )


def upload(client: Any, path: Path, bucket: str, key: str) -> None:
    """Put a file and make sure that all of it arrived.

    :raises OpenEOError: StorageFailure, StorageQuotaExceeded or PermissionsInsufficient.
    """
    from boto3.exceptions import S3UploadFailedError
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.upload_file(
            str(path),
            bucket,
            key,
            # The CRT client ignores endpoint_url.
            Config=TransferConfig(preferred_transfer_client="classic"),
        )
        stored = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except S3UploadFailedError as error:
        raise explain(error.__context__ or error, f"s3://{bucket}/{key}") from error
    except (BotoCoreError, ClientError) as error:
        raise explain(error, f"s3://{bucket}/{key}") from error
    if stored != path.stat().st_size:
        raise OpenEOError("StorageFailure", f"s3://{bucket}/{key} did not arrive whole.")
