"""`karpenter`: what Karpenter needs in AWS is created, kept and removed; a deletion drains its nodes first, and terminates only its instances that
outlive the cluster. Karpenter itself does not run here: a thread plays it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from signal import SIGKILL

import pytest
import yaml

from fleet.account import OWNER, Account, fresh_account
from fleet.environment import Environment, actions, environment, stays, until
from fleet.killing import killed_at
from fleet.leftovers import Network, tagged
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of
from keelson_aws.policy_evaluator import Request, decide
from keelson_harness.aws import REGION, Durations
from keelson_harness.kubeapi import conditions
from keelson_harness.paths import CHECKOUT
from test_load_balancers import custom, definition

FLAGS = ("--drift-interval=1s", "--max-deletions=100", "--pod-credentials-lifetime=3s")
AGENT = {"name": "eks-pod-identity-agent"}
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None"}}, "oidcProvider": False, "addons": [AGENT]}
DISCOVERY = "karpenter.sh/discovery"
PODS = "kube-system/karpenter"
NODE_CLASS_REF = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
NODE_CLASS = CHECKOUT / "examples/fleet/karpenter/nodes/nodes.yaml"


@pytest.fixture(scope="module")
def on():
    env = {"QUEUE_NAME_SECONDS": "2"}
    with environment(git=False, flux=False, durations=Durations(1, 1, 0.5, 0.5, 0.2, 0.5), aws_env=env) as started:
        # As the charts of Karpenter and its provider install them, without their schemas.
        started.cloud.workload.api.apply_all([
            definition("karpenter.sh", "nodepools", "NodePool", namespaced=False),
            definition("karpenter.sh", "nodeclaims", "NodeClaim", namespaced=False),
            definition("karpenter.k8s.aws", "ec2nodeclasses", "EC2NodeClass", namespaced=False),
        ])
        yield started


class Shop:
    """A cluster with Karpenter in an account of its own."""

    def __init__(self, on: Environment, name: str, **spec: object):
        self.on, self.name = on, name
        self.account: Account = on.account(fresh_account())
        self.iam, self.eks = self.account.iam, self.account.eks
        self.sqs, self.events = self.account.client("sqs"), self.account.client("events")
        self.access = aws_account(f"account-{self.account.id}", self.account.id)
        self.item = cluster(name, accountRef={"name": self.access["metadata"]["name"]}, **{**SMALL, "karpenter": {}, **spec})
        self.resource = f"keelson-{name}-karpenter"
        self.queue_arn = f"arn:aws:sqs:{REGION}:{self.account.id}:{self.resource}"
        self.rule_name = f"keelson-{name}-interruptions"
        self.since = on.mark()

    def apply(self) -> Shop:
        self.on.apply(self.access, self.item)
        return self

    def edit(self, **spec: object) -> int:
        mark = self.on.mark()
        self.on.api.patch(*key_of(self.item)[:3], {"spec": spec})
        self.on.await_in_sync(self.item)
        return mark

    def found(self) -> dict | None:
        return self.on.api.find(*key_of(self.item))

    def is_ready(self) -> bool:
        return conditions(self.found() or {}).get("Ready", {}).get("status") == "True"

    def url(self) -> str | None:
        with contextlib.suppress(self.sqs.exceptions.QueueDoesNotExist):
            return self.sqs.get_queue_url(QueueName=self.resource)["QueueUrl"]
        return None

    def queue(self) -> dict | None:
        url = self.url()
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"] if url else None

    def rule(self) -> dict | None:
        with contextlib.suppress(self.events.exceptions.ResourceNotFoundException):
            rule = self.events.describe_rule(Name=self.rule_name)
            return {**rule, "targets": self.events.list_targets_by_rule(Rule=self.rule_name)["Targets"]}
        return None

    def roles(self) -> dict[str, str]:
        """Names by what they are for."""
        return {tags["keelson.dev/resource"]: name for name, tags in self.account.roles().items() if OWNER in tags}

    def pods_role(self) -> str | None:
        return self.roles().get(f"workloadRole/{PODS}")

    def policy(self) -> list[dict]:
        """The statements of the role of Karpenter's Pods."""
        document = self.iam.get_role_policy(RoleName=self.pods_role(), PolicyName="keelson-Karpenter")["PolicyDocument"]
        return document["Statement"]

    def association(self) -> dict | None:
        found = self.eks.list_pod_identity_associations(clusterName=self.name, namespace="kube-system", serviceAccount="karpenter")["associations"]
        return found[0] if found else None

    def discovery(self) -> dict[str, str]:
        """The tag by subnet, in Keelson's words."""
        return {t["keelson.dev/resource"]: t[DISCOVERY] for t in self.account.tagged().values() if DISCOVERY in t}

    def writes(self, mark: int | None = None) -> list[str]:
        """Those that succeeded."""
        calls = [call for call in self.on.writes(self.since if mark is None else mark, self.account.id) if call["status"] < 400]
        return [action.split(" ")[0] for action in actions(calls)]

    def event(self, kind: str = "EC2 Spot Instance Interruption Warning", source: str = "aws.ec2") -> list[str]:
        """Sends an event of AWS; returns the queues that got it."""
        body = {"account": self.account.id, "region": REGION, "event": {"source": source, "detail-type": kind, "detail": {}}}
        return self.on.aws.control("POST", "events", json=body)["queues"]

    def is_gone(self) -> bool:
        return self.url() is None and self.rule() is None


