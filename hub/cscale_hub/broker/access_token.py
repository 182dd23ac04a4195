"""An access token and its end, as the broker passes it around."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token, not in its text form; ``expires`` in seconds since the epoch."""

    value: str = field(repr=False)
    expires: float

    @property
    def life(self) -> float:
        """The seconds it still has; negative when it has ended."""
        return self.expires - time.time()
