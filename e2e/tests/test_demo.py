"""`make demo` works, as the README says, and docs/demo.md shows its chapters. Prints how long it takes."""

from __future__ import annotations

import re

import pytest

from fleet.demo_run import CHAPTER, Recorded, chapter, record
from fleet.guide import blocks
from keelson_harness.demo import CLUSTER, NODES
from keelson_harness.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "demo.md"
COMMAND = "make demo"


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """It ended with exit code 0."""
    return record(COMMAND)


def test_command_of_the_readme_creates_a_cluster_and_leaves_nothing(recorded: Recorded, capsys):
    assert blocks("README.md")[0].strip() == COMMAND
    shown = PAGE.read_text().partition(f"$ {COMMAND}\n")[2].partition("```")[0]
    assert recorded.chapters == CHAPTER.findall(shown) != []
    ready = chapter(recorded.output, "Conditions change until both are Ready")
    for _, kind, name in (CLUSTER, NODES):
        assert re.search(rf"^ +{kind.lower()}\.keelson\.dev/{name} .*\bTrue +Available ", ready, re.MULTILINE), ready
    assert "text: hello from Git" in chapter(recorded.output, "The workload cluster has the objects from Git")
    assert "text: hello again" in chapter(recorded.output, "A commit is pushed and applied")
    end = chapter(recorded.output, "The AWS account is empty")
    left = [line for line in re.findall(r"^\[ *[\d.]+ s\] ([A-Za-z][A-Za-z ]+?)  +(.+)$", end, re.MULTILINE) if line[1] != "none"]
    assert re.search(r"EKS clusters +none$", end, re.MULTILINE) and left == [] and end.rstrip().endswith("s] done"), end
    with capsys.disabled():
        print(f"\n  {recorded.output.splitlines()[-1]}; {recorded.processor_seconds:.0f} s of processor time")


def test_page_at_the_printed_address_answers_in_every_chapter(recorded: Recorded):
    assert recorded.unanswered() == []
    link = f'href="/clusters/default/{CLUSTER[2]}"'
    # Between the chapter that applies the manifest and the deletion.
    begin, end = map(recorded.chapters.index, ("The workload cluster has the objects from Git", "Both are deleted"))
    missing = [title for title in recorded.chapters[begin : end + 1] if link not in recorded.pages[title]]
    assert missing == []
