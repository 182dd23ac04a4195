"""``python -m cscale_hub.local.seaweedfs --config FILE.json``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from cscale_hub.local.seaweedfs.config import SeaweedConfig
from cscale_hub.local.seaweedfs.launcher import LaunchError, run


def main() -> int:
    """Run until told to stop; 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = SeaweedConfig.model_validate_json(arguments.config.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{arguments.config} cannot be used: {error}", file=sys.stderr)
        return 2
    try:
        return run(config)
    except LaunchError as error:
        logging.getLogger("cscale_hub.local.seaweedfs").error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
