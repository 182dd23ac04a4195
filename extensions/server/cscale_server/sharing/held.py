"""The secrets of this server: what no notebook may hold that leaves it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cscale_core.errors import CScaleError
from cscale_core.identity.tokens import TOKEN_FILE_VARIABLE, CredentialSource

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|ACCESS_KEY", re.IGNORECASE)
_PLACE = re.compile(r"_(FILE|PATH|DIR|URL|URI)$", re.IGNORECASE)


async def held_secrets(
    tokens: CredentialSource, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """What the environment, the credentials endpoint and the object store's keys are."""
    found = [
        value
        for name, value in environment.items()
        if _SECRET.search(name) and not _PLACE.search(name)
    ]
    with suppress(KeyError, OSError, ValueError):  # where there is no endpoint
        found.append(Path(environment[TOKEN_FILE_VARIABLE]).read_text(encoding="utf-8").strip())
    try:
        credentials = await tokens.s3_credentials()
    except CScaleError:
        # None are given now; those from before have a form that the scan knows.
        return found
    return [*found, str(credentials["SecretAccessKey"]), str(credentials["Token"])]
