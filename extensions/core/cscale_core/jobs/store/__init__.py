"""The job list on disk: one SQLite file in the user's home, which may be NFS."""

from cscale_core.jobs.store.store import JobStore

__all__ = ["JobStore"]
