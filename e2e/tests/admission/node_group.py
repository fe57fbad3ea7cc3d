"""NodeGroup: values and edits."""

from . import Accepted, Rejected, at, change, edit, version_accepted, version_rejected, invalid

BASE = {"clusterRef": {"name": "demo"}, "scaling": {"min": 2, "max": 4}}

ROLE = "arn:aws:iam::123456789012:role/"
NEW_NODE_GROUP = "create a new NodeGroup"
# Status of an existing node group.
EXISTS = {"arn": "arn:aws:eks:eu-west-1:123456789012:nodegroup/demo/demo/1"}


# A record of what the node group was created with: the policy allows what would be refused.
MADE_WITH = {**EXISTS, "immutableDigest": "0123456789"}
REPLACED = {"replacementPolicy": "MakeBeforeBreak"}
REPLACEMENT = {"nodeGroupName": "demo-0123456789", "digest": "0123456789", "began": "2026-11-30T00:00:00Z"}


OWN_AMI = {"imageId": "ami-1", "userData": "#!/bin/sh"}
VOLUME = {"deviceName": "/dev/xvda"}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234"


def volume_rejected(path: str, advice: str, *volumes: dict) -> Rejected:
    """Volumes, each of the same device unless it says otherwise."""
    return Rejected({"node": {"volumes": [{**VOLUME, **one} for one in volumes]}}, f"spec.node.volumes{path}", advice)


ONE_ZONE = {"subnets": {"zones": ["eu-west-1a"]}}
CAPACITY_BLOCK = {"capacityType": "CapacityBlock", "node": {"capacityReservationId": "cr-1"}, **ONE_ZONE}
OVERRIDE = {
    "nodeMonitoringCondition": "KernelReady", "nodeUnhealthyReason": "SoftLockup", "minRepairWaitTimeMins": 10, "repairAction": "Reboot"
}


def taint(**fields: str) -> dict:
    return {"key": "spot", "value": "true", "effect": "NoSchedule", **fields}


