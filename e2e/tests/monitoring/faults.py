"""Faults that raise each alert about objects and AWS, and how each is mended. `test_monitoring.py` plays them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from faults import SMALL, Played, Scene, play
from faults.scenes import THROTTLED_EC2, error_response
from fleet import API
from fleet.account import fresh_account
from fleet.environment import Environment, until
from fleet.manifests import account, cluster, flux, key_of, node_group, secret
from fleet.rings import wave
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.webhook import Webhook

DAY = 86400
FAR = 2000
GIT = "https://git.example.com/fleet.git"
DISABLED = {"code": "KmsKeyDisabled", "message": "The AWS KMS Key associated with your cluster is disabled.", "resourceIds": ["key/1"]}
QUOTA = error_response("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
FAILED_UPDATE = {"health_issue": {"code": "Unknown", "message": "an internal failure"}}
ROLLOUT = {
    "apiVersion": API,
    "kind": "FleetRollout",
    "metadata": {"name": "fleet"},
    "spec": {"clusterSelector": {"matchLabels": {"fleet": "fleet"}}, "gates": ["ControlPlane"], "waves": [wave("canary")]},
}
DENIED = error_response("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)


def day(from_now: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + from_now * DAY))


def publish_support(on: Environment, version: str, standard: int, extended: int, account_id: str = "") -> None:
    """Ends of support, in days from now, in all accounts or in one."""
    dates = {"endOfStandardSupportDate": day(standard), "endOfExtendedSupportDate": day(extended)}
    on.aws.publish(version=version, account=account_id, **dates)


def patch(on: Environment, item: dict, spec: dict) -> None:
    version, kind, name, namespace = key_of(item)
    on.api.patch(version, kind, name, {"spec": spec}, namespace)


def annotate(on: Environment, item: dict, **annotations: str) -> None:
    version, kind, name, namespace = key_of(item)
    values = {f"keelson.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    on.api.patch(version, kind, name, {"metadata": {"annotations": values}}, namespace if kind not in ("AwsAccount", "FleetRollout") else None)


def retry_now(on: Environment, item: dict) -> None:
    annotate(on, item, reconcile_at=str(time.time()))


def remove_rules(on: Environment, scene: Played) -> None:
    for rule in scene.rules:
        on.aws.control("DELETE", "faults", params={"id": rule})
    retry_now(on, scene.cluster)


def nested(depth: int) -> dict:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return {"x": value}


@dataclass
class Faults:
    """Clusters that are ready before the faults, and what each fault needs to be mended."""

    on: Environment
    queue_url: str
    webhook: Webhook
    ready: dict[str, Played] = field(default_factory=dict)
    failing: dict[str, Played] = field(default_factory=dict)
    mends: list[Callable[[], None]] = field(default_factory=list)

    def prepare(self) -> None:
        """Creates the clusters that break later."""
        on = self.on
        for version in ("1.33", "1.34", "1.35"):
            publish_support(on, version, FAR, FAR + 365)
        scenes = [
            Scene("blocked", (), {**SMALL, "version": "1.33"}),
            Scene("empty", (), nodes=True),
            Scene("remote", (), {**SMALL, "gitops": flux(GIT)}),
            Scene("canary", (({"action": "UpdateClusterVersion"}, FAILED_UPDATE),), {**SMALL, "version": "1.33"}),
        ]
        self.ready = {scene.name: play(on, scene) for scene in scenes}
        canary = self.ready["canary"].cluster
        on.api.patch(*key_of(canary)[:3], {"metadata": {"labels": {"fleet": "fleet", "ring": "canary"}}}, key_of(canary)[3])
        on.apply(ROLLOUT)
        on.ready(self.ready["blocked"].cluster, canary)
        on.ready(*self.ready["empty"].items)
        until(lambda: "lastContact" in on.status(self.ready["remote"].cluster).get("gitops", {}), 60, "contact with remote")

    def provoke(self) -> None:
        """All faults at once."""
        for fault in (
            self.refuse_notifications,
            self.break_calls,
            self.halt_rollout,
            self.leave_no_node,
            self.lose_contact,
            self.block_upgrade,
            self.end_support,
            self.omit_secret,
            self.reject_credentials,
            self.ask,
            self.store_unreadable,
            self.break_queue,
        ):
            fault()

    def mend(self) -> None:
        for mend in self.mends:
            mend()

    def break_calls(self) -> None:
        """The accounts' AWS fails: a quota, a permission, the rate limit."""
        for name, rule in (
            ("quota", ({"action": "CreateVpc"}, QUOTA)),
            ("denied", ({"action": "CreateSubnet"}, DENIED)),
            ("throttled", ({"service": "ec2"}, THROTTLED_EC2)),
        ):
            scene = self.failing[name] = play(self.on, Scene(name, (rule,)))
            self.mends.append(lambda scene=scene: remove_rules(self.on, scene))

    def retry_while_throttled(self) -> None:
        """A retry during the pause after throttled calls is deferred."""
        retry_now(self.on, self.failing["throttled"].cluster)

    def refuse_notifications(self) -> None:
        """Their endpoint fails."""
        self.webhook.status = 500

        def mend() -> None:
            self.webhook.status = 200

        self.mends.append(mend)

    def halt_rollout(self) -> None:
        """The upgrade of its only cluster fails in EKS."""
        scene = self.ready["canary"]
        patch(self.on, scene.cluster, {"version": "1.34"})

        def mend() -> None:
            remove_rules(self.on, scene)
            annotate(self.on, ROLLOUT, retry="1.34/1")

        self.mends.append(mend)

    def leave_no_node(self) -> None:
        """The only node group is scaled down to nothing."""
        nodes = self.ready["empty"].nodes

        def scale_to(desired: int) -> None:
            patch(self.on, nodes, {"scaling": {"min": 0, "max": 2, "desired": desired, "desiredPolicy": "Enforce"}})

        scale_to(0)
        self.mends.append(lambda: scale_to(1))

    def lose_contact(self) -> None:
        """The endpoint of one cluster does not answer."""
        scene, workload = self.ready["remote"], self.on.cloud.workload

        def serve_at(url: str) -> None:
            posted = {"account": scene.account.id, "region": REGION, "cluster": "remote", "endpoint": url}
            posted |= {"caFile": str(workload.ca_file), "kubeconfig": str(workload.kubeconfig)}
            self.on.aws.control("POST", "api-servers", json=posted)
            retry_now(self.on, scene.cluster)

        # Nothing listens on port 1.
        serve_at("https://127.0.0.1:1")
        self.mends.append(lambda: serve_at(workload.url))

    def block_upgrade(self) -> None:
        """The control plane is not healthy."""
        scene = self.ready["blocked"]
        posted = {"account": scene.account.id, "region": REGION, "cluster": "blocked"}
        self.on.aws.control("POST", "issues", json={**posted, "issues": [DISABLED]})
        retry_now(self.on, scene.cluster)
        self.on.await_condition(scene.cluster, status="False", reason="Degraded", timeout=20)
        patch(self.on, scene.cluster, {"version": "1.34"})

        def mend() -> None:
            self.on.aws.control("POST", "issues", json={**posted, "issues": []})
            retry_now(self.on, scene.cluster)

        self.mends.append(mend)

    def end_support(self) -> None:
        """Standard support of one version ends soon, extended support of another; in one account each."""
        for name, version, to, standard, extended in (("aging", "1.34", "1.35", 20, 385), ("aged", "1.33", "1.34", -345, 20)):
            account_id = fresh_account()
            publish_support(self.on, version, standard, extended, account_id)
            role = self.on.account(account_id).role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
            item = cluster(name, accountRef={"name": name}, **{**SMALL, "version": version})
            self.on.apply(account(name, account_id, roleArn=role), item)
            self.mends.append(lambda item=item, to=to: patch(self.on, item, {"version": to}))

    def omit_secret(self) -> None:
        """The source of the agent names a Secret that does not exist."""
        item = cluster("secretless", accountRef={"name": "remote"}, **SMALL, gitops=flux(GIT, secretRef={"name": "fleet"}))
        self.on.apply(item)
        self.mends.append(lambda: self.on.apply(secret("fleet", username="git", password="fleet-password-3e")))

    def reject_credentials(self) -> None:
        """AWS rejects the operator's credentials where they are exchanged for those of one account."""
        name, account_id = "keyless", fresh_account()
        role = self.on.account(account_id).role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess")
        expired = {"code": "ExpiredToken", "message": "The security token included in the request is expired", "status": 403}
        rule = self.on.aws.add_fault({"action": "AssumeRole", "resource": role}, {"error": expired})
        found = account(name, account_id, roleArn=role)
        item = cluster(name, accountRef={"name": name}, **SMALL)
        self.on.apply(found, item)

        def mend() -> None:
            self.on.aws.control("DELETE", "faults", params={"id": rule})
            retry_now(self.on, found)
            retry_now(self.on, item)

        self.mends.append(mend)

    def ask(self) -> None:
        """A plan waits for approval."""
        item = cluster("asks", accountRef={"name": "remote"}, **SMALL, changePolicy="Approval")
        self.on.apply(item)
        self.mends.append(lambda: annotate(self.on, item, approve=self.on.status(item)["plan"]["hash"]))

    def store_unreadable(self) -> None:
        """An object is nested deeper than the operator reads."""
        spec = {**SMALL, "addons": [{"name": "vpc-cni", "configuration": nested(150)}]}
        self.on.apply(cluster("unreadable", accountRef={"name": "remote"}, **spec))
        self.mends.append(lambda: self.on.apply(cluster("unreadable", accountRef={"name": "remote"}, **SMALL)))

    def break_queue(self) -> None:
        """The operator may not read its queue."""
        polls = {"service": "sqs", "action": "ReceiveMessage"}
        rule = self.on.aws.add_fault(polls, {"error": {"code": "AccessDenied", "status": 403}})
        # A long poll that is already open still receives: give it a message.
        sqs = self.on.account(ACCOUNT).client("sqs")
        sqs.send_message(QueueUrl=self.queue_url, MessageBody="{}")
        self.mends.insert(0, lambda: self.on.aws.control("DELETE", "faults", params={"id": rule}))
