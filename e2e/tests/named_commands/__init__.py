"""The command lines that pages, manifests, help texts and messages name. Pure, but for reading these files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keelson_harness.paths import CHECKOUT

PROGRAMS = ("keelson", "kubectl", "aws", "helm")
# Texts beside the pages: comments, advice, what the chart prints.
FILES = ("examples/**/*.yaml", "deploy/*.yaml", "deploy/*/*.yaml", "deploy/charts/keelson/values.yaml", "deploy/charts/keelson/templates/NOTES.txt", "crds/*.yaml")
SOURCE = "src/**/*.rs"
TEMPLATES = "src/page/templates/*.html"
TESTS = re.compile(r"(?:tests?(?:_\w+)?|toy_world|world|fixture)\.rs$|/tests/")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# As a word of its own: not `keelson-system`, not a path. Options may be before the verb.
PROGRAM = re.compile(rf"(?<![\w./$-])({'|'.join(PROGRAMS)}) (?=-{{0,2}}[a-z])")
# The name is the value of another command's option: `--service-account keelson --role-arn`.
OPTION_BEFORE = re.compile(r"\s--[a-z-]+ $")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
TEMPLATE = re.compile(r"\{\{.*?\}\}")
ENDS = {"|", "||", "&&", "&", ";", "(", ")", ">", ">>", "<", "<<", "<<<", "$", "#"}
TAKE_A_VALUE = ("-n", "-f", "-o", "-l", "-k", "-p", "--namespace", "--kubeconfig", "--filename", "--output", "--raw")
# What stands for a value that only the operator knows.
VALUE = "x"


@dataclass(frozen=True)
class Named:
    """Where it is, and its words. prose: of a sentence, which may have a word for the name of a program."""

    place: str
    words: tuple[str, ...]
    prose: bool = False


def in_shell(place: str, text: str) -> Iterator[Named]:
    """The commands of a shell's text, also those in a pipe or in `$(...)`."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        line = re.sub(r"^\s*(?:\$ )?", "", line).replace("cargo run -- ", "keelson ")
        if not PROGRAM.search(line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "{}[]@:%+,!^"
        try:
            words = list(lexer)
        except ValueError:  # A quote that ends in another line.
            words = line.split()
        command: list[str] = []
        for word in [*words, ";"]:
            if word in ENDS or re.fullmatch(r"[|;&()<>]+", word):
                if command and command[0] in PROGRAMS and len(command) > 1:
                    yield Named(place, tuple(command))
                command = []
            elif not (not command and re.fullmatch(r"\w+=\S*|then|do|!|exec", word)):
                command.append(word)


def in_sentence(place: str, text: str) -> Iterator[Named]:
    """The beginning of each command in a sentence: its verbs, options, and values that are no words."""
    for found in PROGRAM.finditer(text):
        if OPTION_BEFORE.search(text, 0, found.start()):
            continue
        rest = re.split(r"[,;:)`'\"\n<]|\.(?:\s|$)| [(#]", text[found.end() :], maxsplit=1)[0]
        words = rest.split()
        verb = verb_at(words)
        if verb is None:
            continue
        # The second verb, or what kubectl is to act on.
        taken = verb + (2 if found[1] in ("aws", "kubectl") or words[verb] == "rollout" else 1)
        while taken < len(words) and is_argument(words[taken], words[taken - 1]):
            taken += 1
        yield Named(place, (found[1], *words[:taken]), prose=True)


def verb_at(words: Sequence[str]) -> int | None:
    """Where the verb is in what follows the program, as options may be before it; None: there are only options."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in TAKE_A_VALUE else 1
    return at if at < len(words) else None


def is_argument(word: str, before: str) -> bool:
    return bool(re.match(r"-{1,2}[a-z]|[A-Z][A-Z-]*$", word) or word == VALUE or re.search(r"[/=]", word) or before in TAKE_A_VALUE)


def of_pages() -> Iterator[Named]:
    # The changelog names what was.
    pages = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "SECURITY.md"]
    for folder in ("docs", "deploy", "examples"):
        pages += sorted((CHECKOUT / folder).rglob("*.md"))
    for page in pages:
        place, text = str(page.relative_to(CHECKOUT)), page.read_text()
        for kind, block in BLOCK.findall(text):
            if kind in ("sh", "console"):
                yield from in_shell(place, block)
            elif kind in ("text", ""):
                yield from in_sentence(place, block)
        for span in SPAN.findall(BLOCK.sub("", text)):
            if PROGRAM.match(span):
                yield from in_shell(place, span)
            else:
                yield from in_sentence(place, span)


def of_files() -> Iterator[Named]:
    for pattern in FILES:
        for path in sorted(CHECKOUT.glob(pattern)):
            text = TEMPLATE.sub(VALUE, re.sub(r"\\\n\s*", " ", path.read_text()))
            yield from in_sentence(str(path.relative_to(CHECKOUT)), text)


def of_templates() -> Iterator[Named]:
    """What the fleet page says in its own words."""
    for path in sorted(CHECKOUT.glob(TEMPLATES)):
        yield from in_sentence(str(path.relative_to(CHECKOUT)), TEMPLATE.sub(VALUE, path.read_text()))


def of_source() -> Iterator[Named]:
    """Messages, help texts and commands that the page shows."""
    for path in sorted(CHECKOUT.glob(SOURCE)):
        place = str(path.relative_to(CHECKOUT))
        if TESTS.search(place):
            continue
        text = path.read_text().partition("#[cfg(test)]\nmod tests {")[0]
        comments = "\n".join(line.lstrip().removeprefix("///") for line in text.splitlines() if line.lstrip().startswith("///"))
        yield from in_sentence(place, re.sub(r"\n ?", " ", comments))
        code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))
        for literal in LITERAL.findall(code):
            plain = re.sub(r"\\\n\s*", "", literal).replace("\\n", "\n").replace('\\"', '"')
            yield from in_sentence(place, re.sub(r"\{[^{}]*\}", VALUE, plain))
