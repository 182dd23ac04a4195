"""The broker's configuration: where it listens, whom it asks, what it may give."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from cscale_hub.audit import audit_file
from cscale_hub.settings import HttpUrl, Settings, SettingsError
from cscale_hub.vo_model import VOFile

Audience = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]

STS_MINIMUM = 900
"""Seconds that temporary credentials live at least (AWS STS, ``DurationSeconds``)."""


def _one_interface(host: str) -> str:
    if set(host) <= set("0."):
        raise ValueError("the address of all interfaces is not taken; name one")
    return host


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class S3Access(_Model):
    """How S3 credentials are made.

    ``web-identity``: AssumeRoleWithWebIdentity, a token of the person for STS, and a session policy
    per user. ``assume-role``: AssumeRole with a key pair of the broker's own, and the same session
    policy, for stores that do not know the identity provider. ``static``: one key pair for
    everybody, for stores without STS; the store cannot tell users apart then, so it must hold
    nothing that one user may not see.
    """

    mode: Literal["web-identity", "assume-role", "static"] = "web-identity"
    endpoint: HttpUrl
    sts_endpoint: HttpUrl | None = Field(default=None, description="None: the same as endpoint.")
    region: str = "us-east-1"
    audience: Audience = "s3"
    role_arn: str = ""
    duration: int = Field(
        default=3600, ge=1200, le=3600, description="Seconds asked for; at most what the token has"
    )
    key_file: Path | None = Field(
        default=None,
        description="JSON {access_key_id, secret_access_key}, mode 0600: who assumes the role, or "
        "the static pair.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode != "static" and not self.role_arn:
            raise ValueError(f"{self.mode} needs role_arn")
        if self.mode != "web-identity" and self.key_file is None:
            raise ValueError(f"{self.mode} needs key_file")
        return self


class RateLimit(_Model):
    """How often one user may ask."""

    burst: int = Field(default=30, ge=1)
    per_minute: float = Field(default=60.0, gt=0)


class BrokerConfig(_Model):
    """One broker. Its own JupyterHub token and the hub's address come from the environment that
    JupyterHub gives its services (``JUPYTERHUB_API_TOKEN``, ``JUPYTERHUB_API_URL``)."""

    host: Annotated[str, AfterValidator(_one_interface)] = Field(
        default="127.0.0.1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$",
        description="Loopback; in a pod the pod's own name, as the proxy is in another one.",
    )
    port: int = Field(ge=1, le=65535)
    prefix: str = Field(default="/services/broker", pattern=r"^(/[A-Za-z0-9._-]+)*$")
    token_url: HttpUrl = Field(description="The identity provider's token endpoint.")
    client_id: str = Field(min_length=1, description="The hub's client: tokens are its to exchange")
    client_secret_file: Path
    token_exchange: bool = Field(
        default=True,
        description="Whether the provider exchanges tokens (RFC 8693). If not, servers get the "
        "token that the hub has, as it is, whatever audience they name.",
    )
    audiences: tuple[Audience, ...] = ("openeo", "catalogue")
    s3: S3Access
    vos: VOFile
    audit_log: Path
    rate_limit: RateLimit = RateLimit()
    minimum_life: int = Field(
        default=1200,
        ge=60,
        description="Seconds; with less left the hub is asked to renew the user's token first.",
    )
    identity_cache: float = Field(
        default=10.0, ge=0, le=10, description="Seconds for which a known caller is not asked again"
    )
    timeout: float = Field(default=10.0, gt=0, description="Seconds an upstream has to answer.")

    @model_validator(mode="after")
    def _s3_is_not_given_away(self) -> Self:
        if self.s3.audience in self.audiences:
            raise ValueError(
                f"tokens for {self.s3.audience!r} stay here: with one a user could ask STS for "
                "credentials without a session policy"
            )
        if self.s3.mode == "web-identity" and self.audiences and not self.token_exchange:
            raise ValueError(
                "without token_exchange users would get the very token that STS takes, and with it "
                "credentials without a session policy: use assume-role, or offer no audiences"
            )
        return self


def cluster_config(settings: Settings, vos: VOFile) -> BrokerConfig:
    """The broker in the hub's pod, to which the proxy comes from another one.

    :raises SettingsError: when the hub has no secret at the identity provider.
    """
    if settings.identity.client_secret_file is None:
        raise SettingsError("The broker needs identity.client_secret_file")
    return BrokerConfig(
        host=socket.gethostname(),
        port=settings.broker.port,
        token_url=settings.broker.token_url,
        client_id=settings.identity.client_id,
        client_secret_file=settings.identity.client_secret_file,
        s3=S3Access(
            endpoint=settings.storage.endpoint,
            region=settings.storage.region,
            role_arn=settings.broker.role_arn,
        ),
        vos=vos,
        audit_log=audit_file(settings),
    )
