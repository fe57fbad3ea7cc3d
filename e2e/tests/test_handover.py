"""Flux installed, adopted by Git, released, never deleted: the real Flux, from installation to a repository that owns it.

The tests build on each other, in file order: an older Flux is installed and upgraded, its manifests and sync objects
are committed as `flux bootstrap` would, changed in Git, deleted from Git, and returned to Keelson.
"""

from __future__ import annotations

import base64
import copy
import time

import pytest
import yaml

from fleet.manifests import cluster, flux, secret
from fleet.environment import environment, until
from handover import (
    ADOPTION_LABEL,
    FLUX,
    KUSTOMIZATION,
    NEWER,
    OLDER,
    PRUNE_ANNOTATION,
    RETAINED_FIELDS,
    SOURCE,
    components,
    object_key,
    owned_fields,
    repository_files,
    sync,
)

PATH = "clusters/handover"
FIELDS = ("metadata", "labels", "app.kubernetes.io/component")
KINDS_WITH_LABEL = ("Deployment", "Service", "ServiceAccount", "ClusterRoleBinding", "NetworkPolicy")


def greeting(text: str) -> dict[str, str]:
    """Files of a commit whose arrival is visible in the cluster."""
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"text": text},
    }
    return {f"{PATH}/greeting.yaml": yaml.safe_dump(item)}


class Cluster:
    """The cluster of these tests, and what can be observed of it."""

    def __init__(self, on):
        self.on = on
        self.repository = on.cloud.git.repository("handover")
        self.repository.commit(greeting("hello"))
        gitops = flux(self.repository.url, PATH, interval="2s", secretRef={"name": "reader"})
        gitops["flux"] |= {"version": OLDER, "interval": "5s"}
        self.item = cluster("handover", addons=[{"name": "vpc-cni"}], gitops=gitops)
        self.agent = components()
        self.synced = sync(self.repository.url, PATH)

    @property
    def workload(self):
        return self.on.cloud.workload.api

    @property
    def flux(self) -> dict:
        return self.item["spec"]["gitops"]["flux"]

    def edit(self, **fields: object) -> None:
        """None removes a field."""
        self.item = copy.deepcopy(self.item)
        for name, value in fields.items():
            if value is None:
                self.flux.pop(name, None)
            else:
                self.flux[name] = value
        self.on.apply(self.item)

    def gitops_status(self) -> dict:
        return self.on.status(self.item).get("gitops", {})

    def message(self) -> str:
        return self.on.condition(self.item, "GitOpsReady").get("message", "")

    def find(self, item: dict) -> dict | None:
        return self.workload.find(*object_key(item))

    def root(self) -> dict:
        return self.workload.get(*KUSTOMIZATION, FLUX, FLUX)

    def source(self) -> dict:
        return self.workload.get(*SOURCE, FLUX, FLUX)

    def deployment(self, name: str) -> dict:
        return self.workload.get("apps/v1", "Deployment", name, FLUX)

    def images(self) -> dict[str, str]:
        found = self.workload.list("apps/v1", "Deployment", FLUX)
        containers = {d["metadata"]["name"]: d["spec"]["template"]["spec"]["containers"] for d in found}
        return {name: one[0]["image"].rpartition(":")[2] for name, one in containers.items()}

    def definition(self, name: str) -> dict:
        return self.workload.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, None)

    def commit(self, changed: dict[str, str] | None = None, delete: tuple[str, ...] = ()) -> str:
        """Commits, and waits until the commit is applied."""
        revision = self.repository.commit(changed, delete)
        self.applied(revision)
        return revision

    def commit_agent(self) -> str:
        return self.commit(repository_files(PATH, self.agent, self.synced))

    def applied(self, revision: str) -> None:
        def is_applied() -> bool:
            status = self.root().get("status", {})
            return status.get("lastAppliedRevision", "").endswith(revision)

        until(is_applied, 60, f"{revision[:7]} in the cluster")

    def greeting_text(self) -> str:
        return self.workload.get("v1", "ConfigMap", "greeting")["data"]["text"]


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def flux_cluster(on):
    created = Cluster(on)
    on.operator_now = on.start("--drift-interval=2s")
    on.apply(secret("reader", username="reader", password="first-password-51c0"), created.item)
    on.ready(created.item)
    return created


