"""Argo CD as the agent: `examples/argocd.yaml`, from nothing to a cluster that its repository owns.

Argo CD's application controller, repo-server and ApplicationSet controller are the real ones, as processes under their pods'
service accounts; what they share is a server of Redis's protocol. Not run, as nothing here needs them: argocd-server and dex,
which serve people, and notifications; their pods only look alive. The repo-server has git and no kustomize or helm, so paths
here hold plain manifests. It reads its ConfigMaps when it starts: what is in them is looked at, not waited for.
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
TRACKED = "argocd.argoproj.io/tracking-id"
KEPT = ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false")
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
    """A server that knows one user, and the password that a test gives it."""
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
    """`examples/argocd.yaml`, but for where its repository is and how often it is asked; Ready."""
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
        said = on.condition(item, "GitOpsReady")
        return gitops(on, item).get("lastAppliedRevision") == commit and said["status"] == "True"

    try:
        until(applied, timeout)
    except AssertionError:
        raise AssertionError(f"{commit} was not applied: {on.describe(item)}") from None
    return gitops(on, item)


def await_failed(on: Environment, item: dict, *words: str) -> dict:
    """GitOpsReady says SyncFailed with these words; returns status.gitops."""

    def failed() -> bool:
        said = on.condition(item, "GitOpsReady")
        return said["reason"] == "SyncFailed" and all(word in said["message"] for word in words)

    try:
        until(failed, 90)
    except AssertionError:
        raise AssertionError(f"no failure that says {words}: {on.describe(item)}") from None
    return gitops(on, item)


def data_of(item: dict) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in item["data"].items()}


def test_the_first_commit_is_applied_and_told(on, fleet, demo):
    commit = fleet.commit(message="nothing new")
    said = await_applied(on, demo, commit)
    assert (said["agent"], said["version"], said["adopted"]) == (ARGOCD, "v3.2.11", False)
    assert (said["url"], said["revision"]) == (fleet.url, commit[:7])
    assert said["sourceRevision"] == said["lastAttemptedRevision"] == commit
    assert (said["objects"]["running"], said["objects"]["failing"]) == (1, 0)
    assert said["inventory"] == 1
    assert len(said["components"]) == 7 and all(part["ready"] for part in said["components"])
    greeting = workload(on, "v1", "ConfigMap", "greeting", "default")
    assert greeting["metadata"]["annotations"][TRACKED].startswith("keelson:")


def test_all_of_argo_cd_is_installed_and_guarded_against_its_own_pruning(on, demo):
    items = [json.loads(line) for line in gzip.decompress(install()).splitlines()]
    for item in items:
        found = on.cloud.workload.api.get(
            item["apiVersion"], item["kind"], item["metadata"]["name"], ARGOCD
        )
        assert found["metadata"]["annotations"].get(KEPT[0]) == KEPT[1], item["metadata"]["name"]


def install() -> bytes:
    return (DEPLOY / "argocd" / "install.jsonl.gz").read_bytes()


def test_the_password_is_where_argo_cd_reads_it_and_no_other_secret_is_copied(on, fleet, demo):
    on.apply(secret("of-nobody", word="not-to-be-copied"))
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


def test_the_facts_of_the_cluster_are_on_its_secret(on, demo):
    found = workload(on, "v1", "Secret", "keelson-cluster")["metadata"]
    facts, status = found["annotations"], on.status(demo)
    assert facts["cluster_name"] == "demo"
    assert (facts["aws_region"], facts["aws_account_id"]) == (REGION, ACCOUNT)
    assert facts["vpc_id"] == status["network"]["vpcId"]
    assert facts["cluster_endpoint"] == status["endpoint"]
    assert facts["private_subnet_ids"].count(",") == 2
    assert found["labels"]["aws_region"] == REGION


def test_an_application_set_chooses_the_cluster_and_uses_its_facts(on, fleet, demo):
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
    chosen = {"clusters": {"selector": {"matchLabels": {"aws_region": REGION}}}}
    generated = {
        "apiVersion": ARGO,
        "kind": "ApplicationSet",
        "metadata": {"name": "apps", "namespace": ARGOCD},
        "spec": {"goTemplate": True, "generators": [chosen], "template": template},
    }
    commit = fleet.commit(
        {
            f"{PATH}/apps.yaml": yaml.safe_dump(generated),
            f"apps/{REGION}/app.yaml": config_map("app", of="this region"),
        }
    )
    await_applied(on, demo, commit)
    until(lambda: on.cloud.workload.api.find("v1", "ConfigMap", "app"), 30, "the app")
    until(lambda: gitops(on, demo)["objects"]["running"] == 2, 30, "both Applications in status")


def test_manifests_that_cannot_be_read_fail_by_name_and_a_commit_mends_it(on, fleet, demo):
    before = gitops(on, demo)["lastAppliedRevision"]
    # What does not even look like a manifest is skipped by Argo CD.
    fleet.commit({f"{PATH}/broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n"})
    said = await_failed(on, demo, "Application argocd/keelson", "ComparisonError", "broken.yaml")
    assert said["lastAppliedRevision"] == before
    assert said["failing"][0]["name"] == "argocd/keelson"
    assert said["failing"][0]["reason"] == "ComparisonError"
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/broken.yaml",)))
    assert "failing" not in gitops(on, demo)


def test_objects_that_the_cluster_refuses_fail_by_name_and_a_commit_mends_it(on, fleet, demo):
    nowhere = {"apiVersion": "v1", "kind": "ConfigMap"}
    nowhere["metadata"] = {"name": "lost", "namespace": "nowhere"}
    lost = fleet.commit({f"{PATH}/lost.yaml": yaml.safe_dump(nowhere)})
    said = await_failed(on, demo, "SyncFailed", 'namespaces "nowhere" not found')
    assert said["sourceRevision"] == said["lastAttemptedRevision"] == lost
    assert said["lastAppliedRevision"] != lost
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/lost.yaml",)))


def test_a_password_that_changes_reaches_the_cluster(on, git, fleet, demo):
    git.require_credentials("keelson", NEXT_PASSWORD)
    commit = fleet.commit(message="behind another password")
    await_failed(on, demo, "ComparisonError")
    on.apply(secret("fleet", username="keelson", password=NEXT_PASSWORD))
    await_applied(on, demo, commit)
    found = workload(on, "v1", "Secret", "keelson-repository")
    assert data_of(found)["password"] == NEXT_PASSWORD


def own_manifests(on: Environment) -> str:
    """Argo CD's manifest and what points it at the repository, as a person would commit them, with the interval that is set."""
    items = [json.loads(line) for line in gzip.decompress(install()).splitlines()]
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
        assert TRACKED in workload(on, version, kind, name)["metadata"]["annotations"]
    # Argo CD tracks no definitions: they go with the parts.
    definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "appprojects.argoproj.io")
    assert TRACKED not in workload(on, *definition)["metadata"]["annotations"]
    # Ours for good.
    for name in ("keelson-repository", "keelson-cluster"):
        assert TRACKED not in workload(on, "v1", "Secret", name)["metadata"]["annotations"]