def create_queue(shop: Shop, tags: dict[str, str]) -> bool:
    """Whether the name of the cluster's queue is free again, and taken now."""
    with contextlib.suppress(shop.sqs.exceptions.QueueDeletedRecently):
        return bool(shop.sqs.create_queue(QueueName=shop.resource, tags=tags))
    return False


def used(on: Environment, fault: int) -> int:
    """How many calls a fault has met."""
    return next(rule["used"] for rule in on.aws.control("GET", "faults")["faults"] if rule["id"] == fault)


def sid_free(statements: list[dict]) -> list[dict]:
    return [{key: value for key, value in statement.items() if key != "Sid"} for statement in statements]


# Crashes come first: `killed_at` starts its own operators.


def test_everything_is_created_and_removed_once_though_the_operator_is_killed_at_every_write(on, capsys):
    shop = Shop(on, "crash").apply()
    killed = killed_at(on, shop.account.id, shop.is_ready, flags=FLAGS, timeout=240)
    assert shop.queue() and shop.rule()["targets"] == [{"Id": "karpenter", "Arn": shop.queue_arn}]
    assert shop.association() and set(shop.discovery()) == {f"subnet/private/{REGION}{zone}" for zone in "ab"}
    on.api.patch(*key_of(shop.item)[:3], {"spec": {"karpenter": None}})
    removed = killed_at(on, shop.account.id, lambda: shop.is_ready() and shop.is_gone() and not shop.pods_role() and not shop.discovery(), flags=FLAGS, timeout=240)
    assert shop.association() is None
    on.api.delete(*key_of(shop.item))
    gone = killed_at(on, shop.account.id, lambda: not shop.found(), flags=FLAGS, timeout=240)
    assert shop.account.inventory() == {}
    with capsys.disabled():
        print(f"\n  {killed.summary('create')}\n  {removed.summary('remove')}\n  {gone.summary('delete')}")


def test_queue_of_a_creation_without_a_response_is_removed_with_the_field(on):
    """The create is on record without its result; the spec drops the field before anybody looks."""
    shop = Shop(on, "lost")
    operator = on.start(*FLAGS, account=shop.account.id)
    signal = {"pid": operator.pid, "signal": SIGKILL, "when": "before"}
    rule = on.aws.add_fault({"action": "CreateQueue", "account": shop.account.id}, {"signal": signal})
    shop.apply()
    until(lambda: shop.url() and not operator.alive, 60, "the queue")
    on.aws.control("DELETE", "faults", params={"id": rule})
    on.api.patch(*key_of(shop.item)[:3], {"spec": {"karpenter": None}})
    with on.operator(*FLAGS, account=shop.account.id):
        until(shop.is_gone, 60, "no queue")
        on.ready(shop.item)
        on.delete(shop.item)
    assert shop.account.inventory() == {}


