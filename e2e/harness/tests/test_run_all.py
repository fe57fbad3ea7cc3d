"""`run_all.py`: a test that fails once is retried, a broken test fails."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from keelson_harness import processor_time
from keelson_harness.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "e2e"))

import run_all  # noqa: E402

FAILS_ONCE = """
from pathlib import Path

def test_it():
    marker = Path(__file__).with_suffix(".ran")
    ran_before, _ = marker.exists(), marker.touch()
    assert ran_before
"""


@pytest.fixture
def execute(tmp_path):
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\n")
    records = tmp_path / "records"
    records.mkdir()

    def execute(**texts: str) -> dict[str, run_all.Run]:
        def run(name: str, text: str) -> run_all.Run:
            path: Path = tmp_path / f"test_{name}.py"
            path.write_text(text)
            return run_all.Run(name, ini, path, records)

        done = run_all.execute([run(*item) for item in texts.items()], 2, records)
        done = run_all.retry_failed(done, records)
        return {(run.retry_of or run).name: run for run in done}

    return execute


def test_run_that_fails_once_passes_as_retried_and_run_that_fails_twice_fails(execute):
    done = execute(good="def test_it(): pass", broken="def test_it(): assert False", flaky=FAILS_ONCE)
    assert {name: run.passed for name, run in done.items()} == {
        "good": True,
        "broken": False,
        "flaky": True,
    }
    assert [name for name, run in done.items() if run.retry_of] == ["flaky"]


def test_nothing_is_retried_when_many_runs_fail(execute):
    done = execute(**{f"flaky{number}": FAILS_ONCE for number in range(run_all.MIN_RETRIES + 1)})
    assert not any(run.passed for run in done.values())


def test_a_twentieth_of_the_runs_may_be_retried():
    assert [run_all.max_retries(runs) for runs in (1, 4, 79, 80, 145)] == [3, 3, 3, 4, 7]


def test_longest_runs_start_first_by_the_record_of_another_machine_where_this_one_has_none(tmp_path, monkeypatch):
    known = {"test_plan": 300, "test_pins": 1, "test_drift": 40}
    (tmp_path / "default.json").write_text(json.dumps(known))
    monkeypatch.setattr(run_all, "DURATIONS", tmp_path / "none.json")
    monkeypatch.setattr(run_all, "DEFAULT_DURATIONS", tmp_path / "default.json")

    def order() -> list[str]:
        return [run.name for run in run_all.find_runs(tmp_path, list(known))]

    assert order() == ["test_plan", "test_drift", "test_pins"]
    (tmp_path / "none.json").write_text(json.dumps({"test_pins": 50}))
    assert order() == ["test_plan", "test_pins", "test_drift"]


CHILD = """
import os, random

def test_it():
    print("random", random.random(), "variable", os.environ["VARIABLE"])
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
def test_forked_pytest_has_its_own_environment_and_random_numbers_and_records_its_processor_time(execute, tmp_path, monkeypatch):
    monkeypatch.setenv("VARIABLE", "of this run")
    # Prints what a test that passes prints.
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -rP\n")
    with run_all.preloaded(run_all.PRELOADED_PYTEST, "keelson_harness.preloaded_pytest", tmp_path):
        monkeypatch.setenv("VARIABLE", "changed later")
        done = execute(one=CHILD, two=CHILD, broken="def test_it(): assert False", flaky=FAILS_ONCE)
    assert {name: run.passed for name, run in done.items()} == {"one": True, "two": True, "broken": False, "flaky": True}
    printed = [re.search(r"random (\S+) variable (.*)", done[name]._log.read_text()) for name in ("one", "two")]
    assert printed[0][1] != printed[1][1]
    assert [found[2] for found in printed] == ["changed later"] * 2
    assert processor_time.total(tmp_path / "records" / "times" / "one")["pytest"] > 0
