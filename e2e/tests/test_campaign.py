"""Hundreds of edits, generated from the CRDs' schema, of every field: each is applied, or rejected or stalled with a message that
names the field; none replaces a resource or causes an unneeded write; and reverting the edit restores the previous state.

Prints the number of edits per outcome. The edits and their order depend on the schema alone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from campaign.admission import Answer, ask
from campaign.object_cache import ObjectCache
from campaign.edits import edits
from campaign.judge import OutcomeType, Outcome, names_field
from campaign.manifests import World, bases
from campaign.player import Player
from campaign.schema import names, spec_schema
from fleet import API
from fleet.manifests import secret
from fleet.environment import Environment, environment
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller

# Short: states are observed by a watch, not by waiting.
DURATIONS = Durations(0.3, 0.1, 0.1, 0.2, 0.05, 0.1)
MIN_EDITS = 300
# The number of clusters that share the edits of a base.
PLAYERS = {
    ("AwsAccount", "whole"): 2,
    ("EksCluster", "own network"): 5,
    ("EksCluster", "control plane"): 3,
    ("EksCluster", "contents"): 4,
    ("EksCluster", "subnets by tags"): 1,
    ("EksCluster", "flux"): 2,
    ("NodeGroup", "whole"): 4,
    ("NodeGroup", "template and role"): 1,
}
# Regular expressions that source-controller matches against a certificate's fields.
IDENTITIES = [
    f"gitops.{agent}.source.oci.verify.matchOIDCIdentity[].{field}"
    for agent in ("flux", "argocd")
    for field in ("issuer", "subject")
]
# The first is passed to the add-on unchanged, which has its own schema; the nodes' system reads user data.
FREE_TEXT = {"hooks[].job.template.spec", "hooks[].job.template.metadata.annotations{}", "addons[].configuration", "node.nodeConfig", "node.userData", *IDENTITIES}
# Admission refuses the list itself, so no spec has items of it.
REFUSED = {"gitops.argocd.source.git.sparseCheckout[]"}
BASES = bases(World())
# Selects all clusters, and lets none of them wait.
OPEN_ROLLOUT = {
    "apiVersion": API,
    "kind": "FleetRollout",
    "metadata": {"name": "main"},
    "spec": {
        "clusterSelector": {},
        "unmatched": "Ungated",
        "waves": [{"name": "nobody", "selector": {"matchLabels": {"wave": "nobody"}}}],
    },
}


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=DURATIONS) as started:
        yield started


@dataclass
class Campaign:
    answers: dict[tuple[str, str], list[Answer]]
    players: list[Player] = field(default_factory=list)
    operator: Controller = None
    seconds: float = 0

    @property
    def all_answers(self) -> list[Answer]:
        return [answer for answers in self.answers.values() for answer in answers]

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for player in self.players for outcome in player.outcomes]

    def counts(self) -> Counter[OutcomeType]:
        """An edit that admission accepted counts by its final outcome."""
        counts = Counter(outcome.type for outcome in self.outcomes)
        counts[OutcomeType.REJECTED] = sum(bool(answer.rejection) for answer in self.all_answers)
        counts[OutcomeType.UNCHANGED] = sum(answer.unchanged for answer in self.all_answers)
        return counts


@pytest.fixture(scope="module")
def campaign(on: Environment) -> Iterator[Campaign]:
    """First asks admission about all edits without an operator, then plays the accepted ones with an operator."""
    started_at = time.monotonic()
    run = Campaign({(base.kind, base.name): ask(on.api, base, edits(base)) for base in BASES})
    run.operator, cache = on.start(), ObjectCache(on.api)
    on.apply(secret("fleet", username="keelson", password="x"), OPEN_ROLLOUT)
    for (kind, name), number in PLAYERS.items():
        run.players += [Player(on, cache, kind, name) for _ in range(number)]
    for player in run.players:
        player.create()
    for player in run.players:
        player.await_created()
    threads = [
        threading.Thread(target=player.play, args=(share,), daemon=True)
        for player, share in zip(run.players, shares(run), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.seconds = time.monotonic() - started_at
    yield run
    cache.close()


def shares(run: Campaign) -> list[list[Answer]]:
    """The edits of each player: every n-th edit of its base, and at most one irreversible edit, as the last."""
    result = []
    for key, number in PLAYERS.items():
        accepted = [answer for answer in run.answers[key] if answer.accepted]
        reversible = [answer for answer in accepted if not answer.irreversible]
        irreversible = [answer for answer in accepted if answer.irreversible]
        result += [reversible[n::number] + irreversible[n : n + 1] for n in range(number)]
        assert len(irreversible) <= number, f"{key} needs {len(irreversible)} players"
    return result


def test_every_field_of_the_schema_is_edited():
    for kind in ("EksCluster", "NodeGroup", "AwsAccount"):
        edited = {edit.name for base in BASES if base.kind == kind for edit in edits(base)}
        assert names(spec_schema(kind)) - edited - REFUSED == set(), f"{kind}: no base of the campaign sets these"


def test_each_edit_has_the_expected_outcome(campaign, capsys):
    with capsys.disabled():
        print_summary(campaign)
    errors = [error for player in campaign.players for error in player.errors]
    assert errors == []
    faults = [f"{o.edit}: {fault}" for o in campaign.outcomes for fault in o.faults]
    assert not faults, "\n".join(faults)
    assert sum(campaign.counts().values()) >= MIN_EDITS
    assert campaign.counts()[OutcomeType.APPLIED] >= MIN_EDITS / 2


def test_admission_rejection_names_the_field(campaign):
    rejected = [(a.edit, text) for a in campaign.all_answers for text in (a.rejection, a.creation_rejection) if text]
    assert [f"{edit}: {text}" for edit, text in rejected if not names_field(text, edit)] == []


def test_value_rejected_at_creation_is_rejected_as_an_edit(campaign):
    gap = [str(a.edit) for a in campaign.all_answers if a.creation_rejection and not a.rejection and not a.unchanged]
    assert gap == []


def test_no_string_field_accepts_an_injection(campaign):
    """Fault 51, for each field that takes free text, except those that other programs interpret."""
    accepted = [a.edit for a in campaign.all_answers if a.edit.description.endswith("an injection") and not a.creation_rejection]
    assert [str(edit) for edit in accepted if edit.name not in FREE_TEXT] == []


def test_operator_never_panicked_or_restarted(campaign):
    assert campaign.operator.alive and campaign.operator.starts == 1
    log = campaign.operator.log.read_text()
    assert "panicked" not in log and "RUST_BACKTRACE" not in log


def print_summary(run: Campaign) -> None:
    counts = run.counts()
    print(f"\n  {sum(counts.values())} edits of {len(BASES)} specs in {run.seconds:.0f} s")
    for outcome_type in OutcomeType:
        print(f"  {counts[outcome_type]:5} {outcome_type}")
    exact = [o for o in run.outcomes if not o.remaining and o.type is OutcomeType.APPLIED]
    print(f"  {len(exact):5} of those applied: reverted exactly; the others left resources that are no longer managed")
    if path := os.environ.get("KEELSON_CAMPAIGN"):
        with open(path, "w") as out:
            for o in run.outcomes:
                row = [o.type.name, str(o.edit), o.reason, o.message, o.seconds, o.writes, o.remaining, o.faults, o.edit.name, o.edit.kind]
                out.write(json.dumps(row) + "\n")
