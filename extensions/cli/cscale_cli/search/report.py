"""What each provider did, for people: who answered, with how much, who did not and why."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cscale_cli.terminal import written
from cscale_core.catalog.report import ProviderReport
from cscale_core.untrusted import plain

_FAILED = frozenset({"error", "timeout", "unsupported"})
_MARKS = {"ok": ("✓", "green"), "skipped": ("–", "dim")}
_INDENT = 4
_FAILURE_MARK = ("✗", "red")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known when a search has ended, beside the items.

    :param more: whether further items can be had by asking for more.
    """

    reports: tuple[ProviderReport, ...]
    returned: int
    matched: int | None = None
    more: bool = False

    @property
    def failed(self) -> list[ProviderReport]:
        """Those that were asked and did not answer in full."""
        return [report for report in self.reports if report.status in _FAILED]

    @property
    def complete(self) -> bool:
        """Whether everybody who was asked answered in full."""
        return not self.failed

    @property
    def all_failed(self) -> bool:
        """Whether nobody answered, though somebody was asked."""
        answered = any(report.status == "ok" for report in self.reports) or self.returned
        return bool(self.failed) and not answered


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _did(report: ProviderReport) -> str:
    """The figures of one provider in words."""
    if report.status == "skipped":
        return "not asked"
    said = [_count(report.returned, "item")]
    if report.matched is not None:
        said[0] += f" of {report.matched:,}"
    if report.mirrors:
        said.append(f"{report.mirrors:,} the same as others'")
    if report.pages:
        said.append(_count(report.pages, "page"))
    said.append(f"{report.elapsed:.1f} s")
    return ", ".join(said)


def _remarks(report: ProviderReport) -> list[tuple[str, str]]:
    """What else is to be known of one provider, with a style each."""
    remarks = [(report.error, "red" if report.status in _FAILED else "dim")]
    if report.applied_here:
        taken = ", ".join(report.applied_here)
        remarks.append((f"applied here, because it cannot: {taken}", "dim"))
    remarks.append((report.note, "dim"))
    return [(text, style) for text, style in remarks if text]


def show_report(outcome: Outcome, console: Console, *, wide: bool = False) -> None:
    """Print a line for each provider, what is to be known of it below, and a line for the whole.

    :param wide: lines are not broken to fit the terminal.
    """
    longest = max((len(plain(report.id)) for report in outcome.reports), default=0)
    for report in outcome.reports:
        mark, style = _MARKS.get(report.status, _FAILURE_MARK)
        line = Text.assemble((mark, style), " ", plain(report.id).ljust(longest), "  ")
        line.append(_did(report), style="dim" if report.status == "skipped" else "")
        console.print(line, soft_wrap=wide)
        for text, colour in _remarks(report):
            remark = written(text, colour)
            if wide:
                console.print(Text.assemble(" " * _INDENT, remark), soft_wrap=True)
            else:
                console.print(Padding(remark, (0, 0, 0, _INDENT), expand=False))
    style = "bold" if outcome.complete else "bold yellow"
    console.print(Text(summary(outcome), style=style), soft_wrap=wide)


def summary(outcome: Outcome) -> str:
    """The whole in one line: how many items, whether that is all, and who is missing."""
    said = f"{_count(outcome.returned, 'item')}"
    if outcome.matched is not None and outcome.matched > outcome.returned:
        said += f" of {outcome.matched:,}"
    if outcome.more:
        said += "; there are more: raise --limit, or ask for --all"
    missing = ", ".join(plain(report.id) for report in outcome.failed)
    return said + (f"; incomplete without {missing}" if missing else "") + "."
