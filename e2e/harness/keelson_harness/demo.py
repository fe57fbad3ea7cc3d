"""`make demo` and `make dev`: creates a cluster that syncs Git from one manifest, and deletes it again.

Everything shown is read back from the management API, the workload cluster, or the AWS
account (boto3). `--stay` pauses before the deletion and leaves everything running; `--empty`
leaves an environment without a cluster running, for docs/tutorial.md.
"""

import argparse
import json
import os
import signal
import socketserver
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import yaml

from .aws import Durations
from .cloud import LocalCloud
from .controller import Controller
from .fleet_page import FleetPage
from .git import Repository
from .kubeapi import ApiError, Timeout, documents
from .kubernetes import ControlPlane
from .paths import CHECKOUT, CRDS, DEPLOY, EXAMPLES, NotBuilt, keelson_binary
from .processes import NotReady
from .trace_text import trace_text
from .transcript import CommandFailed, Conditions, Kubectl, Transcript

API = "keelson.dev/v1alpha1"
CLUSTER = (API, "EksCluster", "demo")
NODES = (API, "NodeGroup", "demo-default")
GREETING = ("v1", "ConfigMap", "greeting", "shop")
READY_SECONDS = 400
GONE_SECONDS = 300
SYNC_SECONDS = 180
# A minute in the example; shorter here, to keep the demo short.
GIT_INTERVAL = "2s"
OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def greeting(text: str) -> dict[str, str]:
    """The files of this cluster in the fleet repository."""
    namespace, name = GREETING[3], GREETING[2]
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"text": text},
        },
    ]
    return {"clusters/demo/shop.yaml": yaml.safe_dump_all(items, sort_keys=False)}


def minimal_manifest(url: str) -> list[dict]:
    """`examples/minimal.yaml` with this Git URL and a shorter interval."""
    items = documents(EXAMPLES / "minimal.yaml")
    for item in items:
        if item["kind"] == "EksCluster":
            item["spec"]["gitops"]["flux"]["source"]["git"].update(url=url, interval=GIT_INTERVAL)
    return items


def collect_traces(cloud: LocalCloud, path: Path) -> str:
    """Starts a collector of traces, which keeps the file current. Returns its address."""
    collector = cloud.collector()
    path.touch()

    def write() -> None:
        new = path.with_suffix(".new")
        new.write_text(trace_text(collector.traces()))
        new.replace(path)

    collector.received = write
    return collector.url


