"""Argo CD as the agent: `examples/argocd.yaml`, from the first installation to adoption by Git.

Argo CD's application controller, repo-server and ApplicationSet controller are the real ones, as processes with their pods'
service accounts; they share a server that speaks the Redis protocol. argocd-server, dex and notifications do not run, as no test
needs them; their pods are only marked as running. The repo-server has git but no kustomize or helm, so the paths hold plain
manifests. It reads its ConfigMaps only at start: tests check their content, not their effect.
"""

from __future__ import annotations

import base64
import gzip
import json

import pytest
import yaml

from fleet import API
from fleet.manifests import cluster, secret
from fleet.environment import Environment, environment, until
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.git import GitServer
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY, EXAMPLES

ARGO = "argoproj.io/v1alpha1"
ARGOCD = "argocd"
PATH = "clusters/demo"
PASSWORD, NEXT_PASSWORD = "git-password-a51c7", "git-password-f00d2"
TRACKING_ID = "argocd.argoproj.io/tracking-id"
PRUNE_PROTECTION = ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false")
CLUSTER_WIDE = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding")


def config_map(name: str, **data: str) -> str:
    metadata = {"name": name, "namespace": "default"}
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


@pytest.fixture(scope="module")
def on():
    with environment(flux=False, argocd=True) as started:
        started.start("--drift-interval=2s")
        yield started


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    """A Git server with one user, whose password the tests set."""
    server = GitServer(tmp_path_factory.mktemp("private"), credentials=("keelson", PASSWORD))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(git):
    repository = git.repository("fleet")
    repository.commit({f"{PATH}/greeting.yaml": config_map("greeting", text="hello from Git")})
    return repository


@pytest.fixture(scope="module")
def demo(on: Environment, fleet) -> dict:
    """The cluster of `examples/argocd.yaml`, Ready, with the test's repository and a short interval."""
    items = documents(EXAMPLES / "argocd.yaml")
    items[0]["spec"]["gitops"]["argocd"]["source"]["git"].update(url=fleet.url, interval="2s")
    on.apply(secret("fleet", username="keelson", password=PASSWORD), *items)
    on.ready(*items)
    return items[0]


def workload(on: Environment, version: str, kind: str, name: str, namespace: str = ARGOCD) -> dict:
    return on.cloud.workload.api.get(version, kind, name, namespace)


def gitops(on: Environment, item: dict) -> dict:
    return on.status(item).get("gitops", {})


def await_applied(on: Environment, item: dict, commit: str, timeout: float = 90) -> dict:
    def applied() -> bool:
        condition = on.condition(item, "GitOpsReady")
        return gitops(on, item).get("lastAppliedRevision") == commit and condition["status"] == "True"

    try:
        until(applied, timeout)
    except AssertionError:
        raise AssertionError(f"{commit} was not applied: {on.describe(item)}") from None
    return gitops(on, item)


def await_failed(on: Environment, item: dict, *words: str) -> dict:
    """Waits for GitOpsReady with reason SyncFailed and these words; returns status.gitops."""

    def failed() -> bool:
        condition = on.condition(item, "GitOpsReady")
        return condition["reason"] == "SyncFailed" and all(word in condition["message"] for word in words)

    try:
        until(failed, 90)
    except AssertionError:
        raise AssertionError(f"no failure with {words}: {on.describe(item)}") from None
    return gitops(on, item)


def data_of(item: dict) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in item["data"].items()}


def test_first_commit_is_applied_and_reported(on, fleet, demo):
    commit = fleet.commit(message="nothing new")
    status = await_applied(on, demo, commit)
    assert (status["agent"], status["version"], status["adopted"]) == (ARGOCD, "v3.2.11", False)
    assert (status["url"], status["revision"]) == (fleet.url, commit[:7])
    assert status["sourceRevision"] == status["lastAttemptedRevision"] == commit
    assert (status["objects"]["running"], status["objects"]["failing"]) == (1, 0)
    assert status["inventory"] == 1
    assert len(status["components"]) == 7 and all(part["ready"] for part in status["components"])
    greeting = workload(on, "v1", "ConfigMap", "greeting", "default")
    assert greeting["metadata"]["annotations"][TRACKING_ID].startswith("keelson:")


def test_argo_cd_is_installed_completely_and_protected_from_pruning(on, demo):
    items = [json.loads(line) for line in gzip.decompress(install_manifest()).splitlines()]
    for item in items:
        found = on.cloud.workload.api.get(
            item["apiVersion"], item["kind"], item["metadata"]["name"], ARGOCD
        )
        assert found["metadata"]["annotations"].get(PRUNE_PROTECTION[0]) == PRUNE_PROTECTION[1], item["metadata"]["name"]


def install_manifest() -> bytes:
    return (DEPLOY / "argocd" / "install.jsonl.gz").read_bytes()


