"""Routes of the one list of jobs, and of staging and registration, which fill it and follow it."""

from __future__ import annotations

from cscale_server.routes.jobs.acts import ROUTES as ACTS
from cscale_server.routes.jobs.jobs import ROUTES as JOBS
from cscale_server.routes.jobs.output import ROUTES as OUTPUT
from cscale_server.routes.jobs.places import ROUTES as PLACES
from cscale_server.routes.jobs.staging import ROUTES as STAGING
from cscale_server.routes.jobs.store import ROUTES as STORE
from cscale_server.routes.table import Route

# What has a name of its own below jobs/ stands before jobs/{job_id}.
ROUTES: tuple[Route, ...] = (*STAGING, *PLACES, *STORE, *JOBS, *ACTS, *OUTPUT)
