"""A tenant references Secrets of its namespace that it may not read, to have them copied into its own cluster.

With the default RBAC of `deploy/`: the operator reads Secrets only where a RoleBinding allows it.
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
    created = server.repository("search")
    greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}
    created.commit({"clusters/search/one.yaml": yaml.safe_dump(greeting)})
    yield created
    server.stop()


@pytest.fixture(scope="module")
def search(on: Environment) -> Tenant:
    """The tenant, in a namespace with Secrets of others that it may not read."""
    team = tenant(on, TEAM)
    on.start("--drift-interval=2s", cluster_wide_secrets=False)
    token = secret("default-token", TEAM, **{"ca.crt": "certificate", "token": TOKEN})
    token["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "tenant"}
    bootstrap = secret("bootstrap", TEAM, username="x", password=TOKEN)
    on.apply(
        aws_account("search", ACCOUNT),
        # As created by a database operator, with the same keys as a Git repository's Secret.
        secret("database", TEAM, use=None, username="admin", password=DATABASE),
        secret("pull", TEAM, use="registry", username="admin", password=DATABASE),
        token | {"type": "kubernetes.io/service-account-token"},
        bootstrap | {"type": "bootstrap.kubernetes.io/token"},
        # Opened by its owner for clusters (label keelson.dev/use), with more keys than a repository needs.
        secret("fleet", TEAM, username=USER, password=PASSWORD, DATABASE_PASSWORD=DATABASE),
    )
    return team


def cluster_with_secret(team: Tenant, repository, secret_name: str, **fields) -> dict:
    """A cluster of the tenant whose source references that Secret."""
    gitops = flux(repository.url, "clusters/search", interval="2s", secretRef={"name": secret_name}, **fields)
    gitops["flux"] |= {"components": ["source-controller", "kustomize-controller"]}
    spec = {"region": REGION, "version": VERSION, "accountRef": {"name": "search"}, "addons": [{"name": "vpc-cni"}]}
    return team.object("EksCluster", "search", {**spec, "gitops": gitops})


def workload_secret_values(on: Environment) -> str:
    """Every value of every Secret in the tenant's cluster."""
    found = on.cloud.workload.api.list("v1", "Secret")
    return " ".join(base64.b64decode(v).decode() for s in found for v in (s.get("data") or {}).values())


def await_message(on: Environment, item: dict, kind: str, *words: str) -> str:
    def holds() -> str | None:
        found = conditions(on.api.find(*key_of(item)) or {}).get(kind, {})
        message = found.get("message", "")
        return message if all(word in message for word in words) else None

    return until(holds, 20, f"{kind} with {words}")


def test_tenant_has_no_permission_to_read_the_named_secrets(search):
    for name in ("database", "default-token", "fleet"):
        with pytest.raises(ApiError) as error:
            search.api.get("v1", "Secret", name, TEAM)
        assert error.value.code == 403


def test_without_a_role_binding_no_secret_is_read_and_the_message_names_the_command(on, search, repository):
    item = cluster_with_secret(search, repository, "fleet")
    assert search.apply_error(item) is None
    command = "kubectl create rolebinding keelson-secrets --namespace=team-search --clusterrole=keelson-secrets"
    message = await_message(on, item, "Stalled", command, f"--serviceaccount={NAMESPACE}:keelson")
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
    # The next Secret is refused too, so that still nothing is created.
    assert search.apply_error(cluster_with_secret(search, repository, "database")) is None
    on.apply(binding)
    await_message(on, item, "Stalled", f"{TEAM}/database", "has no label")
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
def test_secret_not_opened_by_its_owner_creates_nothing(on, search, repository, name, words):
    mark = on.mark()
    item = cluster_with_secret(search, repository, name)
    assert search.apply_error(item) is None
    await_message(on, item, "Stalled", f"{TEAM}/{name}", *words)
    assert on.condition(item, "GitOpsReady")["reason"] == "SyncFailed"
    assert actions(on.writes(mark)) == []


def test_only_the_required_keys_of_an_opened_secret_are_copied(on, search, repository):
    item = cluster_with_secret(search, repository, "fleet")
    assert search.apply_error(item) is None
    on.ready(item)
    copied = on.cloud.workload.api.get("v1", "Secret", FLUX, FLUX)["data"]
    assert set(copied) == {"username", "password"}
    assert base64.b64decode(copied["password"]).decode() == PASSWORD
    assert DATABASE not in workload_secret_values(on)


@pytest.mark.parametrize("name", ["database", "pull", "default-token", "bootstrap"])
def test_running_cluster_receives_nothing_of_an_unopened_secret(on, search, repository, name):
    item = cluster_with_secret(search, repository, name)
    assert search.apply_error(item) is None
    await_message(on, item, "GitOpsReady", f"{TEAM}/{name}", "is unchanged")
    found = workload_secret_values(on)
    # A service account token starts with eyJ.
    assert PASSWORD in found and not any(word in found for word in (DATABASE, TOKEN, "eyJ"))


@pytest.mark.parametrize("field", ["proxySecretRef", "verify"])
def test_other_secret_references_are_checked_too(on, search, repository, field):
    value = {"name": "database"} if field == "proxySecretRef" else {"mode": "HEAD", "secretRef": {"name": "database"}}
    item = cluster_with_secret(search, repository, "fleet", **{field: value})
    assert search.apply_error(item) is None
    await_message(on, item, "GitOpsReady", f"{TEAM}/database", "has no label")
    assert DATABASE not in workload_secret_values(on)


def test_tenant_cannot_set_the_label(search):
    with pytest.raises(ApiError) as error:
        search.api.patch("v1", "Secret", "database", {"metadata": {"labels": {SECRET_USE: "git"}}}, TEAM)
    assert error.value.code == 403
