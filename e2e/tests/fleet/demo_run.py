"""Runs a demo of the Makefile as `make` does, and watches the fleet page at the address that it prints."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
from dataclasses import dataclass

import requests

from keelson_harness.fleet_page import ADDRESS
from keelson_harness.paths import CHECKOUT, keelson_binary

CHAPTER = re.compile(r"^== (.+)$", re.MULTILINE)
SECONDS = 900
# Of an answer of the page, on a busy machine.
SLOW = 30


@dataclass
class Recorded:
    """What the demo printed, what the fleet page showed when each chapter began, and the processor time in seconds."""

    output: str
    pages: dict[str, str]
    processor_seconds: float

    @property
    def chapters(self) -> list[str]:
        return CHAPTER.findall(self.output)

    def unanswered(self) -> list[str]:
        """Chapters at whose beginning the page gave no answer. It is started in the first chapter, and ends after the last."""
        return [title for title in self.chapters[1:-1] if not self.pages.get(title)]


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


def recipe(command: str) -> str:
    """What make runs last for this command: the builds before it have been done."""
    variables = {**os.environ, "KEELSON_BIN": str(keelson_binary())}
    printed = subprocess.run(
        [*command.split(), "--dry-run"], cwd=CHECKOUT, env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    return [line for line in printed.stdout.splitlines() if "keelson_harness" in line][-1]


def record(command: str) -> Recorded:
    """command: `make`, and the target of a demo. The demo has to succeed."""
    before = _of_children()
    environment = {**os.environ, "KEELSON_BIN": str(keelson_binary())}
    line = ["sh", "-c", f"exec env {recipe(command)}"]
    process = subprocess.Popen(line, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(SECONDS, process.terminate)
    timer.start()
    lines, pages, visitor = [], {}, Visitor()
    try:
        for text in process.stdout:
            lines.append(text)
            if address := ADDRESS.search(text):
                visitor.enter(address[0])
            if (title := CHAPTER.search(text)) and visitor.root:
                pages[title[1]] = visitor.landing()
        assert process.wait(SECONDS) == 0, "".join(lines)
    finally:
        timer.cancel()
        # It stops what it started.
        process.terminate()
        process.wait(60)
    return Recorded("".join(lines), pages, _of_children() - before)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def chapter(output: str, title: str) -> str:
    """The chapter whose title starts with it."""
    (found,) = [part for part in re.split(r"^== ", output, flags=re.MULTILINE) if part.startswith(title)]
    return found
