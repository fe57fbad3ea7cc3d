"""How the demo tells what goes on: elapsed times, shell commands, conditions as they move."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .kubeapi import ApiError, KubeApi, Timeout, conditions

MESSAGE_WIDTH = 110
POLL_SECONDS = 0.2


class Story:
    """Prints to stdout; every line carries the seconds since the beginning."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        print(f"[{self.elapsed():5.1f} s] {text}", flush=True)

    def chapter(self, title: str) -> None:
        print(f"\n== {title}", flush=True)

    def show(self, text: str) -> None:
        print(textwrap.indent(text.rstrip(), "    "), flush=True)

    def command(self, text: str) -> None:
        print(f"    $ {text}", flush=True)


class Conditions:
    """Tells each condition of some objects when its status, reason or message moves."""

    def __init__(self, story: Story, api: KubeApi, objects: list[tuple[str, str, str]]):
        self._story = story
        self._api = api
        self._objects = objects
        self._seen: dict[tuple, tuple] = {}

    def until(self, holds: Callable[[dict[str, dict | None]], bool], timeout: float) -> None:
        """Polls, since two kinds are watched at once; `holds` gets the objects by `Kind/name`."""
        deadline = time.monotonic() + timeout
        while True:
            now = {f"{kind}/{name}": self._find(version, kind, name) for version, kind, name in self._objects}
            for title, item in now.items():
                self._tell(title, item or {})
            if holds(now):
                return
            if time.monotonic() > deadline:
                raise Timeout(f"not there after {timeout:.0f} s; the conditions above say why")
            time.sleep(POLL_SECONDS)

    def _find(self, version: str, kind: str, name: str) -> dict | None:
        try:
            return self._api.find(version, kind, name)
        except (ApiError, OSError):
            return None

    def _tell(self, title: str, item: dict) -> None:
        for kind, entry in conditions(item).items():
            told = (entry["status"], entry.get("reason"), entry.get("message"))
            if self._seen.get((title, kind)) != told:
                self._seen[(title, kind)] = told
                message = " ".join(entry.get("message", "").split())
                self._story.say(
                    f"{title:22} {kind:17} {entry['status']:7} {entry.get('reason', ''):20} "
                    f"{textwrap.shorten(message, MESSAGE_WIDTH, placeholder=' ...')}".rstrip()
                )


class Kubectl:
    """The real kubectl when it is installed; else the same question asked of the API server."""

    def __init__(self, story: Story, kubeconfig: Path, api: KubeApi, cache: Path):
        self._story = story
        self._api = api
        self._binary = shutil.which("kubectl")
        self._cache = cache
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def get(self, *kinds: tuple[str, str], namespace: str = "default", wide: bool = False) -> None:
        """kinds: (apiVersion, Kind)."""
        names = ",".join(kind.lower() for _, kind in kinds)
        arguments = ["get", names, "-n", namespace, *(["-o", "wide"] if wide else [])]
        self._story.command("kubectl " + " ".join(arguments))
        self._story.show(self._real(arguments) or "\n\n".join(self._tables(kinds, namespace, wide)))

    def _real(self, arguments: list[str]) -> str | None:
        if not self._binary:
            return None
        done = subprocess.run(
            [self._binary, f"--cache-dir={self._cache}", *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"    (kubectl failed: {done.stderr.strip()})", file=sys.stderr)
            return None
        return done.stdout

    def _tables(self, kinds, namespace: str, wide: bool) -> Iterator[str]:
        for version, kind in kinds:
            yield self._api.table(version, kind, namespace, wide=wide)
