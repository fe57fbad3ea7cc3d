"""deploy/: the real API server accepts every object, and the operator works with exactly the RBAC granted there."""

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


def crds() -> list[dict]:
    return kustomize.build(CHECKOUT / "crds")


def find_object(kind: str, name: str) -> dict:
    return next(o for o in objects() if (o["kind"], o["metadata"]["name"]) == (kind, name))


class AuditedCloud(LocalCloud):
    """A local cloud whose management API server audits the requests of some users: of the operator's service account."""

    audited: tuple[str, ...] = (OPERATOR,)

    def _control_plane(self, name: str, controllers: list[str]) -> ControlPlane:
        plane = super()._control_plane(name, controllers)
        if name == "management":
            self.audit_log = self.directory / "audit.jsonl"
            plane.tools = {**plane.tools, "kube-apiserver": self._audited(plane.tools)}
        return plane

    def _audited(self, tools: dict[str, Path]) -> Path:
        policy = self.directory / "audit-policy.yaml"
        rules = [{"level": "Metadata", "users": [*self.audited]}, {"level": "None"}]
        header = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
        policy.write_text(yaml.safe_dump({**header, "omitStages": ["RequestReceived"], "rules": rules}))
        script = self.directory / "kube-apiserver-audited"
        script.write_text(
            "#!/bin/sh\n"
            f'exec "{tools["kube-apiserver"]}" "$@" --audit-log-mode=blocking '
            f'--audit-policy-file="{policy}" --audit-log-path="{self.audit_log}"\n'
        )
        script.chmod(0o755)
        return script

    def operator_requests(self) -> list[dict]:
        return self.requests_of(OPERATOR)

    def requests_of(self, user: str) -> list[dict]:
        entries = [json.loads(line) for line in self.audit_log.read_text().splitlines()]
        return [entry for entry in entries if entry["user"]["username"] == user]


@pytest.fixture(scope="module")
def cloud() -> Iterator[AuditedCloud]:
    with AuditedCloud(workload=False, git=False, durations=QUICK) as started:
        yield started


ARGOCD = "argocd"


def registration() -> list[dict]:
    """The Role and the RoleBinding in Argo CD's namespace."""
    return documents(DEPLOY / "argocd-registration" / "rbac.yaml")


