"""Runs a real Kubernetes control plane as processes: etcd, kube-apiserver, kube-controller-manager.

No kubelet and no scheduler: `kubelet.py` simulates those. Several control planes share one
etcd, each with its own key prefix.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .kubeapi import KubeApi
from .light_http import answers
from .pki import Authority, Pair
from .processes import Process, free_port

SERVICE_ISSUER = "https://kubernetes.default.svc"
# Needed for namespaces, owner references, service accounts and aggregated roles.
BASE_CONTROLLERS = [
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
]
WORKLOAD_CONTROLLERS = [
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "endpointslice-controller",
]


def write_kubeconfig(
    path: Path, server: str, ca: Path, pair: Pair | None = None, token: str | None = None
) -> Path:
    """A kubeconfig with one user, by client certificate or bearer token."""
    user: dict = {"token": token} if token else {}
    if pair:
        user = {"client-certificate": str(pair.cert), "client-key": str(pair.key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "local", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path


class Etcd:
    """One etcd without fsync: its data is discarded after the run."""

    def __init__(self, binary: Path, directory: Path):
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{free_port()}"
        self.process = Process(
            "etcd",
            [
                binary,
                "--name=local",
                f"--data-dir={directory / 'data'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=local={peer}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            directory / "etcd.log",
        )

    def wait_ready(self) -> float:
        # Healthy: 200, otherwise 503.
        return self.process.wait_ready(lambda: answers(f"{self.url}/health"))

    def stop(self) -> None:
        self.process.stop()


@dataclass
class ControlPlane:
    """One API server with its controller-manager, certificates and kubeconfigs.

    The port is chosen at construction, so that clients can be configured before the API server
    serves, and it can be stopped and restarted without reconfiguring them.

    pooled: the directory of a control plane that runs in the pool, under the same name and port. audit: every write to an object of Keelson's
    is in `audit_log`.
    """

    name: str
    tools: dict[str, Path]
    directory: Path
    token_webhook: str | None = None
    controllers: list[str] = field(default_factory=lambda: list(BASE_CONTROLLERS))
    port: int = field(default_factory=free_port)
    apiserver: Process | None = None
    controller_manager: Process | None = None
    pooled: Path | None = None
    audit: bool = False

    def __post_init__(self) -> None:
        existing = self.pooled / "pki" if self.pooled else None
        self.authority = Authority(self.directory / "pki", f"{self.name}-ca", existing)
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca_file = self.authority.cert_file
        if not self.pooled:
            self._serving = self.authority.serving("apiserver", ("kubernetes.default.svc",))
            self._service_account_key = self.authority.service_account_key("service-account")
        self._admin = self.authority.client("admin", "admin", ("system:masters",))
        self.kubeconfig = write_kubeconfig(
            self.directory / "admin.kubeconfig", self.url, self.ca_file, self._admin
        )
        self.api = KubeApi(self.url, self.ca_file, (self._admin.cert, self._admin.key))

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig for any user, to test its RBAC permissions.

        A service account is the user `system:serviceaccount:NAMESPACE:NAME`.
        """
        file_name = user.replace(":", "-")
        pair = self.authority.client(file_name, user, groups)
        return write_kubeconfig(
            self.directory / f"{file_name}.kubeconfig", self.url, self.ca_file, pair
        )

    def start_apiserver(self, etcd_url: str) -> None:
        assert not self.pooled, "a test thidlearts the API server needs its own: environment(own_control_plane=True)"
        arguments = [
            self.tools["kube-apiserver"],
            f"--etcd-servers={etcd_url}",
            f"--etcd-prefix=/{self.name}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            # A loopback address cannot be published as the endpoint of a Service.
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self._serving.cert}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.ca_file}",
            f"--service-account-key-file={self._service_account_key}",
            f"--service-account-signing-key-file={self._service_account_key}",
            f"--service-account-issuer={SERVICE_ISSUER}",
            "--service-cluster-ip-range=172.20.0.0/16",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--profiling=false",
            # A few clients: what it costs to start is not worth it.
            "--enable-priority-and-fairness=false",
            f"--cert-dir={self.directory}",
        ]
        if self.audit:
            arguments += [f"--audit-policy-file={self._audit_policy()}", f"--audit-log-path={self._audit_file}"]
        if self.token_webhook:
            arguments += [
                f"--authentication-token-webhook-config-file={self._webhook_config()}",
                "--authentication-token-webhook-version=v1",
                # Short, so that removing an access entry takes effect within a test.
                "--authentication-token-webhook-cache-ttl=2s",
            ]
        self.apiserver = Process(
            f"{self.name} kube-apiserver", arguments, self.directory / "kube-apiserver.log"
        )

    @property
    def _audit_file(self) -> Path:
        return self.directory / "audit.log"

    def _audit_policy(self) -> Path:
        """With the body of each request: which fields it wrote."""
        path = self.directory / "audit-policy.yaml"
        writes = {"level": "Request", "verbs": ["create", "update", "patch", "delete"], "resources": [{"group": "keelson.dev"}]}
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [writes, {"level": "None"}]}
        path.write_text(yaml.safe_dump(policy))
        return path

    def audit_log(self) -> list[dict]:
        """The events of the audit log so far."""
        return [json.loads(line) for line in self._audit_file.read_text().splitlines() if line.endswith("}")]

    def _webhook_config(self) -> Path:
        path = self.directory / "token-webhook.yaml"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "webhook", "cluster": {"server": self.token_webhook}}],
            "users": [{"name": "apiserver", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "webhook", "user": "apiserver"}}],
            "current-context": "it",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def wait_apiserver(self) -> float:
        return self.apiserver.wait_ready(self.api.ready)

    def start_controller_manager(self) -> None:
        self.controller_manager = Process(
            f"{self.name} kube-controller-manager",
            [
                self.tools["kube-controller-manager"],
                f"--kubeconfig={self.kubeconfig}",
                "--leader-elect=false",
                "--secure-port=0",
                f"--controllers={','.join(self.controllers)}",
                f"--service-account-private-key-file={self._service_account_key}",
                f"--root-ca-file={self.ca_file}",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                f"--cert-dir={self.directory}",
            ],
            self.directory / "kube-controller-manager.log",
        )

    def wait_controller_manager(self) -> float:
        """Ready when its service-account controller has created the first ServiceAccount."""
        return self.controller_manager.wait_ready(
            lambda: self.api.find("v1", "ServiceAccount", "default") is not None
        )

    def stop(self) -> None:
        for process in (self.controller_manager, self.apiserver):
            if process:
                # Its data is discarded, and a graceful stop takes a minute with open watches.
                process.kill()


class Stopwatch:
    """Seconds since its creation."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __float__(self) -> float:
        return time.monotonic() - self._start

    def __str__(self) -> str:
        return f"{float(self):.1f} s"
