"""`python -m bench`: measures and prints the table. About twenty minutes; single rows take less."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from keelson_harness.paths import CHECKOUT, NotBuilt, keelson_binary

from . import crash, gitops, many_clusters, single_cluster, upgrade
from .figures import Figure, table

ROWS = {
    "create": "one cluster: time to Ready and calls: cold, learned, restarted (about 5 min)",
    "memory": "resident memory with one cluster, and with --clusters (with create or at-once, else about 3 min)",
    "rest": "calls an hour at rest, of one cluster and of --clusters",
    "at-once": "--clusters at once: time, calls, and what bounds it",
    "crash": "killed after every write",
    "gitops": "from the control plane to the first applied revision, from a commit to status, memory of a watched cluster (about 5 min)",
    "upgrade": "by two minors with two node groups: time over AWS's own (about 3 min)",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    rows = "; ".join(f"{name}: {what}" for name, what in ROWS.items())
    parser.add_argument("--rows", default=",".join(ROWS), help=f"which rows, comma-separated: {rows}")
    parser.add_argument("--clusters", type=int, default=200, help="how many at once (default: 200)")
    parser.add_argument(
        "--rest-scale",
        type=float,
        default=30,
        help="how many times shorter the intervals at rest are (default: 30; 1: a real window at the defaults)",
    )
    parser.add_argument(
        "--rest-seconds", type=float, default=120, help="the window at rest (default: 120, at 30 an hour)"
    )
    parser.add_argument(
        "--json", type=Path, default=CHECKOUT / "target" / "bench.json", help="where results are kept"
    )
    options = parser.parse_args()
    options.rows = set(options.rows.split(","))
    if unknown := options.rows - set(ROWS):
        parser.error(f"unknown rows {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return options


def measure(options: argparse.Namespace, say) -> tuple[list[Figure], bool]:
    """The figures, and whether all were had: what fails takes none of the others along."""
    wanted = options.rows
    # The calls at rest are of the second cluster.
    of_one = wanted | ({"create"} if "rest" in wanted else set())
    groups = [
        (
            {"create", "memory", "rest"},
            lambda: single_cluster.rows(of_one, options.rest_seconds, options.rest_scale, say),
        ),
        ({"at-once", "memory"}, lambda: many_clusters.rows(wanted, options.clusters, say)),
        ({"crash"}, lambda: crash.rows(say)),
        ({"gitops"}, lambda: gitops.rows(say)),
        ({"upgrade"}, lambda: upgrade.rows(say)),
    ]
    figures: list[Figure] = []
    whole = True
    for rows, run in groups:
        if not wanted & rows:
            continue
        try:
            figures += run()
        except Exception:
            whole = False
            traceback.print_exc()
    return figures, whole


def main() -> None:
    options = arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        binary = keelson_binary()
    except NotBuilt as error:
        sys.exit(str(error))
    if "release" not in binary.parts:
        say(f"{binary} is no release build: memory and time are not what they would be")
    figures, whole = measure(options, say)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results = {"binary": str(binary), "figures": [figure.as_dict() for figure in figures]}
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(figures))
    print(f"\nnumbers: {options.json}")
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
