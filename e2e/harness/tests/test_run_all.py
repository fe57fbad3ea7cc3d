"""What fails for want of a processor is tried once more, and what is broken stays broken."""

import sys
from pathlib import Path

import pytest

from keelson_harness.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "e2e"))

import run_all  # noqa: E402

ONLY_ONCE = """
from pathlib import Path

def test_it():
    mark = Path(__file__).with_suffix(".seen")
    seen, _ = mark.exists(), mark.touch()
    assert seen
"""


@pytest.fixture
def play(tmp_path):
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\n")
    left = tmp_path / "left"
    left.mkdir()

    def play(**texts: str) -> dict[str, run_all.Run]:
        def run(name: str, text: str) -> run_all.Run:
            path: Path = tmp_path / f"test_{name}.py"
            path.write_text(text)
            return run_all.Run(name, ini, path, left)

        done = run_all.play([run(*item) for item in texts.items()], 2, left)
        done = run_all.second_tries(done, left)
        return {(found.first or found).name: found for found in done}

    return play


def test_what_fails_once_passes_and_is_named_and_what_fails_twice_fails(play):
    done = play(well="def test_it(): pass", broken="def test_it(): assert False", shaky=ONLY_ONCE)
    assert {name: run.well for name, run in done.items()} == {
        "well": True,
        "broken": False,
        "shaky": True,
    }
    assert [name for name, run in done.items() if run.first] == ["shaky"]


def test_when_much_fails_nothing_is_tried_again(play):
    done = play(**{f"shaky{number}": ONLY_ONCE for number in range(run_all.SECOND_TRIES + 1)})
    assert not any(run.well for run in done.values())
