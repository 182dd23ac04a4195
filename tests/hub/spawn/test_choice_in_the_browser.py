"""The page with the choices in Chromium: by keyboard, without scripts, light and dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub.contrast import unreadable
from tests.waiting import until

if TYPE_CHECKING:
    from tests.hub.spawn.conftest import RunningHub

pytestmark = pytest.mark.browser


def sign_in(hub: RunningHub, context: Any, name: str) -> Any:
    page = context.new_page()
    page.goto(f"{hub.url}/hub/login")
    token = next(each["value"] for each in context.cookies() if each["name"] == "_xsrf")
    form = {"username": name, "password": "x", "_xsrf": token}
    context.request.post(f"{hub.url}/hub/login", form=form)
    page.goto(f"{hub.url}/hub/spawn")
    return page


def test_it_is_used_by_keyboard_and_without_scripts(hub: RunningHub, chromium: Any) -> None:
    name = hub.person("aqua.example:member", "aqua.example:manager", "spent.example:member")
    context = chromium.new_context(java_script_enabled=False)
    page = sign_in(hub, context, name)
    small, large = (page.get_by_role("radio", name=title) for title in ("Small", "Large"))
    assert page.get_by_role("group", name="Aqua").count() == 1
    assert small.first.is_checked()
    assert page.locator("#server-2-1").is_disabled()
    small.first.focus()
    page.keyboard.press("ArrowDown")
    assert large.is_checked()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/hub/spawn-pending/|/user/"))
    context.close()
    assert until(lambda: hub.options(name), "the choice")["profile"] == "large"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(hub: RunningHub, chromium: Any, scheme: str) -> None:
    name = hub.person("aqua.example:manager", "spent.example:member")
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 400, "height": 800})
    page = sign_in(hub, context, name)
    assert unreadable(page, ".cscale-vo span, .cscale-vo legend, .cscale-left") == []
    # Nothing is wider than a telephone.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()