def find_manifest(items: list[dict], name: str, kind: str) -> dict:
    return next(i for i in items if (i["kind"], i["metadata"]["name"]) == (kind, name))


def image_versions(flux_cluster: Cluster, version: str) -> dict[str, str]:
    found = [item for item in components(version) if item["kind"] == "Deployment"]
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
        for item in found
    }


# Before Git has adopted anything: Keelson upgrades it and corrects drift.


def test_requested_older_version_is_installed(flux_cluster):
    assert flux_cluster.images() == image_versions(flux_cluster, OLDER)
    assert flux_cluster.gitops_status()["version"] == OLDER
    for item in components(OLDER):
        found = flux_cluster.find(item)
        assert found["metadata"]["annotations"][PRUNE_ANNOTATION] == "disabled", object_key(item)
        assert found["metadata"]["labels"]["app.kubernetes.io/version"] == OLDER


def test_version_that_is_not_built_in_is_rejected_with_list_of_built_in_versions(flux_cluster):
    gitops = copy.deepcopy(flux_cluster.item["spec"]["gitops"])
    gitops["flux"]["version"] = "v2.0.0"
    other = cluster("no-such-flux", gitops=gitops)
    flux_cluster.on.apply(other)

    def rejection() -> str:
        message = flux_cluster.on.condition(other, "Ready").get("message", "")
        return message if "spec.gitops.flux.version" in message else ""

    message = until(rejection, 20, "the rejection")
    assert NEWER in message and OLDER in message, message
    flux_cluster.on.delete(other)


def test_upgrade_that_drops_a_stored_crd_version_is_rejected_completely(flux_cluster):
    """status.storedVersions names a version that the new CRD lacks: nothing is changed, and the condition says so."""
    name = "helmreleases.helm.toolkit.fluxcd.io"
    before = flux_cluster.definition(name)
    extra = copy.deepcopy(before["spec"]["versions"])
    old = copy.deepcopy(extra[0]) | {"name": "v2beta0", "storage": False, "served": True}
    definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    flux_cluster.workload.patch(*definition, {"spec": {"versions": [*extra, old]}}, None)
    stored = [*before["status"]["storedVersions"], "v2beta0"]
    flux_cluster.workload.patch(*definition, {"status": {"storedVersions": stored}}, None, "status")
    flux_cluster.edit(version=None)
    until(lambda: "v2beta0" in flux_cluster.message(), 30, "the rejection in GitOpsReady")
    assert flux_cluster.on.condition(flux_cluster.item, "GitOpsReady")["reason"] == "SyncFailed"
    assert flux_cluster.images() == image_versions(flux_cluster, OLDER)
    kept = before["status"]["storedVersions"]
    flux_cluster.workload.patch(*definition, {"status": {"storedVersions": kept}}, None, "status")


def test_without_version_the_agent_is_upgraded_to_the_built_in_version(flux_cluster):
    flux_cluster.edit(version=None)
    until(lambda: flux_cluster.images() == image_versions(flux_cluster, NEWER), 60, "the newer Flux")
    for item in components(NEWER):
        found = flux_cluster.find(item)
        assert found["metadata"]["labels"]["app.kubernetes.io/version"] == NEWER, object_key(item)
        if item["kind"] == "CustomResourceDefinition":
            assert found["spec"]["versions"] == defaulted(found, item), object_key(item)
    until(lambda: flux_cluster.gitops_status().get("version") == NEWER, 20, "the version in status")
    flux_cluster.on.ready(flux_cluster.item)
    flux_cluster.commit(greeting("hello from the newer one"))


def defaulted(found: dict, item: dict) -> list[dict]:
    """The item's versions with the API server's defaults."""
    names = [version["name"] for version in item["spec"]["versions"]]
    assert [version["name"] for version in found["spec"]["versions"]] == names
    schemas = {version["name"]: version["schema"] for version in item["spec"]["versions"]}
    return [version | {"schema": schemas[version["name"]]} for version in found["spec"]["versions"]]


