"""Panels and dashboards of Grafana as plain data, and where panels are placed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Grafana's grid.
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Panel:
    """A panel. `queries`: PromQL and the legend of each."""

    kind: str
    title: str
    queries: tuple[tuple[str, str], ...]
    description: str
    width: int = 8
    height: int = 8
    unit: str = "short"
    # (value from which the colour holds, colour).
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    options: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)
    # What to show without any series: an absence that is good news.
    no_value: str | None = None

    def as_dict(self, number: int, x: int, y: int) -> dict[str, Any]:
        is_table = self.kind == "table"
        is_instant = self.kind in ("table", "stat", "bargauge", "piechart")
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in self.steps]},
            "custom": self.custom,
        }
        if self.no_value is not None:
            defaults["noValue"] = self.no_value
        panel: dict[str, Any] = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self.options,
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": DATASOURCE,
                    "expr": expression,
                    "legendFormat": legend,
                    "instant": is_instant,
                    "range": not is_instant,
                    "format": "table" if is_table else "time_series",
                }
                for index, (expression, legend) in enumerate(self.queries)
            ],
        }
        if is_table:
            # The labels are what a row says: its value is always 1.
            panel["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}]
        return panel


def stat(title: str, expression: str, description: str, **more: Any) -> Panel:
    more.setdefault("width", 4)
    more.setdefault("height", 4)
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", **more.pop("options", {})}
    return Panel("stat", title, ((expression, more.pop("legend", "")),), description, options=options, **more)


def graph(title: str, *queries: tuple[str, str], description: str, **more: Any) -> Panel:
    custom = {"lineWidth": 1, "fillOpacity": 10, **more.pop("custom", {})}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return Panel("timeseries", title, queries, description, options=options, custom=custom, **more)


def table(title: str, expression: str, description: str, **more: Any) -> Panel:
    """A row for each series, with its labels as columns."""
    more.setdefault("width", 12)
    return Panel("table", title, ((expression, ""),), description, options={"showHeader": True}, **more)


def bars(title: str, expression: str, legend: str, description: str, **more: Any) -> Panel:
    options = {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return Panel("bargauge", title, ((expression, legend),), description, options=options, **more)


def placed(rows: list[tuple[str, list[Panel]]]) -> Iterator[dict[str, Any]]:
    """The panels under the titles of their rows, from left to right, and below when a line is full."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}}
        y += 1
        x = line_height = 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            number += 1
            yield panel.as_dict(number, x, y)
            x, line_height = x + panel.width, max(line_height, panel.height)
        y += line_height


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": False,
        "multi": False,
    }


def dashboard(uid: str, title: str, description: str, rows: list[tuple[str, list[Panel]]], *variables: dict[str, Any]) -> dict[str, Any]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["keelson"],
        "editable": True,
        "schemaVersion": 39,
        "version": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "links": [
            {
                "type": "dashboards",
                "title": "Keelson",
                "tags": ["keelson"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": list(placed(rows)),
    }
