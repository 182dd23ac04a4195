"""What an openEO back end knows of processes: its own, the user's, and whether a graph is right.

openEO API 1.2: ``GET /processes``, ``GET /process_graphs``, ``POST /validation``. All of it is
text of others. Blocking; run by :class:`cscale_core.jobs.engines.openeo.remote.Remote`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cscale_core.jobs.model import ProcessEntry, ProcessFault

_MOST = 1000
_LENGTH = 500


def faults(connection: Any, graph: dict[str, Any]) -> list[ProcessFault]:
    """What the back end finds wrong with a process graph."""
    answer = connection.post(
        "/validation", json={"process_graph": graph}, expected_status=200
    ).json()
    return [
        ProcessFault(
            code=str(one.get("code") or "")[:100], message=str(one.get("message") or "")[:2000]
        )
        for one in _objects(answer, "errors")
    ]


def known_processes(connection: Any, *, own: bool) -> list[ProcessEntry]:
    """The processes of the back end, and those that the user keeps there.

    :param own: whether it keeps processes of users.
    """
    found = [
        _entry(one, own=False)
        for one in _objects(connection.get("/processes", expected_status=200).json(), "processes")
    ]
    if own:
        answer = connection.get("/process_graphs", expected_status=200).json()
        found = [_entry(one, own=True) for one in _objects(answer, "processes")] + found
    return found


def own_process(connection: Any, name: str) -> dict[str, Any]:
    """A process that the user keeps at the back end, whole."""
    path = f"/process_graphs/{quote(name, safe='')}"
    answer = connection.get(path, expected_status=200).json()
    return dict(answer) if isinstance(answer, dict) else {}


def _objects(answer: Any, member: str) -> list[dict[str, Any]]:
    listed = answer.get(member) if isinstance(answer, dict) else None
    return [one for one in listed or () if isinstance(one, dict)][:_MOST]


def _entry(one: dict[str, Any], *, own: bool) -> ProcessEntry:
    said = one.get("summary") or one.get("description") or ""
    return ProcessEntry(id=str(one.get("id") or "")[:200], summary=str(said)[:_LENGTH], own=own)
