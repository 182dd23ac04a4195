"""What a search gives back: items, and what each provider of the federation did for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

ProviderStatus = Literal["ok", "error", "timeout", "skipped", "unsupported"]


class ProviderReport(BaseModel):
    """What one provider did for one merged page."""

    id: str
    title: str
    status: ProviderStatus
    matched: int | None = Field(default=None, description="As the provider counts; None: unsaid.")
    returned: int = Field(default=0, description="Its items in the answer.")
    pages: int = Field(default=0, description="Pages of it that were read for this answer.")
    elapsed: float = Field(default=0.0, description="Seconds.")
    error: str = Field(default="", description="A sentence, when the status is not ok.")
    note: str = Field(default="", description="What the user should know although it worked.")
    applied_here: list[str] = Field(
        default_factory=list,
        description="Parameters that it could not take and that were applied to its items here.",
    )
    mirrors: int = Field(default=0, description="Its items that are mirrors of another's.")
    more: bool = Field(default=False, description="Whether it has items beyond this answer.")
    ordered: bool = Field(
        default=True,
        description="Whether its items are known to come in the order asked for; if not, it may "
        "have items that belonged further up.",
    )


@dataclass(frozen=True, slots=True)
class Found:
    """Items of one provider that have just come in: checked, in its own order, not yet merged."""

    provider: str
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One merged page in the order asked for, and one report per provider in the site's order."""

    items: list[dict[str, Any]]
    providers: list[ProviderReport]
    next: str = ""
    """The cursor of the next page; empty when there is none."""
    matched: int | None = None
    """How many items there are at all, where every provider told; else None."""

    @property
    def complete(self) -> bool:
        """Whether every provider that was asked answered in full."""
        return all(report.status in ("ok", "skipped") for report in self.providers)
