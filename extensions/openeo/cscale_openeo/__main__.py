"""``python -m cscale_openeo --config FILE.json``: serve the openEO API on loopback."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from cscale_openeo.app import create_app
from cscale_openeo.config import load_config


def main(arguments: list[str] | None = None) -> int:
    """Run the service until it is stopped; exit status 2 when the configuration is not valid."""
    parser = argparse.ArgumentParser(prog="cscale_openeo", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
    except (OSError, ValueError, ValidationError) as error:
        print(f"{options.config} cannot be used: {error}", file=sys.stderr)
        return 2
    # Jobs inherit part of this environment; no AWS identity of the service may be in it.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # Its lines would carry signed links and user ids of every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        create_app(config),
        host=config.host,
        port=config.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
