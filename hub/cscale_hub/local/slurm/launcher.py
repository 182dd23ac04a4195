"""Keep the cluster running and tell whether it takes jobs.

This process ends with an error when a daemon ends unasked, so that whoever watches starts all
again; jobs that run are not touched by that.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

from cscale_hub.local.slurm.config import SlurmConfig
from cscale_hub.local.slurm.daemons import Daemons

log = logging.getLogger("cscale_hub.local.slurm")

#: Seconds for which what was found out is told again: anybody on the machine may ask.
_KNOWN_SECONDS = 1.0


class Health:
    """Whether the cluster takes jobs; asked of Slurm at most once a second."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self._one_at_a_time = threading.Lock()
        self._known = (float("-inf"), False)

    def good(self) -> bool:
        """Whether a job that is sent now can run."""
        with self._one_at_a_time:
            when, good = self._known
            if time.monotonic() - when < _KNOWN_SECONDS:
                return good
            try:
                good = not self._daemons.ended() and self._daemons.takes_jobs()
            except subprocess.TimeoutExpired:
                good = False
            self._known = (time.monotonic(), good)
            return good


def _server(config: SlurmConfig, health: Health) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/healthz"
            status = HTTPStatus.NOT_FOUND
            if known:
                status = HTTPStatus.OK if health.good() else HTTPStatus.SERVICE_UNAVAILABLE
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Health is asked for again and again: nothing to keep."""

    server = ThreadingHTTPServer((config.host, config.port), Handler)
    server.daemon_threads = True
    return server


def run(config: SlurmConfig) -> int:
    """Run the cluster until told to stop; the exit status for the process.

    0 after SIGTERM or SIGINT, 1 when a daemon ended by itself.

    :raises SlurmError: when it cannot be started.
    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    daemons = Daemons(config)
    began = time.monotonic()
    server = None
    try:
        daemons.start()
        log.info("Slurm takes jobs after %.1f s", time.monotonic() - began)
        server = _server(config, Health(daemons))
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        while not stopping.wait(0.5):
            if ended := daemons.ended():
                log.error("%s ended with status %s", ended, daemons.processes[ended].returncode)
                return 1
        return 0
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
        if stopping.is_set():
            daemons.stop()
        else:
            for name in list(daemons.processes):
                daemons.end(name)
