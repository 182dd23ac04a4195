"""Spark from a notebook: one line to a session, on this server or on the cluster.

``cscale_core.spark.session()``.
"""

from cscale_core.spark.opening import session

__all__ = ["session"]
