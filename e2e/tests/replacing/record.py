"""Records what a Keelson leaves, for the tests of the versions after it:

    PYTHONPATH=e2e/harness:e2e/tests python -m replacing.record [--binary PATH]

from the top of a checkout of the very version that the binary is of, as CRDs and roles are those of the checkout.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from fleet.environment import environment
from keelson_harness.paths import CHECKOUT, keelson_binary

from . import BEFORE
from .scene import Scene

# What is written of itself once all is ready: how long AWS takes, and the last look of each agent.
RESTS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=None, help="the operator (default: KEELSON_BIN, or the newest build)")
    parser.add_argument("--commit", default="", help="what the binary is of (default: what is checked out)")
    options = parser.parse_args()
    binary = options.binary or keelson_binary()
    commit = options.commit or subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, text=True).strip()
    version = subprocess.check_output([str(binary), "--version"], text=True).strip()
    with environment() as on:
        controller = on.cloud.operator("--read-after-write-window=1s", "--drift-interval=2s", binary=binary)
        on.await_ready(controller)
        scene = Scene(on)
        scene.apply()
        scene.edit()
        time.sleep(RESTS)
        controller.stop()
        about = {
            "version": version,
            "commit": commit,
            "recorded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        planes = {plane.name: plane.url for plane in on.cloud.clusters()}
        BEFORE.save(on.cloud.etcd.url, planes, on.aws, about)
    print(f"{version} at {commit[:12]}: recorded in {BEFORE.directory}")


if __name__ == "__main__":
    main()
