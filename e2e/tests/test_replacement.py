"""`replacementPolicy: MakeBeforeBreak`: an edit that EKS cannot make in place makes a node group beside the old one, drains that one
and deletes it.

Pods run on the nodes that the emulator registers in the workload cluster; its API server evicts them.
"""

from __future__ import annotations

import subprocess

import pytest
import yaml

from fleet.account import fresh_account
from fleet.command_line import command
from fleet.environment import Environment, environment, stays, until
from fleet.killing import killed_at
from fleet.manifests import cluster, key_of, node_group
from fleet.upgrading import SMALL, reach
from gates.scenes import CLOSED_WINDOW
from handover.killing import Killer, killer
from keelson_harness.aws import Durations
from keelson_harness.kubeapi import ApiError, conditions

TYPES = ["m7i.large"]
OTHER_TYPES = ["m7i.xlarge"]
CORDONED_FOR = "keelson.dev/cordoned-for"


@pytest.fixture(scope="module")
def on():
    with environment(git=False, flux=False, durations=Durations(1, 1, 1, 1.5, 0.3, 0.5)) as started:
        yield started


class Scene:
    """A cluster with a node group of two, in an account of its own: the operator's, or one that its AwsAccount leads to."""

    def __init__(self, on: Environment, name: str, account_id: str | None = None, node: dict | None = None, **spec: object):
        self.on, self.name = on, name
        self.account = on.account(account_id or fresh_account())
        reference = {} if account_id else {"accountRef": {"name": name}}
        self.cluster = cluster(name, **{**reference, "addons": [], **SMALL, **spec})
        self.group = node_group(
            name, name, scaling={"min": 2, "max": 4}, instanceTypes=TYPES, replacementPolicy="MakeBeforeBreak",
            autoScalingGroupTags={"cost-center": "4711"}, **({} if node is None else {"node": node}),
        )
        on.apply(*([] if account_id else reach(on, self.account, name)), self.cluster, self.group)
        self.since = 0

    # What a user does

    def edit(self, **spec: object) -> None:
        self.on.api.patch(*key_of(self.group)[:3], {"spec": spec}, "default")

    def replace(self) -> None:
        self.since = self.on.mark()
        self.edit(instanceTypes=OTHER_TYPES)

    def run_pods(self) -> list[str]:
        """A Pod on each of its nodes, without a controller and without a grace period."""
        names = []
        for number, node in enumerate(until(lambda: self.nodes(self.name), 20, "the nodes")):
            name = f"{self.name}-{number}"
            self.on.cloud.workload.api.create(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "namespace": "default", "labels": {"app": self.name}},
                    "spec": {
                        "nodeName": node["metadata"]["name"],
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "main", "image": self.name}],
                        "tolerations": [{"operator": "Exists"}],
                    },
                }
            )
            # Budgets protect only Pods that run.
            running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            self.on.cloud.workload.api.patch("v1", "Pod", name, {"status": running}, "default", "status")
            names.append(name)
        return names

    def create_budget(self, allowed: int = 0, **bounds: object) -> None:
        """Also writes its status, as no disruption controller runs here."""
        api = self.on.cloud.workload.api
        meta = {"name": self.name, "namespace": "default"}
        spec = {"selector": {"matchLabels": {"app": self.name}}, **bounds}
        budget = api.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec})
        status = {
            "observedGeneration": budget["metadata"]["generation"],
            "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2 - allowed, "expectedPods": 2,
        }
        api.patch("policy/v1", "PodDisruptionBudget", self.name, {"status": status}, "default", "status")

    def delete_budget(self) -> None:
        self.on.cloud.workload.api.delete("policy/v1", "PodDisruptionBudget", self.name)

    # What there is

    def found(self) -> dict:
        return self.on.api.get(*key_of(self.group))

    def replacement(self) -> dict:
        return self.found()["status"].get("replacement", {})

    def message(self) -> str:
        return conditions(self.found()).get("Ready", {}).get("message", "")

    def groups(self) -> list[str]:
        return sorted(self.account.eks.list_nodegroups(clusterName=self.name)["nodegroups"])

    def types(self, name: str) -> list[str]:
        return self.account.eks.describe_nodegroup(clusterName=self.name, nodegroupName=name)["nodegroup"]["instanceTypes"]

    def templates(self) -> list[str]:
        """The node groups for which the operator made a launch template; EKS has copies of its own."""
        found = self.account.ec2.describe_launch_templates()["LaunchTemplates"]
        tags = [{tag["Key"]: tag["Value"] for tag in one.get("Tags", [])} for one in found]
        return sorted(one["keelson.dev/resource"].partition("/")[2] for one in tags if "eks:nodegroup-name" not in one)

    def cost_center(self, name: str) -> list[str]:
        """Of the node group's Auto Scaling group, by its tag."""
        described = self.account.eks.describe_nodegroup(clusterName=self.name, nodegroupName=name)["nodegroup"]
        names = [one["name"] for one in described["resources"]["autoScalingGroups"]]
        (group,) = self.account.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]
        return [tag["Value"] for tag in group["Tags"] if tag["Key"] == "cost-center"]

    def nodes(self, group: str) -> list[dict]:
        nodes = self.on.cloud.workload.api.list("v1", "Node")
        return [node for node in nodes if node["metadata"]["labels"].get("eks.amazonaws.com/nodegroup") == group]

    def cordoned(self, group: str) -> list[bool]:
        return [node["spec"].get("unschedulable", False) for node in self.nodes(group)]

    def pods(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.on.cloud.workload.api.list("v1", "Pod", "default") if pod["metadata"]["name"].startswith(f"{self.name}-")]

    def steps(self) -> list[str]:
        """Creations and deletions of node groups since the edit."""
        calls = self.on.writes(self.since, self.account.id)
        named = [f"{call['action']} {call['resource'].partition('/')[2]}" for call in calls if call["status"] < 400]
        return [one for one in named if one.startswith(("CreateNodegroup", "DeleteNodegroup"))]

    def is_done(self, types: list[str]) -> bool:
        """One node group is left, as the spec says, and the object is ready."""
        item = self.found()
        ready = conditions(item).get("Ready", {})
        groups = self.groups()
        return (
            len(groups) == 1
            and self.types(groups[0]) == types
            and "replacement" not in item["status"]
            and (ready.get("status"), ready.get("observedGeneration")) == ("True", item["metadata"]["generation"])
        )

    def await_done(self, types: list[str], seconds: float = 90) -> str:
        """Returns the name of the node group."""
        try:
            until(lambda: self.is_done(types), seconds, "the replacement")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.groups()} {self.replacement()} {self.on.describe(self.group)}") from None
        (name,) = self.groups()
        return name

    def await_message(self, *expected: str, seconds: float = 60) -> str:
        def has_all() -> str:
            message = self.message()
            return message if all(text in message for text in expected) else ""

        try:
            return until(has_all, seconds, f"{expected}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.message()} {self.replacement()}") from None

    def go_away(self) -> None:
        self.on.api.patch(*key_of(self.cluster)[:3], {"spec": {"changePolicy": "Automatic"}}, "default")
        for name in self.pods():
            api = self.on.cloud.workload.api
            api.request("DELETE", api.path("v1", "Pod", name, "default"), json={"gracePeriodSeconds": 0})
        self.on.delete(self.group, self.cluster)


