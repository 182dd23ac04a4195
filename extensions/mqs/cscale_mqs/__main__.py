"""``python -m cscale_mqs --config FILE.json``: serve the federation as one STAC API."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from pydantic import ValidationError

from cscale_mqs.config import Config
from cscale_mqs.serving import serve

log = logging.getLogger("cscale.mqs")


def main(arguments: list[str] | None = None) -> int:
    """Run the service until it is stopped; exit status 2 when the configuration is not valid."""
    parser = argparse.ArgumentParser(prog="cscale_mqs", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON of Config")
    options = parser.parse_args(arguments)
    try:
        config = Config.model_validate_json(options.config.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        print(f"{options.config} cannot be used: {error}", file=sys.stderr)
        return 2
    return serve(config, lambda address: log.info("listening on %s", address))


if __name__ == "__main__":
    sys.exit(main())
