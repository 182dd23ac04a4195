"""S3 credentials: from STS with a session policy, or one fixed key pair where there is no STS."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import httpx

from cscale_hub.broker.errors import LoginRequiredError, UpstreamDownError, UpstreamRefusalError

_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_STATIC_LIFE = 3600


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Keys for S3; ``session_token`` is empty for a fixed key pair."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires: float

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"S3Credentials(access_key_id={self.access_key_id!r}, expires={self.expires!r})"


class WebIdentity:
    """AssumeRoleWithWebIdentity (AWS STS API 2011-06-15) at an S3 endpoint."""

    def __init__(self, http: httpx.AsyncClient, endpoint: str, role_arn: str) -> None:
        self._http = http
        self._endpoint = endpoint
        self._role_arn = role_arn

    async def assume(
        self, token: str, policy: str, session_name: str, duration: int
    ) -> S3Credentials:
        """Credentials of the role, narrowed by the policy.

        :param policy: the session policy; must not be empty, the role alone is far too wide.
        :param duration: seconds.
        :raises LoginRequiredError: when the token has ended.
        :raises UpstreamRefusalError: when STS refuses for another reason.
        :raises UpstreamDownError: when STS, or the provider behind it, does not answer.
        """
        if not policy:
            raise ValueError("a session policy is needed")
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._role_arn,
            "RoleSessionName": session_name,
            "WebIdentityToken": token,
            "DurationSeconds": str(duration),
            "Policy": policy,
        }
        try:
            answer = await self._http.post(self._endpoint, data=form)
        except httpx.HTTPError as error:
            raise UpstreamDownError("The object store does not answer.", retry_after=5) from error
        document = _xml(answer)
        if answer.status_code != 200:
            raise _refusal(answer.status_code, document)
        return _credentials(document)


class StaticKeys:
    """The same key pair for everybody, read anew each time so that it can be changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self) -> S3Credentials:
        """The key pair, to be asked for again within the hour.

        :raises UpstreamRefusalError: when the file is missing, open to others, or not valid.
        """
        try:
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise UpstreamRefusalError("The file with the S3 keys is open to others.")
            pair = json.loads(self._path.read_text(encoding="utf-8"))
            key_id, secret = pair["access_key_id"], pair["secret_access_key"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UpstreamRefusalError("The file with the S3 keys cannot be read.") from error
        return S3Credentials(str(key_id), str(secret), "", time.time() + _STATIC_LIFE)


def _refusal(status: int, document: ElementTree.Element | None) -> Exception:
    code = message = ""
    if document is not None:
        code = _text(document, "Code")
        message = _text(document, "Message")
    if code in ("ExpiredTokenException", "ExpiredToken"):
        return LoginRequiredError(
            "Your login at the identity provider has ended.", hint="Log in to the hub again."
        )
    # SeaweedFS answers 4xx when it cannot reach the provider for its keys.
    if status >= 500 or status == 429 or "JWKS" in message or code == "IDPCommunicationError":
        return UpstreamDownError("The object store cannot check logins now.", retry_after=5)
    return UpstreamRefusalError(
        f"The object store refuses to give credentials ({code or status}).",
        hint="The operator has to check the role and its trust in the identity provider.",
    )


def _credentials(document: ElementTree.Element | None) -> S3Credentials:
    if document is None:
        raise UpstreamRefusalError("The object store's answer cannot be read.")
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    values = {name: _text(document, name) for name in names}
    if not all(values.values()):
        raise UpstreamRefusalError("The object store's answer has no complete credentials.")
    try:
        expires = datetime.fromisoformat(values["Expiration"])
    except ValueError as error:
        raise UpstreamRefusalError("The object store's expiry time cannot be read.") from error
    moment = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    return S3Credentials(
        values["AccessKeyId"],
        values["SecretAccessKey"],
        values["SessionToken"],
        moment.timestamp(),
    )


def _text(document: ElementTree.Element, name: str) -> str:
    element = document.find(f".//{_NAMESPACE}{name}")
    if element is None:
        element = document.find(f".//{name}")
    return (element.text or "").strip() if element is not None else ""


def _xml(answer: httpx.Response) -> ElementTree.Element | None:
    try:
        # The answer of the configured object store; expat refuses entity bombs since 2.4.
        return ElementTree.fromstring(answer.content)  # noqa: S314
    except ElementTree.ParseError:
        return None
