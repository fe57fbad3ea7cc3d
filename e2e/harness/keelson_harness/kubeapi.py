"""A small Kubernetes API client for the tests and the demo.

Kinds are named as in manifests (apiVersion and kind) and resolved by discovery.
Waits use watches, so that they also see a short-lived state.
"""

from __future__ import annotations  # `list` is a method of KubeApi

import functools
import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import requests
import yaml

from . import confidential, light_http
from .printer_columns import format_table

FIELD_MANAGER = "keelson-e2e"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
RETRY_SECONDS = 10
# libyaml: the CRDs take a seventh of the time.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ApiError(Exception):
    """An error response of the API server."""

    def __init__(self, code: int, reason: str, message: str):
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Timeout(Exception):
    """A wait timed out; holds the last observed state of the object."""


@dataclass(frozen=True)
class Kind:
    api_version: str
    kind: str
    plural: str
    namespaced: bool


def conditions(item: dict) -> dict[str, dict]:
    """Conditions of an object by type."""
    return {entry["type"]: entry for entry in item.get("status", {}).get("conditions") or []}


def documents(path: Path) -> list[dict]:
    """The manifests of a YAML file."""
    return [item for item in yaml.load_all(path.read_text(), YAML_LOADER) if item]  # noqa: S506


def _is_starting(answer: light_http.Response) -> bool:
    """The storage of a CRD opens after it is served, and admission policies learn of a kind of parameters after it exists."""
    return answer.status_code == 429 or answer.status_code == 422 and "not yet synced to use for admission" in answer.text


