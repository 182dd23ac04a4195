"""A kernel that computes in silence counts as use of the server, for so long and no longer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cscale_server.computing import ACTIVITY_SETTING, ComputingWatch, computes
from tests.waiting import soon

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "said", "counts"),
    [
        ("busy", "2026-11-21T11:00:00.000000Z", True),
        ("busy", "2026-11-21T09:00:00.000000Z", False),
        ("busy", "2026-11-21T11:00:00", True),
        ("idle", "2026-11-21T11:59:59.000000Z", False),
        ("busy", None, False),
        (None, "2026-11-21T11:59:59.000000Z", False),
    ],
)
def test_only_a_kernel_that_is_busy_counts(state: str, said: str, counts: bool) -> None:
    kernel = {"execution_state": state, "last_activity": said}
    assert computes(kernel, NOW, timedelta(hours=2)) is counts


@pytest.mark.parametrize(("longest", "counts"), [(24.0, True), (0.0, False)])
async def test_a_real_kernel_in_a_real_server(
    start_server: Any, make_site: Any, longest: float, counts: bool
) -> None:
    server = await start_server(make_site())
    kernels, settings = server.app.kernel_manager, server.app.web_app.settings
    watch = ComputingWatch(kernels.list_kernels, settings, timedelta(hours=longest), every=0.1)
    watch.start()
    kernel = await kernels.start_kernel(kernel_name="python3")
    client = kernels.get_kernel(kernel).client()
    client.start_channels()

    def state() -> str:
        return str(kernels.kernel_model(kernel)["execution_state"])

    async def idle() -> bool:
        if state() == "idle":
            return True
        # The server's own ear may have missed what the kernel first said: let it say more.
        await client.kernel_info(reply=True, timeout=60)
        return False

    try:
        await client.wait_for_ready(timeout=60)
        await soon(idle, "an idle kernel", pause=0.1)
        settings.pop(ACTIVITY_SETTING, None)
        await asyncio.sleep(0.3)
        assert ACTIVITY_SETTING not in settings
        client.execute("import time; time.sleep(600)")
        await soon(lambda: state() == "busy", "a busy kernel")
        if counts:
            await soon(lambda: ACTIVITY_SETTING in settings, "activity")
            before = settings[ACTIVITY_SETTING]
            await soon(lambda: settings[ACTIVITY_SETTING] > before, "later activity")
            assert server.app.web_app.last_activity() >= before
        else:
            await asyncio.sleep(0.5)
            assert ACTIVITY_SETTING not in settings
    finally:
        watch.stop()
        client.stop_channels()
        await kernels.shutdown_kernel(kernel, now=True)
