"""Has the operator apply edits to a cluster in an account of its own, one after the other."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field

from fleet import API
from fleet.account import Account, fresh_account
from fleet.environment import Environment, actions, until
from keelson_harness.aws import ACCOUNT
from keelson_harness.kubeapi import ApiError

from .admission import Answer, item, replace
from .object_cache import ObjectCache
from .edits import Edit, edits
from .judge import WAIT_REASONS, OutcomeType, Outcome, current_outcome, names_field
from .manifests import LOG_GROUP, Base, World, bases
from .state import differences, state
from .expected_writes import may_remain, unexpected

TIMEOUT = 90
# Seconds for which a waiting state must be constant, by Ready's reason. A retry may still succeed, so it takes longer.
STEADY_SECONDS = dict.fromkeys(WAIT_REASONS | {"Suspended"}, 1.0)
RETRY_STEADY_SECONDS = 5.0
PODS = {"Service": "pods.eks.amazonaws.com"}


@dataclass
class Player:
    """Edits the object of one base, given by kind and name; the other objects of the account do not change."""

    on: Environment
    cache: ObjectCache
    kind: str
    base_name: str
    account: Account = None
    world: World = None
    objects: dict[str, dict] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    # Errors of the test run itself.
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = self.on.account(fresh_account())
        name = f"edits-{self.account.id[-3:]}"
        self.world = create_prerequisites(self.account, name)
        self.base = self._base(self.kind, self.base_name)
        self.items = [item(base.kind, name, base.spec) for base in self._required_bases()]
        self.edits = {(edit.path, edit.description): edit for edit in edits(self.base)}

    def _base(self, kind: str, name: str) -> Base:
        (found,) = [b for b in bases(self.world) if (b.kind, b.name) == (kind, name)]
        return found

    def _required_bases(self) -> list[Base]:
        """The edited base and the other bases that it needs."""
        required = [self._base("AwsAccount", "whole")]
        if self.kind == "EksCluster":
            required.append(self.base)
        else:
            required.append(self._base("EksCluster", "subnets by tags"))
        if self.kind == "NodeGroup":
            required.append(self.base)
        elif self.base_name in ("contents", "own network"):
            required.append(self._base("NodeGroup", "whole"))
        return required

    @property
    def item(self) -> dict:
        (found,) = [each for each in self.items if each["kind"] == self.kind]
        return found

    def create(self) -> None:
        self.on.apply(*self.items)

    def await_created(self) -> None:
        for each in self.items:
            self._await_outcome(each, timeout=120, creating=True)
        self.baseline = state(self.account, self.world.name)

    def _found(self, each: dict) -> dict:
        return self.on.api.get(API, each["kind"], each["metadata"]["name"])

    def _await_outcome(
        self, each: dict, generation: int = 0, timeout: float = TIMEOUT, stalled: bool = True, creating: bool = False
    ) -> tuple[OutcomeType, str, str]:
        """Waits for the outcome of the newest generation. stalled: whether a stall counts as an outcome. creating: a node group whose cluster
        is only now Ready is not created yet."""

        def steady(outcome: tuple[OutcomeType, str, str]) -> float:
            return STEADY_SECONDS.get(outcome[1], RETRY_STEADY_SECONDS) if outcome[0] is OutcomeType.WAITING else 0

        def evaluate(item: dict) -> tuple[OutcomeType, str, str] | None:
            outcome = current_outcome(item)
            if creating and outcome is not None and outcome[1] == "WaitingForCluster":
                return None
            return outcome if stalled or outcome is None or outcome[0] is not OutcomeType.STALLED else None

        outcome = self.cache.wait(each, generation, evaluate, timeout, steady)
        assert outcome, f"no outcome in {timeout} s: {self.on.describe(each)}"
        return outcome

    def _write(self, spec: dict) -> int:
        """Replaces the spec and returns the new generation."""
        while True:
            try:
                return replace(self.on.api, self._found(self.item), spec)["metadata"]["generation"]
            except ApiError as error:
                # The operator wrote its finalizer or status in between.
                if error.code != 409:
                    raise

    def _state_after_revert(self, edit: Edit) -> tuple[dict, list[str]]:
        """The state of AWS, and its differences from the baseline. An edit of an account or a node group does not change the cluster's
        generation, so there is no sign that the revert is applied: differences that must disappear get some time."""
        deadline = time.monotonic() + (TIMEOUT if self.kind in ("AwsAccount", "NodeGroup") else 0)
        while True:
            now = state(self.account, self.world.name)
            changes = differences(self.baseline, now)
            if all(may_remain(edit, line) for line in changes) or time.monotonic() >= deadline:
                return now, changes
            time.sleep(0.2)

    def _restore(self) -> int:
        """Writes the base again. A size that an autoscaler owns is set by enforcing it, as the error advises."""
        try:
            return self._write(self.base.spec)
        except ApiError as error:
            if error.code != 422 or "desiredPolicy: Enforce" not in error.message:
                raise
            enforced = {**self.base.spec["scaling"], "desiredPolicy": "Enforce"}
            self._await_outcome(self.item, self._write({**self.base.spec, "scaling": enforced}))
            return self._write(self.base.spec)

    def play(self, answers: list[Answer]) -> None:
        for answer in answers:
            try:
                self.outcomes.append(self._play(answer))
            except Exception as error:
                details = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
                self.errors.append(f"{answer.edit}: {details}")
                if not self._recover():
                    return

    def _play(self, answer: Answer) -> Outcome:
        edit = self._own_edit(answer.edit)
        start, mark = time.monotonic(), self.on.mark()
        try:
            generation = self._write(edit.spec)
        except ApiError as error:
            # An existing resource may forbid an edit that admission accepted for the probe.
            outcome = Outcome(edit, OutcomeType.REJECTED, "", error.message)
            if error.code != 422 or not names_field(error.message, edit):
                outcome.faults.append(f"rejected without naming the field: {error.message}")
            self._await_outcome(self.item)
            return outcome
        outcome = Outcome(edit, *self._outcome_of(generation))
        if outcome.type is OutcomeType.STALLED and not names_field(outcome.message, edit):
            outcome.faults.append(f"the message does not name the field: {outcome.message}")
        if not answer.irreversible:
            self._outcome_of(self._restore(), denial=False)
            now, changes = self._state_after_revert(edit)
            outcome.remaining = [line for line in changes if may_remain(edit, line)]
            outcome.faults += [f"not reverted: {line}" for line in changes if not may_remain(edit, line)]
            self.baseline = now
        outcome.seconds = time.monotonic() - start
        outcome.writes = actions(self.on.writes(mark, self.account.id))
        outcome.faults += [f"unexpected write: {write}" for write in unexpected(edit, outcome.writes)]
        return outcome

    def _outcome_of(self, generation: int, denial: bool = True) -> tuple[OutcomeType, str, str]:
        """The outcome of the edited object; for an account, the outcome of its cluster."""
        outcome = self._await_outcome(self.item, generation)
        if self.kind != "AwsAccount":
            return outcome
        cluster, mark = self.items[1], self.on.mark()
        self.on.api.patch(
            API, "EksCluster", self.world.name, {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
        )
        until(lambda: self._reconciled(mark) or (denial and self._denied(cluster)), TIMEOUT, "a reconcile of its cluster")
        # The cluster's status from before this reconcile does not count.
        cluster_outcome = self._await_outcome(cluster, stalled=denial)
        return cluster_outcome if cluster_outcome[0] is not OutcomeType.APPLIED else outcome

    def _reconciled(self, mark: int) -> bool:
        return any(call["action"] == "DescribeCluster" for call in self.on.calls(mark, self.account.id))

    def _denied(self, cluster: dict) -> bool:
        found = current_outcome(self._found(cluster))
        return found is not None and found[0] is OutcomeType.STALLED

    def _own_edit(self, edit: Edit) -> Edit:
        """The same edit of this account's spec."""
        return self.edits[edit.path, edit.description]

    def _recover(self) -> bool:
        try:
            self._await_outcome(self.item, self._restore())
            self.baseline = state(self.account, self.world.name)
            return True
        except Exception as error:
            self.errors.append(f"cannot revert: {error}")
            return False


