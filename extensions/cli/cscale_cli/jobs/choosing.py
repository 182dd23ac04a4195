"""A job by what somebody types: its id, the beginning of one, or ``last``."""

from __future__ import annotations

from cscale_core.client import Job, Jobs
from cscale_core.errors import InvalidInput, NotFound

LAST = "last"
_MOST_NAMED = 5


def chosen(jobs: Jobs, given: str) -> Job:
    """The one job that is meant, whole.

    :raises NotFound: when there is none.
    :raises InvalidInput: when it may be several.
    """
    if given == LAST:
        return jobs.last().refresh()
    found = [
        job
        for job in jobs.list()
        if given and (job.id.startswith(given) or job.id.removeprefix("j-").startswith(given))
    ]
    exact = [job for job in found if job.id == given]
    match exact or found:
        case []:
            raise NotFound(
                f"There is no job {given!r}.", hint="cscale jobs list shows those there are."
            )
        case [job]:
            return job.refresh()
        case several:
            named = ", ".join(job.id for job in several[:_MOST_NAMED])
            more = ", …" if len(several) > _MOST_NAMED else ""
            raise InvalidInput(
                f"{given!r} may be {len(several)} jobs: {named}{more}.", hint="Type more of it."
            )
