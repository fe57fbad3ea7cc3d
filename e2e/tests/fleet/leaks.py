"""Searches the recorded output for secrets: `keelson_harness/recorder.py` records it, `test_no_secrets_in_output.py` searches it.

A secret is found in every form in which it could be printed: plain, escaped, in base64 (also as part of a longer
text), and as numbers, as Rust prints bytes. Text that looks like a token is found as well.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import quote

# Of a longer word, such as a token, the end is searched: tokens start alike.
LONGEST, END = 64, 48
LEAST = 8
# Patterns of credentials, whoever issued them.
TOKENS = (
    "k8s-aws-v1\\.[A-Za-z0-9_-]{16}",
    "keelson-session-[A-Za-z0-9_-]{8}",
    "Signature=[0-9a-f]{16}",
    "X-Amz-Security-Token=[A-Za-z0-9]",
    "ASIA[A-Z2-7]{16}",
    "[Bb]earer [A-Za-z0-9_-]{16}",
    "BEGIN [A-Z ]*PRIVATE KEY",
    "AGE-SECRET-KEY-1[A-Z0-9]{16}",
    "eyJhbGciOi[A-Za-z0-9_-]{16}",
)
CONTEXT = 100


@dataclass(frozen=True)
class Leak:
    # The test, and which of its recorded files: log-..., metrics-..., traces-..., watch-..., objects-...
    test: str
    place: str
    context: str

    def __str__(self) -> str:
        return f"{self.test}: {self.place}: {self.context}"


def forms(word: str) -> set[str]:
    if len(word) > LONGEST:
        word = word[-END:]
    plain = word.encode()
    found = {word, json.dumps(word)[1:-1], quote(word, safe=""), plain.hex(), ", ".join(map(str, plain))}
    for before in range(3):
        found |= set(inside_base64(plain, before))
    return {form for form in found if len(form) >= LEAST and "\n" not in form}


def inside_base64(plain: bytes, before: int) -> tuple[str, str]:
    """The base64 text that is the same whatever precedes it (`before` bytes past a group of three) and follows it; in both alphabets."""
    begin = (0, 2, 3)[before]
    padded = bytes(before) + plain
    end = len(base64.b64encode(padded).rstrip(b"=")) - (1 if len(padded) % 3 else 0)
    encoders = (base64.b64encode, base64.urlsafe_b64encode)
    standard, for_urls = (encode(padded).decode()[begin:end] for encode in encoders)
    return standard, for_urls


def clouds(folder: Path) -> dict[Path, dict]:
    """The description of each recorded cloud, except those that were killed."""
    return {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob("*/about.json"))}


def find(folder: Path, words: set[str]) -> list[Leak]:
    """Every place that contains one of the words, or a token."""
    files = [path for cloud in clouds(folder) for path in sorted(cloud.glob("*.gz"))]
    by_form = {form: word for word in words for form in forms(word)}
    seen = grep(files, "-F", by_form) | grep(files, "-E", TOKENS)
    return [leak for path in files for leak in leaks(path, seen)] if seen else []


def grep(files: list[Path], how: str, patterns) -> set[str]:
    """The matches of the patterns in all files: one pass, as the files can add up to a gigabyte."""
    if not files or not patterns:
        return set()
    with NamedTemporaryFile("w") as listed:
        listed.write("\n".join(patterns))
        listed.flush()
        unpacked = subprocess.Popen(["gzip", "-dc", *map(str, files)], stdout=subprocess.PIPE)
        command = ["grep", "--text", "--only-matching", how, f"--file={listed.name}"]
        environment = {**os.environ, "LC_ALL": "C"}
        found = subprocess.run(command, stdin=unpacked.stdout, stdout=subprocess.PIPE, env=environment, check=False)
        unpacked.stdout.close()
        assert unpacked.wait() == 0, "the recording cannot be read"
    # 1: no match.
    assert found.returncode in (0, 1), command
    return set(found.stdout.decode(errors="replace").splitlines())


def leaks(path: Path, seen: set[str]) -> list[Leak]:
    text = gzip.open(path, "rt", errors="replace").read()
    about = json.loads((path.parent / "about.json").read_text())
    found = []
    for form in sorted(seen):
        if at := re.search(re.escape(form), text):
            context = text[max(0, at.start() - CONTEXT) : at.end() + CONTEXT]
            found.append(Leak(about["test"], path.name.removesuffix(".gz"), context))
    return found