INVALID = [
    Rejected({"clusterRef": None}, "spec.clusterRef", "Required value"),
    Rejected({"scaling": None}, "spec.scaling", "Required value"),
    invalid("clusterRef", {"name": "other/demo"}, "name of a Kubernetes object"),
    invalid("nodeGroupName", "a" * 64, "Too long"),
    invalid("nodeGroupName", "no spaces", "valid EKS name"),
    Rejected({}, "NodeGroup", "set spec.nodeGroupName", name="demo.default"),
    Rejected({}, "NodeGroup", "set spec.nodeGroupName", name="d" * 64),
    invalid("version", "1.34.1", "major and minor only"),
    invalid("releaseVersion", "new est", "valid AWS name"),
    invalid("amiType", "", "at least 1 chars"),
    invalid("instanceTypes", [], "at least 1 items"),
    invalid("instanceTypes", ["large"], "such as m7i.large"),
    invalid("instanceTypes", ["m7i.large", "m7i.large"], "once only"),
    invalid("capacityType", "SPOT", 'supported values: "OnDemand", "Spot", "CapacityBlock"'),
    invalid("replacementPolicy", "Replace", 'supported values: "Refuse", "MakeBeforeBreak"'),
    Rejected({**REPLACED, **CAPACITY_BLOCK, "node": None, "launchTemplate": {"name": "blocks"}}, "spec.replacementPolicy", "no instances for a second"),
    Rejected({"capacityType": "CapacityBlock", **ONE_ZONE}, "spec.capacityType", "set node.capacityReservationId"),
    Rejected({**CAPACITY_BLOCK, "instanceTypes": ["p5.48xlarge", "p4d.24xlarge"]}, "spec.instanceTypes", "name only that one"),
    Rejected({**CAPACITY_BLOCK, "subnets": {}}, "spec.subnets", "name that one in subnets.zones"),
    Rejected({**CAPACITY_BLOCK, "subnets": {"zones": ["eu-west-1a", "eu-west-1b"]}}, "spec.subnets", "name that one in subnets.zones"),
    Rejected({"capacityType": "Spot", "warmPool": {"enabled": True}}, "spec.warmPool", "set capacityType: OnDemand"),
    Rejected({"node": OWN_AMI, "warmPool": {"enabled": True}}, "spec.warmPool", "remove node.imageId"),
    Rejected(
        {"amiType": "BOTTLEROCKET_x86_64", "warmPool": {"enabled": True, "poolState": "Hibernated"}}, "spec.warmPool", "remove reuseOnScaleIn"
    ),
    Rejected({"amiType": "BOTTLEROCKET_x86_64", "warmPool": {"enabled": True, "reuseOnScaleIn": True}}, "spec.warmPool", "remove reuseOnScaleIn"),
    Rejected(
        {"warmPool": {"enabled": True, "minSize": 3, "maxGroupPreparedCapacity": 2}}, "spec.warmPool.minSize", "above maxGroupPreparedCapacity"
    ),
    invalid("repair", {"enabled": True, "maxUnhealthyCount": 1, "maxUnhealthyPercentage": 10}, "at most one of maxUnhealthyCount"),
    invalid("repair", {"enabled": True, "maxParallelRepairedCount": 1, "maxParallelRepairedPercentage": 9}, "at most one of maxParallelRepairedCount"),
    invalid("repair.maxUnhealthyPercentage", 101, "less than or equal to 100"),
    Rejected({"repair": {"enabled": True, "overrides": [{**OVERRIDE, "repairAction": "Restart"}]}}, "repairAction", "supported values"),
    Rejected({"repair": {"enabled": True, "overrides": [{**OVERRIDE, "nodeUnhealthyReason": None}]}}, "nodeUnhealthyReason", "null"),
    Rejected({"repair": {"enabled": True, "overrides": [OVERRIDE, OVERRIDE]}}, "spec.repair.overrides[1]", "Duplicate value"),
    invalid("diskSizeGiB", 0, "greater than or equal to 1"),
    Rejected({"scaling": {"min": 5}}, "spec.scaling.min", "min must not be above max"),
    Rejected({"scaling": {"desired": 1}}, "spec.scaling.desired", "between min and max"),
    Rejected({"scaling": {"desired": 5}}, "spec.scaling.desired", "between min and max"),
    Rejected({"scaling": {"desiredPolicy": "Enforce"}}, "spec.scaling.desired", "set desired"),
    invalid("scaling", {"min": 0, "max": 0}, "greater than or equal to 1"),
    invalid("subnets", {"tier": "Private", "ids": ["subnet-1"]}, "leave out tier and zones"),
    invalid("subnets", {"zones": ["eu-west-1a"], "ids": ["subnet-1"]}, "leave out tier and zones"),
    invalid("subnets", {"tier": "Public", "cidrs": ["10.0.64.0/19"]}, "leave out tier and zones"),
    invalid("subnets.zones", ["a"], "such as eu-west-1a"),
    Rejected({"subnets": {"cidrs": ["10.0.64.1/19"]}}, "spec.subnets.cidrs", "no host bits set"),
    Rejected({"subnets": {"ids": ["x"]}}, "spec.subnets.ids", "subnet-..."),
    invalid("labels", {"a b": "x"}, "Kubernetes label key"),
    invalid("labels", {"eks.amazonaws.com/nodegroup": "x"}, "choose another prefix"),
    invalid("labels", {"node-role.kubernetes.io/worker": ""}, "choose another prefix"),
    invalid("labels", {"kubernetes.io/arch": "arm64"}, "choose another prefix"),
    invalid("labels", {"workload": "a b"}, "Kubernetes label value"),
    invalid("labels", {"workload": "a" * 64}, "Too long"),
    Rejected({"taints": [taint(effect="Never")]}, "spec.taints[0].effect", "supported values"),
    Rejected({"taints": [taint(), taint(value="no")]}, "spec.taints[1]", "Duplicate value"),
    Rejected({"taints": [taint(key="a b")]}, "spec.taints[0].key", "Kubernetes label key"),
    Rejected({"taints": [taint(value="a b")]}, "spec.taints[0].value", "up to 63 letters"),
    invalid("launchTemplate", {"id": "my-template"}, "lt-..."),
    invalid("launchTemplate", {"version": "1"}, "exactly one of id, name"),
    invalid("launchTemplate", {"id": "lt-1", "name": "base"}, "exactly one of id, name"),
    invalid("launchTemplate.name", "base template", "name of a launch template"),
    Rejected(
        at("launchTemplate", {"id": "lt-1", "version": "latest"}),
        "spec.launchTemplate.version",
        "number",
    ),
    Rejected({"node": {}, "launchTemplate": {"id": "lt-1"}}, "spec.node", "remove launchTemplate to have Keelson create one"),
    Rejected({"launchTemplate": {"id": "lt-1"}, "diskSizeGiB": 80}, "spec.diskSizeGiB", "in the launch template"),
    Rejected({"node": {}, "diskSizeGiB": 80}, "spec.diskSizeGiB", "set the size in node.volumes"),
    Rejected({"node": OWN_AMI, "amiType": "AL2023_x86_64_STANDARD"}, "spec.amiType", "remove amiType, or remove node.imageId"),
    Rejected({"node": {}, "amiType": "CUSTOM"}, "spec.amiType", "set node.imageId, or another amiType"),
    Rejected({"node": OWN_AMI, "releaseVersion": "1.34.2-20261101"}, "spec.releaseVersion", "change node.imageId to update the nodes"),
    Rejected(
        {"node": {"nodeConfig": {"spec": {}}}, "amiType": "BOTTLEROCKET_x86_64"}, "spec.node.nodeConfig", "use node.userData for other AMI types"
    ),
    Rejected(
        {"node": {"capacityReservationId": "cr-1"}, "capacityType": "Spot"},
        "spec.node.capacityReservationId",
        "remove node.capacityReservationId, or set capacityType: OnDemand",
    ),
    invalid("node", {"nodeConfig": {"spec": {}}, "userData": "#!/bin/sh"}, "at most one of nodeConfig, userData"),
    invalid("node.imageId", "ami-1", "set nodeConfig (Amazon Linux 2023) or userData"),
    Rejected({"node": {**OWN_AMI, "imageId": "my-image"}}, "spec.node.imageId", "ami-..."),
    invalid("node.userData", "x" * 16385, "at most 16384 bytes of user data: shorten it"),
    invalid("node.securityGroupIds", ["default"], "sg-..."),
    invalid("node.capacityReservationId", "reserved", "cr-..."),
    invalid("node.placementGroup", "", "at least 1 chars"),
    invalid("node.placementGroup", "near\n", "printable ASCII characters"),
    invalid("node.metadata.httpTokens", "Required", "must be required or optional"),
    invalid("node.metadata.httpPutResponseHopLimit", 65, "less than or equal to 64"),
    volume_rejected("[1]", "Duplicate value", {}, {}),
    volume_rejected("[0].deviceName", "such as /dev/xvda", {"deviceName": "the disk"}),
    volume_rejected("[0].sizeGiB", "greater than or equal to 1", {"sizeGiB": 0}),
    volume_rejected("", "write deviceName: /dev/xvda", {"deviceName": "xvda"}),
    volume_rejected("[0].deviceName", "such as /dev/xvda", {"deviceName": "sdf"}),
    volume_rejected("[0].type", "must be a volume type of EBS", {"type": "GP3"}),
    volume_rejected("[0].type", "must be a volume type of EBS", {"type": "foo"}),
    volume_rejected("[0].iops", "set type: gp3, io1 or io2", {"type": "st1", "iops": 3000}),
    volume_rejected("[0].iops", "volumes of type io1 and io2 need iops", {"type": "io2"}),
    volume_rejected("[0].throughput", "set type: gp3", {"type": "io1", "iops": 3000, "throughput": 125}),
    volume_rejected("[0].iops", "at most 500 for each GiB", {"sizeGiB": 10, "iops": 6000}),
    volume_rejected("[0].iops", "at least 3000", {"iops": 1000}),
    volume_rejected("[0].iops", "at most 50 for io1", {"type": "io1", "sizeGiB": 10, "iops": 1000}),
    volume_rejected("[0].throughput", "a quarter of its iops", {"throughput": 1000}),
    volume_rejected("[0].kmsKeyArn", "ARN of a KMS key", {"kmsKeyArn": "alias/ebs"}),
    volume_rejected("[0].kmsKeyArn", "remove encrypted: false", {"kmsKeyArn": KEY, "encrypted": False}),
    invalid("roleArn", "arn:aws:iam::1:role/x", "ARN of an IAM role"),
    invalid("additionalRolePolicies", ["AmazonSSMManagedInstanceCore"], "ARN of an IAM policy"),
    invalid("update", {"maxUnavailable": 1, "maxUnavailablePercentage": 10}, "at most one of"),
    invalid("update.maxUnavailable", 0, "greater than or equal to 1"),
    invalid("update.maxUnavailable", 101, "less than or equal to 100"),
    invalid("tags", {"aws:x": "y"}, "choose another key"),
    *(
        invalid("autoScalingGroupTags", {key: "y"}, "choose another key")
        for key in ("AWS:x", "eks:nodegroup-name", "kubernetes.io/cluster/demo", "Keelson.dev/owner", "k8s.io/cluster-autoscaler/other")
    ),
    invalid("autoScalingGroupTags", {"k" * 129: "y"}, "1 to 128 letters"),
    invalid("autoScalingGroupTags", {"k": "v" * 257}, "Too long"),
    invalid("autoScalingGroupTags", {"k": "a, b"}, "letters, digits, spaces"),
    invalid("autoScalingGroupTags", {f"k{number}": "y" for number in range(46)}, "must have at most 45 items"),
]

