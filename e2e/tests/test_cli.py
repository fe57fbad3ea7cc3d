"""The commands that show and steer clusters: get, status, events, kubeconfig, suspend, resume, reconcile, version."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleet import API
from fleet.command_line import Following, command, on_terminal, output, run, until_allowed, user
from fleet.environment import Environment, environment, until
from fleet.manifests import cluster, key_of, namespace, node_group
from keelson_harness.aws import REGION, Durations
from keelson_harness.paths import DEPLOY, keelson_binary

TEAM = "team-cli"
# A version whose support does not end soon: that would be reported.
VERSION = "1.36"
SHOWN, NODES = cluster("shown", TEAM, version=VERSION), node_group("shown", namespace=TEAM)
OTHER = cluster("other", TEAM, changePolicy="Approval", addons=[])
SYSTEM = "keelson-system"


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    # Long enough to be seen in progress.
    with environment(workload=False, git=False, durations=Durations(4, 1, 1, 1, 0.5, 0.5)) as started:
        yield started


@pytest.fixture(scope="module")
def shown(on: Environment) -> Iterator[Environment]:
    """A ready cluster with nodes, and one that waits for approval; an operator runs."""
    on.apply(namespace(TEAM))
    with on.operator():
        on.apply(SHOWN, NODES, OTHER)
        on.ready(SHOWN, NODES)
        on.await_condition(OTHER, status="False", reason="WaitingForApproval")
        yield on
        on.delete(NODES, SHOWN)
        on.api.delete(*key_of(OTHER))

        def is_gone() -> bool:
            # The first plan that is approved may be one from before the deletion.
            run(on, "approve", "other", "-n", TEAM, "-y")
            return on.api.find(*key_of(OTHER)) is None

        until(is_gone, 90, "the deletion")


@pytest.fixture
def following(shown: Environment) -> Iterator:
    started: list[Following] = []

    def start(*arguments: str) -> Following:
        started.append(Following(shown, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop()


# get


def test_get_shows_clusters_with_their_node_groups(shown):
    table = output(shown, "get", "-n", TEAM)
    assert re.search(r"^NAME +READY +STATUS +VERSION +NODES +AGE +DOING$", table, re.MULTILINE), table
    assert re.search(r"^shown +True +Available +1\.36 ", table, re.MULTILINE), table
    assert re.search(r"^└─ shown-default +True +Available +1\.36 +\S+/2 \(2-4\)", table, re.MULTILINE), table
    assert re.search(r"^other +False +WaitingForApproval ", table, re.MULTILINE), table
    wide = output(shown, "get", "-A", "-o", "wide")
    assert re.search(r"^NAMESPACE +NAME .* TYPES ", wide, re.MULTILINE) and re.search(r" m7i\.large$", wide, re.MULTILINE), wide


def test_get_prints_the_objects_for_programs(shown):
    names = output(shown, "get", "-n", TEAM, "-o", "name").split()
    assert sorted(names) == [
        "ekscluster.keelson.dev/other", "ekscluster.keelson.dev/shown", "nodegroup.keelson.dev/shown-default",
    ]
    items = json.loads(output(shown, "get", "shown", "-n", TEAM, "-o", "json"))["items"]
    for item, wanted in zip(items, (SHOWN, NODES), strict=True):
        found = shown.api.get(*key_of(wanted))
        assert (item["apiVersion"], item["kind"], item["spec"]) == (API, wanted["kind"], found["spec"])
    assert yaml.safe_load(output(shown, "get", "shown", "-n", TEAM, "-o", "yaml"))["items"][0]["kind"] == "EksCluster"


def test_get_selects_by_label(shown):
    shown.api.patch(*key_of(SHOWN)[:3], {"metadata": {"labels": {"env": "prod"}}}, TEAM)
    names = output(shown, "get", "-A", "-l", "env=prod", "-o", "name").split()
    assert names == ["ekscluster.keelson.dev/shown", "nodegroup.keelson.dev/shown-default"]


def test_get_of_one_cluster_is_the_tree_of_its_resources(shown):
    tree = output(shown, "get", "shown", "-n", TEAM)
    status = shown.status(SHOWN)
    ids = {one["key"]: one["id"] for one in status["resources"]}
    assert re.search(rf"^│  └─ VPC +available +{ids['vpc']}$", tree, re.MULTILINE), tree
    assert all(text in tree for text in ("├─ control plane", "ACTIVE", "└─ NodeGroup team-cli/shown-default")), tree


def test_get_watch_prints_a_line_for_each_change(shown, following):
    watch = following("get", "-n", TEAM, "-w")
    watch.until("EksCluster team-cli/shown Available")
    output(shown, "suspend", "shown", "-n", TEAM)
    watch.until("EksCluster team-cli/shown Suspended")
    output(shown, "resume", "shown", "-n", TEAM)
    # The last line may not be complete yet.
    lines = watch.until("EksCluster team-cli/shown Available\n", times=2).rpartition("\n")[0].splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d (EksCluster|NodeGroup) team-cli/", line) for line in lines), lines
    shown.ready(SHOWN, NODES)


def test_get_watch_shows_bars_on_a_terminal(shown):
    drawn = cluster("drawn", TEAM, addons=[])
    shown.apply(drawn)
    # A bar that has begun to fill: at first it is empty.
    bar = re.compile(r"drawn +\[(=+>?|>) *\] Creating")
    text = on_terminal(shown, "get", "-n", TEAM, "-w", until=("shown-default", "WaitingForApproval", bar))
    assert "\x1b[" in text, "the terminal is redrawn"
    shown.ready(drawn)
    shown.delete(drawn)


# status


def test_status_of_a_ready_cluster(shown):
    text = output(shown, "status", "shown", "-n", TEAM)
    assert text.startswith(f"EksCluster team-cli/shown: shown in {REGION}, account "), text
    for part in ("State       Ready (Available), for ", "Doing       nothing", "In the way  nothing", "You can     nothing to do"):
        assert part in text, text
    assert "shown-default   True    Available" in text and "Created" in text, text
    names = output(shown, "status", "shown", "-n", TEAM, "-o", "name").split()
    assert names == ["ekscluster.keelson.dev/shown", "nodegroup.keelson.dev/shown-default"]


def test_advice_of_status_is_a_command_that_works(shown):
    answer = json.loads(output(shown, "status", "other", "-n", TEAM, "-o", "json"))
    assert (answer["ready"], answer["state"]) == (False, "WaitingForApproval")
    assert [problem["reason"] for problem in answer["problems"]][0] == "WaitingForApproval"
    advised = re.fullmatch(r"read the plan and approve it: keelson (.+)", answer["actions"][0])
    output(shown, *advised[1].split(), "--yes")
    shown.ready(OTHER)


def test_status_says_what_is_in_progress_since_when_and_until_when(shown):
    long = cluster("long", TEAM, addons=[])
    shown.apply(long)

    def running() -> dict | None:
        result = run(shown, "status", "long", "-n", TEAM, "-o", "json")
        answer = json.loads(result.stdout) if result.returncode == 0 else {}
        found = [one for one in answer.get("doing", []) if one["of"] == "control plane"]
        return {**answer, "control_plane": found[0]} if found else None

    answer = until(running, 30, "a control plane in progress")
    control_plane = answer["control_plane"]
    assert control_plane["what"] == "creating" and control_plane["since"] < control_plane["until"] <= answer["until"]
    shown.ready(long)
    shown.delete(long)


def test_status_watch_prints_changes_and_ends_with_the_object(shown, following):
    brief = cluster("brief", TEAM, changePolicy="Observe")
    shown.apply(brief)
    until(lambda: shown.status(brief).get("conditions"), 30, "conditions")
    watch = following("status", "brief", "-n", TEAM, "-w")
    watch.until("EksCluster team-cli/brief ")
    shown.delete(brief)
    watch.until("EksCluster brief is deleted")
    assert watch.process.wait(10) == 0


def test_missing_object_is_named(shown):
    of_cluster = ("status", "get", "approve", "reconcile", "suspend", "resume", "kubeconfig", "doctor", "events")
    of_group = ("status", "get", "approve", "reconcile", "events")
    for kind, verbs in (("EksCluster", of_cluster), ("NodeGroup", of_group)):
        for verb in verbs:
            name = "nowhere" if kind == "EksCluster" else "nodegroup/nowhere"
            result = run(shown, verb, name, "-n", TEAM)
            assert result.returncode == 1, verb
            assert result.stderr == f"keelson: {kind} nowhere does not exist in namespace {TEAM}\n", verb


# events


def test_events_are_those_of_the_cluster_and_its_node_groups(shown):
    text = output(shown, "events", "shown", "-n", TEAM)
    assert "EksCluster team-cli/shown" in text and "NodeGroup team-cli/shown-default" in text
    assert "team-cli/other" not in text
    items = json.loads(output(shown, "events", "nodegroup/shown-default", "-n", TEAM, "-o", "json"))["items"]
    assert {item["involvedObject"]["name"] for item in items} == {"shown-default"}


def test_events_of_an_object_that_is_gone_are_shown(shown):
    gone = cluster("gone", TEAM, addons=[])
    shown.apply(gone)
    shown.ready(gone)
    shown.delete(gone)
    assert "EksCluster team-cli/gone" in output(shown, "events", "gone", "-n", TEAM)
    missing = run(shown, "events", "never-there", "-n", TEAM, "-o", "json")
    assert (missing.returncode, missing.stdout) == (1, ""), missing


def test_followed_events_appear_as_they_come(shown, following):
    events = following("events", "shown", "-n", TEAM, "-f")
    events.until("Created")
    output(shown, "suspend", "shown", "-n", TEAM)
    events.until("EksCluster team-cli/shown Suspended: ")
    output(shown, "resume", "shown", "-n", TEAM)
    shown.ready(SHOWN)


# kubeconfig


def test_kubeconfig_has_the_cluster_and_no_token(shown):
    text = output(shown, "kubeconfig", "shown", "-n", TEAM, "--role-arn", "arn:aws:iam::111122223333:role/admin")
    config = yaml.safe_load(text)
    described = shown.account().eks.describe_cluster(name="shown")["cluster"]
    found = config["clusters"][0]["cluster"]
    assert found == {
        "server": described["endpoint"], "certificate-authority-data": described["certificateAuthority"]["data"],
    }
    run_by_kubectl = config["users"][0]["user"]["exec"]
    assert run_by_kubectl["command"] == "aws" and run_by_kubectl["args"][:6] == [
        "--region", REGION, "eks", "get-token", "--cluster-name", "shown",
    ]
    assert run_by_kubectl["args"][-2:] == ["--role-arn", "arn:aws:iam::111122223333:role/admin"]
    assert "token:" not in text
    role = ("--role-arn", "arn:aws:iam::111122223333:role/admin")
    assert json.loads(output(shown, "kubeconfig", "shown", "-n", TEAM, *role, "-o", "json")) == config


def test_kubeconfig_is_merged_into_a_file(shown, tmp_path):
    path = tmp_path / "folder" / "config"
    for _ in range(2):
        result = run(shown, "kubeconfig", "shown", "-n", TEAM, f"--merge={path}")
        assert result.returncode == 0 and f"context shown is in {path}" in result.stderr, result.stderr
    config = yaml.safe_load(path.read_text())
    assert [one["name"] for one in config["contexts"]] == ["shown"] and config["current-context"] == "shown"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(path.parent) == ["config"]
    assert f"kubectl --kubeconfig {path} get nodes" in result.stderr
    link = tmp_path / "link"
    link.symlink_to(path)
    kept = run(shown, "kubeconfig", "shown", "-n", TEAM, f"--merge={link}", "--keep-context")
    assert f"kubectl --kubeconfig {link} --context shown get nodes" in kept.stderr, kept.stderr
    assert link.is_symlink() and not path.is_symlink()
    path.with_name("config.lock").touch()
    locked = run(shown, "kubeconfig", "shown", "-n", TEAM, f"--merge={path}")
    assert locked.returncode == 1 and "config.lock exists" in locked.stderr


def test_kubeconfig_of_a_cluster_without_endpoint_says_where_to_look(shown):
    planned = cluster("planned", TEAM, changePolicy="Observe")
    shown.apply(planned)
    result = run(shown, "kubeconfig", "planned", "-n", TEAM)
    shown.delete(planned)
    assert result.returncode == 1 and "has no endpoint yet: keelson status planned" in result.stderr


# suspend, resume, reconcile


def test_suspended_cluster_is_resumed(shown):
    assert "EksCluster team-cli/shown: suspended" in output(shown, "suspend", "shown", "-n", TEAM)
    shown.await_condition(SHOWN, reason="Suspended")
    assert "already suspended" in output(shown, "suspend", "shown", "-n", TEAM)
    text = output(shown, "status", "shown", "-n", TEAM)
    assert f"keelson resume shown -n {TEAM}" in text, text
    assert "EksCluster team-cli/shown: resumed" in output(shown, "resume", "shown", "-n", TEAM)
    shown.ready(SHOWN, NODES)


def test_commands_that_change_objects_print_them_for_programs(shown):
    names = ["ekscluster.keelson.dev/shown", "nodegroup.keelson.dev/shown-default"]
    suspended = run(shown, "suspend", "shown", "-n", TEAM, "-o", "name")
    assert (suspended.stdout, suspended.stderr) == (f"{names[0]}\n", f"EksCluster {TEAM}/shown: suspended\n")
    already = run(shown, "suspend", "shown", "-n", TEAM, "-o", "json")
    assert json.loads(already.stdout)["spec"]["suspend"] is True and "already suspended" in already.stderr
    resumed = run(shown, "resume", "shown", "-n", TEAM, "-o", "yaml")
    assert not yaml.safe_load(resumed.stdout)["spec"].get("suspend") and "resumed" in resumed.stderr
    requested = run(shown, "reconcile", "shown", "-n", TEAM, "--wait", "-o", "name")
    assert requested.stdout.split() == names and f"EksCluster {TEAM}/shown is ready" in requested.stderr, requested
    items = json.loads(output(shown, "reconcile", "nodegroup/shown-default", "-n", TEAM, "-o", "json"))["items"]
    assert [item["kind"] for item in items] == ["NodeGroup"]
    shown.ready(SHOWN, NODES)


def test_field_that_somebody_applies_is_reported_as_one_that_is_set_back(shown):
    applied = cluster("applied", TEAM, suspend=True)
    shown.api.apply_all([applied])
    result = run(shown, "resume", "applied", "-n", TEAM)
    shown.delete(applied)
    assert result.returncode == 0 and "applies spec.suspend of this object and will set it back" in result.stderr


def test_reconcile_reads_aws_again_and_waits_for_the_result(shown):
    mark = shown.mark()
    text = output(shown, "reconcile", "shown", "-n", TEAM, "--wait", "--timeout", "1m")
    assert "EksCluster team-cli/shown is ready" in text and "NodeGroup team-cli/shown-default: reconcile requested" in text
    read = {(call["action"], call["resource"]) for call in shown.calls(mark)}
    assert any(action == "DescribeCluster" for action, _ in read), read
    for item in (SHOWN, NODES):
        found = shown.api.get(*key_of(item))
        assert found["status"]["lastHandledReconcileAt"] == found["metadata"]["annotations"]["keelson.dev/reconcile-at"]
    assert not [call for call in shown.writes(mark) if "shown" in call["resource"]]


def test_reconcile_fails_for_what_is_stalled(shown):
    stalled = cluster("stalled", TEAM, network={"existing": {"subnetIds": ["subnet-1", "subnet-2"]}})
    shown.apply(stalled)
    result = run(shown, "reconcile", "stalled", "-n", TEAM, "--wait", "--timeout", "1m")
    shown.delete(stalled)
    assert result.returncode == 1 and "EksCluster team-cli/stalled is " in result.stderr and "subnet-1" in result.stderr


# version, permissions, errors, names


def test_version_names_client_operator_and_api(shown):
    versions = json.loads(output(shown, "version", "-o", "json"))
    assert yaml.safe_load(output(shown, "version", "-o", "yaml")) == versions
    operator = versions["operator"]
    assert operator["version"] == versions["client"] and operator["apiVersions"] == [API]
    data = shown.api.get("v1", "ConfigMap", "keelson-installation", SYSTEM)["data"]
    assert (operator["installationId"], operator["version"]) == (data["id"], data["version"])
    assert output(shown, "version", "--client") == f"client    {versions['client']}\n"
    without = run(shown, "version", kubeconfig=Path("/nonexistent/config"))
    assert without.returncode == 1 and without.stdout == f"client    {versions['client']}\n"


def test_documented_roles_are_enough_and_errors_are_readable(shown):
    viewer = user(shown, "viewer", (TEAM, "ClusterRole", "view"), (SYSTEM, "Role", "keelson-version"))
    editor = user(shown, "editor", (TEAM, "ClusterRole", "keelson-edit"))
    for arguments in (("get",), ("status", "shown"), ("events", "shown"), ("kubeconfig", "shown")):
        result = until_allowed(shown, viewer, *arguments, "-n", TEAM)
        assert result.returncode == 0, result.stderr
    assert run(shown, "version", kubeconfig=viewer).returncode == 0
    for verb in ("suspend", "resume", "reconcile"):
        refused = run(shown, verb, "shown", "-n", TEAM, kubeconfig=viewer)
        assert refused.returncode == 1 and 'User "viewer" cannot patch' in refused.stderr, refused.stderr
        assert "ask an administrator" in refused.stderr and "Status {" not in refused.stderr
        result = until_allowed(shown, editor, verb, "shown", "-n", TEAM)
        assert result.returncode == 0, result.stderr
    refused = run(shown, "get", "-A", kubeconfig=viewer)
    assert refused.returncode == 1 and "at the cluster scope" in refused.stderr and "ApiError" not in refused.stderr
    refused = run(shown, "status", "shown", "-n", "default", "-w", kubeconfig=viewer)
    assert refused.returncode == 1 and "forbidden" in refused.stderr and "ApiError" not in refused.stderr
    shown.ready(SHOWN, NODES)


def test_cluster_and_context_are_chosen_by_options(shown, tmp_path):
    config = yaml.safe_load(shown.cloud.management.kubeconfig.read_text())
    config["contexts"].append({"name": "nowhere", "context": {"cluster": "nowhere", "user": config["users"][0]["name"]}})
    config["clusters"].append({"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}})
    path = tmp_path / "both"
    path.write_text(yaml.safe_dump(config))
    elsewhere = Path("/nonexistent/config")
    found = run(shown, "get", "-n", TEAM, "--kubeconfig", str(path), kubeconfig=elsewhere)
    assert found.returncode == 0 and "shown" in found.stdout, found.stderr
    for verb in (("get",), ("get", "-w"), ("status", "shown"), ("approve", "shown")):
        missed = run(shown, *verb, "--kubeconfig", str(path), "--context", "nowhere", kubeconfig=elsewhere)
        assert missed.returncode == 1 and "the API server cannot be reached" in missed.stderr, missed.stderr
    unknown = run(shown, "get", "--kubeconfig", str(path), "--context", "typo", kubeconfig=elsewhere)
    assert unknown.returncode == 1 and "typo" in unknown.stderr
    none = run(shown, "get", kubeconfig=elsewhere)
    assert none.returncode == 1 and "KUBECONFIG=/nonexistent/config: cannot be read" in none.stderr
    assert none.stderr.count("KUBECONFIG") == 1, none.stderr


def test_plugin_of_kubectl_shows_its_own_name(shown, tmp_path):
    plugin = tmp_path / "kubectl-keelson"
    plugin.symlink_to(keelson_binary())
    _, env = command(shown)
    result = subprocess.run([plugin, "status", "--help"], env=env, capture_output=True, text=True, check=True)
    assert "Usage: kubectl keelson status [OPTIONS] <NAME>" in result.stdout, result.stdout
    result = subprocess.run([plugin, "status"], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "Usage: kubectl keelson status" in result.stderr


def test_completion_and_man_pages_are_generated(shown, tmp_path):
    verbs = set(re.findall(r"^  ([a-z]+) ", output(shown, "--help").partition("Commands:")[2].partition("Options:")[0], re.MULTILINE)) - {"help"}
    assert len(verbs) > 15
    for shell in ("bash", "zsh", "fish"):
        script = output(shown, "completion", shell)
        assert [verb for verb in verbs if not re.search(rf"(?<![\w-]){verb}(?![\w-])", script)] == [], shell
        # All three parse a script without running it. Those that are not installed cannot.
        if shutil.which(shell):
            path = tmp_path / f"keelson.{shell}"
            path.write_text(script)
            subprocess.run([shell, "-n", path], check=True)
    output(shown, "man", str(tmp_path / "man"))
    pages = {path.name: path.read_text() for path in (tmp_path / "man").iterdir()}
    assert {"keelson.1", *(f"keelson-{verb}.1" for verb in verbs)} <= pages.keys()
    page = pages["keelson-status.1"]
    # What follows the options.
    assert "\n.SH EXTRA\n" in page and "\nExamples:\n" in page and "keelson status demo" in page, page


def test_output_has_no_colour_in_a_pipe_or_with_no_color(shown):
    assert "\x1b[" not in output(shown, "get", "-n", TEAM)
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        text = on_terminal(shown, "status", "shown", "-n", TEAM, env=more)
        assert ("\x1b[" in text) == coloured, text


def test_text_of_others_cannot_act_on_the_terminal(shown, tmp_path):
    """An attacker writes an event, and a manifest that a reviewer plans."""
    evil, at = "\x1b]0;evil\x07\x1b[2J\x9b1A\u202e", "2026-11-29T14:00:00Z"
    involved = {"apiVersion": API, "kind": "EksCluster", "name": "shown", "namespace": TEAM}
    shown.api.apply_all([{
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "evil", "namespace": TEAM}, "involvedObject": involved,
        "type": "Warning", "reason": "Evil", "message": f"{evil}readable", "firstTimestamp": at, "lastTimestamp": at,
    }])
    path = tmp_path / "evil.yaml"
    item = cluster("demo")
    item["metadata"]["name"] = f"demo{evil}readable\n::error::forged"
    item["spec"]["\n::stop-commands::x"] = 1
    path.write_text(yaml.safe_dump(item))
    for arguments in (("events", "shown", "-n", TEAM), ("plan", "-f", str(path))):
        text = on_terminal(shown, *arguments)
        without_colours = re.sub(r"\x1b\[(0|1|2|31|32|33|36)m", "", text)
        assert "readable" in text and not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", without_colours), text
        assert not [one for one in without_colours.splitlines() if one.strip().startswith("::")], text


def test_reconcile_of_an_object_in_deletion_ends_when_it_is_gone(shown):
    going = cluster("going", TEAM, addons=[])
    shown.apply(going)
    shown.ready(going)
    shown.api.delete(*key_of(going))
    result = run(shown, "reconcile", "going", "-n", TEAM, "--timeout", "2m")
    assert result.returncode == 0 and f"EksCluster {TEAM}/going is deleted" in result.stdout, result.stderr


def test_krew_manifest_names_the_plugin():
    manifest = yaml.safe_load((DEPLOY / "krew" / "keelson.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    platforms = manifest["spec"]["platforms"]
    assert {(one["selector"]["matchLabels"]["os"], one["selector"]["matchLabels"]["arch"]) for one in platforms} >= {
        ("linux", "amd64"), ("linux", "arm64"), ("darwin", "arm64"),
    }
    for one in platforms:
        assert {"from": "keelson", "to": "kubectl-keelson"} in one["files"] and one["bin"] == "kubectl-keelson"
        assert one["uri"].endswith(".tar.gz") and one["sha256"].startswith("SHA256_")
