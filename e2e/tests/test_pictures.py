"""The pictures of the documentation are of today's page, and of a fleet that the operator could have. (Needs no cloud.)"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fleet import example_fleet
from fleet.picture_sources import FILES, RECORD, changed, digests
from keelson_harness.paths import CHECKOUT

LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# Of a literal, without what is filled in: fewer could be a part of anything.
LEAST_CONSTANT = 16
# Shorter messages are names, states and how long they take.
SENTENCE = 60


@functools.cache
def texts_of_the_operator() -> set[re.Pattern[str]]:
    """Patterns of the literals in its source; `.*` is what is filled in."""
    found = set()
    for path in (CHECKOUT / "src").rglob("*.rs"):
        if "tests" in path.stem:
            continue
        source = re.sub(r"^\s*//.*$", "", path.read_text().partition("#[cfg(test)]")[0], flags=re.MULTILINE)
        for literal in LITERAL.findall(source):
            constant = re.split(r"\{[^{}]*\}", re.sub(r"\\\n\s*", "", literal))
            if sum(map(len, constant)) >= LEAST_CONSTANT:
                found.add(re.compile(".*".join(map(re.escape, constant)), re.DOTALL))
    return found


def is_of_the_operator(message: str) -> bool:
    """Whether it ends with one of the operator's texts; what stands before names the resource, or is AWS's message."""
    starts = [0, *(found.end() for found in re.finditer("[:.] ", message))]
    return any(text.fullmatch(message[start:]) for start in starts for text in texts_of_the_operator())


def messages() -> Iterator[str]:
    """Those of conditions and releases of the example fleet."""
    statuses: list[dict] = []
    api = SimpleNamespace(apply_all=lambda items: None, patch=lambda *arguments, **_: statuses.append(arguments[3]["status"]))
    example_fleet.fill(SimpleNamespace(api=api))
    for status in statuses:
        for item in (*status.get("conditions", []), *status.get("releases", [])):
            yield item["message"]


def test_messages_of_the_example_fleet_are_those_of_the_operator():
    sentences = {message for message in messages() if len(message) > SENTENCE}
    assert len(sentences) >= 5
    assert [message for message in sentences if not is_of_the_operator(message)] == []


@pytest.mark.parametrize("message", [
    "cluster index exists in EKS and is not owned by this object: choose another clusterName, or adopt it",
    "control plane: cluster index exists, and nobody of this fleet has ever had it before",
])
def test_invented_message_is_found(message):
    assert not is_of_the_operator(message)


def test_pictures_are_newer_than_what_they_show():
    files = changed(RECORD.read_text())
    assert files == [], "the pictures in docs/images may no longer be of this page: run docs/screenshots.py, and look at them"


def test_changed_new_and_missing_source_is_named():
    first, *others = digests().splitlines(keepends=True)
    assert changed("".join(others)) == [first.split()[1]]
    assert changed(digests().replace(first, f"{'0' * 64}  {first.split()[1]}\n")) == [first.split()[1]]
    assert changed(f"{digests()}{'0' * 64}  src/page/view/gone.rs\n") == ["src/page/view/gone.rs"]
    assert all(name in digests() for name in FILES)