@pytest.fixture
def scene(on: Environment, request):
    """A scene with an operator, named after the test's parameter; it is removed at the end."""
    name, spec = request.param
    with on.operator("--drift-interval=2s"):
        made = Scene(on, name, **spec)
        on.ready(made.group)
        yield made
        made.go_away()


def named(name: str, **spec: object):
    return pytest.mark.parametrize("scene", [(name, spec)], indirect=True, ids=[name])


@named("beside")
def test_new_node_group_is_ready_and_the_old_one_drained_before_it_is_deleted(on, scene):
    pods = scene.run_pods()
    on.api.patch(*key_of(scene.group)[:3], {"spec": {"scaling": {"min": 1}}}, "default")
    states = set()

    def is_done() -> bool:
        groups, left = scene.groups(), scene.pods()
        states.add((len(groups), len(left)))
        # A Pod is evicted only while both exist.
        assert left == pods or len(groups) == 2 or not left
        return scene.is_done(OTHER_TYPES)

    scene.replace()
    until(is_done, 90, "the replacement")
    name = scene.await_done(OTHER_TYPES)
    assert name.startswith("beside-") and len(name) == len("beside-") + 10
    assert scene.steps() == [f"CreateNodegroup {name}", "DeleteNodegroup beside"]
    assert (2, 2) in states and (2, 0) in states, states
    assert scene.cost_center(name) == ["4711"], "the tags of the Auto Scaling group follow"
    status = scene.found()["status"]
    assert status["nodeGroupName"] == name and f"/{name}/" in status["arn"]
    size = scene.account.eks.describe_nodegroup(clusterName="beside", nodegroupName=name)["nodegroup"]["scalingConfig"]
    assert size == {"minSize": 1, "maxSize": 4, "desiredSize": 2}, "as many nodes as the old one had"
    # Later edits in place go to the new one, and a second replacement returns to the first spec under another name.
    scene.edit(scaling={"max": 5})
    until(
        lambda: scene.account.eks.describe_nodegroup(clusterName="beside", nodegroupName=name)["nodegroup"]["scalingConfig"]["maxSize"] == 5,
        30,
        "the edit in place",
    )
    scene.edit(instanceTypes=TYPES)
    third = scene.await_done(TYPES)
    assert third not in ("beside", name) and third.startswith("beside-")


