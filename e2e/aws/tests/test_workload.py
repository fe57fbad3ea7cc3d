"""Nodes and system workloads in the workload cluster, whose API server is a small fake here."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cloud, Server


class FakeApi(ThreadingHTTPServer):
    """Stores created objects by path until they are deleted; requires the token."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        objects = self.objects

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int) -> None:
                self.send_response(status if self.headers["Authorization"] == "Bearer admin" else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path = f"{self.path}/{body['metadata']['name']}"
                self.answer(409 if path in objects else 201)
                objects.setdefault(path, body)

            def do_PATCH(self) -> None:
                path = self.path.removesuffix("/status")
                self.answer(200 if path in objects else 404)
                merge(objects[path], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                """All objects of a kind, in all namespaces."""
                plural = self.path.rpartition("/")[2]
                items = [item for path, item in list(objects.items()) if f"/{plural}/" in path]
                body = json.dumps({"items": items}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_DELETE(self) -> None:
                self.answer(200 if objects.pop(self.path, None) else 404)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def merge(item: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            merge(item[key], value)
        else:
            item[key] = value


@pytest.fixture
def api() -> Iterator[FakeApi]:
    running = FakeApi()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def kubeconfig_of(api: FakeApi, path: Path) -> str:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "admin"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_nodes_are_created_and_deleted_with_their_instances(api: FakeApi, tmp_path: Path) -> None:
    server = Server(tmp_path, WORKLOAD_KUBECONFIG=kubeconfig_of(api, tmp_path / "kubeconfig"))
    try:
        cloud = Cloud(server, "300000000002")
        cloud.cluster(version="1.34")
        nodes = cloud.nodegroup(labels={"a": "b"}, taints=[{"key": "t", "value": "x", "effect": "NO_SCHEDULE"}])

        def of_kind(kind: str) -> list[dict[str, Any]]:
            return [o for o in list(api.objects.values()) if o["kind"] == kind]

        found = cloud.until(lambda: len(of_kind("Node")) == 2 and of_kind("Node"))
        instances = [i for r in cloud.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        ids = {f"aws:///{i['Placement']['AvailabilityZone']}/{i['InstanceId']}" for i in instances}
        assert {node["spec"]["providerID"] for node in found} == ids
        for node in found:
            assert {"type": "Ready", "status": "True"}.items() <= node["status"]["conditions"][0].items()
            assert node["metadata"]["labels"]["eks.amazonaws.com/nodegroup"] == nodes["nodegroupName"]
            assert node["metadata"]["labels"]["a"] == "b"
            assert node["spec"]["taints"] == [{"key": "t", "value": "x", "effect": "NoSchedule"}]
            assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.34.")
        assert {o["metadata"]["name"] for o in of_kind("DaemonSet")} == {"aws-node", "kube-proxy"}
        assert [o["metadata"]["name"] for o in of_kind("Deployment")] == ["coredns"]
        server.post("settings", {"NODEGROUP_SECONDS": 4})
        cloud.update_done(cloud.eks.update_cluster_version(name="demo", version="1.35"))
        update = cloud.eks.update_nodegroup_version(clusterName="demo", nodegroupName="nodes", version="1.35")

        def in_the_middle() -> bool:
            """Old nodes are cordoned, new ones exist; labels are unchanged."""
            cordoned = [n for n in of_kind("Node") if n["spec"]["unschedulable"]]
            new = [n for n in of_kind("Node") if n["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.35.")]
            return bool(cordoned and new) and all(n["metadata"]["labels"]["a"] == "b" for n in [*cordoned, *new])

        cloud.until(in_the_middle)
        assert cloud.update_done(update, nodegroupName="nodes")["status"] == "Successful"
        cloud.until(lambda: [n["status"]["nodeInfo"]["kubeletVersion"][:6] for n in of_kind("Node")] == ["v1.35."] * 2)
        server.post("settings", {"NODEGROUP_SECONDS": 0.12})
        cloud.eks.update_nodegroup_config(clusterName="demo", nodegroupName="nodes", labels={"removeLabels": ["a"]})
        cloud.until(lambda: all("a" not in n["metadata"]["labels"] for n in of_kind("Node")))
        cloud.until(lambda: cloud.describe_nodegroup()["status"] == "ACTIVE")
        cloud.eks.delete_nodegroup(clusterName="demo", nodegroupName="nodes")
        cloud.until(lambda: not of_kind("Node"))
        cloud.gone(cloud.eks.describe_nodegroup, clusterName="demo", nodegroupName="nodes")
        cloud.eks.delete_cluster(name="demo")
        cloud.until(lambda: not api.objects)
    finally:
        server.stop()


def test_nodes_are_ready_once_a_cni_runs(api: FakeApi, tmp_path: Path) -> None:
    server = Server(tmp_path, WORKLOAD_KUBECONFIG=kubeconfig_of(api, tmp_path / "kubeconfig"))
    try:
        cloud = Cloud(server, "300000000006")

        def state() -> set[str]:
            nodes = [o for o in list(api.objects.values()) if o["kind"] == "Node"]
            return {f"{n['status']['conditions'][0]['status']} {[t['key'] for t in n['spec']['taints']]}" for n in nodes}

        def daemon_sets() -> set[str]:
            return {o["metadata"]["name"] for o in list(api.objects.values()) if o["kind"] == "DaemonSet"}

        # EKS's own add-on makes them Ready: a cluster without the self-managed ones has no DaemonSet before.
        cloud.cluster(bootstrapSelfManagedAddons=False)
        role = cloud.node_role()
        cloud.nodegroup("first", wait=False, nodeRole=role)
        cloud.until(lambda: state() == {"False ['node.kubernetes.io/not-ready']"})
        cloud.stays(lambda: cloud.describe_nodegroup("first")["status"] == "CREATING" and not daemon_sets())
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
        cloud.until(lambda: state() == {"True []"} and daemon_sets() == {"aws-node"})
        cloud.until(lambda: cloud.describe_nodegroup("first")["status"] == "ACTIVE")
        # Preserved software stays.
        cloud.eks.delete_addon(clusterName="demo", addonName="vpc-cni", preserve=True)
        cloud.gone(cloud.eks.describe_addon, clusterName="demo", addonName="vpc-cni")
        cloud.stays(lambda: state() == {"True []"} and daemon_sets() == {"aws-node"})
        cloud.eks.create_addon(clusterName="demo", addonName="vpc-cni")
        cloud.until(lambda: cloud.addon_status("vpc-cni") == "ACTIVE")
        cloud.eks.delete_addon(clusterName="demo", addonName="vpc-cni")
        cloud.until(lambda: state() == {"False ['node.kubernetes.io/not-ready']"} and not daemon_sets())
        # So does that of others.
        api.objects["/apis/apps/v1/namespaces/kube-system/daemonsets/cilium"] = {"kind": "DaemonSet", "metadata": {"name": "cilium"}}
        cloud.until(lambda: state() == {"True []"})
        del api.objects["/apis/apps/v1/namespaces/kube-system/daemonsets/cilium"]
        # EKS does not wait for ever.
        server.post("settings", {"NODE_READY_SECONDS": 0.3})
        cloud.until(lambda: state() == {"False ['node.kubernetes.io/not-ready']"})
        found = cloud.nodegroup("late", nodeRole=role)
        assert found["status"] == "CREATE_FAILED"
        assert [(i["code"], i["message"]) for i in found["health"]["issues"]] == [
            ("NodeCreationFailure", "Unhealthy nodes in the kubernetes cluster")
        ]
    finally:
        server.stop()


def test_kubelet_follows_the_node_config_of_the_launch_template(api: FakeApi, tmp_path: Path) -> None:
    config = {
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {
            "kubelet": {
                "config": {"maxPods": 110, "registerWithTaints": [{"key": "gpu", "value": "a", "effect": "NoSchedule"}]},
                "flags": ["--node-labels=tier=db,zone=x"],
            }
        },
    }
    part = f"--B\nContent-Type: application/node.eks.aws\n\n{yaml.safe_dump(config)}\n--B--\n"
    text = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n{part}'
    settings = '[settings.kubernetes]\nmax-pods = 42\n[settings.kubernetes.node-labels]\ntier = "web"\n[settings.kubernetes.node-taints]\ndedicated = ["x:NoExecute"]\n'
    server = Server(tmp_path, WORKLOAD_KUBECONFIG=kubeconfig_of(api, tmp_path / "kubeconfig"))
    try:
        cloud = Cloud(server, "300000000005")
        cloud.cluster()
        role = cloud.node_role()
        for name, ami_type, user_data in (("linux", "AL2023_x86_64_STANDARD", text), ("bottle", "BOTTLEROCKET_x86_64", settings)):
            data = {"UserData": base64.b64encode(user_data.encode()).decode()}
            cloud.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
            cloud.nodegroup(name, nodeRole=role, amiType=ami_type, launchTemplate={"name": name}, labels={"of": "group"})
        nodes = Cloud.until(lambda: len(found := [o for o in list(api.objects.values()) if o["kind"] == "Node"]) == 4 and found)
        for node in nodes:
            labels, pods, taints = node["metadata"]["labels"], node["status"]["allocatable"]["pods"], node["spec"]["taints"]
            linux = labels["eks.amazonaws.com/nodegroup"] == "linux"
            assert labels["of"] == "group" and labels["tier"] == ("db" if linux else "web") and pods == ("110" if linux else "42")
            effect = {"key": "gpu", "value": "a", "effect": "NoSchedule"} if linux else {"key": "dedicated", "value": "x", "effect": "NoExecute"}
            assert taints == [effect]
    finally:
        server.stop()


def test_cluster_is_creating_until_its_own_api_server_is_posted(api: FakeApi, tmp_path: Path) -> None:
    other = FakeApi()
    threading.Thread(target=other.serve_forever, daemon=True).start()
    server = Server(tmp_path, WORKLOAD_EACH="true")
    (tmp_path / "ca.crt").write_text("a certificate")
    try:
        # Same name, in two accounts.
        clouds = [Cloud(server, account) for account in ("300000000003", "300000000004")]
        for cloud in clouds:
            cloud.cluster(wait=False)
        clouds[0].stays(lambda: {c["status"] for c in server.get("clusters")["clusters"]} == {"CREATING"})
        for cloud, served in zip(clouds, (api, other), strict=True):
            url = f"http://127.0.0.1:{served.server_port}"
            place = {"account": cloud.account, "region": cloud.region, "cluster": "demo"}
            files = {"caFile": str(tmp_path / "ca.crt"), "kubeconfig": kubeconfig_of(served, tmp_path / cloud.account)}
            server.post("api-servers", {**place, "endpoint": url, **files})
            cloud.until(lambda cloud=cloud: cloud.status() == "ACTIVE")
            assert cloud.describe()["endpoint"] == url
        clouds[0].nodegroup()
        Cloud.until(lambda: sum(o["kind"] == "Node" for o in list(api.objects.values())) == 2)
        Cloud.until(lambda: any(o["kind"] == "Deployment" for o in list(other.objects.values())))
        assert not [o for o in other.objects.values() if o["kind"] == "Node"]
    finally:
        other.shutdown()
        server.stop()


def test_only_the_named_clusters_wait_for_an_api_server(tmp_path: Path) -> None:
    server = Server(tmp_path, WORKLOAD_EACH="other,another")
    try:
        cloud = Cloud(server, "300000000003")
        cloud.cluster()
        assert cloud.describe()["endpoint"].endswith(".eks.amazonaws.com")
        cloud.nodegroup()
    finally:
        server.stop()


def test_posted_api_server_takes_precedence_over_the_shared_one(tmp_path: Path) -> None:
    """So a test can break the endpoint of one cluster."""
    (tmp_path / "ca.crt").write_text("a certificate")
    server = Server(tmp_path, WORKLOAD_ENDPOINT="https://shared:6443", WORKLOAD_CA_FILE=str(tmp_path / "ca.crt"))
    try:
        clouds = [Cloud(server, account) for account in ("300000000003", "300000000004")]
        for cloud in clouds:
            cloud.cluster()
        place = {"account": clouds[0].account, "region": clouds[0].region, "cluster": "demo"}
        server.post("api-servers", {**place, "endpoint": "https://other:6443", "caFile": str(tmp_path / "ca.crt"), "kubeconfig": ""})
        assert [cloud.describe()["endpoint"] for cloud in clouds] == ["https://other:6443", "https://shared:6443"]
    finally:
        server.stop()
