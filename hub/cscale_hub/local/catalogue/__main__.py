"""``python -m cscale_hub.local.catalogue --config FILE.json``: choose a store and serve."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from cscale_hub.local.catalogue.application import build_application
from cscale_hub.local.catalogue.choice import BackendUnavailable, open_backend
from cscale_hub.local.catalogue.config import CatalogueConfig

log = logging.getLogger("cscale.catalogue")


def main() -> int:
    """Serve until SIGTERM or SIGINT; 2 for a wrong setting, 1 when the store cannot start."""
    parser = argparse.ArgumentParser(prog="cscale_hub.local.catalogue", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON of CatalogueConfig")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = CatalogueConfig.model_validate_json(arguments.config.read_text())
    except (OSError, ValidationError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    # uvicorn raises the signal again when it has shut down; it then becomes an orderly end here.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        with open_backend(config) as backend:
            log.info("catalogue on %s:%d, store %s", config.host, config.port, backend.name)
            server = uvicorn.Server(
                uvicorn.Config(
                    build_application(config, backend),
                    host=config.host,
                    port=config.port,
                    proxy_headers=False,
                    server_header=False,
                    access_log=False,
                    log_config=None,
                    timeout_graceful_shutdown=2,
                )
            )
            server.run()
            return 0 if server.started else 1
    except BackendUnavailable as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
