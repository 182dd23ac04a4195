"""Times and bytes as the page itself sees them.

A time runs from the event of a click to the frame in which what is waited for has been painted;
what the driver of the browser needs to click and to look is not in it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page

_LIMIT = 120_000  # milliseconds

_ARM = """(wanted) => {
  window.benchSeconds = new Promise((resolve, reject) => {
    const begin = ({timeStamp}) => {
      const look = () => {
        const seen = [...document.querySelectorAll(wanted)].some((each) => each.checkVisibility());
        // The frame after the next: then it has been painted.
        if (seen) {
          requestAnimationFrame(() =>
            requestAnimationFrame(() => resolve((performance.now() - timeStamp) / 1000)));
        } else if (performance.now() - timeStamp > LIMIT) reject(new Error(`no ${wanted}`));
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    };
    document.addEventListener("click", begin, {capture: true, once: true});
  });
}""".replace("LIMIT", str(_LIMIT))

_FRAMES = """() => {
  const frames = {longest: 0, last: performance.now(), on: true};
  const next = () => {
    const now = performance.now();
    frames.longest = Math.max(frames.longest, now - frames.last);
    frames.last = now;
    if (frames.on) requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
  window.benchFrames = frames;
}"""

_ROWS = """(first) => {
  const seen = [];
  let before = null;
  const look = () => {
    const now = document.querySelector(first)?.textContent ?? "";
    if (now !== before) seen.push([Date.now() / 1000, now]);
    before = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  window.benchRows = seen;
}"""


def click_until(page: Page, clicked: Locator, wanted: str) -> float:
    """Seconds from a click until what a selector names is painted."""
    clicked.scroll_into_view_if_needed()
    page.evaluate(_ARM, wanted)
    clicked.click()
    seconds: float = page.evaluate("window.benchSeconds")
    return seconds


def longest_frame_on_pan(shown: Locator, *, pulls: int = 3) -> float:
    """The longest time between two frames, in milliseconds, while a map is pulled to and fro."""
    page = shown.page
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(_FRAMES)
    for pull in range(pulls):
        far = 120 if pull % 2 else -120
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + far, y + far / 2, steps=20)
        page.mouse.up()
        page.wait_for_timeout(700)  # it glides to its end, and is painted anew there
    longest: float = page.evaluate("() => (window.benchFrames.on = false, benchFrames.longest)")
    return longest


def watch_first_row(page: Page, first: str) -> None:
    """From now on note when the text of an element changes."""
    page.evaluate(_ROWS, first)


def first_rows(page: Page) -> list[tuple[float, str]]:
    """What was noted: seconds since the epoch, and the text from then on."""
    return [(moment, text) for moment, text in page.evaluate("window.benchRows")]


class Wire:
    """Bytes that the browser received: of answers to some requests, and of web sockets."""

    def __init__(self) -> None:
        self.answers = 0
        self.sockets = 0


@contextmanager
def wire(page: Page, part: str) -> Iterator[Wire]:
    """Count bytes while the block runs; of answers, those whose address has this part in it."""
    counted = Wire()
    wanted: set[str] = set()
    devtools = page.context.new_cdp_session(page)

    def answered(event: dict[str, Any]) -> None:
        if part in event["response"]["url"]:
            wanted.add(event["requestId"])

    def finished(event: dict[str, Any]) -> None:
        if event["requestId"] in wanted:
            counted.answers += int(event["encodedDataLength"])

    def received(event: dict[str, Any]) -> None:
        frame = event["response"]
        data = frame["payloadData"]
        # Text is given as it is, anything else in base64.
        size = len(data.encode()) if frame["opcode"] == 1 else len(base64.b64decode(data))
        counted.sockets += size

    devtools.on("Network.responseReceived", answered)
    devtools.on("Network.loadingFinished", finished)
    devtools.on("Network.webSocketFrameReceived", received)
    devtools.send("Network.enable")
    try:
        yield counted
    finally:
        devtools.detach()