@named("template", node={"metadata": {"httpPutResponseHopLimit": 2}})
def test_each_node_group_has_its_own_launch_template_which_is_deleted_after_it(on, scene):
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    assert scene.templates() == ["template"]
    scene.replace()
    scene.await_message("allows no eviction now")
    (new,) = [name for name in scene.groups() if name != "template"]
    assert scene.templates() == ["template", new]
    # A change of the template is for the one that stays; the other one keeps its version.
    taken_back = scene.found()["status"]["replacement"]["launchTemplateId"]
    scene.edit(instanceTypes=TYPES)
    assert scene.await_done(TYPES) == "template"
    assert scene.templates() == ["template"], taken_back
    scene.delete_budget()
    scene.edit(instanceTypes=OTHER_TYPES)
    assert scene.await_done(OTHER_TYPES) == new
    assert scene.templates() == [new]
    deletions = [call["action"] for call in on.writes(scene.since, scene.account.id) if call["action"].startswith("Delete") and call["status"] < 400]
    wanted = [action for action in deletions if action in ("DeleteNodegroup", "DeleteLaunchTemplate")]
    assert wanted == ["DeleteNodegroup", "DeleteLaunchTemplate"] * 2, deletions
    # From then on its template is like any: an edit makes a version and no replacement.
    scene.edit(node={"metadata": {"httpPutResponseHopLimit": 1}})
    until(lambda: scene.is_done(OTHER_TYPES), 60, "the edit")
    assert scene.groups() == [new]


@named("blocked")
def test_budget_that_blocks_is_named_and_nothing_is_deleted(on, scene):
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    scene.replace()
    message = scene.await_message("default/blocked-0", "default/blocked", "allows no eviction now")
    assert "drained" in message, message
    replacement = scene.replacement()
    assert replacement["step"] == "Draining" and replacement["leaves"] == "blocked", replacement
    # One node at a time, as in an update without maxUnavailable.
    assert [(pod["pod"], pod["budget"]) for pod in replacement["blockedPods"]] == [("default/blocked-0", "default/blocked")]
    assert scene.cordoned("blocked") == [True, True]
    stays(lambda: len(scene.groups()) == 2 and len(scene.pods()) == 2, 5, "both node groups")
    # One that never allows an eviction needs a person at once.
    scene.create_budget(maxUnavailable=0)
    stalled = on.await_condition(scene.group, "Stalled", timeout=40)
    stalled = conditions(stalled)["Stalled"]
    assert stalled["reason"] == "UpgradeBlocked" and "never allows an eviction" in stalled["message"], stalled
    assert "DeleteNodegroup blocked" not in scene.steps()
    scene.delete_budget()
    scene.await_done(OTHER_TYPES)
    assert scene.pods() == []


