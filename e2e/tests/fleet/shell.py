"""Runs the commands of a page as a reader does: pasted into one shell, watched until something happens, or answered on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keelson_harness.paths import CHECKOUT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
BLOCK_SECONDS = 300
ROWS, COLUMNS = 120, 200


def needs_tools(*names: str) -> None:
    """Skips without these programs. GitHub's runners have kubectl, aws and git: there it fails instead."""
    missing = [name for name in names if not shutil.which(name)]
    if missing and os.environ.get("GITHUB_ACTIONS"):
        pytest.fail(f"the commands of the docs need {', '.join(missing)}, which this runner should have")
    if missing:
        pytest.skip(f"the commands of the docs need {', '.join(missing)}")


class Shell:
    """One shell in `folder`: exported variables stay from one call to the next."""

    def __init__(self, directory: Path, environment: dict[str, str], folder: Path = CHECKOUT):
        self._state = directory / "exported"
        self._state.touch()
        self._environment = environment
        self._folder = folder

    def run(self, commands: str) -> str:
        """What the commands print; fails if one of them fails."""
        state = shlex.quote(str(self._state))
        script = f". {state}\nset -eo pipefail\n{commands}\nset +eo pipefail\nexport -p > {state}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\nfailed with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def watch(self, command: str, shown: str, seconds: float = 60) -> str:
        """Runs a command on a terminal until its output matches a pattern, and ends it with Ctrl-C."""
        with OnTerminal(self, command) as terminal:
            text = terminal.until(shown, seconds)
            os.killpg(terminal.process.pid, signal.SIGINT)
            return text

    @contextmanager
    def running(self, command: str) -> Iterator[OnTerminal]:
        """Runs a command on a terminal for a block, and ends it with Ctrl-C."""
        with OnTerminal(self, command) as terminal:
            try:
                yield terminal
            finally:
                if terminal.process.poll() is None:
                    os.killpg(terminal.process.pid, signal.SIGINT)

    def answer(self, command: str, question: str, reply: str) -> tuple[int, str]:
        """Runs a command on a terminal, and answers its question. Returns its exit code and output."""
        with OnTerminal(self, command) as terminal:
            terminal.until(re.escape(question), 30)
            terminal.type(reply)
            return terminal.wait(30), terminal.text

    def start(self, command: str, terminal: int) -> subprocess.Popen:
        """The command on that terminal, in a process group of its own."""
        script = f". {shlex.quote(str(self._state))}\n{command}"
        env = {**self._environment, "TERM": "xterm"}
        on = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        return subprocess.Popen(["bash", "-c", script], cwd=self._folder, env=env, start_new_session=True, **on)


class OnTerminal:
    """A command on a terminal that is large enough for what it draws."""

    def __init__(self, shell: Shell, command: str):
        self._command = command
        self._end, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = shell.start(command, child)
        os.close(child)
        self._raw, self.text = "", ""

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        os.close(self._end)

    def _read(self) -> bool:
        """Adds what it has printed; whether it may print more."""
        if not select.select([self._end], [], [], 0.2)[0]:
            return True
        try:
            read = os.read(self._end, 65536)
        except OSError:  # The other end is closed: the command has ended.
            return False
        self._raw += read.decode(errors="replace")
        self.text = ESCAPE.sub("", self._raw)
        return bool(read)

    def until(self, pattern: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        more = True
        while not re.search(pattern, self.text, re.DOTALL):
            assert more and time.monotonic() < deadline, f"{self._command}: no {pattern!r} in\n{self.text}"
            more = self._read()
        return self.text

    def type(self, line: str) -> None:
        os.write(self._end, f"{line}\n".encode())

    def wait(self, seconds: float) -> int:
        """Its exit code, once all of its output is read."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"{self._command} does not end:\n{self.text}"
        return self.process.wait(seconds)
