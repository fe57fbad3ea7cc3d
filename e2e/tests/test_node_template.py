"""`spec.node` of a NodeGroup: Keelson's own launch template, its versions, the tags that reach instances and volumes, and what is refused.

`test_node_template_versions.py` has the edits that make a version, and crashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleet.account import CLUSTER, OWNER, RESOURCE, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.manifests import cluster, key_of, node_group
from fleet.upgrading import SMALL
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions

TAGS = {"cost-center": "4711", "team": "shop", "service": "checkout"}
PARTS = ("instance", "volume", "network-interface")


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(git=False, flux=False, durations=Durations(1, 1, 1, 1.2, 0.3, 0.5)) as started:
        yield started


class Scene:
    """A cluster with one node group in an account of its own, under an operator of its own."""

    def __init__(self, on: Environment, name: str, group: dict[str, Any] | None = None, **spec: Any):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.cluster = cluster(name, **{**SMALL, "addons": [], **spec})
        self.nodes = node_group(name, f"{name}-web", **{"scaling": {"min": 1, "max": 2}, "node": {}, **(group or {})})
        self.items = (self.cluster, self.nodes)
        self.operator: Any = None

    def start(self) -> None:
        """Its operator has the credentials of its account, so it is the only one."""
        for other in self.on.cloud.controllers:
            if other.alive:
                other.stop()
        self.operator = self.on.start("--drift-interval=2s", account=self.account.id, name=f"{self.name}-0")

    def group_name(self) -> str:
        return str(self.nodes["metadata"]["name"])

    def template_name(self) -> str:
        names = f"{self.name}/{self.group_name()}"
        return f"keelson-{names.replace('/', '-')}-{hashlib.sha256(names.encode()).hexdigest()[:16]}"

    def templates(self) -> list[dict[str, Any]]:
        """The operator's; EKS has copies of its own."""
        found = self.account.ec2.describe_launch_templates()["LaunchTemplates"]
        return [one for one in found if not any(tag["Key"] == "eks:nodegroup-name" for tag in one.get("Tags", []))]

    def template(self) -> dict[str, Any]:
        (found,) = self.templates()
        return found

    def versions(self) -> dict[int, dict[str, Any]]:
        answer = self.account.ec2.describe_launch_template_versions(LaunchTemplateId=self.template()["LaunchTemplateId"])
        return {one["VersionNumber"]: one["LaunchTemplateData"] for one in answer["LaunchTemplateVersions"]}

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.account.eks.describe_nodegroup(clusterName=self.name, nodegroupName=self.group_name())["nodegroup"]
        return found

    def used(self) -> int:
        return int(self.described()["launchTemplate"]["version"])

    def instances(self) -> list[dict[str, Any]]:
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        found = self.account.ec2.describe_instances(Filters=running)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def volumes(self) -> list[dict[str, Any]]:
        ids = [instance["InstanceId"] for instance in self.instances()]
        return self.account.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": ids}])["Volumes"]

    def edit(self, **spec: Any) -> int:
        """Edits the node group; returns the position in the call log before."""
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.nodes)[:3], {"spec": spec})
        return mark

    def in_sync(self) -> bool:
        found = self.on.api.get(*key_of(self.nodes))
        by_type = conditions(found)
        generation = found["metadata"]["generation"]
        return all(
            by_type.get(kind, {}).get("status") == "True" and by_type[kind].get("observedGeneration") == generation for kind in ("Ready", "InSync")
        )

    def until(self, holds: Callable[[], object], what: str, seconds: float = 60) -> None:
        try:
            until(holds, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.on.describe(self.nodes)}\n{self.writes(0)[-6:]}") from None

    def settle(self) -> None:
        self.until(self.in_sync, "in sync")

    def writes(self, since: int) -> list[str]:
        return [one.partition(" ")[0] for one in actions(self.on.writes(since, self.account.id))]

    def message(self, kind: str = "Ready") -> str:
        return str(self.on.condition(self.nodes, kind).get("message", ""))