@named("unlabelled")
def test_node_group_whose_nodes_are_not_found_is_not_deleted(on, scene):
    pods = scene.run_pods()
    names = [node["metadata"]["name"] for node in scene.nodes("unlabelled")]

    def label(value: str | None) -> None:
        labels = {"eks.amazonaws.com/nodegroup": value}
        for name in names:
            on.cloud.workload.api.patch("v1", "Node", name, {"metadata": {"labels": labels}})

    label(None)
    scene.replace()
    scene.await_message("node group unlabelled has 2 nodes, and the cluster shows none with the label")
    assert scene.replacement()["step"] == "AwaitingNodes", scene.replacement()
    stays(lambda: len(scene.groups()) == 2 and scene.pods() == pods, 5, "both node groups")
    assert "DeleteNodegroup unlabelled" not in scene.steps()
    label("unlabelled")
    scene.await_done(OTHER_TYPES)
    assert scene.pods() == []


@named("back")
def test_edit_that_is_taken_back_removes_the_new_node_group(on, scene):
    pods = scene.run_pods()
    scene.create_budget(minAvailable=1)
    scene.replace()
    scene.await_message("allows no eviction now")
    (new,) = [name for name in scene.groups() if name != "back"]
    assert all(scene.cordoned("back"))
    scene.edit(instanceTypes=TYPES)
    assert scene.await_done(TYPES) == "back"
    assert scene.steps() == [f"CreateNodegroup {new}", f"DeleteNodegroup {new}"]
    assert scene.pods() == pods and scene.cordoned("back") == [False, False]
    assert not any(CORDONED_FOR in node["metadata"].get("annotations", {}) for node in scene.nodes("back"))
    scene.delete_budget()


@named("third")
def test_another_edit_removes_the_new_node_group_before_it_begins(on, scene):
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    scene.replace()
    scene.await_message("allows no eviction now")
    (second,) = [name for name in scene.groups() if name != "third"]
    scene.edit(instanceTypes=["m7i.2xlarge"])
    until(lambda: second not in scene.groups(), 60, "the deletion of the second one")
    assert "third" in scene.groups()
    scene.delete_budget()
    last = scene.await_done(["m7i.2xlarge"])
    assert scene.steps() == [
        f"CreateNodegroup {second}", f"DeleteNodegroup {second}", f"CreateNodegroup {last}", "DeleteNodegroup third"
    ]


@named("users")
def test_node_that_a_user_cordoned_stays_cordoned(on, scene):
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    first = scene.nodes("users")[0]["metadata"]["name"]
    on.cloud.workload.api.patch("v1", "Node", first, {"spec": {"unschedulable": True}})
    scene.replace()
    scene.await_message("allows no eviction now")
    scene.edit(instanceTypes=TYPES)
    until(lambda: scene.cordoned("users").count(True) == 1, 30, "what Keelson cordoned")
    (cordoned,) = [node["metadata"]["name"] for node in scene.nodes("users") if node["spec"].get("unschedulable")]
    assert cordoned == first
    # Only nodes that take Pods count: the user decides.
    scene.await_message("1 of 2 nodes of node group users take Pods")
    on.cloud.workload.api.patch("v1", "Node", first, {"spec": {"unschedulable": False}})
    assert scene.await_done(TYPES) == "users"
    scene.delete_budget()


@named("window", upgrade={"windows": [CLOSED_WINDOW], "unreadableNodes": "Ignore"})
def test_replacement_begins_in_a_maintenance_window(on, scene):
    scene.replace()
    scene.edit(scaling={"max": 6})
    message = scene.await_message("waits for a maintenance window: the next opens")
    assert conditions(scene.found())["Ready"]["reason"] == "OutsideMaintenanceWindow", message
    size = lambda: scene.account.eks.describe_nodegroup(clusterName="window", nodegroupName="window")["nodegroup"]["scalingConfig"]
    until(lambda: size()["maxSize"] == 6, 30, "an edit in place, which needs no window")
    assert scene.steps() == [] and not any(scene.cordoned("window"))
    on.api.patch(*key_of(scene.cluster)[:3], {"spec": {"upgrade": {"windows": None}}}, "default")
    scene.await_done(OTHER_TYPES)


