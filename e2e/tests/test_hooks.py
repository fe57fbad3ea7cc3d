"""Hooks: Jobs of the user's at points of a cluster's life. The Job controller is the real one; a Pod's command is a process here.

Whether something waits for a hook is read from the call log of AWS.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import signal
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleet import API, command_line
from fleet.environment import Environment, actions, environment, stays, until
from fleet.manifests import key_of
from fleet.shop import A_MOMENT, LOOK_NOW, Shop
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller
from keelson_harness.kubeapi import ApiError, KubeApi, conditions, documents
from keelson_harness.paths import DEPLOY
from keelson_harness.pki import Authority

SKIP = "keelson.dev/skip-hook"
OPERATOR = "system:serviceaccount:keelson-system:keelson"
ALL_POINTS = [
    "BeforeCreate", "AfterCreate", "BeforeUpgrade", "AfterUpgrade", "BeforeControlPlane", "AfterControlPlane", "BeforeNodeGroups",
    "AfterNodeGroups", "BeforeDelete",
]
UPGRADE = "UpdateClusterVersion"
RBAC = "rbac.authorization.k8s.io/v1"
BINDING = {
    "apiVersion": RBAC,
    "kind": "RoleBinding",
    "metadata": {"name": "keelson-jobs", "namespace": "default"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "keelson-jobs"},
    "subjects": [{"kind": "ServiceAccount", "name": "keelson", "namespace": "keelson-system"}],
}
FLAGS = ("--drift-interval=2s",)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def on():
    options = {"workload": False, "git": False, "flux": False, "management_pods": True}
    with environment(**options, durations=Durations(1, 1, 0.5, 0.5, 0.3, 0.2)) as started:
        started.cloud.management_kubelet.namespaces.add("default")
        started.cloud.operator_account()
        started.apply(BINDING)
        yield started


@pytest.fixture
def running(on: Environment):
    with on.operator(*FLAGS):
        yield


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """The file to which the Jobs write."""
    return tmp_path / "said"


def template(command: str, **spec: object) -> dict:
    container = {"name": "main", "image": "local", "command": ["sh", "-c", command]}
    return {"spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}, **spec}}


def hook(name: str, at: list[str], command: str, **more: object) -> dict:
    return {"name": name, "at": at, "job": {"template": template(command)}, **more}


def tells(said: Path) -> str:
    """A command that writes down where it runs."""
    return f'echo "$KEELSON_POINT $KEELSON_FROM $KEELSON_TO $KEELSON_ATTEMPT" >> {said}'


def lines(said: Path) -> list[str]:
    return said.read_text().splitlines() if said.exists() else []


def hooks(shop: Shop) -> list[dict]:
    return shop.found().get("status", {}).get("hooks", [])


def entry(shop: Shop, name: str, at: str = "BeforeControlPlane") -> dict:
    """The newest of that hook at that point."""
    found = [one for one in hooks(shop) if (one["name"], one["at"]) == (name, at)]
    return found[-1] if found else {}


def await_state(shop: Shop, name: str, state: str, at: str = "BeforeControlPlane") -> dict:
    shop.on.await_state(
        shop.cluster,
        lambda found: state in [one["state"] for one in found.get("status", {}).get("hooks", []) if (one["name"], one["at"]) == (name, at)],
        40,
        f"hook {name} {state}",
    )
    return entry(shop, name, at)


def await_version(shop: Shop, version: str) -> None:
    until(lambda: shop.in_sync() and shop.found()["status"].get("version") == version, 60, version)


def failed(shop: Shop) -> str:
    return conditions(shop.on.await_condition(shop.cluster, "Ready", "False", "HookFailed", 40))["Ready"]["message"]


def annotate(shop: Shop, **annotations: str | None) -> None:
    keys = {"skip": SKIP, "again": LOOK_NOW}
    shop.on.api.patch(*key_of(shop.cluster)[:3], {"metadata": {"annotations": {keys[name]: value for name, value in annotations.items()}}})


def upgrades(shop: Shop) -> int:
    return [write["action"] for write in shop.writes()].count(UPGRADE)


def jobs(on: Environment, shop: Shop) -> dict[str, dict]:
    found = on.api.list("batch/v1", "Job", "default")
    return {job["metadata"]["name"]: job for job in found if job["metadata"]["labels"].get("keelson.dev/cluster") == shop.name}


def upgrading(on: Environment, *hooks: dict, version: str = "1.33", **spec: object) -> Shop:
    """A cluster at 1.33 with these hooks, that is about to be upgraded."""
    shop = Shop(on, version=version, **spec)
    shop.make()
    shop.edit(hooks=list(hooks))
    on.reconcile(shop.cluster)
    return shop


def test_each_point_comes_once_a_minor_and_the_job_knows_where_it_is(on, running, said):
    shop = Shop(on, nodes=True, version="1.33", hooks=[hook("log", ALL_POINTS, tells(said))])
    shop.apply()
    on.ready(*shop.items)
    assert lines(said) == ["BeforeCreate   1", "AfterCreate   1"]
    shop.edit(version="1.35")
    await_version(shop, "1.35")
    await_state(shop, "log", "Succeeded", "AfterUpgrade")
    assert lines(said)[2:] == [
        "BeforeUpgrade 1.33 1.35 1",
        "BeforeControlPlane 1.33 1.34 1",
        "AfterControlPlane 1.33 1.34 1",
        "BeforeControlPlane 1.34 1.35 1",
        "AfterControlPlane 1.34 1.35 1",
        "BeforeNodeGroups  1.35 1",
        "AfterNodeGroups  1.35 1",
        "AfterUpgrade 1.33 1.35 1",
    ]
    on.ready(*shop.items)
    events = {event["reason"] for event in on.events(shop.cluster)}
    assert {"HookStarted", "HookSucceeded"} <= events and "HookFailed" not in events
    [environment] = {
        tuple(sorted(one["name"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"])) for job in jobs(on, shop).values()
    }
    assert {"KEELSON_CLUSTER", "KEELSON_HOOK", "KEELSON_NAMESPACE", "AWS_REGION", "CLUSTER_NAME", "VPC_ID"} <= set(environment)
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 60)
    assert lines(said)[10:] == ["BeforeDelete   1"]
    until(lambda: not jobs(on, shop), 20, "no Job of a cluster that is gone")
    on.delete(*shop.reference)


def test_nothing_is_created_before_its_hook_has_succeeded(on, running, said):
    wanted = f"until [ -e {said} ]; do sleep 0.1; done"
    shop = Shop(on, hooks=[hook("ask", ["BeforeCreate"], wanted)])
    shop.apply()
    await_state(shop, "ask", "Running", "BeforeCreate")
    on.await_condition(shop.cluster, "Ready", "False", "WaitingForHook")
    stays(lambda: actions(shop.writes()) == [], A_MOMENT, "no write before the hook has passed")
    said.touch()
    on.ready(*shop.items)
    shop.go_away()


def test_failure_stops_before_the_write_shows_its_last_words_and_is_tried_again_when_corrected(on, running):
    shop = upgrading(on, hook("backup", ["BeforeControlPlane"], "echo starting; echo no space left; exit 3"))
    shop.edit(version="1.34")
    message = failed(shop)
    assert "hook backup (BeforeControlPlane, 1.33->1.34) failed: container main exited with code 3" in message, message
    assert "no space left" in message and f"{SKIP}=backup" in message, message
    printed = command_line.output(on, "status", shop.name)
    assert "no space left" in printed and entry(shop, "backup")["job"] in printed, printed
    shop.reconcile_all()
    assert upgrades(shop) == 0
    assert "HookFailed" in {event["reason"] for event in on.events(shop.cluster)}
    shop.edit(hooks=[hook("backup", ["BeforeControlPlane"], "true")])
    await_version(shop, "1.34")
    assert upgrades(shop) == 1
    shop.go_away()


def test_template_of_a_cron_job_is_used_and_a_correction_of_it_counts(on, running, said):
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"backup-{next(_numbers)}", "namespace": "default"},
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template("exit 1", ttlSecondsAfterFinished=0)},
    }
    name = cron_job["metadata"]["name"]
    backup = {"name": "backup", "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": name}}}
    shop = upgrading(on, backup)
    shop.edit(version="1.34")
    assert f"CronJob default/{name} does not exist" in failed(shop)
    on.apply(cron_job)
    annotate(shop, again="created")
    state = await_state(shop, "backup", "Failed")
    job = jobs(on, shop)[state["job"]]
    assert "ttlSecondsAfterFinished" not in job["spec"] and job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    cron_job["spec"]["jobTemplate"] = template(tells(said), ttlSecondsAfterFinished=0)
    on.apply(cron_job)
    annotate(shop, again="corrected")
    await_version(shop, "1.34")
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 2"]
    shop.go_away()


def test_job_that_is_deleted_by_hand_is_lost_and_no_success(on, running, said):
    shop = upgrading(on, hook("slow", ["BeforeControlPlane"], f"{tells(said)}; sleep 600"))
    shop.edit(version="1.34")
    running_job = await_state(shop, "slow", "Running")["job"]
    on.api.request("DELETE", f"/apis/batch/v1/namespaces/default/jobs/{running_job}", params={"propagationPolicy": "Background"})
    assert "was deleted before its result was recorded" in failed(shop)
    assert entry(shop, "slow")["state"] == "Lost"
    shop.reconcile_all()
    assert upgrades(shop) == 0
    # `keelson reconcile` tries again; a skip deletes the Job that runs.
    await_state(shop, "slow", "Running")
    assert entry(shop, "slow")["attempt"] == 2
    annotate(shop, skip="other, slow")
    await_version(shop, "1.34")
    assert entry(shop, "slow")["state"] == "Skipped"
    assert "HookSkipped" in {event["reason"] for event in on.events(shop.cluster)}
    until(lambda: not jobs(on, shop), 20, "no Job that nobody waits for")
    # The same value does not count again.
    shop.edit(version="1.35")
    assert await_state(shop, "slow", "Running")["step"] == "1.34->1.35"
    assert upgrades(shop) == 1
    shop.go_away()


def test_hanging_job_ends_at_its_timeout_and_a_failure_that_is_ignored_stays_visible(on, running):
    shop = upgrading(on, hook("hang", ["BeforeControlPlane"], "sleep 600", timeout="2s", onFailure="Continue"))
    shop.edit(version="1.34")
    await_version(shop, "1.34")
    shown = entry(shop, "hang")
    assert (shown["state"], shown["message"]) == ("Failed", "the Job did not end within 2s")
    assert jobs(on, shop) == {}
    assert "HookFailed" in {event["reason"] for event in on.events(shop.cluster)}
    shop.go_away()


def test_failure_after_a_step_holds_the_next_one(on, running):
    shop = upgrading(on, hook("smoke", ["AfterControlPlane"], "echo down; exit 1"))
    shop.edit(version="1.35")
    assert "hook smoke (AfterControlPlane, 1.33->1.34) failed" in failed(shop)
    shop.reconcile_all()
    assert upgrades(shop) == 1 and shop.found()["status"]["version"] == "1.34"
    annotate(shop, skip="smoke/1")
    until(lambda: "1.34->1.35) failed" in failed(shop), 40, "the next step")
    annotate(shop, skip="smoke/2")
    await_version(shop, "1.35")
    shop.go_away()


def test_cluster_is_kept_until_its_last_hook_succeeds_or_is_skipped(on, running):
    shop = Shop(on, nodes=True)
    shop.make()
    shop.edit(hooks=[hook("archive", ["BeforeDelete"], "echo not archived; exit 1")])
    on.reconcile(shop.cluster)
    before = shop.account.inventory()
    mark = on.mark()
    # As Argo CD deletes.
    options = {"params": {"propagationPolicy": "Foreground"}}
    on.api.request("DELETE", on.api.path(API, "EksCluster", shop.name, "default"), **options)
    on.api.delete(*key_of(shop.nodes))
    assert "not archived" in failed(shop)
    stays(lambda: actions(shop.writes(mark)) == [] and shop.account.inventory() == before, A_MOMENT, "no deletion")
    assert on.api.find(*key_of(shop.nodes))
    annotate(shop, skip="archive")
    for item in shop.items:
        on.api.wait_gone(*key_of(item), 60)
    until(lambda: not jobs(on, shop), 20, "no Job of a cluster that is gone")
    on.delete(*shop.reference)


def test_cluster_without_resources_is_deleted_without_a_hook(on, running):
    shop = Shop(on, hooks=[hook("never", ["BeforeCreate", "BeforeDelete"], "exit 1")])
    shop.apply()
    failed(shop)
    on.api.delete(*key_of(shop.cluster))
    on.api.wait_gone(*key_of(shop.cluster), 30)
    assert actions(shop.writes()) == []
    on.delete(*shop.reference)


def test_operator_without_permission_says_which_to_give(on, running):
    shop = upgrading(on, hook("backup", ["BeforeControlPlane"], "true"))
    on.api.delete(RBAC, "RoleBinding", "keelson-jobs", "default")
    try:
        shop.edit(version="1.34")
        message = failed(shop)
        assert "kubectl create rolebinding keelson-jobs --namespace=default --clusterrole=keelson-jobs" in message, message
        assert upgrades(shop) == 0
    finally:
        on.apply(BINDING)
    annotate(shop, again="permitted")
    await_version(shop, "1.34")
    shop.go_away()


def test_author_of_hooks_must_be_allowed_to_create_jobs(on):
    on.apply(*documents(DEPLOY / "admission-hooks.yaml"))
    for name, rules in {
        "clusters": [{"apiGroups": ["keelson.dev"], "resources": ["eksclusters"], "verbs": ["*"]}],
        "jobs": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}],
    }.items():
        on.apply({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name, "namespace": "default"}, "rules": rules})
    users = {}
    for user, roles in {"tenant": ["clusters"], "admin": ["clusters", "jobs"]}.items():
        on.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": user, "namespace": "default"}})
        for role in roles:
            on.apply({
                "apiVersion": RBAC,
                "kind": "RoleBinding",
                "metadata": {"name": f"{user}-{role}", "namespace": "default"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": user, "namespace": "default"}],
            })
        plane = on.cloud.management
        users[user] = KubeApi(plane.url, plane.ca_file, token=on.api.service_account_token("default", user))
    item = Shop(on, by_role=False, hooks=[hook("run", ["BeforeCreate"], "true")]).cluster
    without = {**item, "spec": {key: value for key, value in item["spec"].items() if key != "hooks"}}

    def refused(api: KubeApi, written: dict) -> str:
        with contextlib.suppress(ApiError):
            api.apply(written, dry_run=True)
            return ""
        with pytest.raises(ApiError) as error:
            api.apply(written, dry_run=True)
        return error.value.message

    # The API server watches policies: until it has this one, it allows everything.
    until(lambda: refused(users["tenant"], item), 30, "the policy")
    message = refused(users["tenant"], item)
    assert 'may not create Jobs in namespace "default"' in message, message
    assert refused(users["admin"], item) == "" and refused(users["tenant"], without) == ""
    # Edits: a cluster that has hooks can be edited, its hooks cannot, and no hook can be added.
    users["admin"].apply(item)
    try:
        edit = lambda spec: users["tenant"].patch(*key_of(item)[:3], {"spec": spec})
        edit({"logging": ["audit"]})
        for changed in ([hook("run", ["BeforeCreate"], "id")], [*item["spec"]["hooks"], hook("more", ["BeforeDelete"], "true")]):
            with pytest.raises(ApiError, match="may not create Jobs"):
                edit({"hooks": changed})
        edit({"hooks": None})
        with pytest.raises(ApiError, match="may not create Jobs"):
            edit({"hooks": item["spec"]["hooks"]})
    finally:
        on.force_delete(item)


class Killer:
    """A webhook of the API server that kills an operator while it writes hooks: the write is stored, and the operator never sees its answer."""

    def __init__(self, on: Environment, directory: Path):
        self.victim: Controller | None = None
        self.killed: list[str] = []
        self.jobs: set[str] = set()
        authority = Authority(directory / "killer", "killer-ca")
        pair = authority.serving("killer", ("127.0.0.1",))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pair.cert, pair.key)
        killer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                killer.called(request)
                answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": request["uid"], "allowed": True}}
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        rules = [
            {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": ["CREATE", "DELETE"]},
            {"apiGroups": ["keelson.dev"], "apiVersions": ["*"], "resources": ["eksclusters/status"], "operations": ["UPDATE"]},
        ]
        on.apply({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "killer"},
            "webhooks": [{
                "name": "killer.example.com", "rules": rules, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
                "clientConfig": {
                    "url": f"https://127.0.0.1:{self.server.server_port}/",
                    "caBundle": base64.b64encode(authority.cert_file.read_bytes()).decode(),
                },
            }],
        })

    def called(self, request: dict) -> None:
        manager = (request.get("options") or {}).get("fieldManager")
        is_of_hooks = request["resource"]["resource"] == "jobs" or manager == "keelson-hooks"
        is_operator = request["userInfo"]["username"] == OPERATOR
        victim = self.victim
        job = request["name"] if request["resource"]["resource"] == "jobs" else ""
        # To create a Job that exists is refused after this, and changes nothing.
        if victim and is_of_hooks and is_operator and victim.alive and job not in self.jobs:
            self.jobs.update({job} - {""})
            # A request whose client is gone may be given up: the operator is frozen until the write is stored.
            victim.process.signal(signal.SIGSTOP)
            self.killed.append(f"{request['operation']} {request['resource']['resource']}")
            threading.Timer(A_MOMENT / 2, victim.process.kill).start()


def test_operator_that_is_killed_at_every_write_of_a_hook_loses_and_passes_nothing(on, said, tmp_path, capsys):
    with on.operator(*FLAGS):
        shop = upgrading(on, hook("log", ["BeforeControlPlane", "AfterControlPlane"], tells(said)))
    killer = Killer(on, tmp_path)
    shop.edit(version="1.34")
    is_done = lambda: entry(shop, "log", "AfterControlPlane").get("state") == "Succeeded"
    deadline = time.monotonic() + 200
    while not is_done():
        assert time.monotonic() < deadline, killer.killed
        killer.victim = on.start(*FLAGS, wait=False)
        try:
            until(lambda: not killer.victim.alive or is_done(), 60, f"a write after {killer.killed}")
        finally:
            victim, killer.victim = killer.victim, None
            victim.stop()
    on.api.delete("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "killer", None)
    with capsys.disabled():
        print(f"\n  killed at {len(killer.killed)} writes of hooks")
    # Before and after the step: the intent, the Job, its UID, its end; and what comes after is recorded before the step.
    assert killer.killed.count("CREATE jobs") == 2 and len(killer.killed) >= 9, killer.killed
    with on.operator(*FLAGS):
        await_version(shop, "1.34")
    assert upgrades(shop) == 1
    # Each Job that was created before a crash was adopted.
    assert lines(said) == ["BeforeControlPlane 1.33 1.34 1", "AfterControlPlane 1.33 1.34 1"]
    shop.go_away()
