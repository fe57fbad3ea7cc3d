"""`e2e/words.py` finds the words to avoid in code, comments and pages, and not in string literals."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import words  # noqa: E402


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("a.rs", "fn told() {}\n", ["1: `told`"]),
        ("a.rs", 'let a = "told";\nlet b = r#"a " told"#; let c = \'"\'; // fine\n', []),
        ("a.rs", "let retold = untold();\n", []),
        ("a.rs", "let a = 1;\n// It is under way.\n", ["2: 'under way'"]),
        ("a.rs", 'let a = "one\ntwo"; fn poke() {}\n', ["2: `poke`"]),
        ("a.rs", "fn changes_are_told_apart() {}\n", ["1: `told` in a name"]),
        ("a.rs", "fn told_apart() {}\n", ["1: `told` in a name"]),
        ("a.rs", "enum Address { Given(String) }\n", ["1: `Given`"]),
        ("a.py", 'told = "says"\n', ["1: `told`"]),
        ("a.py", "x = 1  # nobody's\n", ["1: \"nobody's\""]),
        ("a.md", "Steps run side by side, told twice.\n", ["1: 'side by side'"]),
        ("a.md", "Steps run concurrently.\n", []),
    ],
)
def test_words_are_found_in_code_comments_and_pages(file, text, found):
    problems = list(words.problems_of(Path(file), text))
    assert [problem.partition(": write")[0] for problem in problems] == found


def test_this_checkout_uses_the_terms_of_the_field():
    assert words.main() == 0
