"""The task file: all a run needs, without secrets; the service writes it, the job reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

#: The program that runs a task.
APPLICATION = Path(__file__).with_name("application.py")
#: Its exit status when the task ended with an explained error.
EXPLAINED = 3


class Task(BaseModel):
    """``task.json`` of a run.

    :param frozen: inputs by load node, ``frozen_digest`` their SHA-256.
    :param bucket: where outputs go, below ``key_prefix``; empty: they stay in the folder.
    """

    model_config = ConfigDict(extra="forbid")

    job: str
    title: str = ""
    process_graph: dict[str, dict[str, Any]]
    frozen: dict[str, Any]
    frozen_digest: str
    tile_size: int
    log_level: str = "info"
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_public_url: str = ""
    mount_root: str = "/s3"
    catalogue_url: str = ""
    bucket: str = ""
    key_prefix: str = ""
    max_values: int = 0