@pytest.fixture(scope="module")
def shop(on: Environment) -> Shop:
    shop = Shop(on, "shop")
    on.start(*FLAGS, account=shop.account.id)
    shop.apply()
    on.ready(shop.item)
    return shop


def test_second_reconcile_writes_nothing(shop):
    mark = shop.on.mark()
    stays(lambda: shop.writes(mark) == [], 8, "no write")


def test_nodes_get_a_role_with_an_access_entry_before_any_exist(shop):
    role = shop.roles()["role/node"]
    entry = shop.eks.describe_access_entry(clusterName="shop", principalArn=f"arn:aws:iam::{shop.account.id}:role/{role}")["accessEntry"]
    assert entry["type"] == "EC2_LINUX"


def test_pods_of_karpenter_get_their_role(shop):
    role = shop.iam.get_role(RoleName=shop.pods_role())["Role"]
    conditions = role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"]["StringEquals"]
    assert conditions["aws:RequestTag/kubernetes-service-account"] == "karpenter"
    assert shop.association()["serviceAccount"] == "karpenter"
    written = shop.writes()
    assert written.index("iam:PutRolePolicy") < written.index("eks:CreatePodIdentityAssociation")


def test_role_of_karpenter_reads_its_own_queue_and_passes_the_one_node_role(shop):
    statements, uid = sid_free(shop.policy()), shop.found()["metadata"]["uid"]
    session = {"aws:PrincipalTag/keelson.dev/owner": uid, "aws:PrincipalTag/eks-cluster-name": "shop"}

    def may(action: str, resource: str, tags: dict[str, str] | None = None, **context: str) -> bool:
        return decide(Request(action, resource, {**session, **context}, resource_tags=tags or {}), statements).allowed

    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueUrl"):
        assert may(action, shop.queue_arn, {OWNER: uid})
        # A name proves nothing: that of another object, of nobody, and what a tenant names its cluster for.
        assert not may(action, shop.queue_arn, {OWNER: "another"}) and not may(action, shop.queue_arn)
        assert not may(action, f"arn:aws:sqs:{REGION}:{shop.account.id}:shop", {OWNER: uid})
    assert not may("sqs:DeleteQueue", shop.queue_arn, {OWNER: uid})
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    prefix, node = f"arn:aws:iam::{shop.account.id}:role", shop.roles()["role/node"]
    assert may("iam:PassRole", f"{prefix}/{node}", **passed)
    for other in (shop.roles()["role/cluster"], shop.pods_role(), node.replace("shop", "shop-2"), "admin"):
        assert not may("iam:PassRole", f"{prefix}/{other}", **passed), other


def test_events_of_interruptions_reach_the_queue_and_others_do_not(shop):
    for kind, source in [
        ("EC2 Spot Instance Interruption Warning", "aws.ec2"),
        ("EC2 Capacity Reservation Instance Interruption Warning", "aws.ec2"),
        ("EC2 Instance Rebalance Recommendation", "aws.ec2"),
        ("EC2 Instance State-change Notification", "aws.ec2"),
        ("AWS Health Event", "aws.health"),
    ]:
        assert shop.event(kind, source) == [shop.resource], kind
    assert shop.event("EBS Volume Notification") == []
    others = {"Name": "others", "EventPattern": json.dumps({"source": ["aws.ec2"]})}
    shop.events.put_rule(**others)
    shop.events.put_targets(Rule="others", Targets=[{"Id": "q", "Arn": shop.queue_arn}])
    assert shop.event("EBS Volume Notification") == [], "only the cluster's rule may send"
    shop.events.remove_targets(Rule="others", Ids=["q"])
    shop.events.delete_rule(Name="others")