def test_what_git_says_of_an_adopted_object_holds(on, fleet, demo):
    """Keelson does not put its own back, also of a definition, which nothing marks as Git's, and by an operator that is new to it."""
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
    until(holds, 20, "what Git says")
    on.cloud.controllers[-1].stop()
    on.start("--drift-interval=2s")
    await_applied(on, demo, fleet.commit(message="looked at by another operator"))
    assert holds()


def test_nothing_is_wiped_out_when_its_manifests_leave_git(on, fleet, demo):
    before = everything(on)
    await_applied(on, demo, fleet.commit(delete=(f"{PATH}/argocd.yaml",)), 120)
    # A commit later Argo CD has had its chance to prune.
    await_applied(on, demo, fleet.commit({f"{PATH}/later.yaml": config_map("later")}))
    assert on.cloud.workload.api.get("v1", "ConfigMap", "later")
    assert everything(on) == before


def everything(on: Environment) -> dict[tuple, str]:
    """UIDs of all that the manifest holds, and of what points it at the repository."""
    items = [json.loads(line) for line in gzip.decompress(install()).splitlines()]
    places = [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in items]
    places += [(ARGO, "Application", "keelson"), (ARGO, "AppProject", "keelson")]
    return {place: workload(on, *place)["metadata"]["uid"] for place in places}


def test_what_argo_cd_cannot_do_is_refused_by_name(on):
    source = {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}}

    def refusal(name: str, **argocd: object) -> str:
        item = cluster(name, gitops={"argocd": {"source": source, "path": PATH, **argocd}})
        on.apply(item)
        on.await_condition(item, "Stalled", timeout=20)
        said = on.condition(item, "Stalled")["message"]
        on.delete(item)
        return said

    said = refusal("old", version="v3.0.0")
    assert "spec.gitops.argocd.version" in said and "v3.2.11" in said
    on.apply(secret("certificate", **{"tls.crt": "certificate", "tls.key": "key-6d1f"}))
    source["git"]["secretRef"] = {"name": "certificate"}
    said = refusal("certificate")
    assert "Secret default/certificate: tls.crt" in said


def test_another_agent_is_installed_beside_it_and_that_is_said(on, demo):
    """Flux's pods only look alive here: what it would apply is not the matter."""
    before = everything(on)
    source = {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}}
    edited = json.loads(json.dumps(demo))
    edited["spec"]["gitops"] = {"flux": {"source": source, "path": PATH}}
    on.apply(edited)
    until(
        lambda: "Argo CD is installed too, in argocd" in on.condition(demo, "GitOpsReady")["message"],
        40,
        "the word on Argo CD",
    )
    until(
        lambda: on.cloud.workload.api.find("apps/v1", "Deployment", "source-controller", "flux-system"),
        30,
        "Flux",
    )
    assert everything(on) == before
