"""An API server that serves ten thousand clusters, and reviews for whoever looks at them: what it costs to show them, without what it costs to
store them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fleet import API
from fleet.page import condition, upgrading

PAGE = 20
REASONS = ("Available", "Available", "Available", "Available", "Creating", "AwsError", "Suspended", "NotOwned")


def one(number: int) -> dict:
    reason = REASONS[number % len(REASONS)] if number % 10 == 0 else "Available"
    message = "" if reason == "Available" else f"control plane: what is said of cluster {number} in a sentence of usual length, and what to do about it"
    region = ("eu-west-1", "eu-central-1", "us-east-1")[number % 3]
    return {
        "apiVersion": API,
        "kind": "EksCluster",
        "metadata": {
            "name": f"cluster-{number:05}", "namespace": f"team-{number % 40}", "uid": str(number), "resourceVersion": "1", "generation": 1,
            "labels": {"env": "prod" if number % 4 == 0 else "test", "team": f"team-{number % 40}"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"region": region, "version": "1.35", "accountRef": {"name": f"account-{number % 12}"}},
        "status": {
            "observedGeneration": 1, "accountId": f"{111122220000 + number % 12}", "version": f"1.{33 + number % 3}",
            "conditions": [condition("Ready", "True" if reason == "Available" else "False", reason, message)],
            "nodeGroups": {"ready": 2, "total": 2, "nodes": 9}, "gitops": {"revision": f"{number:07x}"},
        },
    }


def rich(number: int) -> dict:
    """One with all that an operator writes, and what it does not."""
    item = one(number)
    item["status"] = {**item["status"], **upgrading(), "certificateAuthority": "x" * 1400}
    item["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 2000}
    item["metadata"]["managedFields"] = [{"manager": "keelson", "operation": "Apply", "fieldsV1": {f"f:{field}": {} for field in range(200)}}]
    return item


def group(number: int) -> dict:
    """A node group; each cluster has two."""
    name, of = f"cluster-{number // 2:05}", one(number // 2)
    return {
        "apiVersion": API, "kind": "NodeGroup", "metadata": {**of["metadata"], "name": f"{name}-{number % 2}", "uid": f"group-{number}"},
        "spec": {"clusterRef": {"name": name}, "instanceTypes": ["m7i.large", "m7a.large"], "scaling": {"min": 1, "max": 9}},
        "status": {"observedGeneration": 1, "version": "1.35", "replicas": 5, "readyNodes": 5, "conditions": of["status"]["conditions"]},
    }


class ManyClusters:
    """The server, and a kubeconfig for it. is_rich: the clusters have long statuses, and node groups."""

    def __init__(self, folder: Path, count: int, is_rich: bool = False):
        bodies = self._pages("EksCluster", rich if is_rich else one, count)
        groups = self._pages("NodeGroup", group, 2 * count if is_rich else 0)
        ended = self.ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                if query.get("watch"):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    ended.wait()
                    return
                if url.path == "/version":
                    body = json.dumps({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}).encode()
                elif url.path.endswith("/eksclusters"):
                    body = bodies[int(query.get("continue") or 0)]
                elif url.path.endswith("/nodegroups"):
                    body = groups[int(query.get("continue") or 0)]
                else:
                    body = ManyClusters._list("Other", [], "")
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:  # noqa: N802
                """Reviews: each token is of a user who may list everything."""
                self.rfile.read(int(self.headers["Content-Length"]))
                status = {"authenticated": True, "user": {"username": "viewer"}} if urlsplit(self.path).path.endswith("/tokenreviews") else {"allowed": True}
                body = json.dumps({"metadata": {}, "spec": {}, "status": status}).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.kubeconfig = folder / "many-clusters.kubeconfig"
        context = {"cluster": "many", "user": "nobody"}
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "many",
            "clusters": [{"name": "many", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}],
            "contexts": [{"name": "many", "context": context}],
            "users": [{"name": "nobody", "user": {}}],
        }))

    @staticmethod
    def _pages(kind: str, make: Callable[[int], dict], count: int) -> list[bytes]:
        pages = [[make(number) for number in range(start, min(start + PAGE, count))] for start in range(0, count, PAGE)] or [[]]
        return [ManyClusters._list(kind, page, str(at + 1) if at + 1 < len(pages) else "") for at, page in enumerate(pages)]

    @staticmethod
    def _list(kind: str, items: list[dict], following: str) -> bytes:
        metadata = {"resourceVersion": "1", **({"continue": following} if following else {})}
        return json.dumps({"apiVersion": API, "kind": f"{kind}List", "metadata": metadata, "items": items}).encode()

    def stop(self) -> None:
        self.ended.set()
        self.server.shutdown()