class Demo:
    def __init__(self, transcript: Transcript, cloud: LocalCloud):
        self.transcript = transcript
        self.cloud = cloud
        self.api = cloud.management.api
        self.kubectl = self.kubectl_of(cloud.management)
        self.fleet: Repository = cloud.git.repository("fleet")
        self.conditions = Conditions(transcript, self.api, [CLUSTER, NODES])
        self.controller: Controller
        # What receives traces as text, in an environment that stays.
        self.traces: Path | None = None

    def kubectl_of(self, plane: ControlPlane) -> Kubectl:
        return Kubectl(self.transcript, plane.kubeconfig, plane.api, self.cloud.directory / "kubectl")

    def start_operator(self) -> None:
        """Installs what else `deploy/` installs, and starts the operator."""
        self.cloud.install_policies()
        env = {"KEELSON_ALLOW_AMBIENT_ACCOUNT": "false"}
        if self.traces:
            env[OTLP_ENDPOINT] = collect_traces(self.cloud, self.traces)
        self.controller = self.cloud.operator(env=env)
        self.transcript.log(f"keelson runs as process {self.controller.pid}, log {self.controller.log}")

    def start_page(self) -> FleetPage:
        """The fleet page, to watch all of it in a browser."""
        page = FleetPage(self.cloud.management, self.cloud.directory)
        self.transcript.log(f"the fleet page, to watch in a browser: {page.address}")
        return page

    def start_empty(self) -> None:
        """The operator and an empty repository, without a cluster."""
        self.transcript.chapter("The operator starts")
        self.fleet.commit({"README.md": "Directories of clusters: clusters/NAME.\n"}, message="Begin")
        self.start_operator()
        self.controller.wait_ready()

    def bring_up(self) -> None:
        """Applies the manifest and waits until the cluster has applied the commit."""
        transcript = self.transcript
        transcript.chapter("A directory for the cluster is committed to the fleet repository")
        commit = self.fleet.commit(greeting("hello from Git"), message="Add clusters/demo")
        transcript.log(f"committed {commit[:8]} to {self.fleet.url}")
        for name, text in greeting("hello from Git").items():
            transcript.command(f"cat {name}")
            transcript.show(text)

        transcript.chapter("The operator starts, and the manifest is applied")
        self.start_operator()
        manifest = minimal_manifest(self.fleet.url)
        path = self.cloud.directory / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(manifest, sort_keys=False))
        transcript.log("examples/account.yaml defines which namespaces may use the AWS account:")
        self.kubectl.apply(EXAMPLES / "account.yaml")
        transcript.log("examples/minimal.yaml, with the local Git repository in it:")
        transcript.show(path.read_text())
        self.kubectl.apply(path)

        transcript.chapter("Conditions change until both are Ready")

        def both_ready(now: dict) -> bool:
            if not self.controller.alive:
                raise NotReady(f"the operator ended with {self.controller.process.returncode}\n"
                               f"{self.controller.process.tail()}")
            return all(item and _ready(item) for item in now.values())

        self.conditions.until(both_ready, READY_SECONDS)
        transcript.log("Ready")
        self.kubectl.get(CLUSTER[:2], NODES[:2])
        self.kubectl.get(CLUSTER[:2], wide=True)

    def follow_git(self) -> None:
        transcript, plane = self.transcript, self.cloud.workloads.control_plane(CLUSTER[2])
        workload_kubectl = self.kubectl_of(plane)
        transcript.chapter("The workload cluster has the objects from Git")
        workload_kubectl.get_yaml(*GREETING)
        transcript.chapter("A commit is pushed and applied")
        commit = self.fleet.commit(greeting("hello again"), message="Change the greeting")
        transcript.log(f"pushed {commit[:8]}")
        plane.api.wait(
            *GREETING[:3],
            lambda item: item["data"]["text"] == "hello again",
            GREETING[3],
            SYNC_SECONDS,
            f"commit {commit[:8]}",
        )
        transcript.log("applied")
        workload_kubectl.get_yaml(*GREETING)
        self.conditions.until(
            lambda now: commit in _applied_revision(now["EksCluster/demo"]), SYNC_SECONDS
        )
        self.kubectl.get(CLUSTER[:2])

    def tear_down(self) -> None:
        transcript = self.transcript
        transcript.chapter("Both are deleted")
        self.kubectl.delete([NODES, CLUSTER])
        self.conditions.until(lambda now: not any(now.values()), GONE_SECONDS)
        transcript.log("deleted")
        transcript.chapter("The AWS account is empty")
        show_empty_account(transcript, self.cloud)


def _ready(item: dict) -> bool:
    found = [c for c in item.get("status", {}).get("conditions", []) if c["type"] == "Ready"]
    generation = item["metadata"]["generation"]
    return any(c["status"] == "True" and c.get("observedGeneration") == generation for c in found)


def _applied_revision(item: dict | None) -> str:
    return ((item or {}).get("status", {}).get("gitops") or {}).get("lastAppliedRevision") or ""


def show_empty_account(transcript: Transcript, cloud: LocalCloud) -> None:
    """Prints what is left in the account; fails if there is anything."""
    for question, answer in account_contents(cloud).items():
        transcript.log(f"{question:20} {', '.join(answer) or 'none'}")
    left = cloud.aws.inventory()
    if not left["empty"]:
        raise Timeout(f"the account is not empty:\n{json.dumps(left['accounts'], indent=2)}")
    calls = cloud.aws.calls()
    writes = sum(1 for call in calls if call["write"])
    transcript.log(f"in all {len(calls)} AWS calls, {writes} of them writes")


