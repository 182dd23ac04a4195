"""``python -m cscale_hub.broker --config FILE.json``, started by JupyterHub as a service."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from cscale_hub.broker.app import create_app
from cscale_hub.broker.config import BrokerConfig
from cscale_hub.settings import SettingsError


def main() -> int:
    """Serve until told to stop; 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.umask(0o077)
    try:
        config = BrokerConfig.model_validate_json(arguments.config.read_bytes())
        app = create_app(config, os.environ)
    except (OSError, ValidationError, SettingsError) as error:
        print(f"{arguments.config} cannot be used: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_config=None,
        server_header=False,
        # Longer than clients keep a connection (httpx: 5 s): else it is closed as it is used again.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
