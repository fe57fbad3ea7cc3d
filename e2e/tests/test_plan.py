"""`keelson plan` in a pipeline: files and folders, formats, exit codes, and what admission would refuse."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from admission import API, merged
from fleet.account import Account, fresh_account
from fleet.environment import Environment, environment
from fleet.manifests import account as aws_account
from fleet.manifests import cluster, existing, flux, node_group
from keelson_harness.kubeapi import ApiError
from keelson_harness.paths import CHECKOUT, EXAMPLES, keelson_binary
from test_admission import TABLES, cases

PATH = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def plan(*arguments: str, env: dict[str, str] | None = None, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(keelson_binary()), "plan", *arguments]
    return subprocess.run(
        command, input=text, env={**PATH, **(env or {})}, capture_output=True, text=True, check=False, timeout=120
    )


def write(folder: Path, **items: dict | list) -> Path:
    folder.mkdir(exist_ok=True)
    for name, item in items.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(item if isinstance(item, list) else [item]))
    return folder


# What admission refuses

# Objects of one run of the command: it costs more to build the schemas than to check a hundred objects.
OBJECTS_OF_A_RUN = 100


def manifest(kind: str, spec: dict, name: str, space: str) -> list[dict]:
    """The object, with the cluster that a node group needs."""
    item = {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": space}, "spec": spec}
    wanted = spec.get("clusterRef", {}).get("name", "demo")
    others = [cluster(wanted if re.fullmatch("[a-z0-9-]+", wanted) else "demo", space)] if kind == "NodeGroup" else []
    return [*others, item]


def as_text(items: list[dict]) -> str:
    # As JSON, which is YAML without values that only look like texts.
    return "\n---\n".join(json.dumps(item) for item in items)


def refusals(objects: list[list[dict]]) -> list[str]:
    """What is refused of each, of several runs of the command; empty: nothing, or something that is checked only when nothing else is refused."""
    found = []
    for first in range(0, len(objects), OBJECTS_OF_A_RUN):
        # The last object is refused for certain: what precedes it was checked.
        chunk = [*objects[first : first + OBJECTS_OF_A_RUN], [cluster("last", misspelt=True)]]
        result = plan("-f", "-", text=as_text([item for items in chunk for item in items]))
        # Each refusal begins with its document.
        parts = re.split(r"^(?:keelson: )?document (\d+)", result.stderr, flags=re.MULTILINE)
        by_document = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
        ends = list(itertools.accumulate(map(len, chunk)))
        assert result.returncode == 1 and "misspelt: unknown field" in by_document.get(ends[-1], ""), result.stderr
        found += [by_document.get(end, "") for end in ends[:-1]]
    return found


INVALID = cases("INVALID")


@pytest.fixture(scope="module")
def refused() -> list[str]:
    objects = [manifest(kind, merged(base, case.change), case.name, f"space-{n}") for n, (kind, base, case) in enumerate(c.values for c in INVALID)]
    return refusals(objects)


@pytest.mark.parametrize(("number", "kind", "base", "case"), [pytest.param(n, *c.values, id=c.id) for n, c in enumerate(INVALID)])
def test_what_admission_refuses_is_refused_offline(refused, number, kind, base, case):
    message = refused[number]
    if not message:
        # Not by the schema.
        result = plan("-f", "-", text=as_text(manifest(kind, merged(base, case.change), case.name, "default")))
        assert result.returncode == 1, result.stdout
        message = result.stderr
    if case.advice in RULES:
        # Or the schema refuses its length first.
        assert case.advice in message or re.search(r"has \d+ characters", message), message


def rule_messages() -> Iterator[str]:
    def of(schema: object) -> Iterator[str]:
        if isinstance(schema, dict):
            yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", []))
            for value in schema.values():
                yield from of(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from of(value)

    for path in (CHECKOUT / "crds").glob("*.yaml"):
        yield from of(yaml.safe_load(path.read_text()))


class Rules:
    """The messages of the CEL rules: other refusals have the API server's own words."""

    texts = sorted(set(rule_messages()))

    def __contains__(self, advice: str) -> bool:
        return any(advice in text for text in self.texts)


RULES = Rules()


def accepted() -> list:
    kinds = ("EksCluster", "NodeGroup")
    return [
        pytest.param(kind, merged(merged(base, case.start), case.change), id=f"{kind}-{case}")
        for kind in kinds
        for table, base in TABLES[kind]
        for case in table.CHANGEABLE
    ]


ACCEPTED = accepted()


@pytest.fixture(scope="module")
def refused_of_accepted() -> list[str]:
    return refusals([manifest(*c.values, "demo", f"space-{n}") for n, c in enumerate(ACCEPTED)])


