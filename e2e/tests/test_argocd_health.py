"""examples/argocd-health.yaml: the health that Argo CD derives for our objects. Argo CD's own CLI evaluates the script; no cloud runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from fleet import API
from keelson_harness.paths import EXAMPLES, tools

HEALTH = EXAMPLES / "argocd-health.yaml"
KINDS = ("EksCluster", "NodeGroup", "AwsAccount", "FleetRollout")


@pytest.fixture(scope="module")
def argocd(tmp_path_factory) -> Path:
    """The binary chooses its program by its name, so it is linked as `argocd`."""
    link = tmp_path_factory.mktemp("argocd") / "argocd"
    link.symlink_to(tools("argocd")["argocd"])
    return link


def health(argocd: Path, item: dict) -> str:
    path = argocd.parent / "item.yaml"
    path.write_text(yaml.safe_dump(item))
    command = [argocd, "admin", "settings", "resource-overrides", "health", path, "--argocd-cm-path", HEALTH]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
    # Without its log lines.
    return "\n".join(line for line in result.stdout.splitlines() if not line.startswith("{"))


def make_object(kind: str = "EksCluster", status: dict | None = None) -> dict:
    item = {"apiVersion": API, "kind": kind, "metadata": {"name": "demo", "generation": 2}, "spec": {}}
    return item | ({"status": status} if status is not None else {})


def make_status(ready: str, reason: str, stalled: str = "False", generation: int = 2) -> dict:
    conditions = [
        {"type": "Stalled", "status": stalled, "reason": reason, "message": ""},
        {"type": "Ready", "status": ready, "reason": reason, "message": f"it is {reason}"},
    ]
    return {"observedGeneration": generation, "conditions": conditions}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, "STATUS: Progressing\nMESSAGE: not observed yet"),
        ({"observedGeneration": -1}, "STATUS: Progressing\nMESSAGE: not observed yet"),
        (make_status("True", "Available", generation=1), "STATUS: Progressing\nMESSAGE: not observed yet"),
        (make_status("True", "Available"), "STATUS: Healthy\nMESSAGE: it is Available"),
        (make_status("False", "Creating"), "STATUS: Progressing\nMESSAGE: it is Creating"),
        (make_status("False", "InvalidSpec", "True"), "STATUS: Degraded\nMESSAGE: it is InvalidSpec"),
        (make_status("False", "WaitingForApproval", "True"), "STATUS: Suspended\nMESSAGE: it is WaitingForApproval"),
        (make_status("False", "OnHold", "True"), "STATUS: Suspended\nMESSAGE: it is OnHold"),
        (make_status("False", "WaveHalted", "True"), "STATUS: Degraded\nMESSAGE: it is WaveHalted"),
        (make_status("Unknown", "Suspended"), "STATUS: Suspended\nMESSAGE: it is Suspended"),
    ],
    ids=["new", "unobserved", "edited", "ready", "progressing", "stalled", "waiting for approval", "on hold", "halted", "suspended"],
)
def test_argo_cd_health_of_a_status(argocd, status, expected):
    assert health(argocd, make_object(status=status)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_argo_cd_health_check(argocd, kind):
    assert health(argocd, make_object(kind, make_status("True", "Available"))).startswith("STATUS: Healthy")
