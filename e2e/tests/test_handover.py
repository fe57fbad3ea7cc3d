"""Seeded, adopted, let go of, never wiped out: the real Flux, from its first version to a repository that owns it.

The tests are one story, in the order in which they stand: an older Flux is installed and upgraded, its manifests and
sync objects are committed as `flux bootstrap` would, changed in Git, deleted from Git, and given back.
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
    ADOPTED,
    FLUX,
    KEPT,
    KUSTOMIZATION,
    NEWER,
    OLDER,
    PRUNE,
    SOURCE,
    components,
    files,
    ours,
    place,
    sync,
)

PATH = "clusters/handover"
FIELDS = ("metadata", "labels", "app.kubernetes.io/component")
GATHERED = ("Deployment", "Service", "ServiceAccount", "ClusterRoleBinding", "NetworkPolicy")


def greeting(text: str) -> dict[str, str]:
    """A commit whose arrival can be seen; which cluster it is for is a fact."""
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "greeting", "namespace": "default"},
        "data": {"text": text},
    }
    return {f"{PATH}/greeting.yaml": yaml.safe_dump(item)}


class Cluster:
    """The cluster of the story, and what is seen of it from outside."""

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
        """None takes a field out."""
        self.item = copy.deepcopy(self.item)
        for name, value in fields.items():
            if value is None:
                self.flux.pop(name, None)
            else:
                self.flux[name] = value
        self.on.apply(self.item)

    def says(self) -> dict:
        return self.on.status(self.item).get("gitops", {})

    def word(self) -> str:
        return self.on.condition(self.item, "GitOpsReady").get("message", "")

    def find(self, item: dict) -> dict | None:
        return self.workload.find(*place(item))

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
        """Commits what the repository now holds of the agent, unless that was deleted; waits until it is applied."""
        revision = self.repository.commit(changed, delete)
        self.applied(revision)
        return revision

    def commit_agent(self) -> str:
        return self.commit(files(PATH, self.agent, self.synced))

    def applied(self, revision: str) -> None:
        def there() -> bool:
            status = self.root().get("status", {})
            return status.get("lastAppliedRevision", "").endswith(revision)

        until(there, 60, f"{revision[:7]} in the cluster")

    def greeted(self) -> str:
        return self.workload.get("v1", "ConfigMap", "greeting")["data"]["text"]


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def story(on):
    told = Cluster(on)
    on.operator_now = on.start("--drift-interval=2s")
    on.apply(secret("reader", username="reader", password="first-password-51c0"), told.item)
    on.ready(told.item)
    return told


def named(items: list[dict], name: str, kind: str) -> dict:
    return next(i for i in items if (i["kind"], i["metadata"]["name"]) == (kind, name))


def versions(story: Cluster, version: str) -> dict[str, str]:
    found = [item for item in components(version) if item["kind"] == "Deployment"]
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
        for item in found
    }


# Before Git has adopted anything: ours to upgrade and to put back.


def test_the_older_version_that_is_asked_for_is_installed(story):
    assert story.images() == versions(story, OLDER)
    assert story.says()["version"] == OLDER
    for item in components(OLDER):
        found = story.find(item)
        assert found["metadata"]["annotations"][PRUNE] == "disabled", place(item)
        assert found["metadata"]["labels"]["app.kubernetes.io/version"] == OLDER


def test_a_version_that_is_not_built_in_is_refused_naming_those_that_are(story):
    gitops = copy.deepcopy(story.item["spec"]["gitops"])
    gitops["flux"]["version"] = "v2.0.0"
    other = cluster("no-such-flux", gitops=gitops)
    story.on.apply(other)

    def told() -> str:
        word = story.on.condition(other, "Ready").get("message", "")
        return word if "spec.gitops.flux.version" in word else ""

    word = until(told, 20, "the refusal")
    assert NEWER in word and OLDER in word, word
    story.on.delete(other)


def test_an_upgrade_that_would_strand_stored_objects_is_refused_whole(story):
    """status.storedVersions names a version that the new definition lacks: nothing is touched, and it is said."""
    name = "helmreleases.helm.toolkit.fluxcd.io"
    before = story.definition(name)
    extra = copy.deepcopy(before["spec"]["versions"])
    old = copy.deepcopy(extra[0]) | {"name": "v2beta0", "storage": False, "served": True}
    definition = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    story.workload.patch(*definition, {"spec": {"versions": [*extra, old]}}, None)
    stored = [*before["status"]["storedVersions"], "v2beta0"]
    story.workload.patch(*definition, {"status": {"storedVersions": stored}}, None, "status")
    story.edit(version=None)
    until(lambda: "v2beta0" in story.word(), 30, "the refusal to be told")
    assert story.on.condition(story.item, "GitOpsReady")["reason"] == "SyncFailed"
    assert story.images() == versions(story, OLDER)
    kept = before["status"]["storedVersions"]
    story.workload.patch(*definition, {"status": {"storedVersions": kept}}, None, "status")


def test_without_a_version_it_is_the_one_built_in_and_the_agent_is_upgraded(story):
    story.edit(version=None)
    until(lambda: story.images() == versions(story, NEWER), 60, "the newer Flux")
    for item in components(NEWER):
        found = story.find(item)
        assert found["metadata"]["labels"]["app.kubernetes.io/version"] == NEWER, place(item)
        if item["kind"] == "CustomResourceDefinition":
            assert found["spec"]["versions"] == defaulted(found, item), place(item)
    until(lambda: story.says().get("version") == NEWER, 20, "the version in status")
    story.on.ready(story.item)
    story.commit(greeting("hello from the newer one"))


def defaulted(found: dict, item: dict) -> list[dict]:
    """The item's versions, with what the API server writes beside them."""
    names = [version["name"] for version in item["spec"]["versions"]]
    assert [version["name"] for version in found["spec"]["versions"]] == names
    schemas = {version["name"]: version["schema"] for version in item["spec"]["versions"]}
    return [version | {"schema": schemas[version["name"]]} for version in found["spec"]["versions"]]