def by_key(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def deny_untagged(on: Environment, account: str, *keys: str) -> None:
    """A service control policy that demands tags of instances and volumes."""
    statements = [
        {
            "Sid": f"Demand{number}", "Effect": "Deny", "Action": "ec2:RunInstances",
            "Resource": ["arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:*:*:volume/*"], "Condition": {"Null": {f"aws:RequestTag/{key}": "true"}},
        }
        for number, key in enumerate(keys)
    ]
    allow = {"Sid": "FullAccess", "Effect": "Allow", "Action": "*", "Resource": "*"}
    on.aws.control("POST", "scp", json={"account": account, "document": {"Version": "2012-10-17", "Statement": [allow, *statements]}})


@pytest.fixture(scope="module")
def shop(on: Environment) -> Scene:
    """Ready, where a policy demands the cluster's and the group's tags."""
    scene = Scene(on, "shop", {"tags": {"service": "checkout"}}, tags={"cost-center": "4711", "team": "shop"})
    deny_untagged(on, scene.account.id, *TAGS)
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    return scene


def test_template_is_owned_and_its_tags_reach_instances_volumes_and_interfaces(on, shop):
    template = shop.template()
    own = by_key(template["Tags"])
    uid = on.api.get(*key_of(shop.nodes))["metadata"]["uid"]
    assert (own[OWNER], own[CLUSTER], own[RESOURCE]) == (uid, "default/shop", f"launchTemplate/{shop.group_name()}")
    assert template["LaunchTemplateName"] == shop.template_name() and TAGS.items() <= own.items()
    assert shop.described()["launchTemplate"] == {"id": template["LaunchTemplateId"], "name": shop.template_name(), "version": "1"}
    assert on.status(shop.nodes)["launchTemplate"]["id"] == template["LaunchTemplateId"]
    (data,) = shop.versions().values()
    assert {spec["ResourceType"] for spec in data["TagSpecifications"]} == set(PARTS)
    interfaces = shop.account.ec2.describe_network_interfaces(Filters=[{"Name": "tag:cost-center", "Values": ["4711"]}])["NetworkInterfaces"]
    (instance,) = shop.instances()
    ids = {instance["InstanceId"]}
    assert {one["Attachment"]["InstanceId"] for one in interfaces if one.get("Attachment")} == ids
    for tags in (instance["Tags"], *(volume["Tags"] for volume in shop.volumes())):
        found = by_key(tags)
        assert TAGS.items() <= found.items() and found["Name"] == f"shop/{shop.group_name()}"
        assert not [key for key in found if key.startswith("keelson.dev/")]


def test_node_group_without_a_template_is_denied_and_says_so(on, shop):
    plain = node_group("shop", "shop-plain", tags={"service": "checkout"}, scaling={"min": 1, "max": 1})
    on.apply(plain)
    try:
        on.await_condition(plain, "Stalled", timeout=60)
        message = on.condition(plain, "Stalled")["message"]
        assert "explicit deny in a service control policy" in message and "spec.node" in message, message
    finally:
        on.delete(plain)


def test_each_edit_makes_one_version_and_obsolete_ones_are_deleted(on, shop):
    before = {instance["InstanceId"] for instance in shop.instances()}
    volumes = [{"deviceName": "/dev/xvda", "sizeGiB": 50, "iops": 6000, "throughput": 250}]
    for number, node in ((2, {"volumes": volumes}), (3, {"metadata": {"httpTokens": "required", "httpPutResponseHopLimit": 1}}), (4, {"volumes": []})):
        mark = shop.edit(node=node)
        until(lambda number=number: shop.used() == number, 40, f"version {number}")
        shop.settle()
        writes = shop.writes(mark)
        assert writes.count("ec2:CreateLaunchTemplateVersion") == 1 and writes.count("eks:UpdateNodegroupVersion") == 1, writes
        assert set(writes) <= {"ec2:CreateLaunchTemplateVersion", "ec2:DeleteLaunchTemplateVersions", "eks:UpdateNodegroupVersion"}, writes
        if number == 2:
            (volume,) = shop.volumes()
            assert (volume["Size"], volume["VolumeType"], volume["Iops"], volume["Throughput"]) == (50, "gp3", 6000, 250)
            assert TAGS.items() <= by_key(volume["Tags"]).items()
    assert not before & {instance["InstanceId"] for instance in shop.instances()}
    # The default one, the one that was used before, and the newest.
    assert sorted(shop.versions()) == [1, 3, 4]
    options = shop.versions()[4]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    mark = on.mark()
    stays(lambda: shop.writes(mark) == [], 4, "no further write")


def test_edit_back_uses_the_version_that_exists(on, shop):
    mark = shop.edit(node={"metadata": {"httpTokens": "optional"}})
    until(lambda: shop.used() == 5, 40, "version 5")
    shop.settle()
    mark = shop.edit(node={"metadata": {"httpTokens": "required"}})
    until(lambda: shop.used() == 4, 40, "version 4 again")
    shop.settle()
    assert shop.writes(mark) == ["eks:UpdateNodegroupVersion"]


def test_version_that_others_set_is_put_back(on, shop):
    used = shop.used()
    shop.account.eks.update_nodegroup_version(
        clusterName="shop", nodegroupName=shop.group_name(), launchTemplate={"id": shop.template()["LaunchTemplateId"], "version": "1"},
        releaseVersion=shop.described()["releaseVersion"],
    )
    until(lambda: shop.used() == 1, 40, "the other version")
    shop.until(lambda: shop.used() == used, f"version {used} again")
    shop.settle()


def test_version_deleted_by_hand_is_replaced_each_time(on, shop):
    """EKS has a copy, so nothing happens before the template is read again. A client token that was used before would return the version
    that was deleted."""
    template = shop.template()["LaunchTemplateId"]
    shop.edit(node={"metadata": {"httpTokens": "required", "httpPutResponseHopLimit": 2}})
    shop.settle()
    for _ in range(3):
        used = shop.used()
        others = [str(number) for number in shop.versions() if number != 1]
        deleted = shop.account.ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=others)
        assert used in [one["VersionNumber"] for one in deleted["SuccessfullyDeletedLaunchTemplateVersions"]]
        shop.start()
        shop.until(lambda used=used: shop.used() > used, "another version")
        shop.settle()
        assert shop.used() in shop.versions() and shop.versions()[shop.used()]["MetadataOptions"]["HttpTokens"] == "required"


