"""Scenes of AWS failing, each in an account of its own under one operator; `test_faults.py` plays and judges them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.account import Account, fresh_account
from fleet.manifests import account, cluster, node_group
from fleet.environment import Environment
from keelson_harness.aws import ACCOUNT

# The least that makes a cluster: a fault in one of its calls is all that differs from scene to scene.
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "addons": [], "oidcProvider": False}


@dataclass(frozen=True)
class Scene:
    """`match` (beside the account) and `then` are rules of the emulator's faults."""

    name: str
    rules: tuple[tuple[dict, dict], ...]
    spec: dict = field(default_factory=lambda: SMALL)
    nodes: bool = False


@dataclass
class Played:
    """A scene on the stage."""

    scene: Scene
    account: Account
    cluster: dict
    nodes: dict | None
    rules: list[int]

    @property
    def items(self) -> list[dict]:
        return [item for item in (self.cluster, self.nodes) if item]


def play(on: Environment, scene: Scene) -> Played:
    """Makes the account, arms the faults, applies the objects."""
    theirs = on.account(fresh_account())
    operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    role = theirs.role("keelson", operator, "AdministratorAccess")
    rules = [
        on.aws.add_fault({"account": theirs.id, **match}, then) for match, then in scene.rules
    ]
    made = cluster(scene.name, accountRef={"name": scene.name}, **scene.spec)
    nodes = node_group(scene.name, scaling={"min": 1, "max": 2}) if scene.nodes else None
    on.apply(account(scene.name, theirs.id, roleArn=role), made, *([nodes] if nodes else []))
    return Played(scene, theirs, made, nodes, rules)
