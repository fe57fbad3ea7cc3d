"""deploy/monitoring: rules pass their unit tests, which fail when a rule is broken; generated files, dashboards and pages are consistent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from keelson_harness.kubeapi import documents
from keelson_harness.paths import CHECKOUT, CRDS, DEPLOY
from keelson_harness.prometheus import MONITORING, RULES, SCRAPE_CONFIG, prometheus_tools
from monitoring import DASHBOARDS, RUNBOOKS, alert_rules, documented_metrics, queries

TESTS = MONITORING / "rules_test.yaml"
RUNBOOK_URL = "https://github.com/OWNER/keelson/blob/main/docs/runbooks.md#"
COLUMNS = 24


def promtool(*arguments: str | Path, cwd: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    command = [prometheus_tools()["promtool"], *arguments]
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


# Rules.


def test_rules_are_valid():
    result = promtool("check", "rules", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout


def cases() -> list[tuple[str, str, bool]]:
    """(alert, time, whether it fires then) of each unit test."""
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    return [(case["alertname"], case["eval_time"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]


def test_each_alert_has_unit_tests_of_firing_and_of_silence():
    for fires in (True, False):
        assert {alert for alert, _, firing in cases() if firing == fires} == set(alert_rules())


def test_rules_pass_their_unit_tests():
    result = promtool("test", "rules", TESTS)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("expression", "fires"), [("vector(0) > 1", True), ("vector(1)", False)], ids=["never fires", "always fires"])
def test_unit_tests_fail_when_a_rule_is_broken(tmp_path, expression, fires):
    """fires: which of the tests detect it."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule |= {"expr": expression, "for": "0s"}
            # Expanded at each evaluation of an alert that fires: two thirds of promtool's time.
            del rule["annotations"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    # These expressions have one value at all times: a fifth of the evaluations suffices.
    tests = yaml.safe_load(TESTS.read_text()) | {"evaluation_interval": "5m"}
    (tmp_path / TESTS.name).write_text(yaml.safe_dump(tests))
    result = promtool("test", "rules", TESTS.name, cwd=tmp_path)
    failed = set(re.findall(r"alertname: (\w+), time:", result.stdout))
    assert failed == {alert for alert, _, firing in cases() if firing == fires}


@pytest.mark.parametrize("alert", alert_rules())
def test_alert_names_severity_object_and_runbook(alert):
    rule = alert_rules()[alert]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]} and rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_URL}{alert.lower()}"
    kept = re.findall(r"by \(([^)]*)\)", rule["expr"])
    for label in ("namespace", "name", "kind", "account", "region", "service"):
        assert (label in kept[0].split(", ") if kept else False) == (f"$labels.{label}" in rule["annotations"]["description"]), label


# Files made from others.


