"""What test processes import: moto takes a second of processor time, and most of them need nothing of it."""

from __future__ import annotations

import subprocess
import sys

from keelson_harness.paths import AWS_PACKAGE, CHECKOUT

E2E = CHECKOUT / "e2e"
PATHS = [str(E2E / "tests"), str(E2E / "harness"), str(AWS_PACKAGE)]


def test_environment_of_the_tests_does_not_import_moto():
    code = f"import sys; sys.path[:0] = {PATHS}; import fleet.environment; print([name for name in sys.modules if name.startswith('moto')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