def test_what_somebody_changes_is_put_back(shop):
    url = shop.url()
    shop.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "86400", "Policy": json.dumps({"Version": "2012-10-17", "Statement": []})})
    until(lambda: shop.queue()["MessageRetentionPeriod"] == "300" and "events.amazonaws.com" in shop.queue().get("Policy", ""), 30, "the attributes")
    shop.events.put_rule(Name=shop.rule_name, EventPattern=json.dumps({"source": ["aws.s3"]}), State="DISABLED")
    shop.events.remove_targets(Rule=shop.rule_name, Ids=["karpenter"])
    until(lambda: shop.event() == [shop.resource], 30, "the rule")
    shop.sqs.untag_queue(QueueUrl=url, TagKeys=["keelson.dev/resource"])
    until(lambda: "keelson.dev/resource" in shop.sqs.list_queue_tags(QueueUrl=url)["Tags"], 30, "the tag")


def others_rule(shop: Shop) -> None:
    shop.events.put_rule(Name=shop.rule_name, EventPattern=json.dumps({"source": ["aws.s3"]}), Tags=[{"Key": "team", "Value": "b"}])


def test_rule_that_somebody_creates_at_the_same_moment_gets_no_target_and_is_named(on):
    """PutRule overwrites what has the name. The answer that there is none comes late, and whose the rule is shows only afterwards."""
    shop = Shop(on, "race")
    late = on.aws.add_fault({"service": "events", "action": "ListTagsForResource", "account": shop.account.id, "times": 1}, {"delay": 5})
    with on.operator(*FLAGS, account=shop.account.id):
        shop.apply()
        until(lambda: used(on, late), 60, "the creation")
        others_rule(shop)
        until(lambda: shop.writes().count("events:PutRule") == 2, 30, "the operator's, after somebody's")
        until(lambda: f"event rule {shop.rule_name}" in on.condition(shop.item).get("message", ""), 60, "the message")
        stays(lambda: shop.rule()["targets"] == [], 5, "no target")
        shop.events.delete_rule(Name=shop.rule_name)
        on.ready(shop.item)
        on.delete(shop.item)


def test_rule_that_is_replaced_between_a_read_and_a_write_is_left_alone(on):
    shop = Shop(on, "late")
    with on.operator(*FLAGS, account=shop.account.id):
        shop.apply()
        on.ready(shop.item)
    on.api.patch(*key_of(shop.item)[:3], {"spec": {"tags": {"stage": "late"}}})
    # The last read of the rule, before its tags are changed.
    late = on.aws.add_fault({"action": "ListTargetsByRule", "account": shop.account.id, "times": 1}, {"delay": 5})
    with on.operator(*FLAGS, account=shop.account.id):
        until(lambda: used(on, late), 60, "the read")
        shop.events.remove_targets(Rule=shop.rule_name, Ids=["karpenter"])
        shop.events.delete_rule(Name=shop.rule_name)
        others_rule(shop)

        def is_untouched() -> bool:
            tags = shop.events.list_tags_for_resource(ResourceARN=shop.rule()["Arn"])["Tags"]
            return tags == [{"Key": "team", "Value": "b"}] and shop.rule()["targets"] == [] and "aws.s3" in shop.rule()["EventPattern"]

        stays(is_untouched, 12, "somebody else's rule")
        shop.events.delete_rule(Name=shop.rule_name)
        on.ready(shop.item)
        on.delete(shop.item)


def test_tags_of_the_spec_reach_queue_and_rule_and_leave_them(shop):
    def found() -> tuple[str | None, str | None]:
        queue = shop.sqs.list_queue_tags(QueueUrl=shop.url()).get("Tags", {})
        rule = {tag["Key"]: tag["Value"] for tag in shop.events.list_tags_for_resource(ResourceARN=shop.rule()["Arn"])["Tags"]}
        return queue.get("stage"), rule.get("stage")

    shop.edit(tags={"stage": "prod"})
    assert found() == ("prod", "prod")
    shop.edit(tags={"stage": None})
    until(lambda: found() == (None, None), 30, "no tag")


