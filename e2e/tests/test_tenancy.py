"""Two accounts, two namespaces, and a malicious tenant (faults 47 to 52): every attempt is denied before any AWS call, and no output
contains a secret. An inaccessible account affects only its own clusters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
import yaml

from fleet import API
from fleet.account import Account, fresh_account
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, flux, key_of, namespace, node_group, secret
from fleet.environment import Environment, actions, environment, until
from keelson_harness.aws import ACCOUNT, Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, KubeApi, conditions
from tenancy import Attempt
from tenancy.attempts import CLOSED, OWN, TENANT, THEIRS, VICTIM, accounts, injections, secrets, sources

AT_ADMISSION = [a for a in (*accounts(), *sources(), *secrets(), *injections()) if not a.reason]
BY_CONDITION = [a for a in (*accounts(), *sources(), *secrets()) if a.reason]
SMALL = {"network": {"vpc": {"zoneCount": 2, "nat": "None", "publicSubnets": False}}, "addons": [{"name": "vpc-cni"}]}
EXTERNAL_ID = "fleet-6f1e2c0a"
DEPLOY_KEY = "the-vaults-own-deploy-key"
# Duration of AWS sessions in this file: shorter than a test.
SESSION_SECONDS = 8


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=Durations(0.5, 0.3, 0.3, 0.3, 0.1, 0.2)) as started:
        yield started


@dataclass
class Tenants:
    """Two namespaces with an account each; `mallory` has the permissions of a tenant of `team-search`."""

    operator: Controller
    search: Account
    vault: Account
    closed: Account
    mallory: KubeApi
    # The position in the call log before the first attempt.
    mark: int


def reach(on: Environment, target: Account, name: str, *namespaces: str, **spec: object) -> dict:
    """An AwsAccount in which the operator assumes a role with an external id."""
    role = target.role("keelson", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "AdministratorAccess", external_id=EXTERNAL_ID)
    settings = {"roleArn": role, "externalId": EXTERNAL_ID, "allowedNamespaces": list(namespaces), **spec}
    return aws_account(name, target.id, **settings)


@pytest.fixture(scope="module")
def tenants(on: Environment) -> Tenants:
    search, vault, closed = (on.account(fresh_account()) for _ in range(3))
    on.apply(namespace(TENANT), namespace(VICTIM))
    on.apply(
        reach(on, search, OWN, TENANT, allowedRegions=["eu-west-1"]),
        reach(on, vault, THEIRS, VICTIM),
        reach(on, closed, CLOSED),
        secret("deploy-key", VICTIM, username="vault", password=DEPLOY_KEY),
    )
    operator = on.start(env={"KEELSON_ALLOW_HTTP_GIT": "false", "KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"})
    for name in (OWN, THEIRS, CLOSED):
        on.await_condition(aws_account(name, "", allowedNamespaces=[]), timeout=30)
    return Tenants(operator, search, vault, closed, mallory(on), on.mark())


def mallory(on: Environment) -> KubeApi:
    """A user who may edit clusters in `team-search`, as with deploy/rbac-users.yaml, and create Secrets there."""
    plane = on.cloud.management
    rules = [
        {"apiGroups": ["keelson.dev"], "resources": ["eksclusters", "nodegroups"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
    ]
    meta = {"name": "tenant", "namespace": TENANT}
    rbac = "rbac.authorization.k8s.io"
    on.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "tenant"},
            "subjects": [{"kind": "User", "name": "mallory", "apiGroup": rbac}],
        },
    )
    user = yaml.safe_load(plane.kubeconfig_for("mallory").read_text())["users"][0]["user"]
    return KubeApi(plane.url, plane.ca_file, (user["client-certificate"], user["client-key"]))


def create(api: KubeApi, item: dict) -> None:
    path = api.path(item["apiVersion"], item["kind"], "", item["metadata"].get("namespace", "default"))
    api.request("POST", path, params={"fieldValidation": "Strict"}, json=item)


@pytest.mark.parametrize("attempt", AT_ADMISSION, ids=str)
def test_attempt_is_rejected_at_admission(tenants, attempt: Attempt):
    with pytest.raises(ApiError) as rejected:
        create(tenants.mallory, attempt.item)
    assert rejected.value.code in (400, 422), rejected.value
    for expected in attempt.message_contains:
        assert expected in rejected.value.message


@pytest.fixture(scope="module")
def attempted(tenants) -> Tenants:
    """Creates all attempts that the API server accepts."""
    for attempt in BY_CONDITION:
        for item in (*attempt.needs, attempt.item):
            create(tenants.mallory, item)
    return tenants


@pytest.mark.parametrize("attempt", BY_CONDITION, ids=str)
def test_attempt_is_denied_with_a_condition(on, attempted, attempt: Attempt):
    found = on.await_condition(attempt.item, status="False", reason=attempt.reason, timeout=30)
    message = conditions(found)["Ready"]["message"]
    for expected in attempt.message_contains:
        assert expected in message


def test_attempts_cause_no_call_to_foreign_accounts_and_no_write(on, attempted):
    for attempt in BY_CONDITION:
        on.await_condition(attempt.item, status="False", reason=attempt.reason, timeout=30)
    for foreign in (attempted.vault, attempted.closed):
        assert actions(on.calls(attempted.mark, foreign.id)) == []
    assert actions(on.writes(attempted.mark)) == []
    # Nor was one of their roles assumed again.
    assumed = [call["resource"] for call in on.calls(attempted.mark) if call["action"] == "AssumeRole"]
    assert not any(foreign.id in arn for arn in assumed for foreign in (attempted.vault, attempted.closed))


def test_tenant_cannot_access_accounts_or_other_namespaces(tenants):
    api, foreign = tenants.mallory, cluster("vault", VICTIM, accountRef={"name": THEIRS})
    calls = [
        lambda: api.create(aws_account("mine", tenants.vault.id, allowedNamespaces=[TENANT])),
        lambda: api.patch(API, "AwsAccount", THEIRS, {"spec": {"allowedNamespaces": ["*"]}}, None),
        lambda: api.patch(API, "AwsAccount", THEIRS, {"status": {}}, None, "status"),
        lambda: api.get(API, "AwsAccount", THEIRS, None),
        lambda: api.create(foreign),
        lambda: api.list(API, "EksCluster", VICTIM),
        lambda: api.get("v1", "Secret", "deploy-key", VICTIM),
    ]
    for attempt in calls:
        with pytest.raises(ApiError) as rejected:
            attempt()
        assert rejected.value.code == 403


@pytest.mark.parametrize("given", [{"externalId": "guessed"}, {"externalId": None}], ids=["wrong", "missing"])
def test_role_with_external_id_is_denied_without_it(on, tenants, given):
    """Fault 48: for the account, and for the cluster in it; and only AssumeRole was called."""
    target = on.account(fresh_account())
    name = "guess" if given["externalId"] else "no-id"
    item = reach(on, target, name, TENANT, **given)
    item["spec"] = {key: value for key, value in item["spec"].items() if value is not None}
    mark = on.mark()
    guess = cluster(name, TENANT, accountRef={"name": name}, **SMALL)
    on.apply(item, guess)
    for each in (item, guess):
        found = on.await_condition(each, status="False", reason="AccessDenied", timeout=30)
        message = conditions(found)["Ready"]["message"]
        assert "AssumeRole" in message and "external id" in message
        assert EXTERNAL_ID not in message and "guessed" not in message
    assert actions(on.calls(mark, target.id)) == []
    on.delete(guess, item)


@pytest.fixture(scope="module")
def both(on, tenants) -> tuple[dict, dict]:
    """A cluster of each tenant, in its own account."""
    clusters = (
        cluster("search", TENANT, accountRef={"name": OWN}, **SMALL),
        cluster("vault", VICTIM, accountRef={"name": THEIRS}, **SMALL, gitops=flux("https://git.example.com/vault", secretRef={"name": "deploy-key"})),
    )
    on.apply(*clusters)
    for item in clusters:
        on.await_condition(item, "InSync", timeout=60)
    return clusters


def test_session_name_contains_the_account(on, tenants, both):
    for name, used_account in ((OWN, tenants.search), (THEIRS, tenants.vault)):
        writes = on.writes(0, used_account.id)
        sessions = {write.get("session") for write in writes if write["action"] == "CreateCluster"}
        assert sessions == {f"keelson/keelson-{name}"}


def test_namespaces_sharing_an_account_cannot_take_each_others_clusters(on, tenants):
    shared = on.account(fresh_account())
    victim, thief = (
        cluster(name, namespace_, clusterName="till", accountRef={"name": "shared"}, **SMALL)
        for name, namespace_ in (("till", VICTIM), ("thief", TENANT))
    )
    on.apply(reach(on, shared, "shared", VICTIM, TENANT), victim)
    on.await_condition(victim, "InSync", timeout=60)
    mark, before = on.mark(), shared.inventory()
    create(tenants.mallory, thief)
    found = on.await_condition(thief, status="False", reason="NotOwned", timeout=30)
    message = conditions(found)["Ready"]["message"]
    assert "cluster till" in message and VICTIM not in message
    on.delete(thief)
    assert actions(on.writes(mark, shared.id)) == [] and shared.inventory() == before
    on.delete(victim)


def test_account_closed_to_namespace_allows_deletion_of_its_clusters(on, tenants):
    closing = on.account(fresh_account())
    own_cluster = cluster("closing", TENANT, accountRef={"name": "closing"}, **SMALL)
    group = node_group("closing", namespace=TENANT, deletionPolicy="Delete")
    before = reach(on, closing, "closing", TENANT)
    on.apply(before, own_cluster)
    on.await_condition(own_cluster, "InSync", timeout=60)
    on.apply(group)
    on.await_condition(group, "InSync", timeout=60)
    spec = {**before["spec"], "allowedNamespaces": [VICTIM], "allowedRegions": ["us-east-1"]}
    on.apply({**before, "spec": spec})
    on.await_condition(own_cluster, "Stalled", reason="AccessDenied", timeout=30)
    mark = on.mark()
    # Nothing was created for this one: it is deleted without a call.
    late = cluster("late", TENANT, accountRef={"name": "closing"}, **SMALL)
    on.apply(late)
    on.await_condition(late, "Stalled", reason="AccessDenied", timeout=30)
    on.delete(late)
    # Only STS is called: the changed account is validated on its own.
    assert actions([call for call in on.calls(mark, closing.id) if call["service"] != "sts"]) == []
    on.delete(own_cluster, timeout=60)
    assert closing.inventory() == {"roles": ["keelson"]}


def test_inaccessible_account_stalls_only_its_own_clusters(on, tenants, both):
    search, vault = both
    role = {"RoleName": "keelson"}
    trust = tenants.vault.iam.get_role(**role)["Role"]["AssumeRolePolicyDocument"]
    denied_trust = json.loads(json.dumps(trust).replace(EXTERNAL_ID, "changed"))
    on.aws.control("POST", "settings", json={"sts_max_session_seconds": SESSION_SECONDS})
    try:
        tenants.vault.iam.update_assume_role_policy(**role, PolicyDocument=json.dumps(denied_trust))
        # A new process has no earlier session.
        tenants.operator.restart()
        on.await_ready(tenants.operator)
        on.await_condition(aws_account(THEIRS, ""), status="False", reason="AccessDenied", timeout=40)
        request_reconcile(on, vault)
        on.await_condition(vault, "Stalled", reason="AccessDenied", timeout=40)
        mark = on.mark()
        on.api.patch(*key_of(search)[:3], {"spec": {"tags": {"asked": "meanwhile"}}}, TENANT)
        on.await_condition(search, "InSync", timeout=40)
        tags = tenants.search.eks.describe_cluster(name="search")["cluster"]["tags"]
        assert tags["asked"] == "meanwhile" and actions(on.writes(mark, tenants.vault.id)) == []
    finally:
        tenants.vault.iam.update_assume_role_policy(**role, PolicyDocument=json.dumps(trust))
    request_reconcile(on, vault)
    on.await_condition(vault, "InSync", timeout=60)


def request_reconcile(on: Environment, item: dict) -> None:
    version, kind, name, namespace_ = key_of(item)
    annotation = {"metadata": {"annotations": {"keelson.dev/reconcile-at": str(on.mark())}}}
    on.api.patch(version, kind, name, annotation, namespace_)


def test_sessions_are_renewed_before_expiry(on, tenants, both):
    """They last a few seconds here; no call meanwhile was rejected because of an expired session."""
    search = both[0]
    on.aws.control("POST", "settings", json={"sts_max_session_seconds": SESSION_SECONDS})
    tenants.operator.restart()
    on.await_ready(tenants.operator)
    mark = on.mark()

    def renewed() -> bool:
        request_reconcile(on, search)
        assumed = [call for call in on.calls(mark) if call["action"] == "AssumeRole" and tenants.search.id in call["resource"]]
        return len(assumed) >= 3

    until(renewed, 6 * SESSION_SECONDS, "the second renewal")
    expired = [call for call in on.calls(mark, tenants.search.id) if "Expired" in call["error"]]
    assert expired == []
    on.await_condition(search, "InSync", timeout=30)


# Patterns of credentials: a session's key and token, an EKS token, a signature, a bearer token.
TOKENS = re.compile(r"keelson-session-|k8s-aws-v1\.|X-Amz-Signature=[0-9a-f]|X-Amz-Security-Token=|ASIA[A-Z2-7]{16}|Bearer [\w-]{8}")


def test_no_credentials_in_logs_events_or_status(on, tenants, attempted, both):
    """Fault 52: in all output of this file's tests."""
    output = {f"log {c.name}": c.log.read_text() for c in on.cloud.controllers}
    output["events"] = json.dumps(on.api.list("events.k8s.io/v1", "Event", None))
    for kind in ("EksCluster", "NodeGroup", "AwsAccount"):
        output[kind] = json.dumps([item.get("status") for item in on.api.list(API, kind, None)])
    assert len(output["events"]) > 1000 and len(output["EksCluster"]) > 1000
    for source, text in output.items():
        found = TOKENS.search(text)
        assert not found, f"{source}: {text[max(0, found.start() - 80) : found.end()]}"
        assert DEPLOY_KEY not in text, source
        assert EXTERNAL_ID not in text, source


def test_deletion_of_all_clusters_leaves_nothing(on, tenants, attempted, both):
    on.delete(*(attempt.item for attempt in BY_CONDITION), timeout=60)
    on.delete(*both, timeout=60)
    for used_account in (tenants.search, tenants.vault, tenants.closed):
        assert used_account.inventory() == {"roles": ["keelson"]}
