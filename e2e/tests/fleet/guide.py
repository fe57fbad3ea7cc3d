"""The blocks of commands (`sh`) of the pages, and which of their commands no test runs."""

from __future__ import annotations

import re
import textwrap

from keelson_harness.paths import CHECKOUT

# Also indented ones, below an item of a list.
COMMANDS = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'?(\w+)'?$")

NO_IMAGE = "test_image.py builds an image; none is built with Docker here, and there is no registry of that name"
A_CALL = "one call of AWS, which test_named_commands.py looks up"
NO_RELEASE = "there is no release yet"
TWO_CLUSTERS = "needs a second management cluster: test_move.py runs the same commands"
NO_TERRAFORM = "needs a state of Terraform's; test_import_terraform.py has what it prints"
LOGS = "Pods are processes here, and kubectl has no logs of them"
# Pages whose commands nobody runs in a test, and why.
PAGES_NOT_RUN = {
    "CONTRIBUTING.md": "a build of this checkout, which tests do not start",
    "docs/conformance.md": "an account of AWS, or an hour: test_conformance.py runs the program against the emulator",
    "docs/releasing.md": f"{NO_RELEASE}; test_release.py and test_image.py run what makes one",
}
# Commands that no test runs, by the page and how they begin, and why.
NOT_RUN = {
    ("docs/disaster-recovery.md", "keelson move --to new-management.kubeconfig"): TWO_CLUSTERS,
    ("docs/disaster-recovery.md", "velero restore"): "Velero's; test_recover.py restores objects as it does",
    ("docs/how-to/migrate-from-cluster-api.md", "kubectl annotate awsfargateprofile"): "only with Fargate profiles, which the objects here lack",
    ("docs/how-to/migrate-from-eksctl.md", "for stack in"): "the emulator protects no stacks",
    ("docs/how-to/migrate-from-terraform.md", "terraform "): NO_TERRAFORM,
    ("docs/how-to/private-cluster.md", "for name in"): A_CALL,
    ("docs/how-to/private-cluster.md", "aws ecr"): A_CALL,
    ("docs/how-to/private-cluster.md", "flux push artifact"): "Flux's command line is not here",
    ("docs/how-to/private-cluster.md", "kubectl wait"): "there is no ECR from which the agent could fetch",
    ("docs/import.md", "terraform show"): NO_TERRAFORM,
    ("docs/install.md", "aws organizations"): "the emulator has no organizations; test_attack_foreign_tags.py evaluates the policy",
    ("docs/install.md", "docker "): NO_IMAGE,
    ("docs/install.md", "make image"): "test_image.py runs it",
    ("docs/install.md", "skopeo "): NO_IMAGE,
    ("docs/page.md", "kubectl port-forward"): "Pods are processes here, and kubectl forwards to none",
    ("docs/page.md", "ssh "): "needs another machine",
    ("docs/local-cloud.md", "export AWS_"): "the address of `make aws`, which a test starts at another",
    ("docs/monitoring.md", "python3 deploy/monitoring/generate.py"): "writes into the checkout; test_monitoring_files.py compares what it writes",
    ("docs/monitoring.md", "promtool check"): "needs a configuration of Prometheus; test_monitoring_files.py checks the one of deploy/monitoring",
    ("docs/runbooks.md", "aws cloudtrail"): "the emulator has no CloudTrail",
    ("docs/runbooks.md", "kubectl -n keelson-system logs deployment/keelson --previous"): LOGS,
    ("docs/runbooks.md", "promtool query"): "needs Prometheus; test_monitoring.py runs its queries",
    ("docs/traces.md", "docker "): "Jaeger",
    ("docs/traces.md", "OTEL_EXPORTER_OTLP_ENDPOINT="): "with Jaeger; test_tutorial.py runs `make dev`",
    ("examples/fleet/README.md", "flux bootstrap"): "writes to GitHub; test_fleet.py does the same with a local repository",
}
# Blocks that are run, but not by `Guide`: by the page and how they begin, the test that reads them from the page.
RUN_ELSEWHERE = {
    ("README.md", "make demo"): "test_demo.py::test_command_of_the_readme_creates_a_cluster_and_leaves_nothing",
    ("docs/how-to/plan-in-pull-requests.md", "jq "): "test_plan.py::test_policy_of_the_workflow_only_reads_and_allows_a_live_plan",
    ("docs/local-cloud.md", "sed "): "test_tutorial.py::test_first_commands_of_the_local_cloud_page_work",
    ("docs/tutorial.md", ""): "test_tutorial.py::test_tutorial_commands_produce_what_the_page_shows",
}


def blocks(page: str) -> list[str]:
    """All blocks of a page. page: its path in the checkout."""
    return [textwrap.dedent(text) for _, text in COMMANDS.findall((CHECKOUT / page).read_text())]


def commands(block: str) -> list[str]:
    """Each with the lines that belong to it: continued ones, documents, loops and functions."""
    found, open_ = [], False
    document = None
    for line in block.splitlines():
        if open_:
            found[-1] += f"\n{line}"
        elif line.strip():
            found.append(line)
        if document:
            document = None if line == document else document
        elif started := HEREDOC.search(line):
            document = started[1]
        words = re.findall(r"^(?:for|remove\(\))", found[-1]) if found else []
        ends = re.search(r"^(?:done|})$", line)
        open_ = bool(document) or line.endswith("\\") or line.lstrip().startswith("jq ") or (bool(words) and not ends)
    return found


def left_out(page: str, command: str) -> bool:
    """Whether one of the tables says that no test runs that command."""
    return page in PAGES_NOT_RUN or any(of == page and command.startswith(start) for of, start in NOT_RUN)


def run_elsewhere(page: str, block: str) -> bool:
    return any(of == page and block.startswith(start) for of, start in RUN_ELSEWHERE)


def to_run(page: str) -> list[str]:
    """The blocks of a page without what the tables leave out."""
    kept = ["\n".join(one for one in commands(block) if not left_out(page, one)) for block in blocks(page) if not run_elsewhere(page, block)]
    return [block for block in kept if re.search(r"^[^#\n]", block, re.MULTILINE)]


def whole(text: str) -> str:
    """A pattern of the text where it is not a part of a word."""
    return (r"\b" if text[0].isalnum() else "") + re.escape(text) + (r"\b" if text[-1].isalnum() else "")


class Guide:
    """What is to run of a page. Each block is to be taken once.

    page: its path in the checkout; replace: what stands for a reader's own names, and theirs.
    """

    def __init__(self, page: str, replace: dict[str, str] | None = None):
        self._page = page
        self._replace = replace or {}
        self._left = to_run(page)

    def take(self, part: str, **more: str) -> str:
        """The next block with that text. more: further replacements."""
        found = next((block for block in self._left if part in block), None)
        assert found is not None, f"{self._page}: no block with {part!r} in {self._left}"
        self._left.remove(found)
        for old, new in {**self._replace, **more}.items():
            found = re.sub(whole(old), lambda _, new=new: new, found)
        return found

    def lines(self, part: str, **more: str) -> list[str]:
        """The commands of that block, without their comments."""
        return [re.sub(r"\s+#.*$", "", command) for command in commands(self.take(part, **more)) if not command.startswith("#")]

    def end(self) -> None:
        assert self._left == [], f"{self._page}: commands that no test runs"