def test_a_component_that_is_left_out_goes_and_its_definitions_stay(story):
    story.edit(components=["source-controller", "kustomize-controller", "helm-controller"])
    until(lambda: "notification-controller" not in story.images(), 30, "its Deployment to go")
    gone = [i for i in story.agent if i["metadata"]["name"] in ("notification-controller", "webhook-receiver")]
    until(lambda: not any(story.find(item) for item in gone), 30, "its Services and account to go")
    assert story.definition("alerts.notification.toolkit.fluxcd.io")
    story.edit(components=None)
    until(lambda: "notification-controller" in story.images(), 30, "it to come again")
    story.on.ready(story.item)


def test_a_seed_that_hands_edited_is_put_back_and_never_let_go_of_before_adoption(story):
    patch = {"spec": {"path": "./elsewhere", "prune": False, "deletionPolicy": "Delete"}}
    story.workload.patch(*KUSTOMIZATION, FLUX, patch, FLUX)
    story.workload.patch(*SOURCE, FLUX, {"spec": {"url": "https://example.com/other"}}, FLUX)

    def back() -> bool:
        spec = story.root()["spec"]
        mended = (spec["path"], spec["prune"], spec["deletionPolicy"]) == (f"./{PATH}", True, "Orphan")
        return mended and story.source()["spec"]["url"] == story.repository.url

    until(back, 40, "the seeds as they should be")
    assert "spec.path" in ours(story.root()) and "spec.url" in ours(story.source())
    assert story.says()["adopted"] is False
    story.on.ready(story.item)


# Git adopts it.


