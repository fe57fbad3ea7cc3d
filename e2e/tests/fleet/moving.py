"""A second management cluster, and a cluster with a node group that moves to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleet import restore
from fleet.account import Account
from fleet.environment import READ_AFTER_WRITE_WINDOW, Environment, actions
from fleet.existing_clusters import TAGGING, picture
from fleet.manifests import key_of
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import KubeApi, conditions, documents
from keelson_harness.kubernetes import BASE_CONTROLLERS, ControlPlane
from keelson_harness.paths import CRDS, DEPLOY, keelson_binary

OPERATOR = f"system:serviceaccount:{restore.NAMESPACE}:keelson"
SERVICE_ACCOUNTS = ("system:serviceaccounts", f"system:serviceaccounts:{restore.NAMESPACE}")
QUICK = ("--drift-interval=2s",)


class SecondManagementCluster:
    """Another management cluster with its own API server. Has the methods of a Environment that start operators."""

    def __init__(self, on: Environment):
        self.on, self.aws = on, on.aws
        self.plane: ControlPlane = on.cloud._control_plane("management-2", BASE_CONTROLLERS)
        on.cloud._bring_up(self.plane)()
        self.api: KubeApi = self.plane.api
        kinds = [item for path in sorted(CRDS.glob("*.yaml")) for item in documents(path)]
        self.api.apply_all([item for item in kinds if item["kind"] == "CustomResourceDefinition"])
        names = ("namespace.yaml", "service-account.yaml", "rbac.yaml", "secrets-cluster-wide/rbac.yaml")
        self.api.apply_all([item for name in names for item in documents(DEPLOY / name)])
        self.kubeconfig: Path = self.plane.kubeconfig_for(OPERATOR, SERVICE_ACCOUNTS)

    def start(self, account: str, wait: bool = True) -> Controller:
        env = {"AWS_ACCESS_KEY_ID": account, "POD_NAME": "keelson-there"}
        started = self.on.cloud.operator(READ_AFTER_WRITE_WINDOW, *QUICK, env=env, kubeconfig=self.kubeconfig)
        if wait:
            self.on.await_ready(started)
        return started

    def mark(self) -> int:
        return self.on.mark()

    def writes(self, since: int, account: str) -> list[dict]:
        return self.on.writes(since, account)


def command(on: Environment, second: SecondManagementCluster, *arguments: str) -> tuple[list[str], dict[str, str]]:
    env = {"KUBECONFIG": str(on.cloud.management.kubeconfig), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return [str(keelson_binary()), "move", f"--to={second.plane.kubeconfig}", "--namespace=default", *arguments], env


def attempt(on: Environment, second: SecondManagementCluster, *arguments: str) -> subprocess.CompletedProcess:
    command_line, env = command(on, second, *arguments)
    return subprocess.run(command_line, env=env, capture_output=True, text=True, timeout=180, check=False)


def move(on: Environment, second: SecondManagementCluster, *arguments: str) -> str:
    result = attempt(on, second, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


LEASE = ("coordination.k8s.io/v1", "Lease", "keelson", restore.NAMESPACE)


@contextmanager
def replica_that_does_nothing(second: SecondManagementCluster) -> Iterator[None]:
    """The Lease in the second management cluster is held, and nothing is reconciled there."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "elsewhere", "leaseDurationSeconds": 3600, "renewTime": now}
    second.api.patch(*LEASE[:3], {"spec": spec}, restore.NAMESPACE)
    try:
        yield
    finally:
        second.api.delete(*LEASE)


def annotate(api: KubeApi, item: dict, **annotations: str | None) -> None:
    version, kind, name, namespace = key_of(item)
    values = {f"keelson.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    api.patch(version, kind, name, {"metadata": {"annotations": values}}, namespace)


def suspend(on: Environment, item: dict, value: bool) -> None:
    on.api.patch(*key_of(item)[:3], {"spec": {"suspend": value}})


@dataclass
class MovingCluster:
    """A cluster with a node group, Ready in the first management cluster; no operator is running."""

    on: Environment
    second: SecondManagementCluster
    account: Account
    items: tuple[dict, dict]
    name: str

    def writes(self, since: int) -> list[dict]:
        return [c for c in self.on.writes(since, self.account.id) if c["status"] < 400]

    def found(self, api: KubeApi) -> list[dict]:
        return [item for one in self.items if (item := api.find(*key_of(one)))]

    def uids(self, api: KubeApi) -> set[str]:
        return {item["metadata"]["uid"] for item in self.found(api)}

    def owners(self) -> set[str]:
        return restore.owned_by(self.account, f"default/{self.name}")

    def is_ready_in_second(self) -> bool:
        states = [conditions(item).get("Ready", {}).get("status") for item in self.found(self.second.api)]
        return states == ["True", "True"]

    def handed_over(self) -> bool:
        result = [item.get("status", {}).get("handOver", {}).get("installation") for item in self.found(self.on.api)]
        return result == [self.second_installation()] * 2

    def installations(self) -> set[str]:
        return {tags[restore.INSTALLATION] for tags in restore.owners(self.account).values()}

    def second_installation(self) -> str:
        return self.second.api.get("v1", "ConfigMap", "keelson-installation", restore.NAMESPACE)["data"]["id"]


def assert_moved(moving: MovingCluster, before: dict, since: int) -> None:
    assert {call["action"] for call in moving.writes(since)} <= TAGGING, actions(moving.writes(since))
    assert picture(moving.account, without_ours=True) == before
    assert moving.owners() == moving.uids(moving.second.api)
    tags = restore.owners(moving.account).values()
    assert {one[restore.INSTALLATION] for one in tags} == {moving.second_installation()}
    for item in moving.found(moving.on.api):
        assert "finalizers" not in item["metadata"], item["metadata"]
