"""The benchmark: the operator against the emulator, with the figures of its peers beside ours. `make bench`.

It plays on the same stage as the end-to-end tests (`e2e/tests/fleet`).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
