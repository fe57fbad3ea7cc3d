"""RBAC of each optional part: a value of the chart, and with it a component of kustomize, grants the operator what it calls with it, and nothing else.

`test_deploy.py` has the same for the base, at the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from charts.rendering import CHART, merged, nested, render
from charts.values import CHANGES
from keelson_harness.helm import Helm
from keelson_harness.kubernetes import write_kubeconfig
from test_deploy import (
    API, NAMESPACE, QUICK, AuditedCloud, Permission, crds, granted, lists_secrets, rarely_used, run_lifecycle, used_by_admission, used_permissions,
)

LEASES = {Permission("coordination.k8s.io", "leases", verb) for verb in ("create", "get", "update")}
REVIEWS = {Permission("authentication.k8s.io", "tokenreviews", "create"), Permission("authorization.k8s.io", "subjectaccessreviews", "create")}
GET_SECRETS = {Permission("", "secrets", "get")}
WATCH_SECRETS = {Permission("", "secrets", verb) for verb in ("list", "watch")}
# In Argo CD's namespace.
REGISTRATION = GET_SECRETS | WATCH_SECRETS | {Permission("", "secrets", verb) for verb in ("create", "patch", "delete")}
JOBS = {Permission("batch", "jobs", verb) for verb in ("get", "create", "delete")}
JOBS |= {Permission("batch", "cronjobs", "get"), Permission("", "pods", "list")}
ARGOCD = "argocd"


@dataclass(frozen=True)
class Feature:
    """What a value other than the default changes of the operator's permissions."""

    adds: frozenset[Permission] = frozenset()
    removes: frozenset[Permission] = frozenset()


# Every other value changes no permission.
FEATURES = {
    "operator.leaderElection": Feature(removes=frozenset(LEASES)),
    "metrics.authorization": Feature(removes=frozenset(REVIEWS)),
    "operator.argocd.namespace": Feature(adds=frozenset(REGISTRATION)),
    "secrets.namespaces": Feature(adds=frozenset(GET_SECRETS)),
    "jobs.namespaces": Feature(adds=frozenset(JOBS)),
    "secrets.clusterWide": Feature(adds=frozenset(GET_SECRETS | WATCH_SECRETS)),
}
# Kubernetes allows everybody to ask what they may do.
ALLOWED_TO_ALL = {Permission("authorization.k8s.io", "selfsubjectaccessreviews", "create")}
WITHOUT_ROLES = "rbac.create"
# The least and the most that the chart grants.
LEAST = {"operator": {"leaderElection": False}, "replicas": 1, "metrics": {"authorization": False}}
MOST = {"secrets": {"clusterWide": True}, "operator": {"argocd": {"namespace": ARGOCD}}, "jobs": {"namespaces": ["default"]}}


