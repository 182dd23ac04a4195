"""Running the service with uvicorn until it is told to end."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn

from cscale_mqs.application import build_application
from cscale_mqs.config import Config
from cscale_mqs.service import MetadataService

log = logging.getLogger("cscale.mqs")


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        for server in self.servers if self.started else ():
            for listener in server.sockets:
                host, port, *_ = listener.getsockname()
                self._announce(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def serve(config: Config, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT.

    :param announce: gets ``host:port`` when connections are taken.
    :returns: exit status: 0 after an orderly end, 1 when it could not start.
    """
    logging.basicConfig(
        level=config.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # Its lines would carry what people search for.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        service = MetadataService(config)
    except OSError as error:
        log.error("the data folder cannot be used: %s", error)
        return 1
    # uvicorn raises the signal again when it has shut down; it then becomes an orderly end here.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    server = _Server(
        uvicorn.Config(
            build_application(config, service),
            host=config.host,
            port=config.port,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            limit_concurrency=config.max_running + config.max_waiting + 100,
            timeout_graceful_shutdown=2,
        ),
        announce,
    )
    try:
        server.run()
    except KeyboardInterrupt:
        return 0
    return 0 if server.started else 1
