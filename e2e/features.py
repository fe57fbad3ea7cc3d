"""`make lint` runs it: tests do not change the features of the crates that the operator is built from.

Cargo enables a crate's features for all that need it. One that only a test enables makes `cargo test` and `cargo build` compile that crate
apart, with all that depends on it, our own too: minutes in each run of CI.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def features(kinds: str, checkout: Path) -> dict[str, str]:
    """The features of each crate, as `cargo build` or `cargo test` of this platform enables them."""
    command = ["cargo", "tree", "--locked", "--prefix", "none", "--no-dedupe", "--edges", kinds, "--format", "{p}|{f}"]
    lines = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return dict(line.removesuffix(" (*)").split("|", 1) for line in lines if "|" in line)


def problems(checkout: Path) -> list[str]:
    alone, with_tests = features("normal,build", checkout), features("normal,build,dev", checkout)
    return [
        f"{crate}: the operator needs its features {wanted or 'none'}, the tests enable {with_tests[crate]}"
        for crate, wanted in sorted(alone.items())
        if with_tests[crate] != wanted
    ]


def main() -> int:
    found = problems(CHECKOUT)
    for line in found:
        print(f"features: {line}", file=sys.stderr)
    if found:
        print("Enable the feature for the operator too, or do without it in [dev-dependencies]", file=sys.stderr)
    else:
        print("features: the tests build the same crates as the operator")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