def test_queue_and_rule_go_without_interruption_queue_and_come_again(shop):
    mine = {"QueueName": "keelson-another-karpenter", "tags": {OWNER: "another"}}
    shop.sqs.create_queue(**mine)
    mark = shop.edit(karpenter={"interruptionQueue": False})
    until(shop.is_gone, 30, "no queue")
    assert sorted(set(shop.writes(mark))) == ["events:DeleteRule", "events:RemoveTargets", "sqs:DeleteQueue"]
    assert shop.pods_role() and shop.association() and shop.discovery()
    # Its name is taken for a while.
    shop.edit(karpenter={"interruptionQueue": True})
    until(lambda: shop.rule() and shop.event() == [shop.resource], 30, "the queue")
    on_aws = shop.sqs.get_queue_url(QueueName="keelson-another-karpenter")["QueueUrl"]
    shop.sqs.delete_queue(QueueUrl=on_aws)


def test_field_that_is_removed_takes_away_all_but_the_role_of_the_nodes(shop):
    mark = shop.edit(karpenter=None)
    until(lambda: shop.is_gone() and not shop.pods_role() and not shop.discovery() and not shop.association(), 60, "nothing of Karpenter")
    assert "role/node" in shop.roles(), "nodes may still use it"
    assert "ec2:DeleteTags" in shop.writes(mark)
    # Of somebody: no tag of Keelson's.
    subnet = Network(shop.account, "shop").subnet
    shop.account.ec2.create_tags(Resources=[subnet], Tags=[{"Key": DISCOVERY, "Value": "mine"}])
    stays(lambda: set(shop.discovery().values()) == {"mine"}, 3, "it is not Keelson's")


def test_queue_of_others_that_has_the_name_is_left_alone_and_named(on):
    taken = Shop(on, "taken")
    taken.sqs.create_queue(QueueName=taken.resource, tags={"team": "b"})
    taken.events.put_rule(Name=taken.rule_name, EventPattern=json.dumps({"source": ["aws.s3"]}))
    mark = on.mark()
    with on.operator(*FLAGS, account=taken.account.id):
        taken.apply()

        def message() -> str:
            return on.condition(taken.item).get("message", "")

        until(lambda: f"queue {taken.resource}" in message(), 60, "the message")
        assert not [write for write in taken.writes(mark) if write.startswith(("sqs:", "events:"))]
        taken.sqs.delete_queue(QueueUrl=taken.url())
        taken.events.delete_rule(Name=taken.rule_name)
        on.ready(taken.item)
        on.delete(taken.item)


def test_facts_are_what_manifests_in_git_need(on):
    shop = Shop(on, "facts", gitops=flux("https://git.example.com/fleet"))

    def data() -> dict[str, str]:
        found = on.cloud.workload.api.find("v1", "ConfigMap", "keelson-cluster-facts", "flux-system")
        return (found or {}).get("data", {})

    with on.operator(*FLAGS, account=shop.account.id):
        shop.apply()
        until(lambda: data().get("KARPENTER_NODE_ROLE_NAME") and len(data().get("KARPENTER_SUBNET_SELECTOR_TERMS", "")) > 40, 90, "the facts")
        facts = data()
        subnets = {i for i, t in shop.account.tagged().items() if t["keelson.dev/resource"].startswith("subnet/private/")}
        assert facts["KARPENTER_NODE_ROLE_NAME"] == shop.roles()["role/node"]
        assert facts["KARPENTER_INTERRUPTION_QUEUE"] == shop.resource
        assert facts["CLUSTER_NAME"] == "facts" and facts["CLUSTER_ENDPOINT"]
        # As Flux substitutes them in the example: as text, before it reads the YAML.
        text = NODE_CLASS.read_text()
        for name, value in facts.items():
            text = text.replace(f"${{{name}}}", value)
        spec = next(one for one in yaml.safe_load_all(text) if one["kind"] == "EC2NodeClass")["spec"]
        assert spec["role"] == shop.roles()["role/node"]
        assert {term["id"] for term in spec["subnetSelectorTerms"]} == subnets
        assert spec["securityGroupSelectorTerms"] == [{"id": facts["CLUSTER_SECURITY_GROUP_ID"]}]
    # Somebody else takes the name: Karpenter would believe what is in that queue.
    shop.sqs.delete_queue(QueueUrl=shop.url())
    until(lambda: create_queue(shop, {"team": "b"}), 20, "the name")
    with on.operator(*FLAGS, account=shop.account.id):
        until(lambda: data()["KARPENTER_INTERRUPTION_QUEUE"] == "", 60, "no queue")
        assert data()["KARPENTER_NODE_ROLE_NAME"] == facts["KARPENTER_NODE_ROLE_NAME"]
        shop.sqs.delete_queue(QueueUrl=shop.url())
        until(lambda: data()["KARPENTER_INTERRUPTION_QUEUE"] == shop.resource, 60, "the queue")
        on.delete(shop.item)


