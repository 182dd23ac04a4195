"""The ways to a cluster, as the engine sees them: Slurm itself, and the files of its jobs.

There are two implementations of :class:`Slurm`, :mod:`rest <cscale_core.jobs.engines.slurm.rest>`
and :mod:`commands <cscale_core.jobs.engines.slurm.commands>`, and two of :class:`Files`: over ssh,
and in a folder this machine sees.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cscale_core.jobs.engines.slurm.script import Submission
from cscale_core.jobs.engines.slurm.states import Task


class Slurm(Protocol):
    """One cluster's Slurm, as the user.

    Every method raises ``LoginRequired`` or ``Forbidden`` when the user may not,
    :class:`~cscale_core.errors.UpstreamError` with ``retryable`` when nothing is known of the
    outcome, and ``InvalidInput`` when Slurm refuses what was asked.
    """

    async def submit(self, submission: Submission) -> str:
        """Hand a job in; its id."""
        ...

    async def jobs(self, identifiers: Collection[str]) -> dict[str, tuple[Task, ...]]:
        """What the controller knows of jobs; those it has forgotten, or never knew, are absent."""
        ...

    async def ended(self, identifier: str) -> tuple[Task, ...]:
        """What accounting knows of a job that ended; empty where there is no accounting."""
        ...

    async def find(self, name: str) -> tuple[str, ...]:
        """The ids of the user's jobs of a name, the first submitted first."""
        ...

    async def cancel(self, identifier: str) -> None:
        """End a job; one that has ended, or is not known, is no error."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True)
class File:
    """One file below a folder of the cluster."""

    path: str
    size: int


class Files(Protocol):
    """Files on a cluster, by their paths there. Errors as :class:`Slurm`, and ``NotFound``."""

    async def tails(self, wanted: Mapping[str, int], limit: int) -> dict[str, bytes]:
        """New bytes of files after an offset, at most ``limit`` of each; missing files are empty.

        :raises NotFound: when the cluster's files cannot be seen from here at all.
        """
        ...

    async def listing(self, folder: str) -> Sequence[File]:
        """All files below a folder, by their relative path; none when it does not exist."""
        ...

    async def fetch(self, path: str, target: Path) -> None:
        """Copy one file here."""
        ...