def test_removed_component_is_deleted_and_its_crds_are_kept(flux_cluster):
    flux_cluster.edit(components=["source-controller", "kustomize-controller", "helm-controller"])
    until(lambda: "notification-controller" not in flux_cluster.images(), 30, "the deletion of its Deployment")
    to_delete = [i for i in flux_cluster.agent if i["metadata"]["name"] in ("notification-controller", "webhook-receiver")]
    until(lambda: not any(flux_cluster.find(item) for item in to_delete), 30, "the deletion of its Services and ServiceAccount")
    assert flux_cluster.definition("alerts.notification.toolkit.fluxcd.io")
    flux_cluster.edit(components=None)
    until(lambda: "notification-controller" in flux_cluster.images(), 30, "its Deployment again")
    flux_cluster.on.ready(flux_cluster.item)


def test_manual_edit_is_reverted_until_adoption(flux_cluster):
    patch = {"spec": {"path": "./elsewhere", "prune": False, "deletionPolicy": "Delete"}}
    flux_cluster.workload.patch(*KUSTOMIZATION, FLUX, patch, FLUX)
    flux_cluster.workload.patch(*SOURCE, FLUX, {"spec": {"url": "https://example.com/other"}}, FLUX)

    def corrected() -> bool:
        spec = flux_cluster.root()["spec"]
        root_corrected = (spec["path"], spec["prune"], spec["deletionPolicy"]) == (f"./{PATH}", True, "Orphan")
        return root_corrected and flux_cluster.source()["spec"]["url"] == flux_cluster.repository.url

    until(corrected, 40, "the corrected sync objects")
    assert "spec.path" in owned_fields(flux_cluster.root()) and "spec.url" in owned_fields(flux_cluster.source())
    assert flux_cluster.gitops_status()["adopted"] is False
    flux_cluster.on.ready(flux_cluster.item)


# Git adopts it


def test_committed_agent_is_adopted_by_git_and_keelson_releases_its_fields(flux_cluster):
    # A field that Keelson sets too, with another value in Git.
    find_manifest(flux_cluster.agent, "helm-controller", "Deployment")["spec"]["replicas"] = 2
    # And two fields with the same value in Git and from Keelson.
    flux_cluster.synced[1]["spec"]["retryInterval"] = "5s"
    flux_cluster.synced[1]["spec"]["postBuild"] = {
        "substituteFrom": [{"kind": "ConfigMap", "name": "keelson-cluster-facts"}]
    }
    flux_cluster.commit_agent()
    until(lambda: flux_cluster.gitops_status().get("adopted"), 30, "status.gitops.adopted")
    adopted_objects = {object_key(item): item for item in [*flux_cluster.agent, *flux_cluster.synced]}

    def remaining_owned_fields() -> dict:
        found = {key: owned_fields(flux_cluster.workload.get(*key)) - RETAINED_FIELDS for key in adopted_objects}
        return {key: fields for key, fields in found.items() if fields}

    until(lambda: not remaining_owned_fields(), 30, "the release of Keelson's fields")
    assert len(adopted_objects) == 34
    for key in adopted_objects:
        found = flux_cluster.workload.get(*key)
        assert found["metadata"]["labels"][ADOPTION_LABEL] == FLUX, key
        # Not in Git; without it, deleting the file from Git would delete the object.
        assert found["metadata"]["annotations"][PRUNE_ANNOTATION] == "disabled", key
    root = flux_cluster.root()["spec"]
    assert root["deletionPolicy"] == "Orphan"
    assert root["postBuild"]["substituteFrom"][0]["name"] == "keelson-cluster-facts"
    assert flux_cluster.deployment("helm-controller")["spec"]["replicas"] == 2
    flux_cluster.on.ready(flux_cluster.item)


def test_released_objects_are_not_written_again(flux_cluster):
    """Not once: the operator observes, and writes nothing."""
    released_objects = [*flux_cluster.agent, *flux_cluster.synced]

    def write_times() -> dict:
        found = {object_key(i): flux_cluster.workload.get(*object_key(i))["metadata"]["managedFields"] for i in released_objects}
        entries_of_keelson = {k: [e for e in entries if e["manager"] == "keelson"] for k, entries in found.items()}
        return {k: entries[0]["time"] if entries else None for k, entries in entries_of_keelson.items()}

    before = write_times()
    controller = restart_operator(flux_cluster)
    time.sleep(4)
    assert write_times() == before
    assert controller.alive


