"""`spec.node`: which edits make a version of the launch template, that each makes one only, whenever the operator dies, and what is left."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from fleet.account import Account, fresh_account
from fleet.command_line import run
from fleet.environment import Environment, actions, environment, until
from fleet.killing import killed_at
from fleet.manifests import cluster, key_of, node_group
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import conditions
from keelson_harness.paths import keelson_binary

VOLUME = {"deviceName": "/dev/xvda", "sizeGiB": 80}
CREATE_VERSION = "ec2:CreateLaunchTemplateVersion"
UPDATE = "eks:UpdateNodegroupVersion"
# Years away.
CLOSED = {"windows": [{"schedule": "0 0 29 2 *", "duration": "1m"}]}


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False, durations=Durations(1, 1, 0.8, 0.8, 0.2, 0.5)) as started:
        yield started


class Nodes:
    """A cluster and a node group with `spec.node`, in an account of its own."""

    def __init__(self, on: Environment, **spec: object):
        self.on = on
        self.account: Account = on.account(fresh_account())
        name = f"nodes-{self.account.id[-3:]}"
        self.cluster = cluster(name, network={"vpc": {"zoneCount": 2, "nat": "None"}}, addons=[{"name": "vpc-cni"}], oidcProvider=False)
        self.group = node_group(name, "web", **{"node": {}, "tags": {"team": "shop"}, **spec})
        self.items = (self.cluster, self.group)

    def create(self) -> Nodes:
        self.on.start("--drift-interval=1h", account=self.account.id)
        self.on.apply(*self.items)
        self.on.ready(*self.items)
        return self

    def edit(self, spec: dict, item: dict | None = None) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(item or self.group)[:3], {"spec": spec})
        return mark

    def edit_applied(self, spec: dict, item: dict | None = None) -> list[str]:
        """Applies an edit, and returns its writes."""
        mark = self.edit(spec, item)
        # The node group follows an edit of its cluster's tags.
        until(lambda: self.is_in_sync(self.cluster) and self.is_in_sync(self.group) and self.matches(), 60, self.on.describe(self.group))
        return sorted({action.split(" ")[0] for action in actions(self.on.writes(mark, self.account.id))})

    def is_in_sync(self, item: dict) -> bool:
        found = self.on.api.get(*key_of(item))
        by_type = conditions(found)
        return all(
            by_type[kind]["status"] == "True" and by_type[kind]["observedGeneration"] == found["metadata"]["generation"]
            for kind in ("Ready", "InSync")
        )

    def matches(self) -> bool:
        """Whether the nodes have the tags of the manifests: those of the cluster are applied later than it is in sync."""
        wanted = {**self.on.api.get(*key_of(self.cluster))["spec"].get("tags", {}), **self.on.api.get(*key_of(self.group))["spec"].get("tags", {})}
        return {key: value for key, value in self.tags("instance").items() if key != "Name"} == wanted

    def described(self) -> dict:
        return self.account.eks.describe_nodegroup(clusterName=self.cluster["metadata"]["name"], nodegroupName="web")["nodegroup"]

    def window_events(self) -> list[dict]:
        return [event for event in self.on.events(self.group) if event["reason"] == "OutsideMaintenanceWindow"]

    def plan(self) -> str:
        """`keelson plan --live` of the objects as they are."""
        items = [{**item, "spec": self.on.api.get(*key_of(item))["spec"]} for item in self.items]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **self.on.aws.env(), "AWS_ACCESS_KEY_ID": self.account.id}
        command = [str(keelson_binary()), "plan", "-f", "-", "--live"]
        result = subprocess.run(command, input=yaml.safe_dump_all(items), env=env, capture_output=True, text=True, check=True, timeout=120)
        return result.stdout

    def version(self) -> str:
        return self.described()["launchTemplate"]["version"]

    def versions(self) -> dict[str, dict]:
        """The contents of all versions, by number."""
        found = self.account.ec2.describe_launch_template_versions(LaunchTemplateId=self.described()["launchTemplate"]["id"])
        return {str(one["VersionNumber"]): one["LaunchTemplateData"] for one in found["LaunchTemplateVersions"]}

    def contents(self) -> dict:
        return self.versions()[self.version()]

    def tags(self, kind: str) -> dict[str, str]:
        specifications = self.contents()["TagSpecifications"]
        return {tag["Key"]: tag["Value"] for one in specifications if one["ResourceType"] == kind for tag in one["Tags"]}

    def templates(self) -> list[dict]:
        return [one for one in self.account.ec2.describe_launch_templates()["LaunchTemplates"] if one["LaunchTemplateName"].startswith("keelson-")]


# Before the fixture below, whose operator keeps running.
def test_kill_after_every_write_makes_one_template_and_one_version_for_each_change(on, capsys):
    nodes = Nodes(on)
    on.apply(*nodes.items)

    def ready() -> bool:
        return all(conditions(on.api.get(*key_of(item))).get("Ready", {}).get("status") == "True" for item in nodes.items)

    killed_at(on, nodes.account.id, ready)
    assert len(nodes.templates()) == 1 and list(nodes.versions()) == ["1"]
    nodes.edit({"node": {"volumes": [VOLUME]}})

    def is_applied() -> bool:
        return "BlockDeviceMappings" in nodes.contents() and nodes.described()["status"] == "ACTIVE" and nodes.is_in_sync(nodes.group)

    run = killed_at(on, nodes.account.id, is_applied)
    with capsys.disabled():
        print(f"\n  {run.summary('a change of spec.node')}")
    assert sorted(nodes.versions()) == ["1", "2"] and nodes.version() == "2"
    for item in nodes.items:
        on.api.delete(*key_of(item))
    killed_at(on, nodes.account.id, lambda: all(on.api.find(*key_of(item)) is None for item in nodes.items))
    assert nodes.templates() == []


@pytest.fixture(scope="module")
def nodes(on: Environment):
    return Nodes(on).create()


def test_nodes_get_the_tags_of_group_and_cluster_and_the_template_its_owners(nodes):
    name = nodes.cluster["metadata"]["name"]
    for kind in ("instance", "volume", "network-interface"):
        assert nodes.tags(kind) == {"team": "shop", "Name": f"{name}/web"}, kind
    template = nodes.templates()[0]
    tags = {tag["Key"]: tag["Value"] for tag in template["Tags"]}
    assert tags["keelson.dev/resource"] == "launchTemplate/web" and tags["team"] == "shop"
    status = nodes.on.status(nodes.group)
    assert status["launchTemplate"] == {"id": template["LaunchTemplateId"], "version": "1"}


EDITS = [
    ("a volume", {"node": {"volumes": [VOLUME]}}, [CREATE_VERSION, UPDATE]),
    ("metadata", {"node": {"metadata": {"httpTokens": "required", "httpPutResponseHopLimit": 1}}}, [CREATE_VERSION, UPDATE]),
    ("a default", {"node": {"efa": False}}, []),
    ("user data", {"node": {"nodeConfig": {"spec": {"kubelet": {"config": {"maxPods": 58}}}}}}, [CREATE_VERSION, UPDATE]),
    ("labels", {"labels": {"a": "b"}}, ["eks:UpdateNodegroupConfig"]),
    ("a tag", {"tags": {"team": "till"}}, [CREATE_VERSION, "ec2:CreateTags", "eks:TagResource", UPDATE]),
]


def test_only_edits_of_contents_make_a_version_and_nothing_is_repeated(nodes):
    for name, spec, expected in EDITS:
        writes = nodes.edit_applied(spec)
        assert [one for one in writes if one != "ec2:DeleteLaunchTemplateVersions"] == expected, name
    mark = nodes.on.mark()
    nodes.on.api.patch(*key_of(nodes.group)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}})
    name = nodes.cluster["metadata"]["name"]
    until(lambda: f"eks:DescribeNodegroup {name}/web" in actions(nodes.on.calls(mark, nodes.account.id)), 20, "a reconcile")
    until(lambda: nodes.is_in_sync(nodes.group), 20, "InSync")
    assert actions(nodes.on.writes(mark, nodes.account.id)) == []


def test_tag_of_the_cluster_reaches_nodes_by_a_new_version(nodes):
    before = nodes.version()
    nodes.edit_applied({"tags": {"cost": "1"}}, nodes.cluster)
    assert nodes.version() != before and nodes.tags("volume")["cost"] == "1"


def test_version_with_the_same_contents_is_used_again_and_unneeded_ones_are_deleted(nodes):
    first = nodes.version()
    nodes.edit_applied({"node": {"placementGroup": "near"}})
    writes = nodes.edit_applied({"node": {"placementGroup": None}})
    assert writes == [UPDATE] and nodes.version() == first
    for group in ("a", "b", "c"):
        nodes.edit_applied({"node": {"placementGroup": group}})
    # The default one, the one before, and the one of the nodes.
    assert len(nodes.versions()) <= 3 and nodes.version() in nodes.versions() and "1" in nodes.versions()


def test_contents_that_others_set_are_put_back(nodes):
    wanted, name = nodes.version(), nodes.cluster["metadata"]["name"]
    template = nodes.described()["launchTemplate"]["id"]
    other = nodes.account.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData={"KeyName": "mine"})
    number = str(other["LaunchTemplateVersion"]["VersionNumber"])
    nodes.account.eks.update_nodegroup_version(clusterName=name, nodegroupName="web", launchTemplate={"id": template, "version": number})
    until(lambda: nodes.described()["status"] == "ACTIVE" and nodes.version() == number, 30, "the version of others")
    mark = nodes.on.mark()
    nodes.on.api.patch(*key_of(nodes.group)[:3], {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}})
    until(lambda: nodes.version() == wanted, 60, nodes.on.describe(nodes.group))
    assert CREATE_VERSION not in " ".join(actions(nodes.on.writes(mark, nodes.account.id)))


def test_planted_version_with_a_setting_of_its_own_is_not_used(nodes):
    """It has all that the next edit asks for, and a snapshot besides."""
    template, contents = nodes.described()["launchTemplate"]["id"], nodes.contents()
    contents.get("MetadataOptions", {}).pop("State", None)
    (volume,) = contents["BlockDeviceMappings"]
    planted = {
        **contents, "Placement": {"GroupName": "planted"},
        "BlockDeviceMappings": [{**volume, "Ebs": {**volume["Ebs"], "SnapshotId": "snap-0123456789abcdef0"}}],
    }
    other = nodes.account.ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=planted, VersionDescription="Keelson")
    number = str(other["LaunchTemplateVersion"]["VersionNumber"])
    assert CREATE_VERSION in nodes.edit_applied({"node": {"placementGroup": "planted"}})
    wanted = nodes.version()
    assert wanted != number and "SnapshotId" not in str(nodes.contents())


def test_change_waits_for_a_maintenance_window(nodes):
    nodes.on.api.patch(*key_of(nodes.cluster)[:3], {"spec": {"upgrade": CLOSED}})
    mark = nodes.edit({"node": {"capacityReservationId": "cr-0123"}})
    message = "a new version of the launch template (node.capacityReservationId) waits for a maintenance window"
    until(lambda: message in nodes.on.condition(nodes.group, "InSync")["message"], 30, nodes.on.describe(nodes.group))
    found = nodes.on.condition(nodes.group, "InSync")
    opens = found["message"].partition(": the next opens ")[2]
    assert (found["status"], found["reason"]) == ("False", "OutsideMaintenanceWindow") and "-02-29T00:00:00" in opens, found
    # The nodes work.
    assert nodes.on.condition(nodes.group, "Ready")["status"] == "True"
    assert actions(nodes.on.writes(mark, nodes.account.id)) == []
    shown = run(nodes.on, "status", "nodegroup/web").stdout
    assert "OutsideMaintenanceWindow" in shown and f"wait until the window opens ({opens.split(';')[0]}), or change" in shown, shown
    until(lambda: nodes.window_events(), 20, "an event")
    nodes.on.api.patch(*key_of(nodes.group)[:3], {"spec": {"labels": {"another": "edit"}}})
    until(lambda: nodes.described()["labels"].get("another") == "edit", 30, "the other edit")
    assert len(nodes.window_events()) == 1
    plan = nodes.plan()
    assert "replaces its nodes, at most 1 at a time" in plan and f"nodes are replaced in a maintenance window: the next opens {opens[:10]}" in plan, plan
    assert " 0 s " not in plan, plan
    nodes.on.api.patch(*key_of(nodes.cluster)[:3], {"spec": {"upgrade": {"windows": None}}})
    until(lambda: "CapacityReservationSpecification" in nodes.contents(), 60, nodes.on.describe(nodes.group))


def test_deletion_removes_the_node_group_then_the_template(nodes):
    mark = nodes.on.mark()
    nodes.on.delete(nodes.group)
    writes = [action.split(" ")[0] for action in actions(nodes.on.writes(mark, nodes.account.id))]
    assert writes == ["eks:DeleteNodegroup", "ec2:DeleteLaunchTemplate"]
    assert nodes.templates() == []
