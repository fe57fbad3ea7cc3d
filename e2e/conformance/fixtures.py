"""Fixtures: recorded answers, and the comparison of another recording with them. I/O: their files.

A fixture names its source. From `aws` it is the measure, and the comparison is strict; from `emulator` it only shows what the emulator
answered, and the comparison finds changes of names, types, statuses and headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "aws" / "fixtures"
AWS, EMULATOR = "aws", "emulator"
CONTAINERS = re.compile(r"(\[\]|\{\})+$")


@dataclass
class Reply:
    """Answers of one operation with the same status and error code."""

    status: int
    error: str
    headers: dict[str, str]
    message: str
    example: Any
    parameters: set[str] = field(default_factory=set)
    # Type by path, in AWS's model; `[]` is an item of a list, `{}` a value of a map.
    members: dict[str, str] = field(default_factory=dict)
    # Members that some structures lack.
    sometimes: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, str]:
        return self.status, self.error

    def __str__(self) -> str:
        return f"{self.error or 'success'} ({self.status})"


@dataclass
class Fixture:
    service: str
    operation: str
    recorded_from: str
    recorded_at: str
    answers: list[Reply]

    def text(self) -> str:
        answers = [{**asdict(reply), "parameters": sorted(reply.parameters)} for reply in self.answers]
        head = {"service": self.service, "operation": self.operation, "recorded_from": self.recorded_from, "recorded_at": self.recorded_at}
        return json.dumps({**head, "answers": answers}, indent=1) + "\n"

    @classmethod
    def read(cls, text: str) -> Fixture:
        found = json.loads(text)
        answers = [Reply(**{**reply, "parameters": set(reply["parameters"])}) for reply in found.pop("answers")]
        if found["recorded_from"] not in (AWS, EMULATOR):
            raise ValueError(f"recorded_from is {found['recorded_from']!r}")
        return cls(**found, answers=answers)


def path_of(folder: Path, fixture: Fixture) -> Path:
    return folder / fixture.service / f"{fixture.operation}.json"


def load(folder: Path) -> list[Fixture]:
    return [Fixture.read(path.read_text()) for path in sorted(folder.glob("*/*.json"))]


def merge(folder: Path, new: Fixture) -> Fixture | None:
    """The fixture to write: with the answers of the stored one that were not seen this time. None: the stored one is AWS's, and the new one is not."""
    path = path_of(folder, new)
    if not path.exists():
        return new
    stored = Fixture.read(path.read_text())
    if stored.recorded_from == AWS and new.recorded_from != AWS:
        return None
    if stored.recorded_from != new.recorded_from:
        return new
    answers = {reply.key: reply for reply in [*stored.answers, *new.answers]}
    return Fixture(new.service, new.operation, new.recorded_from, new.recorded_at, [answers[key] for key in sorted(answers)])


def write(folder: Path, fixture: Fixture) -> Path:
    path = path_of(folder, fixture)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fixture.text())
    return path


@dataclass
class Comparison:
    compared: int = 0
    # `service Operation answer: what differs`
    problems: list[str] = field(default_factory=list)
    # Answers of fixtures that the recording does not have.
    not_seen: list[str] = field(default_factory=list)


def compare(measure: Iterable[Fixture], recording: Iterable[Fixture]) -> Comparison:
    """Holds a recording against fixtures: the answers that both have."""
    recorded = {(fixture.service, fixture.operation): fixture for fixture in recording}
    result = Comparison()
    for fixture in measure:
        name = f"{fixture.service} {fixture.operation}"
        other = recorded.get((fixture.service, fixture.operation))
        replies = {reply.key: reply for reply in other.answers} if other else {}
        for reply in fixture.answers:
            found = replies.get(reply.key)
            if found is None:
                same_code = [r for r in replies.values() if reply.error and r.error == reply.error]
                if same_code:
                    result.problems.append(f"{name}: {reply.error} has status {same_code[0].status}, and {reply.status} in the fixture")
                else:
                    result.not_seen.append(f"{name}: {reply}")
                continue
            result.compared += 1
            strict = fixture.recorded_from == AWS
            result.problems += [f"{name}: {reply}: {problem}" for problem in _differences(reply, found, strict)]
    return result


def _differences(measure: Reply, found: Reply, strict: bool) -> Iterable[str]:
    for header, value in measure.headers.items():
        if header not in found.headers:
            yield f"the header {header} is missing"
        elif found.headers[header] != value:
            yield f"the header {header} is {found.headers[header]}, and {value} in the fixture"
    lower = {path.lower(): path for path in measure.members}
    for path, kind in found.members.items():
        known = measure.members.get(path)
        if known is None and path.lower() in lower:
            yield f"{path} is written {lower[path.lower()]} in the fixture"
        elif known is None and strict and _parent(path) in ("", *measure.members):
            yield f"AWS returned no {path}"
        elif known is not None and known != kind:
            yield f"{path} is a {kind}, and a {known} in the fixture"
    if strict:
        present = {path.lower() for path in found.members}
        for path in measure.members:
            # Only what AWS always returns, of a parent that is there.
            if path not in measure.sometimes and path.lower() not in present and _parent(path) in ("", *found.members):
                yield f"{path} is missing: AWS returned it each time"


def _parent(path: str) -> str:
    """The path of the structure that has this member: `a.b[].c` is in `a.b`."""
    return CONTAINERS.sub("", path.rpartition(".")[0])