@pytest.fixture(scope="module")
def api(cloud: AuditedCloud) -> KubeApi:
    """With the RoleBinding that a cluster's condition asks for, and the component that registers clusters in Argo CD."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ARGOCD}}
    cloud.management.api.apply_all([*crds(), *objects(), reads_secrets("default"), namespace, *registration()])
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


def strict_dry_run(api: KubeApi, item: dict) -> dict:
    """A server-side dry run that rejects fields that the server would drop."""
    params = {"fieldManager": "test", "force": "true", "dryRun": "All", "fieldValidation": "Strict"}
    headers = {"Content-Type": "application/apply-patch+yaml"}
    return api.request(
        "PATCH", api.path_of(item), params=params, data=json.dumps(item), headers=headers
    ).json()


def test_api_server_accepts_every_object_unchanged(api):
    for item in [*crds(), *objects(), *registration(), *documents(DEPLOY / "secrets-cluster-wide" / "rbac.yaml")]:
        assert strict_dry_run(api, item)["metadata"]["name"] == item["metadata"]["name"]


def test_example_quota_is_accepted(api):
    quota = yaml.safe_load((DEPLOY / "resource-quota.yaml").read_text())
    quota["metadata"]["namespace"] = "default"
    assert strict_dry_run(api, quota)["spec"]["hard"]["count/eksclusters.keelson.dev"] == "10"


def test_deleting_the_operator_manifests_keeps_the_crds():
    assert not [o for o in objects() if o["kind"] == "CustomResourceDefinition"]
    assert {o["kind"] for o in crds()} == {"CustomResourceDefinition"}


def test_secrets_are_unreadable_without_a_role_binding():
    bound = {o["roleRef"]["name"] for o in objects() if o["kind"] in ("ClusterRoleBinding", "RoleBinding")}
    readers = {o["metadata"]["name"] for o in objects() if "secrets" in json.dumps(o.get("rules", []))}
    assert readers == {"keelson-secrets"} and not readers & bound
    (rule,) = find_object("ClusterRole", "keelson-secrets")["rules"]
    assert rule["verbs"] == ["get"]


def test_cluster_wide_component_grants_read_and_watch_of_secrets():
    component = yaml.safe_load((DEPLOY / "secrets-cluster-wide" / "kustomization.yaml").read_text())
    assert (component["kind"], component["resources"]) == ("Component", ["rbac.yaml"])
    items = documents(DEPLOY / "secrets-cluster-wide" / "rbac.yaml")
    bound = {o["roleRef"]["name"] for o in items if o["kind"] == "ClusterRoleBinding"}
    assert bound == {"keelson-secrets", "keelson-secrets-watch"}
    (role,) = [o for o in items if o["kind"] == "ClusterRole"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}]


def test_registration_component_grants_secrets_in_the_namespace_of_argo_cd_alone():
    component = yaml.safe_load((DEPLOY / "argocd-registration" / "kustomization.yaml").read_text())
    assert (component["kind"], component["resources"]) == ("Component", ["rbac.yaml"])
    assert {(item["kind"], item["metadata"]["namespace"]) for item in registration()} == {("Role", ARGOCD), ("RoleBinding", ARGOCD)}
    [role, _] = registration()
    assert [(rule["apiGroups"], rule["resources"]) for rule in role["rules"]] == [([""], ["secrets"])]
    assert registration_variable() == {"name": "KEELSON_ARGOCD_NAMESPACE", "value": ARGOCD}


def registration_variable() -> dict:
    """What the component adds to the environment of the operator."""
    component = yaml.safe_load((DEPLOY / "argocd-registration" / "kustomization.yaml").read_text())
    [patch] = component["patches"]
    [operation] = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/spec/template/spec/containers/0/env/-"
    return operation["value"]


def test_network_policy_selects_the_pods_and_their_port():
    policy = find_object("NetworkPolicy", "keelson")["spec"]
    template = find_object("Deployment", "keelson")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == list(ports)
    out = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443)} <= out
    assert find_object("NetworkPolicy", "default-deny")["spec"]["podSelector"] == {}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_kustomize_builds_the_same_objects():
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY)], stdout=subprocess.PIPE, check=True, text=True
    )

    def by_name(items: list[dict]) -> dict:
        return {(i["kind"], i["metadata"]["name"]): i for i in items}

    assert by_name(list(yaml.safe_load_all(built.stdout))) == by_name(objects())


def test_pods_comply_with_the_restricted_profile(api):
    """Pod security is enforced on Pods, not on Deployments."""
    template = find_object("Deployment", "keelson")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "try", "namespace": NAMESPACE, **template["metadata"]},
        "spec": template["spec"],
    }
    strict_dry_run(api, pod)
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiError, match="restricted"):
        strict_dry_run(api, pod)


def test_ambient_account_component_patches_the_deployment():
    """It adds to the environment of the only container; without it the flag is off."""
    component = yaml.safe_load((DEPLOY / "ambient-account" / "kustomization.yaml").read_text())
    [patch] = component["patches"]
    deployment = find_object(patch["target"]["kind"], patch["target"]["name"])
    [operation] = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/spec/template/spec/containers/0/env/-"
    names = {variable["name"] for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert operation["value"] == {"name": "KEELSON_ALLOW_AMBIENT_ACCOUNT", "value": "true"}
    assert "KEELSON_ALLOW_AMBIENT_ACCOUNT" not in names


def test_selectors_match_the_pods():
    labels = find_object("Deployment", "keelson")["spec"]["template"]["metadata"]["labels"].items()
    assert find_object("Service", "keelson-metrics")["spec"]["selector"].items() <= labels
    assert find_object("PodDisruptionBudget", "keelson")["spec"]["selector"]["matchLabels"].items() <= labels


RESOURCES = ("eksclusters", "nodegroups", "awsaccounts")


def rarely_used() -> set["Permission"]:
    """Used only for write conflicts, which a test cannot cause reliably, for repeated events, which `test_churn.py` covers, and for who
    set an annotation of a FleetRollout, which `test_rollout.py` covers."""
    reads = {Permission("keelson.dev", kind, "get") for kind in (*RESOURCES, "fleetrollouts")}
    return reads | {Permission("events.k8s.io", "events", "patch")}


def used_by_admission() -> set["Permission"]:
    """Checked by `admission-finalizers.yaml` when the operator writes: not a request of the operator."""
    return {Permission("keelson.dev", f"{kind}/finalizers", "update") for kind in RESOURCES}


@dataclass(frozen=True)
class Permission:
    """One verb on one resource, as in an RBAC rule."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group or 'core'}"


