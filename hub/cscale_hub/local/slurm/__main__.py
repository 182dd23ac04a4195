"""``python -m cscale_hub.local.slurm --config FILE.json``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from cscale_hub.local.slurm.config import SlurmConfig
from cscale_hub.local.slurm.daemons import SlurmError
from cscale_hub.local.slurm.launcher import run


def main() -> int:
    """Run until told to stop; 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = SlurmConfig.model_validate_json(arguments.config.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{arguments.config} cannot be used: {error}", file=sys.stderr)
        return 2
    try:
        return run(config)
    except (SlurmError, OSError) as error:
        logging.getLogger("cscale_hub.local.slurm").error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