# Deletion


def instance_profile(account: Account, name: str, role: str | None = None) -> str:
    """An instance profile, as Karpenter creates it for an EC2NodeClass."""
    account.iam.create_instance_profile(InstanceProfileName=name, Tags=[{"Key": "karpenter.k8s.aws/ec2nodeclass", "Value": "default"}])
    if role:
        account.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
    return name


def launch(network: Network, profile: str | None = None, *, pool: str | None = "spot", of: str | None = None) -> str:
    """An instance with that instance profile, as Karpenter launches it for the cluster `of`."""
    tags = {f"kubernetes.io/cluster/{of or network.name}": "owned", "eks:eks-cluster-name": of or network.name}
    tags |= {"karpenter.sh/nodepool": pool} if pool else {}
    request = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "InstanceType": "m5.large", "SubnetId": network.subnet}
    request |= {"IamInstanceProfile": {"Name": profile}} if profile else {}
    return network.ec2.run_instances(**request, TagSpecifications=tagged("instance", tags))["Instances"][0]["InstanceId"]


def state(account: Account, instance: str) -> str:
    return account.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]


def nodes(instance: str) -> list[dict]:
    """A NodePool, an EC2NodeClass and a NodeClaim with that instance."""
    claim = custom("karpenter.sh/v1", "NodeClaim", "spot-x", {"nodeClassRef": NODE_CLASS_REF}, "karpenter.sh/termination", namespace=None)
    return [
        custom("karpenter.sh/v1", "NodePool", "spot", {"template": {"spec": {"nodeClassRef": NODE_CLASS_REF}}}, namespace=None),
        {**claim, "status": {"providerID": f"aws:///{REGION}a/{instance}"}},
        custom("karpenter.k8s.aws/v1", "EC2NodeClass", "default", {"role": "x"}, "karpenter.k8s.aws/termination", namespace=None),
    ]


@contextlib.contextmanager
def karpenter(on: Environment, account: Account, started: threading.Event) -> Iterator[None]:
    """Plays Karpenter once `started`: ends the instance of a deleted NodeClaim, then lets it go; EC2NodeClasses once no NodeClaim is left."""
    api, ended = on.cloud.workload.api, threading.Event()

    def run() -> None:
        while not ended.wait(0.2):
            if not started.is_set():
                continue
            claims = api.list("karpenter.sh/v1", "NodeClaim")
            for claim in claims:
                if claim["metadata"].get("deletionTimestamp"):
                    account.ec2.terminate_instances(InstanceIds=[claim["status"]["providerID"].rpartition("/")[2]])
                    api.patch("karpenter.sh/v1", "NodeClaim", claim["metadata"]["name"], {"metadata": {"finalizers": None}}, None)
            for one in api.list("karpenter.k8s.aws/v1", "EC2NodeClass") if not claims else []:
                if one["metadata"].get("deletionTimestamp"):
                    api.patch("karpenter.k8s.aws/v1", "EC2NodeClass", one["metadata"]["name"], {"metadata": {"finalizers": None}}, None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def remove_objects(on: Environment) -> None:
    api = on.cloud.workload.api
    for version, kind in (("karpenter.sh/v1", "NodePool"), ("karpenter.sh/v1", "NodeClaim"), ("karpenter.k8s.aws/v1", "EC2NodeClass")):
        for one in api.list(version, kind):
            with contextlib.suppress(Exception):
                api.patch(version, kind, one["metadata"]["name"], {"metadata": {"finalizers": None}}, None)
                api.delete(version, kind, one["metadata"]["name"], None)


def test_deletion_waits_for_the_nodes_of_karpenter_and_then_goes_on(on):
    shop = Shop(on, "drained")
    with on.operator(*FLAGS, account=shop.account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "5m"}):
        shop.apply()
        on.ready(shop.item)
        instance = launch(Network(shop.account, "drained"))
        on.cloud.workload.api.apply_all(nodes(instance))
        started = threading.Event()
        with karpenter(on, shop.account, started):
            mark = on.mark()
            on.api.delete(*key_of(shop.item))
            until(lambda: "NodeClaim spot-x" in on.condition(shop.item).get("message", ""), 30, "the message")
            stays(lambda: not [write for write in shop.writes(mark) if "Delete" in write], 3, "nothing is deleted before")
            assert shop.queue() and shop.association(), "Karpenter needs both while it drains"
            started.set()
            on.api.wait_gone(*key_of(shop.item), 90)
    assert state(shop.account, instance) == "terminated"
    assert shop.account.inventory() == {}
    assert on.cloud.workload.api.list("karpenter.k8s.aws/v1", "EC2NodeClass") == [], "its instance profile goes with it"
    remove_objects(on)