def granted(everything: list[dict]) -> set[Permission]:
    """All permissions that these objects grant to the operator's service account."""
    roles = {(o["kind"], o["metadata"]["name"]): o for o in everything if "rules" in o}
    bound = [
        roles[(o["roleRef"]["kind"], o["roleRef"]["name"])]
        for o in everything
        if o["kind"] in ("ClusterRoleBinding", "RoleBinding") and "keelson" in [subject["name"] for subject in o["subjects"]]
    ]
    return {
        Permission(group, resource, verb)
        for role in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used_permissions(audit_entries: list[dict]) -> set[Permission]:
    """The permissions that the requests used."""
    with_object = [entry for entry in audit_entries if "objectRef" in entry]
    references = [(entry["verb"], entry["objectRef"]) for entry in with_object]
    # A server-side apply that created the object.
    references += [("create", e["objectRef"]) for e in with_object if e["responseStatus"]["code"] == 201]
    return {
        Permission(
            ref.get("apiGroup", ""),
            "/".join(filter(None, (ref["resource"], ref.get("subresource")))),
            verb,
        )
        for verb, ref in references
    }


@pytest.fixture(scope="module")
def operator(cloud: AuditedCloud, api: KubeApi) -> Controller:
    """An operator with only the token of its service account."""
    kubeconfig = write_kubeconfig(
        cloud.directory / "operator.kubeconfig",
        cloud.management.url,
        cloud.management.ca_file,
        token=api.service_account_token(NAMESPACE, "keelson"),
    )
    # The arguments of the Deployment, on another port: other tests may run on this machine.
    container = find_object("Deployment", "keelson")["spec"]["template"]["spec"]["containers"][0]
    arguments = [a for a in container["args"][1:] if not a.startswith("--listen")]
    environment = {"POD_NAME": "keelson-0", "POD_NAMESPACE": NAMESPACE, "KEELSON_METRICS_AUTH": "true"}
    variable = registration_variable()
    environment[variable["name"]] = variable["value"]
    started = cloud.operator(*arguments, kubeconfig=kubeconfig, env=environment)
    started.wait_ready()
    return started


@pytest.fixture(scope="module")
def scraped(api: KubeApi, operator: Controller) -> dict[str, requests.Response]:
    """Responses of /metrics to a service account bound to keelson-metrics-reader, and to others."""
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
    tokens = {name: api.service_account_token("default", name) for name in names} | {"a guess": "invalid"}
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()} | {"no token": {}}
    url = f"{operator.url}/metrics"
    return {name: requests.get(url, headers=header, timeout=10) for name, header in headers.items()}


@pytest.fixture(scope="module")
def audit_entries(cloud: AuditedCloud, api: KubeApi, operator: Controller, scraped) -> list[dict]:
    """The operator's requests to the API server during the lifecycle of a cluster."""
    try:
        run_lifecycle(api)
    finally:
        operator.stop()
    return cloud.operator_requests()


