"""`run_all.py`: a test that fails once is retried, a broken test fails."""

import json
import sys
from pathlib import Path

import pytest

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
    done = execute(**{f"flaky{number}": FAILS_ONCE for number in range(run_all.MAX_RETRIES + 1)})
    assert not any(run.passed for run in done.values())


def test_longest_runs_start_first_by_the_record_of_another_machine_where_this_one_has_none(tmp_path, monkeypatch):
    known = {"test_plan": 300, "test_pins": 1, "test_drift": 40}
    (tmp_path / "default.json").write_text(json.dumps(known))
    monkeypatch.setattr(run_all, "DURATIONS", tmp_path / "none.json")
    monkeypatch.setattr(run_all, "DEFAULT_DURATIONS", tmp_path / "default.json")

    def order() -> list[str]:
        return [run.name for run in run_all.find_runs(tmp_path, list(known))]

    assert order() == ["test_plan", "test_drift", "test_pins"]
    (tmp_path / "none.json").write_text(json.dumps({"test_pins": 2, "test_drift": 1, "test_plan": 3}))
    assert order() == ["test_plan", "test_pins", "test_drift"]
