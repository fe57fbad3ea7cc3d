"""Records the state that a version of Keelson leaves, for the tests of later versions:

    PYTHONPATH=e2e/harness:e2e/tests python -m operator_upgrade.record [--binary PATH]

Run it in the root of a checkout of the binary's version, as CRDs and roles are taken from the checkout.
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

# After everything is ready, the operator still writes durations of AWS and the last observation of each agent.
SECONDS_UNTIL_STEADY = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=None, help="the operator (default: KEELSON_BIN, or the newest build)")
    parser.add_argument("--commit", default="", help="commit of the binary (default: HEAD of the checkout)")
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
        time.sleep(SECONDS_UNTIL_STEADY)
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