def manifest(kind: str, name: str, spec: dict) -> dict:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def own_username(api: KubeApi) -> str:
    """The test's own user name, which the admission policy requires in an approval."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review).json()["status"]["userInfo"]["username"]


def hooks(api: KubeApi) -> list[dict]:
    """A hook whose Job never ends, as no Job controller runs: it is deleted at its timeout, and its failure is ignored."""
    container = {"name": "main", "image": "local", "command": ["true"]}
    job = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    api.apply({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "hook", "namespace": "default"},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": job},
    })
    return [{"name": "hook", "at": ["BeforeCreate"], "job": {"cronJob": {"name": "hook"}}, "timeout": "1s", "onFailure": "Continue"}]


def run_lifecycle(api: KubeApi, names_secret: bool = True, registers: bool = True, has_hooks: bool = False) -> None:
    """Creates and deletes a cluster with its node group; also covers an account, with `names_secret` a missing Secret, with `registers`
    its registration in Argo CD, and with `has_hooks` a hook."""
    account = {"accountId": ACCOUNT, "allowedNamespaces": ["default"]}
    api.apply({**manifest("AwsAccount", "here", account), "metadata": {"name": "here"}})
    rollout = manifest("FleetRollout", "main", {"clusterSelector": {"matchLabels": {"fleet": "main"}}, "waves": [{"name": "all"}]})
    api.apply({**rollout, "metadata": {"name": "main"}})
    api.wait_condition(API, "FleetRollout", "main", "Ready", None)
    spec = {"region": "eu-west-1", "version": "1.34"}
    api.apply(manifest("EksCluster", "demo", {**spec, "accountRef": {"name": "here"}, **({"registerWith": "ArgoCd"} if registers else {}), **({"hooks": hooks(api)} if has_hooks else {})}))
    group = {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 1}}
    api.apply(manifest("NodeGroup", "demo-default", group))
    git = {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}
    source = {"git": {**git, "secretRef": {"name": "not-there"}}}
    flux = {"source": source, "path": "clusters/other"}
    clusters = ("demo", "other") if names_secret else ("demo",)
    if names_secret:
        api.apply(manifest("EksCluster", "other", {**spec, "gitops": {"flux": flux}}))

    api.wait_condition(API, "AwsAccount", "here", "Ready", None)
    api.wait_condition(API, "EksCluster", "demo", "Ready", timeout=120)
    api.wait_condition(API, "NodeGroup", "demo-default", "Ready", timeout=120)
    # Its hash matches no pending plan.
    api.create(manifest("PlanApproval", "stale", {"clusterRef": {"name": "demo"}, "hash": "0" * 16, "approvedBy": own_username(api)}))
    api.wait(API, "PlanApproval", "stale", lambda found: found.get("status", {}).get("state") == "Stale")
    if names_secret:
        stalled = api.wait_condition(API, "EksCluster", "other", "Stalled", reason="SyncFailed")
        assert "not-there" in json.dumps(stalled["status"])
    # The test does not delete the node group: it is deleted with its cluster.
    for name in clusters:
        api.delete(API, "EksCluster", name)
    for name in clusters:
        api.wait_gone(API, "EksCluster", name, timeout=120)
    api.wait_gone(API, "NodeGroup", "demo-default")


def test_metrics_need_the_metrics_reader_role(operator, scraped):
    assert {name: response.status_code for name, response in scraped.items()} == {
        "prometheus": 200,
        "stranger": 403,
        "a guess": 401,
        "no token": 401,
    }
    assert [name for name, response in scraped.items() if "keelson_leader" in response.text] == ["prometheus"]


def test_probes_need_no_token(operator):
    assert requests.get(f"{operator.url}/healthz", timeout=5).ok
    # Not ready while a new leader lists its objects.
    until(lambda: requests.get(f"{operator.url}/readyz", timeout=5).ok, 30, "readiness")


def lists_secrets(entry: dict) -> bool:
    """Watching Secrets would mean reading them all: tried, as deploy/secrets-cluster-wide allows it; the operator works without."""
    return (entry["verb"], entry["requestURI"].split("?")[0]) == ("list", "/api/v1/secrets")


def test_rbac_is_sufficient_for_the_lifecycle_of_a_cluster(audit_entries):
    denied = [entry for entry in audit_entries if entry["responseStatus"]["code"] in (401, 403)]
    denied = [entry for entry in denied if not lists_secrets(entry)]
    assert not denied, [(entry["verb"], entry["requestURI"]) for entry in denied]


def test_every_granted_permission_is_used(audit_entries):
    unused = granted([*objects(), *registration(), reads_secrets("default")]) - used_permissions(audit_entries) - rarely_used() - used_by_admission()
    assert not unused, f"granted and never used: {', '.join(sorted(map(str, unused)))}"


def test_secrets_are_written_only_in_the_namespace_of_argo_cd(audit_entries):
    written = [e for e in audit_entries if e.get("objectRef", {}).get("resource") == "secrets" and e["verb"] not in ("get", "list", "watch")]
    assert {entry["objectRef"]["namespace"] for entry in written} == {ARGOCD}
    assert {entry["objectRef"]["name"].startswith("keelson-default.demo-") for entry in written} == {True}


def test_leases_are_written_only_in_the_operators_namespace(audit_entries):
    leases = [e["objectRef"] for e in audit_entries if e.get("objectRef", {}).get("resource") == "leases"]
    assert {lease["namespace"] for lease in leases} == {NAMESPACE}


def test_only_the_operators_own_config_maps_are_accessed(audit_entries):
    touched = [e["objectRef"] for e in audit_entries if e.get("objectRef", {}).get("resource") == "configmaps"]
    assert {(c["namespace"], c.get("name")) for c in touched} == {
        (NAMESPACE, "keelson-duration-estimates"),
        (NAMESPACE, "keelson-deletions"),
        (NAMESPACE, "keelson-installation"),
    }


def test_editors_cannot_create_awsaccounts_or_remove_finalizers():
    for role in ("keelson-view", "keelson-edit", "keelson-approve"):
        assert not any("awsaccounts" in rule["resources"] for rule in find_object("ClusterRole", role)["rules"]), role
    # Nor can they remove the finalizer that keeps an object until its AWS resources are deleted.
    assert not any("finalizers" in json.dumps(find_object("ClusterRole", role)["rules"]) for role in ("keelson-edit", "keelson-approve"))
