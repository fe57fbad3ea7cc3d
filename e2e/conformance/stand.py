"""A management API server and an operator that act on the run's account, and the run's objects. I/O: processes, Kubernetes, AWS.

Whatever happens in between, `standing` deletes the objects at the end and waits until they are gone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleet.account import Account
from fleet.environment import READ_AFTER_WRITE_WINDOW, Environment
from fleet.manifests import account as account_manifest
from fleet.manifests import cluster, flux, key_of, node_group
from keelson_harness.cloud import LocalCloud
from keelson_harness.kubeapi import Timeout

from .settings import Settings, versions_to_upgrade

# A comparison with AWS costs some 40 reads; the scenarios also ask for one where they changed something.
DRIFT_INTERVAL = "30s"
DELETION_SECONDS = 90


@dataclass
class Stand:
    settings: Settings
    on: Environment
    cluster: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)
    start: str = ""
    goal: str = ""

    @property
    def items(self) -> list[dict]:
        return [self.cluster, self.nodes]

    @property
    def found(self) -> dict:
        return self.on.api.get(*key_of(self.cluster))

    @property
    def found_nodes(self) -> dict:
        return self.on.api.get(*key_of(self.nodes))

    @property
    def account(self) -> Account:
        """The run's account as boto3 sees it; of the cluster's object only, once there is one."""
        mine = self.settings.account
        return Account(mine, mine.id, mine.region, self.found["metadata"]["uid"])

    def ready(self, emulated: float = 90) -> None:
        self.on.ready(*self.items, timeout=self.settings.seconds(emulated))

    def edit(self, item: dict, **spec: object) -> None:
        version, kind, name, namespace = key_of(item)
        self.on.api.patch(version, kind, name, {"spec": spec}, namespace)

    def compare_now(self) -> None:
        """Asks the operator to compare the cluster with AWS, as a user does."""
        version, kind, name, namespace = key_of(self.cluster)
        number = int((self.found["metadata"].get("annotations") or {}).get("keelson.dev/reconcile-at", "0")) + 1
        self.on.api.patch(version, kind, name, {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(number)}}}, namespace)


@contextmanager
def standing(settings: Settings) -> Iterator[Stand]:
    # What a real account did cannot be repeated: the operator's log is kept.
    with LocalCloud(aws=False, flux=False, git=False, keep=not settings.account.is_emulated) as cloud:
        cloud.install_crds()
        stand = Stand(settings, Environment(cloud))
        stand.start, stand.goal = versions_to_upgrade(settings.account)
        controller = cloud.operator(
            f"--drift-interval={DRIFT_INTERVAL}",
            # AWS's reads lag behind its writes; the emulator's do not.
            *([READ_AFTER_WRITE_WINDOW] if settings.account.is_emulated else []),
            env={
                "AWS_REGION": settings.account.region,
                "KEELSON_ALLOW_AMBIENT_ACCOUNT": "false",
                "KEELSON_ALLOW_HTTP_GIT": str(settings.git_url.startswith("http://")).lower(),
                # The clusters of a run can be reached, unlike most of the tests'.
                "KEELSON_LOAD_BALANCER_TIMEOUT": "2m",
                **settings.operator_env,
            },
        )
        try:
            controller.wait_ready()
            stand.on.apply(_account(settings))
            stand.cluster, stand.nodes = manifests(settings, stand.start)
            stand.on.apply(*stand.items)
            yield stand
        finally:
            print(f"deleting the objects of run {settings.run}; AWS takes its time", file=sys.stderr, flush=True)
            if stand.cluster:
                _delete(stand)


def _account(settings: Settings) -> dict:
    boundary = {"permissionsBoundaryArn": settings.permissions_boundary} if settings.permissions_boundary else {}
    return account_manifest("default", settings.account.id, allowedRegions=[settings.account.region], **boundary)


def manifests(settings: Settings, version: str) -> tuple[dict, dict]:
    gitops = {"gitops": flux(settings.git_url, settings.git_path, ref={"branch": settings.git_branch})} if settings.git_url else {}
    made = cluster(
        settings.name,
        upgrade={"unreadableNodes": "Block"},
        region=settings.account.region,
        version=version,
        tags=settings.tags,
        network={"vpc": {"zoneCount": 2, "nat": "Single"}},
        **gitops,
    )
    nodes = node_group(settings.name, scaling={"min": 1, "max": 3, "desired": 1, "desiredPolicy": "Enforce"}, instanceTypes=[settings.instance_type])
    return made, nodes


def _delete(stand: Stand) -> None:
    try:
        stand.on.delete(*(i for i in stand.items if stand.on.api.find(*key_of(i))), timeout=stand.settings.seconds(DELETION_SECONDS))
    except Timeout as error:
        # The run deletes what its tags find, and reports it as a failure.
        print(f"the operator did not delete everything: {error}", file=sys.stderr, flush=True)
