"""docs/tutorial.md works: the page's own commands, in order, against the environment that its first command starts."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet.demo_run import recipe
from fleet.shell import BLOCK, Shell, needs_tools
from keelson_harness.paths import CHECKOUT, keelson_binary
from keelson_harness.processes import Process

PAGE = CHECKOUT / "docs" / "tutorial.md"
# The last line that `make dev` prints.
STARTED = "# logs: "
START_SECONDS = 180
# What differs from run to run, and its name in a comparison.
VARIABLE = [
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\b[a-z]+-[0-9a-f]{8,17}\b", "ID"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b", "COMMIT"),
    (r"\b\d+m?s\b|\b\d+m\d+s\b|\b\d+m\b", "AGE"),
    (r"(less than|about) \d+ (s|min)( \d+ s)?", "A WHILE"),
    (r"\b\d+\.\d s\b", "SECONDS"),
    (r"\d\d:\d\d:\d\d", "TIME"),
    (r"\bfor \d+ s\b", "for A WHILE"),
    (r"[ \t]+", " "),
]


@dataclass
class Step:
    """Commands of the page, and the output that it shows below them."""

    commands: str
    shown: str | None = None


def steps() -> list[Step]:
    found: list[Step] = []
    previous = ""
    for kind, block in BLOCK.findall(PAGE.read_text()):
        if kind == "sh":
            found.append(Step(block))
        elif kind == "text":
            assert previous == "sh", f"output without commands:\n{block}"
            found[-1].shown = block
        previous = kind
    return found


def comparable(line: str) -> str:
    for pattern, name in VARIABLE:
        line = re.sub(pattern, name, line)
    return line.strip()


def matches(shown: str, real: str) -> bool:
    """Whether the output is as shown; a line `...` stands for any number of lines."""
    lines = [r"(?:.*\n)*?" if line.strip() == "..." else re.escape(comparable(line)) + r"\n" for line in shown.strip().splitlines()]
    return re.fullmatch("".join(lines), "".join(f"{comparable(line)}\n" for line in real.strip().splitlines())) is not None


@pytest.mark.parametrize(
    ("shown", "real", "expected"),
    [
        ("demo   True    15s", "demo True 2m3s", True),
        ("demo   True    15s", "demo False 15s", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nb\nc", False),
        ("", "something", False),
    ],
)
def test_comparison_ignores_only_what_differs_from_run_to_run(shown, real, expected):
    assert matches(shown, real) is expected


@pytest.fixture(scope="module")
def dev(tmp_path_factory) -> Iterator[tuple[Shell, str]]:
    """A shell, and what the first command of the page printed."""
    needs_tools("kubectl", "aws", "git")
    directory = tmp_path_factory.mktemp("tutorial")
    log = directory / "make-dev.log"
    start = recipe(steps()[0].commands.strip())
    process = Process("make dev", ["sh", "-c", f"exec env {start}"], log, env={"KEELSON_BIN": keelson_binary()}, cwd=CHECKOUT)
    try:
        process.wait_ready(lambda: STARTED in log.read_text(), START_SECONDS)
        variables = {
            **os.environ,
            "AWS_CONFIG_FILE": str(directory / "aws-config"),
            "KUBECACHEDIR": str(directory / "kube-cache"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        variables.pop("AWS_PROFILE", None)
        yield Shell(directory, variables), log.read_text().partition("Everything keeps running until Ctrl-C\n")[2]
    finally:
        process.signal(signal.SIGINT)
        process.stop(60)


def test_tutorial_commands_produce_what_the_page_shows(dev):
    shell, printed = dev
    start, *rest = steps()
    names = re.compile(r"^export (\w+)=", re.MULTILINE)
    assert names.findall(printed) == names.findall(start.shown), "the variables that the page shows"
    shell.run("\n".join(line for line in printed.splitlines() if line.startswith("export ")))
    assert sum(step.shown is not None for step in rest) >= 10
    for step in rest:
        output = shell.run(step.commands)
        if step.shown is not None:
            assert matches(step.shown, output), f"{step.commands}\nshown:\n{step.shown}\nreal:\n{output}"


def test_first_commands_of_the_local_cloud_page_work(dev):
    """In an environment without a cluster, so with the account and the folder that `make dev` creates for its own cluster."""
    shell, printed = dev
    shell.run("\n".join(line for line in printed.splitlines() if line.startswith("export ")))
    shell.run(
        "kubectl apply -f examples/account.yaml\n"
        "mkdir -p $FLEET/clusters/demo && touch $FLEET/clusters/demo/.keep && git -C $FLEET add --all\n"
        "git -C $FLEET -c user.name=Test -c user.email=test@example.com commit --quiet --allow-empty -m folder\n"
        "git -C $FLEET push --quiet origin HEAD:main"
    )
    page = (CHECKOUT / "docs" / "local-cloud.md").read_text().partition("\n## Exploring\n")[2]
    kind, block = BLOCK.findall(page)[0]
    assert kind == "sh"
    assert '"10.0.0.0/16"' in shell.run(block)
