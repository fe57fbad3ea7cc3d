"""Each command that a page, a manifest, a help text or a message names exists: its verbs, options, operations and kinds."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
from collections.abc import Iterator

import botocore.session
import pytest
import yaml
from botocore import xform_name

from charts.rendering import default_values
from fleet.guide import NOT_RUN, PAGES_NOT_RUN, RUN_ELSEWHERE, Guide, blocks, commands, to_run
from fleet.shell import needs_tools
from keelson_harness.paths import CHECKOUT, CRDS, keelson_binary, tools
from named_commands import TAKE_A_VALUE, VALUE, Named, in_sentence, in_shell, of_files, of_pages, of_source, of_templates, verb_at
from named_commands.fields import crd_schemas, has_field, named_fields, of_jsonpath

TESTS = CHECKOUT / "e2e" / "tests"
CHART = CHECKOUT / "deploy" / "charts" / "keelson"
OF_KUBERNETES = {"view", "edit", "admin"}
# They may only become fewer.
MOST_NOT_RUN = 28
SOURCES = (of_pages, of_files, of_source, of_templates)
# What people name beside the kinds of crds/: of Kubernetes, Flux and Cluster API.
KINDS = {
    "all", "awsfargateprofile", "awsmanagedcluster", "awsmanagedcontrolplane", "awsmanagedmachinepool", "cluster", "cluster-api", "clusterrolebinding",
    "configmap", "cronjob", "deployment", "events", "gitrepository", "job", "jobs", "kustomizations", "lease", "machinepool", "namespace", "nodes",
    "nodepools", "pod", "pods", "poddisruptionbudget", "rolebinding", "secret", "service", "serviceaccount",
}
# For an option whose value is not named.
VALUES = (VALUE, "1", "127.0.0.1:1", "https://example.com")
# A name in capitals stands for the reader's own, of which this option takes only some; a plugin of kubectl that is not ours.
NAMED_ONLY = {("keelson", "completion", "SHELL"), ("kubectl", "oidc-login")}
ACTS_ON_KIND = ("annotate", "delete", "describe", "edit", "get", "label", "patch", "scale", "wait")
ACTS_ON_OBJECT = ("exec", "logs", "port-forward")
GROUPS = ("auth", "config", "create", "rollout", "set")
# What follows the name of a program in a sentence that is about the program. Any other word is taken for a verb.
NO_VERBS = {"keelson": {"has", "have", "is"}, "kubectl": {"or", "takes", "uses"}, "aws": {"account", "is", "needs"}}
# Of the AWS CLI itself: https://docs.aws.amazon.com/cli/latest/reference.
AWS_OPTIONS = {"endpoint-url", "no-cli-pager", "output", "profile", "query", "region"}
AWS_COMMANDS = {
    ("cloudformation", "deploy"): {"stack-name", "template-file", "capabilities", "parameter-overrides"},
    ("eks", "get-token"): {"cluster-name"},
    ("eks", "update-kubeconfig"): {"name", "kubeconfig", "alias"},
    ("sso", "login"): set(),
}


@functools.cache
def named(program: str) -> list[Named]:
    """One of those with the same words."""
    found = {(one.words, one.prose): one for source in SOURCES for one in source() if one.words[0] == program and one.words not in NAMED_ONLY}
    return list(found.values())


def answer(*line: str) -> subprocess.CompletedProcess[str]:
    """Of a program that is asked for help after its arguments: it refuses those that it does not know, and runs nothing."""
    return subprocess.run(line, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, capture_output=True, text=True, check=False)


@functools.cache
def refused(program: str, *arguments: str) -> str:
    """Why; empty if it is not. An option at the end may be named without its value."""
    answers = [answer(program, *arguments, "--help")]
    for value in VALUES if arguments[-1].startswith("-") else ():
        answers += [answer(program, *arguments, value, "--help")] if answers[-1].returncode else []
    return "" if answers[-1].returncode == 0 else answers[0].stderr.strip().split("\n")[0]


def is_about_the_program(one: Named) -> bool:
    return one.prose and one.words[1] in NO_VERBS.get(one.words[0], set())


def test_named_commands_of_keelson_exist():
    wrong = []
    for one in named("keelson"):
        if is_about_the_program(one):
            continue
        if why := refused(str(keelson_binary()), *one.words[1:]):
            wrong.append(f"{one.place}: {' '.join(one.words)}: {why}")
    assert not wrong, "\n".join(wrong)
    assert len(named("keelson")) > 150


@functools.cache
def kinds() -> set[str]:
    names = [yaml.safe_load(path.read_text())["spec"]["names"] for path in CRDS.glob("*.yaml")]
    of_crds = {name for one in names for name in (one["plural"], one["singular"], *one.get("shortNames", []))}
    return KINDS | {f"{kind}s" for kind in KINDS} | of_crds


def kinds_of(words: tuple[str, ...]) -> Iterator[str]:
    """On which kinds kubectl acts, and for which it makes rules or asks. words: from the verb on."""
    yield from (kind for word in words if word.startswith("--resource=") for kind in names_of(word.partition("=")[2]))
    rest = positional(words)
    if rest[0] in ACTS_ON_KIND:
        yield from names_of(*rest[1:2])
    elif rest[:2] == ["auth", "can-i"]:
        # After the verb that is asked for.
        yield from names_of(*rest[3:4])
    elif rest[0] == "rollout" or rest[0] in ACTS_ON_OBJECT:
        yield from (kind for word in rest[1:3] if "/" in word for kind in names_of(word))


def positional(words: tuple[str, ...]) -> list[str]:
    """Those that are neither options nor their values."""
    pairs = zip(("", *words), words, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and before not in TAKE_A_VALUE]


def names_of(*kinds_or_objects: str) -> Iterator[str]:
    for part in (part for word in kinds_or_objects for part in word.split(",")):
        kind = part.partition("/")[0].partition(".")[0]
        if kind != VALUE and not kind.isupper() and not kind.startswith(("$", "{")):
            yield kind


def with_value(words: tuple[str, ...]) -> tuple[str, ...]:
    """An option at the end may be named without its value."""
    return (*words, VALUE) if words and re.fullmatch("-{1,2}[a-z-]+", words[-1]) else words


def test_named_commands_of_kubectl_exist():
    needs_tools("kubectl")
    wrong: list[str] = []
    by_verb: dict[tuple[str, ...], list[tuple[Named, tuple[str, ...]]]] = {}
    for one in named("kubectl"):
        at = verb_at(one.words[1:])
        # A plugin of ours: `kubectl keelson`.
        if at is None or is_about_the_program(one) or one.words[1 + at] == "keelson":
            continue
        # The options before the verb are of all verbs.
        before, words = one.words[1 : 1 + at], one.words[1 + at :]
        verb, words = words[0], (*words, *before)
        wrong += [f"{one.place}: kubectl {' '.join(words)}: no kind {kind}" for kind in kinds_of(words) if kind not in kinds()]
        shape = words[:2] if verb in GROUPS and len(words) > 1 else words[:1]
        by_verb.setdefault(shape, []).append((one, words[len(shape) :]))
    for shape, found in by_verb.items():
        # All at once, as kubectl takes a while to start.
        together = [word for _, words in found for word in with_value(words)]
        answered = answer("kubectl", *shape, *together, "--help")
        if f"kubectl {' '.join(shape)} " not in answered.stdout:
            reasons = [f"{one.place}: {' '.join(one.words)}: {why}" for one, words in found if (why := refused("kubectl", *shape, *words))]
            wrong += reasons or [f"{found[0][0].place}: kubectl {' '.join(shape)}: {answered.stderr.strip() or 'no such command'}"]
    assert not wrong, "\n".join(wrong)
    assert len(by_verb) > 20


def test_named_fields_exist():
    """In the CRD of the kind on which the command acts."""
    schemas, wrong, found = crd_schemas(), [], 0
    for one in named("kubectl"):
        at = verb_at(one.words[1:])
        if one.prose or at is None:
            continue
        words = one.words[1 + at :]
        for kind in kinds_of(words):
            paths = list(named_fields(words)) if kind in schemas else []
            found += len(paths)
            wrong += [f"{one.place}: {kind} has no {path}" for path in paths if not has_field(schemas[kind], path)]
    assert not wrong, "\n".join(wrong)
    assert found > 40


def test_fields_that_no_crd_has_are_found():
    cluster = crd_schemas()["ekscluster"]
    known = '{range .status.plan.steps[*]}{.state} {.action}{"\\n"}{end}{.status.conditions[?(@.type=="Ready")].message}{.metadata.name}'
    assert [path for path in of_jsonpath(known) if not has_field(cluster, path)] == []
    unknown = '{range .status.plan.steps[*]}{.stat}{end}{.status.conditions[?(@.typ=="Ready")].message}{.status.plan[*].hash}{.spec.x}'
    assert [path for path in of_jsonpath(unknown) if has_field(cluster, path)] == [".status.plan.steps[*]"]
    assert list(named_fields(("get", "x", "-o", "custom-columns=A:.kind,B:.status.x"))) == [".kind", ".status.x"]
    assert list(named_fields(("wait", "--for=jsonpath={.status.replicas}=3", "nodegroup/x"))) == [".status.replicas"]


@functools.cache
def aws() -> botocore.session.Session:
    return botocore.session.get_session()


@functools.cache
def aws_options(service: str, operation: str) -> set[str] | None:
    """None: no such operation."""
    if found := AWS_COMMANDS.get((service, operation)):
        return found
    model = aws().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if (service, operation) in AWS_COMMANDS or operation == "wait":
        return set()
    if operation not in names:
        return None
    shape = model.operation_model(names[operation]).input_shape
    return {xform_name(member, "-") for member in shape.members} if shape else set()


def test_named_commands_of_aws_exist():
    """By the models of botocore, and for what the CLI has beside them by its reference."""
    services = set(aws().get_available_services())
    wrong = []
    for one in named("aws"):
        if is_about_the_program(one) or len(one.words) < 3:
            continue
        service, operation, *arguments = one.words[1:]
        options = aws_options(service, operation) if service in services else None
        if options is None:
            wrong.append(f"{one.place}: {' '.join(one.words)}")
            continue
        given = {word[2:].partition("=")[0] for word in arguments if word.startswith("--")}
        flags = {f"no-{name}" for name in options}
        if unknown := given - options - flags - AWS_OPTIONS:
            wrong.append(f"{one.place}: {' '.join(one.words)}: {', '.join(sorted(unknown))}")
    assert not wrong, "\n".join(wrong)


def test_commands_that_do_not_exist_are_refused():
    program = str(keelson_binary())
    assert "unexpected argument" in refused(program, "plan", "-f", "x", "--lives")
    assert "unrecognized subcommand" in refused(program, "rollout", "redo")
    assert not refused(program, "plan", "--live", "-f")
    assert aws_options("eks", "describe-clusters") is None and "name" in (aws_options("eks", "describe-cluster") or ())
    assert list(kinds_of(("get", "-n", "team", "ekscluster,nodegroups/x"))) == ["ekscluster", "nodegroups"]
    assert list(kinds_of(("auth", "can-i", "patch", "eksclusterz", "-n", "team"))) == ["eksclusterz"]
    assert list(kinds_of(("create", "role", "x", "--verb=get", "--resource=secrets,eksclusters.keelson.dev"))) == ["secrets", "eksclusters"]
    assert list(kinds_of(("rollout", "status", "deployment/x"))) == list(kinds_of(("logs", "deployment/x", "--previous"))) == ["deployment"]
    assert {"fr", "nodegroups"} <= kinds() and "eksc" not in kinds()


def test_named_commands_of_helm_exist_and_set_values_of_the_chart():
    helm = str(tools("helm")["helm"])
    wrong = [f"{one.place}: {' '.join(one.words)}: {why}" for one in named("helm") if (why := refused(helm, *one.words[1:]))]
    assert not wrong, "\n".join(wrong)
    texts = [path.read_text() for path in (*(CHECKOUT / page for page in PAGES), CHART / "templates" / "NOTES.txt")]
    paths = {path for text in texts for path in re.findall(r"--set ([\w.]+)=", text)}
    assert len(paths) > 4
    assert [path for path in sorted(paths) if not is_value(path.split("."))] == []


def is_value(path: list[str]) -> bool:
    found: object = default_values()
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def test_named_roles_and_annotations_exist():
    """Those that commands bind and set."""
    words = [(one.place, word) for program in ("kubectl", "keelson") for one in named(program) for word in one.words]
    roles = {word.partition("=")[2] for _, word in words if word.startswith("--clusterrole=")} - OF_KUBERNETES
    shipped = "".join(path.read_text() for path in (CHECKOUT / "deploy").rglob("*.yaml"))
    assert len(roles) > 7 and [role for role in sorted(roles) if not re.search(rf"name: {role}$", shipped, re.MULTILINE)] == []
    keys = {found[1] for _, word in words if (found := re.match(r"((?:[a-z]+\.)?keelson\.dev/[a-z-]+)[=-]", word))}
    source = "".join(path.read_text() for path in (CHECKOUT / "src").rglob("*.rs"))
    assert len(keys) > 6 and [key for key in sorted(keys) if not key.startswith("hold.") and f'"{key}"' not in source] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kubectl get pod | keelson plan -f - > x", ["kubectl get pod", "keelson plan -f -"]),
        ('hash=$(kubectl get ekscluster shop -o jsonpath="{.status}")', ["kubectl get ekscluster shop -o jsonpath={.status}"]),
        ("a && ! keelson rollout retry main  # why", ["keelson rollout retry main"]),
        ("kubectl create role x \\\n  --verb=get", ["kubectl create role x --verb=get"]),
        ("kubectl -n x logs deployment/y --previous", ["kubectl -n x logs deployment/y --previous"]),
        ("kubectl --kubeconfig x get nodes | grep y", ["kubectl --kubeconfig x get nodes"]),
    ],
)
def test_commands_of_a_shell_are_found(text, expected):
    assert [" ".join(one.words) for one in in_shell("page", text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("approve it (keelson approve x -n x), or", ["keelson approve x -n x"]),
        ("keelson status x -n x -w shows it", ["keelson status x -n x -w"]),
        ("`kubectl -n keelson-system`", []),
        ("see kubectl -n x logs deployment/x --previous, then", ["kubectl -n x logs deployment/x --previous"]),
        ("aws eks x --service-account keelson --role-arn x", ["aws eks x --service-account"]),
        ("keelson rollout retry x x. Then", ["keelson rollout retry x x"]),
        ("see `aws eks list-insights`", ["aws eks list-insights"]),
    ],
)
def test_commands_of_a_sentence_are_found(text, expected):
    assert [" ".join(one.words) for one in in_sentence("message", text)] == expected


# Which are run


@functools.cache
def opened_guides() -> dict[str, str]:
    """The file that runs the commands of a page, for each page of which a function opens a `Guide` and reaches an end."""
    files = [*sorted(TESTS.glob("test_*.py")), *sorted((TESTS / "reading").glob("*.py"))]
    trees = {path.name: ast.parse(text) for path in files if "Guide(" in (text := path.read_text())}
    assigned = [node for tree in trees.values() for node in tree.body if isinstance(node, ast.Assign)]
    constants = {node.targets[0].id: node.value for node in assigned if isinstance(node.targets[0], ast.Name)}
    functions = [(name, node) for name, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {page: name for name, function in functions for page in pages_of(function, constants)}


def pages_of(function: ast.FunctionDef, constants: dict[str, ast.expr]) -> list[str]:
    """The pages whose variable reaches its `end()` before another page is assigned to it."""
    opened: dict[str, str] = {}
    ended: list[str] = []
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.Call)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node, ast.Assign):
            opened |= pages_by_variable(node, constants)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "end" and isinstance(node.func.value, ast.Name):
            ended += [page for page in [opened.pop(node.func.value.id, None)] if page]
    return ended


def pages_by_variable(assigned: ast.Assign, constants: dict[str, ast.expr]) -> dict[str, str]:
    """Of `guide = Guide(PAGE)` and `guide, short = Guide(PAGE), Guide("docs/x.md")`."""
    found = {}
    for target in assigned.targets:
        together = isinstance(target, ast.Tuple) and isinstance(assigned.value, ast.Tuple)
        pairs = zip(target.elts, assigned.value.elts, strict=True) if together else [(target, assigned.value)]
        for variable, value in pairs:
            if isinstance(variable, ast.Name) and isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Guide":
                page = value.args[0]
                page = constants.get(page.id, page) if isinstance(page, ast.Name) else page
                if isinstance(page, ast.Constant):
                    found[variable.id] = page.value
    return found


PAGES = sorted(str(path.relative_to(CHECKOUT)) for folder in ("docs", "deploy", "examples") for path in (CHECKOUT / folder).rglob("*.md"))
PAGES += ["README.md", "CONTRIBUTING.md", "SECURITY.md"]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_commands_of_a_page_are_run_or_have_a_reason(page):
    """`Guide.end` fails in the test that opens a page, for each block that it did not take."""
    assert to_run(page) == [] or page in opened_guides(), f"no test runs the commands of {page}, and fleet/guide.py does not say why"


def test_reasons_are_about_commands_that_pages_have():
    starts = {page: [*blocks(page), *(command for block in blocks(page) for command in commands(block))] for page in PAGES}
    assert [key for key in (*NOT_RUN, *RUN_ELSEWHERE) if not any(text.startswith(key[1]) for text in starts[key[0]])] == []
    assert [page for page in PAGES_NOT_RUN if not blocks(page)] == []
    assert len(NOT_RUN) + len(PAGES_NOT_RUN) <= MOST_NOT_RUN, "run it, or take out another"


@pytest.mark.parametrize(("page", "test"), [(page, test) for (page, _), test in RUN_ELSEWHERE.items()])
def test_tests_that_read_a_page_themselves_exist(page, test):
    file, _, name = test.partition("::")
    source = (TESTS / file).read_text()
    assert f"def {name}(" in source and page.rpartition("/")[2] in source


def test_parts_of_a_page_that_no_test_takes_fail():
    guide = Guide("docs/policies.md")
    with pytest.raises(AssertionError, match="no test runs"):
        guide.end()
    assert "keelson.dev/approve=a --overwrite" in guide.take("keelson.dev/approve", f582f36209a1c7de="a")
    guide.end()


@pytest.mark.parametrize(
    ("body", "pages"),
    [
        ('a, b = Guide("a.md"), Guide(B)\na.end()', ["a.md"]),
        ('a, b = Guide("a.md"), Guide(B)\nb.end()\na.end()', ["b.md", "a.md"]),
        ('a = Guide("a.md")\na = Guide(B)\na.end()', ["b.md"]),
        ('a = Guide("a.md")\na.end()\na = Guide(B)', ["a.md"]),
        ('a = Guide("a.md", {})\nfor x in y:\n  x.end()', []),
    ],
)
def test_pages_count_as_run_only_if_their_own_end_is_reached(body, pages):
    function = ast.parse(f"def test():\n  {body.replace(chr(10), chr(10) + '  ')}").body[0]
    assert pages_of(function, {"B": ast.Constant("b.md")}) == pages


def test_commands_of_a_block_keep_their_lines():
    text = "a \\\n  b\nfor x in y; do\n  z\ndone\ncat > f <<'END'\nq\nEND\nlast  # why\n"
    assert commands(text) == ["a \\\n  b", "for x in y; do\n  z\ndone", "cat > f <<'END'\nq\nEND", "last  # why"]
