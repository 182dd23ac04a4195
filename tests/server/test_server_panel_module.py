"""The panel's module, which JupyterLab loads from the user's server."""

from __future__ import annotations

from typing import Any

import pytest

from cscale_ui import MODULE


@pytest.fixture
async def server(start_server: Any) -> Any:
    if not MODULE.is_file():
        pytest.skip("the panel is not built: pip install -e . does it")
    return await start_server(None)


async def test_browsers_get_the_module_and_keep_what_is_named_by_its_version(server: Any) -> None:
    plain = await server.http.get("static/cscale/panel.js")
    assert plain.status_code == 200
    assert plain.headers["content-type"].partition(";")[0].endswith("/javascript")
    assert plain.content == MODULE.read_bytes()
    # A build that changes without a version is asked for each time.
    assert plain.headers["cache-control"] == "no-cache"
    named = await server.http.get("static/cscale/panel.js", params={"v": "0123"})
    assert "max-age" in named.headers["cache-control"]


async def test_only_what_is_built_is_served(server: Any) -> None:
    for path in ("static/cscale/__init__.py", "static/cscale/..%2f__init__.py"):
        assert (await server.http.get(path)).status_code in (403, 404)
