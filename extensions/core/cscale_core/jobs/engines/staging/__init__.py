"""The staging engine: files of STAC items are brought into the bucket, by this server."""

from cscale_core.jobs.engines.staging.engine import StagingEngine

__all__ = ["StagingEngine"]
