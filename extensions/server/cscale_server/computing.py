"""Keeps the hub from culling a server whose kernels compute without a word.

Jupyter Server counts what kernels say, so that a cell which computes in silence looks as if nobody
were there. How long a kernel may be silent and still count is bounded: one that hangs must not
hold a server for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tornado.ioloop import PeriodicCallback

ACTIVITY_SETTING = "cscale_computing_last_activity"
"""Setting of the web application; Jupyter Server counts each that ends in ``_last_activity``."""
LOOK_SECONDS = 60.0


class ComputingWatch:
    """Looks at the kernels now and then.

    :param kernels: the models of the kernels that run, as in Jupyter's REST API.
    :param settings: of the web application.
    :param longest: for how long a silent kernel that is busy counts.
    """

    def __init__(
        self,
        kernels: Callable[[], Iterable[Mapping[str, Any]]],
        settings: MutableMapping[str, Any],
        longest: timedelta,
        every: float = LOOK_SECONDS,
    ) -> None:
        self._kernels = kernels
        self._settings = settings
        self._longest = longest
        self._looking = PeriodicCallback(self.look, every * 1000)

    def start(self) -> None:
        """Look from now on."""
        self._looking.start()

    def stop(self) -> None:
        """Look no more."""
        self._looking.stop()

    def look(self) -> None:
        """Note that the server is in use, if a kernel computes."""
        now = datetime.now(UTC)
        if any(computes(kernel, now, self._longest) for kernel in self._kernels()):
            self._settings[ACTIVITY_SETTING] = now


def computes(kernel: Mapping[str, Any], now: datetime, longest: timedelta) -> bool:
    """Whether a kernel is busy, and said something within ``longest``."""
    if kernel.get("execution_state") != "busy":
        return False
    try:
        said = datetime.fromisoformat(str(kernel.get("last_activity")))
    except ValueError:
        return False  # it has said nothing yet: it is only just starting
    return now - (said if said.tzinfo else said.replace(tzinfo=UTC)) < longest
