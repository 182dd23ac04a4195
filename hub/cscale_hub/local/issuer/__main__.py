"""``python -m cscale_hub.local.issuer --config FILE.json``: serve until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import waitress  # type: ignore[import-untyped]

from cscale_hub.local.issuer.app import MAX_BODY_BYTES, create_app
from cscale_hub.local.issuer.config import ConfigError, load_config
from cscale_hub.local.issuer.files import DamagedState, InsecureFile, make_private_dir
from cscale_hub.local.issuer.keys import KeyRing
from cscale_hub.local.issuer.users import UsersError

log = logging.getLogger("cscale_hub.local.issuer")


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    """Run the server, or with ``--rotate-keys`` add a signing key and return."""
    parser = argparse.ArgumentParser(
        prog="python -m cscale_hub.local.issuer",
        description="The demonstration identity provider of the one-machine federation.",
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file of IssuerConfig")
    parser.add_argument(
        "--rotate-keys",
        action="store_true",
        help="add a new signing key and exit; a running server takes it over at once, and the "
        "former key stays published until its last token has ended",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # authlib logs whole tokens at DEBUG level.
    logging.getLogger("authlib").setLevel(logging.INFO)
    try:
        config = load_config(options.config)
        if options.rotate_keys:
            make_private_dir(config.data_dir)
            kid = KeyRing(config.data_dir).rotate(config.access_token_seconds)
            print(f"signing with key {kid} from now on")
            return 0
        app = create_app(config)
    except (ConfigError, UsersError, InsecureFile, DamagedState) as error:
        log.error("%s", error)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    try:
        server = waitress.create_server(
            app,
            host=config.host,
            port=config.port,
            threads=8,
            ident=None,
            max_request_body_size=MAX_BODY_BYTES,
            channel_timeout=30,
        )
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", config.host, config.port, error.strerror)
        return 1
    log.info("issuer %s", config.issuer)
    server.run()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
