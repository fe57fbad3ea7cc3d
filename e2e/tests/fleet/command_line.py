"""The command line as its users run it: in a pipe, followed, on a terminal, and with the permissions of others."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

from fleet.environment import PATIENCE, Environment
from keelson_harness.kubeapi import documents
from keelson_harness.paths import DEPLOY, keelson_binary


def command(on: Environment, *arguments: str, kubeconfig: Path | None = None) -> tuple[list[str], dict[str, str]]:
    env = {
        "KUBECONFIG": str(kubeconfig or on.cloud.management.kubeconfig),
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TZ": "UTC",
    }
    return [str(keelson_binary()), *arguments], env


def run(on: Environment, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    line, env = command(on, *arguments, kubeconfig=kubeconfig)
    return subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
    )


def output(on: Environment, *arguments: str) -> str:
    result = run(on, *arguments)
    assert result.returncode == 0, f"keelson {' '.join(arguments)}: {result.stderr}"
    return result.stdout


class OutputReader:
    """What a process prints, as it arrives: a read may end within a character."""

    def __init__(self, descriptor: int):
        self.text = ""
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> bool:
        """Waits a moment for more. Returns False at the end."""
        if not select.select([self._descriptor], [], [], 0.2)[0]:
            return True
        try:
            read = os.read(self._descriptor, 65536)
        except OSError:  # A terminal whose other end is closed: the process has ended.
            return False
        self.text += self._decoder.decode(read)
        return bool(read)

    def until(self, text: str, seconds: float = PATIENCE, times: int = 1) -> str:
        """Reads until the text was printed that often; returns all that was printed."""
        deadline = time.monotonic() + seconds
        while self.text.count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            assert self.read() or self.text.count(text) >= times, f"it ended without {text!r}: {self.text!r}"
        return self.text


class Following:
    """A command that prints until it is stopped."""

    def __init__(self, on: Environment, *arguments: str):
        line, env = command(on, *arguments)
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._output = OutputReader(self.process.stdout.fileno())

    @property
    def text(self) -> str:
        return self._output.text

    def until(self, text: str, seconds: float = PATIENCE, times: int = 1) -> str:
        return self._output.until(text, seconds, times)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


def on_terminal(on: Environment, *arguments: str, env: dict[str, str] | None = None, until: tuple[str | re.Pattern, ...] = ()) -> str:
    """What a command prints on a terminal: all of it, or what it prints until it contains the texts and patterns, and is stopped then."""

    def is_shown() -> bool:
        return all(part.search(reader.text) if isinstance(part, re.Pattern) else part in reader.text for part in until)

    terminal, child = pty.openpty()
    line, base = command(on, *arguments)
    process = subprocess.Popen(line, env={**base, "TERM": "xterm", **(env or {})}, stdin=child, stdout=child, stderr=child)
    os.close(child)
    reader, deadline = OutputReader(terminal), time.monotonic() + PATIENCE
    try:
        while not until or not is_shown():
            assert time.monotonic() < deadline, reader.text
            if not reader.read():
                break
        assert is_shown(), reader.text
    finally:
        process.kill()
        process.wait(10)
        os.close(terminal)
    return reader.text


def user(on: Environment, name: str, *roles: tuple[str, str, str]) -> Path:
    """A kubeconfig of a user with (namespace, kind of role, name of role)."""
    on.api.apply_all(documents(DEPLOY / "rbac-users.yaml"))
    for number, (place, kind, role) in enumerate(roles):
        on.api.apply_all([{
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{name}-{number}", "namespace": place},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        }])
    return on.cloud.management.kubeconfig_for(name, ("system:authenticated",))


def until_allowed(on: Environment, kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The API server aggregates roles, and notices bindings, after a moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = run(on, *arguments, kubeconfig=kubeconfig)
        if result.returncode == 0 or time.monotonic() > deadline:
            return result
        time.sleep(0.5)
