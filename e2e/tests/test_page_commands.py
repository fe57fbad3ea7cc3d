"""The commands of the pages about installation, operation and migration work: each page's own blocks, in one management cluster with the
operator of the chart. `fleet/guide.py` lists what is left out, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from charts.cloud import ChartCloud
from charts.monitoring import monitoring_crds
from fleet import restore
from fleet.account import fresh_account
from fleet.environment import Environment, until
from fleet.existing_clusters import Others
from fleet.guide import Guide
from fleet.manifests import cluster, key_of, namespace, node_group, secret
from fleet.shell import needs_tools
from fleet.upgrading import SMALL
from importing import clusters, terraform_state
from keelson_harness.aws import ACCOUNT, REGION, Durations
from keelson_harness.paths import CHECKOUT
from keelson_harness.processes import free_port
from reading import Reader, first_manifest
from reading.cluster_api import cluster_api_objects
from reading.installation import (
    DRY_RUN,
    INSTALL,
    SOON,
    active,
    create_event_queue,
    create_first_cluster,
    check_an_account,
    grant_permissions,
    install_with_helm,
    install_with_kustomize,
    render_the_chart,
)
from test_rollout_cli import Fleet

RUNBOOKS = "docs/runbooks.md"
SYSTEM, DEFAULT, TEAM, PAYMENTS, SHOP = "keelson-system", "default", "team", "team-payments", "team-shop"
NAMESPACES = (TEAM, PAYMENTS, SHOP, "team-a", "fleet", "monitoring", "clusters")
LOGS = "kubectl -n keelson-system logs deployment/keelson"
STEPS = "{range .status.plan.steps[*]}"
DEMO, DEMO_NODES = cluster("demo"), node_group("demo")


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    needs_tools("kubectl", "aws", "curl", "jq", "openssl")
    with ChartCloud(management_pods=True, durations=Durations(1, 2, 1, 1, 0.5, 0.5)) as cloud:
        environment = Environment(cloud)
        environment.api.apply_all([*monitoring_crds(), *map(namespace, NAMESPACES)])
        yield environment


@pytest.fixture(scope="module")
def reader(on: Environment, tmp_path_factory) -> Reader:
    return Reader.start(on, tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def shop(on: Environment, installed: None) -> tuple[dict, dict]:
    """A small cluster of a team."""
    items = cluster("shop", TEAM, version="1.36", **SMALL), node_group("shop", namespace=TEAM)
    on.apply(*items)
    return items


@pytest.fixture(scope="module", autouse=True)
def installed(on: Environment, reader: Reader) -> Iterator[None]:
    """What docs/install.md does, from the permissions in AWS to a first cluster; at the end everything is removed, as it says."""
    guide = Guide(INSTALL)
    grant_permissions(guide, reader)
    install_with_helm(guide, reader)
    check_an_account(guide, reader)
    create_first_cluster(guide, reader)
    create_event_queue(guide, reader)
    assert restore.installation(on) in reader.run(guide.take("configmap keelson-installation"))
    yield
    reader.run(guide.take("helm uninstall keelson"))
    assert not on.api.find("v1", "Namespace", SYSTEM)
    assert on.account(ACCOUNT).tagged() == {}
    render_the_chart(reader)
    install_with_kustomize(guide, reader)
    guide.end()


# Operation


def logs_instead(on: Environment) -> dict[str, str]:
    """Pods are processes here: their logs are files."""
    assert list(on.cloud.directory.glob("keelson-*.log"))
    return {LOGS: f"cat {on.cloud.directory}/keelson-*.log", " --since=10m": ""}


def found_nothing(command: str) -> str:
    """`grep` that does not find what it looks for, as in the log of an operator that works, is exit code 1. What it reads from must succeed."""
    read, _, search = command.rpartition(" | ")
    return f"{read} | {{ {search} || test $? = 1; }}" if read and search.startswith("grep ") else command


def test_commands_of_runbooks(on, reader):
    endpoint = on.status(DEMO)["endpoint"]
    queue = reader.account.client("sqs").get_queue_url(QueueName="keelson-events")["QueueUrl"]
    replace = {"NAMESPACE": DEFAULT, "NAME": "demo", "ENDPOINT": endpoint, "URL": queue, **logs_instead(on)}
    guide = Guide(RUNBOOKS, replace)
    reader.run(guide.take('(@.type=="Available")]}'))
    assert "demo" in reader.run(guide.take("describe ekscluster"))
    reader.run(guide.take("keelson.dev/reconcile-at"))
    for part in ('(@.type=="Stalled")]}', ".status.upgrade.message}{", '(@.type=="GitOpsReady")].message}', "list-insights", ".status.support}{"):
        reader.run(guide.take(part))
    shown = reader.run(guide.take("curl --insecure"))
    assert "ACTIVE" in shown and endpoint in shown and shown.endswith("ok"), shown
    accounts, account, credentials = guide.lines("describe awsaccount", demo="default")
    assert "default" in reader.run(accounts) and ACCOUNT in reader.run(account)
    reader.run(found_nothing(credentials))
    message, doctor = guide.lines("keelson doctor")
    assert "Kubernetes 1.36" in reader.run(message)
    assert "EksCluster default/demo" in reader.run(doctor)
    log, attributes = guide.lines("get-queue-attributes")
    reader.run(found_nothing(log))
    assert "keelson-events" in reader.run(attributes)
    pods, deployment = guide.lines("get pods -l app.kubernetes.io/name=keelson")
    assert reader.run(pods).count("Running") == 2 and "keelson" in reader.run(deployment)
    for part in ("get lease keelson", "readyz?verbose", "panicked|unsafe", "notifications:", "cannot be read"):
        for command in guide.lines(part):
            reader.run(found_nothing(command))
    on.apply({**Fleet(on, "main").rollout})
    status, releases = guide.lines("keelson rollout status", demo="main")
    assert "main" in reader.run(status)
    reader.run(releases)
    approve, approve_wave = guide.lines("keelson rollout approve", demo="main")
    assert "nothing waits for approval" in reader.run(approve.replace("main", "demo"))
    assert "nothing waits for an approval" in reader.run(approve_wave)
    on.delete(Fleet(on, "main").rollout)
    guide.end()


def test_runbooks_look_for_what_the_operator_logs():
    """No log of an operator that works has it."""
    source = "".join(path.read_text() for path in (CHECKOUT / "src").rglob("*.rs"))
    found = re.findall(r'logs deployment/keelson.*\| grep (-\w+ )?"?([^"\n]+)"?$', (CHECKOUT / RUNBOOKS).read_text(), re.MULTILINE)
    assert len(found) >= 6
    for flags, pattern in found:
        if pattern != "ERROR":  # The level.
            assert re.search(f'"[^"\n]*(?:{pattern})', source, re.IGNORECASE if "i" in flags else 0), pattern


def test_commands_that_look_at_clusters(on, reader):
    guide = Guide("docs/upgrading-keelson.md")
    assert "WINDOW" in reader.run(guide.take("custom-columns"))
    guide.end()
    guide = Guide("docs/how-to/other-tools.md")
    reader.run(guide.take("backstage.io/kubernetes-id"))
    assert on.api.get(*key_of(DEMO_NODES))["metadata"]["labels"]["backstage.io/kubernetes-id"] == "demo"
    guide.end()
    guide = Guide("docs/how-to/own-cni.md", {"demo.yaml": "cluster.yaml"})
    apply, status, wait = guide.lines("kubectl apply -f demo.yaml")
    reader.run(apply)
    reader.shell.watch(status, r"Ready \(Available\)")
    assert "condition met" in reader.run(wait)
    guide.end()


def test_commands_to_get_into_a_cluster(on, reader):
    guide = Guide("docs/how-to/cluster-access.md")
    assert " Ready " in reader.run(guide.take("keelson kubeconfig demo"))
    reader.run(guide.take("aws eks update-kubeconfig"))
    assert " Ready " in reader.run("kubectl --kubeconfig demo.kubeconfig get nodes")
    on.api.patch(*key_of(DEMO)[:3], {"spec": {"writeKubeconfigToSecretRef": {"name": "demo-kubeconfig"}}})
    until(lambda: "demo-kubeconfig" in on.condition(DEMO).get("message", ""), SOON, "the message")
    reader.run(guide.take("create role keelson-demo-kubeconfig"))
    on.reconcile(DEMO)
    until(lambda: on.api.find("v1", "Secret", "demo-kubeconfig", DEFAULT), SOON, "the kubeconfig")
    guide.end()


def test_commands_about_approvals_and_hooks(on, reader, shop):
    item = cluster("appr", version="1.36", changePolicy="Approval", **SMALL)
    on.apply(item)
    on.await_condition(item, status="False", reason="WaitingForApproval")
    guide = Guide("docs/policies.md", {"f582f36209a1c7de": on.status(item)["plan"]["hash"]})
    reader.run(guide.take("keelson.dev/approve="))
    until(lambda: on.status(item).get("arn"), SOON, "the cluster that was approved")
    guide.end()
    on.api.patch(*key_of(item)[:3], {"spec": {"changePolicy": "Automatic"}})
    on.api.delete(*key_of(item))

    hooks = Guide("docs/how-to/hooks.md")
    reader.run(hooks.take("--clusterrole=keelson-jobs"))
    reader.run(hooks.take("keelson.dev/skip-hook=backup"))
    on.apply(Fleet(on, "main").rollout)
    assert "no release has halted" in reader.run(f"! {hooks.take('keelson rollout retry main')}")
    hooks.end()
    on.delete(Fleet(on, "main").rollout)


def test_commands_about_secrets(reader):
    team, fleet = Guide("docs/gitops.md"), Guide("examples/fleet/README.md")
    for guide, name in ((team, "fleet"), (fleet, "fleet-git")):
        printed = reader.run(guide.take("secret generic"))
        assert f"secret/{name} created" in printed and f"secret/{name} labeled" in printed
    team.end()
    fleet.end()


def test_commands_that_upgrade_the_release(on, reader):
    guide = Guide("docs/how-to/notifications.md")
    assert "STATUS: deployed" in reader.run(guide.take("operator.notifications.url"))
    guide.end()
    assert {"--notify-url", "--notify-secret-file"} <= flags_of_the_operator(on)
    # The Secret would be a file, which a Pod that is a process does not get.
    reader.run("helm rollback keelson --namespace keelson-system")
    guide = Guide("docs/traces.md")
    assert "STATUS: deployed" in reader.run(guide.take("operator.otlp.endpoint"))
    guide.end()
    assert "--otlp-endpoint" in flags_of_the_operator(on)
    reader.run(f"kubectl -n {SYSTEM} rollout status deployment/keelson --timeout=90s")


def flags_of_the_operator(on: Environment) -> set[str]:
    (container,) = on.api.get("apps/v1", "Deployment", "keelson", SYSTEM)["spec"]["template"]["spec"]["containers"]
    return {argument.partition("=")[0] for argument in container["args"]}


def test_commands_of_the_fleet_page(on, reader):
    port = free_port()
    guide = Guide("docs/page.md", {"8081": str(port)})
    for command in guide.lines("keelson ui -n team-a"):
        reader.shell.watch(command, r"http://127\.0\.0\.1:\d+/\?token=\S+")
    own = free_port()
    with reader.shell.running(guide.take("keelson ui --no-browser --port", **{"8300": str(own)})) as terminal:
        address = re.search(r"http://\S+", terminal.until(rf"http://127\.0\.0\.1:{own}/\?token=\S+\s", SOON))[0]
        cookie, blocked, stream = guide.lines("curl -sfL -c cookies", **{"http://127.0.0.1:8300/?token=...": address, "8300": str(own)})
        reader.run(cookie)
        assert reader.run(found_nothing(blocked)).strip().isdigit()
        reader.shell.watch(stream, "data|event|connected")
    in_cluster = guide.take("kubectl apply -k deploy/ui")
    assert "deployment.apps/keelson-ui" in reader.run(in_cluster)
    reader.run(guide.take("create rolebinding fleet-page"))
    *setup, serve = guide.lines("keelson ui --in-cluster")
    reader.run("\n".join(setup))
    with reader.shell.running(serve) as terminal:
        ask = guide.take("Authorization: Bearer")
        until(lambda: "keelson-view" in reader.run(f"{ask} || true"), SOON, "an answer of the page")
        assert terminal.process.poll() is None, terminal.text
    reader.run(guide.take("keelson-ui-controller"))
    guide.end()


# Networks and accounts


def test_commands_to_use_an_existing_vpc(on, reader):
    guide = Guide("docs/how-to/existing-vpc.md")
    subnets = reader.account.network("abc")
    replace = {f"subnet-{n}a1b2c3d4e5f60718": subnet for n, subnet in enumerate([*subnets, subnets[-1]])}
    reader.run(guide.take("kubernetes.io/role/internal-elb", **replace))
    reader.account.ec2.create_tags(Resources=subnets, Tags=[{"Key": "tier", "Value": "private"}])
    vpc = reader.account.ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    manifests = [item for item in first_manifest("how-to/existing-vpc.md") if item["kind"] != "AwsAccount"]
    manifests[0]["spec"]["network"]["existing"]["vpcId"] = vpc
    reader.write("billing.yaml", *manifests)
    allow(on, allowedVpcIds=["*"])
    plan, apply = guide.lines("keelson plan -f billing.yaml --live")
    assert "8 to create, 0 to update, 0 to delete" in reader.run(plan)
    assert "ekscluster.keelson.dev/billing created" in reader.run(apply)
    guide.end()
    on.delete(*reversed(manifests))


def allow(on: Environment, **allowed: object) -> None:
    on.api.patch("keelson.dev/v1alpha1", "AwsAccount", "default", {"spec": allowed}, None)


def test_commands_to_create_a_private_cluster(reader):
    guide = Guide("docs/how-to/private-cluster.md")
    reader.write("vault.yaml", *first_manifest("how-to/private-cluster.md"))
    plan, apply = guide.lines("keelson plan -f vault.yaml")
    assert "VPC endpoint" in reader.run(plan)
    assert "ekscluster.keelson.dev/vault created (server dry run)" in reader.run(apply + DRY_RUN)
    guide.end()


def test_commands_to_use_several_accounts(on, reader):
    guide = Guide("docs/how-to/several-accounts.md", {"111111111111": ACCOUNT})
    reader.run_in("222222222222", guide.take("cat > trust.json"))
    reader.write("staging.yaml", *first_manifest("how-to/several-accounts.md"))
    doctor, apply, accounts = guide.lines("keelson doctor -f staging.yaml --live")
    role = "arn:aws:iam::222222222222:role/keelson"
    assert role in reader.run(f"{doctor} || true")
    reader.run(apply)
    staging = cluster("shop-staging", SHOP)
    assert re.search("staging.*222222222222", reader.run(accounts))
    guide.end()
    on.delete(staging)


def test_commands_to_plan_in_pull_requests(reader):
    guide = Guide("docs/how-to/plan-in-pull-requests.md")
    (reader.folder / "plan-policy.json").write_text('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"}]}')
    reader.run(guide.take("cat > plan-trust.json"))
    assert reader.account.iam.list_role_policies(RoleName="keelson-plan")["PolicyNames"] == ["read"]
    guide.end()


def test_commands_to_create_the_role_by_a_stack(on, reader):
    guide, account = Guide("deploy/iam/README.md"), fresh_account()
    reader.run_in(account, guide.take("--stack-name keelson-role"))
    assert on.account(account).iam.get_role(RoleName="keelson")
    guide.end()


# Migration


@pytest.fixture(scope="module")
def payments(reader: Reader) -> str:
    """A cluster of others."""
    return clusters.create(Others(reader.account), "payments", "general", {"terraform-aws-modules": "eks"})


def adopt(on: Environment, reader: Reader, guide: Guide, printed: str) -> None:
    """The steps that all pages about migration have, with the manifests in payments.yaml. printed: by `keelson import`."""
    allow(on, **{"allowedNamespaces": ["*"], **yaml.safe_load(printed.partition("must allow it:\n")[2])}, allowedRegions=None)
    allow(on, allowedNamespaces=["*"])
    # The commands of docs/install.md, which have been run.
    assert guide.lines("keelson-adoption") == Guide(INSTALL).lines("keelson-adoption")
    items = reader.read("payments.yaml")
    reader.write("payments.yaml", {**items[0], "spec": {**items[0]["spec"], "changePolicy": "Observe"}}, *items[1:])
    apply, steps = guide.lines(STEPS)
    reader.run(apply)
    shown = until(lambda: reader.run(steps), SOON, "the plan")
    assert {line.split()[0] for line in shown.splitlines()} == {"Adopt"}, shown
    reader.write("payments.yaml", *items)
    assert "condition met" in reader.run(guide.take("--for=condition=Ready"))


def release(on: Environment, reader: Reader) -> None:
    """What is retained can be adopted again."""
    items = reader.read("payments.yaml")
    on.ready(*items)
    on.delete(*reversed(items))
    assert active(reader, "payments")


def imported(reader: Reader, guide: Guide, imports: Guide, part: str) -> str:
    """Runs a block that writes payments.yaml, whose plan changes nothing; docs/import.md has the same. Returns what `keelson import` says to do."""
    *get, write, plan = guide.lines(part)
    assert imports.lines(part) == [*get, write, plan]
    printed = [reader.run(command) for command in (*get, write)][-1]
    assert reader.run(plan).count("0 to create, 0 to update, 0 to delete") == len(reader.read("payments.yaml"))
    return printed


def test_commands_to_migrate(on, reader, payments):
    guide, imports = Guide("docs/how-to/migrate-from-eksctl.md"), Guide("docs/import.md")
    reader.write("cluster.yaml", {
        "apiVersion": "eksctl.io/v1alpha5", "kind": "ClusterConfig", "metadata": {"name": "blue", "region": REGION, "version": "1.36"},
        "managedNodeGroups": [{"name": "general"}],
    })
    *create, apply = guide.lines("keelson import --eksctl")
    assert imports.lines("keelson import --eksctl") == create
    assert "EksCluster team-payments/blue" in reader.run("\n".join(create))
    assert "ekscluster.keelson.dev/blue created (server dry run)" in reader.run(apply + DRY_RUN)

    printed = imported(reader, guide, imports, "--region eu-west-1")
    adopt(on, reader, guide, printed)
    release(on, reader)
    guide.end()

    (reader.folder / "state.json").write_text(terraform_state.of(reader.account, "payments").shown())
    guide = Guide("docs/how-to/migrate-from-terraform.md")
    printed = imported(reader, guide, imports, "--terraform state.json")
    adopt(on, reader, guide, printed)
    release(on, reader)
    guide.end()

    names = cluster_api_objects(on, reader)
    guide = Guide("docs/how-to/migrate-from-cluster-api.md")
    reader.run(guide.take('{"spec":{"paused":true}}'))
    printed = imported(reader, guide, imports, "--capa objects.yaml")
    adopt(on, reader, guide, printed)
    reader.run(guide.take("remove()"))
    assert [name for kind, version, name in names if on.api.find(version, kind, name, "clusters")] == []
    status, objects = guide.lines("--query cluster.status")
    assert "ACTIVE" in reader.run(status) and "True" in reader.run(objects)
    items = reader.read("payments.yaml")
    on.delete(*reversed(items))
    guide.end()
    imports.end()


# Without the operator


def test_commands_of_people_while_the_operator_is_stopped(on, reader, shop):
    on.ready(*shop)
    with stopped(on, reader):
        rollouts(on, reader)
        emergency(on, reader)
        list_all = recovery(on, reader, shop)
    on.ready(*shop)
    assert "shop-default" in reader.run(list_all)


@contextmanager
def stopped(on: Environment, reader: Reader) -> Iterator[None]:
    scale = f"kubectl -n {SYSTEM} scale deployment keelson --replicas="
    reader.run(f"{scale}0")
    until(lambda: not operators(on), SOON, "the end of the operator")
    try:
        yield
    finally:
        reader.run(f"{scale}2\nkubectl -n {SYSTEM} rollout status deployment/keelson --timeout=90s")


def operators(on: Environment) -> list[dict]:
    """Its Pods, without those of the page."""
    return [pod for pod in on.api.list("v1", "Pod", SYSTEM) if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "keelson"]


def rollouts(on: Environment, reader: Reader) -> None:
    """The commands of docs/fleet.md, on a FleetRollout whose status the test writes."""
    fleet = Fleet(on, "main")
    fleet.make()
    on.apply(secret("prometheus", "fleet", use=None, token="t"))
    guide = Guide("docs/fleet.md")
    reader.run(guide.take("keelson.dev/use=prometheus"))
    fleet.halts()
    (retry,) = guide.lines("keelson rollout retry main")
    code, printed = reader.shell.answer(retry, "[y/N]", "y")
    assert code == 0 and fleet.annotation("keelson.dev/retry"), printed
    reader.run(guide.take("keelson.dev/retry=1.36/"))
    fleet.waits()
    (approve,) = guide.lines("keelson rollout approve main")
    code, printed = reader.shell.answer(approve, "[y/N]", "y")
    assert code == 0 and fleet.annotation("keelson.dev/approve"), printed
    reader.run(guide.take("keelson.dev/approve="))
    fleet.halts()
    promote, annotate = guide.lines("keelson rollout promote main")
    code, printed = reader.shell.answer(promote, "[y/N]", "y")
    assert code == 0 and fleet.annotation("keelson.dev/promote") == "1.36/canary", printed
    reader.run(annotate)
    guide.end()
    on.force_delete(fleet.rollout, *fleet.clusters.values())


def emergency(on: Environment, reader: Reader) -> None:
    """The finalizer of an object is removed by hand: docs/troubleshooting.md. What is in AWS stays."""
    guide = Guide("docs/troubleshooting.md")
    shown = reader.run(guide.take("kubectl describe ekscluster demo"))
    assert "demo-default" in shown and "status:" in shown
    reader.run(guide.take("keelson.dev/reconcile-at"))
    lost = cluster("lost", TEAM)
    on.apply({**lost, "metadata": {**lost["metadata"], "finalizers": ["keelson.dev/aws"]}})
    on.api.delete(*key_of(lost))
    reader.run(guide.take("keelson-finalizers", **{"ekscluster demo": f"ekscluster lost -n {TEAM}"}))
    assert not on.api.find(*key_of(lost))
    guide.end()


def recovery(on: Environment, reader: Reader, shop: tuple[dict, dict]) -> str:
    """The objects of a team are lost and applied again: docs/disaster-recovery.md and its how-to. Returns the last command, which shows the result."""
    restore.lose(on, *shop)
    on.api.delete("coordination.k8s.io/v1", "Lease", "keelson", SYSTEM)
    restore.from_git(on, *shop)
    guide, short = Guide("docs/disaster-recovery.md"), Guide("docs/how-to/disaster-recovery.md", {"prod-eu": restore.installation(on)})
    reader.run(short.take("KEELSON_INSTALLATION_ID="))
    assert "recoverable" in reader.run(guide.take("keelson recover --dry-run"))
    for command in guide.lines("keelson recover --all"):
        reader.run(command)
    *repeat, list_all = short.lines("keelson recover --all")
    for command in repeat:
        reader.run(command)
    guide.end()
    short.end()
    return list_all
