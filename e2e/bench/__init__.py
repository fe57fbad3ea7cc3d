"""The benchmark (`make bench`): measures the operator against the emulator, beside the figures of other tools.

It uses the environment of the end-to-end tests (`e2e/tests/fleet`).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
