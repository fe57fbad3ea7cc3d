"""Runs `make demo-fleet` and writes its output, abridged, into docs/fleet.md between two comments.

    KEELSON_BIN=target/debug/keelson PYTHONPATH=e2e/harness:e2e/aws $(e2e/harness/venv.sh) docs/generate-fleet-demo.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "fleet.md"
BEGIN, END = "<!-- output of make demo-fleet -->\n", "<!-- end of the output -->\n"
COMMAND = [sys.executable, "-m", "keelson_harness.demo_fleet"]
# Chapters of which only commands and their output are shown, and the last line.
ROUTINE = ("The local cloud starts", "Six clusters", "A commit deletes")
ELLIPSIS = "..."


def abridged(output: str) -> str:
    """Without the progress of what is not about waves; each gap is marked."""
    kept: list[str] = []
    for part in filter(None, re.split(r"^(?=== )", output.strip(), flags=re.MULTILINE)):
        title, *lines = part.strip().splitlines()
        logs = [line for line in lines if line.startswith("[")]
        is_routine = title.removeprefix("== ").startswith(ROUTINE)
        kept += [title, *marked(lines, [line for line in lines if not is_routine or line not in logs[1:-1]]), ""]
    return re.sub("token=[0-9a-f]+", "token=...", "\n".join(kept).strip())


def marked(lines: list[str], shown: list[str]) -> list[str]:
    """The shown lines, with an ellipsis for each gap."""
    found, rest = [], list(shown)
    for line in lines:
        if rest and line == rest[0]:
            found.append(rest.pop(0))
        elif not found or found[-1] != ELLIPSIS:
            found.append(ELLIPSIS)
    return [line for line in found if line.strip()]


def main() -> int:
    done = subprocess.run(COMMAND, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        return done.returncode
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    block = f"```console\n$ make demo-fleet\n{abridged(done.stdout)}\n```\n"
    PAGE.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
