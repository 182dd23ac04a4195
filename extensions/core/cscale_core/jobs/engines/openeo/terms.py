"""The times by which the openEO engine works, in one place; seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from cscale_core.jobs.polling import Pace


@dataclass(frozen=True)
class Terms:
    """How often back ends are asked, and when what is given up or told.

    :ivar logs: between two copies of a running job's log that nobody reads.
    :ivar attended_logs: the same while somebody reads it.
    :ivar details: between two descriptions of a running job whose list entry lacks its progress.
    :ivar settling: a creation under way when a server died may show in the list until then.
    :ivar restart: a job that is still only created so long after its start is started again.
    :ivar restarts: times that is done before it is told and left to the user.
    :ivar stuck: a running job without a sign of life for so long is told to be perhaps stuck.
    :ivar misses: answers "unknown" after each other that make a job lost.
    :ivar result_tries: attempts to read the results of a finished job.
    """

    pace: Pace = field(default_factory=Pace)
    logs: float = 300.0
    attended_logs: float = 5.0
    details: float = 300.0
    settling: float = 20.0
    restart: float = 60.0
    restarts: int = 3
    stuck: float = 6 * 3600.0
    misses: int = 2
    result_tries: int = 6
