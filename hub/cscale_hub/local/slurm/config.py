"""What the batch cluster of the one-machine federation is asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cscale_hub.local.sockets import socket_folder

NODE = "n1"
#: Forms in which Slurm's own files take a path.
PATH_PATTERN = r"^/[A-Za-z0-9._/+@=-]*$"
# Linux: a socket's path has 107 bytes, and that of a job's step is ``/spool/n1_JOB.STEP``.
_LONGEST_SOCKET_FOLDER = 72

Port = Annotated[int, Field(ge=1024, le=65535)]


class SlurmConfig(BaseModel):
    """One Slurm of one node; all its ports are on loopback."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Literal["127.0.0.1"] = "127.0.0.1"
    port: Port = Field(description="Answers whether the cluster takes jobs: GET /healthz.")
    controller_port: Port
    node_port: Port
    data_dir: Path = Field(description="Keys, the queue, and logs of jobs' steps; mode 0700.")
    cpus: int = Field(default=2, ge=1)
    memory_mb: int = Field(default=2000, ge=100)
    node_features: str = Field(default="", description="More of the node, such as Gres=gpu:2.")
    partitions: tuple[str, ...] = Field(
        default=(f"PartitionName=main Nodes={NODE} Default=YES MaxTime=UNLIMITED",), min_length=1
    )
    settings: dict[str, str] = Field(
        default_factory=dict, description="Members of slurm.conf; they win over ours."
    )
    start_timeout: float = Field(default=60.0, gt=0, description="Seconds until a job can run.")

    @property
    def socket_dir(self) -> Path:
        """Folder of the sockets."""
        return socket_folder(self.data_dir / "run", "slurm", _LONGEST_SOCKET_FOLDER)

    @property
    def rest_socket(self) -> Path:
        """Where slurmrestd is asked."""
        return self.socket_dir / "rest.socket"

    @property
    def munge_socket(self) -> Path:
        return self.socket_dir / "munge.socket"

    @property
    def work_dir(self) -> Path:
        """Working folder of jobs, which holds a folder for each."""
        return self.data_dir / "work"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def slurm_conf(self) -> Path:
        return self.data_dir / "slurm.conf"