@named("approval", changePolicy="Automatic")
def test_one_approval_covers_the_whole_replacement(on, scene):
    scene.run_pods()
    on.api.patch(*key_of(scene.cluster)[:3], {"spec": {"changePolicy": "Approval"}}, "default")
    on.await_in_sync(scene.cluster)
    scene.replace()
    scene.await_message("waits for approval (2 to create, 0 to update, 1 to delete)")
    plan = scene.found()["status"]["plan"]
    steps = [(step["action"], step["resource"]) for step in plan["steps"]]
    created = {resource.split("/")[0] for action, resource in steps if action == "Create"}
    assert created == {"nodeGroup", "autoScalingGroupTags"} and ("Delete", "nodeGroup/approval") in steps, steps
    stays(lambda: scene.steps() == [] and not any(scene.cordoned("approval")), 4, "nothing before the approval")
    annotations = {"keelson.dev/approve": plan["hash"]}
    on.api.patch(*key_of(scene.group)[:3], {"metadata": {"annotations": annotations}}, "default")
    scene.await_done(OTHER_TYPES)
    assert len(scene.steps()) == 2


@named("refused")
def test_without_the_policy_the_edit_is_refused_and_the_policy_stays_while_it_is_at_work(on, scene):
    scene.edit(replacementPolicy="Refuse")
    with pytest.raises(ApiError) as refused:
        scene.edit(instanceTypes=OTHER_TYPES)
    assert "set replacementPolicy: MakeBeforeBreak" in refused.value.message, refused.value
    scene.edit(replacementPolicy="MakeBeforeBreak")
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    scene.replace()
    scene.await_message("allows no eviction now")
    with pytest.raises(ApiError) as refused:
        scene.edit(replacementPolicy="Refuse")
    assert "a replacement of the node group is in progress" in refused.value.message, refused.value
    scene.delete_budget()
    scene.await_done(OTHER_TYPES)


@named("gone")
def test_deletion_in_the_middle_deletes_both(on, scene):
    scene.run_pods()
    scene.create_budget(minAvailable=1)
    scene.replace()
    scene.await_message("allows no eviction now")
    assert len(scene.groups()) == 2
    on.delete(scene.group)
    assert scene.groups() == []
    scene.delete_budget()


@pytest.mark.parametrize("node", [None, {}], ids=["without-template", "with-template"])
def test_replacement_completes_once_when_killed_at_every_write(on, capsys, node):
    name = "killed" if node is None else "killed-node"
    made = idle_scene(on, name, node=node)
    pods = made.run_pods()
    assert len(pods) == 2
    made.replace()
    run = killed_at(on, made.account.id, lambda: made.is_done(OTHER_TYPES), timeout=200, flags=("--drift-interval=2s",))
    with capsys.disabled():
        print(f"\n  {run.summary('a replacement')}")
    (new,) = made.groups()
    # A call that is repeated with its client token creates no second one.
    assert list(dict.fromkeys(made.steps())) == [f"CreateNodegroup {new}", f"DeleteNodegroup {name}"]
    assert made.pods() == [] and made.templates() == ([] if node is None else [new])
    with on.operator("--drift-interval=2s", account=made.account.id):
        made.go_away()


