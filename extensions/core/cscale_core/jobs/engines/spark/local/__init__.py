"""Spark on this machine: ``spark-submit`` in a process group that outlives the server."""
