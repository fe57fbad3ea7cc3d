"""Writes prometheus-rule.yaml and the Grafana dashboards; with --check, fails when one of them is stale.

    python3 deploy/monitoring/generate.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dashboards

HERE = Path(__file__).resolve().parent
RULES = HERE / "rules.yaml"
RULE_HEAD = """\
# Generated from rules.yaml by generate.py: do not edit.
#
# Prometheus must select it: with kube-prometheus-stack, add the label `release: NAME` in your overlay, or set
# `ruleSelectorNilUsesHelmValues: false`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: keelson
  namespace: keelson-system
  labels:
    app.kubernetes.io/name: keelson
spec:
"""


def prometheus_rule() -> str:
    """The groups of rules.yaml, comments included, as a PrometheusRule."""
    text = RULES.read_text()
    groups = text[text.index("groups:") :]
    return RULE_HEAD + "".join(f"  {line}".rstrip() + "\n" for line in groups.splitlines())


def files() -> dict[Path, str]:
    """Each generated file with its content."""
    found = {HERE / "prometheus-rule.yaml": prometheus_rule()}
    for dashboard in dashboards.ALL:
        found[HERE / "dashboards" / f"{dashboard['uid']}.json"] = json.dumps(dashboard, indent=2) + "\n"
    return found


def main() -> int:
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is stale: run python3 deploy/monitoring/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
