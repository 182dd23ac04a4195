"""A small evaluator of the AWS policy grammar, as far as our policies use it.

Allow only, ``*`` and ``?`` wildcards that also match ``/``, ``StringLike`` on ``s3:prefix``.
"""

from __future__ import annotations

import re
from typing import Any

OBJECT_ACTIONS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:GetObjectAcl",
    "s3:PutObjectAcl",
    "s3:GetObjectVersion",
)
BUCKET_ACTIONS = (
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:ListBucketMultipartUploads",
    "s3:GetBucketLocation",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:CreateBucket",
    "s3:DeleteBucket",
)


def matches(pattern: str, text: str) -> bool:
    assert "${" not in pattern, "a policy variable would be replaced by the store"
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def allows(policy: dict[str, Any], action: str, resource: str, prefix: str | None = None) -> bool:
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
        if not any(matches(each.lower(), action.lower()) for each in statement["Action"]):
            continue
        if not any(matches(each, f"arn:aws:s3:::{resource}") for each in statement["Resource"]):
            continue
        condition = statement.get("Condition")
        if condition is not None:
            assert set(condition) == {"StringLike"}
            assert set(condition["StringLike"]) == {"s3:prefix"}
            if prefix is None:
                continue
            if not any(matches(each, prefix) for each in condition["StringLike"]["s3:prefix"]):
                continue
        return True
    return False