@pytest.fixture(scope="module")
def helm(tmp_path_factory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def default(helm: Helm) -> set[Permission]:
    return granted(render(helm))


@dataclass
class Installed:
    """What an installation grants, and what its operator asked for."""

    granted: set[Permission]
    requests: list[dict] = field(default_factory=list)

    def used(self) -> set[Permission]:
        return used_permissions([entry for entry in self.requests if entry["responseStatus"]["code"] not in (401, 403)])

    def denied(self) -> list[tuple[str, str]]:
        denied = [entry for entry in self.requests if entry["responseStatus"]["code"] in (401, 403)]
        return [(entry["verb"], entry["requestURI"]) for entry in denied if not lists_secrets(entry)]


@pytest.fixture(scope="module")
def installed(helm: Helm) -> Iterator[dict[str, Installed]]:
    """The lifecycle of a cluster with each of the two installations."""
    found = {}
    with AuditedCloud(workload=False, git=False, durations=QUICK) as cloud:
        api = cloud.management.api
        namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (NAMESPACE, ARGOCD)]
        api.apply_all([*crds(), *namespaces])
        for name, values in (("least", LEAST), ("most", MOST)):
            items = [item for item in render(helm, merged(values, {"crds": {"install": False}}))]
            api.apply_all(items)
            before = len(cloud.operator_requests()) if cloud.audit_log.exists() else 0
            container = next(item for item in items if item["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]
            arguments = [argument for argument in container["args"][1:] if not argument.startswith("--listen")]
            kubeconfig = write_kubeconfig(
                cloud.directory / f"{name}.kubeconfig", cloud.management.url, cloud.management.ca_file,
                token=api.service_account_token(NAMESPACE, "keelson"),
            )
            # The defaults of the harness are those of other tests.
            authorized = not any(argument == "--metrics-auth=false" for argument in arguments)
            env = {"POD_NAME": "keelson-0", "POD_NAMESPACE": NAMESPACE, "KEELSON_METRICS_AUTH": str(authorized).lower()}
            operator = cloud.operator(*arguments, kubeconfig=kubeconfig, env=env)
            try:
                operator.wait_ready()
                # Whoever it is: the operator asks the API server.
                api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "stranger", "namespace": "default"}})
                token = api.service_account_token("default", "stranger")
                assert scraped(operator.url, token) == (403 if authorized else 200)
                # Without permission to read or write Secrets, no cluster names one or is registered.
                run_lifecycle(api, names_secret=name == "most", registers=name == "most", has_hooks=name == "most")
                api.delete(API, "AwsAccount", "here", None)
                api.wait_gone(API, "AwsAccount", "here", None)
            finally:
                operator.stop()
            found[name] = Installed(granted(items), cloud.operator_requests()[before:])
            # The next one starts from nothing.
            api.delete(API, "PlanApproval", "stale", "default")
            api.delete(API, "FleetRollout", "main", None)
            for config_map in api.list("v1", "ConfigMap", NAMESPACE):
                api.delete("v1", "ConfigMap", config_map["metadata"]["name"], NAMESPACE)
    yield found


def scraped(url: str, token: str) -> int:
    return requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=5).status_code


def test_no_other_value_is_in_a_template_of_roles() -> None:
    """Values that change only the roles of people, of Prometheus and of the page are not the operator's."""
    of_others = {"rbac.users", "metrics.readers", "metrics.scrape.createToken", "ui.enabled"}
    templates = [path.read_text() for path in (CHART / "templates").rglob("*.yaml")]
    roles = [text for text in templates if re.search(r"^kind: (Cluster)?Role(Binding)?$", text, re.MULTILINE)]
    assert len(roles) >= 4
    named = {value for text in roles for value in re.findall(r"\.Values\.([\w.]+)", text)}
    assert named == {*FEATURES, WITHOUT_ROLES} | of_others and named <= CHANGES.keys()


@pytest.mark.parametrize("path", FEATURES)
def test_value_changes_the_permissions_of_its_feature_only(helm: Helm, default: set[Permission], path: str) -> None:
    change, feature = CHANGES[path], FEATURES[path]
    value = merged(change.given, nested(tuple(path.split(".")), change.value))
    now = granted(render(helm, value))
    assert (now - default, default - now) == (feature.adds, feature.removes)


def test_without_roles_nothing_is_granted(helm: Helm) -> None:
    assert granted(render(helm, nested(tuple(WITHOUT_ROLES.split(".")), False))) == set()


@pytest.mark.parametrize("name", ["least", "most"])
def test_what_an_installation_calls_is_granted(installed: dict[str, Installed], name: str) -> None:
    assert installed[name].denied() == []
    missing = installed[name].used() - installed[name].granted - ALLOWED_TO_ALL
    assert not missing, f"used and not granted: {', '.join(sorted(map(str, missing)))}"


@pytest.mark.parametrize("name", ["least", "most"])
def test_what_is_granted_to_an_installation_is_called(installed: dict[str, Installed], name: str) -> None:
    unused = installed[name].granted - installed[name].used() - rarely_used() - used_by_admission()
    assert not unused, f"granted and never used: {', '.join(sorted(map(str, unused)))}"


def test_features_differ_in_the_calls_that_they_need(installed: dict[str, Installed]) -> None:
    """So each permission of a feature is called with it, and not without it."""
    of_features = frozenset().union(*(feature.adds | feature.removes for feature in FEATURES.values()))
    assert of_features <= installed["most"].used()
    assert not of_features & installed["least"].used()
