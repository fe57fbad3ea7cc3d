"""A cluster that is upgraded from 1.31 to 1.35 with add-ons and node groups, and a sampler of its state meanwhile."""

from __future__ import annotations

import datetime
import json
import threading
import time
from dataclasses import dataclass, field

from keelson_harness.aws import ACCOUNT
from keelson_harness.kubeapi import conditions

from .account import Account, fresh_account
from .manifests import account, cluster, key_of, node_group
from .environment import Environment

START, GOAL = "1.31", "1.35"
# EKS allows a kubelet to be this many minors older than its control plane.
SKEW = 3
# The smallest network for nodes: these tests upgrade nothing in it.
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False}
ADDONS = ("vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent", "snapshot-controller")
# The default for the first two minors and unavailable after them: it must be updated before the next step.
OLD_SNAPSHOT_CONTROLLER = "v8.2.0-eksbuild.1"

# The updates to the emulator's default versions, in the required order.
STEPS = [
    "UpdateClusterVersion 1.32",
    "UpdateAddon kube-proxy v1.32.6-eksbuild.12",
    # It does not support 1.33, so it is updated before.
    "UpdateAddon snapshot-controller v8.3.0-eksbuild.1",
    "UpdateClusterVersion 1.33",
    "UpdateAddon kube-proxy v1.33.3-eksbuild.10",
    "UpdateAddon coredns v1.12.1-eksbuild.2",
    "UpdateClusterVersion 1.34",
    "UpdateAddon kube-proxy v1.34.0-eksbuild.4",
    "UpdateAddon coredns v1.12.4-eksbuild.1",
    # 1.31 would be four minors behind 1.35.
    "UpdateNodegroupVersion follower 1.34",
    # A user has set its own version.
    "UpdateNodegroupVersion fixed 1.34",
    "UpdateClusterVersion 1.35",
    "UpdateAddon kube-proxy v1.35.0-eksbuild.2",
    "UpdateAddon coredns v1.13.1-eksbuild.1",
    "UpdateNodegroupVersion follower 1.35",
]
BEFORE_THE_EDIT = STEPS.index("UpdateNodegroupVersion fixed 1.34")


def far_window() -> dict:
    """A maintenance window that opens in half a year from now."""
    month = (datetime.datetime.now(datetime.timezone.utc).month + 5) % 12 + 1
    return {"schedule": f"0 3 1 {month} *", "duration": "1h"}


