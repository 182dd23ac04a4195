"""The Spark engine: applications on this machine and on Kubernetes, in one list."""

from cscale_core.jobs.engines.spark.engine import SparkEngine

__all__ = ["SparkEngine"]