def test_only_the_repository_secret_is_copied(on, fleet, demo):
    on.apply(secret("unrelated", word="not-to-be-copied"))
    found = workload(on, "v1", "Secret", "keelson-repository")
    assert found["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
    assert data_of(found) == {
        "type": "git",
        "url": fleet.url,
        "username": "keelson",
        "password": PASSWORD,
    }
    names = {s["metadata"]["name"] for s in on.cloud.workload.api.list("v1", "Secret", ARGOCD)}
    own = {"argocd-redis", "argocd-secret", "argocd-notifications-secret"}
    assert names == own | {"keelson-repository", "keelson-cluster"}


def test_cluster_facts_are_on_the_cluster_secret(on, demo):
    found = workload(on, "v1", "Secret", "keelson-cluster")["metadata"]
    facts, status = found["annotations"], on.status(demo)
    assert facts["cluster_name"] == "demo"
    assert (facts["aws_region"], facts["aws_account_id"]) == (REGION, ACCOUNT)
    assert facts["vpc_id"] == status["network"]["vpcId"]
    assert facts["cluster_endpoint"] == status["endpoint"]
    assert facts["private_subnet_ids"].count(",") == 2
    assert found["labels"]["aws_region"] == REGION


def test_applicationset_selects_the_cluster_and_uses_its_facts(on, fleet, demo):
    here = {"server": "{{.server}}", "namespace": "default"}
    source = {
        "repoURL": fleet.url,
        "path": "apps/{{.metadata.annotations.aws_region}}",
        "targetRevision": "main",
    }
    template = {"metadata": {"name": "apps-of-{{.metadata.annotations.cluster_name}}"}}
    automated = {"automated": {"prune": True}}
    template["spec"] = {
        "project": "keelson",
        "source": source,
        "destination": here,
        "syncPolicy": automated,
    }
    selected = {"clusters": {"selector": {"matchLabels": {"aws_region": REGION}}}}
    application_set = {
        "apiVersion": ARGO,
        "kind": "ApplicationSet",
        "metadata": {"name": "apps", "namespace": ARGOCD},
        "spec": {"goTemplate": True, "generators": [selected], "template": template},
    }
    commit = fleet.commit(
        {
            f"{PATH}/apps.yaml": yaml.safe_dump(application_set),
            f"apps/{REGION}/app.yaml": config_map("app", of="this region"),
        }
    )
    await_applied(on, demo, commit)
    until(lambda: on.cloud.workload.api.find("v1", "ConfigMap", "app"), 30, "the app")
    until(lambda: gitops(on, demo)["objects"]["running"] == 2, 30, "both Applications in status")


def test_unreadable_manifest_is_named_and_a_commit_fixes_it(on, fleet, demo):
    before = gitops(on, demo)["lastAppliedRevision"]
    # Argo CD skips files that do not look like a manifest.
    fleet.commit({f"{PATH}/broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n"})
    status = await_failed(on, demo, "Application argocd/keelson", "ComparisonError", "broken.yaml")
    assert status["lastAppliedRevision"] == before
    assert status["failing"][0]["name"] == "argocd/keelson"
    assert status["failing"][0]["reason"] == "ComparisonError"
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/broken.yaml",)))
    assert "failing" not in gitops(on, demo)


def test_rejected_object_is_named_and_a_commit_fixes_it(on, fleet, demo):
    nowhere = {"apiVersion": "v1", "kind": "ConfigMap"}
    nowhere["metadata"] = {"name": "lost", "namespace": "nowhere"}
    lost = fleet.commit({f"{PATH}/lost.yaml": yaml.safe_dump(nowhere)})
    status = await_failed(on, demo, "SyncFailed", 'namespaces "nowhere" not found')
    assert status["sourceRevision"] == status["lastAttemptedRevision"] == lost
    assert status["lastAppliedRevision"] != lost
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/lost.yaml",)))


def test_changed_password_reaches_the_cluster(on, git, fleet, demo):
    git.require_credentials("keelson", NEXT_PASSWORD)
    commit = fleet.commit(message="behind another password")
    await_failed(on, demo, "ComparisonError")
    on.apply(secret("fleet", username="keelson", password=NEXT_PASSWORD))
    await_applied(on, demo, commit)
    found = workload(on, "v1", "Secret", "keelson-repository")
    assert data_of(found)["password"] == NEXT_PASSWORD


def own_manifests(on: Environment) -> str:
    """Argo CD's manifests, its AppProject and Application, as a user would commit them, with the configured interval."""
    items = [json.loads(line) for line in gzip.decompress(install_manifest()).splitlines()]
    for item in items:
        if item["kind"] not in CLUSTER_WIDE:
            item["metadata"]["namespace"] = ARGOCD
        if item["metadata"]["name"] == "argocd-cm":
            item["data"] = workload(on, "v1", "ConfigMap", "argocd-cm")["data"]
    for kind in ("AppProject", "Application"):
        live = workload(on, ARGO, kind, "keelson")
        meta = {"name": "keelson", "namespace": ARGOCD}
        items.append({"apiVersion": ARGO, "kind": kind, "metadata": meta, "spec": live["spec"]})
    return yaml.safe_dump_all(items)


def test_git_adopts_argo_cd_when_its_manifests_are_committed(on, fleet, demo):
    commit = fleet.commit({f"{PATH}/argocd.yaml": own_manifests(on)})
    await_applied(on, demo, commit, 120)
    until(lambda: gitops(on, demo)["adopted"], 60, "the adoption")
    for kind, version, name in (
        ("Application", ARGO, "keelson"),
        ("StatefulSet", "apps/v1", "argocd-application-controller"),
        ("ClusterRole", "rbac.authorization.k8s.io/v1", "argocd-server"),
    ):
        assert TRACKING_ID in workload(on, version, kind, name)["metadata"]["annotations"]
    # Argo CD does not track CRDs: they are adopted with the components.
    definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "appprojects.argoproj.io")
    assert TRACKING_ID not in workload(on, *definition)["metadata"]["annotations"]
    # Never adopted: Keelson keeps these.
    for name in ("keelson-repository", "keelson-cluster"):
        assert TRACKING_ID not in workload(on, "v1", "Secret", name)["metadata"]["annotations"]


