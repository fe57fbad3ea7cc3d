"""deploy/: the real API server takes every object, and the operator gets by with the rights it is given there."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

import kustomize
from fleet.environment import until
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.cloud import LocalCloud
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, KubeApi, documents
from keelson_harness.kubernetes import ControlPlane, write_kubeconfig
from keelson_harness.paths import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
NAMESPACE = "keelson-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:keelson"
API = "keelson.dev/v1alpha1"
QUICK = Durations(cluster_create=1, cluster_delete=0.5, nodegroup=0.5, addon=0.2, nat=0.5)


def objects() -> list[dict]:
    return kustomize.build(DEPLOY)


def kinds() -> list[dict]:
    return kustomize.build(CHECKOUT / "crds")


def one(kind: str, name: str) -> dict:
    return next(o for o in objects() if (o["kind"], o["metadata"]["name"]) == (kind, name))


class AuditedCloud(LocalCloud):
    """A local cloud whose management API server writes down what the operator's account asks of it."""

    def _control_plane(self, name: str, controllers: list[str]) -> ControlPlane:
        plane = super()._control_plane(name, controllers)
        if name == "management":
            self.audit_log = self.directory / "audit.jsonl"
            plane.tools = {**plane.tools, "kube-apiserver": self._audited(plane.tools)}
        return plane

    def _audited(self, tools: dict[str, Path]) -> Path:
        policy = self.directory / "audit-policy.yaml"
        rules = [{"level": "Metadata", "users": [OPERATOR]}, {"level": "None"}]
        kinds = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
        policy.write_text(yaml.safe_dump({**kinds, "omitStages": ["RequestReceived"], "rules": rules}))
        script = self.directory / "kube-apiserver-audited"
        script.write_text(
            "#!/bin/sh\n"
            f'exec "{tools["kube-apiserver"]}" "$@" --audit-log-mode=blocking '
            f'--audit-policy-file="{policy}" --audit-log-path="{self.audit_log}"\n'
        )
        script.chmod(0o755)
        return script

    def asked(self) -> list[dict]:
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]


@pytest.fixture(scope="module")
def cloud() -> Iterator[AuditedCloud]:
    with AuditedCloud(workload=False, git=False, durations=QUICK) as started:
        yield started


@pytest.fixture(scope="module")
def api(cloud: AuditedCloud) -> KubeApi:
    """With the RoleBinding that the conditions of a cluster ask for."""
    cloud.management.api.apply_all([*kinds(), *objects(), reads_secrets("default")])
    return cloud.management.api


def reads_secrets(namespace: str) -> dict:
    account = {"kind": "ServiceAccount", "name": "keelson", "namespace": NAMESPACE}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "keelson-secrets", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-secrets"},
        "subjects": [account],
    }


def strictly(api: KubeApi, item: dict) -> dict:
    """A server-side dry run that refuses fields which the server would drop."""
    params = {"fieldManager": "test", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    return api.request(
        "PATCH", api.path_of(item), params=params, data=json.dumps(item), headers=headers
    ).json()


def test_the_api_server_takes_every_object_as_it_is(api):
    for item in [*kinds(), *objects(), *documents(DEPLOY / "secrets-cluster-wide" / "rbac.yaml")]:
        assert strictly(api, item)["metadata"]["name"] == item["metadata"]["name"]


def test_the_example_of_a_quota_is_taken(api):
    quota = yaml.safe_load((DEPLOY / "resource-quota.yaml").read_text())
    quota["metadata"]["namespace"] = "default"
    assert strictly(api, quota)["spec"]["hard"]["count/eksclusters.keelson.dev"] == "10"


def test_nothing_that_deletes_the_operator_deletes_its_kinds():
    assert not [o for o in objects() if o["kind"] == "CustomResourceDefinition"]
    assert {o["kind"] for o in kinds()} == {"CustomResourceDefinition"}


def test_no_secret_can_be_read_until_a_role_binding_says_so():
    bound = {o["roleRef"]["name"] for o in objects() if o["kind"] in ("ClusterRoleBinding", "RoleBinding")}
    readers = {o["metadata"]["name"] for o in objects() if "secrets" in json.dumps(o.get("rules", []))}
    assert readers == {"keelson-secrets"} and not readers & bound
    (rule,) = one("ClusterRole", "keelson-secrets")["rules"]
    assert rule["verbs"] == ["get"]


def test_on_request_every_secret_is_read_and_watched():
    component = yaml.safe_load((DEPLOY / "secrets-cluster-wide" / "kustomization.yaml").read_text())
    assert (component["kind"], component["resources"]) == ("Component", ["rbac.yaml"])
    items = documents(DEPLOY / "secrets-cluster-wide" / "rbac.yaml")
    bound = {o["roleRef"]["name"] for o in items if o["kind"] == "ClusterRoleBinding"}
    assert bound == {"keelson-secrets", "keelson-secrets-watch"}
    (role,) = [o for o in items if o["kind"] == "ClusterRole"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}]


