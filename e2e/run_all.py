"""Runs all end-to-end tests in several processes at once, as they wait most of the time: the emulator's and the
harness's own, and each file of e2e/tests. What took longest the last time begins first.

A few that fail are run once more, each alone, and named at the end if they pass then: what fails only beside others
for want of a processor must not hide a change, and what is broken fails twice.

`test_iam_policy.py` asks what all others called and `test_no_secrets_told.py` what they told, so these are run after them,
over what they left in a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "harness"))

from keelson_harness.processes import Process  # noqa: E402
from keelson_harness.recorder import RECORD_DIR  # noqa: E402

LAST = ("test_iam_policy.py", "test_no_secrets_told.py")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keelson"
# By run: how long it took when it was last run here.
SECONDS = CACHE / "e2e-seconds.json"
# Where the tests of a process leave what was called: `tests/fleet/called.py`.
CALLS = "KEELSON_CALLS"
SLOWEST = 15
# More than so many that fail are no matter of a busy machine.
SECOND_TRIES = 3
WIDTH = 110
INTERRUPTED = 2


@dataclass
class Run:
    """One pytest process."""

    name: str
    configuration: Path
    tests: Path
    directory: Path
    process: Process | None = None
    began: float = 0
    seconds: float = 0
    # (seconds, name) of each test.
    times: list[tuple[float, str]] = field(default_factory=list)
    skipped: int = 0
    # Of a second try: what failed before.
    first: Run | None = None

    def start(self, left: Path) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-c", str(self.configuration), "--rootdir", str(self.configuration.parent)]
        command += [f"--junitxml={self._report}", "-o", "junit_duration_report=total", str(self.tests)]
        self.process = Process(self.name, command, self._log, env={CALLS: str(left / "calls"), RECORD_DIR: str(left / "records")})

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def _report(self) -> Path:
        return self.directory / f"{self.name}.xml"

    def again(self) -> Run:
        """The same, for a second try."""
        return Run(f"{self.name}-again", self.configuration, self.tests, self.directory, first=self)

    def ended(self) -> bool:
        if self.process.alive:
            return False
        self.seconds = time.monotonic() - self.began
        if self._report.exists():
            for case in ElementTree.parse(self._report).iter("testcase"):
                self.times.append((float(case.get("time", 0)), f"{self.name}: {case.get('name')}"))
                self.skipped += case.find("skipped") is not None
        return True

    @property
    def well(self) -> bool:
        # pytest's 5: nothing was collected.
        return self.process.returncode == 0 and bool(self.times)

    def tell(self) -> None:
        """All that it printed, in one piece."""
        verdict = "" if self.well else f", FAILED with {self.process.returncode}"
        print(f"== {self.name}: {self.seconds:.0f} s{verdict}")
        print(self._log.read_text(errors="replace").strip(), "\n", flush=True)


def runs(directory: Path, only: list[str]) -> list[Run]:
    """The longest first, and before them what was never run here."""
    found = [
        Run("aws", HERE / "aws" / "pyproject.toml", HERE / "aws" / "tests", directory),
        Run("harness", HERE / "harness" / "pytest.ini", HERE / "harness" / "tests", directory),
    ]
    ini = HERE / "tests" / "pytest.ini"
    tests = [path for pattern in ("test_*.py", "attacks/test_*.py") for path in (HERE / "tests").glob(pattern)]
    found += [Run(path.stem, ini, path, directory) for path in tests]
    taken = known_seconds()
    found.sort(key=lambda run: (-taken.get(run.name, float("inf")), run.name))
    return [run for run in found if not only or run.name in only]


def known_seconds() -> dict[str, float]:
    try:
        return json.loads(SECONDS.read_text())
    except (OSError, ValueError):
        return {}


def note_seconds(done: list[Run]) -> None:
    taken = known_seconds() | {run.name: round(run.seconds, 1) for run in done if run.well and not run.first}
    CACHE.mkdir(parents=True, exist_ok=True)
    # Other checkouts' runs read it at any time.
    new = SECONDS.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(taken, indent=1, sort_keys=True))
    new.replace(SECONDS)


def play(waiting: list[Run], at_once: int, left: Path) -> list[Run]:
    """Runs them all; those that have ended, in that order."""
    running: list[Run] = []
    done: list[Run] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start(left)
            for run in [run for run in running if run.ended()]:
                running.remove(run)
                done.append(run)
                run.tell()
            time.sleep(0.2)
    finally:
        for run in running:
            run.process.signal(signal.SIGINT)
        for run in running:
            run.process.stop(60)
    return done


def second_tries(done: list[Run], left: Path) -> list[Run]:
    """Plays the few that failed once more; where that goes well it counts."""
    failed = [run for run in done if not run.well]
    if len(failed) > SECOND_TRIES:
        return done
    tried = play([run.again() for run in failed], 1, left)
    passed = {run.first.name: run for run in tried if run.well}
    return [passed.get(run.name, run) for run in done]


def tell_slowest(done: list[Run]) -> None:
    slowest = sorted((time for run in done for time in run.times), reverse=True)[:SLOWEST]
    print(f"== the slowest {len(slowest)} tests")
    for seconds, name in slowest:
        print(f"{seconds:6.1f} s  {name[:WIDTH]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    # Each keeps less than half a core busy.
    default = 2 * (os.cpu_count() or 2)
    parser.add_argument("--at-once", type=int, default=default, help="processes (default: two for each core)")
    parser.add_argument("runs", nargs="*", help="aws, harness, or a file of e2e/tests without its ending (default: all)")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keelson-tests-") as made:
        directory = Path(made)
        for folder in ("calls", "records"):
            (directory / folder).mkdir()
        all_runs = runs(directory, options.runs)
        last = [run for run in all_runs if run.tests.name in LAST]
        try:
            done = play([run for run in all_runs if run not in last], options.at_once, directory)
            done = second_tries(done, directory)
            done += play(last, 1, directory)
        except KeyboardInterrupt:
            return INTERRUPTED
    note_seconds(done)
    tell_slowest(done)
    failed = [run.name for run in done if not run.well]
    tests = sum(len(run.times) for run in done)
    skipped = sum(run.skipped for run in done)
    verdict = f"FAILED: {', '.join(failed)}" if failed else f"passed, {skipped} skipped"
    if twice := [run.first.name for run in done if run.first]:
        verdict += f"; only at the second try: {', '.join(twice)}"
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\n{tests} tests in {len(done)} runs, {minutes} min {seconds} s: {verdict}")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
