"""S3 credentials: of a role, narrowed by a session policy, or one fixed key pair without STS."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cscale_hub.broker.errors import LoginRequiredError, UpstreamDownError, UpstreamRefusalError

_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair that stays the same."""

    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """For whom, how narrow and for how many seconds a role is assumed."""

    name: str
    policy: str
    duration: int


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Keys for S3; ``session_token`` is empty for a fixed key pair."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires: float


class RoleAssumer:
    """STS (AWS STS API 2011-06-15), asked for credentials of one role that a policy narrows.

    :param url: the endpoint of STS; many stores have it where S3 is.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, role_arn: str) -> None:
        self._http = http
        self._url = f"{url}/"
        self._role_arn = role_arn

    async def with_web_identity(self, token: str, session: Session) -> S3Credentials:
        """AssumeRoleWithWebIdentity: STS checks the person's token at the identity provider.

        :raises LoginRequiredError: when the token has ended.
        :raises UpstreamRefusalError: when STS refuses for another reason.
        :raises UpstreamDownError: when STS, or the provider behind it, does not answer.
        """
        form = {"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token}
        return await self._ask(form, session, None)

    async def with_keys(self, keys: KeyPair, region: str, session: Session) -> S3Credentials:
        """AssumeRole, with a key pair that may assume the role and nothing else; errors as above.

        :param region: the one that the request is signed for.
        """
        signer = SigV4Auth(Credentials(keys.key_id, keys.secret), "sts", region)
        return await self._ask({"Action": "AssumeRole"}, session, signer)

    async def _ask(
        self, action: dict[str, str], session: Session, signer: SigV4Auth | None
    ) -> S3Credentials:
        if not session.policy:
            raise ValueError("a session policy is needed: the role alone is far too wide")
        form = {
            **action,
            "Version": "2011-06-15",
            "RoleArn": self._role_arn,
            "RoleSessionName": session.name,
            "DurationSeconds": str(session.duration),
            "Policy": session.policy,
        }
        # Ceph takes a + in a form for a plus and not for a space.
        body = urlencode(form, quote_via=quote)
        request = AWSRequest("POST", self._url, {"Content-Type": _FORM}, body)
        if signer is not None:
            signer.add_auth(request)
        try:
            answer = await self._http.post(
                self._url, content=body, headers=dict(request.headers.items())
            )
        except httpx.HTTPError as error:
            raise UpstreamDownError("The object store does not answer.", retry_after=5) from error
        document = _xml(answer)
        if answer.status_code != 200:
            raise _refusal(answer.status_code, document)
        return _credentials(document)


def static_credentials(keys: KeyPair, duration: int) -> S3Credentials:
    """The same key pair for everybody, to be asked for again after this time."""
    return S3Credentials(keys.key_id, keys.secret, "", time.time() + duration)


def read_keys(path: Path) -> KeyPair:
    """The key pair in a file; read anew each time, so that it can be changed.

    :raises UpstreamRefusalError: when the file is missing, open to others, or not valid.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UpstreamRefusalError("The file with the S3 keys is open to others.")
        pair = json.loads(path.read_text(encoding="utf-8"))
        return KeyPair(str(pair["access_key_id"]), str(pair["secret_access_key"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UpstreamRefusalError("The file with the S3 keys cannot be read.") from error


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
