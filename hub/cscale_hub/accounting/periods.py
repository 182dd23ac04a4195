"""Calendar months as pairs of moments, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Of a text such as 2026-11.

        :raises ValueError: when it is no month.
        """
        match = re.fullmatch(r"(\d{4})-(\d{2})", text)
        if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) < 1970:
            raise ValueError(f"{text!r} is no month; write it as 2026-11")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, moment: float) -> Month:
        """The month in which a moment lies."""
        date = datetime.fromtimestamp(moment, UTC)
        return cls(date.year, date.month)

    @property
    def next(self) -> Month:
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def start(self) -> float:
        """Its first moment, seconds since 1970."""
        return datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()

    @property
    def end(self) -> float:
        """The first moment after it."""
        return self.next.start

    @property
    def first_day(self) -> str:
        return f"{self}-01"

    @property
    def last_day(self) -> str:
        return (datetime.fromtimestamp(self.end, UTC) - timedelta(days=1)).strftime("%Y-%m-%d")

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"
