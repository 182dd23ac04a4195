"""Code for a job: to open its results, and to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cscale_core.codegen.items import Snippet
from cscale_core.codegen.python_text import comment, literal
from cscale_core.ingest.unsigned import without_secrets

Kind = Literal["results", "submit"]

_MOST = 100_000
"""Characters of a process that are written out; of a longer one its job is cloned."""


def job_snippet(kind: Kind, job_id: str, spec: Mapping[str, Any]) -> Snippet:
    """The code of a kind.

    :param spec: of the job, as JSON.
    """
    return _results(job_id, spec) if kind == "results" else _submit(job_id, spec)


def _named(job_id: str, spec: Mapping[str, Any]) -> str:
    return comment(f"{spec.get('title') or 'Job'} (job {job_id})")


def _results(job_id: str, spec: Mapping[str, Any]) -> Snippet:
    code = (
        f"{_named(job_id, spec)}\n"
        "from cscale_core.client import jobs\n\n"
        f"results = jobs[{literal(job_id)}].results()\n"
        "data = results.open()\n"
        "data\n"
    )
    return Snippet("results", "Open the results", code)


def _submit(job_id: str, spec: Mapping[str, Any]) -> Snippet:
    """The call that makes the same job; what signs or is called a secret is left out."""
    process = without_secrets(spec.get("process") or {})
    text = literal(process)
    if len(text) > _MOST:
        code = (
            f"{_named(job_id, spec)}\n"
            "from cscale_core.client import jobs\n\n"
            f"job = jobs[{literal(job_id)}].clone()\n"
            "job\n"
        )
        note = "What it computes on is too long to be written here; it is taken from the job."
        return Snippet("submit", "Code that made this", code, (note,))
    members = {
        name: value
        for name in ("title", "backend", "vo", "options", "area", "period", "output")
        if (value := without_secrets(spec.get(name), name))
    }
    inside = "".join(f"    {name}={literal(value)},\n" for name, value in members.items())
    code = (
        f"{_named(job_id, spec)}\n"
        "from cscale_core.client import jobs\n\n"
        f"process = {text}\n\n"
        "job = jobs.submit(\n"
        f"    {literal(str(spec.get('engine', '')))},\n"
        "    process,\n"
        f"{inside})\n"
        "job\n"
    )
    notes: tuple[str, ...] = ()
    if process != (spec.get("process") or {}):
        notes = ("What signs an address, or is called a secret, was left out: fill it in.",)
    return Snippet("submit", "Code that made this", code, notes)
