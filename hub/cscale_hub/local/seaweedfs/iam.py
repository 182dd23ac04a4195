"""The IAM file of SeaweedFS: who may ask STS for credentials, and the upper bound of each role.

Grammar: SeaweedFS 4.48, ``weed/iam/integration`` (``sts``, ``providers``, ``roles``, ``policies``).
There is no static S3 identity at all: everything that reaches S3 came through STS. Roles and
policies are kept in memory and read from this file at every start; SeaweedFS's default is to keep
roles in the filer, where an old role would outlive its removal from the settings.
"""

from __future__ import annotations

from typing import Any

from cscale_hub.local.seaweedfs.config import OPENEO_ROLE, RESEARCHER_ROLE, SeaweedConfig
from cscale_hub.storage import POLICY_VERSION, Policy, openeo_policies, vo_policies

PROVIDER = "egi"
STS_ISSUER = "cscale-sts"


def role_arn(role: str) -> str:
    """The ARN under which STS knows a role."""
    return f"arn:aws:iam::role/{role}"


def iam_document(config: SeaweedConfig, signing_key: str) -> dict[str, Any]:
    """The IAM file as JSON values.

    :param signing_key: base64 of 32 bytes; signs session tokens, so sessions outlive a restart.
    """
    researcher, openeo = vo_policies(config.vos), openeo_policies(config.vos)
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "1h",
            "issuer": STS_ISSUER,
            "signingKey": signing_key,
        },
        "providers": [
            {
                "name": PROVIDER,
                "type": "oidc",
                "enabled": True,
                "config": {
                    "issuer": config.issuer,
                    "clientId": config.audience,
                    "jwksUri": config.jwks_url,
                },
            }
        ],
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roleStore": {"storeType": "memory"},
        "roles": [
            _role(RESEARCHER_ROLE, config.researcher_clients, researcher),
            _role(OPENEO_ROLE, config.openeo_clients, openeo),
        ],
        "policies": [
            {"name": name, "document": document} for name, document in (researcher | openeo).items()
        ],
    }


def _role(name: str, clients: tuple[str, ...], policies: dict[str, Policy]) -> dict[str, Any]:
    return {
        "roleName": name,
        "roleArn": role_arn(name),
        "trustPolicy": {
            "Version": POLICY_VERSION,
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": PROVIDER},
                    "Action": ["sts:AssumeRoleWithWebIdentity"],
                    "Condition": {"StringEquals": {"oidc:azp": list(clients)}},
                }
            ],
        },
        "attachedPolicies": sorted(policies),
        "maxSessionDuration": 3600,
    }
