"""Hundreds of edits, made from the CRDs' own schema, of every field there is: each is carried out, or refused or stalled in words
that name the field; none replaces anything, or writes what it does not take; and the way back leads back.

Prints how many ended how. Which edits there are, and their order, follows from the schema alone.
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
from campaign.board import Board
from campaign.edits import edits
from campaign.judge import End, Outcome, names_field
from campaign.manifests import World, bases
from campaign.player import Player
from campaign.schema import names, spec_schema
from fleet.manifests import secret
from fleet.environment import Environment, environment
from keelson_harness.aws import Durations
from keelson_harness.controller import Controller

# States are told apart by watching, not by waiting.
LIFE = Durations(0.3, 0.1, 0.1, 0.2, 0.05, 0.1)
LEAST = 300
# How many clusters share the edits of a base.
PLAYERS = {
    ("AwsAccount", "whole"): 2,
    ("EksCluster", "own network"): 5,
    ("EksCluster", "control plane"): 3,
    ("EksCluster", "what is in it"): 4,
    ("EksCluster", "subnets by tags"): 1,
    ("EksCluster", "flux"): 2,
    ("NodeGroup", "whole"): 4,
    ("NodeGroup", "template and role"): 1,
}
# Regular expressions, for source-controller to match with a certificate's fields.
IDENTITIES = [
    f"gitops.{agent}.source.oci.verify.matchOIDCIdentity[].{field}"
    for agent in ("flux", "argocd")
    for field in ("issuer", "subject")
]
# The first is handed to the add-on as it is, which has a schema of its own.
FREE_TEXT = {"addons[].configuration", *IDENTITIES}
BASES = bases(World())


@pytest.fixture(scope="module")
def on():
    with environment(workload=False, git=False, durations=LIFE) as started:
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

    def counts(self) -> Counter[End]:
        """At admission what was taken is not at its end."""
        ends = Counter(outcome.end for outcome in self.outcomes)
        ends[End.REFUSED] = sum(bool(answer.refusal) for answer in self.all_answers)
        ends[End.SAME] = sum(answer.same for answer in self.all_answers)
        return ends


@pytest.fixture(scope="module")
def campaign(on: Environment) -> Iterator[Campaign]:
    """First all of them without an operator, then what was taken with one."""
    began = time.monotonic()
    run = Campaign({(base.kind, base.name): ask(on.api, base, edits(base)) for base in BASES})
    run.operator, board = on.start(), Board(on.api)
    on.apply(secret("fleet", username="keelson", password="x"))
    for (kind, name), number in PLAYERS.items():
        run.players += [Player(on, board, kind, name) for _ in range(number)]
    for player in run.players:
        player.make()
    for player in run.players:
        player.await_made()
    threads = [
        threading.Thread(target=player.play, args=(todo,), daemon=True)
        for player, todo in zip(run.players, shares(run), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.seconds = time.monotonic() - began
    yield run
    board.close()


def shares(run: Campaign) -> list[list[Answer]]:
    """What each player plays: every so many-th edit of its base, and last one without a way back."""
    dealt = []
    for key, number in PLAYERS.items():
        taken = [answer for answer in run.answers[key] if answer.taken]
        ways_back = [answer for answer in taken if not answer.no_way_back]
        ends = [answer for answer in taken if answer.no_way_back]
        dealt += [ways_back[n::number] + ends[n : n + 1] for n in range(number)]
        assert len(ends) <= number, f"{key} needs {len(ends)} players"
    return dealt


def test_every_field_of_the_schema_is_edited():
    for kind in ("EksCluster", "NodeGroup", "AwsAccount"):
        edited = {edit.name for base in BASES if base.kind == kind for edit in edits(base)}
        assert names(spec_schema(kind)) - edited == set(), f"{kind}: no base of the campaign sets these"


def test_each_edit_ends_as_it_should(campaign, capsys):
    with capsys.disabled():
        tell(campaign)
    troubles = [trouble for player in campaign.players for trouble in player.troubles]
    assert troubles == []
    faults = [f"{o.edit}: {fault}" for o in campaign.outcomes for fault in o.faults]
    assert faults == []
    assert sum(campaign.counts().values()) >= LEAST
    assert campaign.counts()[End.APPLIED] >= LEAST / 2


def test_what_is_refused_at_admission_names_the_field(campaign):
    refused = [(a.edit, text) for a in campaign.all_answers for text in (a.refusal, a.creation_refusal) if text]
    assert [f"{edit}: {text}" for edit, text in refused if not names_field(text, edit)] == []


def test_a_new_object_is_refused_what_an_edit_is_refused_but_for_what_only_edits_must_not_do(campaign):
    """And an edit is refused what a new object is refused."""
    gap = [str(a.edit) for a in campaign.all_answers if a.creation_refusal and not a.refusal and not a.same]
    assert gap == []


def test_no_string_takes_an_injection(campaign):
    """Fault 51, of each field that takes free text; but for what is somebody else's to read."""
    taken = [a.edit for a in campaign.all_answers if a.edit.what.endswith("an injection") and not a.creation_refusal]
    assert [str(edit) for edit in taken if edit.name not in FREE_TEXT] == []


def test_the_operator_never_panicked_nor_was_started_anew(campaign):
    assert campaign.operator.alive and campaign.operator.starts == 1
    log = campaign.operator.log.read_text()
    assert "panicked" not in log and "RUST_BACKTRACE" not in log


def tell(run: Campaign) -> None:
    counts = run.counts()
    print(f"\n  {sum(counts.values())} edits of {len(BASES)} specs in {run.seconds:.0f} s")
    for end in End:
        print(f"  {counts[end]:5} {end}")
    exact = [o for o in run.outcomes if not o.stays and o.end is End.APPLIED]
    print(f"  {len(exact):5} of those applied: AWS exactly as before once taken back; others left what nothing manages any more")
    if path := os.environ.get("KEELSON_CAMPAIGN"):
        with open(path, "w") as out:
            for o in run.outcomes:
                row = [o.end.name, str(o.edit), o.reason, o.message, o.seconds, o.writes, o.stays, o.faults, o.edit.name, o.edit.kind]
                out.write(json.dumps(row) + "\n")
