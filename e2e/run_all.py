"""Runs all end-to-end tests in parallel processes: the emulator's and the harness's own, and each file of e2e/tests.
The longest of the last run start first.

If only a few runs fail, each is retried once, alone and with its own control plane, and reported if it then passes. So a test
that fails only because the machine is busy does not fail the suite, and a broken test fails twice.

`test_iam_policy.py` checks the AWS calls of all other tests and `test_no_secrets_in_output.py` their output. These two run
last, over what the others recorded in a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "harness"))

from keelson_harness import processor_time  # noqa: E402
from keelson_harness.aws import PRELOADED  # noqa: E402
from keelson_harness.paths import AWS_PACKAGE  # noqa: E402
from keelson_harness.pooled import POOL  # noqa: E402
from keelson_harness.processes import Process  # noqa: E402
from keelson_harness.recorder import RECORD_DIR  # noqa: E402

LAST = ("test_iam_policy.py", "test_no_secrets_in_output.py")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keelson"
# Seconds of each run when it last passed on this machine.
DURATIONS = CACHE / "e2e-seconds.json"
# The same of another machine, for runs of which this one has no record. To update it, copy that file.
DEFAULT_DURATIONS = HERE / "seconds.json"
# The folder where each test process records its AWS calls: `tests/fleet/aws_calls.py`.
CALLS = "KEELSON_CALLS"
# The socket of a process that forks pytest processes.
PRELOADED_PYTEST = "KEELSON_PYTEST_PRELOADED"
SLOWEST = 15
# With more failures than this share of the runs, a busy machine is not the cause.
RETRIED_SHARE = 1 / 20
# Of a few runs.
MIN_RETRIES = 3
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
    # Of a retry: the failed run.
    retry_of: Run | None = None

    def start(self, records: Path) -> None:
        self.began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-c", str(self.configuration), "--rootdir", str(self.configuration.parent)]
        command += [f"--junitxml={self._report}", "-o", "junit_duration_report=total", str(self.tests)]
        times = records / "times" / self.name
        times.mkdir(parents=True, exist_ok=True)
        env = {CALLS: records / "calls", RECORD_DIR: records / "output", processor_time.FOLDER: times}
        self.process = Process(
            self.name,
            command,
            self._log,
            env={name: str(path) for name, path in env.items()},
            fork_from=Path(server) if (server := os.environ.get(PRELOADED_PYTEST)) else None,
        )

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def _report(self) -> Path:
        return self.directory / f"{self.name}.xml"

    def retry(self) -> Run:
        """The same run, for another attempt."""
        return Run(f"{self.name}-retry", self.configuration, self.tests, self.directory, retry_of=self)

    def poll_finished(self) -> bool:
        if self.process.alive:
            return False
        self.seconds = time.monotonic() - self.began
        if self._report.exists():
            for case in ElementTree.parse(self._report).iter("testcase"):
                self.times.append((float(case.get("time", 0)), f"{self.name}: {case.get('name')}"))
                self.skipped += case.find("skipped") is not None
        return True

    @property
    def passed(self) -> bool:
        # An empty report means that no test was collected.
        return self.process.returncode == 0 and bool(self.times)

    def print_output(self) -> None:
        """Prints all its output at once."""
        verdict = "" if self.passed else f", FAILED with {self.process.returncode}"
        print(f"== {self.name}: {self.seconds:.0f} s{verdict}")
        print(self._log.read_text(errors="replace").strip(), "\n", flush=True)


def find_runs(directory: Path, only: list[str]) -> list[Run]:
    """New runs first, then the longest."""
    found = [
        Run("aws", HERE / "aws" / "pyproject.toml", HERE / "aws" / "tests", directory),
        Run("harness", HERE / "harness" / "pytest.ini", HERE / "harness" / "tests", directory),
    ]
    ini = HERE / "tests" / "pytest.ini"
    tests = [path for pattern in ("test_*.py", "attacks/test_*.py") for path in (HERE / "tests").glob(pattern)]
    found += [Run(path.stem, ini, path, directory) for path in tests]
    durations = load_durations()
    found.sort(key=lambda run: (-durations.get(run.name, float("inf")), run.name))
    return [run for run in found if not only or run.name in only]


def load_durations() -> dict[str, float]:
    return _read_durations(DEFAULT_DURATIONS) | _read_durations(DURATIONS)


def _read_durations(path: Path) -> dict[str, float]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def save_durations(done: list[Run]) -> None:
    durations = _read_durations(DURATIONS) | {run.name: round(run.seconds, 1) for run in done if run.passed and not run.retry_of}
    CACHE.mkdir(parents=True, exist_ok=True)
    # Atomic: runs of other checkouts read it at any time.
    new = DURATIONS.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(durations, indent=1, sort_keys=True))
    new.replace(DURATIONS)


def execute(waiting: list[Run], jobs: int, records: Path) -> list[Run]:
    """Executes all runs; returns them in the order in which they finished."""
    running: list[Run] = []
    done: list[Run] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(waiting.pop(0))
                running[-1].start(records)
            for run in [run for run in running if run.poll_finished()]:
                running.remove(run)
                done.append(run)
                run.print_output()
            time.sleep(0.2)
    finally:
        for run in running:
            run.process.signal(signal.SIGINT)
        for run in running:
            run.process.stop(60)
    return done


def max_retries(runs: int) -> int:
    return max(MIN_RETRIES, int(runs * RETRIED_SHARE))


def retry_failed(done: list[Run], records: Path) -> list[Run]:
    """Retries failed runs if they are few; a retry that passes replaces its run."""
    failed = [run for run in done if not run.passed]
    if len(failed) > max_retries(len(done)):
        return done
    retried = execute([run.retry() for run in failed], 1, records)
    passed = {run.retry_of.name: run for run in retried if run.passed}
    return [passed.get(run.name, run) for run in done]


@contextlib.contextmanager
def preloaded(variable: str, module: str, directory: Path) -> Iterator[None]:
    """A process that forks all processes of that Python module: half of what they cost is to load their code and data."""
    if not hasattr(os, "pidfd_open"):
        yield
        return
    socket = directory / module
    path = os.pathsep.join((str(HERE / "harness"), str(AWS_PACKAGE)))
    argv = [sys.executable, "-m", module, socket]
    process = Process(module, argv, directory / f"{module}.log", env={"PYTHONPATH": path})
    os.environ[variable] = str(socket)
    try:
        yield
    finally:
        del os.environ[variable]
        process.kill()


@contextlib.contextmanager
def control_plane_pool(directory: Path) -> Iterator[None]:
    """A process that gives control planes to the runs, and resets each after its use."""
    socket = directory / "control-planes"
    times = directory / "times" / "control planes"
    times.mkdir()
    argv = [sys.executable, "-m", "keelson_harness.control_plane_pool", socket]
    env = {"PYTHONPATH": str(HERE / "harness"), processor_time.FOLDER: str(times)}
    process = Process("control planes", argv, directory / "pool.log", env=env)
    process.wait_ready(socket.exists)
    os.environ[POOL] = str(socket)
    try:
        yield
    finally:
        del os.environ[POOL]
        process.stop(60)
        # Which were not used again, and why.
        print(process.log.read_text(errors="replace"), end="", flush=True)


def print_processor_times(folder: Path) -> None:
    """Of all runs by program, and of those that used most."""
    by_run = {path.name: processor_time.total(path) for path in folder.iterdir()}
    total: Counter[str] = Counter()
    for times in by_run.values():
        total.update(times)
    print(f"== processor time: {sum(total.values()) / 60:.1f} min")
    print("  " + ", ".join(f"{program} {seconds / 60:.1f}" for program, seconds in total.most_common()))
    most = sorted(by_run.items(), key=lambda item: -sum(item[1].values()))[:SLOWEST]
    for name, times in most:
        programs = ", ".join(f"{program} {seconds:.1f}" for program, seconds in times.most_common(6))
        print(f"{sum(times.values()):6.1f} s  {name}: {programs}")


def print_slowest(done: list[Run]) -> None:
    slowest = sorted((time for run in done for time in run.times), reverse=True)[:SLOWEST]
    print(f"== slowest {len(slowest)} tests")
    for seconds, name in slowest:
        print(f"{seconds:6.1f} s  {name[:WIDTH]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    # Each uses a third of a core.
    default = 3 * (os.cpu_count() or 2)
    parser.add_argument("--jobs", type=int, default=default, help="parallel processes (default: three for each core)")
    parser.add_argument("runs", nargs="*", help="aws, harness, or a file of e2e/tests without .py (default: all)")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keelson-tests-") as temporary:
        directory = Path(temporary)
        for folder in ("calls", "output", "times"):
            (directory / folder).mkdir()
        all_runs = find_runs(directory, options.runs)
        last = [run for run in all_runs if run.tests.name in LAST]
        try:
            with (
                preloaded(PRELOADED, "keelson_aws.preloaded", directory),
                preloaded(PRELOADED_PYTEST, "keelson_harness.preloaded_pytest", directory),
            ):
                with control_plane_pool(directory):
                    done = execute([run for run in all_runs if run not in last], options.jobs, directory)
                done = retry_failed(done, directory)
                done += execute(last, 1, directory)
        except KeyboardInterrupt:
            return INTERRUPTED
        save_durations(done)
        print_slowest(done)
        print_processor_times(directory / "times")
    failed = [run.name for run in done if not run.passed]
    tests = sum(len(run.times) for run in done)
    skipped = sum(run.skipped for run in done)
    verdict = f"FAILED: {', '.join(failed)}" if failed else f"passed, {skipped} skipped"
    if retried := [run.retry_of.name for run in done if run.retry_of]:
        verdict += f"; {len(retried)} passed only when retried: {', '.join(retried)}"
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\n{tests} tests in {len(done)} runs, {minutes} min {seconds} s: {verdict}")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