class KubeApi:
    """One API server, as one user (client certificate or bearer token)."""

    def __init__(
        self,
        server: str,
        ca: Path,
        cert: tuple[Path, Path] | None = None,
        token: str | None = None,
    ):
        self.server = server
        self._ca = str(ca)
        self._cert = tuple(str(part) for part in cert) if cert else None
        self._token = token
        self._client = light_http.Client(server, self._authorization(), lambda: self._tls)
        self._kinds: dict[tuple[str, str], Kind] = {}

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca)
        if self._cert:
            context.load_cert_chain(*self._cert)
        return context

    def request(self, method: str, path: str, **options) -> light_http.Response:
        confidential.add_request(path, options)
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            answer = self._client.request(method, path, **options)
            if not _is_starting(answer) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if answer.status_code >= 400:
            try:
                status = answer.json()
            except ValueError:
                status = {}
            raise ApiError(
                answer.status_code,
                status.get("reason", answer.reason),
                status.get("message", answer.text[:500]),
            )
        return answer

    def ready(self) -> bool:
        return self.request("GET", "/readyz", timeout=2).status_code == 200

    # Paths

    def resolve(self, api_version: str, kind: str) -> Kind:
        """Resolves a kind by discovery; 404 until its CRD is served."""
        known = self._kinds.get((api_version, kind))
        if known:
            return known
        root = "/api/" if "/" not in api_version else "/apis/"
        for entry in self.request("GET", root + api_version).json()["resources"]:
            if entry["kind"] == kind and "/" not in entry["name"]:
                found = Kind(api_version, kind, entry["name"], entry["namespaced"])
                self._kinds[(api_version, kind)] = found
                return found
        raise ApiError(404, "NotFound", f"{api_version} has no kind {kind}")

    def path(
        self,
        api_version: str,
        kind: str,
        name: str = "",
        namespace: str | None = "default",
        subresource: str = "",
    ) -> str:
        """URL path; namespace None is all namespaces."""
        found = self.resolve(api_version, kind)
        parts = ["/api" if "/" not in api_version else "/apis", api_version]
        if found.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (found.plural, name, subresource) if part]
        return "/".join(parts)

    def path_of(self, item: dict, subresource: str = "") -> str:
        meta = item["metadata"]
        namespace = meta.get("namespace", "default")
        return self.path(item["apiVersion"], item["kind"], meta["name"], namespace, subresource)

    # Verbs

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = "default") -> dict:
        return self.request("GET", self.path(api_version, kind, name, namespace)).json()

    def find(
        self, api_version: str, kind: str, name: str, namespace: str | None = "default"
    ) -> dict | None:
        """Like get; None if the object or its kind does not exist."""
        try:
            return self.get(api_version, kind, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, labels: str = ""
    ) -> list[dict]:
        params = {"labelSelector": labels} if labels else {}
        path = self.path(api_version, kind, namespace=namespace)
        items = self.request("GET", path, params=params).json()["items"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def create(self, item: dict) -> dict:
        path = self.path(
            item["apiVersion"], item["kind"], "", item["metadata"].get("namespace", "default")
        )
        return self.request("POST", path, json=item).json()

    def apply(self, item: dict, field_manager: str = FIELD_MANAGER, dry_run: bool = False) -> dict:
        """Server-side apply with force: takes over fields of other managers."""
        params = {"fieldManager": field_manager, "force": "true"}
        if dry_run:
            params["dryRun"] = "All"
        return self.request(
            "PATCH",
            self.path_of(item),
            params=params,
            data=json.dumps(item),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ).json()

    def apply_all(self, items: list[dict]) -> None:
        """Applies namespaces and CRDs first, waits until the CRDs are served, then applies the rest."""
        first = [item for item in items if item["kind"] in ("Namespace", "CustomResourceDefinition")]
        for item in first:
            self.apply(item)
        for item in first:
            if item["kind"] == "CustomResourceDefinition":
                name = item["metadata"]["name"]
                self.wait_condition(item["apiVersion"], item["kind"], name, "Established", None, 30)
                self._wait_served(item)
        for item in items:
            if item not in first:
                self.apply(item)

    def _wait_served(self, crd: dict) -> None:
        """A CRD is Established shortly before discovery lists its kind."""
        spec = crd["spec"]
        version = next(v["name"] for v in spec["versions"] if v.get("served"))
        deadline = time.monotonic() + 30
        while True:
            try:
                self.resolve(f"{spec['group']}/{version}", spec["names"]["kind"])
                return
            except ApiError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        patch: dict,
        namespace: str | None = "default",
        subresource: str = "",
    ) -> dict:
        """JSON merge patch."""
        return self.request(
            "PATCH",
            self.path(api_version, kind, name, namespace, subresource),
            data=json.dumps(patch),
            headers={"Content-Type": "application/merge-patch+json"},
        ).json()

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = "default") -> None:
        """Requests deletion; ignores an object that does not exist."""
        try:
            self.request("DELETE", self.path(api_version, kind, name, namespace))
        except ApiError as error:
            if error.code != 404:
                raise

    # Watching

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        name: str = "",
        timeout: float = 300,
    ) -> Iterator[tuple[str, dict]]:
        """Existing objects as ADDED, then every change, until the timeout.

        A broken or expired watch restarts, so an object may be ADDED twice.
        """
        deadline = time.monotonic() + timeout
        path = self.path(api_version, kind, namespace=namespace)
        params: dict = {"fieldSelector": f"metadata.name={name}"} if name else {}
        known: dict[str, dict] = {}
        while time.monotonic() < deadline:
            try:
                listed = self.request("GET", path, params=params).json()
                now = {item["metadata"]["uid"]: item for item in listed["items"]}
                yield from (("DELETED", known[uid]) for uid in known.keys() - now.keys())
                yield from (("ADDED", item) for item in now.values())
                known = now
                version = listed["metadata"]["resourceVersion"]
                for event, item in self._stream(path, {**params, "resourceVersion": version}, deadline):
                    if event == "DELETED":
                        known.pop(item["metadata"]["uid"], None)
                    else:
                        known[item["metadata"]["uid"]] = item
                    yield event, item
            except requests.RequestException:
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))

    def _stream(self, path: str, params: dict, deadline: float) -> Iterator[tuple[str, dict]]:
        incomplete = b""
        for data in self.watch_bytes(path, params, max(1, int(deadline - time.monotonic()))):
            *lines, incomplete = (incomplete + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    def watch_bytes(self, path: str, params: dict, seconds: int) -> Iterator[bytes]:
        """The events of a watch as they arrive: lines of JSON, unparsed and cut anywhere."""
        query = urlencode({**params, "watch": "true", "timeoutSeconds": seconds})
        try:
            yield from light_http.stream(f"{self.server}{path}?{query}", self._authorization(), self._tls, seconds + 5)
        except light_http.Refused as refused:
            raise ApiError(refused.status, refused.reason, refused.message[:500]) from refused

    def wait(
        self,
        api_version: str,
        kind: str,
        name: str,
        holds: Callable[[dict], bool],
        namespace: str | None = "default",
        timeout: float = 60,
        what: str = "the expected state",
    ) -> dict:
        """Waits until the object exists and `holds` is true of it."""
        last: dict | None = None
        for event, item in self.watch(api_version, kind, namespace, name, timeout):
            last = item if event != "DELETED" else None
            if last is not None and holds(last):
                return last
        shown = json.dumps((last or {}).get("status"), indent=2) if last else "it does not exist"
        raise Timeout(f"{kind} {name}: {what} not reached in {timeout:.0f} s; status: {shown}")

    def wait_condition(
        self,
        api_version: str,
        kind: str,
        name: str,
        condition: str,
        namespace: str | None = "default",
        timeout: float = 60,
        status: str = "True",
        reason: str | None = None,
    ) -> dict:
        """Waits for a condition of the current generation."""

        def holds(item: dict) -> bool:
            found = conditions(item).get(condition)
            if not found or found["status"] != status:
                return False
            if reason and found.get("reason") != reason:
                return False
            # As kstatus does. Flux sets Ready in one patch, and the object's
            # observedGeneration with lastAppliedRevision in the next.
            generation = item["metadata"].get("generation", 0)
            seen = (found, item["status"])
            return all(part.get("observedGeneration", generation) >= generation for part in seen)

        what = f"{condition}={status}" + (f" ({reason})" if reason else "")
        return self.wait(api_version, kind, name, holds, namespace, timeout, what)

    def wait_gone(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = "default",
        timeout: float = 60,
    ) -> None:
        until = time.monotonic() + timeout
        while (last := self.find(api_version, kind, name, namespace)) and time.monotonic() < until:
            # A short watch, then a read: a deletion before the watch started produces no event.
            for event, _ in self.watch(api_version, kind, namespace, name, 2):
                if event == "DELETED" or not self.find(api_version, kind, name, namespace):
                    return
        if not last:
            return
        raise Timeout(
            f"{kind} {name}: still exists after {timeout:.0f} s, finalizers "
            f"{last['metadata'].get('finalizers')}, status {json.dumps(last.get('status'), indent=2)}"
        )

    def service_account_token(self, namespace: str, name: str, seconds: int = 86400) -> str:
        """A token like the one a kubelet mounts."""
        path = self.path("v1", "ServiceAccount", name, namespace, "token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token = self.request("POST", path, json=body).json()["status"]["token"]
        confidential.add(token)
        return token

    def table(self, api_version: str, kind: str, namespace: str | None = "default", name: str = "", wide: bool = False) -> str:
        """The server's printer columns, formatted like `kubectl get`."""
        path = self.path(api_version, kind, name, namespace)
        return format_table(self.request("GET", path, headers={"Accept": TABLE}).json(), wide)
