"""A local cloud whose operators are those of the chart's Pods. Starts processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from keelson_harness.cloud import LocalCloud
from keelson_harness.controller import Controller
from keelson_harness.kubelet import POD
from keelson_harness.processes import Process


class ChartCloud(LocalCloud):
    """Its operators run with the arguments and the environment of their Pods."""

    def _run_operator(self, kubeconfig: Path, directory: Path) -> tuple[Process, Callable[[], bool]]:
        pod = json.loads((directory / POD).read_text())
        (container,) = pod["spec"]["containers"]
        # Other replicas run on this machine too.
        arguments = [argument for argument in container["args"][1:] if not argument.startswith("--listen=")]
        environment = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        environment |= {"POD_NAME": pod["metadata"]["name"], "POD_NAMESPACE": pod["metadata"]["namespace"]}
        environment = {"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false", "AWS_EC2_METADATA_DISABLED": "true"} | environment
        operator: Controller = self.operator(*arguments, kubeconfig=kubeconfig, env=environment)
        return operator.process, operator.ready
