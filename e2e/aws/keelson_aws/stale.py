"""Stale reads: what a describe would have said some seconds ago.

EKS's state is ours, so it is kept as it was and the call is answered from that. Of EC2 and IAM only what has been made since is
hidden: states and tags are those of now.
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

IDS = re.compile(rb"\b(?:vpc|subnet|igw|eigw|rtb|nat|eipalloc|eipassoc|rtbassoc|sg|vpce|eni|lt|i)-[0-9a-f]{17}\b")
MAKES = re.compile(r"(Create|Allocate|Run|Associate|Attach)")
KEPT = 600
NOT_FOUND = {
    "vpc": "InvalidVpcID.NotFound", "subnet": "InvalidSubnetID.NotFound", "igw": "InvalidInternetGatewayID.NotFound",
    "rtb": "InvalidRouteTableID.NotFound", "nat": "NatGatewayNotFound", "eipalloc": "InvalidAllocationID.NotFound",
    "sg": "InvalidGroup.NotFound", "vpce": "InvalidVpcEndpointId.NotFound", "eni": "InvalidNetworkInterfaceID.NotFound",
    "lt": "InvalidLaunchTemplateId.NotFound", "i": "InvalidInstanceID.NotFound",
}


class History:
    """What was made when, and how EKS looked: the latter only while a rule asks for stale reads."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.made: dict[str, float] = {}
        self.regions: dict[tuple[str, str], deque[tuple[float, bytes]]] = {}
        self.keeping = False

    def clear(self) -> None:
        self.made.clear()
        self.stop()

    def note(self, call: Call, reply: Reply) -> None:
        """Remember what a call made. Called for every write that went well."""
        if not MAKES.match(call.action):
            return
        now = self.timeline.now()
        if call.service == "ec2":
            for found in set(IDS.findall(reply.body)):
                self.made.setdefault(found.decode(), now)
        elif call.service == "iam" and call.action.startswith("Create"):
            name = call.params.get("RoleName") or call.params.get("InstanceProfileName")
            if name:
                self.made[f"{call.account}/{name}"] = now
            elif call.action == "CreateOpenIDConnectProvider":
                found_arn = re.search(rb"<OpenIDConnectProviderArn>([^<]+)<", reply.body)
                if found_arn:
                    self.made[f"{call.account}/{found_arn[1].decode()}"] = now

    def keep(self, regions: dict[tuple[str, str], Region]) -> None:
        """Keep EKS as it is now, where it has changed."""
        for key, region in regions.items():
            kept = self.regions.setdefault(key, deque(maxlen=KEPT))
            if not kept and self.keeping:
                # The region has come up since: before that it was empty.
                kept.append((0.0, pickle.dumps(Region(*key))))
            state = pickle.dumps(region)
            if not kept or kept[-1][1] != state:
                kept.append((self.timeline.now(), state))
        self.keeping = True

    def stop(self) -> None:
        """No rule asks for it any more."""
        self.regions.clear()
        self.keeping = False

    def region(self, key: tuple[str, str], seconds: float) -> Region:
        """The region as it was; the oldest that is kept when it was not kept for so long."""
        kept = self.regions.get(key)
        if not kept:
            return Region(*key)
        then = self.timeline.now() - seconds
        state = next((s for at, s in reversed(kept) if at <= then), kept[0][1])
        region = pickle.loads(state)
        assert isinstance(region, Region)
        return region

    def filter(self, call: Call, reply: Reply, seconds: float) -> Reply:
        """The answer without what is younger than that. Raises when the call names something that young."""
        oldest = self.timeline.now() - seconds
        young = {name for name, at in self.made.items() if at > oldest}
        if not young or reply.status != 200:
            return reply
        if call.service == "iam":
            for value in call.params.values():
                if f"{call.account}/{value}" in young:
                    raise AwsError("NoSuchEntity", f"The entity with name {value} cannot be found.", 404)
            young = {name.partition("/")[2] for name in young if name.startswith(f"{call.account}/")}
        else:
            for value in call.params.values():
                if value in young:
                    raise AwsError(NOT_FOUND.get(value.partition("-")[0], "InvalidID"), f"The ID '{value}' does not exist")
        return Reply(reply.status, without(reply.body, young), reply.headers)


def without(body: bytes, names: set[str]) -> bytes:
    """XML without the list items that are called, by their first text, one of these names."""
    root = ElementTree.fromstring(body)
    if root.tag.startswith("{"):
        ElementTree.register_namespace("", root.tag[1:].partition("}")[0])
    changed = False
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("item", "member") and named(child) & names:
                parent.remove(child)
                changed = True
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) if changed else body


# The member that names an item, most telling first: an item of DescribeSubnets has a vpcId too.
OWN_IDS = (
    "resourceId", "RoleName", "InstanceProfileName", "Arn", "natGatewayId", "vpcEndpointId", "routeTableId", "internetGatewayId",
    "allocationId", "networkInterfaceId", "instanceId", "launchTemplateId", "groupId", "subnetId", "vpcId",
)


def named(item: ElementTree.Element) -> set[str]:
    """What an item is: its own id, and not those of what it belongs to or holds."""
    texts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in item}
    return next(({texts[tag]} for tag in OWN_IDS if texts.get(tag)), set())