def test_instances_that_outlive_karpenter_are_named_and_terminated_with_the_cluster(on):
    shop = Shop(on, "outlived")
    with on.operator(*FLAGS, account=shop.account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "6s"}):
        shop.apply()
        on.ready(shop.item)
        profile = instance_profile(shop.account, "outlived_1", shop.roles()["role/node"])
        instance = launch(Network(shop.account, "outlived"), profile)
        # Nobody ends it.
        on.cloud.workload.api.apply_all(nodes(instance))
        mark = on.mark()
        on.api.delete(*key_of(shop.item))
        on.api.wait_gone(*key_of(shop.item), 120)
    notes = [event["note"] for event in on.events(shop.item)]
    assert any("continues without waiting any longer for" in note and "NodeClaim spot-x" in note for note in notes), notes
    written = shop.writes(mark)
    assert written.index("eks:DeleteCluster") < written.index("ec2:TerminateInstances") < written.index("ec2:DeleteSubnet")
    assert written.index("ec2:TerminateInstances") < written.index("iam:RemoveRoleFromInstanceProfile"), "it proves that they are its"
    assert state(shop.account, instance) == "terminated"
    # Karpenter deletes it with its EC2NodeClass, and did not.
    shop.iam.delete_instance_profile(InstanceProfileName=profile)
    assert shop.account.inventory() == {}
    remove_objects(on)


def test_only_instances_of_the_cluster_are_terminated_in_an_existing_network(on):
    account = on.account(fresh_account())
    subnets = account.network("ab")
    shop = Shop(on, "guest", network={"existing": {"subnetIds": subnets}})
    shop.account = account
    shop.access = aws_account(f"account-{account.id}", account.id)
    shop.item["spec"]["accountRef"] = {"name": shop.access["metadata"]["name"]}

    class Place:
        ec2, name, subnet = account.ec2, "guest", subnets[0]

    profile = instance_profile(account, "guest_1")
    earlier = launch(Place, profile)
    until(lambda: state(account, earlier) == "running", 10, "the instance of an earlier cluster")
    # EC2 tells launch times by the second.
    threading.Event().wait(1.2)
    with on.operator(*FLAGS, account=account.id, env={"KEELSON_LOAD_BALANCER_TIMEOUT": "0s"}):
        shop.apply()
        on.ready(shop.item)
        assert not [t for t in account.tagged().values() if DISCOVERY in t], "the subnets are not Keelson's to tag"
        threading.Event().wait(1.2)
        account.iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=shop.roles()["role/node"])
        own, other, unmarked = launch(Place, profile), launch(Place, profile, of="other"), launch(Place, profile, pool=None)
        # A cluster of kOps has the same name, and its Karpenter writes the same tags.
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        account.iam.create_role(RoleName="nodes.guest", AssumeRolePolicyDocument=json.dumps(trust))
        namesake, bare = launch(Place, instance_profile(account, "nodes.guest", "nodes.guest")), launch(Place)
        on.delete(shop.item, timeout=120)
    assert state(account, own) in ("shutting-down", "terminated")
    assert {state(account, one) for one in (earlier, other, unmarked, namesake, bare)} == {"running"}
