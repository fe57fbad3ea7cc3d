"""`make demo-fleet` works, and docs/fleet.md shows its chapters. Prints how long it takes."""

from __future__ import annotations

import os
import re

import pytest

from fleet.demo_run import CHAPTER, Recorded, chapter, record
from keelson_harness.demo_fleet.files import BAD, CLUSTERS, RINGS, WITH_WORKLOAD
from keelson_harness.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "fleet.md"


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return record("make demo-fleet")


@pytest.fixture(scope="module")
def output(recorded: Recorded) -> str:
    return recorded.output


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
    assert recorded.unanswered() == []
    for title in recorded.chapters[2:-2]:
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
