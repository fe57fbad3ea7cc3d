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
# Those of the second wave that are upgraded now, besides shop/orders.
UPGRADING = (("data", "us-east-1"), ("platform", "eu-west-1"))
ACCOUNTS = {"dev": "111122223333", "staging": "222233334444", "prod": "333344445555"}

# Messages of conditions in the operator's own words: test_pictures.py finds their sentences in its source.
WAITS_FOR_CLUSTER = "waiting for the cluster: control plane: creating for 3 min, about 6 min remaining"
DENIED = (
    "VPC: ec2:CreateVpc in account 333344445555, us-east-1: UnauthorizedOperation: You are not authorized to perform this operation with an "
    "explicit deny in a service control policy. A service control policy of the AWS organization denies it explicitly: only who administers "
    "the organization can change that, for ec2:CreateVpc in account 333344445555; no policy of the account can"
)
FOREIGN = (
    "control plane: cluster index in account 222233334444, eu-central-1 already exists and does not belong to this object: create an object "
    "with another name instead of this one, or, to adopt it as it is, set adoptionPolicy: Adopt on the EksCluster; its AwsAccount has to allow "
    "that (spec.adoption), which whoever owns the AWS account decides"
)
ASKS = (
    "plan 9a8b7c6d waits for approval (0 to create, 2 to update, 0 to delete): keelson approve ledger -n payments, or the "
    "annotation keelson.dev/approve: 9a8b7c6d"
)


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
    write(on, orders, {**page.upgrading(), "accountId": ACCOUNTS["prod"]})
    write(on, node_group("orders", "orders-default", "shop", instanceTypes=["m7i.large", "m7a.large"]), {
        "version": "1.33", "replicas": 6, "readyNodes": 6,
        "conditions": ready(days=4),
    })
    write(on, node_group("orders", "orders-spot", "shop", instanceTypes=["c7i.xlarge"], capacityType="Spot"), {
        "version": "1.33", "replicas": 3, "readyNodes": 3, "conditions": ready(days=4),
    })
    write(on, cluster("creating", version="1.35"), page.creating())
    write(on, node_group("creating", "creating-default"), {"conditions": ready("WaitingForCluster", WAITS_FOR_CLUSTER, minutes=4)})
    held = labelled("platform", "billing", "prod", "early", "us-east-1")
    held["spec"].update(version="1.34", hooks=page.HOOKS)
    write(on, held, page.held_by_hook("Running", "WaitingForHook", f": Job job-backup-5f2a runs since {ago(minutes=12)}, until {ago(minutes=-48)} at the latest"))
    denied = labelled("data", "lake", "prod", "prod", "us-east-1")
    write(on, denied, {"conditions": [
        condition("Ready", "False", "AccessDenied", DENIED, hours=2),
    ]})
    foreign = labelled("search", "index", "staging", "early", "eu-central-1")
    write(on, foreign, {"conditions": [
        condition("Ready", "False", "NotOwned", FOREIGN, minutes=47), condition("Stalled", "True", "NotOwned", FOREIGN, minutes=47),
    ]})
    asks = labelled("payments", "ledger", "prod", "prod", "eu-central-1")
    asks["spec"]["changePolicy"] = "Approval"
    write(on, asks, {
        **steady("payments", "prod", "ledger"),
        "conditions": ready("WaitingForApproval", ASKS, minutes=80),
        "plan": {"hash": "9a8b7c6d", "summary": "0 to create, 2 to update, 0 to delete", "steps": [
            {"action": "Update", "resource": "cluster", "detail": "version: 1.34 -> 1.35", "state": "Pending", "expectedSeconds": 600},
            {"action": "Update", "resource": "addon/vpc-cni", "state": "Pending", "expectedSeconds": 60, "after": "cluster"},
        ]},
    })
    for team, region in UPGRADING:
        name = f"staging-{region.removesuffix('-1')}"
        upgrading = labelled(team, name, "staging", "early", region)
        upgrading["spec"]["version"] = "1.35"
        message = "control plane: updating for 7 min, about 3 min remaining"
        write(on, upgrading, {**steady(team, "staging", name), "conditions": ready("Upgrading", message, minutes=7)})
    asleep = labelled("platform", "sandbox", "dev", "canary", "eu-west-1")
    asleep["spec"]["suspend"] = True
    write(on, asleep, {**steady("platform", "dev", "sandbox"), "conditions": page.suspended(days=6)})


def releases() -> dict:
    status = copy.deepcopy(page.releases())
    status["members"] = 38
    release = status["releases"][0]
    clusters = ("shop/orders", "data/staging-us-east", "platform/staging-eu-west")
    release.update(target="1.35", progress="8/38", message="wave early waits for " + "; ".join(clusters) + "; and 11 more")
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