# Edits that EKS cannot make in place.
REPLACING = [
    ("instanceTypes", None, ["m7i.xlarge"]),
    ("amiType", None, "BOTTLEROCKET_x86_64"),
    ("capacityType", None, "Spot"),
    ("diskSizeGiB", 50, 60),
    ("subnets", None, {"zones": ["eu-west-1a"]}),
    ("roleArn", ROLE + "x", None),
    ("launchTemplate", None, {"id": "lt-1"}),
    ("launchTemplate", {"id": "lt-1"}, {"id": "lt-2"}),
]

IMMUTABLE = [
    edit("clusterRef", {"name": "demo"}, {"name": "other"}, "cannot move to another cluster"),
    edit("nodeGroupName", "one", "two", NEW_NODE_GROUP),
    edit("nodeGroupName", None, "two", NEW_NODE_GROUP),
    edit("nodeGroupName", "one", None, NEW_NODE_GROUP),
    version_rejected("1.34", "1.34", "1.33", "create a new NodeGroup of the lower version"),
    version_rejected("1.34", None, "1.33", "create a new NodeGroup of the lower version"),
    edit("amiType", "AL2023_x86_64_STANDARD", "BOTTLEROCKET_x86_64", NEW_NODE_GROUP),
    edit("amiType", None, "BOTTLEROCKET_x86_64", NEW_NODE_GROUP),
    edit("amiType", "BOTTLEROCKET_x86_64", None, NEW_NODE_GROUP),
    edit("instanceTypes", None, ["m7i.xlarge"], NEW_NODE_GROUP),
    edit("instanceTypes", ["a.x", "b.x"], ["b.x", "a.x"], NEW_NODE_GROUP),
    edit("capacityType", None, "Spot", NEW_NODE_GROUP),
    edit("capacityType", "Spot", None, NEW_NODE_GROUP),
    edit("diskSizeGiB", 50, 60, NEW_NODE_GROUP),
    edit("diskSizeGiB", None, 60, NEW_NODE_GROUP),
    edit("diskSizeGiB", 50, None, NEW_NODE_GROUP),
    edit("subnets", {"tier": "Private"}, {"tier": "Public"}, NEW_NODE_GROUP),
    edit("subnets", None, {"zones": ["eu-west-1a"]}, NEW_NODE_GROUP),
    edit("subnets", {"ids": ["subnet-1"]}, {"ids": ["subnet-1", "subnet-2"]}, NEW_NODE_GROUP),
    edit("subnets", {"tier": "Private"}, {"tier": None, "ids": ["subnet-1"]}, NEW_NODE_GROUP),
    edit("subnets", {"cidrs": ["10.0.64.0/19"]}, {"cidrs": ["10.0.64.0/19", "10.0.96.0/19"]}, NEW_NODE_GROUP),
    edit("subnets", {"zones": ["eu-west-1a"]}, {"zones": None}, NEW_NODE_GROUP),
    edit("roleArn", None, ROLE + "x", NEW_NODE_GROUP),
    edit("roleArn", ROLE + "x", None, NEW_NODE_GROUP),
    edit("roleArn", ROLE + "x", ROLE + "y", NEW_NODE_GROUP),
    Rejected(
        {"scaling": {"desired": None}},
        "spec.scaling.desired",
        "would remove all nodes above min",
        {"scaling": {"desired": 3, "desiredPolicy": "Enforce"}},
    ),
    *(
        Rejected(
            {"scaling": scaling},
            "spec.scaling.desired",
            "an autoscaler owns the size of an existing node group",
            {"scaling": {"min": 2, "max": 6, "desired": 3}},
            status=EXISTS,
        )
        # Also if the bounds change with it; the case below has no size before.
        for scaling in ({"desired": 4}, {"min": 4, "desired": 5}, {"max": 2, "desired": 1, "min": 1})
    ),
    Rejected(
        {"scaling": {"desired": 3}}, "spec.scaling.desired", "an autoscaler owns the size of an existing node group", {}, status=EXISTS
    ),
    edit("launchTemplate", None, {"id": "lt-1"}, "neither added, removed nor replaced"),
    edit("launchTemplate", {"id": "lt-1"}, None, "neither added, removed nor replaced"),
    edit("launchTemplate", {"id": "lt-1"}, {"id": "lt-2"}, "neither added, removed nor replaced"),
    edit("launchTemplate", {"name": "one"}, {"name": "two"}, "neither added, removed nor replaced"),
    edit("launchTemplate", {"id": "lt-1"}, {"id": None, "name": "one"}, "neither added, removed nor replaced"),
    *(edit(path, old, new, "or set replacementPolicy: MakeBeforeBreak") for path, old, new in REPLACING),
    # Without a record, an edit could not be compared with what there was.
    Rejected({"instanceTypes": ["m7i.xlarge"]}, "spec.instanceTypes", NEW_NODE_GROUP, REPLACED, status=EXISTS),
    Rejected({"instanceTypes": ["m7i.xlarge"], "replacementPolicy": "Refuse"}, "spec.instanceTypes", NEW_NODE_GROUP, REPLACED, status=MADE_WITH),
    Rejected(
        {"replacementPolicy": "Refuse"}, "spec.replacementPolicy", "until it has ended", REPLACED, status={**MADE_WITH, "replacement": REPLACEMENT}
    ),
    Rejected({"node": {}}, "spec.node", NEW_NODE_GROUP, {}, status=EXISTS),
    Rejected({"node": None}, "spec.node", NEW_NODE_GROUP, {"node": {}}, status=EXISTS),
    # Also with the policy: the digest in status has no place for it.
    Rejected({"diskSizeGiB": None, "node": {"volumes": [VOLUME]}}, "spec.node", NEW_NODE_GROUP, {**REPLACED, "diskSizeGiB": 50}, status=MADE_WITH),
    Rejected({"node": OWN_AMI}, "spec.node.imageId", NEW_NODE_GROUP, {"node": {}}, status=EXISTS),
    Rejected({"node": {"imageId": None}}, "spec.node.imageId", NEW_NODE_GROUP, {"node": OWN_AMI}, status=EXISTS),
]