def test_the_network_policy_is_for_the_pods_and_their_port():
    policy = one("NetworkPolicy", "keelson")["spec"]
    template = one("Deployment", "keelson")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == list(ports)
    out = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443)} <= out
    assert one("NetworkPolicy", "default-deny")["spec"]["podSelector"] == {}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_builds_the_same():
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY)], stdout=subprocess.PIPE, check=True, text=True
    )

    def by_name(items: list[dict]) -> dict:
        return {(i["kind"], i["metadata"]["name"]): i for i in items}

    assert by_name(list(yaml.safe_load_all(built.stdout))) == by_name(objects())


def test_the_pods_keep_the_restricted_profile(api):
    """Pod security is enforced on Pods, not on Deployments."""
    template = one("Deployment", "keelson")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "try", "namespace": NAMESPACE, **template["metadata"]},
        "spec": template["spec"],
    }
    strictly(api, pod)
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiError, match="restricted"):
        strictly(api, pod)


def test_the_component_for_ambient_credentials_fits_the_deployment():
    """It adds to the environment of the one container; without it the flag is off."""
    component = yaml.safe_load((DEPLOY / "ambient-account" / "kustomization.yaml").read_text())
    [patch] = component["patches"]
    deployment = one(patch["target"]["kind"], patch["target"]["name"])
    [operation] = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/spec/template/spec/containers/0/env/-"
    there = {variable["name"] for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert operation["value"] == {"name": "KEELSON_ALLOW_AMBIENT_ACCOUNT", "value": "true"}
    assert "KEELSON_ALLOW_AMBIENT_ACCOUNT" not in there


def test_selectors_find_the_pods():
    labels = one("Deployment", "keelson")["spec"]["template"]["metadata"]["labels"].items()
    assert one("Service", "keelson-metrics")["spec"]["selector"].items() <= labels
    assert one("PodDisruptionBudget", "keelson")["spec"]["selector"]["matchLabels"].items() <= labels


KINDS = ("eksclusters", "nodegroups", "awsaccounts")


def seldom() -> set["Right"]:
    """Taken up only when two write to an object at the same moment, which a test cannot ask for; and where an event repeats, which
    `test_churn.py` shows."""
    return {Right("keelson.dev", kind, "get") for kind in KINDS} | {Right("events.k8s.io", "events", "patch")}


def asked_by_admission() -> set["Right"]:
    """What `admission-finalizers.yaml` asks for when the operator writes: no request of its own."""
    return {Right("keelson.dev", f"{kind}/finalizers", "update") for kind in KINDS}


@dataclass(frozen=True)
class Right:
    """One verb on one resource, as RBAC counts them."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group or 'core'}"


def granted() -> set[Right]:
    """All that the operator's account is given."""
    everything = [*objects(), reads_secrets("default")]
    roles = {(o["kind"], o["metadata"]["name"]): o for o in everything if "rules" in o}
    bound = [
        roles[(o["roleRef"]["kind"], o["roleRef"]["name"])]
        for o in everything
        if o["kind"] in ("ClusterRoleBinding", "RoleBinding")
    ]
    return {
        Right(group, resource, verb)
        for role in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rights(asked: list[dict]) -> set[Right]:
    """The rights that requests took up."""
    answered = [entry for entry in asked if "objectRef" in entry]
    references = [(entry["verb"], entry["objectRef"]) for entry in answered]
    # A server-side apply that made the object.
    references += [("create", e["objectRef"]) for e in answered if e["responseStatus"]["code"] == 201]
    return {
        Right(
            ref.get("apiGroup", ""),
            "/".join(filter(None, (ref["resource"], ref.get("subresource")))),
            verb,
        )
        for verb, ref in references
    }


@pytest.fixture(scope="module")
def operator(cloud: AuditedCloud, api: KubeApi) -> Controller:
    """One that has nothing but the token of its account."""
    kubeconfig = write_kubeconfig(
        cloud.directory / "operator.kubeconfig",
        cloud.management.url,
        cloud.management.ca_file,
        token=api.service_account_token(NAMESPACE, "keelson"),
    )
    # The arguments of the Deployment, on another port: the test may not be alone on the machine.
    container = one("Deployment", "keelson")["spec"]["template"]["spec"]["containers"][0]
    arguments = [a for a in container["args"][1:] if not a.startswith("--listen")]
    environment = {"POD_NAME": "keelson-0", "POD_NAMESPACE": NAMESPACE, "KEELSON_METRICS_AUTH": "true"}
    started = cloud.operator(*arguments, kubeconfig=kubeconfig, env=environment)
    started.wait_ready()
    return started


@pytest.fixture(scope="module")
def scraped(api: KubeApi, operator: Controller) -> dict[str, requests.Response]:
    """The answers to a service account that is bound to keelson-metrics-reader, and to others."""
    names = ("prometheus", "stranger")
    for name in names:
        api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}})
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "keelson-metrics-reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-metrics-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "default"}],
        }
    )
    tokens = {name: api.service_account_token("default", name) for name in names} | {"a guess": "nobodys"}
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()} | {"nobody": {}}
    url = f"{operator.url}/metrics"
    return {name: requests.get(url, headers=sent, timeout=10) for name, sent in headers.items()}


