"""`keelson ui` as a person uses it, and fleets whose status is written without an operator, for what only the page shows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from fleet import API
from fleet.command_line import Following
from fleet.environment import Environment
from fleet.manifests import key_of

ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/\?token=([0-9a-f]{64})")


class Ui:
    """A running `keelson ui`."""

    def __init__(self, on: Environment, *arguments: str):
        self._process = Following(on, "ui", "--no-browser", *arguments)
        self._process.until("Ctrl-C")
        self._used = 0

    @property
    def root(self) -> str:
        return ADDRESS.search(self._process.text)[1]

    def address(self) -> str:
        """The next address with a token."""
        text = self._process.until("token=", times=self._used + 1)
        found = list(ADDRESS.finditer(text))[self._used]
        self._used += 1
        return found[0]

    def stop(self) -> None:
        self._process.stop()

    def __enter__(self) -> Ui:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def ago(**delta: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, reason: str, message: str = "", **since: float) -> dict:
    when = ago(**(since or {"minutes": 30}))
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": when, "observedGeneration": 1}


def ready(reason: str = "Available", message: str = "", **since: float) -> list[dict]:
    status = "True" if reason == "Available" else "False"
    return [condition("Ready", status, reason, message, **since)]


def suspended(**since: float) -> list[dict]:
    """As the operator leaves a cluster that was ready."""
    return [
        condition("Ready", "True", "Suspended", "spec.suspend is true", **since),
        *(condition(kind, "False", "Suspended", **since) for kind in ("Reconciling", "Stalled")),
    ]


def write(on: Environment, item: dict, status: dict) -> None:
    """Applies an object with its status, as an operator would have written it."""
    on.api.apply_all([item])
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, {"status": {"observedGeneration": 1, **status}}, namespace, subresource="status")


def rollout(name: str, **spec: object) -> dict:
    waves = [{"name": wave, "selector": {"matchLabels": {"ring": wave}}} for wave in ("canary", "early", "prod")]
    query = {"address": "http://prometheus.monitoring:9090", "query": "sum(rate(errors_total[5m]))", "max": 0.01}
    waves[1]["checks"] = [{"name": "errors", "prometheus": query}]
    spec = {"clusterSelector": {"matchLabels": {"fleet": name}}, "waves": waves, **spec}
    return {"apiVersion": API, "kind": "FleetRollout", "metadata": {"name": name}, "spec": spec}


ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")


def creating() -> dict:
    """Status of a cluster in the middle of its creation."""

    def waits(resource: str, seconds: int, after: str) -> dict:
        return {"action": "Create", "resource": resource, "state": "Pending", "expectedSeconds": seconds, "after": after}

    running = {"action": "Create", "state": "Running"}
    steps = [
        {**running, "resource": "cluster", "detail": "version: 1.35", "since": ago(minutes=3), "expectedSeconds": 540},
        {**running, "resource": "natGateway/eu-west-1a", "since": ago(minutes=1), "expectedSeconds": 110},
        *(waits(f"route/private/{zone}", 1, "natGateway/eu-west-1a") for zone in ZONES),
        *(waits(f"addon/{name}", 40, "cluster") for name in ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")),
        waits("addon/coredns", 60, "nodes"),
        waits("oidcProvider", 1, "cluster"),
    ]
    existing = ["elasticIp/eu-west-1a", "routeTable/public", "route/public", "role/cluster", "role/node"]
    existing += [f"routeTable/private/{zone}" for zone in ZONES]
    existing += [f"routeTableAssociation/{tier}/{zone}" for tier in ("public", "private") for zone in ZONES]
    return {
        "conditions": [
            condition("Ready", "False", "Creating", "control plane: creating", minutes=3),
            condition("Reconciling", "True", "Creating", minutes=3),
            condition("NetworkReady", "True", "Reconciled", minutes=2),
            condition("ControlPlaneReady", "False", "Creating", "control plane: creating for 3 min", minutes=3),
        ],
        "plan": {"hash": "a1b2", "summary": "10 to create, 0 to update, 0 to delete", "steps": steps},
        "change": {"type": "Create", "generation": 1, "startedAt": ago(minutes=4)},
        **network(nat=(), also=existing),
    }


def network(nat: tuple[str, ...] = ZONES, also: list[str] | None = None) -> dict:
    """`nat`: zones with a NAT gateway; `also`: what else exists."""
    subnets = [
        {"id": f"subnet-{number}{tier[:3].lower()}0a1b2c3d", "zone": zone, "tier": tier, "cidr": f"10.0.{number * 2 + (tier == 'Private')}.0/24"}
        for number, zone in enumerate(ZONES)
        for tier in ("Public", "Private")
    ]
    resources = [{"key": "vpc", "id": "vpc-0a1b2c3d4e5f"}, {"key": "internetGateway", "id": "igw-0a1b2c3d4e5f"}]
    resources += [{"key": f"natGateway/{zone}", "id": f"nat-0a1b2c3d{number}"} for number, zone in enumerate(nat)]
    resources += [{"key": f"vpcEndpoint/{name}", "id": f"vpce-{name}"} for name in ("s3", "ecr.api", "ecr.dkr", "sts")]
    resources += [{"key": f"subnet/{subnet['tier'].lower()}/{subnet['zone']}", "id": subnet["id"]} for subnet in subnets]
    resources += [{"key": key, "id": f"id-{number}"} for number, key in enumerate(also or [])]
    return {"network": {"vpcId": "vpc-0a1b2c3d4e5f", "subnets": subnets}, "resources": resources}


def hook(name: str, *points: str) -> dict:
    return {"name": name, "at": list(points), "job": {"cronJob": {"name": name}}}


HOOKS = [hook("backup", "BeforeControlPlane"), hook("smoke", "AfterControlPlane", "AfterUpgrade")]


def hook_status(name: str, state: str, at: str = "BeforeControlPlane", **more: object) -> dict:
    tried = {"attempt": 0} if state == "Pending" else {"attempt": 1, "job": f"job-{name}-5f2a"}
    return {"name": name, "at": at, "step": "1.33->1.34", "state": state, **tried, **more}


def held_by_hook(state: str, reason: str, message: str) -> dict:
    """Status of a cluster whose hook `backup` is in that state."""
    return {
        "version": "1.33",
        "conditions": ready(reason, f"1.33 -> 1.34: hook backup (BeforeControlPlane, 1.33->1.34){message}", minutes=12),
        "hooks": [hook_status("backup", state, startedAt=ago(minutes=12), message=message.strip(": "))],
    }


def upgrading() -> dict:
    """Status of a cluster in the middle of an upgrade, with an agent."""
    until = (datetime.now(timezone.utc) + timedelta(minutes=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "version": "1.33",
        "accountId": "111122223333",
        "endpoint": "https://0a1b2c3d.gr7.eu-west-1.eks.amazonaws.com",
        "conditions": [
            condition("Ready", "False", "Upgrading", "control plane: updating from 1.33 to 1.34", minutes=4),
            condition("Reconciling", "True", "Upgrading", minutes=4),
            condition("Upgrading", "True", "Upgrading", "step 2 of 5: control plane to 1.34", minutes=4),
            condition("GitOpsReady", "False", "SyncFailed", "Kustomization apps: dependency not ready", minutes=12),
            condition("Available", "True", "Available", minutes=9000),
        ],
        "upgrade": {
            "from": "1.33", "to": "1.35", "path": ["1.34", "1.35"], "step": 2, "steps": 5,
            "message": "control plane to 1.34", "since": ago(minutes=4), "expectedEnd": until,
            "preflight": [
                {"check": "Insights", "verdict": "Passed"},
                {"check": "NodeSkew", "verdict": "Passed", "message": "nodes are on 1.33"},
                {"check": "DisruptionBudgets", "verdict": "Warning", "message": "shop/cart allows no disruption"},
            ],
            "history": [{"version": "1.33", "startedAt": ago(days=90), "seconds": 640}],
        },
        "plan": {"hash": "c3d4", "summary": "0 to create, 1 to update, 0 to delete", "steps": [
            {"action": "Update", "resource": "cluster", "detail": "version: 1.33 -> 1.34", "state": "Running", "since": ago(minutes=4), "expectedSeconds": 600},
            {"action": "Update", "resource": "addon/kube-proxy", "state": "Pending", "expectedSeconds": 45, "after": "cluster"},
        ]},
        "support": {"standardEnds": (datetime.now(timezone.utc) + timedelta(days=41)).strftime("%Y-%m-%d")},
        "nodeGroups": {"ready": 2, "total": 2, "nodes": 9},
        "hooks": [
            hook_status("backup", "Succeeded", startedAt=ago(minutes=6), finishedAt=ago(minutes=4)),
            hook_status("smoke", "Pending", "AfterControlPlane"),
        ],
        "gitops": {
            "agent": "flux", "version": "v2.7.3", "adopted": True, "url": "https://github.com/acme/fleet",
            "sourceRevision": "main@sha1:9f2c1d4e", "lastAppliedRevision": "main@sha1:9f2c1d4e", "revision": "9f2c1d4",
            "components": [{"name": "kustomize-controller", "ready": True}, {"name": "source-controller", "ready": True}],
            "objects": {"running": 12, "failing": 1, "suspended": 1},
            "failing": [{"kind": "Kustomization", "name": "flux-system/apps", "reason": "DependencyNotReady", "message": "dependency 'flux-system/infra' is not ready"}],
        },
        **network(),
    }


def checks() -> list[dict]:
    message = "0.04 is above 0.01"
    cluster = {"cluster": "default/upgrading", "state": "Failed", "failures": 1, "message": message}
    return [{
        "name": "errors", "state": "Failed", "value": "0.04", "cluster": "default/upgrading", "failures": 1,
        "lastRunAt": ago(seconds=80), "message": message, "clusters": [cluster],
    }]


def releases() -> dict:
    """Status of a rollout in its second wave, for the clusters of the namespace `default`."""
    waves = [
        {"name": "canary", "state": "Passed", "members": 2, "atTarget": 2, "passedAt": ago(hours=3)},
        {"name": "early", "state": "Progressing", "members": 8, "atTarget": 3, "inProgress": 2, "checks": checks()},
        {"name": "prod", "state": "Pending", "members": 30},
    ]
    tickets = [{"cluster": f"default/{name}", "uid": name, "id": "control-plane/1.34", "wave": "early", "since": ago(minutes=4)} for name in ("upgrading", "orders")]
    release = {
        "gate": "ControlPlane", "target": "1.34", "state": "Progressing", "wave": "early", "progress": "5/40",
        "message": "wave early: 2 clusters are upgraded", "since": ago(hours=5), "waves": waves, "tickets": tickets,
    }
    return {"members": 40, "releases": [release], "conditions": [condition("Ready", "False", "Upgrading", "wave early: 2 clusters are upgraded")]}