CHANGEABLE = [
    # The policy replaces the node group; it may be set together with the edit.
    *(Accepted(at(path, new), {**REPLACED, **({} if old is None else at(path, old))}, MADE_WITH) for path, old, new in REPLACING),
    Accepted({**REPLACED, "instanceTypes": ["m7i.xlarge"]}, {}, MADE_WITH),
    Accepted({"instanceTypes": ["m7i.large"]}, {**REPLACED, "instanceTypes": ["m7i.xlarge"]}, {**MADE_WITH, "replacement": REPLACEMENT}),
    Accepted({"replacementPolicy": "Refuse"}, REPLACED, MADE_WITH),
    # A size: before creation, enforced, omitted, or moved by the bounds as AWS moves it.
    change("scaling", {"min": 2, "max": 6, "desired": 3}, {"desired": 4}),
    Accepted({"scaling": {"desired": 4, "desiredPolicy": "Enforce"}}, {"scaling": {"desired": 3}}, EXISTS),
    Accepted({"scaling": {"desired": None}}, {"scaling": {"desired": 3}}, EXISTS),
    Accepted({"scaling": {"desired": 2}}, {"scaling": {"desired": None}}, {**EXISTS, "replicas": 2}),
    Accepted({"scaling": {"min": 3, "desired": 3}}, {"scaling": {"desired": 2}}, EXISTS),
    Accepted({"scaling": {"max": 2, "desired": 2}}, {"scaling": {"desired": 3}}, EXISTS),
    Accepted({"scaling": {"max": 9}}, {"scaling": {"desired": 3}}, EXISTS),
    change("version", "1.33", "1.34"),
    version_accepted("1.34", "1.63", "1.34"),
    version_accepted("1.34", "1.34", None),
    change("version", "1.63", "1.33"),
    change("version", "1.33", None),
    change("version", None, "1.33"),
    change("nodeGroupName", None, "demo"),
    change("launchTemplate", {"id": "lt-1", "version": "3"}, {"id": "lt-1", "version": "4"}),
    change("node", None, {}),
    change("node", {}, None),
    Accepted({"node": {"placementGroup": "near"}}, {"node": {}}, EXISTS),
    Accepted({"node": {"imageId": "ami-2"}}, {"node": OWN_AMI}, EXISTS),
    Accepted({"node": {"imageId": "ami-2"}}, {"node": OWN_AMI, "amiType": "CUSTOM"}),
    Accepted({"node": {"nodeConfig": {"apiVersion": "node.eks.aws/v1alpha1", "spec": {"kubelet": {"flags": ["--v=2"]}}}}}),
    Accepted({"node": {"volumes": [VOLUME, {"deviceName": "/dev/xvdb", "type": "io2", "sizeGiB": 10, "iops": 10000, "kmsKeyArn": KEY}]}}),
    Accepted({"node": {"volumes": [{**VOLUME, "sizeGiB": 80, "iops": 6000, "throughput": 1000}]}}),
    change("releaseVersion", None, "1.34.2-20261101"),
    change("scaling", {"min": 2, "max": 4}, {"min": 0, "max": 100, "desired": 50}),
    change("scaling.desired", 2, 3),
    change("scaling.desired", 3, None),
    change("labels", {"a": "b"}, {"example.com/workload": "batch", "empty": ""}),
    change("labels", None, {"node.kubernetes.io/lifecycle": "spot"}),
    Accepted(at("scaling", {"desired": 3, "desiredPolicy": "Enforce"})),
    Accepted({"taints": [taint(), taint(effect="NoExecute")]}),
    Accepted({"taints": []}, {"taints": [taint()]}),
    change(
        "update", {"maxUnavailable": 1}, {"maxUnavailable": None, "maxUnavailablePercentage": 33}
    ),
    change("repair", None, {"enabled": True}),
    change("repair", {"enabled": True, "maxUnhealthyCount": 2}, {"maxUnhealthyCount": None, "maxUnhealthyPercentage": 10}),
    change("repair", {"enabled": True}, {"overrides": [OVERRIDE, {**OVERRIDE, "nodeUnhealthyReason": "Other"}]}),
    change("autoScalingGroupTags", None, {"k8s.io/cluster-autoscaler/enabled": "true", "Name": "workers"}),
    change("autoScalingGroupTags", {"a": "b"}, {"a": None}),
    change("warmPool", None, {"enabled": True, "minSize": 1, "maxGroupPreparedCapacity": 8, "poolState": "Hibernated", "reuseOnScaleIn": True}),
    # A pool that is switched off excludes nothing.
    Accepted({}, {"capacityType": "Spot", "warmPool": {"enabled": False}}),
    Accepted({}, CAPACITY_BLOCK),
    Accepted({}, {"capacityType": "CapacityBlock", "launchTemplate": {"name": "blocks"}, "subnets": {"ids": ["subnet-1"]}}),
    change("launchTemplate", {"name": "base"}, {"name": "base", "version": "2"}),
    change(
        "additionalRolePolicies", None, ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
    ),
]
