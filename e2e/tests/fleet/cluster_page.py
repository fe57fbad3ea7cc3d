"""The fleet page in a cluster: its process with the permissions of deploy/ui, people with tokens, and their streams."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import requests

from keelson_harness.kubeapi import KubeApi
from keelson_harness.light_http import answers
from keelson_harness.paths import keelson_binary
from keelson_harness.processes import Process, free_port

NAMESPACE = "keelson-system"
ACCOUNT = "keelson-ui"
COOKIE = "keelson-ui"
SECONDS = 30
_NUMBERS = itertools.count()


class ClusterPage(Process):
    """A running `keelson ui --in-cluster`."""

    def __init__(self, kubeconfig: Path, directory: Path, *arguments: str, wait: bool = True):
        port = free_port()
        self.root = f"http://127.0.0.1:{port}"
        line = [keelson_binary(), "ui", "--in-cluster", f"--listen=127.0.0.1:{port}", *arguments]
        super().__init__("keelson ui", line, directory / f"cluster-page-{next(_NUMBERS)}.log", {"KUBECONFIG": str(kubeconfig)})
        if wait:
            self.wait_ready(lambda: answers(f"{self.root}/readyz"), SECONDS)

    def get(self, path: str, token: str | None = None, **options: object) -> requests.Response:
        return get(self.root, path, token, **options)

    def sign_in(self, token: str, headers: dict[str, str] | None = None, **form: str) -> requests.Response:
        """As the form does, unless `headers` say otherwise."""
        headers = {"Sec-Fetch-Site": "same-origin"} if headers is None else headers
        return requests.post(f"{self.root}/login", data={"token": token, **form}, headers=headers, timeout=10, allow_redirects=False)

    def stream(self, token: str, path: str = "/events") -> Stream:
        return Stream(self.root + path, token)

    def anonymous_bytes(self) -> int:
        """Memory of its own, without the pages of the binary, of which a debug build has many more."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("RssAnon:")]
        return int(line.split()[1]) * 1024

    def __enter__(self) -> ClusterPage:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def get(root: str, path: str, token: str | None = None, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(root + path, headers={**headers, **options.pop("headers", {})}, timeout=10, **options)


def everything_of(answer: requests.Response) -> str:
    """All that a viewer gets: the body and the headers."""
    return f"{answer.text}\n{dict(answer.headers)}"


class Stream:
    """A stream of changes, as a browser reads it."""

    def __init__(self, url: str, token: str):
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self._answer = requests.get(url, headers=headers, stream=True, timeout=(10, 120))
        assert self._answer.status_code == 200, self._answer.text
        self.text = str(dict(self._answer.headers))
        self.has_ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for part in self._answer.iter_content(None):
                self.text += part.decode()
        except requests.RequestException:
            pass
        self.has_ended = True

    @property
    def changes(self) -> int:
        return self.text.count("event: changed")


def person(api: KubeApi, name: str, namespace: str, *bindings: tuple[str | None, str]) -> str:
    """A token of a ServiceAccount with (namespace or None for all, ClusterRole)."""
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
    for place, role in bindings:
        kind = "RoleBinding" if place else "ClusterRoleBinding"
        metadata = {"name": f"{name}-{role}", **({"namespace": place} if place else {})}
        api.apply({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        })
    return api.service_account_token(namespace, name)
