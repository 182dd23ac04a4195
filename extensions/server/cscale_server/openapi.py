"""``openapi.yaml`` from the table of routes and the models of their bodies.

``python -m cscale_server.openapi > extensions/server/openapi.yaml`` writes it; a test holds the
committed file to the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from cscale_core.errors import CScaleError, Forbidden, InvalidInput
from cscale_server.models import Problem
from cscale_server.problems import STATUS, BodyTooLarge, MalformedBody, NotConfigured
from cscale_server.routes import ROUTES
from cscale_server.routes.base import LINES, PREFIX
from cscale_server.routes.table import PATH_PARAMETERS, Operation

_REFERENCE = "#/components/schemas/{model}"


class _Schema(GenerateJsonSchema):
    """Schemas without titles: they would only say the names again."""

    def get_title_from_name(self, name: str) -> str:
        return ""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _inputs(operation: Operation) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
    found: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    if operation.request is not None:
        found.append((operation.request, "validation"))
    found += [(answer, "serialization") for answer in (operation.answer, operation.lines) if answer]
    return found


def _content(reference: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": reference}}


def _errors(operation: Operation) -> Iterable[int]:
    kinds: list[type[CScaleError]] = [Forbidden, NotConfigured, CScaleError, *operation.errors]
    if operation.request is not None:
        kinds += [MalformedBody, BodyTooLarge]
    if operation.content:
        kinds.append(BodyTooLarge)
    if operation.request is not None or operation.parameters:
        kinds.append(InvalidInput)
    return sorted({int(STATUS[kind]) for kind in kinds})


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document as plain values."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for route in ROUTES:
        for operation in route.operations:
            models += [entry for entry in _inputs(operation) if entry not in models]
    references, schemas = models_json_schema(
        models, ref_template=_REFERENCE, schema_generator=_Schema
    )
    problem = references[(Problem, "serialization")]
    paths: dict[str, Any] = {}
    for route in ROUTES:
        entry: dict[str, Any] = {}
        in_path = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": description,
                "schema": {"type": "string"},
            }
            for name, description in PATH_PARAMETERS.items()
            if f"{{{name}}}" in route.path
        ]
        if in_path:
            entry["parameters"] = in_path
        for operation in route.operations:
            good: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
            content: dict[str, Any] = {media_type: {} for media_type in operation.media_types}
            if operation.lines is not None:
                # One line each; whole streams have no schema in OpenAPI 3.1.
                content[LINES] = {"schema": dict(references[(operation.lines, "serialization")])}
            if operation.answer is not None:
                content |= _content(dict(references[(operation.answer, "serialization")]))
            if content:
                good["content"] = content
            name = route.handler.__name__.removesuffix("Handler")
            described: dict[str, Any] = {
                "operationId": f"{operation.method}{name}",
                "summary": operation.summary,
            }
            if operation.parameters:
                described["parameters"] = [
                    {
                        "name": parameter.name,
                        "in": parameter.place,
                        **({"required": True} if parameter.required else {}),
                        "description": parameter.description,
                        "schema": parameter.schema,
                    }
                    for parameter in operation.parameters
                ]
            if operation.request is not None:
                described["requestBody"] = {
                    "required": True,
                    "content": _content(dict(references[(operation.request, "validation")])),
                }
            if operation.content:
                described["requestBody"] = {"required": True, "content": {operation.content: {}}}
            described["responses"] = {
                str(int(operation.status)): good,
                **{
                    str(status): {
                        "description": HTTPStatus(status).phrase,
                        "content": _content(dict(problem)),
                    }
                    for status in _errors(operation)
                },
            }
            entry[operation.method] = described
        paths[f"/{route.path}"] = entry
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "C-SCALE Hub server extension",
            "version": "1",
            "description": "Generated by python -m cscale_server.openapi; do not edit. "
            "State-changing calls from a browser need the XSRF cookie and header of Jupyter. "
            "Every answer has the header X-Request-ID.",
        },
        "servers": [{"url": f"/{PREFIX}", "description": "Below the base URL of the server."}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas["$defs"].items())),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "token TOKEN, as for all of Jupyter Server.",
                }
            },
        },
    }


def text() -> str:
    """The document as YAML."""
    return yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    sys.stdout.write(text())
