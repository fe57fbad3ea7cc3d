"""FleetRollout: values and edits."""

from . import Accepted, Rejected, change, invalid


def wave(**spec: object) -> list:
    return [{"name": "canary", **spec}]


def selector(**requirement: object) -> dict:
    return {"matchExpressions": [{"key": "ring", **requirement}]}


def checked(**spec: object) -> dict:
    """A wave with one check."""
    return {"waves": wave(checks=[{"name": "errors", **spec}])}


def queried(**spec: object) -> dict:
    return checked(prometheus={"address": "http://prometheus:9090", "query": "vector(0)", "max": 1, **spec})


def ran(**spec: object) -> dict:
    return checked(job={"cronJob": {"namespace": "fleet", "name": "smoke"}, **spec})


def conditioned(**spec: object) -> dict:
    return checked(condition={"type": "InSync", **spec})


CHECK = "spec.waves[0].checks[0]"
QUERY = f"{CHECK}.prometheus"
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
    Rejected(checked(), CHECK, "exactly one of prometheus, job, condition must be set"),
    Rejected(checked(condition={"type": "InSync"}, job={"cronJob": {"namespace": "a", "name": "b"}}), CHECK, "exactly one of prometheus, job, condition"),
    Rejected({"waves": wave(checks=[{"name": "a", **check} for check in ({"job": {"cronJob": {"namespace": "b", "name": "c"}}},) * 2])},
             "spec.waves[0].checks", "each name may be listed once only"),
    Rejected({"waves": wave(checks=[{"name": f"c{n}", "job": {"cronJob": {"namespace": "b", "name": "c"}}} for n in range(11)])},
             "spec.waves[0].checks", "must have at most 10 items"),
    Rejected(queried(max=None), QUERY, "min, max or both must be set"),
    Rejected(queried(min=2), QUERY, "min must not be higher than max"),
    Rejected(queried(max="0.01"), f"{QUERY}.max", "must be of type number"),
    Rejected(queried(address="prometheus:9090"), f"{QUERY}.address", "must be http:// or https://, a host"),
    Rejected(queried(address="http://user:password@prometheus"), f"{QUERY}.address", "must be http:// or https://, a host"),
    Rejected(queried(address="http://prometheus/?a=b"), f"{QUERY}.address", "must be http:// or https://, a host"),
    Rejected(queried(query="up{node=\"${NODE}\"}"), f"{QUERY}.query", "and nothing else"),
    Rejected(queried(query="up{node=\"${CLUSTER_NAME\"}"), f"{QUERY}.query", "and nothing else"),
    Rejected(queried(query="up{node=\"$${CLUSTER_NAME}\"}"), f"{QUERY}.query", "is not allowed"),
    Rejected(queried(query=""), f"{QUERY}.query", "should be at least 1 chars long"),
    Rejected(queried(interval="4s"), f"{QUERY}.interval", "must be at least 5s and at most 24h"),
    Rejected(queried(timeout="2m"), f"{QUERY}.timeout", "must be at least 1s and at most 1m"),
    Rejected(queried(failureLimit=-1), f"{QUERY}.failureLimit", "greater than or equal to 0"),
    Rejected(queried(errorLimit=1001), f"{QUERY}.errorLimit", "less than or equal to 1000"),
    Rejected(queried(secretRef={"name": "prometheus"}), f"{QUERY}.secretRef.namespace", "Required value"),
    Rejected(ran(cronJob={"name": "smoke"}), f"{CHECK}.job.cronJob.namespace", "Required value"),
    Rejected(ran(timeout="0s"), f"{CHECK}.job.timeout", "must be at least 1s"),
    Rejected(ran(interval="1s"), f"{CHECK}.job.interval", "must be at least 5s and at most 24h"),
    Rejected(checked(condition={"status": "True"}), f"{CHECK}.condition.type", "Required value"),
    Rejected(conditioned(type="Synced"), f"{CHECK}.condition.type", "supported values"),
    Rejected(conditioned(type="NodesReady"), f"{CHECK}.condition.type", "objects of this kind have no such condition"),
    Rejected(conditioned(kind="NodeGroup", type="GitOpsReady"), f"{CHECK}.condition.type", "objects of this kind have no such condition"),
    Rejected(conditioned(kind="Node"), f"{CHECK}.condition.kind", 'supported values: "EksCluster", "NodeGroup"'),
    # YAML's unquoted True.
    Rejected(conditioned(status=True), f"{CHECK}.condition.status", "must be of type string"),
    Rejected(conditioned(status="Unknown"), f"{CHECK}.condition.status", 'supported values: "True", "False"'),
    Rejected(conditioned(interval="4s"), f"{CHECK}.condition.interval", "must be at least 5s and at most 24h"),
    Rejected(conditioned(failureLimit=-1), f"{CHECK}.condition.failureLimit", "greater than or equal to 0"),
    Rejected(conditioned(errorLimit=1001), f"{CHECK}.condition.errorLimit", "less than or equal to 1000"),
]

IMMUTABLE: list = []

CHANGEABLE = [
    change("suspend", False, True),
    change("unmatched", "Block", "Last"),
    Accepted({"waves": [{"name": "canary", "maxConcurrent": "10%", "soak": "24h"}, {"name": "prod", "selector": {}}]}),
    Accepted({"gates": ["NodeGroups"]}),
    Accepted(queried(query="a{cluster=\"${CLUSTER_NAME}\",b=~\"x$\"} / b{r=\"${AWS_REGION}\"}", min=-1, max=0.5, address="https://[::1]:9090/prometheus")),
    Accepted(queried(max=None, min=0.99, secretRef={"namespace": "fleet", "name": "prometheus"})),
    Accepted(ran(timeout="2h", failureLimit=1)),
    Accepted(conditioned(status="False", type="Upgrading", failureLimit=3)),
    Accepted(conditioned(kind="NodeGroup", type="NodesReady", interval="30s")),
    Accepted({"gates": ["ControlPlane", "NodeGroups", "Agent", "Revision"]}),
    Accepted({"clusterSelector": selector(operator="NotIn", values=["0", "1"])}),
]
