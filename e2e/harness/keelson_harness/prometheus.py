"""Runs the real Prometheus with the rules of deploy/monitoring, and queries it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import requests
import yaml

from .light_http import answers
from .paths import BUILD_SCRIPT, DEPLOY, NotBuilt
from .processes import Process, free_port

MONITORING = DEPLOY / "monitoring"
RULES = MONITORING / "rules.yaml"
SCRAPE_CONFIG = MONITORING / "scrape-config.yaml"
DOWNLOAD_SCRIPT = BUILD_SCRIPT.with_name("prometheus.py")
# Replaced by static targets: there is no kubelet that runs the operator in a Pod here.
DISCOVERY = ("kubernetes_sd_configs", "relabel_configs")
POD_MONITOR = MONITORING / "pod-monitor.yaml"


def prometheus_tools() -> dict[str, Path]:
    """Paths of prometheus and promtool; downloads them first if necessary."""
    output = subprocess.run([sys.executable, str(DOWNLOAD_SCRIPT), "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if output.returncode:
        raise NotBuilt(f"{DOWNLOAD_SCRIPT} could not provide Prometheus")
    return {name: Path(path) for name, path in json.loads(output.stdout).items()}


def shortened(rules: str, hold: str, window: str) -> str:
    """The rules with every `for` replaced by `hold`, and every range and offset by `window`."""
    rules = re.sub(r"^( +for: )\w+$", rf"\g<1>{hold}", rules, flags=re.MULTILINE)
    return re.sub(r"(?<=\[)\w+(?=\])|(?<=offset )\w+", window, rules)


def relabelings() -> list[dict]:
    """`metricRelabelings` of the PodMonitor in the words of a scrape configuration, as the Prometheus Operator translates them."""
    (endpoint,) = yaml.safe_load(POD_MONITOR.read_text())["spec"]["podMetricsEndpoints"]
    snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{snake.get(key, key): value for key, value in rule.items()} for rule in endpoint["metricRelabelings"]]


class Prometheus:
    """One server that scrapes the job of deploy/monitoring/scrape-config.yaml every second and evaluates rules as often.

    The target has the label `namespace`, and series are relabelled, as for a PodMonitor: a plain configuration needs neither.
    """

    def __init__(self, directory: Path, targets: list[str], token: str, rules: str):
        directory.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        token_file = directory / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        (directory / "rules.yaml").write_text(rules)
        (job,) = yaml.safe_load(SCRAPE_CONFIG.read_text())["scrape_configs"]
        job = {key: value for key, value in job.items() if key not in DISCOVERY}
        labelled = {"targets": targets, "labels": {"namespace": "keelson-system"}}
        job |= {"scrape_interval": "1s", "static_configs": [labelled], "metric_relabel_configs": relabelings()}
        job["authorization"] = {"credentials_file": str(token_file)}
        config = {
            "global": {"evaluation_interval": "1s"},
            "rule_files": [str(directory / "rules.yaml")],
            "scrape_configs": [job],
        }
        path = directory / "prometheus.yaml"
        path.write_text(yaml.safe_dump(config))
        self.process = Process(
            "prometheus",
            [
                prometheus_tools()["prometheus"],
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=warn",
            ],
            directory / "prometheus.log",
        )

    def wait_ready(self) -> float:
        return self.process.wait_ready(lambda: answers(f"{self.url}/-/ready"))

    def stop(self) -> None:
        self.process.stop()

    def _get(self, path: str, **params: object) -> object:
        answer = requests.get(f"{self.url}/api/v1/{path}", params=params, timeout=10)
        body = answer.json()
        assert body["status"] == "success", f"{path} {params}: {body}"
        return body["data"]

    def query(self, expression: str) -> list[dict]:
        """The series of an instant query."""
        return self._get("query", query=expression)["result"]

    def query_range(self, expression: str, start: float, end: float, step: float = 1) -> list[dict]:
        """The series of a range query."""
        return self._get("query_range", query=expression, start=start, end=end, step=step)["result"]

    def alerts(self) -> list[dict]:
        """Active alerts: pending and firing."""
        return self._get("alerts")["alerts"]

    def firing(self, name: str) -> list[dict]:
        """The labels of each firing alert of a rule."""
        return [a["labels"] for a in self.alerts() if a["labels"]["alertname"] == name and a["state"] == "firing"]

    def targets(self) -> list[dict]:
        return self._get("targets")["activeTargets"]
