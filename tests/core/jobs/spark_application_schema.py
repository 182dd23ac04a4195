"""The part of the SparkApplication definition (v1beta2) that our manifests use, as JSON Schema.

Written after the operator's published API reference; strict, where Kubernetes would drop what it
does not know without a word.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
TEXT_MAP = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "minimum": 0}


def strict(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_POD = {
    "template": {"type": "object"},
    "cores": {"type": "integer", "minimum": 1},
    "coreLimit": TEXT,
    "coreRequest": TEXT,
    "memory": TEXT,
    "memoryOverhead": TEXT,
    "labels": TEXT_MAP,
    "annotations": TEXT_MAP,
    "serviceAccount": TEXT,
}
_SPEC = strict(
    {
        "suspend": {"type": "boolean"},
        "type": {"enum": ["Java", "Python", "Scala", "R"]},
        "pythonVersion": {"enum": ["2", "3"]},
        "mode": {"enum": ["cluster", "client"]},
        "sparkVersion": TEXT,
        "image": TEXT,
        "imagePullPolicy": TEXT,
        "imagePullSecrets": TEXTS,
        "mainApplicationFile": TEXT,
        "arguments": TEXTS,
        "sparkConf": TEXT_MAP,
        "hadoopConf": TEXT_MAP,
        "deps": strict({"jars": TEXTS, "pyFiles": TEXTS, "packages": TEXTS, "repositories": TEXTS}),
        "restartPolicy": strict(
            {
                "type": {"enum": ["Never", "Always", "OnFailure"]},
                "onFailureRetries": COUNT,
                "onSubmissionFailureRetries": COUNT,
                "onSubmissionFailureRetryInterval": {"type": "integer", "minimum": 1},
                "onFailureRetryInterval": {"type": "integer", "minimum": 1},
            }
        ),
        "timeToLiveSeconds": {"type": "integer"},
        "dynamicAllocation": strict(
            {
                "enabled": {"type": "boolean"},
                "initialExecutors": COUNT,
                "minExecutors": COUNT,
                "maxExecutors": COUNT,
                "shuffleTrackingEnabled": {"type": "boolean"},
            }
        ),
        "driver": strict(_POD),
        "executor": strict(
            {
                **_POD,
                "instances": {"type": "integer", "minimum": 1},
                "deleteOnTermination": {"type": "boolean"},
            }
        ),
    },
    ("type", "sparkVersion", "mainApplicationFile", "driver", "executor"),
)
NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"}
LABELS = {
    "type": "object",
    "propertyNames": {"pattern": r"^([a-z0-9.-]+/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
    "additionalProperties": {
        "type": "string",
        "pattern": r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
    },
}
SPARK_APPLICATION = strict(
    {
        "apiVersion": {"const": "sparkoperator.k8s.io/v1beta2"},
        "kind": {"const": "SparkApplication"},
        "metadata": strict({"name": NAME, "labels": LABELS, "annotations": TEXT_MAP}, ("name",)),
        "spec": _SPEC,
    },
    ("apiVersion", "kind", "metadata", "spec"),
)
