"""`python -m bench`: measures and prints the table. All rows take about twenty minutes."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from keelson_harness.paths import CHECKOUT, NotBuilt, keelson_binary

from . import crash, gitops, many_clusters, page, single_cluster, upgrade
from .figures import Figure, table

ROWS = {
    "create": "one cluster: time to Ready and calls: first, with durations learned, after a restart (about 5 min)",
    "memory": "resident memory with one cluster, and with --clusters (with create or concurrent; alone about 3 min)",
    "steady": "calls per hour in the steady state, with one cluster and with --clusters",
    "concurrent": "--clusters created at once: time, calls, and the limiting factor",
    "crash": "the operator is killed after every write",
    "gitops": "time from the control plane to the first applied revision, from a commit to status; memory per watched cluster (about 5 min)",
    "upgrade": "upgrade by two minor versions with two node groups: time beyond AWS's own (about 3 min)",
    "page": "memory of the fleet page in the cluster, with a thousand clusters",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    rows = "; ".join(f"{name}: {what}" for name, what in ROWS.items())
    parser.add_argument("--rows", default=",".join(ROWS), help=f"which rows, comma-separated: {rows}")
    parser.add_argument("--clusters", type=int, default=200, help="how many at once (default: 200)")
    parser.add_argument(
        "--steady-scale",
        type=float,
        default=30,
        help="factor by which intervals are shortened in the steady state (default: 30; 1: the default intervals)",
    )
    parser.add_argument(
        "--steady-seconds", type=float, default=120, help="duration of the measurement in the steady state (default: 120, with scale 30 equal to an hour)"
    )
    parser.add_argument(
        "--json", type=Path, default=CHECKOUT / "target" / "bench.json", help="output file of the results"
    )
    options = parser.parse_args()
    options.rows = set(options.rows.split(","))
    if unknown := options.rows - set(ROWS):
        parser.error(f"unknown rows {', '.join(sorted(unknown))}; known: {', '.join(ROWS)}")
    return options


def measure(options: argparse.Namespace, log) -> tuple[list[Figure], bool]:
    """The figures, and whether all groups succeeded. A failed group does not stop the others."""
    wanted = options.rows
    # The steady state is measured with the cluster of `create`.
    for_single_cluster = wanted | ({"create"} if "steady" in wanted else set())
    groups = [
        (
            {"create", "memory", "steady"},
            lambda: single_cluster.rows(for_single_cluster, options.steady_seconds, options.steady_scale, log),
        ),
        ({"concurrent", "memory"}, lambda: many_clusters.rows(wanted, options.clusters, log)),
        ({"crash"}, lambda: crash.rows(log)),
        ({"gitops"}, lambda: gitops.rows(log)),
        ({"upgrade"}, lambda: upgrade.rows(log)),
        ({"page"}, lambda: page.rows(log)),
    ]
    figures: list[Figure] = []
    complete = True
    for rows, run in groups:
        if not wanted & rows:
            continue
        try:
            figures += run()
        except Exception:
            complete = False
            traceback.print_exc()
    return figures, complete


def main() -> None:
    options = arguments()
    began = time.monotonic()

    def log(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        binary = keelson_binary()
    except NotBuilt as error:
        sys.exit(str(error))
    if "release" not in binary.parts:
        log(f"{binary} is not a release build: memory and time are not representative")
    figures, complete = measure(options, log)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results = {"binary": str(binary), "figures": [figure.as_dict() for figure in figures]}
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(figures))
    print(f"\nnumbers: {options.json}")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
