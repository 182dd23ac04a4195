"""What the handlers of jobs have in common: how a job is answered, and how a new one is made."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from cscale_core.addresses import localise
from cscale_core.jobs.model import Job
from cscale_server.routes.base import PREFIX, CScaleHandler
from cscale_server.routes.table import Parameter


class JobAnswers(CScaleHandler):
    """Answers with jobs. Holds no verbs."""

    @property
    def idempotency_key(self) -> str:
        """The same key again gives the job that was made the first time."""
        return str(self.request.headers.get("Idempotency-Key", ""))

    def answer_job(self, job: Job) -> None:
        """Finish with a job; its result items get the addresses of this server."""
        self.answer(job.model_copy(update={"results": self.localised(job.results)}))

    def answer_new(self, job: Job) -> None:
        """Finish with a job that was made, and its address."""
        self.set_header("Location", f"{self.base_url}{PREFIX}/jobs/{job.id}")
        self.answer(
            job.model_copy(update={"results": self.localised(job.results)}), HTTPStatus.CREATED
        )

    def localised(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Items with the addresses of this server."""
        site = self.extension.require_site()
        return [localise(item, site) for item in items]


IDEMPOTENCY = Parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "maxLength": 200},
    "The same key again gives the job that was made the first time.",
)