@pytest.mark.parametrize("number", [pytest.param(n, id=c.id) for n, c in enumerate(ACCEPTED)])
def test_no_rule_refuses_what_admission_accepts(refused_of_accepted, number):
    message = refused_of_accepted[number]
    assert not [text for text in RULES.texts if text in message], message


# Files and folders


def test_folders_and_files_are_one_manifest(tmp_path):
    kustomization = {"kind": "Kustomization", "resources": ["demo.yaml"]}
    clusters = write(tmp_path / "clusters", demo=cluster("demo"), kustomization=kustomization)
    write(clusters / "nested", other=cluster("other"))
    groups = write(tmp_path / "groups", demo=node_group("demo"))
    result = plan("-f", str(clusters), "-f", str(groups / "demo.yaml"), "-o", "json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    names = [one["object"] for one in found["objects"]]
    assert names == ["EksCluster default/demo", "NodeGroup default/demo-default", "EksCluster default/other"]
    assert found["changes"] and not found["problems"]
    steps = {step["resource"]: step for step in found["objects"][0]["steps"]}
    assert steps["cluster"]["action"] == "Create" and steps["cluster"]["takesSeconds"] > 60
    write(clusters, copy=cluster("demo"))
    twice = plan("-f", str(clusters))
    assert twice.returncode == 1 and re.search(r"EksCluster demo is also in \S+, document 1: keep one of them", twice.stderr), twice.stderr
    empty = plan("-f", str(tmp_path / "empty")) if (tmp_path / "empty").mkdir() is None else None
    assert empty.returncode == 1 and "no file that ends in" in empty.stderr


def test_node_group_without_its_cluster_is_an_error(tmp_path):
    folder = write(tmp_path / "groups", demo=node_group("demo"))
    result = plan("-f", str(folder))
    assert result.returncode == 1 and "EksCluster default/demo, to which a NodeGroup refers" in result.stderr
    assert "--context" in result.stderr


def test_agent_is_part_of_the_plan():
    result = plan("-f", str(EXAMPLES / "minimal.yaml"), "-o", "json")
    assert yaml.safe_load(plan("-f", str(EXAMPLES / "minimal.yaml"), "-o", "yaml").stdout) == json.loads(result.stdout)
    steps = json.loads(result.stdout)["objects"][0]["steps"]
    assert [step["action"] for step in steps if step["resource"] == "gitOpsAgent"] == ["Create"]


def test_access_entry_in_the_comments_of_the_minimal_manifest_is_planned_once_it_is_none():
    text = (EXAMPLES / "minimal.yaml").read_text()
    uncommented, lines = re.subn(r"^  #   (?=[ -]|access:)", "  ", text, flags=re.MULTILINE)
    assert lines == 5 and yaml.safe_load(uncommented.split("---")[0])["spec"]["access"]["entries"]

    def steps(manifest: str) -> list[str]:
        result = plan("-f", "-", "-o", "json", text=manifest)
        assert result.returncode == 0, result.stderr
        return [step["resource"] for step in json.loads(result.stdout)["objects"][0]["steps"] if step["action"] == "Create"]

    (added,) = set(steps(uncommented)) - set(steps(text))
    assert added.startswith("accessEntry/") and added.endswith("role/platform-admins"), added


# Exit codes and formats, against AWS


@pytest.fixture(scope="module")
def on() -> Iterator[Environment]:
    with environment(workload=False, git=False) as started:
        yield started


@pytest.fixture(scope="module")
def account(on: Environment) -> Account:
    return on.account(fresh_account())


def live(on: Environment, account: Account, *items: dict, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": account.id}
    return plan("-f", "-", "--live", *more, env=env, text=yaml.safe_dump_all(list(items)))


def test_exit_codes_are_those_of_terraform(on, account):
    items = [cluster("codes"), node_group("codes")]
    detailed = ("--detailed-exitcode",)
    assert live(on, account, *items, more=detailed).returncode == 2
    assert live(on, account, *items).returncode == 0
    with on.operator(account=account.id):
        on.apply(*items)
        on.ready(*items)
        settled = live(on, account, *items, more=detailed)
        assert settled.returncode == 0, settled.stdout
        edited = live(on, account, {**items[0], "spec": {**items[0]["spec"], "tags": {"a": "b"}}}, items[1], more=detailed)
        assert edited.returncode == 2, edited.stdout
        upgraded = live(on, account, cluster("codes", version="1.35"), items[1], more=detailed)
        assert upgraded.returncode == 2, upgraded.stdout
        on.delete(*reversed(items))
    broken = live(on, account, {**items[0], "spec": {**items[0]["spec"], "regoin": "x"}}, more=detailed)
    assert broken.returncode == 1 and "regoin" in broken.stderr
    assert plan("--no-such-flag", *detailed).returncode == 1


def test_what_cannot_be_done_is_an_error(on, account):
    role = account.cluster_role("foreign")
    subnets = account.network()[:2]
    account.eks.create_cluster(name="foreign", roleArn=role, version="1.34", resourcesVpcConfig={"subnetIds": subnets})
    for item, words in (
        (cluster("foreign", network=existing(*subnets)), "control plane: cluster foreign"),
        (cluster("fresh", version="1.99"), "spec.version: EKS does not offer Kubernetes 1.99 in"),
        (cluster("fresh", addons=[{"name": "coredns", "version": "v0.0.1"}]), "spec.addons[coredns]: EKS offers no version v0.0.1"),
        (cluster("fresh", network=existing("subnet-1", "subnet-2")), "subnet-1"),
    ):
        for more in ((), ("--detailed-exitcode",), ("-o", "json"), ("-o", "markdown")):
            result = live(on, account, item, more=more)
            assert result.returncode == 1 and words in result.stderr, (words, more, result.stdout, result.stderr)
        assert "it cannot be applied as it is" in result.stdout


def test_ami_that_the_operator_refuses_is_refused(on, account):
    def of_image(image: str) -> dict:
        return node_group("image", node={"imageId": image, "userData": "#!/bin/sh"})

    missing = live(on, account, cluster("image"), of_image("ami-0123456789abcdef0"))
    assert missing.returncode == 1 and "spec.node.imageId: EC2 shows no AMI ami-0123456789abcdef0 in" in missing.stderr, missing.stderr
    owner = aws_account("limited", account.id, allowedImageOwners=["999988887777"], allowedImageIds=[])
    image = account.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    assert live(on, account, cluster("image"), of_image(image)).returncode == 0
    limited = cluster("image", accountRef={"name": "limited"})
    for one in (image, "ami-0123456789abcdef0"):
        refused = live(on, account, limited, of_image(one), owner)
        assert refused.returncode == 1 and f"spec.node.imageId: {one} is not an AMI that this namespace may use" in refused.stderr, refused.stderr
    listed = {**owner, "spec": {**owner["spec"], "allowedImageIds": [image]}}
    assert live(on, account, limited, of_image(image), listed).returncode == 0


def test_markdown_is_a_comment_of_a_pull_request(on, account):
    result = live(on, account, cluster("comment", gitops=flux("https://github.com/acme/fleet", "clusters/@team")), node_group("comment"), more=("-o", "markdown"))
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert text.startswith("<!-- keelson plan -->\n### Keelson plan\n")
    assert "<details><summary><b>EksCluster default&#47;comment" in text or "<b>EksCluster default/comment</b>" in text
    assert "team" in text and "@team" not in text, "nobody is mentioned"
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows and all(line.count("|") == 5 for line in rows), text


def test_mistake_is_a_comment_too(tmp_path):
    folder = write(tmp_path / "clusters", demo=cluster("demo", regoin="x"))
    result = plan("-f", str(folder), "-o", "markdown")
    assert result.returncode == 1 and "regoin" in result.stderr
    assert result.stdout.startswith("<!-- keelson plan -->") and "regoin" in result.stdout


ALL_CHANGES = {"EksCluster": {"region": "eu-west-2"}, "NodeGroup": {"capacityType": "Spot"}}


def test_change_of_what_cannot_change_is_refused_where_the_objects_are_known(on, account, tmp_path):
    """As the API server would; offline the files are new objects."""
    owner, nodes = cluster("fixed", network=existing(*account.network()[:2])), node_group("fixed")
    on.apply(owner, nodes)
    folder = write(tmp_path / "fixed", owner=owner, nodes=nodes)
    known = ("--kubeconfig", str(on.cloud.management.kubeconfig))
    assert plan("-f", str(folder), *known).returncode == 0
    for item in (owner, nodes):
        changed = {**item, "spec": {**item["spec"], **ALL_CHANGES[item["kind"]]}}
        write(folder, **{"owner" if item is owner else "nodes": changed})
        (field,) = ALL_CHANGES[item["kind"]]
        assert plan("-f", str(folder)).returncode == 0
        refused = plan("-f", str(folder), *known)
        assert refused.returncode == 1 and f"{item['kind']} {item['metadata']['name']}:" in refused.stderr, refused.stderr
        assert re.search(rf"spec\.{field}: .*cannot change", refused.stderr), refused.stderr
        with pytest.raises(ApiError) as rejected:
            on.apply(changed)
        assert rejected.value.code == 422
        write(folder, owner=owner, nodes=nodes)
    on.delete(nodes, owner)


def test_missing_objects_come_from_the_management_cluster(on, account, tmp_path):
    owner, nodes, more = cluster("owner"), node_group("owner"), node_group("owner", "owner-more", scaling={"min": 1, "max": 2})
    folder = write(tmp_path / "groups", more=more)
    kubeconfig = ("--kubeconfig", str(on.cloud.management.kubeconfig))
    with on.operator(account=account.id):
        on.apply(owner, nodes)
        on.ready(owner, nodes)
        env = {**on.aws.env(), "AWS_ACCESS_KEY_ID": account.id}
        for flags in ((), ("--live",)):
            result = plan("-f", str(folder), *kubeconfig, *flags, "-o", "json", env=env)
            assert result.returncode == 0, result.stderr
            objects = json.loads(result.stdout)["objects"]
            assert [one["object"] for one in objects] == ["NodeGroup default/owner-more"], objects
            creates = [step for step in objects[0]["steps"] if step["action"] == "Create"]
            assert [step["resource"] for step in creates] == ["nodeGroup/owner-more"], objects
        on.delete(nodes, owner)
    missing = plan("-f", str(folder), *kubeconfig)
    assert missing.returncode == 1 and "not in the files or in the management cluster" in missing.stderr


# The workflow


GUIDE = CHECKOUT / "docs" / "how-to" / "plan-in-pull-requests.md"


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
def test_policy_of_the_workflow_only_reads_and_allows_a_live_plan(on, account, tmp_path):
    (command,) = [block for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL) if block.startswith("jq ")]
    subprocess.run(command.replace("plan-policy.json", str(tmp_path / "policy.json")), shell=True, check=True, cwd=CHECKOUT)
    statements = json.loads((tmp_path / "policy.json").read_text())["Statement"]
    allowed = {action for s in statements for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert len(allowed) > 30
    assert [action for action in allowed if not re.match("[a-z0-9-]+:(Describe|Get|List)", action)] == []
    items = [cluster("reads"), node_group("reads")]
    mark = on.mark()
    result = plan("-f", str(write(tmp_path / "reads", reads=items)), "--live", env={**on.aws.env(), "AWS_ACCESS_KEY_ID": account.id})
    assert result.returncode == 0, result.stderr
    called = {f"{call['service']}:{call['action']}" for call in on.calls(mark, account.id)}
    assert len(called) > 5 and called <= allowed, called - allowed


WORKFLOW = CHECKOUT / "examples" / "github" / "plan-comment.yaml"
# Answers as the GitHub CLI does when a comment exists or not, and records its arguments.
GH = """#!/bin/sh
echo "$*" >> "$RUNNER_TEMP/gh.log"
case "$*" in *--paginate*) cat "$RUNNER_TEMP/existing" ;; esac
"""


def test_workflow_comments_once_and_updates_that_comment(on, account, tmp_path):
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["plan"]["steps"]
    script = {step["name"]: step["run"] for step in steps if "run" in step}
    write(tmp_path / "clusters", demo=cluster("workflow"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "keelson").symlink_to(keelson_binary())
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    (tmp_path / "existing").touch()
    env = {
        **on.aws.env(), "AWS_ACCESS_KEY_ID": account.id, "HOME": "/nonexistent", "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "COMMENTS": "repos/acme/fleet/issues/7/comments", "COMMENT": "repos/acme/fleet/issues/comments",
    }

    def step(name: str, **more: str) -> int:
        shell = ["bash", "-e", "-o", "pipefail", "-c", script[name]]
        return subprocess.run(shell, cwd=tmp_path, env={**env, **more}, check=False, timeout=120).returncode

    assert step("Plan") == 0 and (tmp_path / "output").read_text() == "code=2\n"
    assert (tmp_path / "comment.md").read_text().startswith("<!-- keelson plan -->")
    assert step("Comment") == 0
    (tmp_path / "existing").write_text("11\n")
    assert step("Comment") == 0
    methods = [line.split()[:4] for line in (tmp_path / "gh.log").read_text().splitlines() if "--method" in line]
    assert methods == [
        ["api", "--method", "POST", "repos/acme/fleet/issues/7/comments"],
        ["api", "--method", "PATCH", "repos/acme/fleet/issues/comments/11"],
    ]
    write(tmp_path / "clusters", demo=cluster("workflow", regoin="x"))
    (tmp_path / "output").unlink()
    assert step("Plan") == 0 and (tmp_path / "output").read_text() == "code=1\n"
    assert step("Fail if the plan cannot be applied", CODE="1") == 1 and step("Fail if the plan cannot be applied", CODE="2") == 0
