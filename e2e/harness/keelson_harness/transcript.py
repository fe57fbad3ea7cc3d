"""The output of the demo: elapsed times, shell commands, condition changes."""

import os
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from .kubeapi import ApiError, KubeApi, Timeout, conditions, documents

MESSAGE_WIDTH = 110
# Of the output of commands: a column of a table may be a message of a thousand characters.
SHOWN_WIDTH = 150
POLL_SECONDS = 0.2


class CommandFailed(Exception):
    """A command failed; holds its error output."""


class Transcript:
    """Prints to stdout, each line with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def log(self, text: str) -> None:
        print(f"[{self.elapsed():5.1f} s] {text}", flush=True)

    def chapter(self, title: str) -> None:
        print(f"\n== {title}", flush=True)

    def show(self, text: str) -> None:
        lines = [line if len(line) <= SHOWN_WIDTH else f"{line[:SHOWN_WIDTH]} ..." for line in text.rstrip().splitlines()]
        print(textwrap.indent("\n".join(lines), "    "), flush=True)

    def command(self, text: str) -> None:
        print(f"    $ {text}", flush=True)


class Conditions:
    """Prints each condition of some objects when its status, reason or message changes."""

    def __init__(self, transcript: Transcript, api: KubeApi, objects: list[tuple[str, str, str]]):
        self._transcript = transcript
        self._api = api
        self._objects = objects
        self._seen: dict[tuple, tuple] = {}

    def until(self, holds: Callable[[dict[str, dict | None]], bool], timeout: float) -> None:
        """Polls until `holds` is true of the objects, which it gets by `Kind/name`."""
        deadline = time.monotonic() + timeout
        while True:
            now = {f"{kind}/{name}": self._find(version, kind, name) for version, kind, name in self._objects}
            for title, item in now.items():
                self._print_changes(title, item or {})
            if holds(now):
                return
            if time.monotonic() > deadline:
                raise Timeout(f"timed out after {timeout:.0f} s; see the conditions above")
            time.sleep(POLL_SECONDS)

    def _find(self, version: str, kind: str, name: str) -> dict | None:
        try:
            return self._api.find(version, kind, name)
        except (ApiError, OSError):
            return None

    def _print_changes(self, title: str, item: dict) -> None:
        for kind, entry in conditions(item).items():
            current = (entry["status"], entry.get("reason"), entry.get("message"))
            if self._seen.get((title, kind)) != current:
                self._seen[(title, kind)] = current
                message = " ".join(entry.get("message", "").split())
                self._transcript.log(
                    f"{title:22} {kind:17} {entry['status']:7} {entry.get('reason', ''):20} "
                    f"{textwrap.shorten(message, MESSAGE_WIDTH, placeholder=' ...')}".rstrip()
                )


class Kubectl:
    """kubectl if it is installed, else the same requests by our own client."""

    def __init__(self, transcript: Transcript, kubeconfig: Path, api: KubeApi, cache: Path):
        self._transcript = transcript
        self._api = api
        self._binary = shutil.which("kubectl")
        self._cache = cache
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def apply(self, path: Path) -> None:
        def without_kubectl() -> str:
            items = documents(path)
            self._api.apply_all(items)
            return "\n".join(f"{i['kind'].lower()}/{i['metadata']['name']} applied" for i in items)

        self._run(["apply", "-f", str(path)], without_kubectl)

    def delete(self, objects: list[tuple[str, str, str]]) -> None:
        """objects: (apiVersion, Kind, name). Returns at once."""

        def without_kubectl() -> str:
            for version, kind, name in objects:
                self._api.delete(version, kind, name)
            return ""

        names = [f"{kind.lower()}/{name}" for _, kind, name in objects]
        self._run(["delete", "--wait=false", *names], without_kubectl)

    def get(self, *kinds: tuple[str, str], wide: bool = False, namespace: str = "default") -> None:
        """kinds: (apiVersion, Kind)."""
        names = ",".join(kind.lower() for _, kind in kinds)
        where = ["-n", namespace] if namespace != "default" else []
        self._run(
            ["get", names, *where, *(["-o", "wide"] if wide else [])],
            lambda: "\n\n".join(self._api.table(*kind, namespace=namespace, wide=wide) for kind in kinds),
        )

    def get_yaml(self, api_version: str, kind: str, name: str, namespace: str) -> None:
        def without_kubectl() -> str:
            item = self._api.get(api_version, kind, name, namespace)
            item["metadata"].pop("managedFields", None)
            return yaml.safe_dump(item)

        self._run(["get", kind.lower(), name, "-n", namespace, "-o", "yaml"], without_kubectl)

    def _run(self, arguments: list[str], without_kubectl: Callable[[], str]) -> None:
        self._transcript.command("kubectl " + " ".join(arguments))
        self._transcript.show(self._kubectl(arguments) if self._binary else without_kubectl())

    def _kubectl(self, arguments: list[str]) -> str:
        done = subprocess.run(
            [self._binary, f"--cache-dir={self._cache}", *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