def test_group_is_deleted_before_its_template(on, shop):
    mark = on.mark()
    on.delete(shop.nodes)
    order = [call for call in shop.writes(mark) if call in ("eks:DeleteNodegroup", "ec2:DeleteLaunchTemplate")]
    assert order == ["eks:DeleteNodegroup", "ec2:DeleteLaunchTemplate"] and shop.templates() == []
    on.delete(shop.cluster)
    assert shop.account.inventory() == {}
    shop.operator.stop()


def test_template_deleted_by_hand_before_the_group_exists_is_created_again(on):
    scene = Scene(on, "early")
    fault = on.aws.add_fault(
        {"account": scene.account.id, "action": "CreateNodegroup"}, {"error": {"code": "ServerException", "message": "later", "status": 500}}
    )
    scene.start()
    on.apply(*scene.items)
    until(scene.templates, 60, "the template")
    first = scene.template()["LaunchTemplateId"]
    scene.account.ec2.delete_launch_template(LaunchTemplateId=first)
    on.aws.control("DELETE", "faults", params={"id": fault})
    scene.until(scene.in_sync, "in sync")
    assert scene.template()["LaunchTemplateId"] != first
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_template_deleted_by_hand_later_is_not_replaced_and_says_what_to_do(on):
    scene = Scene(on, "late")
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    scene.account.ec2.delete_launch_template(LaunchTemplateId=scene.template()["LaunchTemplateId"])
    on.await_condition(scene.nodes, "Stalled", timeout=60)
    message = scene.message("Stalled")
    assert scene.template_name() in message and "create a new NodeGroup" in message, message
    assert scene.templates() == [] and len(scene.instances()) == 1
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_lost_answers_and_stale_reads_make_no_second_template_or_version(on):
    scene = Scene(on, "stale", {"node": {"metadata": {"httpTokens": "optional"}}})
    for action in ("CreateLaunchTemplate", "CreateLaunchTemplateVersion"):
        on.aws.add_fault({"account": scene.account.id, "action": action, "times": 1}, {"drop": True})
    on.aws.add_fault({"account": scene.account.id, "action": "DescribeLaunchTemplate*"}, {"stale": 0.5})
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    scene.edit(node={"metadata": {"httpTokens": "required"}})
    until(lambda: scene.used() == 2, 40, "version 2")
    scene.settle()
    on.aws.clear_faults()
    assert len(scene.templates()) == 1 and sorted(scene.versions()) == [1, 2]
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_template_of_others_with_the_same_name_is_left_alone(on):
    scene = Scene(on, "foreign")
    theirs = scene.account.ec2.create_launch_template(
        LaunchTemplateName=scene.template_name(), LaunchTemplateData={"InstanceType": "m5.large"},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "team", "Value": "other"}]}],
    )["LaunchTemplate"]
    scene.start()
    on.apply(*scene.items)
    found = on.await_condition(scene.nodes, "Stalled", timeout=60)
    assert conditions(found)["Stalled"]["reason"] == "NotOwned", on.describe(scene.nodes)
    assert scene.template_name() in scene.message("Stalled")
    on.delete(*reversed(scene.items))
    (left,) = scene.templates()
    assert left["LaunchTemplateId"] == theirs["LaunchTemplateId"] and by_key(left["Tags"]) == {"team": "other"}
    assert list(scene.versions()) == [1] and not [one for one in scene.writes(0) if "LaunchTemplate" in one and "Create" not in one]
    scene.operator.stop()