def test_git_adopts_what_is_committed_and_all_that_was_ours_is_let_go_of(story):
    # A field that our seed has too, and that Git says otherwise of.
    named(story.agent, "helm-controller", "Deployment")["spec"]["replicas"] = 2
    # And two that Git and our seed agree on.
    story.synced[1]["spec"]["retryInterval"] = "5s"
    story.synced[1]["spec"]["postBuild"] = {
        "substituteFrom": [{"kind": "ConfigMap", "name": "keelson-cluster-facts"}]
    }
    story.commit_agent()
    until(lambda: story.says().get("adopted"), 30, "status.gitops.adopted")
    held = {place(item): item for item in [*story.agent, *story.synced]}

    def ours_still() -> dict:
        found = {key: ours(story.workload.get(*key)) - KEPT for key in held}
        return {key: fields for key, fields in found.items() if fields}

    until(lambda: not ours_still(), 30, "our fields to be given up")
    assert len(held) == 34
    for key in held:
        found = story.workload.get(*key)
        assert found["metadata"]["labels"][ADOPTED] == FLUX, key
        # Git did not say it; without it the file's leaving Git would take the object along.
        assert found["metadata"]["annotations"][PRUNE] == "disabled", key
    root = story.root()["spec"]
    assert root["deletionPolicy"] == "Orphan"
    assert root["postBuild"]["substituteFrom"][0]["name"] == "keelson-cluster-facts"
    assert story.deployment("helm-controller")["spec"]["replicas"] == 2
    story.on.ready(story.item)


def test_what_was_let_go_of_is_not_written_again(story):
    """Not once: the operator looks, and rests."""
    watched = [*story.agent, *story.synced]

    def written() -> dict:
        found = {place(i): story.workload.get(*place(i))["metadata"]["managedFields"] for i in watched}
        mine = {k: [e for e in entries if e["manager"] == "keelson"] for k, entries in found.items()}
        return {k: entries[0]["time"] if entries else None for k, entries in mine.items()}

    before = written()
    controller = restarted(story)
    time.sleep(4)
    assert written() == before
    assert controller.alive


def restarted(story: Cluster):
    story.on.operator_now.stop()
    story.on.operator_now = story.on.start("--drift-interval=2s")
    return story.on.operator_now


def test_a_field_that_leaves_git_leaves_the_cluster(story):
    one = named(story.agent, "source-controller", "Deployment")
    assert FIELDS[-1] in story.deployment("source-controller")["metadata"]["labels"]
    del one["metadata"]["labels"][FIELDS[-1]]
    del story.synced[1]["spec"]["retryInterval"]
    story.commit_agent()
    until(
        lambda: FIELDS[-1] not in story.deployment("source-controller")["metadata"]["labels"],
        20,
        "the label to go",
    )
    until(lambda: "retryInterval" not in story.root()["spec"], 20, "the retry interval to go")


def test_another_version_in_the_spec_does_nothing_any_more_and_says_so(story):
    before = story.images()
    story.edit(version=OLDER)
    word = until(
        lambda: story.word() if "spec.gitops.flux.version" in story.word() else "", 30, "the word on the version"
    )
    assert "Git" in word and OLDER in word and NEWER in word, word
    story.on.await_condition(story.item, "GitOpsReady")
    assert story.images() == before == versions(story, NEWER)
    # Also when all is looked at anew.
    restarted(story)
    story.on.ready(story.item)
    time.sleep(3)
    assert story.images() == before
    story.edit(version=None)
    until(lambda: "spec.gitops.flux.version" not in story.word(), 30, "the word to go")


def test_the_credentials_and_the_facts_stay_ours(story):
    story.on.apply(secret("reader", username="reader", password="second-password-8a3e"))

    def arrived() -> bool:
        data = story.workload.get("v1", "Secret", FLUX, FLUX)["data"]
        return base64.b64decode(data["password"]) == b"second-password-8a3e"

    until(arrived, 40, "the new password")
    facts = ("v1", "ConfigMap", "keelson-cluster-facts", FLUX)
    found = story.workload.get(*facts)
    assert found["metadata"]["labels"]["reconcile.fluxcd.io/watch"] == "Enabled"
    assert "data.CLUSTER_NAME" in ours(found)
    story.workload.patch(*facts[:3], {"data": {"CLUSTER_NAME": "by-hand"}}, FLUX)
    until(
        lambda: story.workload.get(*facts)["data"]["CLUSTER_NAME"] == "handover", 40, "the fact to be put back"
    )


def test_pushed_once_it_pulls_for_ever_also_without_an_operator(story):
    story.on.operator_now.stop()
    story.commit(greeting("to ${CLUSTER_NAME}, while nobody looks on"))
    until(lambda: story.greeted() == "to handover, while nobody looks on", 20, "the greeting")
    story.on.operator_now = story.on.start("--drift-interval=2s")
    story.on.ready(story.item)


