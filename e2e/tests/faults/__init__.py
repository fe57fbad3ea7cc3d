"""Scenarios of AWS failures, each in an account of its own under one operator; `test_faults.py` runs and checks them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.account import Account, fresh_account
from fleet.manifests import account, cluster, node_group
from fleet.environment import Environment
from keelson_harness.aws import ACCOUNT

# A minimal cluster: scenarios differ only in the calls that fail.
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "addons": [], "oidcProvider": False}


@dataclass(frozen=True)
class Scene:
    """Pairs of `match` (without the account) and `then`: fault rules of the emulator."""

    name: str
    rules: tuple[tuple[dict, dict], ...]
    spec: dict = field(default_factory=lambda: SMALL)
    nodes: bool = False


@dataclass
class Played:
    """A scenario that has been started."""

    scene: Scene
    account: Account
    cluster: dict
    nodes: dict | None
    rules: list[int]

    @property
    def items(self) -> list[dict]:
        return [item for item in (self.cluster, self.nodes) if item]


def play(on: Environment, scene: Scene) -> Played:
    """Creates the account, adds the fault rules, applies the objects."""
    aws_account = on.account(fresh_account())
    operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    role = aws_account.role("keelson", operator, "AdministratorAccess")
    rules = [
        on.aws.add_fault({"account": aws_account.id, **match}, then) for match, then in scene.rules
    ]
    item = cluster(scene.name, accountRef={"name": scene.name}, **scene.spec)
    nodes = node_group(scene.name, scaling={"min": 1, "max": 2}) if scene.nodes else None
    on.apply(account(scene.name, aws_account.id, roleArn=role), item, *([nodes] if nodes else []))
    return Played(scene, aws_account, item, nodes, rules)
