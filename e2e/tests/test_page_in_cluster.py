"""The fleet page in a cluster: two tenants see nothing of each other in any byte, sessions end with their tokens, and deploy/ui grants what the page
calls and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

import kustomize
from fleet import API, page as fleet_page
from fleet.cluster_page import ACCOUNT, COOKIE, NAMESPACE, ClusterPage, everything_of, get, person
from fleet.environment import Environment, stays, until, within
from fleet.manifests import account, cluster, node_group
from fleet.many_clusters import ManyClusters
from fleet.page import condition, ready, write
from keelson_harness.browser import browser as started_browser, serious_violations
from keelson_harness.kubeapi import documents
from keelson_harness.kubernetes import write_kubeconfig
from keelson_harness.load import busy_factor
from keelson_harness.paths import DEPLOY
from keelson_harness.processes import free_port
from test_deploy import OPERATOR, AuditedCloud, Permission, crds, strict_dry_run, used_permissions

# Of a change in the API server until a viewer hears of it.
LIVE_SECONDS = 2
# Within this time a revoked right ends; and the API server's own caches.
REVOKED_SECONDS = 60
SILENCE_SECONDS = 3
# Of team-b, and of objects without a namespace. None of these may reach anybody who may see only team-a.
FOREIGN = ("banana", "plantain", "team-b", "us-west-2", "999988887777", "plum", "1.32", "foreign message", "orchard", "harvest")
OWN = ("apple", "team-a")
PATHS = ("/", "/?q=a", "/?state=blocked&sort=-since", "/?label=plum", "/accounts", "/clusters/team-a/apple", "/nodegroups/team-a/core")
FOREIGN_PATHS = ("/clusters/team-b/banana", "/nodegroups/team-b/plantain", "/accounts/orchard", "/rollouts/harvest")
PAGE_USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
# Of 60, which are those of a release build with the pages of its binary.
MEGABYTES = 42
# All that one user may have.
STREAMS = 50
# What a leader and its page share.
WATCHED = ("eksclusters", "nodegroups", "awsaccounts", "fleetrollouts")


class PageCloud(AuditedCloud):
    """Audits the requests of the page's service account, and of the operator's."""

    audited = (PAGE_USER, OPERATOR)

    def open_watches(self, resource: str) -> int:
        """Those of the operators, with their pages."""
        watches = [entry for entry in self.operator_requests() if entry["verb"] == "watch" and entry.get("objectRef", {}).get("resource") == resource]
        begun, ended = ({entry["auditID"] for entry in watches if entry["stage"] == stage} for stage in ("ResponseStarted", "ResponseComplete"))
        return len(begun - ended)


@pytest.fixture(scope="module")
def cloud() -> Iterator[PageCloud]:
    with PageCloud(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def on(cloud: PageCloud) -> Environment:
    on = Environment(cloud)
    namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("team-a", "team-b", "team-c")]
    on.api.apply_all([*crds(), *documents(DEPLOY / "namespace.yaml"), *documents(DEPLOY / "rbac-users.yaml"), *namespaces, *kustomize.build(DEPLOY / "ui")])
    fill(on)
    return on


def fill(on: Environment) -> None:
    write(on, account("apples", "111122223333"), {"conditions": ready()})
    write(on, account("orchard", "999988887777"), {"conditions": ready("AccessDenied", "AssumeRole is denied")})
    own = cluster("apple", namespace="team-a", region="eu-west-1", accountRef={"name": "apples"})
    write(on, own, {"version": "1.35", "accountId": "111122223333", "conditions": ready()})
    write(on, node_group("apple", "core", namespace="team-a", instanceTypes=["m7i.large"]), {"version": "1.35", "conditions": ready()})
    foreign = cluster("banana", namespace="team-b", region="us-west-2", accountRef={"name": "orchard"})
    foreign["metadata"]["labels"] = {"fruit": "plum"}
    write(on, foreign, {"version": "1.32", "accountId": "999988887777", "conditions": [
        condition("Ready", "False", "NotOwned", "foreign message", minutes=40), condition("Stalled", "True", "NotOwned", "foreign message", minutes=40),
    ]})
    write(on, node_group("banana", "plantain", namespace="team-b", instanceTypes=["m7i.large"]), {"version": "1.32", "conditions": ready()})
    write(on, fleet_page.rollout("harvest"), fleet_page.releases())


@pytest.fixture(scope="module")
def page(cloud: PageCloud, on: Environment) -> Iterator[ClusterPage]:
    token = on.api.service_account_token(NAMESPACE, ACCOUNT)
    kubeconfig = write_kubeconfig(cloud.directory / "page.kubeconfig", cloud.management.url, cloud.management.ca_file, token=token)
    with ClusterPage(kubeconfig, cloud.directory) as started:
        yield started


@pytest.fixture(scope="module")
def tokens(on: Environment, page: ClusterPage) -> dict[str, str]:
    people = {
        "alice": person(on.api, "alice", "team-a", ("team-a", "keelson-view"), ("team-c", "keelson-view")),
        "bob": person(on.api, "bob", "team-b", ("team-b", "keelson-view")),
        "carol": person(on.api, "carol", "default", (None, "keelson-view"), (None, "keelson-view-accounts")),
        "nobody": person(on.api, "nobody", "default"),
    }
    # The API server notices bindings after a moment, and the page keeps what it said before.
    until(lambda: "apple" in page.get("/", people["alice"]).text and "harvest" in page.get("/", people["carol"]).text, 90, "the bindings")
    return people


def count_of(text: str) -> int:
    return int(text.split('<h2 id="clusters">Clusters <span class="count">')[1].split("<")[0])


# What each sees


def test_tenant_sees_nothing_of_others_in_any_byte(page: ClusterPage, tokens: dict[str, str]) -> None:
    for path in PATHS:
        answer = page.get(path, tokens["alice"])
        assert answer.status_code == 200, path
        # What was typed is shown again.
        found = everything_of(answer).replace('value="plum"', "").replace("label=plum", "")
        assert [name for name in FOREIGN if name in found] == [], path
    landing = page.get("/", tokens["alice"]).text
    assert all(name in landing for name in OWN) and count_of(landing) == 1
    for path in FOREIGN_PATHS:
        there, nowhere = page.get(path, tokens["alice"]), page.get("/clusters/team-z/nothing", tokens["alice"])
        assert (there.status_code, there.text, len(there.headers)) == (404, nowhere.text, len(nowhere.headers)), path


def test_other_tenant_and_the_owner_of_the_fleet_see_theirs(page: ClusterPage, tokens: dict[str, str]) -> None:
    bob = page.get("/", tokens["bob"]).text
    assert "banana" in bob and "foreign message" in bob and "apple" not in bob and count_of(bob) == 1
    carol = page.get("/", tokens["carol"]).text
    assert all(name in carol for name in ("apple", "banana", "harvest")) and count_of(carol) == 2
    assert all(page.get(path, tokens["carol"]).status_code == 200 for path in (*PATHS, *FOREIGN_PATHS))
    nobody = page.get("/", tokens["nobody"]).text
    assert "keelson-view" in nobody and count_of(nobody) == 0
    assert not any(name in nobody for name in (*FOREIGN, "apple", "team-a"))


def test_change_of_others_wakes_nobody(on: Environment, page: ClusterPage, tokens: dict[str, str]) -> None:
    alice, bob, of_foreign = page.stream(tokens["alice"]), page.stream(tokens["bob"]), page.stream(tokens["alice"], "/events?of=/clusters/team-b/banana")
    until(lambda: all("connected" in one.text for one in (alice, bob, of_foreign)), 10, "the streams")
    status = {"status": {"conditions": ready("AwsError", "foreign message, again")}}
    on.api.patch(API, "EksCluster", "banana", status, "team-b", subresource="status")
    within(lambda: bob.changes == 1, LIVE_SECONDS * busy_factor(), "the change of his own")
    on.api.patch(API, "FleetRollout", "harvest", {"metadata": {"labels": {"a": "b"}}}, None)
    stays(lambda: alice.changes == 0, SILENCE_SECONDS, "silence")
    on.api.patch(API, "EksCluster", "apple", {"status": {"conditions": ready("AwsError", "of apple")}}, "team-a", subresource="status")
    within(lambda: alice.changes == 1, LIVE_SECONDS * busy_factor(), "the change of her own")
    assert of_foreign.changes == 0 and bob.changes == 1
    on.api.patch(API, "EksCluster", "apple", {"status": {"conditions": ready()}}, "team-a", subresource="status")
    assert [name for name in FOREIGN if name in alice.text + of_foreign.text] == []


def test_first_cluster_of_a_namespace_shows_at_once(on: Environment, page: ClusterPage, tokens: dict[str, str]) -> None:
    alice, bob = page.stream(tokens["alice"]), page.stream(tokens["bob"])
    until(lambda: "connected" in alice.text and "connected" in bob.text, 10, "the streams")
    cherry = cluster("cherry", namespace="team-c")
    try:
        write(on, cherry, {"version": "1.35", "conditions": ready()})
        within(lambda: alice.changes >= 1, LIVE_SECONDS * busy_factor(), "the cluster that alice may see")
        assert count_of(page.get("/", tokens["alice"]).text) == 2
        stays(lambda: bob.changes == 0, SILENCE_SECONDS, "silence")
        assert "cherry" not in page.get("/", tokens["bob"]).text
    finally:
        on.api.delete(API, "EksCluster", "cherry", "team-c")


# Tokens and sessions


def test_without_a_token_there_is_a_form_and_nothing_else(page: ClusterPage) -> None:
    for path in ("/", "/clusters/team-a/apple", "/events", "/accounts"):
        answer = page.get(path)
        assert answer.status_code == 401 and 'name="token"' in answer.text, path
        assert "Cookie" not in str(answer.headers)
    wrong = page.get("/", "wrong")
    assert wrong.status_code == 401 and "does not accept the token" in wrong.text
    for method in ("POST", "PUT", "DELETE"):
        assert requests.request(method, f"{page.root}/", headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 405
    policy = page.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "form-action 'self'" in policy


def test_token_of_the_form_becomes_a_session(page: ClusterPage, tokens: dict[str, str]) -> None:
    answer = page.sign_in(tokens["alice"], next="/clusters/team-a/apple")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/clusters/team-a/apple")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=") and "; HttpOnly; SameSite=Strict; Path=/; Max-Age=" in cookie and "Secure" not in cookie
    assert tokens["alice"] not in cookie and tokens["alice"].split(".")[1] not in cookie
    value = cookie.split(";")[0].split("=", 1)[1]
    landing = page.get("/", cookies={COOKIE: value})
    assert landing.status_code == 200 and "apple" in landing.text and "banana" not in landing.text
    assert "Signed in as system:serviceaccount:team-a:alice" in landing.text
    assert page.get("/", cookies={COOKIE: value[:-2] + "AA"}).status_code == 401
    behind_tls = page.sign_in(tokens["alice"], {"Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
    assert behind_tls.startswith(f"__Host-{COOKIE}=") and behind_tls.endswith("; Secure")
    elsewhere = page.sign_in(tokens["alice"], next="//evil.example/")
    assert elsewhere.headers["Location"] == "/"
    log = page.log.read_text()
    assert "has signed in" in log and "system:serviceaccount:team-a:alice" in log and tokens["alice"].split(".")[2] not in log


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_form_of_another_origin_is_refused(page: ClusterPage, tokens: dict[str, str], headers: dict[str, str]) -> None:
    for path in ("/login", "/logout"):
        answer = requests.post(page.root + path, data={"token": tokens["alice"]}, headers=headers, timeout=10, allow_redirects=False)
        assert answer.status_code == 403 and "Set-Cookie" not in answer.headers, path


def test_wrong_token_in_the_form_is_refused_with_what_to_do(page: ClusterPage) -> None:
    answer = page.sign_in("wrong")
    assert answer.status_code == 401 and "does not accept this token" in answer.text and "Set-Cookie" not in answer.headers
    assert page.sign_in("").status_code == 400
    assert page.sign_in("x" * 100_000).status_code in (400, 413)


def test_many_wrong_tokens_are_refused_for_a_while(page: ClusterPage, tokens: dict[str, str]) -> None:
    attacker = {"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": "198.51.100.7"}
    answers = [page.sign_in(f"guess-{number}", attacker).status_code for number in range(21)]
    assert answers == [401] * 20 + [429]
    assert page.get("/", tokens["alice"]).status_code == 200, "others are not shut out"


def test_session_in_a_browser(page: ClusterPage, tokens: dict[str, str]) -> None:
    with started_browser() as browser:
        tab = browser.new_page()
        problems: list[str] = []
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" and "401" not in message.text else None)
        tab.set_default_timeout(20_000)
        tab.goto(f"{page.root}/clusters/team-a/apple")
        tab.get_by_label("Token").fill(tokens["alice"])
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.get_by_role("heading", name="apple", level=1)).to_be_visible()
        expect(tab.locator("#live")).to_have_text("Live")
        tab.get_by_role("link", name="Sign out").click()
        tab.get_by_role("button", name="Sign out").click()
        expect(tab.get_by_label("Token")).to_be_visible()
        tab.goto(page.root)
        expect(tab.get_by_label("Token")).to_be_visible()
        assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_forms(page: ClusterPage, tokens: dict[str, str], scheme: str) -> None:
    with started_browser() as browser:
        tab = browser.new_context(color_scheme=scheme).new_page()
        tab.set_default_timeout(20_000)
        for width in (360, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(f"{page.root}/login")
            assert serious_violations(tab) == [], f"the form at {width}"
            # With what was wrong.
            tab.get_by_label("Token").fill("wrong")
            tab.keyboard.press("Enter")
            expect(tab.get_by_role("alert")).to_be_visible()
            assert serious_violations(tab) == [], f"the form with a problem at {width}"
        tab.get_by_label("Token").fill(tokens["alice"])
        tab.keyboard.press("Enter")
        tab.get_by_role("link", name="Sign out").click()
        expect(tab.get_by_role("button", name="Sign out")).to_be_visible()
        assert serious_violations(tab) == [], "the form to sign out"


def test_revoked_token_ends_its_stream_and_its_session(on: Environment, page: ClusterPage, tokens: dict[str, str]) -> None:
    token = person(on.api, "mallory", "team-a", ("team-a", "keelson-view"))
    until(lambda: "apple" in page.get("/", token).text, REVOKED_SECONDS, "the binding")
    value = page.sign_in(token).headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
    mallory, alice = page.stream(token), page.stream(tokens["alice"])
    until(lambda: "connected" in mallory.text and "connected" in alice.text, 10, "the streams")
    # A bound object that is gone revokes the token.
    on.api.delete("v1", "ServiceAccount", "mallory", "team-a")
    until(lambda: mallory.has_ended, REVOKED_SECONDS, "the end of the stream")
    assert not alice.has_ended
    assert page.get("/", token).status_code == 401
    ended = page.get("/", cookies={COOKIE: value})
    assert ended.status_code == 401 and "has ended" in ended.text and "Max-Age=0" in ended.headers["Set-Cookie"]


def test_revoked_binding_ends_what_is_shown(on: Environment, page: ClusterPage) -> None:
    token = person(on.api, "trudy", "team-b", ("team-a", "keelson-view"))
    until(lambda: "apple" in page.get("/", token).text, REVOKED_SECONDS, "the binding")
    trudy = page.stream(token)
    on.api.delete("rbac.authorization.k8s.io/v1", "RoleBinding", "trudy-keelson-view", "team-a")
    until(lambda: trudy.changes >= 1, REVOKED_SECONDS, "the stream")
    assert "apple" not in page.get("/", token).text and not trudy.has_ended


def test_nothing_is_shown_when_the_api_server_does_not_answer(cloud: PageCloud, tokens: dict[str, str], tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "nowhere.kubeconfig", f"https://127.0.0.1:{free_port()}", cloud.management.ca_file, token="x")
    with ClusterPage(kubeconfig, cloud.directory, wait=False) as page:
        until(lambda: reached(page), 20, "the page")
        answer = page.get("/", tokens["alice"])
        assert answer.status_code == 503 and "The API server of this cluster does not answer" in answer.text and answer.headers["Retry-After"]
        assert page.get("/readyz").status_code == 503


def reached(page: ClusterPage) -> bool:
    try:
        return page.get("/healthz").ok
    except requests.ConnectionError:
        return False


def test_other_names_are_refused_if_its_own_are_given(cloud: PageCloud, page: ClusterPage, tokens: dict[str, str]) -> None:
    with ClusterPage(page_kubeconfig(cloud), cloud.directory, "--ui-host=fleet.example.com") as named:
        assert named.get("/", tokens["alice"]).status_code == 421
        assert named.get("/", tokens["alice"], headers={"Host": "fleet.example.com"}).status_code == 200


def page_kubeconfig(cloud: PageCloud) -> Path:
    return cloud.directory / "page.kubeconfig"


def test_replicas_with_one_key_know_each_others_sessions(cloud: PageCloud, page: ClusterPage, tokens: dict[str, str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    with (
        ClusterPage(page_kubeconfig(cloud), cloud.directory, f"--ui-session-key-file={key}") as one,
        ClusterPage(page_kubeconfig(cloud), cloud.directory, f"--ui-session-key-file={key}") as other,
    ):
        value = one.sign_in(tokens["alice"]).headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
        assert [replica.get("/", cookies={COOKIE: value}).status_code for replica in (one, other, page)] == [200, 200, 401]


def test_operator_serves_the_page_too(cloud: PageCloud, on: Environment, tokens: dict[str, str]) -> None:
    """With the ClusterRole of deploy/ui bound to it; the standby serves it as well."""
    binding = copy.deepcopy(next(item for item in kustomize.build(DEPLOY / "ui") if item["kind"] == "ClusterRoleBinding"))
    binding["metadata"]["name"] = "keelson-ui-controller"
    binding["subjects"][0]["name"] = "keelson"
    on.apply(binding)
    # An operator would change the status of the others.
    for namespace, name in (("team-a", "apple"), ("team-b", "banana")):
        on.api.patch(API, "EksCluster", name, {"spec": {"suspend": True}}, namespace)
    ports = [free_port(), free_port()]
    start = lambda port: on.start(f"--ui-listen=127.0.0.1:{port}", name=f"keelson-{port}")  # noqa: E731
    replicas = [start(ports[0])]
    watches = lambda: [cloud.open_watches(resource) for resource in WATCHED]  # noqa: E731
    try:
        until(lambda: "keelson_leader 1" in replicas[0].metrics(), 30, "the lease")
        # The page of a leader shows what the operator reads, and that of a standby watches.
        until(lambda: watches() == [1, 1, 1, 1], 30, "one watch of each kind")
        stays(lambda: max(watches()) <= 1, SILENCE_SECONDS, "one watch of each kind")
        replicas.append(start(ports[1]))
        until(lambda: watches() == [2, 2, 2, 2], 30, "the watches of the standby")
        for port in ports:
            root = f"http://127.0.0.1:{port}"
            until(lambda root=root: "apple" in get(root, "/", tokens["alice"]).text, 30, "the page")
            found = everything_of(get(root, "/", tokens["alice"]))
            assert "banana" not in found and "team-b" not in found
            assert get(root, "/").status_code == 401
            assert_follows(on, root, tokens["alice"], f"seen-by-{port}")
        # The other takes over, and its page goes on.
        replicas[0].stop()
        assert_follows(on, root, tokens["alice"], "during-the-change")
        until(lambda: "keelson_leader 1" in replicas[1].metrics(), 30, "the lease")
        assert_follows(on, root, tokens["alice"], "after-the-change")
        until(lambda: watches() == [1, 1, 1, 1], 30, "the watches of the new leader")
    finally:
        for replica in replicas:
            replica.stop()


def assert_follows(on: Environment, root: str, token: str, mark: str) -> None:
    """A change shows on the page."""
    on.api.patch(API, "EksCluster", "apple", {"metadata": {"labels": {"mark": mark}}}, "team-a")
    until(lambda: mark in get(root, "/clusters/team-a/apple", token).text, 10, f"the label {mark}")


# Memory


def test_thousand_clusters_are_a_small_process(tmp_path: Path) -> None:
    server = ManyClusters(tmp_path, 1000, is_rich=True)
    used = lambda: page.anonymous_bytes() / 1e6  # noqa: E731
    paths = ("/nodegroups/team-39/cluster-00999-1", "/clusters/team-39/cluster-00999", "/", "/?state=blocked&sort=-since")
    try:
        with ClusterPage(server.kubeconfig, tmp_path) as page:
            # The last of the node groups.
            until(lambda: page.get(paths[0], "token").status_code == 200, 60, "the list of the node groups")
            assert all(page.get(path, "token").status_code == 200 for path in paths)
            streams = [page.stream("token") for _ in range(STREAMS)]
            until(lambda: all("connected" in stream.text for stream in streams), 20, "the streams")
            stays(lambda: used() <= MEGABYTES, SILENCE_SECONDS, f"at most {MEGABYTES} MB")
            print(f"{used():.1f} MB for 1000 clusters and 2000 node groups, a viewer with {STREAMS} tabs")
    finally:
        server.stop()


# deploy/ui


def of_page(kind: str) -> dict:
    return next(item for item in kustomize.build(DEPLOY / "ui") if item["kind"] == kind)


def test_api_server_accepts_every_object_and_the_pods_are_restricted(on: Environment) -> None:
    items = kustomize.build(DEPLOY / "ui")
    for item in items:
        assert strict_dry_run(on.api, item)["metadata"]["name"] == ACCOUNT
    assert {item["kind"] for item in items} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Deployment", "Service", "NetworkPolicy"}
    template = of_page("Deployment")["spec"]["template"]
    strict_dry_run(on.api, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": NAMESPACE, **template["metadata"]}, "spec": template["spec"]})
    labels = template["metadata"]["labels"].items()
    assert of_page("Service")["spec"]["selector"].items() <= labels
    assert of_page("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_what_is_granted_is_what_the_page_calls(cloud: PageCloud, page: ClusterPage, tokens: dict[str, str]) -> None:
    page.get("/", tokens["alice"])
    rules = of_page("ClusterRole")["rules"]
    granted = {
        Permission(group, resource, verb)
        for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    until(lambda: used_permissions(cloud.requests_of(PAGE_USER)) == granted, 60, f"calls of all of {sorted(map(str, granted))}")
    denied = [(entry["verb"], entry["requestURI"]) for entry in cloud.requests_of(PAGE_USER) if entry["responseStatus"]["code"] in (401, 403)]
    assert denied == []
