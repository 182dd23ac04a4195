"""The API of a user's server as Python calls, for notebooks, scripts and the command line.

One job list serves the panel and the notebook: what is submitted here is seen there. In a notebook
``here()`` is the server that runs the kernel, and ``jobs`` its list of jobs::

    from cscale_core.client import jobs

    job = jobs.submit("openeo", {"process_graph": graph}, title="Water")
    job.wait().results().open()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cscale_core.client.connection import ServerAway
from cscale_core.client.job import Job, JobFailed
from cscale_core.client.joblist import Jobs, JobTable
from cscale_core.client.mapping import MappedJobs, map_jobs
from cscale_core.client.results import Results
from cscale_core.client.waiting import NotEnded
from cscale_core.client.workspace import Workspace, here
from cscale_core.jobs.model import JobSpec

__all__ = [
    "Job",
    "JobFailed",
    "JobSpec",
    "JobTable",
    "Jobs",
    "MappedJobs",
    "NotEnded",
    "Results",
    "ServerAway",
    "Workspace",
    "here",
    "jobs",
    "map_jobs",
]

if TYPE_CHECKING:
    jobs: Jobs
else:

    def __getattr__(name):
        """``jobs`` of the server that runs this kernel, found when it is asked for."""
        if name == "jobs":
            return here().jobs
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
