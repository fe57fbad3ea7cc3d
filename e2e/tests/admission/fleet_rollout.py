"""FleetRollout: values and edits."""

from . import Accepted, Rejected, change, invalid


def wave(**spec: object) -> list:
    return [{"name": "canary", **spec}]


def selector(**requirement: object) -> dict:
    return {"matchExpressions": [{"key": "ring", **requirement}]}


BASE = {"clusterSelector": {"matchLabels": {"fleet": "main"}}, "waves": [{"name": "canary"}]}

INVALID = [
    invalid("clusterSelector", None, "Required value"),
    invalid("waves", [], "should have at least 1 items"),
    invalid("waves", [{"name": "a"}, {"name": "a"}], "each name may be listed once only"),
    invalid("waves", [{"name": f"w{n}"} for n in range(21)], "must have at most 20 items"),
    Rejected({"waves": [{"name": "unmatched"}]}, "spec.waves[0].name", "not unmatched, which is the wave of clusters"),
    Rejected({"waves": [{"name": "Canary"}]}, "spec.waves[0].name", "must be lower case letters, digits and '-'"),
    invalid("gates", [], "should have at least 1 items"),
    invalid("gates", ["ControlPlane", "ControlPlane"], "each entry may be listed once only"),
    # Not built: a value that would be ignored is rejected.
    Rejected({"gates": ["Addons"]}, "spec.gates[0]", 'supported values: "ControlPlane", "NodeGroups", "Agent", "Revision"'),
    Rejected({"waves": wave(maxConcurrent=0)}, "spec.waves[0].maxConcurrent", "greater than or equal to 1"),
    Rejected({"waves": wave(maxConcurrent="0%")}, "spec.waves[0].maxConcurrent", "should match"),
    Rejected({"waves": wave(maxConcurrent="101%")}, "spec.waves[0].maxConcurrent", "should match"),
    Rejected({"waves": wave(maxConcurrent="3")}, "spec.waves[0].maxConcurrent", "should match"),
    Rejected({"waves": wave(maxFailed=-1)}, "spec.waves[0].maxFailed", "greater than or equal to 0"),
    Rejected({"waves": wave(soak="a day")}, "spec.waves[0].soak", "must be a duration"),
    Rejected({"waves": wave(progressDeadline="0s")}, "spec.waves[0].progressDeadline", "must be at least 1s"),
    Rejected({"waves": wave(approval="Manual")}, "spec.waves[0].approval", 'supported values: "Automatic", "Required"'),
    invalid("unmatched", "First", 'supported values: "Block", "Last", "Ungated"'),
    invalid("notAsked", "Wait", 'supported values: "Block", "Ignore"'),
    Rejected({"clusterSelector": selector(operator="In")}, "values", "In and NotIn need values"),
    Rejected({"clusterSelector": selector(operator="Exists", values=["0"])}, "values", "Exists and DoesNotExist take none"),
    Rejected({"clusterSelector": {"matchLabels": {"-": "0"}}}, "matchLabels", "must be a Kubernetes label key, such as workload"),
    Rejected({"waves": wave(selector=selector(operator="Near", values=["0"]))}, "operator", "supported values"),
]

IMMUTABLE: list = []

CHANGEABLE = [
    change("suspend", False, True),
    change("unmatched", "Block", "Last"),
    Accepted({"waves": [{"name": "canary", "maxConcurrent": "10%", "soak": "24h"}, {"name": "prod", "selector": {}}]}),
    Accepted({"gates": ["NodeGroups"]}),
    Accepted({"gates": ["ControlPlane", "NodeGroups", "Agent", "Revision"]}),
    Accepted({"clusterSelector": selector(operator="NotIn", values=["0", "1"])}),
]