@pytest.fixture(scope="module")
def asked(cloud: AuditedCloud, api: KubeApi, operator: Controller, scraped) -> list[dict]:
    """What it asked of the API server, from start to end of a cluster."""
    try:
        live_and_die(api)
    finally:
        operator.stop()
    return cloud.asked()


def manifest(kind: str, name: str, spec: dict) -> dict:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def me(api: KubeApi) -> str:
    """The test's own user name: the admission policy demands it of an approval."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review).json()["status"]["userInfo"]["username"]


def live_and_die(api: KubeApi) -> None:
    """A cluster and its node group are made and deleted; an account is looked at; a Secret is asked for."""
    account = {"accountId": ACCOUNT, "allowedNamespaces": ["default"]}
    api.apply({**manifest("AwsAccount", "here", account), "metadata": {"name": "here"}})
    spec = {"region": "eu-west-1", "version": "1.34"}
    api.apply(manifest("EksCluster", "demo", {**spec, "accountRef": {"name": "here"}}))
    group = {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 1}}
    api.apply(manifest("NodeGroup", "demo-default", group))
    git = {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}
    source = {"git": {**git, "secretRef": {"name": "not-there"}}}
    flux = {"source": source, "path": "clusters/other"}
    api.apply(manifest("EksCluster", "other", {**spec, "gitops": {"flux": flux}}))

    api.wait_condition(API, "AwsAccount", "here", "Ready", None)
    api.wait_condition(API, "EksCluster", "demo", "Ready", timeout=120)
    api.wait_condition(API, "NodeGroup", "demo-default", "Ready", timeout=120)
    # Of no plan that waits: it is told so.
    api.create(manifest("PlanApproval", "stale", {"clusterRef": {"name": "demo"}, "hash": "0" * 16, "approvedBy": me(api)}))
    api.wait(API, "PlanApproval", "stale", lambda found: found.get("status", {}).get("state") == "Stale")
    stalled = api.wait_condition(API, "EksCluster", "other", "Stalled", reason="SyncFailed")
    assert "not-there" in json.dumps(stalled["status"])
    # The node group is not deleted by us: it goes with its cluster.
    for name in ("demo", "other"):
        api.delete(API, "EksCluster", name)
    for name in ("demo", "other"):
        api.wait_gone(API, "EksCluster", name, timeout=120)
    api.wait_gone(API, "NodeGroup", "demo-default")


def test_metrics_are_for_those_who_are_bound_to_read_them(operator, scraped):
    assert {name: answer.status_code for name, answer in scraped.items()} == {
        "prometheus": 200,
        "stranger": 403,
        "a guess": 401,
        "nobody": 401,
    }
    assert [name for name, answer in scraped.items() if "keelson_leader" in answer.text] == ["prometheus"]


def test_probes_need_no_token(operator):
    assert requests.get(f"{operator.url}/healthz", timeout=5).ok
    # Not while a replica that takes over lists what there is.
    until(lambda: requests.get(f"{operator.url}/readyz", timeout=5).ok, 30, "readiness")


def test_the_rights_are_enough_for_a_cluster_from_start_to_end(asked):
    refused = [entry for entry in asked if entry["responseStatus"]["code"] in (401, 403)]
    # To watch Secrets is to read them all: tried, as deploy/secrets-cluster-wide allows it, and gone without.
    refused = [e for e in refused if (e["verb"], e["requestURI"].split("?")[0]) != ("list", "/api/v1/secrets")]
    assert not refused, [(entry["verb"], entry["requestURI"]) for entry in refused]


def test_no_right_is_given_that_is_not_taken_up(asked):
    unused = granted() - rights(asked) - seldom() - asked_by_admission()
    assert not unused, f"granted and never used: {', '.join(sorted(map(str, unused)))}"


def test_leases_are_written_in_the_operators_own_namespace_only(asked):
    leases = [e["objectRef"] for e in asked if e.get("objectRef", {}).get("resource") == "leases"]
    assert {lease["namespace"] for lease in leases} == {NAMESPACE}


def test_of_all_config_maps_only_those_beside_the_lease_are_touched(asked):
    touched = [e["objectRef"] for e in asked if e.get("objectRef", {}).get("resource") == "configmaps"]
    assert {(c["namespace"], c.get("name")) for c in touched} == {
        (NAMESPACE, "keelson-duration-estimates"),
        (NAMESPACE, "keelson-deletions"),
        (NAMESPACE, "keelson-installation"),
    }


def test_an_account_is_nothing_that_editors_can_make():
    for role in ("keelson-view", "keelson-edit", "keelson-approve"):
        assert not any("awsaccounts" in rule["resources"] for rule in one("ClusterRole", role)["rules"]), role
    # Nor can they take off what holds an object until AWS is empty.
    assert not any("finalizers" in json.dumps(one("ClusterRole", role)["rules"]) for role in ("keelson-edit", "keelson-approve"))