def test_contents_that_ec2_stores_differently_make_two_versions_and_a_condition(on):
    scene = Scene(on, "stored", {"node": {"placementGroup": "near"}})
    stored = {"match": {"account": scene.account.id, "action": "CreateLaunchTemplate*"}, "then": {"stored": {"Placement": {"GroupName": "NEAR"}}}}
    fault = on.aws.add_fault(stored["match"], stored["then"])
    scene.start()
    on.apply(*scene.items)
    found = on.await_condition(scene.nodes, "Stalled", timeout=90)
    condition = conditions(found)["Stalled"]
    assert "node.placementGroup: near is stored as NEAR" in condition["message"] and condition["reason"] == "InvalidSpec", condition
    assert conditions(found)["InSync"]["status"] == "False"
    # The nodes run, and nothing more is made.
    assert sorted(scene.versions()) == [1, 2] and scene.described()["status"] == "ACTIVE" and scene.used() == 2
    mark = on.mark()
    stays(lambda: scene.writes(mark) == [], 5, "no further version")
    # A new release is not held back, and another edit is tried.
    newer = "1.34.9-20261231"
    on.aws.control("POST", "releases", json={"account": scene.account.id, "version": "1.34", "amiRelease": newer})
    on.api.patch(*key_of(scene.nodes)[:3], {"spec": {"releaseVersion": newer}})
    scene.until(lambda: scene.described()["releaseVersion"] == newer, "the release")
    assert sorted(scene.versions()) == [1, 2]
    on.aws.control("DELETE", "faults", params={"id": fault})
    scene.edit(node={"placementGroup": "far"})
    scene.settle()
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_template_with_the_name_of_earlier_versions_stays_and_is_deleted_with_its_group(on):
    scene = Scene(on, "named")
    for other in on.cloud.controllers:
        if other.alive:
            other.stop()
    on.apply(*scene.items)
    uid = on.api.get(*key_of(scene.nodes))["metadata"]["uid"]
    earlier = scene.template_name()[:-8]
    tags = {OWNER: uid, CLUSTER: "default/named", RESOURCE: f"launchTemplate/{scene.group_name()}"}
    scene.account.ec2.create_launch_template(
        LaunchTemplateName=earlier, LaunchTemplateData={"EbsOptimized": True},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}],
    )
    scene.start()
    on.ready(*scene.items)
    assert scene.template()["LaunchTemplateName"] == earlier and scene.described()["launchTemplate"]["name"] == earlier
    assert scene.used() == 2 and "EbsOptimized" not in scene.versions()[2]
    on.delete(*reversed(scene.items))
    assert scene.templates() == []
    scene.operator.stop()


def user_data(data: dict[str, Any]) -> str:
    return base64.b64decode(data["UserData"]).decode()