def restart_operator(flux_cluster: Cluster):
    flux_cluster.on.operator_now.stop()
    flux_cluster.on.operator_now = flux_cluster.on.start("--drift-interval=2s")
    return flux_cluster.on.operator_now


def test_field_removed_from_git_is_removed_from_cluster(flux_cluster):
    one = find_manifest(flux_cluster.agent, "source-controller", "Deployment")
    assert FIELDS[-1] in flux_cluster.deployment("source-controller")["metadata"]["labels"]
    del one["metadata"]["labels"][FIELDS[-1]]
    del flux_cluster.synced[1]["spec"]["retryInterval"]
    flux_cluster.commit_agent()
    until(
        lambda: FIELDS[-1] not in flux_cluster.deployment("source-controller")["metadata"]["labels"],
        20,
        "the removal of the label",
    )
    until(lambda: "retryInterval" not in flux_cluster.root()["spec"], 20, "the removal of the retry interval")


def test_version_in_spec_has_no_effect_after_adoption_and_is_reported(flux_cluster):
    before = flux_cluster.images()
    flux_cluster.edit(version=OLDER)
    message = until(
        lambda: flux_cluster.message() if "spec.gitops.flux.version" in flux_cluster.message() else "", 30, "the message about the version"
    )
    assert "Git" in message and OLDER in message and NEWER in message, message
    flux_cluster.on.await_condition(flux_cluster.item, "GitOpsReady")
    assert flux_cluster.images() == before == image_versions(flux_cluster, NEWER)
    # Also after a restart of the operator.
    restart_operator(flux_cluster)
    flux_cluster.on.ready(flux_cluster.item)
    time.sleep(3)
    assert flux_cluster.images() == before
    flux_cluster.edit(version=None)
    until(lambda: "spec.gitops.flux.version" not in flux_cluster.message(), 30, "the message to disappear")

def test_credentials_and_facts_stay_managed_by_keelson(flux_cluster):
    flux_cluster.on.apply(secret("reader", username="reader", password="second-password-8a3e"))

    def arrived() -> bool:
        data = flux_cluster.workload.get("v1", "Secret", FLUX, FLUX)["data"]
        return base64.b64decode(data["password"]) == b"second-password-8a3e"

    until(arrived, 40, "the new password")
    facts = ("v1", "ConfigMap", "keelson-cluster-facts", FLUX)
    found = flux_cluster.workload.get(*facts)
    assert found["metadata"]["labels"]["reconcile.fluxcd.io/watch"] == "Enabled"
    assert "data.CLUSTER_NAME" in owned_fields(found)
    flux_cluster.workload.patch(*facts[:3], {"data": {"CLUSTER_NAME": "by-hand"}}, FLUX)
    until(
        lambda: flux_cluster.workload.get(*facts)["data"]["CLUSTER_NAME"] == "handover", 40, "the corrected fact"
    )


def test_flux_keeps_syncing_without_an_operator(flux_cluster):
    flux_cluster.on.operator_now.stop()
    flux_cluster.commit(greeting("to ${CLUSTER_NAME}, without an operator"))
    until(lambda: flux_cluster.greeting_text() == "to handover, without an operator", 20, "the greeting")
    flux_cluster.on.operator_now = flux_cluster.on.start("--drift-interval=2s")
    flux_cluster.on.ready(flux_cluster.item)


def test_keelson_never_writes_to_git(flux_cluster):
    requests = flux_cluster.on.cloud.git.requests
    assert requests and not [request for request in requests if "receive-pack" in request]


# Git releases it


def test_manually_deleted_controller_is_recreated_although_git_owns_it(flux_cluster):
    """Without source-controller, Flux could not restore it from Git itself."""
    flux_cluster.workload.delete("apps/v1", "Deployment", "source-controller", FLUX)
    until(lambda: "source-controller" in flux_cluster.images(), 30, "the Deployment again")
    flux_cluster.commit(greeting("after the loss"))
    until(lambda: FIELDS[-1] not in flux_cluster.deployment("source-controller")["metadata"]["labels"], 60, "the Deployment as in Git")
    until(lambda: not owned_fields(flux_cluster.deployment("source-controller")) - RETAINED_FIELDS, 30, "the release of Keelson's fields")