def test_nothing_was_ever_written_to_git(story):
    asked = story.on.cloud.git.requests
    assert asked and not [request for request in asked if "receive-pack" in request]


# Git lets go of it.


def test_a_controller_that_hands_deleted_is_back_although_git_owns_it(story):
    """Without source-controller Git could not bring it back itself."""
    story.workload.delete("apps/v1", "Deployment", "source-controller", FLUX)
    until(lambda: "source-controller" in story.images(), 30, "it to be back")
    story.commit(greeting("after the loss"))
    until(lambda: FIELDS[-1] not in story.deployment("source-controller")["metadata"]["labels"], 60, "Git's own")
    until(lambda: not ours(story.deployment("source-controller")) - KEPT, 30, "it to be let go of")


def test_when_the_files_leave_git_nothing_is_wiped_out_and_all_goes_on(story):
    held = [*story.agent, *story.synced]
    before = {place(item): story.find(item)["metadata"]["uid"] for item in held}
    story.commit(delete=(f"{PATH}/{FLUX}",))
    story.commit(greeting("still there"))
    until(lambda: story.greeted() == "still there", 20, "the next commit")
    entries = story.root()["status"]["inventory"]["entries"]
    assert [entry["id"] for entry in entries] == ["default_greeting__ConfigMap"]
    after = {place(item): story.find(item)["metadata"]["uid"] for item in held}
    assert after == before
    assert not [item for item in held if story.find(item)["metadata"].get("deletionTimestamp")]


def test_who_owns_what_git_let_go_of_is_said(story):
    word = until(lambda: story.word() if "no longer in Git" in story.word() else "", 40, "the word on it")
    assert story.says()["adopted"] is False
    # With what to do.
    assert ADOPTED in word, word
    story.on.await_condition(story.item, "GitOpsReady")


def test_the_root_deleted_by_hand_leaves_all_that_it_applied_and_is_seeded_again(story):
    before = story.root()["metadata"]["uid"]
    applied = story.workload.get("v1", "ConfigMap", "greeting")["metadata"]["uid"]
    deployments = {d["metadata"]["name"]: d["metadata"]["uid"] for d in story.workload.list("apps/v1", "Deployment", FLUX)}
    story.workload.delete(*KUSTOMIZATION, FLUX, FLUX)

    def anew() -> bool:
        found = story.workload.find(*KUSTOMIZATION, FLUX, FLUX)
        return bool(found) and found["metadata"]["uid"] != before

    until(anew, 40, "the root to be seeded again")
    assert story.root()["spec"]["deletionPolicy"] == "Orphan" and "spec.path" in ours(story.root())
    story.commit(greeting("from the new root"))
    until(lambda: story.greeted() == "from the new root", 20, "it to work")
    assert story.workload.get("v1", "ConfigMap", "greeting")["metadata"]["uid"] == applied
    after = {d["metadata"]["name"]: d["metadata"]["uid"] for d in story.workload.list("apps/v1", "Deployment", FLUX)}
    assert after == deployments
    story.on.ready(story.item)


def test_what_loses_the_label_is_ours_again(story):
    gone = {"metadata": {"labels": {ADOPTED: None, "kustomize.toolkit.fluxcd.io/namespace": None}}}
    for kind in GATHERED:
        version = named_version(story, kind)
        for item in [i for i in story.agent if i["kind"] == kind]:
            story.workload.patch(version, kind, item["metadata"]["name"], gone, item["metadata"].get("namespace"))
    story.workload.patch(*SOURCE, FLUX, gone, FLUX)
    until(lambda: FIELDS[-1] in story.deployment("source-controller")["metadata"]["labels"], 40, "our seed")
    until(lambda: story.deployment("helm-controller")["spec"]["replicas"] == 1, 20, "one replica again")
    until(lambda: "spec.url" in ours(story.source()), 40, "the source to be ours")
    until(lambda: "no longer in Git" not in story.word(), 40, "the word to go")
    assert story.says()["adopted"] is False
    assert story.images() == versions(story, NEWER)
    story.on.ready(story.item)


def named_version(story: Cluster, kind: str) -> str:
    return next(item["apiVersion"] for item in story.agent if item["kind"] == kind)
