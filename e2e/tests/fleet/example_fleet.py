"""A fleet as a company might have it, for the pictures of the documentation: its status is written without an operator."""

from __future__ import annotations

import copy

from fleet import page
from fleet.environment import Environment
from fleet.manifests import account, cluster, node_group
from fleet.page import ago, condition, ready, write

TEAMS = ("shop", "payments", "data", "search", "platform")
STAGES = (("dev", "canary"), ("staging", "early"), ("prod", "prod"))
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")
ACCOUNTS = {"dev": "111122223333", "staging": "222233334444", "prod": "333344445555"}


def fill(on: Environment) -> None:
    on.api.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in TEAMS])
    for name, number in ACCOUNTS.items():
        write(on, account(name, number), {"accountId": number, "conditions": ready(days=40)})
    write(on, account("default", "444455556666"), {"conditions": ready(days=40)})
    for team in TEAMS:
        for stage, ring in STAGES:
            for region in REGIONS[: 1 if stage == "dev" else 3]:
                name = f"{stage}-{region.removesuffix('-1')}"
                write(on, labelled(team, name, stage, ring, region), steady(team, stage, name))
                write(on, node_group(name, f"{name}-default", team), {
                    "version": "1.34", "replicas": 3, "readyNodes": 3, "conditions": ready(days=12),
                })
    trouble(on)
    write(on, page.rollout("main"), releases())


def labelled(team: str, name: str, stage: str, ring: str, region: str) -> dict:
    item = cluster(name, team, region=region, version="1.35" if ring == "canary" else "1.34", accountRef={"name": stage})
    item["metadata"]["labels"] = {"env": stage, "ring": ring, "team": team, "fleet": "main"}
    return item


def steady(team: str, stage: str, name: str) -> dict:
    revision = f"{abs(hash_of(team + name)):07x}"[:7]
    return {
        "version": "1.35" if stage == "dev" else "1.34", "accountId": ACCOUNTS[stage], "nodeGroups": {"ready": 1, "total": 1, "nodes": 3},
        "gitops": {"agent": "flux", "revision": revision}, "conditions": ready(days=3),
    }


def hash_of(text: str) -> int:
    """The same in each run, so that a picture changes only with the page."""
    return sum(ord(char) * 131**at for at, char in enumerate(text))


def trouble(on: Environment) -> None:
    orders = labelled("shop", "orders", "prod", "early", "eu-west-1")
    orders["spec"].update(version="1.35", hooks=page.HOOKS)
    write(on, orders, page.upgrading())
    write(on, node_group("orders", "orders-default", "shop", instanceTypes=["m7i.large", "m7a.large"]), {
        "version": "1.33", "replicas": 6, "readyNodes": 6,
        "conditions": ready("WaitingForCluster", "nodes follow the control plane", minutes=4),
    })
    write(on, node_group("orders", "orders-spot", "shop", instanceTypes=["c7i.xlarge"], capacityType="Spot"), {
        "version": "1.33", "replicas": 3, "readyNodes": 3, "conditions": ready(days=4),
    })
    write(on, cluster("creating"), page.creating())
    write(on, node_group("creating", "creating-default"), {"conditions": ready("WaitingForCluster", "waiting for the cluster", minutes=4)})
    held = labelled("platform", "billing", "prod", "early", "us-east-1")
    held["spec"].update(version="1.34", hooks=page.HOOKS)
    write(on, held, page.held_by_hook("Running", "WaitingForHook", ": Job job-backup-5f2a runs"))
    denied = labelled("data", "lake", "prod", "prod", "us-east-1")
    write(on, denied, {"conditions": [
        condition("Ready", "False", "AccessDenied", "VPC: ec2:CreateVpc is denied by a service control policy of the organization", hours=2),
    ]})
    foreign = labelled("search", "index", "staging", "early", "eu-central-1")
    message = "cluster index exists in EKS and is not owned by this object: choose another clusterName, or adopt it"
    write(on, foreign, {"conditions": [
        condition("Ready", "False", "NotOwned", message, minutes=47), condition("Stalled", "True", "NotOwned", message, minutes=47),
    ]})
    asks = labelled("payments", "ledger", "prod", "prod", "eu-central-1")
    asks["spec"]["changePolicy"] = "Approval"
    write(on, asks, {
        **steady("payments", "prod", "ledger"),
        "conditions": ready("WaitingForApproval", "2 steps wait for approval: control plane, add-on vpc-cni", minutes=80),
        "plan": {"hash": "9a8b7c6d", "summary": "0 to create, 2 to update, 0 to delete", "steps": [
            {"action": "Update", "resource": "cluster", "detail": "version: 1.34 -> 1.35", "state": "Pending", "expectedSeconds": 600},
            {"action": "Update", "resource": "addon/vpc-cni", "state": "Pending", "expectedSeconds": 60, "after": "cluster"},
        ]},
    })
    asleep = labelled("platform", "sandbox", "dev", "canary", "eu-west-1")
    asleep["spec"]["suspend"] = True
    write(on, asleep, {**steady("platform", "dev", "sandbox"), "conditions": page.suspended(days=6)})


def releases() -> dict:
    status = copy.deepcopy(page.releases())
    release = status["releases"][0]
    clusters = ("shop/orders", "data/staging-us-east", "platform/staging-eu-west")
    release.update(target="1.35", progress="8/38", message="wave early: 3 clusters are upgraded, 2 wait for their turn")
    check = {"name": "errors", "state": "Passed", "value": "0.002", "lastRunAt": ago(seconds=20)}
    release["waves"] = [
        {"name": "canary", "state": "Passed", "members": 6, "atTarget": 6, "passedAt": ago(hours=3)},
        {"name": "early", "state": "Progressing", "members": 16, "atTarget": 2, "inProgress": 3, "checks": [check]},
        {"name": "prod", "state": "Pending", "members": 16},
    ]
    release["tickets"] = [
        {"cluster": name, "uid": name, "id": "control-plane/1.35", "wave": "early", "since": ago(minutes=4 + 3 * at)} for at, name in enumerate(clusters)
    ]
    return status
