"""`make demo-fleet` works, and docs/fleet.md shows its chapters. Prints how long it takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest
import requests

from keelson_harness.demo_fleet.files import BAD, CLUSTERS, RINGS, WITH_WORKLOAD
from keelson_harness.fleet_page import ADDRESS
from keelson_harness.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "fleet.md"
CHAPTER = re.compile(r"^== (.+)$", re.MULTILINE)
SECONDS = 900
# Of an answer of the page, on a busy machine.
SLOW = 30


@dataclass
class Recorded:
    """What the demo printed, and what the fleet page showed when each chapter began."""

    output: str
    pages: dict[str, str]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    command = [sys.executable, "-m", "keelson_harness.demo_fleet"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "e2e" / "harness")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(SECONDS, process.terminate)
    timer.start()
    lines, pages, visitor = [], {}, Visitor()
    try:
        for line in process.stdout:
            lines.append(line)
            if address := ADDRESS.search(line):
                visitor.enter(address[0])
            if (title := CHAPTER.search(line)) and visitor.root:
                pages[title[1]] = visitor.landing()
        assert process.wait(SECONDS) == 0, "".join(lines)
    finally:
        timer.cancel()
        # It stops what it started.
        process.terminate()
        process.wait(60)
    return Recorded("".join(lines), pages)


class Visitor:
    """Somebody who watches the demo on the page, with the address that it prints."""

    def __init__(self) -> None:
        self.root = ""
        self._session = requests.Session()

    def enter(self, address: str) -> None:
        """The token of the address is valid once, and becomes a cookie."""
        answer = self._session.get(address, timeout=SLOW)
        assert answer.status_code == 200 and self._session.cookies, answer.text
        self.root = address.partition("?")[0]

    def landing(self) -> str:
        """The landing page; empty if it is not answered, as the page ends with the demo."""
        try:
            answer = self._session.get(self.root, timeout=SLOW)
        except requests.ConnectionError:
            return ""
        return answer.text if answer.status_code == 200 else ""


@pytest.fixture(scope="module")
def output(recorded: Recorded) -> str:
    return recorded.output


def chapter(output: str, title: str) -> str:
    (found,) = [part for part in re.split(r"^== ", output, flags=re.MULTILINE) if part.startswith(title)]
    return found


def test_clusters_are_updated_ring_by_ring_and_the_failed_one_twice(output, capsys):
    calls = re.findall(r" (Update\w+Version) +([\w/-]+)$", chapter(output, "What AWS was asked for"), re.MULTILINE)
    updated = [name for action, name in calls if action == "UpdateClusterVersion"]
    assert sorted(updated) == sorted(CLUSTERS)
    rings = [next(ring for ring, names in RINGS.items() if name in names) for name in updated]
    assert rings == sorted(rings, key=list(RINGS).index)
    nodes = [name.partition("/")[0] for action, name in calls if action == "UpdateNodegroupVersion"]
    # The update that failed, and the one after the correction.
    assert sorted(nodes) == sorted([*WITH_WORKLOAD, BAD])
    with capsys.disabled():
        print(f"\n  {output.splitlines()[-1]}")


def test_canary_passes_with_its_smoke_test_and_the_checks_of_its_wave(output):
    canary = chapter(output, "The canary goes first")
    in_cluster, _, outside = canary.partition("on the management cluster, the checks of the wave")
    ended = r"^ +canary-{}-[0-9a-f]+ +Complete +1/1 "
    assert len(re.findall(ended.format("smoke"), in_cluster, re.MULTILINE)) == 1, in_cluster
    # After the control planes, and after the node groups; again where the canary was not healthy in between.
    assert len(re.findall(ended.format("synthetic"), outside, re.MULTILINE)) >= 2, outside


def test_halt_names_the_cluster_the_pods_and_the_budget_and_nothing_begins(output):
    halted = chapter(output, "The next wave begins")
    assert re.search(r"^ +fleet +1\.36 +early +3/6 +Halted ", halted, re.MULTILINE), halted
    why, blocking = (" ".join(text.split()) for text in halted.partition("because of")[2].split("$ kubectl")[0].split("its node group"))
    assert f"EksCluster default/{BAD}" in why and "PodEvictionFailure" in why, why
    assert "pod shop/web-" in blocking and "its PodDisruptionBudget shop/web allows no eviction now" in blocking, blocking
    assert "no update began in any wave" in halted


def test_nobody_but_flux_writes_a_spec_and_nothing_is_left(output):
    assert re.search(r"wrote spec.version: kustomize-controller$", output, re.MULTILINE)
    end = chapter(output, "The AWS account is empty")
    assert re.search(r"EKS clusters +none$", end, re.MULTILINE) and output.rstrip().endswith("s] done")


def test_fleet_page_shows_the_clusters_while_the_demo_runs(recorded: Recorded):
    titles = CHAPTER.findall(recorded.output)
    # The page is started in the first chapter, and ends after the last.
    unanswered = [title for title in titles[1:-1] if not recorded.pages.get(title)]
    assert unanswered == []
    for title in (title for title in titles[2:-2]):
        missing = [name for name in CLUSTERS if f'href="/clusters/default/{name}"' not in recorded.pages[title]]
        assert missing == [], f"when the chapter began: {title}"
    # It is the page that says that the rollout has halted, and lets nobody search for it.
    (corrected,) = [page for title, page in recorded.pages.items() if title.startswith("A commit corrects the mistake")]
    needs = corrected.partition('id="needs"')[2].partition('id="clusters"')[0]
    assert "Halted" in needs and "keelson rollout status fleet" in needs, needs


def test_page_shows_the_chapters(output):
    shown = PAGE.read_text().partition("$ make demo-fleet\n")[2].partition("```")[0]
    assert CHAPTER.findall(shown) == CHAPTER.findall(output)


def test_it_takes_less_than_three_minutes_unless_the_machine_is_busy(output, capsys):
    """As docs/fleet.md says. Busy: more programs than processors wanted to run, on average of the last 15 minutes."""
    (seconds,) = map(float, re.findall(r"^\[ *([\d.]+) s\] done$", output, re.MULTILINE))
    load, processors = os.getloadavg()[2], os.cpu_count()
    with capsys.disabled():
        print(f"\n  the demo took {seconds:.0f} s, with a load of {load:.1f} on {processors} processors")
    assert seconds < 180 or load > processors
