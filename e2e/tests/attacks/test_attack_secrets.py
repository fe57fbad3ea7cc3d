"""A tenant names Secrets of his namespace that he may not read, to have them copied into a cluster of his.

Played with the RBAC that `deploy/` has by default: the operator reads Secrets only where a RoleBinding lets it.
"""

from __future__ import annotations

import base64

import pytest
import yaml

from attacks.tenant import RBAC, Tenant, tenant
from fleet.manifests import SECRET_USE, VERSION, flux, key_of, secret
from fleet.manifests import account as aws_account
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, REGION
from keelson_harness.cloud import NAMESPACE
from keelson_harness.git import GitServer
from keelson_harness.kubeapi import ApiError, conditions

FLUX = "flux-system"
TEAM = "team-search"
USER, PASSWORD = "fleet", "fleet-password-2b71"
DATABASE = "database-password-90ce"
TOKEN = "service-account-token-5d1e"


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def repository(on: Environment):
    server = GitServer(on.cloud.directory / "private", credentials=(USER, PASSWORD))
    made = server.repository("search")
    greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}
    made.commit({"clusters/search/one.yaml": yaml.safe_dump(greeting)})
    yield made
    server.stop()


@pytest.fixture(scope="module")
def search(on: Environment) -> Tenant:
    """The tenant, beside Secrets that others put into the namespace: none of them may be read by him."""
    team = tenant(on, TEAM)
    on.start("--drift-interval=2s", cluster_wide_secrets=False)
    token = secret("default-token", TEAM, **{"ca.crt": "certificate", "token": TOKEN})
    token["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "tenant"}
    bootstrap = secret("bootstrap", TEAM, username="x", password=TOKEN)
    on.apply(
        aws_account("search", ACCOUNT),
        # What a database's operator makes: keys that a Git repository's Secret has too.
        secret("database", TEAM, use=None, username="admin", password=DATABASE),
        secret("pull", TEAM, use="registry", username="admin", password=DATABASE),
        token | {"type": "kubernetes.io/service-account-token"},
        bootstrap | {"type": "bootstrap.kubernetes.io/token"},
        # One that its owner opened for clusters, with more in it than a repository needs.
        secret("fleet", TEAM, username=USER, password=PASSWORD, DATABASE_PASSWORD=DATABASE),
    )
    return team


def naming(team: Tenant, repository, secret_name: str, **more) -> dict:
    """A cluster of the tenant whose source names that Secret."""
    gitops = flux(repository.url, "clusters/search", interval="2s", secretRef={"name": secret_name}, **more)
    gitops["flux"] |= {"components": ["source-controller", "kustomize-controller"]}
    spec = {"region": REGION, "version": VERSION, "accountRef": {"name": "search"}, "addons": [{"name": "vpc-cni"}]}
    return team.object("EksCluster", "search", {**spec, "gitops": gitops})


def in_workload(on: Environment) -> str:
    """Every value of every Secret in the tenant's cluster."""
    found = on.cloud.workload.api.list("v1", "Secret")
    return " ".join(base64.b64decode(v).decode() for s in found for v in (s.get("data") or {}).values())


def refused(on: Environment, item: dict, kind: str, *words: str) -> str:
    def holds() -> str | None:
        found = conditions(on.api.find(*key_of(item)) or {}).get(kind, {})
        message = found.get("message", "")
        return message if all(word in message for word in words) else None

    return until(holds, 20, f"{kind} with {words}")


def test_a_tenant_may_not_read_the_secrets_that_he_names(search):
    for name in ("database", "default-token", "fleet"):
        with pytest.raises(ApiError) as error:
            search.api.get("v1", "Secret", name, TEAM)
        assert error.value.code == 403


def test_without_a_role_binding_no_secret_is_read_and_the_command_is_named(on, search, repository):
    item = naming(search, repository, "fleet")
    assert search.refusal(item) is None
    command = "kubectl create rolebinding keelson-secrets --namespace=team-search --clusterrole=keelson-secrets"
    message = refused(on, item, "Stalled", command, f"--serviceaccount={NAMESPACE}:keelson")
    assert "spec.gitops.flux.source.git.secretRef" in message and f"{TEAM}/fleet" in message
    assert on.condition(item, "Stalled")["reason"] == "AccessDenied"
    binding = {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": "keelson-secrets", "namespace": TEAM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-secrets"},
        "subjects": [{"kind": "ServiceAccount", "name": "keelson", "namespace": NAMESPACE}],
    }
    mark = on.mark()
    # The next attempt is a refusal again, so that nothing is made yet.
    assert search.refusal(naming(search, repository, "database")) is None
    on.apply(binding)
    refused(on, item, "Stalled", f"{TEAM}/database", "has no label")
    assert actions(on.writes(mark)) == []


@pytest.mark.parametrize(
    "name, words",
    [
        ("database", ("has no label keelson.dev/use", "kubectl label secret database", "keelson.dev/use=git")),
        ("pull", ('"registry" only', "not for git", "keelson.dev/use=registry.git")),
        ("default-token", ("kubernetes.io/service-account-token", "never copied")),
        ("bootstrap", ("bootstrap.kubernetes.io/token", "never copied")),
    ],
)
def test_a_secret_that_its_owner_did_not_open_for_it_makes_nothing(on, search, repository, name, words):
    mark = on.mark()
    item = naming(search, repository, name)
    assert search.refusal(item) is None
    refused(on, item, "Stalled", f"{TEAM}/{name}", *words)
    assert on.condition(item, "GitOpsReady")["reason"] == "SyncFailed"
    assert actions(on.writes(mark)) == []


def test_of_a_secret_that_was_opened_only_what_the_source_needs_is_copied(on, search, repository):
    item = naming(search, repository, "fleet")
    assert search.refusal(item) is None
    on.ready(item)
    copied = on.cloud.workload.api.get("v1", "Secret", FLUX, FLUX)["data"]
    assert set(copied) == {"username", "password"}
    assert base64.b64decode(copied["password"]).decode() == PASSWORD
    assert DATABASE not in in_workload(on)


@pytest.mark.parametrize("name", ["database", "pull", "default-token", "bootstrap"])
def test_a_running_cluster_that_names_another_secret_gets_none_of_it(on, search, repository, name):
    item = naming(search, repository, name)
    assert search.refusal(item) is None
    refused(on, item, "GitOpsReady", f"{TEAM}/{name}", "left as it was")
    found = in_workload(on)
    # A token of a service account begins with eyJ.
    assert PASSWORD in found and not any(word in found for word in (DATABASE, TOKEN, "eyJ"))


@pytest.mark.parametrize("field", ["proxySecretRef", "verify"])
def test_no_other_reference_is_a_way_around(on, search, repository, field):
    value = {"name": "database"} if field == "proxySecretRef" else {"mode": "HEAD", "secretRef": {"name": "database"}}
    item = naming(search, repository, "fleet", **{field: value})
    assert search.refusal(item) is None
    refused(on, item, "GitOpsReady", f"{TEAM}/database", "has no label")
    assert DATABASE not in in_workload(on)


def test_a_tenant_cannot_set_the_label(search):
    with pytest.raises(ApiError) as error:
        search.api.patch("v1", "Secret", "database", {"metadata": {"labels": {SECRET_USE: "git"}}}, TEAM)
    assert error.value.code == 403
