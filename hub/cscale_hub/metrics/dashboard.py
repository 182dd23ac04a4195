"""The Grafana dashboard of a hub, as code: ``python -m cscale_hub.metrics.dashboard``.

What it writes is committed as ``helm-values/cscale/dashboards/cscale-hub.json`` (``make
dashboard``), to be imported; our chart mounts it where Grafana's sidecar looks. It asks one
Prometheus, chosen on the page, for the metrics of the hub and the broker; people are in none of
them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

JSON = dict[str, Any]
_SOURCE: JSON = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """One line of a panel: PromQL, and what the line is called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    :param warn: the value from which it is orange; ``alarm``: from which it is red. With
        ``low_is_bad`` they are the values below which it is.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 7
    warn: float | None = None
    alarm: float | None = None
    low_is_bad: bool = False


def _p95(histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.95, sum by ({labels}) (rate({histogram}_bucket[{_RATE}])))"


def _events(action: str, by: str = "outcome") -> str:
    return f'sum by ({by}) (increase(cscale_events_total{{action=~"{action}"}}[$__interval]))'


_STARTED = 'status="success"'
_SPAWNS = "jupyterhub_server_spawn_duration_seconds"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel(
                "Servers",
                "Users' servers that run.",
                (Query("sum(cscale_servers_running)"),),
                "stat",
                width=4,
                height=4,
            ),
            Panel(
                "People in 24 hours",
                "Who used the hub or a server.",
                (Query('max(jupyterhub_active_users{period="24h"})'),),
                "stat",
                width=4,
                height=4,
            ),
            Panel(
                "Starts that succeed",
                "Of servers, in the last six hours. Below 95 %: see the failures below, then the "
                "hub's log.",
                (
                    Query(
                        f"sum(increase({_SPAWNS}_count{{{_STARTED}}}[6h])) / "
                        f"sum(increase({_SPAWNS}_count[6h]))"
                    ),
                ),
                "stat",
                "percentunit",
                width=4,
                height=4,
                warn=0.98,
                alarm=0.95,
                low_is_bad=True,
            ),
            Panel(
                "Identity provider",
                "Seconds for which it is left alone after it failed; 0: it answers. Sessions are "
                "kept meanwhile.",
                (Query("max(cscale_identity_provider_pause_seconds)"),),
                "stat",
                "s",
                width=4,
                height=4,
                warn=1,
                alarm=60,
            ),
            Panel(
                "Records of use",
                "1: they can be read. 0: nothing is counted and no allowance holds; look at their "
                "database.",
                (Query("min(cscale_accounting_readable)"),),
                "stat",
                width=4,
                height=4,
                alarm=1,
                low_is_bad=True,
            ),
            Panel(
                "Memory of the hub",
                "Resident memory of the hub's and the broker's processes.",
                (Query('sum(process_resident_memory_bytes{job=~".*(hub|broker).*"})'),),
                "stat",
                "bytes",
                width=4,
                height=4,
            ),
        ),
    ),
    (
        "Logins",
        (
            Panel(
                "Logins",
                "Let in, refused (no accepted VO), failed (the provider, or an answer of it that "
                "could not be believed).",
                (Query(_events("login"), "{{outcome}}"),),
            ),
            Panel(
                "Looks at logins",
                "How renewing tokens and asking for membership ended.",
                (
                    Query(
                        "sum by (asked, outcome) (increase(cscale_login_checks_total"
                        "[$__interval]))",
                        "{{asked}}: {{outcome}}",
                    ),
                ),
            ),
            Panel(
                "Time a login takes",
                "95 of 100 are faster; what the provider takes is in it.",
                (Query(_p95("jupyterhub_login_duration_seconds"), "p95"),),
                unit="s",
            ),
        ),
    ),
    (
        "Servers",
        (
            Panel(
                "Running, by VO and profile",
                "",
                (
                    Query(
                        'sum by (vo, profile) (cscale_servers_running{vo=~"$vo"})',
                        "{{vo}} {{profile}}",
                    ),
                ),
            ),
            Panel(
                "Time a start takes",
                "95 of 100 are faster.",
                (
                    Query(
                        f"histogram_quantile(0.95, sum by (le) (rate({_SPAWNS}_bucket"
                        f"{{{_STARTED}}}[{_RATE}])))",
                        "p95",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Starts",
                "Allowed, refused (profile or allowance), failed.",
                (Query(_events("server.start"), "{{outcome}}"),),
            ),
        ),
    ),
    (
        "Credentials and shares",
        (
            Panel(
                "Tokens and S3 credentials",
                "What the broker gave, refused, or could not give.",
                (
                    Query(
                        _events("token.issue|s3.issue", "action, outcome"), "{{action}} {{outcome}}"
                    ),
                ),
                width=12,
            ),
            Panel(
                "Shared servers and notebooks",
                "",
                (
                    Query(
                        _events("share.*|notebook.*", "action, outcome"), "{{action}} {{outcome}}"
                    ),
                ),
                width=12,
            ),
        ),
    ),
    (
        "Use by virtual organisation, this month",
        (
            Panel(
                "CPU hours",
                "Servers and jobs, since the month began (UTC).",
                (Query('max by (vo) (cscale_month_cpu_hours{vo=~"$vo"})', "{{vo}}"),),
                "bargauge",
                "h",
            ),
            Panel(
                "Memory held",
                "GiB hours since the month began.",
                (Query('max by (vo) (cscale_month_memory_gib_hours{vo=~"$vo"})', "{{vo}}"),),
                "bargauge",
            ),
            Panel(
                "People",
                "Who used anything since the month began.",
                (Query('max by (vo) (cscale_month_people{vo=~"$vo"})', "{{vo}}"),),
                "bargauge",
            ),
            Panel(
                "Jobs",
                "That ended since the month began.",
                (Query('max by (vo, engine) (cscale_month_jobs{vo=~"$vo"})', "{{vo}} {{engine}}"),),
                "bargauge",
                width=12,
            ),
            Panel(
                "Stored",
                "What the buckets held when they were last looked at.",
                (
                    Query(
                        'max by (vo, bucket) (cscale_stored_bytes{vo=~"$vo"})', "{{vo}} {{bucket}}"
                    ),
                ),
                unit="bytes",
                width=12,
            ),
        ),
    ),
    (
        "The hub itself",
        (
            Panel(
                "Time an answer takes",
                "95 of 100 are faster, by handler; the slowest five.",
                (
                    Query(
                        f"topk(5, {_p95('jupyterhub_request_duration_seconds', 'handler')})",
                        "{{handler}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Event loop",
                "How long it was held up, 95 of 100 times less. Above half a second the hub is "
                "too busy.",
                (Query(_p95("jupyterhub_event_loop_interval_seconds"), "p95"),),
                unit="s",
                warn=0.5,
            ),
            Panel(
                "Routes of the proxy",
                "What adding a route takes, p95.",
                (Query(_p95("jupyterhub_proxy_add_duration_seconds"), "p95"),),
                unit="s",
            ),
        ),
    ),
)


def dashboard() -> JSON:
    """The dashboard as Grafana reads it (schema version 39, Grafana 11 and newer)."""
    return {
        "uid": "cscale-hub",
        "title": "C-SCALE Hub",
        "description": "Logins, servers, credentials and use by virtual organisation.",
        "tags": ["jupyterhub", "c-scale"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": _placed(ROWS),
    }


def _variables() -> list[JSON]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
        },
        {
            "name": "vo",
            "label": "Virtual organisation",
            "type": "query",
            "datasource": _SOURCE,
            "definition": "label_values(cscale_month_people, vo)",
            "query": {"query": "label_values(cscale_month_people, vo)", "refId": "vo"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "hide": 0,
        },
    ]


def _placed(rows: Sequence[tuple[str, tuple[Panel, ...]]]) -> list[JSON]:
    """Panels from left to right, and on the next line where one does not fit any more."""
    numbers = count(1)
    found: list[JSON] = []
    top = 0
    for title, panels in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        found.append({"id": next(numbers), "type": "row", "title": title, "gridPos": place})
        top, left, tallest = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > _COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            found.append({"id": next(numbers), "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return found


def _panel(panel: Panel) -> JSON:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "instant": panel.kind != "timeseries",
                "range": panel.kind == "timeseries",
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "color": {"mode": "palette-classic" if _plain(panel) else "thresholds"},
                "thresholds": {"mode": "absolute", "steps": _steps(panel)},
            },
            "overrides": [],
        },
        "options": _OPTIONS[panel.kind],
    }


def _plain(panel: Panel) -> bool:
    return panel.warn is None and panel.alarm is None


def _steps(panel: Panel) -> list[JSON]:
    """From the lowest value up; the first step has none."""
    if panel.low_is_bad:
        bounds = [("orange", panel.alarm), ("green", panel.warn)]
        if panel.warn is None:
            bounds = [("green", panel.alarm)]
        start = "red"
    else:
        bounds = [("orange", panel.warn), ("red", panel.alarm)]
        start = "green"
    steps = [{"color": colour, "value": value} for colour, value in bounds if value is not None]
    return [{"color": start, "value": None}, *steps]


_OPTIONS: dict[str, JSON] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "bargauge": {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
}


def text() -> str:
    """The dashboard's file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
