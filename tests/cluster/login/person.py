"""A person at a browser in the cluster's network: ``python -m tests.cluster.login.person HUB``.

A program of its own, as the network is not that of the tests. Each line of its input says what the
person does, in JSON; each line of its output is what came of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import httpx

from cscale_cli.demo.session import HubSession
from cscale_core.errors import CScaleError


def _started(session: HubSession) -> list[str]:
    said: list[str] = []
    session.start_server(said.append)
    return said


def main(hub: str) -> None:
    """Do what is asked until there is nothing more."""
    with HubSession(hub, timeout=120) as session:
        acts: dict[str, Callable[..., Any]] = {
            "sign_in": session.sign_in,
            "start": lambda: _started(session),
            "runs": session.server_runs,
            "run": session.run_in_kernel,
            "stop": session.stop_server,
        }
        for line in sys.stdin:
            name, arguments = json.loads(line)
            try:
                said = {"ok": acts[name](*arguments)}
            except (CScaleError, httpx.HTTPError, OSError) as error:
                said = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
