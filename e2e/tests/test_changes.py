"""Each field of a running cluster that can change does: the writes to AWS that an edit comes to, in their order, and no
write after it. What only others made stays, unless it is to be pruned.

The tests follow each other on one cluster, as edits of one manifest do.
"""

from __future__ import annotations

import time

import pytest

from fleet.account import Account, fresh_account
from fleet.manifests import cluster, existing, key_of
from fleet.environment import Environment, environment, until
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

PATIENCE = 60
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
EDIT = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
VIEW = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"
PODS = {"Service": "pods.eks.amazonaws.com"}
UPDATE = "eks:UpdateClusterConfig shop"


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(1, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def account(on) -> Account:
    made = on.account(fresh_account())
    for name in ("admins", "viewers", "by-hand"):
        made.role(name, {"AWS": f"arn:aws:iam::{made.id}:root"})
    for name in ("dns", "dns-2", "cni"):
        made.role(name, PODS)
    return made


@pytest.fixture(scope="module")
def network(account) -> list[str]:
    return account.network()


def told(write: dict) -> str:
    """`service:Action name`; without the name where it is an id or a name that the operator made up."""
    action, name = f"{write['service']}:{write['action']}", write["resource"].removeprefix("shop/")
    nameless = write["service"] == "iam" or "PodIdentity" in action or "Tag" in action
    return action if nameless else f"{action} {name}"


class Shop:
    """The cluster, its manifest as edited so far, and what each edit comes to."""

    def __init__(self, on: Environment, account: Account, item: dict):
        self.on, self.account, self.item = on, account, item
        self.updates = 0

    def arn(self, role: str) -> str:
        return f"arn:aws:iam::{self.account.id}:role/{role}"

    def described(self) -> dict:
        return self.account.eks.describe_cluster(name="shop")["cluster"]

    def patch(self, **change: object) -> dict:
        return self.on.api.patch(*key_of(self.item)[:3], change)

    def in_sync(self, generation: int) -> None:
        def holds() -> bool:
            found = self.on.api.get(*key_of(self.item))
            word = conditions(found).get("InSync", {})
            seen = found.get("status", {}).get("observedGeneration", 0)
            return seen >= generation and word.get("status") == "True"

        try:
            until(holds, PATIENCE, "InSync")
        except AssertionError:
            raise AssertionError(self.on.describe(self.item)) from None

    def edit(self, *expected: str, together: bool = False, **spec: object) -> None:
        """Edits, and holds the writes that follow against `expected`: in order, or as a set where they go side by side."""
        mark = self.on.mark()
        self.in_sync(self.patch(spec=spec)["metadata"]["generation"])
        written = [told(write) for write in self.written(mark)]
        if together:
            written, expected = sorted(written), tuple(sorted(expected))
        assert written == list(expected)
        self.rests()

    def written(self, mark: int) -> list[dict]:
        return self.on.writes(mark, self.account.id)

    def rests(self) -> None:
        """Looked at once more, it is as it should be."""
        mark = self.on.mark()
        annotation = {"keelson.dev/reconcile-at": str(time.time())}
        self.patch(metadata={"annotations": annotation})
        until(lambda: self.looked(mark), PATIENCE, "another look")
        time.sleep(0.3)
        assert self.written(mark) == []

    def looked(self, mark: int) -> bool:
        calls = self.on.calls(mark, self.account.id)
        return any(call["action"] == "DescribeCluster" for call in calls)

    def update_types(self) -> list[str]:
        """Types of the updates since this was last asked, in the order in which they began."""
        ids = self.account.eks.list_updates(name="shop")["updateIds"]
        all_ = [self.account.eks.describe_update(name="shop", updateId=i)["update"] for i in ids]
        types = [u["type"] for u in sorted(all_, key=lambda u: u["createdAt"])]
        new, self.updates = types[self.updates :], len(types)
        return new


@pytest.fixture(scope="module")
def shop(on: Environment, account, network) -> Shop:
    item = cluster(
        "shop",
        network=existing(*network[:2]),
        access={"authenticationMode": "ApiAndConfigMap"},
        addons=[{"name": "vpc-cni"}, {"name": "kube-proxy"}],
    )
    on.start(account=account.id)
    on.apply(item)
    on.ready(item)
    return Shop(on, account, item)


# The control plane


def test_tags_are_written_to_all_that_is_there(shop):
    shop.edit(
        *(["iam:TagRole"] * 2),
        "iam:TagOpenIDConnectProvider",
        *(["eks:TagResource"] * 3),
        together=True,
        tags={"team": "payments"},
    )


def test_logging_is_the_listed_set(shop):
    shop.edit(UPDATE, logging=["api", "audit"])
    shop.edit(UPDATE, logging=["audit", "authenticator"])
    on = [s["types"] for s in shop.described()["logging"]["clusterLogging"] if s["enabled"]]
    assert sorted(sum(on, [])) == ["audit", "authenticator"]
    shop.edit(UPDATE, logging=[])
    assert shop.update_types() == ["LoggingUpdate"] * 3


def test_all_of_the_endpoint_is_one_update(shop):
    access = {"public": True, "private": False, "publicCidrs": ["203.0.113.0/24"]}
    shop.edit(UPDATE, endpointAccess=access)
    found = shop.described()["resourcesVpcConfig"]
    assert not found["endpointPrivateAccess"]
    assert found["publicAccessCidrs"] == ["203.0.113.0/24"]
    shop.edit(UPDATE, endpointAccess={"public": False, "private": True})
    assert not shop.described()["resourcesVpcConfig"]["endpointPublicAccess"]
    shop.edit(UPDATE, endpointAccess={"public": True, "publicCidrs": ["198.51.100.0/24"]})
    assert shop.update_types() == ["EndpointAccessUpdate"] * 3


def test_subnets_and_security_groups(shop, account, network):
    shop.edit(UPDATE, network=existing(*network))
    assert set(shop.described()["resourcesVpcConfig"]["subnetIds"]) == set(network)
    vpc = shop.described()["resourcesVpcConfig"]["vpcId"]
    group = account.ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    both = existing(*network)
    both["existing"]["securityGroupIds"] = [group]
    shop.edit(UPDATE, network=both)
    assert shop.described()["resourcesVpcConfig"]["securityGroupIds"] == [group]
    assert shop.update_types() == ["VpcConfigUpdate"] * 2


def test_encryption_is_added(shop):
    shop.edit("eks:AssociateEncryptionConfig shop", secretsEncryption={"kmsKeyArn": KEY})
    assert shop.described()["encryptionConfig"][0]["provider"]["keyArn"] == KEY
    assert shop.update_types() == ["AssociateEncryptionConfig"]


def test_types_of_change_that_are_edited_together_go_one_by_one(shop):
    shop.edit(
        *([UPDATE] * 5),
        zonalShift=True,
        supportType="Standard",
        deletionProtection=True,
        controlPlaneScaling={"tier": "tier-xl"},
        access={"authenticationMode": "Api"},
    )
    assert shop.update_types() == [
        "DeletionProtectionUpdate",
        "AccessConfigUpdate",
        "UpgradePolicyUpdate",
        "ControlPlaneScalingConfigUpdate",
        "ZonalShiftConfigUpdate",
    ]
    found = shop.described()
    assert found["zonalShiftConfig"]["enabled"] and found["deletionProtection"]
    assert found["upgradePolicy"]["supportType"] == "STANDARD"
    assert found["controlPlaneScalingConfig"]["tier"] == "tier-xl"
    assert found["accessConfig"]["authenticationMode"] == "API"


def test_auto_mode_with_the_roles_that_it_needs(shop):
    shop.edit(
        "iam:CreateRole",
        *(["iam:AttachRolePolicy"] * 6),
        UPDATE,
        together=True,
        autoMode={"nodePools": ["system"]},
    )
    compute = shop.described()["computeConfig"]
    assert compute["enabled"] and compute["nodePools"] == ["system"]
    shop.edit(UPDATE, autoMode={"nodePools": ["general-purpose", "system"]})
    assert shop.described()["computeConfig"]["nodeRoleArn"] == compute["nodeRoleArn"]
    assert shop.update_types() == ["AutoModeUpdate"] * 2


def test_what_is_left_out_again_is_not_managed(shop):
    shop.edit(autoMode=None, zonalShift=None, logging=None, controlPlaneScaling=None)
    assert shop.described()["computeConfig"]["enabled"]


# Access


def access(*entries: dict, prune: bool = False) -> dict:
    return {"authenticationMode": "Api", "entries": list(entries), "prune": prune}


def test_access_entries_and_their_policies(shop, account):
    admins = shop.arn("admins")

    def policies() -> dict[str, str]:
        found = account.eks.list_associated_access_policies(clusterName="shop", principalArn=admins)
        return {
            p["policyArn"]: p["accessScope"]["type"] for p in found["associatedAccessPolicies"]
        }

    entry = {"principalArn": admins, "policies": [{"policyArn": VIEW}]}
    made = ["eks:CreateAccessEntry", "eks:AssociateAccessPolicy"]
    shop.edit(*(f"{action} {admins}" for action in made), access=access(entry))
    in_shop = {"type": "Namespace", "namespaces": ["shop"]}
    entry["policies"] = [{"policyArn": VIEW, "scope": in_shop}]
    shop.edit(f"eks:AssociateAccessPolicy {admins}", access=access(entry))
    assert policies() == {VIEW: "namespace"}
    entry["policies"] = [{"policyArn": EDIT}]
    changed = ["eks:AssociateAccessPolicy", "eks:DisassociateAccessPolicy"]
    shop.edit(*(f"{action} {admins}" for action in changed), access=access(entry))
    assert policies() == {EDIT: "cluster"}
    entry["kubernetesGroups"] = ["shoppers"]
    shop.edit(f"eks:UpdateAccessEntry {admins}", access=access(entry))
    del entry["policies"]
    shop.edit(access=access(entry))
    assert policies() == {EDIT: "cluster"}, "left out: not managed"


def test_only_pruning_removes_entries(shop, account):
    by_hand = shop.arn("by-hand")
    account.eks.create_access_entry(clusterName="shop", principalArn=by_hand)
    shop.edit(access=access())
    entries = account.eks.list_access_entries(clusterName="shop")["accessEntries"]
    assert {by_hand, shop.arn("admins")} <= set(entries)
    mark = shop.on.mark()
    shop.in_sync(shop.patch(spec={"access": access(prune=True)})["metadata"]["generation"])
    deleted = [told(w) for w in shop.written(mark) if w["action"] == "DeleteAccessEntry"]
    assert sorted(deleted) == [f"eks:DeleteAccessEntry {e}" for e in (shop.arn("admins"), by_hand)]
    left = account.eks.list_access_entries(clusterName="shop")["accessEntries"]
    assert set(entries) - set(left) == {by_hand, shop.arn("admins")}
    assert left, "the operator's own stays"
    shop.rests()


# Add-ons


def described_addon(account: Account, name: str) -> dict:
    return account.eks.describe_addon(clusterName="shop", addonName=name)["addon"]


def test_all_that_changes_of_an_addon_is_one_update(shop, account):
    update, proxy = "eks:UpdateAddon vpc-cni", {"name": "kube-proxy"}
    cni: dict = {"name": "vpc-cni", "version": "v1.21.1-eksbuild.3"}
    shop.edit(update, addons=[cni, proxy])
    cni["configuration"] = {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}
    cni["serviceAccountRoleArn"] = shop.arn("cni")
    shop.edit(update, addons=[cni, proxy])
    found = described_addon(account, "vpc-cni")
    assert found["addonVersion"] == "v1.21.1-eksbuild.3"
    assert found["serviceAccountRoleArn"] == shop.arn("cni")
    assert "ENABLE_PREFIX_DELEGATION" in found["configurationValues"]
    cni["configuration"]["env"]["WARM_IP_TARGET"] = "2"
    shop.edit(update, addons=[cni, proxy])
    assert described_addon(account, "vpc-cni")["serviceAccountRoleArn"] == shop.arn("cni"), "kept"
    del cni["serviceAccountRoleArn"]
    shop.edit(addons=[cni, proxy])
    cni["podIdentityRoleArn"] = shop.arn("dns")
    shop.edit(update, addons=[cni, proxy])
    cni["podIdentityRoleArn"] = shop.arn("dns-2")
    shop.edit(update, addons=[cni, proxy])
    (one,) = described_addon(account, "vpc-cni")["podIdentityAssociations"]
    identity = one.rpartition("/")[2]
    found = account.eks.describe_pod_identity_association(
        clusterName="shop", associationId=identity
    )
    assert found["association"]["roleArn"] == shop.arn("dns-2")


def test_only_pruning_removes_addons(shop, account):
    account.eks.create_addon(clusterName="shop", addonName="eks-pod-identity-agent")
    cni = next(
        a
        for a in shop.on.api.get(*key_of(shop.item))["spec"]["addons"]
        if a["name"] == "vpc-cni"
    )
    until(
        lambda: described_addon(account, "eks-pod-identity-agent")["status"] == "ACTIVE",
        what="the add-on by hand",
    )
    shop.edit(addons=[cni])
    assert len(account.eks.list_addons(clusterName="shop")["addons"]) == 3
    mark = shop.on.mark()
    shop.in_sync(shop.patch(spec={"pruneAddons": True})["metadata"]["generation"])
    deleted = [told(w) for w in shop.written(mark) if w["action"] == "DeleteAddon"]
    names = ("eks-pod-identity-agent", "kube-proxy")
    assert sorted(deleted) == [f"eks:DeleteAddon {name}" for name in names]
    assert account.eks.list_addons(clusterName="shop")["addons"] == ["vpc-cni"]
    shop.rests()


# Pod identities and Fargate profiles


def identities(account: Account) -> dict[str, str]:
    found = account.eks.list_pod_identity_associations(clusterName="shop")["associations"]
    of = account.eks.describe_pod_identity_association
    return {
        a["serviceAccount"]: of(clusterName="shop", associationId=a["associationId"])[
            "association"
        ]["roleArn"]
        for a in found
        if "ownerArn" not in a
    }


def test_pod_identities_come_change_and_go_but_those_of_others_stay(shop, account):
    account.eks.create_pod_identity_association(
        clusterName="shop",
        namespace="kube-system",
        serviceAccount="by-hand",
        roleArn=shop.arn("dns"),
    )
    one = {
        "namespace": "kube-system",
        "serviceAccount": "external-dns",
        "roleArn": shop.arn("dns"),
    }
    name = "kube-system/external-dns"
    shop.edit("eks:CreatePodIdentityAssociation", podIdentities=[one])
    one["roleArn"] = shop.arn("dns-2")
    shop.edit("eks:UpdatePodIdentityAssociation", podIdentities=[one])
    assert identities(account) == {"external-dns": shop.arn("dns-2"), "by-hand": shop.arn("dns")}
    shop.edit("eks:DeletePodIdentityAssociation", podIdentities=[])
    assert identities(account) == {"by-hand": shop.arn("dns")}
    keys = [r["key"] for r in shop.on.status(shop.item)["resources"]]
    assert f"podIdentity/{name}" not in keys


def test_fargate_profiles_are_made_and_deleted_one_at_a_time(shop, account):
    def profile(name: str) -> dict:
        return {"name": name, "selectors": [{"namespace": name, "labels": {"fargate": "true"}}]}

    def named(action: str, *names: str) -> list[str]:
        return [f"eks:{action}FargateProfile {name}" for name in names]

    shop.edit(
        "iam:CreateRole",
        "iam:AttachRolePolicy",
        *named("Create", "batch", "jobs", "nightly"),
        fargateProfiles=[profile("batch"), profile("jobs"), profile("nightly")],
    )
    shop.edit(*named("Delete", "batch", "jobs"), fargateProfiles=[profile("nightly")])
    assert account.eks.list_fargate_profiles(clusterName="shop")["fargateProfileNames"] == [
        "nightly"
    ]
    shop.edit(*named("Create", "batch"), fargateProfiles=[profile("nightly"), profile("batch")])


def test_deletion_lifts_the_protection_and_leaves_only_what_others_made(shop, on, account):
    mark = on.mark()
    on.delete(shop.item, timeout=90)
    order = [w["action"] for w in shop.written(mark) if w["service"] == "eks"]
    profiles = ["DeleteFargateProfile"] * 2
    assert order == [*profiles, "UpdateClusterConfig", "DeleteCluster"]
    assert account.inventory().get("clusters") is None
    roles = account.inventory()["roles"]
    assert sorted(roles) == ["admins", "by-hand", "cni", "dns", "dns-2", "viewers"]