def create_prerequisites(account: Account, name: str) -> World:
    """Creates the resources that the specs reference."""
    ec2, iam = account.ec2, account.iam
    account.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess", external_id="fleet-6f1e")
    account.cluster_role("cluster")
    account.role("node", {"Service": "ec2.amazonaws.com"}, "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
    for role in ("dns", "csi"):
        account.role(role, PODS)
    account.role("flow-logs", {"Service": "vpc-flow-logs.amazonaws.com"})
    account.client("logs").create_log_group(logGroupName=LOG_GROUP)
    for role in ("admins", "viewers"):
        account.role(role, {"AWS": f"arn:aws:iam::{account.id}:root"})
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    iam.create_policy(PolicyName="boundary", PolicyDocument=document)
    # Each zone twice: a list without one of the cluster's zones is no change that EKS makes.
    subnets = account.network("abab")
    vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    ec2.create_tags(Resources=subnets, Tags=[{"Key": "tier", "Value": "private"}])
    groups = [
        ec2.create_security_group(GroupName=f"g{n}", Description="of others", VpcId=vpc)["GroupId"] for n in (1, 2)
    ]
    created = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.large"})
    template = created["LaunchTemplate"]["LaunchTemplateId"]
    ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData={"InstanceType": "m7i.xlarge"})
    key = account.client("kms").create_key()["KeyMetadata"]["Arn"]
    world = World(account.id, name, vpc, tuple(subnets), tuple(groups), template, key)
    account.client("s3").create_bucket(Bucket=world.bucket, CreateBucketConfiguration={"LocationConstraint": account.region})
    return world
