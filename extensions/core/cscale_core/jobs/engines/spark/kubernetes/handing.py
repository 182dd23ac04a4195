"""What pods get to reach the object store with: members of their Secret, given by the server.

Either a token for an endpoint that gives credentials, or the person's own credentials. SDKs take
those from a program that prints them, here ``cat`` (``credential_process`` of the AWS configuration
file), and ask it again when they end; a Secret that is renewed is seen by the pods within a minute.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cscale_core.clusters import SparkKubernetes
from cscale_core.errors import UpstreamError
from cscale_core.identity.tokens import CredentialSource, expiry

#: Where the Secret of the job or session is in the pods, and members of it.
HANDED = "/etc/cscale"
TOKEN = "token"  # noqa: S105 - the name of a file
CONFIG = "aws-config"
KEYS = "s3.json"
#: Seconds after which what was handed is looked at again, at most.
RENEW_SECONDS = 300.0
# Of what is left of its life: credentials are renewed when a fifth is, and pods wait for them.
_PART = 0.25
_SHORTEST = 5.0


async def handed(settings: SparkKubernetes, source: CredentialSource | None) -> dict[str, str]:
    """The members; none where pods need none.

    :raises CScaleError: when they are not to be had.
    """
    endpoint = settings.credentials == "endpoint" and settings.credentials_audience
    if not endpoint and settings.credentials != "server":
        return {}
    if source is None:
        raise UpstreamError("There is nobody here to ask for the job's credentials.")
    if endpoint:
        return {TOKEN: f"Bearer {await source.token(settings.credentials_audience)}"}
    given = await source.s3_credentials()
    # As the AWS SDKs take it: "Sourcing credentials with an external process".
    printed = {
        "Version": 1,
        "AccessKeyId": given["AccessKeyId"],
        "SecretAccessKey": given["SecretAccessKey"],
        "SessionToken": given["Token"],
        "Expiration": given["Expiration"],
    }
    return {
        CONFIG: f"[default]\ncredential_process = cat {HANDED}/{KEYS}\n",
        KEYS: json.dumps(printed),
    }


def look_again(members: dict[str, str], most: float) -> float:
    """Seconds after which there may be newer ones.

    :param members: as they were handed.
    :param most: the longest that is waited.
    """
    if KEYS not in members:
        return most
    left = expiry(json.loads(members[KEYS])["Expiration"]) - datetime.now(UTC)
    return min(most, max(_SHORTEST, left.total_seconds() * _PART))
