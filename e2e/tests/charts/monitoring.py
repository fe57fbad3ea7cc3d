"""The Prometheus Operator's CRDs of monitors, from the Go module proxy: checked by their sum in go.sum, then in Go's own cache."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT

MODULE = "github.com/prometheus-operator/prometheus-operator"
FOLDER = CHECKOUT / "e2e" / "kubernetes" / "build" / "prometheus-operator"
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def monitoring_crds() -> list[dict]:
    answer = subprocess.run(["go", "mod", "download", "-json", MODULE], cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True)
    folder = Path(json.loads(answer.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    return [item for kind in KINDS for item in documents(folder / f"monitoring.coreos.com_{kind}.yaml")]
