"""Rejects words that readers have to ask about, in favour of those of Kubernetes, AWS and Terraform. `make lint` runs it.

Identifiers of Rust and Python code, comments, and the pages in Markdown are checked; string literals are not, as they are also data.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The changelog names what was renamed; these two files name the words themselves.
EXEMPT = ("CHANGELOG.md", "e2e/words.py", "e2e/harness/tests/test_words.py")

# What is checked of the checkout; build output lies elsewhere.
FOLDERS = (".", "deploy", "docs", "e2e", "examples", "src", "tests")

# Identifiers, and what to write instead.
IDENTIFIERS = {
    "told": "describe_..., format_..., or the noun: message, event, notice",
    "says": "message, details, condition",
    "news": "external change, transition, events",
    "heard": "record_..., count_...",
    "look_again": "requeue_after",
    "at_rest": "steady, idle",
    "let_go": "release, remove_finalizer, retain",
    "unlisted": "pruning, pruned",
    "hopeless": "unresolvable",
    "blind": "last_observe_error",
    "needs_a_person": "requires_intervention",
    "make_again": "recreate",
    "poke": "start_sync",
    "recall": "restore",
    "meet": "register",
    "rests": "is_steady",
    "Seen": "Observation, Detail",
    "Told": "EventMessage, WatchSignal, Notice",
    "Says": "ConditionValue",
    "News": "ExternalChange",
    "Look": "ObserveOptions",
    "Consent": "ExecutionPolicy",
    "Happened": "StepResult",
    "Ended": "FinishedOperation",
    "Making": "ResourceContext",
    "Tenure": "OwnershipPolicy",
    "Clearings": "LoadBalancerCleanups",
    "Inbox": "PendingChanges",
    "GaveUp": "OperationFailed",
    "Obstructed": "EvictionBlocked",
    "Unclaimed": "Unowned",
    "Eye": "StateSampler",
    "Given": "AllowedSteps, Existing",
    "Standing": "ReplacementPart, StepProgress",
    "Moving": "Progressing",
    "Stuck": "Stalled",
    "Rest": "PollPolicy",
    "Gone": "NotFound, Deleted",
    "Fresh": "MaxStaleness",
    "ByPlace": "AccountRegion",
    "Sign": "AdoptionMarker",
    "Wanted": "Desired...",
    "Shown": "the trait's noun: PageKind",
}

# Words that no part of a name may be either, as in the name of a test, and what to write instead.
PARTS = {
    "told": "reported, distinguished",
    "news": "changes, events",
    "heard": "recorded",
    "hopeless": "unresolvable",
    "poke": "start_sync",
}

# Phrases of comments and pages, and what to write instead.
PHRASES = {
    r"lets? go of|letting go": "release, retain, remove the finalizer",
    r"side by side": "concurrently, in parallel",
    r"at rest": "steady, idle",
    r"under way": "in progress",
    r"(is|are|be|was|were) told": "is reported",
    r"look(s|ed|ing)? (at )?again": "observe again, requeue",
    r"(is|are|was|were|be) looked at": "is observed",
    r"nobody'?s": "has no owner",
    r"somebody else'?s": "owned by another object",
    r"whose it is": "who owns it",
    r"makes and keeps": "creates and maintains",
    r"made anew|read anew|makes? anew": "recreated, read again",
    r"came to nothing": "failed",
    r"hands changed": "was changed manually",
    r"of long standing": "existing",
    r"what hands": "what was changed manually",
}
PHRASE = re.compile("|".join(f"(?P<p{number}>\\b(?:{pattern})\\b)" for number, pattern in enumerate(PHRASES)), re.IGNORECASE)
IDENTIFIER = re.compile(r"\b(" + "|".join(IDENTIFIERS) + r")\b")
PART = re.compile(r"(?:(?<=_)|\b(?=[a-z]+_))(" + "|".join(PARTS) + r")(?=_|\b)")
# A string or character literal, or a comment.
RUST = re.compile(
    r"""(?P<comment>//[^\n]*)|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'""", re.DOTALL
)


def rust(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The code without literals and comments, lines kept; and the comments, each with its line."""
    comments = []

    def replace(match: re.Match[str]) -> str:
        if match["comment"] is not None:
            comments.append((text.count("\n", 0, match.start()) + 1, match["comment"]))
        return "\n" * match[0].count("\n")

    return RUST.sub(replace, text), comments


def python(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The same of Python, where docstrings are comments."""
    code: list[str] = [""] * (text.count("\n") + 2)
    comments = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or token.type == tokenize.STRING and token.string.startswith('"""'):
            comments += enumerate(token.string.splitlines(), token.start[0])
        elif token.type == tokenize.NAME:
            code[token.start[0] - 1] += f" {token.string}"
    return "\n".join(code), comments


def problems_of(path: Path, text: str) -> Iterator[str]:
    """`line: word: instead` of each."""
    if path.suffix == ".md":
        comments = list(enumerate(text.splitlines(), 1))
        code = ""
    else:
        code, comments = (rust if path.suffix == ".rs" else python)(text)
    for number, line in enumerate(code.splitlines(), 1):
        for match in IDENTIFIER.finditer(line):
            yield f"{number}: `{match[0]}`: write {IDENTIFIERS[match[0]]}"
        for match in PART.finditer(line):
            yield f"{number}: `{match[0]}` in a name: write {PARTS[match[0]]}"
    instead = list(PHRASES.values())
    for number, line in comments:
        for match in PHRASE.finditer(line):
            yield f"{number}: {match[0]!r}: write {instead[int(match.lastgroup[1:])]}"


def main() -> int:
    paths = sorted(
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT.glob("*") if folder == "." else (ROOT / folder).rglob("*"))
        if path.suffix in (".rs", ".py", ".md") and path.relative_to(ROOT).as_posix() not in EXEMPT
    )
    found = [f"{path}:{problem}" for path in paths for problem in problems_of(path, (ROOT / path).read_text())]
    print("\n".join(found) or f"words: {len(paths)} files use the terms of the field")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
