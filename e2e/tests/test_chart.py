"""deploy/charts/keelson: it renders the kustomize base, uses each of its values, and rejects everything else. (Needs no cloud.)"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

import kustomize
from charts.rendering import (
    CHART,
    CRDS_OFF,
    HELM_LABELS,
    KEEP,
    NAMESPACE,
    PART_OF,
    canonical,
    default_values,
    facts,
    merged,
    nested,
    render,
)
from charts.values import CHANGES, SERVICE_MONITOR, TOKEN_SECRET, Change
from keelson_harness.helm import Helm, HelmError
from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT, DEPLOY, EXAMPLES, keelson_binary

sys.path.insert(0, str(DEPLOY / "charts"))
import generate  # noqa: E402

FLAG = re.compile(r"^ +(--[a-z-]+)", re.MULTILINE)
# Flags of `keelson controller` without a value of their own, with the reason. `extraArgs` sets them.
NO_VALUE = {
    "--leader-election-namespace": "the Role is in the release's namespace",
    "--leader-election-name": "the Role names the Lease and the ConfigMaps",
    "--allow-http-git": "for tests",
    "--notify-ca-file": "a file of one's own: extraVolumes and extraEnv",
    "--ui-listen": "the page has a Deployment of its own: ui.enabled",
    "--ui-host": "as --ui-listen",
    "--ui-session-key-file": "as --ui-listen",
    "--pod-credentials-lifetime": "the sessions of EKS Pod Identity last six hours",
}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def helm(tmp_path_factory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def rendered(helm) -> list[dict]:
    return render(helm)


def base() -> list[dict]:
    return [*kustomize.build(DEPLOY), *kustomize.build(CHECKOUT / "crds")]


# One source


def test_generated_files_are_current():
    assert generate.outdated() == [], "run `make chart`"


def test_chart_at_its_defaults_equals_the_kustomize_base(rendered):
    """All of it except the namespace, which has to exist before Helm can store the release."""
    namespace = ("Namespace", "", "keelson-system")
    assert canonical(rendered) == {key: item for key, item in canonical(base()).items() if key != namespace}


def test_chart_with_its_namespace_equals_the_kustomize_base(helm):
    assert canonical(render(helm, {"namespace": {"create": True}})) == canonical(base())


@pytest.mark.parametrize(
    ("component", "value"),
    [("secrets-cluster-wide", "secrets.clusterWide"), ("require-account-ref", "admissionPolicies.requireAccountRef")],
)
def test_value_adds_the_objects_of_the_component(helm, rendered, component, value):
    folder = DEPLOY / component
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    items = [item for name in resources for item in documents(folder / name)]
    with_value = canonical(render(helm, nested(tuple(value.split(".")), True)))
    assert with_value == canonical(rendered) | canonical(items)


def test_ambient_account_value_patches_as_the_component_does(helm, rendered):
    [patch] = yaml.safe_load((DEPLOY / "ambient-account" / "kustomization.yaml").read_text())["patches"]
    [operation] = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/spec/template/spec/containers/0/env/-"
    expected = canonical(rendered)
    expected["Deployment", "keelson-system", "keelson"]["spec"]["template"]["spec"]["containers"][0]["env"].append(operation["value"])
    assert canonical(render(helm, {"operator": {"allowAmbientAccount": True}})) == expected


def test_ui_value_adds_the_objects_of_its_kustomization(helm, rendered):
    with_page = canonical(render(helm, {"ui": {"enabled": True}}))
    assert with_page == canonical(rendered) | canonical(kustomize.build(DEPLOY / "ui"))


def test_more_egress_rules_are_for_the_page_too(helm):
    rules = [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    added = canonical(render(helm, {"ui": {"enabled": True}, "networkPolicy": {"extraEgress": rules}}))
    for name in ("keelson", "keelson-ui"):
        assert added["NetworkPolicy", "keelson-system", name]["spec"]["egress"][-1:] == rules, name


@pytest.mark.parametrize("namespace", ["argocd", "gitops"])
def test_registration_value_adds_the_role_in_the_namespace_of_argo_cd(helm, rendered, namespace):
    items = documents(DEPLOY / "argocd-registration" / "rbac.yaml")
    for item in items:
        item["metadata"]["namespace"] = namespace
    expected = canonical(rendered) | canonical(items)
    container = expected["Deployment", "keelson-system", "keelson"]["spec"]["template"]["spec"]["containers"][0]
    added = canonical(render(helm, {"operator": {"argocd": {"namespace": namespace}}}))
    arguments = added["Deployment", "keelson-system", "keelson"]["spec"]["template"]["spec"]["containers"][0].pop("args")
    assert sorted(arguments) == sorted([*container.pop("args"), f"--argocd-namespace={namespace}"])
    assert added == expected


# What the component of deploy/monitoring sets.
MONITORING = {
    "metrics": {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
        "scrape": {"interval": "30s", "createToken": True},
    }
}


def test_monitoring_values_add_the_objects_of_the_component(helm, rendered):
    assert canonical(render(helm, MONITORING)) == canonical(rendered) | canonical(kustomize.build(DEPLOY / "monitoring"))


def test_service_monitor_scrapes_as_the_pod_monitor_of_the_component(helm):
    items = canonical(render(helm, merged(MONITORING, SERVICE_MONITOR)))
    by_pod, by_service = (items[kind, NAMESPACE, "keelson"]["spec"] for kind in ("PodMonitor", "ServiceMonitor"))
    (of_pod,), (of_service,) = by_pod.pop("podMetricsEndpoints"), by_service.pop("endpoints")
    assert by_service == by_pod
    (port,) = items["Service", NAMESPACE, "keelson-metrics"]["spec"]["ports"]
    assert (of_pod.pop("port"), of_service.pop("port")) == (port["targetPort"], port["name"])
    assert of_service == of_pod


@pytest.mark.parametrize("page", ["install.md", "monitoring.md"])
def test_monitors_name_the_job_that_rules_expect_and_relabel_as_the_component(helm, page):
    """With the values of the docs. Without `jobLabel`, the Prometheus Operator names jobs after the Service, or after namespace and PodMonitor."""
    items = canonical(render(helm, documented_values(page)))
    (component,) = (item["spec"] for item in kustomize.build(DEPLOY / "monitoring") if item["kind"] == "PodMonitor")
    scraped = {
        "ServiceMonitor": items["Service", NAMESPACE, "keelson-metrics"]["metadata"]["labels"],
        "PodMonitor": items["Deployment", NAMESPACE, "keelson"]["spec"]["template"]["metadata"]["labels"],
    }
    monitors = [item for (kind, _, _), item in items.items() if kind in scraped]
    assert monitors
    for monitor in monitors:
        spec, labels = monitor["spec"], scraped[monitor["kind"]]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert labels[spec["jobLabel"]] == "keelson"
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        (expected,) = component["podMetricsEndpoints"]
        assert endpoint["metricRelabelings"] == expected["metricRelabelings"]
        assert endpoint["honorLabels"] is expected["honorLabels"] is True


def test_every_component_of_kustomize_is_a_value():
    """One that is new needs a value, and a test above."""
    components = {path.parent.name for path in DEPLOY.glob("*/kustomization.yaml") if "kind: Component" in path.read_text()}
    assert components == {"ambient-account", "argocd-registration", "monitoring", "require-account-ref", "secrets-cluster-wide"}


def test_every_object_has_the_labels_of_helm(rendered):
    for item in rendered:
        assert {*HELM_LABELS, PART_OF} <= item["metadata"]["labels"].keys(), item["metadata"]["name"]


def test_crds_are_kept_when_the_release_is_uninstalled(rendered):
    kept = {i["metadata"]["name"] for i in rendered if i["metadata"].get("annotations", {}).get(KEEP) == "keep"}
    assert kept == {path.stem + ".keelson.dev" for path in (CHECKOUT / "crds").glob("*.yaml")}
    assert not (CHART / "crds").exists(), "Helm never upgrades what is there"


def test_objects_are_in_the_namespace_of_the_release(helm):
    items = render(helm, {"namespace": {"create": True}}, namespace="platform")
    assert "keelson-system" not in json.dumps(items)
    assert {i["metadata"]["namespace"] for i in items if "namespace" in i["metadata"]} == {"platform"}


def test_text_of_a_source_is_not_evaluated_as_a_template():
    manifest = "kind: X\nmetadata:\n  name: x\nspec:\n  expression: \"'{{ .Values }}'\"\n"
    assert "'{{ \"{{\" }} .Values }}'" in generate.as_template(manifest)


# Values


def leaf_paths() -> dict[str, object]:
    return {".".join(path): default for path, default in generate.leaves(default_values())}


def test_each_value_has_a_comment_and_a_test():
    described = {".".join(path) for path in generate.comments(generate.values_text())}
    assert [path for path in leaf_paths() if path not in described] == [], "without a comment in values.yaml"
    assert leaf_paths().keys() == CHANGES.keys()


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=CHANGES)
def test_value_changes_what_is_rendered(helm, path, change: Change):
    assert leaf_paths()[path] != change.value or change.given or path.startswith("crds."), "not another value than the default"
    given = merged(CRDS_OFF, change.given)
    before, after = rendered_facts(helm, given), facts(render(helm, merged(given, nested(tuple(path.split(".")), change.value))))
    assert [fact for fact in before ^ after if change.fact in fact], sorted(before ^ after)[:20]


RENDERED: dict[str, set[str]] = {}


def rendered_facts(helm: Helm, values: dict) -> set[str]:
    """Rendered once for all tests that need the same values."""
    key = json.dumps(values, sort_keys=True)
    if key not in RENDERED:
        RENDERED[key] = facts(render(helm, values))
    return RENDERED[key]


def everything() -> dict:
    """All values of the table that can be set together."""
    values: dict = TOKEN_SECRET
    for path, change in CHANGES.items():
        if path not in ("operator.leaderElection", "operator.workloadProxy.url"):
            values = merged(values, nested(tuple(path.split(".")), change.value))
    return merged(values, {"operator": {"listen": "0.0.0.0:9090"}})


def arguments(items: list[dict]) -> list[str]:
    (deployment,) = [item for item in items if (item["kind"], item["metadata"]["name"]) == ("Deployment", "keelson")]
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def keelson_help(*given: str) -> str:
    result = subprocess.run([keelson_binary(), *given, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_operator_accepts_all_flags_that_the_chart_can_set(helm):
    values = merged(everything(), {"metrics": {"authorization": False}})
    keelson_help(*arguments(render(helm, values)))
    keelson_help(*arguments(render(helm, {"replicas": 1, "operator": {"leaderElection": False}})))


def test_each_flag_of_the_operator_has_a_value(helm):
    proxy = {"operator": {"workloadProxy": {"url": "http://proxy:1"}}}
    given = [*arguments(render(helm, everything())), *arguments(render(helm, proxy))]
    settable = {argument.partition("=")[0] for argument in given if argument.startswith("--")}
    # By its environment variable, as the component does.
    settable.add("--allow-ambient-account")
    flags = set(FLAG.findall(keelson_help("controller"))) - {"--help"}
    assert len(flags) > 20
    assert flags - settable - NO_VALUE.keys() == set()
    assert NO_VALUE.keys() <= flags


def test_defaults_of_the_operator_in_comments_are_true():
    """`[default: X]` of a flag, and `The operator's default: X` of its value."""
    found = {}
    for entry in re.split(r"\n\n(?= +--)|\n(?= +--)", keelson_help("controller")):
        if match := re.match(r" *--([a-z-]+).*\[default: (\w+)[\],;]", entry, re.DOTALL):
            found[match[1]] = match[2]
    named = {path[1:]: re.search(r"The operator's default: `?(\w+)", text) for path, text in generate.comments(generate.values_text()).items()}
    stated = {re.sub(r"([A-Z])", r"-\1", "-".join(path)).lower(): match[1] for path, match in named.items() if match}
    assert len(stated) > 8
    # With another default in its sentence.
    assert stated.pop("log-level") == "info"
    assert stated == {flag: found.get(flag) for flag in stated}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operator": {"leaderElection": False}}, "set replicas to 1"),
        ({"metrics": {"podMonitor": {"enabled": True}}}, "set metrics.scrape.createToken or metrics.scrape.tokenSecret.name"),
        ({"operator": {"workloadProxy": {"url": "http://proxy:1", "secret": {"name": "proxy"}}}}, "set one of them"),
        ({"operator": {"notifications": {"url": "https://hooks.example.com"}}}, "needs operator.notifications.secret.name"),
    ],
)
def test_values_that_exclude_each_other_are_rejected_with_what_to_do(helm, values, message):
    with pytest.raises(HelmError, match=message):
        render(helm, values)


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://otel-collector.monitoring:4318", 4318),
        ("https://otlp.example.com/tenant", 443),
        ("http://collector", 80),
        ("http://[fd00::1]:4318", 4318),
        ("https://[fd00::1]", 443),
    ],
)
def test_port_of_the_collector_is_open_in_the_network_policy(helm, endpoint, port):
    def egress(values: dict) -> list[dict]:
        (policy,) = [i for i in render(helm, merged(CRDS_OFF, values)) if i["kind"] == "NetworkPolicy" and i["metadata"]["name"] == "keelson"]
        return policy["spec"]["egress"]

    before, after = egress({}), egress({"operator": {"otlp": {"endpoint": endpoint}}})
    assert [rule for rule in after if rule not in before] == [{"ports": [{"protocol": "TCP", "port": port}]}]


@pytest.mark.parametrize(("url", "ports"), [("https://hooks.example.com/keelson", []), ("http://hooks", [80]), ("https://hooks.example.com:8443/x?y=z", [8443])])
def test_port_of_the_endpoint_of_notifications_is_open_in_the_network_policy(helm, url, ports):
    def egress(values: dict) -> list[dict]:
        (policy,) = [i for i in render(helm, merged(CRDS_OFF, values)) if i["kind"] == "NetworkPolicy" and i["metadata"]["name"] == "keelson"]
        return policy["spec"]["egress"]

    before, after = egress({}), egress({"operator": {"notifications": {"url": url, "secret": {"name": "notifications"}}}})
    assert [rule for rule in after if rule not in before] == [{"ports": [{"protocol": "TCP", "port": port}]} for port in ports]


def test_single_replica_has_no_disruption_budget(helm):
    assert not [item for item in render(helm, merged(CRDS_OFF, {"replicas": 1})) if item["kind"] == "PodDisruptionBudget"]


# Schema


def objects_of_schema(node: object, path: str = "") -> Iterator[tuple[str, dict]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, child in node.items():
            yield from objects_of_schema(child, f"{path}/{key}")
    if isinstance(node, list):
        for child in node:
            yield from objects_of_schema(child, path)


def test_every_object_of_the_schema_is_closed():
    """Except maps of strings. Fields of Kubernetes are listed too: the API server drops unknown ones, and Helm does not say so."""
    open_objects = {path for path, node in objects_of_schema(SCHEMA) if node.get("additionalProperties") is not False}
    strings = {path for path in open_objects if dict(objects_of_schema(SCHEMA))[path].get("additionalProperties") == {"type": "string"}}
    assert strings == {"/definitions/labels", "/definitions/annotations"}
    assert open_objects - strings == {"/properties/global"}


def test_defaults_and_samples_are_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(default_values(), SCHEMA)
    jsonschema.validate(everything(), SCHEMA)


def test_schema_and_values_have_the_same_keys():
    def keys(node: dict, path: tuple[str, ...] = ()) -> Iterator[str]:
        while "$ref" in node:
            node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]
        properties = node.get("properties", {})
        # A map that is empty by default has no keys in values.yaml.
        if not properties or ".".join(path) in leaf_paths():
            yield ".".join(path)
        else:
            for key, child in properties.items():
                yield from keys(child, (*path, key))

    assert set(keys(SCHEMA)) - {"global"} == set(leaf_paths())


@pytest.mark.parametrize("path", leaf_paths())
def test_value_of_another_type_is_rejected(path):
    values = merged(default_values(), nested(tuple(path.split(".")), None))
    wrong = merged(values, nested(tuple(path.split(".")), {"other": {"other": 1}}))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicaCount": 3}, "'replicaCount' not allowed"),
        ({"image": {"name": "x"}}, "'name' not allowed"),
        ({"tolerations": [{"keys": "x"}]}, "'keys' not allowed"),
        ({"affinity": {"nodeAffinity": {"required": []}}}, "'required' not allowed"),
        ({"extraVolumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "'hostPath' not allowed"),
        ({"replicas": "3"}, "got string, want integer"),
        ({"operator": {"maxDeletions": True}}, "got boolean, want null or integer"),
        ({"crds": {"keep": "yes"}}, "got string, want boolean"),
        ({"image": {"tag": 1.0}}, "got number, want string"),
        ({"extraArgs": "--log-level=debug"}, "got string, want array"),
        ({"nodeSelector": ["x"]}, "got array, want object"),
        ({"podLabels": {"team": 1}}, "got number, want string"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "invalid propertyName 'app.kubernetes.io/name'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "value must be one of"),
        ({"image": {"digest": "sha256:short"}}, "does not match pattern"),
        ({"operator": {"concurrency": 0}}, "minimum: got 0, want 1"),
        ({"operator": {"workloadProxy": {"url": "http://user:password@proxy:1"}}}, "does not match pattern"),
        ({"metrics": {"readers": [{"name": "prometheus"}]}}, "missing property 'namespace'"),
    ],
    ids=str,
)
def test_helm_rejects_what_the_schema_does_not_allow(helm, values, message):
    with pytest.raises(HelmError, match=re.escape(message)):
        render(helm, values)


def test_globals_of_a_parent_chart_are_accepted(helm):
    render(helm, {"global": {"imageRegistry": "registry.example.com"}})


# The chart itself


def documented_section(page: str) -> str:
    """The part of a page about Helm."""
    return re.search(r"^(?:### |\*\*)With Helm.*?(?=^### |^\*\*With)", (CHECKOUT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)[0]


def documented_values(page: str) -> dict:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", documented_section(page), re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


@pytest.mark.parametrize(
    ("page", "fact"),
    [
        ("install.md", "Deployment/keelson spec.template.spec.containers[0].image=registry.example.com/keelson:0.1.0"),
        ("monitoring.md", "PrometheusRule/keelson metadata.labels.release=prometheus"),
    ],
)
def test_values_in_the_docs_are_accepted(helm, page, fact):
    assert fact in facts(render(helm, documented_values(page)))
    named = re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)(?:: true)?`", documented_section(page).replace("values.yaml", ""))
    assert named
    for path in named:
        assert path in leaf_paths(), path


def test_helm_lint_finds_nothing(helm):
    helm.run("lint", CHART, "--strict")
    helm.run("lint", CHART, "--strict", values=everything())


def test_versions_and_annotations_of_the_chart_match_the_operator(rendered):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    annotations = {key.removeprefix("artifacthub.io/"): value for key, value in chart["annotations"].items()}
    version = re.search(r'^version = "(.+)"$', (CHECKOUT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert chart["version"] == chart["appVersion"] == version
    crds = {(c["metadata"]["name"], c["spec"]["names"]["kind"], v["name"]) for c in kustomize.build(CHECKOUT / "crds") for v in c["spec"]["versions"]}
    assert {(c["name"], c["kind"], c["version"]) for c in yaml.safe_load(annotations["crds"])} == crds
    examples = [*documents(EXAMPLES / "account.yaml"), *documents(EXAMPLES / "minimal.yaml")]
    assert yaml.safe_load(annotations["crdsExamples"]) == examples
    (image,) = [item["spec"]["template"]["spec"]["containers"][0]["image"] for item in rendered if item["kind"] == "Deployment"]
    assert [entry["image"] for entry in yaml.safe_load(annotations["images"])] == [image]
    minor = kube_minor((CHECKOUT / "docs" / "install.md").read_text())
    assert chart["kubeVersion"] == f">={minor}.0-0"


def kube_minor(page: str) -> str:
    """The oldest Kubernetes that the docs name."""
    return re.search(r"Kubernetes cluster \((1\.\d+) or newer\)", page)[1]