def test_generated_files_are_current():
    result = subprocess.run([sys.executable, MONITORING / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_prometheus_rule_has_exactly_the_plain_rules():
    (rule,) = documents(MONITORING / "prometheus-rule.yaml")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_component_lists_every_manifest_and_dashboard():
    component = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert sorted(component["resources"]) == ["pod-monitor.yaml", "prometheus-rule.yaml", "service-account.yaml"]
    (generator,) = component["configMapGenerator"]
    assert sorted(generator["files"]) == [f"dashboards/{path.name}" for path in DASHBOARDS]


def component_object(kind: str) -> dict:
    names = yaml.safe_load((MONITORING / "kustomization.yaml").read_text())["resources"]
    return next(item for name in names for item in documents(MONITORING / name) if item["kind"] == kind)


def test_pod_monitor_selects_the_operators_pods_and_uses_the_token_of_its_service_account():
    spec = component_object("PodMonitor")["spec"]
    (pod,) = (item["spec"]["template"] for item in documents(DEPLOY / "deployment.yaml"))
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    # The job that the rules name.
    assert pod["metadata"]["labels"][spec["jobLabel"]] == "keelson"
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    secret, account, binding = (component_object(kind) for kind in ("Secret", "ServiceAccount", "ClusterRoleBinding"))
    assert endpoint["authorization"]["credentials"] == {"name": secret["metadata"]["name"], "key": "token"}
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account["metadata"]["name"]
    (reader,) = documents(DEPLOY / "metrics-reader.yaml")
    assert binding["roleRef"]["name"] == reader["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"]) == (account["kind"], account["metadata"]["name"])


def test_scrape_configurations_agree():
    (job,) = yaml.safe_load(SCRAPE_CONFIG.read_text())["scrape_configs"]
    (endpoint,) = component_object("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (job["metrics_path"], job["scrape_interval"], job["honor_labels"]) == (endpoint["path"], endpoint["interval"], endpoint["honorLabels"])
    assert job["job_name"] == "keelson"


def test_scrape_configuration_is_valid(tmp_path):
    """Except `kubernetes_sd_configs`, which Debian's promtool does not know."""
    config = yaml.safe_load(SCRAPE_CONFIG.read_text())
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["keelson-system"]}}]
    # A file that only a Pod has.
    job["authorization"]["credentials_file"] = str(tmp_path / "token")
    (tmp_path / "token").touch()
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump({**config, "rule_files": [str(RULES)]}))
    result = promtool("check", "config", path)
    assert result.returncode == 0, result.stdout


# Dashboards. Grafana itself is not here: what it needs to load a file is checked.


def panels(path: Path) -> list[dict]:
    return json.loads(path.read_text())["panels"]


every_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_uids_are_unique_and_name_the_files():
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert uids == [path.stem for path in DASHBOARDS] and len(uids) == 3


@every_dashboard
def test_panels_have_unique_ids_and_do_not_overlap(path):
    ids = [panel["id"] for panel in panels(path)]
    assert len(ids) == len(set(ids))
    occupied: set[tuple[int, int]] = set()
    for panel in panels(path):
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert cells and max(x for x, _ in cells) < COLUMNS and not cells & occupied, panel["title"]
        occupied |= cells