class Shop:
    """A cluster with five add-ons and two node groups, one of which has its own version."""

    def __init__(self, on: Environment, by_role: bool = False, version: str = START, **spec: object):
        """by_role: the operator runs in another account and assumes a role in this one."""
        self.on = on
        self.account: Account = on.account(fresh_account())
        on.aws.publish(
            account=self.account.id,
            addon="snapshot-controller",
            addonVersion=OLD_SNAPSHOT_CONTROLLER,
            kubernetesVersions=["1.31", "1.32"],
            default=True,
        )
        self.name = f"shop-{self.account.id[-3:]}"
        self._reference = reach(on, self.account, self.name) if by_role else []
        if by_role:
            spec["accountRef"] = {"name": self.name}
        addons = [{"name": name} for name in ADDONS]
        self.cluster = cluster(self.name, version=version, addons=addons, **SMALL, **spec)
        self.follower = self._group("follower")
        self.fixed = self._group("fixed", version=version)
        self.items = (self.cluster, self.follower, self.fixed)

    def _group(self, name: str, **spec: object) -> dict:
        made = node_group(self.name, f"{self.name}-{name}", nodeGroupName=name, **spec)
        made["spec"]["scaling"] = {"min": 2, "max": 3}
        return made

    def apply(self) -> None:
        self.on.apply(*self._reference, *self.items)

    def make(self) -> None:
        self.apply()
        self.on.ready(*self.items)

    def edit(self, item: dict, **spec: object) -> None:
        version, kind, name, namespace = key_of(item)
        self.on.api.patch(version, kind, name, {"spec": spec}, namespace)

    def upgrade(self, version: str = GOAL) -> None:
        self.edit(self.cluster, version=version)

    def free_the_fixed_group(self) -> None:
        self.edit(self.fixed, version="1.34")

    def go_away(self) -> None:
        """Without waiting for AWS: the next test has its own account."""
        self.on.force_delete(*reversed(self.items), *self._reference)
        self.on.aws.reset_account(self.account.id)

    # Observations

    def found(self, item: dict) -> dict:
        return self.on.api.get(*key_of(item))

    def stalled(self) -> bool:
        return conditions(self.found(self.cluster)).get("Stalled", {}).get("status") == "True"

    def blocked_by_the_fixed_group(self) -> bool:
        ready = conditions(self.found(self.cluster)).get("Ready", {})
        return ready.get("reason") == "UpgradeBlocked" and "fixed" in ready.get("message", "")

    def there(self) -> bool:
        """Whether both the operator and EKS report the target versions."""
        ready = all(current(self.found(item)) for item in self.items)
        return ready and self.versions() == {"cluster": GOAL, "follower": GOAL, "fixed": "1.34"}

    def go_on(self) -> bool:
        """Edits the fixed group as a user would when it blocks the upgrade. Returns whether the target is reached."""
        if self.found(self.fixed)["spec"]["version"] == START and self.blocked_by_the_fixed_group():
            self.free_the_fixed_group()
        return self.there()

    def versions(self) -> dict[str, str]:
        eks = self.account.eks
        found = {"cluster": eks.describe_cluster(name=self.name)["cluster"]["version"]}
        for group in eks.list_nodegroups(clusterName=self.name)["nodegroups"]:
            described = eks.describe_nodegroup(clusterName=self.name, nodegroupName=group)
            found[group] = described["nodegroup"]["version"]
        return found

    def addons(self) -> dict[str, str]:
        eks = self.account.eks
        return {
            name: eks.describe_addon(clusterName=self.name, addonName=name)["addon"]["addonVersion"]
            for name in eks.list_addons(clusterName=self.name)["addons"]
        }

    def writes(self, since: int) -> list[dict]:
        """The writes that AWS accepted; a refused one changed nothing."""
        return [c for c in self.on.writes(since, self.account.id) if c["status"] < 400]

    def steps(self, since: int) -> list[str]:
        return [step(call) for call in self.writes(since)]

    def updates(self) -> list[dict]:
        """Every update in EKS, with `of`: the node group or add-on, empty for the cluster."""
        eks, found = self.account.eks, []
        owners = [{}]
        owners += [{"nodegroupName": n} for n in eks.list_nodegroups(clusterName=self.name)["nodegroups"]]
        owners += [{"addonName": n} for n in eks.list_addons(clusterName=self.name)["addons"]]
        for owner in owners:
            for update_id in eks.list_updates(name=self.name, **owner)["updateIds"]:
                update = eks.describe_update(name=self.name, updateId=update_id, **owner)["update"]
                found.append({**update, "of": next(iter(owner.values()), "")})
        return found

    def goals_of_updates(self, status: str = "Successful") -> list[str]:
        """Each update as one of STEPS."""
        named = {"": "UpdateClusterVersion"}
        found = []
        for update in self.updates():
            params = {p["type"]: p["value"] for p in update["params"]}
            if update["status"] != status or not params.keys() & {"Version", "AddonVersion"}:
                continue
            kind = "UpdateAddon" if "AddonVersion" in params else "UpdateNodegroupVersion"
            kind = named.get(update["of"], kind)
            version = params.get("AddonVersion") or params["Version"]
            found.append(" ".join(filter(None, [kind, update["of"], version])))
        return found


