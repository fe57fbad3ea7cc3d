"""The alerts, dashboards and metrics of `deploy/monitoring`, as its files and pages describe them. Reads files only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from keelson_harness.paths import CHECKOUT
from keelson_harness.prometheus import MONITORING, RULES

DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
PAGE = CHECKOUT / "docs" / "monitoring.md"
RUNBOOKS = CHECKOUT / "docs" / "runbooks.md"
# The variables of the dashboards, as the test fills them in.
INTERVAL = {"$__rate_interval": "10s", "$__range": "5m"}


def alert_rules() -> dict[str, dict]:
    """The rules by the name of their alert."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@dataclass(frozen=True)
class Query:
    """A query of a panel."""

    dashboard: str
    row: str
    panel: str
    expression: str

    def filled(self, **variables: str) -> str:
        text = self.expression
        for name, value in {**INTERVAL, **{f"${name}": value for name, value in variables.items()}}.items():
            text = text.replace(name, value)
        assert "$" not in text.replace("$1", ""), text
        return text


def queries() -> Iterator[Query]:
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        row = ""
        for panel in dashboard["panels"]:
            if panel["type"] == "row":
                row = panel["title"]
            for target in panel.get("targets", []):
                yield Query(path.stem, row, panel["title"], target["expr"])


@dataclass(frozen=True)
class Metric:
    """A line of the table of metrics in docs/monitoring.md."""

    name: str
    kind: str
    labels: frozenset[str]


def documented_metrics() -> dict[str, Metric]:
    found = {}
    for line in PAGE.read_text().splitlines():
        if match := re.match(r"\| `((?:keelson|process)_\w+)` \| (\w+) \|(.*?)\|", line):
            name, kind, labels = (cell.strip() for cell in match.groups())
            assert name not in found, f"{name} is documented twice"
            assert re.fullmatch(r"(`\w+`(, `\w+`)*)?", labels), f"{name}: not only labels in {labels!r}"
            found[name] = Metric(name, kind, frozenset(re.findall(r"`(\w+)`", labels)))
    return found


def exposed_metrics(text: str) -> dict[str, Metric]:
    """The metrics of an answer of /metrics with the labels that their series have, by the name that Prometheus stores."""
    kinds: dict[str, str] = {}
    labels: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"# TYPE (\w+) (\w+)", line):
            kinds[match[1]] = match[2]
        elif match := re.match(r"(\w+?)(?:_total|_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", line):
            family = next(name for name in (match[0].split("{")[0].split(" ")[0], match[1]) if name in kinds)
            found = set(re.findall(r'(\w+)="', match[2] or "")) - {"le"}
            labels.setdefault(family, set()).update(found)
    suffix = {"counter": "_total"}
    return {
        name + suffix.get(kind, ""): Metric(name + suffix.get(kind, ""), kind, frozenset(labels[name]))
        for name, kind in kinds.items()
        # A metric whose labels nothing has yet.
        if name in labels
    }