def account_contents(cloud: LocalCloud) -> dict[str, list[str]]:
    """What boto3 finds in the account, without what every AWS account has by default."""
    ec2, eks, iam = (cloud.aws.client(name) for name in ("ec2", "eks", "iam"))
    not_default = [{"Name": "is-default", "Values": ["false"]}]
    not_default_subnets = [{"Name": "default-for-az", "Values": ["false"]}]
    existing_gateways = [
        {"Name": "state", "Values": ["pending", "available", "deleting", "failed"]},
    ]
    providers = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return {
        "EKS clusters": eks.list_clusters()["clusters"],
        "VPCs": [vpc["VpcId"] for vpc in ec2.describe_vpcs(Filters=not_default)["Vpcs"]],
        "subnets": [
            subnet["SubnetId"] for subnet in ec2.describe_subnets(Filters=not_default_subnets)["Subnets"]
        ],
        "NAT gateways": [
            gateway["NatGatewayId"]
            for gateway in ec2.describe_nat_gateways(Filters=existing_gateways)["NatGateways"]
        ],
        "internet gateways": [
            gateway["InternetGatewayId"]
            for gateway in ec2.describe_internet_gateways()["InternetGateways"]
        ],
        "addresses": [
            address["AllocationId"] for address in ec2.describe_addresses()["Addresses"]
        ],
        "IAM roles": [
            role["RoleName"]
            for role in iam.list_roles()["Roles"]
            if not role["Path"].startswith("/aws-service-role/")
        ],
        "OIDC providers": [provider["Arn"] for provider in providers],
    }


def missing_parts() -> list[str]:
    """Files that the demo needs and the checkout lacks."""
    parts = {
        CRDS: "the CRDs",
        DEPLOY / "rbac.yaml": "the operator's roles",
        DEPLOY / "kustomization.yaml": "the admission policies and roles for people",
        EXAMPLES / "account.yaml": "the AWS account",
        EXAMPLES / "minimal.yaml": "the manifest to apply",
    }
    return [
        f"{path.relative_to(CHECKOUT)} ({what}) is missing"
        for path, what in parts.items()
        if not Path(path).exists()
    ]


def run(stay: bool, empty: bool = False) -> None:
    transcript = Transcript()
    if missing := missing_parts():
        raise NotBuilt("; ".join(missing))
    keelson_binary()
    transcript.chapter("The local cloud starts: AWS, the management cluster's API server, Git")
    with LocalCloud(durations=Durations(), workload_each=True, log=transcript.log) as cloud:
        demo = Demo(transcript, cloud)
        # Whoever has a collector gets the traces there.
        if (stay or empty) and OTLP_ENDPOINT not in os.environ:
            demo.traces = cloud.directory / "traces.txt"
        # What it shows is defined there.
        cloud.install_crds()
        with demo.start_page():
            if empty:
                demo.start_empty()
            else:
                demo.bring_up()
                demo.follow_git()
            if stay or empty:
                transcript.chapter("Everything keeps running until Ctrl-C")
                print(cloud.describe(demo.fleet, {"TRACES": str(demo.traces)} if demo.traces else None), flush=True)
                threading.Event().wait()
            demo.tear_down()
        transcript.log("done")


def main() -> None:
    parser = argparse.ArgumentParser(prog="keelson-demo", description=__doc__.splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--empty", action="store_true", help="only start the environment, and leave it running until Ctrl-C")
    args = parser.parse_args()
    run_interruptible(lambda: run(args.stay, args.empty), stays=args.stay or args.empty)


def run_interruptible(action: Callable[[], None], stays: bool) -> None:
    """Runs it as a program: SIGTERM and Ctrl-C stop everything, errors are printed. stays: until Ctrl-C, which then is no failure."""
    report = socketserver.BaseServer.handle_error

    def report_unless_closed(server: socketserver.BaseServer, request: object, address: object) -> None:
        # A client that ended, as all do after Ctrl-C.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            report(server, request, address)

    def interrupt(*_: object) -> None:
        # What threads were waiting for ends now.
        threading.excepthook = lambda _: None
        raise KeyboardInterrupt

    socketserver.BaseServer.handle_error = report_unless_closed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts background processes with SIGINT ignored, which Python would keep.
    signal.signal(signal.SIGINT, interrupt)
    try:
        action()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(0 if stays else 130)
    except (NotBuilt, NotReady, Timeout, ApiError, CommandFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