def test_changes_in_git_to_adopted_objects_are_kept(on, fleet, demo):
    """Keelson does not revert them: not a CRD either, which carries no mark of Git, and not after a restart of the operator."""
    path = f"{PATH}/argocd.yaml"
    items = list(yaml.safe_load_all((fleet.work / path).read_text()))
    items[-1]["spec"]["syncPolicy"]["retry"]["limit"] = 7
    definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "appprojects.argoproj.io")
    [changed] = [item for item in items if item["metadata"]["name"] == definition[2]]
    changed["spec"]["names"]["shortNames"].append("of-git")

    def holds() -> bool:
        retry = workload(on, ARGO, "Application", "keelson")["spec"]["syncPolicy"]["retry"]
        names = workload(on, *definition)["spec"]["names"]["shortNames"]
        return retry["limit"] == 7 and "of-git" in names

    await_applied(on, demo, fleet.commit({path: yaml.safe_dump_all(items)}), 120)
    until(holds, 20, "the content of Git")
    on.cloud.controllers[-1].stop()
    on.start("--drift-interval=2s")
    await_applied(on, demo, fleet.commit(message="reconciled by another operator"))
    assert holds()


def test_removing_the_agent_manifests_from_git_deletes_nothing(on, fleet, demo):
    before = agent_uids(on)
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/argocd.yaml",)), 120)
    # A commit later Argo CD has had its chance to prune.
    await_applied(on, demo, fleet.commit({f"{PATH}/later.yaml": config_map("later")}))
    assert on.cloud.workload.api.get("v1", "ConfigMap", "later")
    assert agent_uids(on) == before


def agent_uids(on: Environment) -> dict[tuple, str]:
    """UIDs of all objects of the manifest, and of the Application and AppProject."""
    items = [json.loads(line) for line in gzip.decompress(install_manifest()).splitlines()]
    places = [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in items]
    places += [(ARGO, "Application", "keelson"), (ARGO, "AppProject", "keelson")]
    return {place: workload(on, *place)["metadata"]["uid"] for place in places}


def test_options_unsupported_by_argo_cd_are_rejected_by_name(on):
    source = {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}}

    def refusal(name: str, **argocd: object) -> str:
        item = cluster(name, gitops={"argocd": {"source": source, "path": PATH, **argocd}})
        on.apply(item)
        on.await_condition(item, "Stalled", timeout=20)
        message = on.condition(item, "Stalled")["message"]
        on.delete(item)
        return message

    message = refusal("old", version="v3.0.0")
    assert "spec.gitops.argocd.version" in message and "v3.2.11" in message
    on.apply(secret("certificate", **{"tls.crt": "certificate", "tls.key": "key-6d1f"}))
    source["git"]["secretRef"] = {"name": "certificate"}
    message = refusal("certificate")
    assert "Secret default/certificate: tls.crt" in message


def test_second_agent_is_installed_and_the_condition_names_argo_cd(on, demo):
    """Flux's controllers do not run here; what Flux would apply is not checked."""
    before = agent_uids(on)
    source = {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}}
    edited = json.loads(json.dumps(demo))
    edited["spec"]["gitops"] = {"flux": {"source": source, "path": PATH}}
    on.apply(edited)
    until(
        lambda: "Argo CD is installed too, in argocd" in on.condition(demo, "GitOpsReady")["message"],
        40,
        "the message about Argo CD",
    )
    until(
        lambda: on.cloud.workload.api.find("apps/v1", "Deployment", "source-controller", "flux-system"),
        30,
        "Flux",
    )
    assert agent_uids(on) == before
