"""examples/argocd-health.yaml: what Argo CD itself makes of our objects. Its own command line evaluates the script; no cloud."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from fleet import API
from keelson_harness.paths import EXAMPLES, tools

HEALTH = EXAMPLES / "argocd-health.yaml"
KINDS = ("EksCluster", "NodeGroup", "AwsAccount")


@pytest.fixture(scope="module")
def argocd(tmp_path_factory) -> Path:
    """It is what it is called."""
    link = tmp_path_factory.mktemp("argocd") / "argocd"
    link.symlink_to(tools("argocd")["argocd"])
    return link


def health(argocd: Path, item: dict) -> str:
    path = argocd.parent / "item.yaml"
    path.write_text(yaml.safe_dump(item))
    command = [argocd, "admin", "settings", "resource-overrides", "health", path, "--argocd-cm-path", HEALTH]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    # Beside its own log.
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("{"))


def thing(kind: str = "EksCluster", status: dict | None = None) -> dict:
    item = {"apiVersion": API, "kind": kind, "metadata": {"name": "demo", "generation": 2}, "spec": {}}
    return item | ({"status": status} if status is not None else {})


def says(ready: str, reason: str, stalled: str = "False", generation: int = 2) -> dict:
    conditions = [
        {"type": "Stalled", "status": stalled, "reason": reason, "message": ""},
        {"type": "Ready", "status": ready, "reason": reason, "message": f"it is {reason}"},
    ]
    return {"observedGeneration": generation, "conditions": conditions}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, "STATUS: Progressing\nMESSAGE: not looked at yet"),
        ({"observedGeneration": -1}, "STATUS: Progressing\nMESSAGE: not looked at yet"),
        (says("True", "Available", generation=1), "STATUS: Progressing\nMESSAGE: not looked at yet"),
        (says("True", "Available"), "STATUS: Healthy\nMESSAGE: it is Available"),
        (says("False", "Creating"), "STATUS: Progressing\nMESSAGE: it is Creating"),
        (says("False", "InvalidSpec", "True"), "STATUS: Degraded\nMESSAGE: it is InvalidSpec"),
        (says("False", "WaitingForApproval", "True"), "STATUS: Suspended\nMESSAGE: it is WaitingForApproval"),
        (says("Unknown", "Suspended"), "STATUS: Suspended\nMESSAGE: it is Suspended"),
    ],
    ids=["new", "unseen", "edited", "ready", "at work", "stalled", "waits for approval", "suspended"],
)
def test_argo_cd_sees(argocd, status, expected):
    assert health(argocd, thing(status=status)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_it(argocd, kind):
    assert health(argocd, thing(kind, says("True", "Available"))).startswith("STATUS: Healthy")