def test_own_image_joins_with_a_node_config_that_names_the_cluster(on):
    config = {"spec": {"kubelet": {"config": {"maxPods": 58}}}}
    scene = Scene(on, "ami", {"node": {"imageId": "ami-12345678", "nodeConfig": config}})
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    (data,) = scene.versions().values()
    text, described = user_data(data), scene.account.eks.describe_cluster(name="ami")["cluster"]
    assert data["ImageId"] == "ami-12345678" and scene.described()["amiType"] == "CUSTOM"
    for part in (described["endpoint"], described["certificateAuthority"]["data"], described["kubernetesNetworkConfig"]["serviceIpv4Cidr"], "maxPods: 58"):
        assert part in text, text
    scene.edit(node={"imageId": "ami-87654321"})
    until(lambda: scene.described()["releaseVersion"] == "ami-87654321", 40, "the other image")
    scene.settle()
    assert {instance["ImageId"] for instance in scene.instances()} == {"ami-87654321"}
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_user_data_of_bottlerocket_stays_toml_which_its_nodes_follow(on):
    settings = '[settings.kubernetes]\nmax-pods = 58\n\n[settings.kubernetes.node-labels]\ntier = "web"\n'
    scene = Scene(on, "toml", {"amiType": "BOTTLEROCKET_x86_64", "node": {"userData": settings}})
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    (data,) = scene.versions().values()
    # EKS merges it as TOML: a MIME message, which a script becomes, would be refused.
    assert user_data(data) == settings and scene.described()["amiType"] == "BOTTLEROCKET_x86_64"

    def nodes() -> list[dict[str, Any]]:
        found = on.cloud.workload.api.list("v1", "Node")
        return [one for one in found if one["metadata"]["labels"].get("eks.amazonaws.com/nodegroup") == scene.group_name()]

    until(nodes, 40, "a node")
    assert {(one["status"]["allocatable"]["pods"], one["metadata"]["labels"].get("tier")) for one in nodes()} == {("58", "web")}
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_nodes_with_groups_of_their_own_reach_a_private_control_plane(on):
    scene = Scene(on, "groups", endpointAccess={"private": True})
    scene.start()
    on.apply(scene.cluster)
    on.ready(scene.cluster)
    config = scene.account.eks.describe_cluster(name="groups")["cluster"]["resourcesVpcConfig"]
    group = scene.account.ec2.create_security_group(GroupName="web", Description="x", VpcId=config["vpcId"])["GroupId"]
    scene.nodes["spec"]["node"] = {"securityGroupIds": [group], "userData": "#!/bin/sh\necho hello\n"}
    on.apply(scene.nodes)
    on.ready(scene.nodes)
    (data,) = scene.versions().values()
    assert sorted(data["SecurityGroupIds"]) == sorted([group, config["clusterSecurityGroupId"]])
    assert "multipart/mixed" in user_data(data) and "echo hello" in user_data(data)
    on.delete(scene.nodes)
    scene.account.ec2.delete_security_group(GroupId=group)
    on.delete(scene.cluster)
    scene.operator.stop()


def test_elastic_fabric_adapters_are_on_each_network_card_of_the_instance_type(on):
    # Two cards.
    scene = Scene(on, "fabric", {"instanceTypes": ["m6in.32xlarge"], "scaling": {"min": 0, "max": 1}, "node": {"efa": True}})
    scene.start()
    on.apply(*scene.items)
    on.ready(*scene.items)
    (data,) = scene.versions().values()
    interfaces = data["NetworkInterfaces"]
    assert [one["InterfaceType"] for one in interfaces] == ["efa", "efa"] and "SecurityGroupIds" not in data
    assert [(one["NetworkCardIndex"], one["DeviceIndex"]) for one in interfaces] == [(0, 0), (1, 1)]
    mark = on.mark()
    stays(lambda: scene.writes(mark) == [] and scene.in_sync(), 4, "no further version")
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_key_that_auto_scaling_may_not_use_is_a_launch_failure(on):
    scene = Scene(on, "key")
    kms = scene.account.client("kms")
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{scene.account.id}:root"}, "Action": "kms:*", "Resource": "*"}
    key = kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [root]}))["KeyMetadata"]["Arn"]
    scene.nodes["spec"]["node"] = {"volumes": [{"deviceName": "/dev/xvda", "kmsKeyArn": key}]}
    scene.start()
    on.apply(*scene.items)
    on.await_condition(scene.nodes, "Stalled", timeout=60)
    assert "Client.InvalidKMSKey.InvalidState" in scene.message("Stalled"), scene.message("Stalled")
    on.delete(*reversed(scene.items))
    scene.operator.stop()


def test_node_group_over_the_quota_of_vcpus_names_the_quota(on):
    scene = Scene(on, "quota", {"instanceTypes": ["m7i.large"], "scaling": {"min": 3, "max": 3}})
    on.aws.control("POST", "quotas", json={"account": scene.account.id, "region": scene.account.region, "code": "L-1216C47A", "value": 4})
    scene.start()
    on.apply(*scene.items)
    found = on.await_condition(scene.nodes, "Stalled", timeout=60)
    condition = conditions(found)["Stalled"]
    message = condition["message"]
    assert "VcpuLimitExceeded" in message and "vCPU limit of 4" in message and "Service Quotas" in message, message
    assert condition["reason"] == "QuotaExceeded", condition
    on.delete(*reversed(scene.items))
    scene.operator.stop()
