"""Options of `spec.gitops.flux` besides the source: each takes effect in the workload cluster."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import yaml

from fleet import API
from fleet.manifests import cluster, flux, secret
from fleet.environment import environment, until
from sources import age

FLUX = "flux-system"
PROXY_USER, PROXY_PASSWORD = "egress", "proxy-password-1b8e"
PULL = {"auths": {"mirror.acme.example": {"auth": base64.b64encode(b"puller:pull-3c2d").decode()}}}
NAMED = (API, "EksCluster", "optional")


class Proxy:
    """Forwards plain HTTP for clients with the password, and records the URLs."""

    def __init__(self, port: int, seen: list[str]):
        self.url, self.seen = f"http://127.0.0.1:{port}", seen


@contextmanager
def forwarding_proxy() -> Iterator[Proxy]:
    seen: list[str] = []
    encoded = base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if self.headers.get("Proxy-Authorization") != f"Basic {encoded}":
                self.send_response(407)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            seen.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hop_by_hop = ("proxy-authorization", "proxy-connection", "host", "connection")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in hop_by_hop}
            answer = requests.request(
                self.command, self.path, data=body, headers=headers, stream=True, timeout=20
            )
            content = answer.raw.read()
            self.send_response(answer.status_code)
            for key, value in answer.headers.items():
                if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = forward

        def log_message(self, *_args: object) -> None:
            """Nothing: `seen` has what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Proxy(server.server_address[1], seen)
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        yield started


@pytest.fixture(scope="module")
def proxy():
    with forwarding_proxy() as running:
        yield running


@pytest.fixture(scope="module")
def optional(on, proxy) -> dict:
    on.start("--drift-interval=2s")
    repository = on.cloud.git.repository("optional")
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "through-the-proxy", "namespace": "default"},
    }
    repository.commit({"clusters/optional/greeting.yaml": yaml.safe_dump(greeting)})
    gitops = flux(
        repository.url, "clusters/optional", interval="2s", proxySecretRef={"name": "egress-proxy"}
    )
    gitops["flux"] |= {
        "registry": "mirror.acme.example/fluxcd",
        "imagePullSecretRef": {"name": "mirror-credentials"},
        "components": ["source-controller", "kustomize-controller"],
        "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
    }
    pull = secret("mirror-credentials", use="registry", **{".dockerconfigjson": json.dumps(PULL)})
    item = cluster("optional", addons=[{"name": "vpc-cni"}], gitops=gitops)
    on.apply(
        secret(
            "egress-proxy", use="proxy", address=proxy.url, username=PROXY_USER, password=PROXY_PASSWORD
        ),
        pull | {"type": "kubernetes.io/dockerconfigjson"},
        secret("sops-age", use="decryption", **{"keys.agekey": age.identity(1)}),
        secret("of-nobody", word="not-to-be-copied"),
        item,
    )
    on.ready(item)
    return item


def workload(on, kind: str, name: str, version: str = "v1") -> dict:
    return on.cloud.workload.api.get(version, kind, name, FLUX)


def test_only_the_repository_is_read_through_the_proxy(on, proxy, optional):
    found = on.cloud.workload.api.get("v1", "ConfigMap", "through-the-proxy")
    assert found["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == FLUX
    assert proxy.seen and all("/optional" in url for url in proxy.seen)
    source = workload(on, "GitRepository", FLUX, "source.toolkit.fluxcd.io/v1")
    assert source["spec"]["proxySecretRef"] == {"name": "egress-proxy"}


def test_controllers_are_pulled_from_the_mirror_with_its_pull_secret(on, optional):
    found = on.cloud.workload.api.list("apps/v1", "Deployment", FLUX)
    assert {d["metadata"]["name"] for d in found} == {"source-controller", "kustomize-controller"}
    for deployment in found:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["containers"][0]["image"].startswith("mirror.acme.example/fluxcd/")
        assert pod["imagePullSecrets"] == [{"name": "mirror-credentials"}]
    pull = workload(on, "Secret", "mirror-credentials")
    assert pull["type"] == "kubernetes.io/dockerconfigjson"
    assert json.loads(base64.b64decode(pull["data"][".dockerconfigjson"])) == PULL


def test_decryption_keys_are_copied_and_referenced(on, optional):
    spec = workload(on, "Kustomization", FLUX, "kustomize.toolkit.fluxcd.io/v1")["spec"]
    assert spec["decryption"] == {"provider": "sops", "secretRef": {"name": "sops-age"}}
    keys = workload(on, "Secret", "sops-age")["data"]
    assert base64.b64decode(keys["keys.agekey"]) == age.identity(1).encode()


def test_no_other_secret_is_copied(on, optional):
    found = {s["metadata"]["name"] for s in on.cloud.workload.api.list("v1", "Secret", FLUX)}
    assert found == {"egress-proxy", "mirror-credentials", "sops-age"}


def test_deleted_secret_is_named_in_condition(on, optional):
    on.api.delete("v1", "Secret", "sops-age")
    on.api.patch(*NAMED, {"metadata": {"annotations": {"keelson.dev/reconcile-at": "gone"}}})

    def reported() -> bool:
        found = on.condition(optional, "GitOpsReady")
        return found["status"] == "False" and "default/sops-age not found" in found["message"]

    until(reported, 40, "the missing Secret in GitOpsReady")
    on.apply(secret("sops-age", use="decryption", **{"keys.agekey": age.identity(2)}))

    def arrived() -> bool:
        keys = workload(on, "Secret", "sops-age")["data"]
        return base64.b64decode(keys["keys.agekey"]) == age.identity(2).encode()

    # The cluster may have stayed ready: its condition does not show whether the new key arrived.
    until(arrived, 40, "the new key")
    on.ready(optional)


def test_component_added_later_is_installed(on, optional):
    edited = json.loads(json.dumps(optional))
    edited["spec"]["gitops"]["flux"]["components"].append("helm-controller")
    on.apply(edited)

    def installed() -> bool:
        found = on.cloud.workload.api.list("apps/v1", "Deployment", FLUX)
        return "helm-controller" in {d["metadata"]["name"] for d in found}

    until(installed, 30, "helm-controller")


def test_version_that_is_not_built_in_is_rejected(on):
    gitops = flux("https://github.com/acme/fleet")
    gitops["flux"]["version"] = "v2.0.0"
    item = cluster("old-flux", gitops=gitops)
    on.apply(item)
    until(
        lambda: "spec.gitops.flux.version" in on.condition(item, "Ready").get("message", ""),
        20,
        "the refusal",
    )
    on.delete(item)