@every_dashboard
def test_panels_have_a_description_a_unit_and_the_chosen_data_source(path):
    variables = {variable["name"]: variable for variable in json.loads(path.read_text())["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for panel in panels(path):
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"] and len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}


@every_dashboard
def test_only_declared_variables_are_used(path):
    dashboard = json.loads(path.read_text())
    declared = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval", "__range"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
    assert used - declared == set()
    assert declared - used <= {"__rate_interval", "__range"}, "a variable that no panel uses"


def test_rules_and_dashboards_use_documented_metrics_only():
    known = set(documented_metrics())
    texts = [query.expression for query in queries()] + [rule["expr"] for rule in alert_rules().values()]
    for text in texts:
        for name in re.findall(r"\b(?:keelson|process)_\w+", text):
            assert name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known, name


def test_documented_metrics_are_those_of_the_code():
    """What the code registers; `test_monitoring.py` compares labels and types with a running operator."""
    source = "".join(re.split(r"#\[cfg\(test\)\]\s+(?:#\[path|mod )", path.read_text())[0] for path in (CHECKOUT / "src" / "telemetry").rglob("*.rs"))
    registered = set(re.findall(r'(?:register|register_with_unit|encode_descriptor)\(\s*"(\w+)"', source))
    # In tables: name and help.
    registered |= set(re.findall(r'\n\s*\("(\w+)", "[A-Z]', source))
    stems = {re.sub(r"^keelson_|_total$", "", name) for name in documented_metrics()}
    missing = {name for name in registered if name not in stems and f"{name}_seconds" not in stems}
    assert missing == set(), "without a line in docs/monitoring.md"
    assert len(stems) == len(registered), stems ^ registered


# Runbooks.


def test_each_alert_has_its_runbook_and_each_runbook_its_alert():
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == list(alert_rules()), "the sections of docs/runbooks.md in the order of rules.yaml"


@pytest.mark.parametrize("alert", alert_rules())
def test_runbook_explains_looks_and_acts(alert):
    section = RUNBOOKS.read_text().partition(f"\n## {alert}\n")[2].partition("\n## ")[0]
    for part in ("**Meaning.**", "**Check.**", "**Do.**"):
        assert section.count(part) == 1, part
    assert "```sh\n" in section, "no command"
    rule = alert_rules()[alert]
    held = rule.get("for", "at once")
    assert f"Severity {rule['labels']['severity']}, " in section and f"`{held}`" in section


# kube-state-metrics.


def schema_at(schema: dict, path: list[str]) -> dict | None:
    """The schema of a path in a CRD; `None`: the CRD has no such field. [key=value] selects an item of a list."""
    for part in path:
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return {}
        if part.startswith("["):
            schema = schema.get("items")
            key = part.strip("[]").partition("=")[0]
            if schema is None or key not in schema["properties"]:
                return None
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        elif isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        else:
            return None
    return schema


METADATA = {"type": "object", "properties": {name: {"type": "string"} for name in ("name", "namespace", "creationTimestamp", "deletionTimestamp")}}


def crd_schema(kind: str) -> dict:
    for path in CRDS.glob("*.yaml"):
        for crd in documents(path):
            if crd["spec"]["names"]["kind"] == kind:
                (version,) = crd["spec"]["versions"]
                schema = version["schema"]["openAPIV3Schema"]
                return {**schema, "properties": {**schema["properties"], "metadata": METADATA}}
    raise AssertionError(f"no CRD of {kind}")


def resources() -> list[dict]:
    return yaml.safe_load((MONITORING / "kube-state-metrics.yaml").read_text())["spec"]["resources"]


def test_kube_state_metrics_reads_fields_that_exist():
    for resource in resources():
        group = resource["groupVersionKind"]
        assert (group["group"], group["version"]) == ("keelson.dev", "v1alpha1")
        root = crd_schema(group["kind"])
        found = {"labelsFromPath": resource.get("labelsFromPath", {})}
        for name, path in found["labelsFromPath"].items():
            assert schema_at(root, path) is not None, f"{group['kind']}: {name}"
        for metric in resource["metrics"]:
            (body,) = (value for key, value in metric["each"].items() if key != "type")
            base = schema_at(root, body.get("path", []))
            assert base is not None, f"{group['kind']} {metric['name']}: {body['path']}"
            if metric["each"]["type"] == "Gauge":
                # From an object, valueFrom would make a series of each of its fields.
                assert ("valueFrom" in body) == (base["type"] == "array"), metric["name"]
                assert base["type"] != "object", metric["name"]
            else:
                assert metric["name"].endswith("info"), metric["name"]
            # A list is read item by item.
            base = base.get("items", base)
            paths = [*body.get("labelsFromPath", {}).values(), *([body["valueFrom"]] if "valueFrom" in body else [])]
            for path in paths:
                assert schema_at(base, path) is not None, f"{group['kind']} {metric['name']}: {path}"


def test_a_path_that_no_crd_has_is_found():
    assert schema_at(crd_schema("EksCluster"), ["status", "noSuchField"]) is None
    assert schema_at(crd_schema("EksCluster"), ["status", "conditions", "[typ=Ready]", "status"]) is None
    assert schema_at(crd_schema("EksCluster"), ["status", "conditions", "[type=Ready]", "status"]) is not None


def test_kube_state_metrics_have_unique_names_and_known_types():
    kinds = [resource["groupVersionKind"]["kind"] for resource in resources()]
    assert sorted(kinds) == ["AwsAccount", "EksCluster", "FleetRollout", "NodeGroup"]
    for resource in resources():
        names = [metric["name"] for metric in resource["metrics"]]
        assert len(names) == len(set(names))
        for metric in resource["metrics"]:
            each = metric["each"]
            assert set(each) == {"type", each["type"][0].lower() + each["type"][1:]} and each["type"] in ("Gauge", "Info", "StateSet")
