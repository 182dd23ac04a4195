"""What the object store of the one-machine federation is asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cscale_hub.places import VOStorage, check_bucket

Port = Annotated[int, Field(ge=1024, le=65535)]
Bucket = Annotated[str, AfterValidator(check_bucket)]

RESEARCHER_ROLE = "cscale-researcher"
OPENEO_ROLE = "cscale-openeo"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ports(_Model):
    """The inner listeners of SeaweedFS; all on loopback, all behind mutual TLS."""

    s3_grpc: Port
    master: Port
    master_grpc: Port
    volume: Port
    volume_grpc: Port
    filer: Port
    filer_grpc: Port


class SeaweedConfig(_Model):
    """One SeaweedFS with S3 and STS.

    The issuer may be plain http on loopback, and may be down when this starts.
    """

    host: Literal["127.0.0.1"] = "127.0.0.1"
    port: Port = Field(description="S3 and STS.")
    ports: Ports
    data_dir: Path
    secrets_dir: Path = Field(description="Keys are generated here on first start, mode 0600.")
    issuer: str = Field(pattern=r"^https?://", description="`iss` of accepted tokens.")
    jwks_url: str = Field(pattern=r"^https?://")
    audience: str = Field(default="s3", min_length=1)
    researcher_clients: tuple[str, ...] = Field(
        default=("cscale-hub",),
        min_length=1,
        description="`azp` of tokens that may take the researchers' role: who sets the session "
        "policy. A user's own client must not be among them.",
    )
    openeo_clients: tuple[str, ...] = Field(default=("cscale-openeo-service",), min_length=1)
    vos: tuple[VOStorage, ...] = Field(min_length=1)
    buckets: tuple[Bucket, ...] = Field(default=(), description="Further buckets to create.")
    memory_limit_mb: int = Field(
        default=512, ge=256, description="Soft bound of weed's heap (GOMEMLIMIT); caches follow it."
    )
    volume_size_mb: int = Field(default=1024, ge=64, description="Size at which a new file begins.")
    min_free_space: str = Field(
        default="1GiB",
        pattern=r"^[1-9][0-9]*(MiB|GiB|)$",
        description="Writes are refused when less is free on the disk (no unit: per cent).",
    )
    start_timeout: float = Field(default=60.0, gt=0, description="Seconds until S3 must answer.")
    stop_timeout: float = Field(
        default=2.0, gt=0, description="Seconds weed has to stop before it is killed."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        ports = [self.port, *self.ports.model_dump().values()]
        if len(set(ports)) != len(ports):
            raise ValueError("two listeners have the same port")
        for key in ("bucket", "name"):
            values = [getattr(vo, key) for vo in self.vos]
            if len(set(values)) != len(values):
                raise ValueError(f"two VOs have the same {key}")
        return self

    @property
    def endpoint(self) -> str:
        """Base URL of S3 and STS."""
        return f"http://{self.host}:{self.port}"

    @property
    def all_buckets(self) -> tuple[str, ...]:
        """The buckets that must exist, without repetition."""
        named = [bucket for vo in self.vos for bucket in vo.buckets]
        return tuple(dict.fromkeys([*named, *self.buckets]))
