"""Stale reads: the response that a read would have had some seconds ago.

For EKS, past states are recorded and the call is answered from one of them. For EC2 and IAM, only resources created since
then are hidden: states and tags are current.
"""

from __future__ import annotations

import pickle
import re
import xml.etree.ElementTree as ElementTree
from collections import deque

from .call import Call
from .eks.state import Region
from .errors import AwsError
from .http import Reply
from .timeline import Timeline

IDS = re.compile(rb"\b(?:vpc|subnet|igw|eigw|rtb|nat|eipalloc|eipassoc|rtbassoc|sg|vpce|eni|lt|fl|i)-[0-9a-f]{17}\b")
CREATES = re.compile(r"(Create|Allocate|Run|Associate|Attach)")
MAX_STATES = 600
NOT_FOUND = {
    "vpc": "InvalidVpcID.NotFound", "subnet": "InvalidSubnetID.NotFound", "igw": "InvalidInternetGatewayID.NotFound",
    "rtb": "InvalidRouteTableID.NotFound", "nat": "NatGatewayNotFound", "eipalloc": "InvalidAllocationID.NotFound",
    "sg": "InvalidGroup.NotFound", "vpce": "InvalidVpcEndpointId.NotFound", "eni": "InvalidNetworkInterfaceID.NotFound",
    "lt": "InvalidLaunchTemplateId.NotFound", "fl": "InvalidFlowLogId.NotFound", "i": "InvalidInstanceID.NotFound",
}


class History:
    """Creation times of resources, and past states of EKS, the latter only while a fault rule needs stale reads."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.created_at: dict[str, float] = {}
        self.regions: dict[tuple[str, str], deque[tuple[float, bytes]]] = {}
        self.recording = False

    def clear(self) -> None:
        self.created_at.clear()
        self.stop_recording()

    def record_creations(self, call: Call, reply: Reply) -> None:
        """Records what a call created. Called for every successful write."""
        if not CREATES.match(call.action):
            return
        now = self.timeline.now()
        if call.service == "ec2":
            for found in set(IDS.findall(reply.body)):
                self.created_at.setdefault(found.decode(), now)
            if call.action in ("CreateLaunchTemplate", "CreateLaunchTemplateVersion"):
                self.record_launch_template(call, reply, now)
        elif call.service == "iam" and call.action.startswith("Create"):
            name = call.params.get("RoleName") or call.params.get("InstanceProfileName")
            if name:
                self.created_at[f"{call.account}/{name}"] = now
            elif call.action == "CreateOpenIDConnectProvider":
                found_arn = re.search(rb"<OpenIDConnectProviderArn>([^<]+)<", reply.body)
                if found_arn:
                    self.created_at[f"{call.account}/{found_arn[1].decode()}"] = now

    def record_launch_template(self, call: Call, reply: Reply, now: float) -> None:
        """A template by its name too, and each version but the first, which is as old as its template."""
        found = {child.tag.rpartition("}")[2]: child.text or "" for child in ElementTree.fromstring(reply.body).iter()}
        if call.action == "CreateLaunchTemplate":
            self.created_at.setdefault(f"{call.account}/{call.region}/{found['launchTemplateName']}", now)
        else:
            self.created_at.setdefault(f"{found['launchTemplateId']}:{found['versionNumber']}", now)

    def record_states(self, regions: dict[tuple[str, str], Region]) -> None:
        """Records the current state of each EKS region, if it has changed."""
        for key, region in regions.items():
            states = self.regions.setdefault(key, deque(maxlen=MAX_STATES))
            if not states and self.recording:
                # The region is new: before that it was empty.
                states.append((0.0, pickle.dumps(Region(*key))))
            state = pickle.dumps(region)
            if not states or states[-1][1] != state:
                states.append((self.timeline.now(), state))
        self.recording = True

    def stop_recording(self) -> None:
        """Discards the recorded states: no rule needs them any more."""
        self.regions.clear()
        self.recording = False

    def region(self, key: tuple[str, str], seconds: float) -> Region:
        """The region as it was then, or its oldest recorded state."""
        states = self.regions.get(key)
        if not states:
            return Region(*key)
        then = self.timeline.now() - seconds
        state = next((s for at, s in reversed(states) if at <= then), states[0][1])
        region = pickle.loads(state)
        assert isinstance(region, Region)
        return region

    def filter(self, call: Call, reply: Reply, seconds: float) -> Reply:
        """The reply without resources younger than that. Raises if the call names such a resource."""
        oldest = self.timeline.now() - seconds
        young = {name for name, at in self.created_at.items() if at > oldest}
        if not young or reply.status != 200:
            return reply
        if call.service == "iam":
            for value in call.params.values():
                if f"{call.account}/{value}" in young:
                    raise AwsError("NoSuchEntity", f"The entity with name {value} cannot be found.", 404)
            young = {name.partition("/")[2] for name in young if name.startswith(f"{call.account}/")}
        else:
            if call.action.startswith("DescribeLaunchTemplate"):
                check_launch_templates(call, reply, young)
            for value in call.params.values():
                if value in young:
                    raise AwsError(NOT_FOUND.get(value.partition("-")[0], "InvalidID"), f"The ID '{value}' does not exist")
        return Reply(reply.status, without(reply.body, young), reply.headers)


def check_launch_templates(call: Call, reply: Reply, young: set[str]) -> None:
    """Raises if the call names a template or a version that did not exist then."""
    template_id = next(iter(re.findall(rb"<launchTemplateId>([^<]+)<", reply.body)), b"").decode()
    for name, value in call.params.items():
        if name.startswith("LaunchTemplateName") and f"{call.account}/{call.region}/{value}" in young:
            text = f"The specified launch template, with template name {value}, does not exist."
            raise AwsError("InvalidLaunchTemplateName.NotFoundException", text)
        if name.startswith("LaunchTemplateVersion.") and f"{template_id}:{value}" in young:
            text = f"Could not find the specified version {value} for the launch template with ID {template_id}."
            raise AwsError("InvalidLaunchTemplateId.VersionNotFound", text)


def without(body: bytes, names: set[str]) -> bytes:
    """XML without the list items that have one of these ids."""
    root = ElementTree.fromstring(body)
    if root.tag.startswith("{"):
        ElementTree.register_namespace("", root.tag[1:].partition("}")[0])
    changed = False
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("item", "member") and item_id(child) & names:
                parent.remove(child)
                changed = True
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) if changed else body


# Members that identify an item, the most specific first: an item of DescribeSubnets has a vpcId too.
OWN_IDS = (
    "flowLogId", "resourceId", "RoleName", "InstanceProfileName", "Arn", "natGatewayId", "vpcEndpointId", "routeTableId", "internetGatewayId",
    "allocationId", "networkInterfaceId", "instanceId", "launchTemplateId", "groupId", "subnetId", "vpcId",
)


def item_id(item: ElementTree.Element) -> set[str]:
    """The item's own id, not the ids of its parents or children."""
    texts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in item}
    if "versionNumber" in texts:
        return {texts.get("launchTemplateId", ""), f"{texts.get('launchTemplateId')}:{texts['versionNumber']}"}
    return next(({texts[tag]} for tag in OWN_IDS if texts.get(tag)), set())