def test_nodes_are_cordoned_drained_and_uncordoned_though_the_operator_is_killed_at_each_write(on, capsys):
    """At writes to the nodes and at evictions; while an edit is taken back also at each write to AWS."""
    made = idle_scene(on, "torn")
    pods = made.run_pods()
    made.create_budget(minAvailable=1)
    kinds = {"Node"}

    def counts(request: dict) -> bool:
        """Not what the nodes' own components write."""
        cordoned = [(request.get(of) or {}).get("spec", {}).get("unschedulable", False) for of in ("oldObject", "object")]
        kind = request["kind"]["kind"]
        return kind in kinds and (kind == "Eviction" or cordoned[0] != cordoned[1])

    options = {"flags": ("--drift-interval=2s",), "account": made.account.id}
    with killer(on, rules={"": ["nodes", "pods/eviction"]}, found=Killer(counts)) as operator_killer:
        made.replace()
        cordoned = operator_killer.run(on, lambda: "allows no eviction now" in made.message(), **options)
        assert made.cordoned("torn") == [True, True] and len(made.groups()) == 2
        mark = on.mark()
        made.edit(instanceTypes=TYPES)
        back = operator_killer.run(on, lambda: made.is_done(TYPES), at_aws=made.account.id, **options)
        at_aws = [call["action"] for call in on.writes(mark, made.account.id) if "signal" in call.get("fault", "")]
        assert made.groups() == ["torn"] and made.pods() == pods and made.cordoned("torn") == [False, False]
        assert not any(CORDONED_FOR in node["metadata"].get("annotations", {}) for node in made.nodes("torn"))
        made.delete_budget()
        # The nodes' turn was above.
        kinds.clear()
        kinds.add("Eviction")
        made.replace()
        drained = operator_killer.run(on, lambda: made.is_done(OTHER_TYPES), **options)
    with capsys.disabled():
        print(f"\n  {operator_killer.starts} starts: {cordoned}, {back} and {at_aws}, {drained}")
    # Nodes may be written concurrently: what is stored with the first is no kill of its own.
    words = lambda points: {point.rpartition(" ")[0] for point in points}  # noqa: E731
    assert words(cordoned) == words(back) == {"UPDATE Node"} and words(drained) == {"CREATE Eviction"}
    assert "DeleteNodegroup" in at_aws, at_aws
    (new,) = made.groups()
    assert made.pods() == [] and made.steps() == [f"CreateNodegroup {new}", "DeleteNodegroup torn"]
    with on.operator(*options["flags"], account=made.account.id):
        made.go_away()


def test_plan_shows_the_creation_the_drain_and_the_deletion(on):
    """Also without the management cluster."""
    made = idle_scene(on, "planned")
    edited = {**made.group, "spec": {**made.group["spec"], "instanceTypes": OTHER_TYPES}}
    text = yaml.safe_dump_all([made.cluster, edited])
    line, env = command(on, "plan", "-f", "-", "--live")
    env |= {**on.aws.env(), "AWS_ACCESS_KEY_ID": made.account.id}
    shown = subprocess.run(line, env=env, input=text, capture_output=True, text=True, check=False, timeout=60)
    lines = [line.split() for line in shown.stdout.splitlines()]
    created = [line for line in lines if line[:3] == ["+", "node", "group"] and line[3].startswith(f"{made.name}-")]
    drained = [line for line in lines if line[:6] == ["~", "drain", "of", "node", "group", made.name]]
    deleted = [line for line in lines if line[:4] == ["-", "node", "group", made.name]]
    assert len(created) == len(drained) == len(deleted) == 1 and "m7i.xlarge" in " ".join(created[0]), shown.stdout + shown.stderr
    assert "its nodes are drained first" in " ".join(drained[0]) and f"after the drain of node group {made.name}" in " ".join(deleted[0])
    assert lines.index(created[0]) < lines.index(drained[0]) < lines.index(deleted[0]), shown.stdout
    refused = yaml.safe_dump_all([made.cluster, {**edited, "spec": {**edited["spec"], "replacementPolicy": "Refuse"}}])
    shown = subprocess.run(line, env=env, input=refused, capture_output=True, text=True, check=False, timeout=60)
    assert "cannot be changed" in shown.stdout + shown.stderr, shown
    with on.operator("--drift-interval=2s", account=made.account.id):
        made.go_away()


def test_status_that_is_lost_in_the_middle_is_found_again(on):
    made = idle_scene(on, "lost")
    made.run_pods()
    made.create_budget(minAvailable=1)
    with on.operator("--drift-interval=2s", account=made.account.id):
        made.replace()
        made.await_message("allows no eviction now")
    assert len(made.groups()) == 2
    item = made.found()
    path = on.api.path(*key_of(made.group)[:3], "default")
    on.api.request("PUT", f"{path}/status", json={**item, "status": {}})
    made.delete_budget()
    with on.operator("--drift-interval=2s", account=made.account.id):
        new = made.await_done(OTHER_TYPES)
        assert made.steps() == [f"CreateNodegroup {new}", "DeleteNodegroup lost"]
        made.go_away()


def idle_scene(on: Environment, name: str, node: dict | None = None) -> Scene:
    """A scene whose operator has stopped."""
    account_id = fresh_account()
    with on.operator("--drift-interval=2s", account=account_id):
        made = Scene(on, name, account_id, node)
        on.ready(made.group)
    return made
