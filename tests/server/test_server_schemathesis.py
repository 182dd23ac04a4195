"""Whatever the document allows, and some that it does not, is answered without a fault of ours."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cscale_server import openapi
from cscale_server.routes import ROUTES
from cscale_server.routes.base import PREFIX
from tests.server.panel_doubles import saved_store
from tests.server.test_server_api import ONE, TOKEN_HEADER, with_backend

#: Statuses that Jupyter Server itself gives before a handler is asked, for what no client sends.
_OF_THE_FRAMEWORK = frozenset({400, 404, 405})
CHECKS = (
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
# Who asks is not in question here; else the words of the document would take the token's place.
DOCUMENT = {name: part for name, part in openapi.document().items() if name != "security"}
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
EXAMPLES = hypothesis.settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    suppress_health_check=list(hypothesis.HealthCheck),
)


def ask_everything(url: str) -> tuple[dict[str, int], list[str]]:
    """Questions to every operation: how many each got, and what was wrong with the answers."""
    asked: dict[str, int] = {}
    wrong: list[str] = []

    def ask(case: Any) -> None:
        label = case.operation.label
        asked[label] = asked.get(label, 0) + 1
        response = case.call(base_url=url, headers=TOKEN_HEADER)
        if response.status_code >= 500:
            wrong.append(f"{label}: {response.status_code} {response.text[:300]}")
        elif response.status_code not in _OF_THE_FRAMEWORK:
            try:
                case.validate_response(response, checks=CHECKS)
            except Exception as error:  # schemathesis raises groups of its own
                wrong.append(f"{label}: {str(error)[:500]}")

    for result in SCHEMA.get_all_operations():
        for mode in MODES:
            given = hypothesis.given(case=result.ok().as_strategy(generation_mode=mode))
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):
                EXAMPLES(given(ask))()  # what has no parameters cannot be asked wrongly
    return asked, wrong


@pytest.mark.timeout(600)
async def test_no_question_is_answered_by_a_fault(
    start_server: Any, make_site: Any, tmp_path: Any
) -> None:
    server = await start_server(make_site(openeo=(ONE,)), with_backend())
    backend = await server.extension.backend()
    backend.saved = saved_store(tmp_path)
    url = f"{server.http.base_url}{PREFIX}"
    asked, wrong = await asyncio.to_thread(ask_everything, url)
    assert wrong == []
    assert len(asked) == sum(len(route.operations) for route in ROUTES)
    assert sum(asked.values()) > 4 * len(asked)