def test_removing_agent_files_from_git_deletes_nothing_and_sync_continues(flux_cluster):
    adopted_objects = [*flux_cluster.agent, *flux_cluster.synced]
    before = {object_key(item): flux_cluster.find(item)["metadata"]["uid"] for item in adopted_objects}
    flux_cluster.commit(delete=(f"{PATH}/{FLUX}",))
    flux_cluster.commit(greeting("still there"))
    until(lambda: flux_cluster.greeting_text() == "still there", 20, "the next commit")
    entries = flux_cluster.root()["status"]["inventory"]["entries"]
    assert [entry["id"] for entry in entries] == ["default_greeting__ConfigMap"]
    after = {object_key(item): flux_cluster.find(item)["metadata"]["uid"] for item in adopted_objects}
    assert after == before
    assert not [item for item in adopted_objects if flux_cluster.find(item)["metadata"].get("deletionTimestamp")]


def test_owner_of_objects_released_by_git_is_reported(flux_cluster):
    message = until(lambda: flux_cluster.message() if "no longer in Git" in flux_cluster.message() else "", 40, "the message about the owner")
    assert flux_cluster.gitops_status()["adopted"] is False
    # It says what to do.
    assert ADOPTION_LABEL in message, message
    flux_cluster.on.await_condition(flux_cluster.item, "GitOpsReady")


def test_manually_deleted_root_kustomization_keeps_applied_objects_and_is_recreated(flux_cluster):
    before = flux_cluster.root()["metadata"]["uid"]
    applied = flux_cluster.workload.get("v1", "ConfigMap", "greeting")["metadata"]["uid"]
    deployments = {d["metadata"]["name"]: d["metadata"]["uid"] for d in flux_cluster.workload.list("apps/v1", "Deployment", FLUX)}
    flux_cluster.workload.delete(*KUSTOMIZATION, FLUX, FLUX)

    def recreated() -> bool:
        found = flux_cluster.workload.find(*KUSTOMIZATION, FLUX, FLUX)
        return bool(found) and found["metadata"]["uid"] != before

    until(recreated, 40, "a new root Kustomization")
    assert flux_cluster.root()["spec"]["deletionPolicy"] == "Orphan" and "spec.path" in owned_fields(flux_cluster.root())
    flux_cluster.commit(greeting("from the new root"))
    until(lambda: flux_cluster.greeting_text() == "from the new root", 20, "the commit through the new root")
    assert flux_cluster.workload.get("v1", "ConfigMap", "greeting")["metadata"]["uid"] == applied
    after = {d["metadata"]["name"]: d["metadata"]["uid"] for d in flux_cluster.workload.list("apps/v1", "Deployment", FLUX)}
    assert after == deployments
    flux_cluster.on.ready(flux_cluster.item)


def test_objects_without_the_adoption_label_are_managed_by_keelson_again(flux_cluster):
    without_label = {"metadata": {"labels": {ADOPTION_LABEL: None, "kustomize.toolkit.fluxcd.io/namespace": None}}}
    for kind in KINDS_WITH_LABEL:
        version = api_version_of(flux_cluster, kind)
        for item in [i for i in flux_cluster.agent if i["kind"] == kind]:
            flux_cluster.workload.patch(version, kind, item["metadata"]["name"], without_label, item["metadata"].get("namespace"))
    flux_cluster.workload.patch(*SOURCE, FLUX, without_label, FLUX)
    until(lambda: FIELDS[-1] in flux_cluster.deployment("source-controller")["metadata"]["labels"], 40, "the label that Keelson sets")
    until(lambda: flux_cluster.deployment("helm-controller")["spec"]["replicas"] == 1, 20, "one replica again")
    until(lambda: "spec.url" in owned_fields(flux_cluster.source()), 40, "Keelson to own the source")
    until(lambda: "no longer in Git" not in flux_cluster.message(), 40, "the message to disappear")
    assert flux_cluster.gitops_status()["adopted"] is False
    assert flux_cluster.images() == image_versions(flux_cluster, NEWER)
    flux_cluster.on.ready(flux_cluster.item)


def api_version_of(flux_cluster: Cluster, kind: str) -> str:
    return next(item["apiVersion"] for item in flux_cluster.agent if item["kind"] == kind)
