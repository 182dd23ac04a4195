"""Spark Connect servers of the site, and the sessions that can be seen on them.

A Connect server is one Spark application. Which sessions are open it tells nobody but its web page:
neither the Connect protocol nor the monitoring API has a list. What the API does have are the jobs
of the server, each tagged with the session and the user name that its client gave. So the sessions
shown are those that computed something which the server still remembers
(``spark.ui.retainedJobs``, a thousand jobs); one that has done nothing yet is not seen.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from cscale_core.clusters import SparkConnectServer
from cscale_core.errors import CScaleError
from cscale_core.jobs.engines.spark.monitoring import monitoring
from cscale_core.jobs.model import BackendState, utc_now

DEFAULT_PORT = 15002
#: Seconds a server has to take a connection.
PATIENCE = 5.0
#: Sessions of a server that are listed, the latest.
MOST_SESSIONS = 50

_TAG = re.compile(
    r"^SparkConnect_OperationTag_User_(?P<user>.*)_Session_(?P<session>[0-9a-fA-F-]{36})"
    r"_Operation_(?P<operation>[0-9a-fA-F-]{36})$"
)


def sessions(jobs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sessions whose jobs are among those of a server, the latest first."""
    found: dict[str, dict[str, Any]] = {}
    operations: dict[str, set[str]] = {}
    for job in jobs:
        for tag in job.get("jobTags") or ():
            match = _TAG.match(str(tag))
            if match is None:
                continue
            name = match["session"]
            session = found.setdefault(
                name,
                {"session": name, "user": match["user"], "jobs": 0, "active_jobs": 0, "last": ""},
            )
            operations.setdefault(name, set()).add(match["operation"])
            session["operations"] = len(operations[name])
            session["jobs"] += 1
            session["active_jobs"] += job.get("status") == "RUNNING"
            session["last"] = max(session["last"], str(job.get("submissionTime", "")))
    latest = sorted(found.values(), key=lambda session: session["last"], reverse=True)
    return latest[:MOST_SESSIONS]


async def server_state(server: SparkConnectServer) -> BackendState:
    """Whether a server takes connections, its version and sessions; never raises."""
    parts = urlsplit(server.url)
    started = time.monotonic()
    problem = ""
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or DEFAULT_PORT)
        writer.close()
    except (OSError, TimeoutError):
        problem = "The Spark Connect server takes no connection."
    seconds = time.monotonic() - started
    version, known = "", []
    if not problem and server.ui:
        try:
            async with monitoring(server.ui) as get:
                version = str((await get("/version"))["spark"])
                application = (await get("/applications"))[0]["id"]
                known = sessions(await get(f"/applications/{application}/jobs"))
        except (CScaleError, LookupError, TypeError, AttributeError):
            # It takes connections, which is what counts; its page may not be open to us.
            version = version or ""
    return BackendState(
        engine="spark",
        id=server.id,
        title=server.title,
        online=not problem,
        checked=utc_now(),
        seconds=seconds,
        version=version,
        limits={"connect": server.url, "sessions": known},
        problem=problem,
    )