def reach(on: Environment, theirs: Account, name: str) -> list[dict]:
    """An AwsAccount with a role through which the operator acts in that account."""
    operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    role = theirs.role("keelson", operator, "AdministratorAccess")
    return [account(name, theirs.id, roleArn=role)]


def current(item: dict) -> bool:
    """Ready, for the current generation."""
    ready = conditions(item).get("Ready", {})
    generation = item["metadata"]["generation"]
    return ready.get("status") == "True" and ready.get("observedGeneration") == generation


def step(call: dict) -> str:
    asked = call.get("asked", {})
    version = asked.get("version") or asked.get("addonVersion") or ""
    return " ".join(filter(None, [call["action"], call["resource"].partition("/")[2], version]))


def minor(version: str) -> int:
    """The minor of `1.34` and of a kubelet's `v1.34.4-eks-ecaa3a6`."""
    return int(version.lstrip("v").split(".")[1])


def breaches(seen: dict) -> list[str]:
    """Kubelets that are newer than their control plane, or too old for it or for its next version."""
    versions = [minor(seen["version"])]
    if seen["updatingTo"]:
        versions.append(minor(seen["updatingTo"]))
    return [
        f"{node['nodegroup']}'s kubelet {node['kubelet']} under {seen['version']} (to {seen['updatingTo']})"
        for node in seen["nodes"]
        if minor(node["kubelet"]) > min(versions) or max(versions) - minor(node["kubelet"]) > SKEW
    ]


@dataclass
class StateSampler:
    """Samples a cluster in AWS and its object many times a second, until it is closed."""

    shop: Shop
    breaches: list[str] = field(default_factory=list)
    # Every status of the EksCluster that differs from the one before, and its kubectl columns.
    seen: list[dict] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    # Node counts by node group, minor and cordon state, whenever they changed.
    nodes: list[dict] = field(default_factory=list)

    def __enter__(self) -> StateSampler:
        self._shut = threading.Event()
        self._threads = [
            threading.Thread(target=self._look, args=(look,), daemon=True)
            for look in (self._at_aws, self._at_the_object)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shut.set()
        for thread in self._threads:
            thread.join(10)

    def _look(self, once) -> None:
        while not self._shut.wait(0.03):
            once()

    def _at_aws(self) -> None:
        shop = self.shop
        for cluster_seen in shop.on.aws.nodes(shop.account.id):
            self.breaches += breaches(cluster_seen)
            if not self.nodes or self.nodes[-1] != cluster_seen:
                self.nodes.append(cluster_seen)

    def _at_the_object(self) -> None:
        item = self.shop.found(self.shop.cluster)
        status = item.get("status", {})
        if not self.seen or json.dumps(self.seen[-1]) != json.dumps(status):
            self.seen.append(status)
            shown = (status.get("version", ""), item["spec"]["version"])
            if not self.columns or self.columns[-1] != shown:
                self.columns.append(shown)

    # Results

    def conditions(self, kind: str) -> list[dict]:
        """Every distinct condition of that type, in order."""
        found: list[dict] = []
        for status in self.seen:
            for entry in status.get("conditions", []):
                if entry["type"] == kind and (not found or found[-1] != entry):
                    found.append(entry)
        return found

    def upgrades(self) -> list[dict]:
        return [status["upgrade"] for status in self.seen if status.get("upgrade")]

    def each(self, name: str) -> list:
        """The successive values of one field of status.upgrade."""
        found: list = []
        for upgrade in self.upgrades():
            value = upgrade.get(name)
            if value is not None and (not found or found[-1] != value):
                found.append(value)
        return found


def arrive(shop: Shop, timeout: float = 240) -> None:
    """Waits until the target is reached; unblocks the fixed group on the way."""
    deadline = time.monotonic() + timeout
    while not shop.go_on():
        late = time.monotonic() > deadline
        assert not late, f"not at {GOAL}: {shop.versions()}\n" + "\n".join(
            map(shop.on.describe, shop.items)
        )
        time.sleep(0.1)
