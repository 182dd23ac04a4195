"""Jobs, logs and results as HTML for a notebook: self-contained, for light and dark themes.

No script and nothing from elsewhere. Colours are those of JupyterLab where it shows it, else
what the page around it has. Whatever comes from a back end, a catalogue or a user is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cscale_core.client.words import (
    MEANINGS,
    ago,
    counted,
    duration,
    how_far,
    no_log_yet,
    size,
)
from cscale_core.jobs.model import LogLine

if TYPE_CHECKING:
    from cscale_core.client.job import Job

_FONT = (
    "font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);"
    "color:var(--jp-ui-font-color1,inherit)"
)
_LINE = "var(--jp-border-color2,rgba(128,128,128,.35))"
_SOFT = "opacity:.7"
_TRACK = "rgba(128,128,128,.25)"
# Said again, as tables do not take it from what is around them everywhere.
_TABLE = "border-collapse:collapse;font:inherit;color:inherit"
_BOX = f"{_FONT};border:1px solid {_LINE};border-radius:4px;padding:8px 12px;margin:4px 0"
_CELL = f"padding:3px 14px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid {_LINE}"
_SHORT = f"{_CELL};font-variant-numeric:tabular-nums;white-space:nowrap"
# A dot of this colour stands before a status: enough contrast on white and on black.
_COLOURS = {
    "created": "#8a8a8a",
    "queued": "#8a8a8a",
    "running": "#2b8ae2",
    "paused": "#b8860b",
    "finished": "#2e9e4f",
    "canceled": "#8a8a8a",
    "error": "#e0443e",
    "lost": "#e0443e",
}
_LEVELS = {"error": "#e0443e", "warning": "#b8860b"}
_UNDER_WAY = frozenset({"running", "paused"})
#: A result is shown to this many items, a list of jobs to this many rows.
_MOST_ITEMS, _MOST_JOBS = 50, 100


def job_card(job: Job, *, note: str = "") -> str:
    """One job: what it is, how far, what it says, and what to do where it failed."""
    rows = [
        (
            f'<div><b>{_text(job.title or job.id)}</b> <span style="{_SOFT}">{_where(job)} · '
            f"{_text(job.id)}</span></div>"
        ),
        f'<div style="margin:4px 0">{_status(job)}{_share(job)}</div>',
    ]
    if not job.ended and (job.progress is not None or job.status in _UNDER_WAY):
        rows.append(_bar(job.progress))
    rows.append(f'<div style="{_SOFT}">{" · ".join(_facts(job))}</div>')
    if job.message not in ("", job.status) and not job.ended:
        rows.append(f"<div>{_text(job.message)}</div>")
    if job.error is not None:
        rows.append(
            f'<div style="border-left:3px solid {_COLOURS["error"]};padding-left:8px;'
            f'margin-top:6px">{_text(job.error.message)}'
            + (f"<div>{_text(job.error.hint)}</div>" if job.error.hint else "")
            + "</div>"
        )
    if note:
        rows.append(
            f'<div style="border-left:3px solid {_COLOURS["paused"]};padding-left:8px;'
            f'margin-top:6px">{_text(note)}</div>'
        )
    return f'<div style="{_BOX}">{"".join(rows)}</div>'


def job_table(jobs: Sequence[Job]) -> str:
    """A list of jobs, a row each."""
    if not jobs:
        return f'<div style="{_FONT}">No jobs.</div>'
    rows = [
        (
            (_SHORT, f"{_dot(job.status)}{_text(job.status)}"),
            (_SHORT, how_far(job.status, job.progress, unknown="unknown") or "–"),
            (_CELL, _text(job.title) or "–"),
            (_CELL, _where(job)),
            (_SHORT, duration(job.queued_time)),
            (_SHORT, duration(job.running_time) if job.running_time else "–"),
            (_SHORT, ago(job.created)),
            (_SHORT, f"<code>{_text(job.id)}</code>"),
        )
        for job in jobs[:_MOST_JOBS]
    ]
    heads = ("status", "progress", "title", "runs at", "queued", "running", "created", "id")
    more = len(jobs) - _MOST_JOBS
    rest = f'<div style="{_SOFT}">and {counted(more, "more job")}</div>' if more > 0 else ""
    return f'<div style="{_FONT}">{_table(heads, rows)}{rest}</div>'


def log_lines(lines: Iterable[tuple[LogLine, int]], status: str, level: str) -> str:
    """Log lines, those that follow each other and are the same as one, with how often."""
    rows = [
        f'<tr><td style="{_LOG};{_SOFT};white-space:nowrap">{line.time:%Y-%m-%d %H:%M:%S}</td>'
        f'<td style="{_LOG};color:{_LEVELS.get(line.level, "inherit")}">{_text(line.level)}</td>'
        f'<td style="{_LOG};white-space:pre-wrap;overflow-wrap:anywhere">{_text(line.message)}'
        + (f' <span style="{_SOFT}">×{times:,}</span>' if times > 1 else "")
        + "</td></tr>"
        for line, times in lines
    ]
    if not rows:
        return f'<div style="{_FONT};{_SOFT}">{_text(no_log_yet(status, level))}</div>'
    return (
        f'<div style="{_FONT};max-height:24em;overflow:auto">'
        f'<table style="{_TABLE};margin:0">{"".join(rows)}</table></div>'
    )


_LOG = (
    "padding:0 10px 0 0;text-align:left;vertical-align:top;"
    "font-family:var(--jp-code-font-family,ui-monospace,monospace);font-size:12px"
)


def result_table(items: Sequence[dict[str, Any]]) -> str:
    """The files of result items, with where they are."""
    if not items:
        return f'<div style="{_FONT}">No results.</div>'
    rows = []
    for item in items[:_MOST_ITEMS]:
        first = _text(item.get("id", ""))
        for key, asset in (item.get("assets") or {"–": {}}).items():
            length = asset.get("file:size")
            rows.append(
                (
                    (_CELL, first),
                    (_CELL, _text(asset.get("title") or key)),
                    (_SHORT, size(length) if isinstance(length, int) else "–"),
                    (
                        f"{_CELL};overflow-wrap:anywhere",
                        f"<code>{_text(_unsigned(asset.get('href', '')))}</code>",
                    ),
                )
            )
            first = ""
    more = len(items) - _MOST_ITEMS
    rest = f'<div style="{_SOFT}">and {counted(more, "more item")}</div>' if more > 0 else ""
    return f'<div style="{_FONT}">{_table(("item", "file", "size", "address"), rows)}{rest}</div>'


def progress_card(share: float | None, facts: str, said: str) -> str:
    """Something under way, with a bar."""
    return (
        f'<div style="{_BOX}">{_bar(share)}<div style="{_SOFT}">{_text(facts)}</div>'
        f"<div>{_text(said)}</div></div>"
    )


def map_card(
    title: str,
    shares: Sequence[tuple[str, int]],
    rows: Sequence[tuple[str, str, str, str]],
    notes: Sequence[str],
) -> str:
    """Many jobs over an area.

    :param shares: statuses with how many tiles have each.
    :param rows: tile, status, back end and what it says, of the tiles worth showing.
    """
    whole = sum(count for _, count in shares) or 1
    bar = "".join(
        f'<div style="width:{100 * count / whole:.2f}%;background:{_colour(status)}"></div>'
        for status, count in shares
        if count and status != "waiting"
    )
    legend = " · ".join(
        f"{_dot(status)}{count:,} {_text(status)}" for status, count in shares if count
    )
    table = (
        _table(
            ("tile", "status", "runs at", ""),
            [
                (
                    (_SHORT, _text(tile)),
                    (_SHORT, f"{_dot(status)}{_text(status)}"),
                    (_CELL, _text(where)),
                    (_CELL, _text(said)),
                )
                for tile, status, where, said in rows
            ],
        )
        if rows
        else ""
    )
    remarks = "".join(
        f'<div style="border-left:3px solid {_COLOURS["paused"]};padding-left:8px;'
        f'margin-top:6px">{_text(note)}</div>'
        for note in notes
    )
    return (
        f'<div style="{_BOX}"><div><b>{_text(title)}</b></div>'
        f'<div style="display:flex;height:8px;border-radius:4px;overflow:hidden;'
        f'background:{_TRACK};margin:6px 0;max-width:480px">{bar}</div>'
        f"<div>{legend}</div>{table}{remarks}</div>"
    )


def _text(value: object) -> str:
    return escape(str(value))


def _unsigned(address: object) -> str:
    """An address without its query, which may be a signature."""
    return str(address).partition("?")[0]


def _where(job: Job) -> str:
    return _text(f"{job.engine} at {job.backend}" if job.backend else job.engine)


def _colour(status: str) -> str:
    return _COLOURS.get(status, _COLOURS["created"])


def _dot(status: str) -> str:
    return (
        f'<span style="display:inline-block;width:9px;height:9px;border-radius:50%;'
        f'margin-right:6px;background:{_colour(status)}"></span>'
    )


def _status(job: Job) -> str:
    asked = {"cancel": " – is being canceled", "pause": " – is being paused"}.get(job.wanted, "")
    return f"{_dot(job.status)}{MEANINGS[job.status]}{asked if not job.ended else ''}"


def _share(job: Job) -> str:
    share = how_far(job.status, job.progress)
    return f' <span style="{_SOFT}">· {share}</span>' if share and not job.ended else ""


def _bar(progress: float | None) -> str:
    """Filled as far as it is known; hatched where it is not."""
    filling = (
        "width:100%;background:repeating-linear-gradient(45deg,rgba(128,128,128,.35) 0 6px,"
        "transparent 6px 12px)"
        if progress is None
        else f"width:{progress:.1%};background:{_COLOURS['running']}"
    )
    return (
        f'<div style="height:8px;border-radius:4px;overflow:hidden;max-width:480px;'
        f'background:{_TRACK};margin:4px 0"><div style="height:100%;{filling}"></div></div>'
    )


def _facts(job: Job) -> list[str]:
    facts = [f"queued {duration(job.queued_time)}"]
    if job.running_time:
        facts.append(f"running {duration(job.running_time)}")
    if (amount := job.transferred) is not None:
        total = "" if amount.bytes_total is None else f" of {size(amount.bytes_total)}"
        facts.append(
            f"{amount.files_done:,} of {counted(amount.files_total, 'file')}, "
            f"{size(amount.bytes_done)}{total}"
        )
    if job.result_count:
        facts.append(counted(job.result_count, "result item"))
    if job.costs is not None:
        facts.append(f"costs {job.costs:g}")
    if job.cloned_from:
        facts.append(f"repeats {_text(job.cloned_from)}")
    return facts


def _table(heads: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]]) -> str:
    head = "".join(f'<th style="{_CELL};font-weight:600">{name}</th>' for name in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for style, cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<table style="{_TABLE};margin:4px 0"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
