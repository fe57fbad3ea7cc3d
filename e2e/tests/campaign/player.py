"""Has the operator carry out edits on a cluster of its own in an account of its own, one after the other."""

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
from .board import Board
from .edits import Edit, edits
from .judge import WAITS, End, Outcome, end_of, names_field
from .manifests import Base, World, bases
from .state import differences, state
from .takes import may_stay, unexpected

PATIENCE = 25
# A wait is one when it says the same for so long; by Ready's reason. What is tried again may still do.
STEADY = dict.fromkeys(WAITS | {"Suspended"}, 1.0)
TRIED = 5.0
PODS = {"Service": "pods.eks.amazonaws.com"}


@dataclass
class Player:
    """`base` is what it edits: of its kind and name; the other objects of the account stay as they are."""

    on: Environment
    board: Board
    kind: str
    base_name: str
    account: Account = None
    world: World = None
    objects: dict[str, dict] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    # What went wrong with the playing itself.
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = self.on.account(fresh_account())
        name = f"edits-{self.account.id[-3:]}"
        self.world = furnish(self.account, name)
        self.base = self._base(self.kind, self.base_name)
        self.items = [item(base.kind, name, base.spec) for base in self._company()]
        self.edits = {(edit.path, edit.what): edit for edit in edits(self.base)}

    def _base(self, kind: str, name: str) -> Base:
        (found,) = [b for b in bases(self.world) if (b.kind, b.name) == (kind, name)]
        return found

    def _company(self) -> list[Base]:
        """The edited base with the least that it needs beside it."""
        company = [self._base("AwsAccount", "whole")]
        if self.kind == "EksCluster":
            company.append(self.base)
        else:
            company.append(self._base("EksCluster", "subnets by tags"))
        if self.kind == "NodeGroup":
            company.append(self.base)
        elif self.base_name in ("what is in it", "own network"):
            company.append(self._base("NodeGroup", "whole"))
        return company

    @property
    def item(self) -> dict:
        (found,) = [each for each in self.items if each["kind"] == self.kind]
        return found

    def make(self) -> None:
        self.on.apply(*self.items)

    def await_made(self) -> None:
        for each in self.items:
            self._ended(each, patience=120)
        self.first = state(self.account, self.world.name)

    def _found(self, each: dict) -> dict:
        return self.on.api.get(API, each["kind"], each["metadata"]["name"])

    def _ended(
        self, each: dict, generation: int = 0, patience: float = PATIENCE, stalled: bool = True
    ) -> tuple[End, str, str]:
        """How its newest generation ended. stalled: whether that may be in a stall."""

        def steady(end: tuple[End, str, str]) -> float:
            return STEADY.get(end[1], TRIED) if end[0] is End.WAITING else 0

        def ending(item: dict) -> tuple[End, str, str] | None:
            said = end_of(item)
            return said if stalled or said is None or said[0] is not End.STALLED else None

        end = self.board.wait(each, generation, ending, patience, steady)
        assert end, f"no end in {patience} s: {self.on.describe(each)}"
        return end

    def _write(self, spec: dict) -> int:
        """The generation that this came to."""
        while True:
            try:
                return replace(self.on.api, self._found(self.item), spec)["metadata"]["generation"]
            except ApiError as error:
                # The operator wrote its finalizer or status in between.
                if error.code != 409:
                    raise

    def _state_once_back(self, edit: Edit) -> tuple[dict, list[str]]:
        """What AWS has, and how that differs from before. An account's edit gives its cluster no generation by which one could tell
        that it was carried out, so what must go back gets a while for it."""
        deadline = time.monotonic() + (PATIENCE if self.kind == "AwsAccount" else 0)
        while True:
            now = state(self.account, self.world.name)
            stayed = differences(self.first, now)
            if all(may_stay(edit, line) for line in stayed) or time.monotonic() >= deadline:
                return now, stayed
            time.sleep(0.2)

    def _restore(self) -> int:
        """Writes the base again. The size that an autoscaler owns is set by enforcing it, as the refusal says."""
        try:
            return self._write(self.base.spec)
        except ApiError as error:
            if error.code != 422 or "desiredPolicy: Enforce" not in error.message:
                raise
            enforced = {**self.base.spec["scaling"], "desiredPolicy": "Enforce"}
            self._ended(self.item, self._write({**self.base.spec, "scaling": enforced}))
            return self._write(self.base.spec)

    def play(self, answers: list[Answer]) -> None:
        for answer in answers:
            try:
                self.outcomes.append(self._play(answer))
            except Exception as error:
                told = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
                self.troubles.append(f"{answer.edit}: {told}")
                if not self._back():
                    return

    def _play(self, answer: Answer) -> Outcome:
        edit = self._own(answer.edit)
        began, mark = time.monotonic(), self.on.mark()
        try:
            generation = self._write(edit.spec)
        except ApiError as error:
            # Of what is there, some is refused that a new object may have.
            outcome = Outcome(edit, End.REFUSED, "", error.message)
            if error.code != 422 or not names_field(error.message, edit):
                outcome.faults.append(f"refused without naming the field: {error.message}")
            self._ended(self.item)
            return outcome
        outcome = Outcome(edit, *self._ends(generation))
        if outcome.end is End.STALLED and not names_field(outcome.message, edit):
            outcome.faults.append(f"the message does not name the field: {outcome.message}")
        if not answer.no_way_back:
            self._ends(self._restore(), denial=False)
            now, stayed = self._state_once_back(edit)
            outcome.stays = [line for line in stayed if may_stay(edit, line)]
            outcome.faults += [f"not as before: {line}" for line in stayed if not may_stay(edit, line)]
            self.first = now
        outcome.seconds = time.monotonic() - began
        outcome.writes = actions(self.on.writes(mark, self.account.id))
        outcome.faults += [f"a write that it does not take: {write}" for write in unexpected(edit, outcome.writes)]
        return outcome

    def _ends(self, generation: int, denial: bool = True) -> tuple[End, str, str]:
        """Of the edited object; of an account, of what its cluster comes to with it."""
        end = self._ended(self.item, generation)
        if self.kind != "AwsAccount":
            return end
        cluster, mark = self.items[1], self.on.mark()
        self.on.api.patch(
            API, "EksCluster", self.world.name, {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(mark)}}}
        )
        until(lambda: self._looked(mark) or (denial and self._denied(cluster)), PATIENCE, "a look at its cluster")
        # What the cluster said before the look is not its answer.
        of_cluster = self._ended(cluster, stalled=denial)
        return of_cluster if of_cluster[0] is not End.APPLIED else end

    def _looked(self, mark: int) -> bool:
        return any(call["action"] == "DescribeCluster" for call in self.on.calls(mark, self.account.id))

    def _denied(self, cluster: dict) -> bool:
        found = end_of(self._found(cluster))
        return found is not None and found[0] is End.STALLED

    def _own(self, edit: Edit) -> Edit:
        """The same edit of this account's spec."""
        return self.edits[edit.path, edit.what]

    def _back(self) -> bool:
        try:
            self._ended(self.item, self._restore())
            self.first = state(self.account, self.world.name)
            return True
        except Exception as error:
            self.troubles.append(f"no way back: {error}")
            return False


def furnish(account: Account, name: str) -> World:
    """What the specs refer to."""
    ec2, iam = account.ec2, account.iam
    account.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess", external_id="fleet-6f1e")
    account.cluster_role("cluster")
    account.role("node", {"Service": "ec2.amazonaws.com"}, "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
    for role in ("dns", "csi"):
        account.role(role, PODS)
    for role in ("admins", "viewers"):
        account.role(role, {"AWS": f"arn:aws:iam::{account.id}:root"})
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    iam.create_policy(PolicyName="boundary", PolicyDocument=document)
    subnets = account.network()
    vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    ec2.create_tags(Resources=subnets, Tags=[{"Key": "tier", "Value": "private"}])
    groups = [
        ec2.create_security_group(GroupName=f"g{n}", Description="of others", VpcId=vpc)["GroupId"] for n in (1, 2)
    ]
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"InstanceType": "m7i.large"})
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData={"InstanceType": "m7i.xlarge"})
    return World(account.id, name, vpc, tuple(subnets), tuple(groups), template)
