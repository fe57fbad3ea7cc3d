"""The command line as its users run it: in a pipe, followed, on a terminal, and with the permissions of others."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from fleet.environment import Environment
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


class Following:
    """A command that prints until it is stopped."""

    def __init__(self, on: Environment, *arguments: str):
        line, env = command(on, *arguments)
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""

    def until(self, text: str, seconds: float = 30, times: int = 1) -> str:
        deadline = time.monotonic() + seconds
        while self.text.count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                self.text += os.read(self.process.stdout.fileno(), 65536).decode()
        return self.text

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


def on_terminal(on: Environment, *arguments: str, env: dict[str, str] | None = None, until: tuple[str, ...] = ()) -> str:
    """What a command prints on a terminal: all of it, or what it prints until it contains the texts, and is stopped then."""
    terminal, child = pty.openpty()
    line, base = command(on, *arguments)
    process = subprocess.Popen(line, env={**base, "TERM": "xterm", **(env or {})}, stdin=child, stdout=child, stderr=child)
    os.close(child)
    text, deadline = "", time.monotonic() + 30
    try:
        while not until or not all(part in text for part in until):
            assert time.monotonic() < deadline, text
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                read = os.read(terminal, 65536)
            except OSError:  # The other end is closed: the command has ended.
                break
            if not read:
                break
            text += read.decode(errors="replace")
        assert all(part in text for part in until), text
    finally:
        process.kill()
        process.wait(10)
        os.close(terminal)
    return text


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
    deadline = time.monotonic() + 20
    while True:
        result = run(on, *arguments, kubeconfig=kubeconfig)
        if result.returncode == 0 or time.monotonic() > deadline:
            return result
        time.sleep(0.5)
