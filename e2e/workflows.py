"""`make workflows`: actionlint checks that GitHub would accept the workflows and their scripts, zizmor that nobody can misuse them.

Every finding counts: correct it. Run it with the Python of e2e/harness/venv.sh, which has zizmor; actionlint is built with Go, once.
Both work offline. Where shellcheck is installed, actionlint runs it on every script.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Our own, and those that people copy.
FOLDERS = [HERE.parent / ".github" / "workflows", HERE.parent / "examples" / "github"]


def actionlint() -> str:
    command = [sys.executable, str(HERE / "kubernetes" / "build.py"), "--json", "actionlint"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["actionlint"]


def check(folder: Path) -> str:
    """The findings of both; empty if there are none."""
    files = sorted(map(str, folder.glob("*.y*ml")))
    commands = [
        [actionlint(), "-no-color", *files],
        [
            str(Path(sys.executable).parent / "zizmor"),
            "--offline",
            "--no-config",
            "--no-ignores",
            "--quiet",
            "--color=never",
            *files,
        ],
    ]
    found = ""
    for command in commands:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode:
            found += result.stdout or f"{command[0]} failed with {result.returncode}\n"
    return found


def main() -> int:
    found = "".join(check(folder) for folder in FOLDERS)
    count = sum(len(list(folder.glob("*.y*ml"))) for folder in FOLDERS)
    print(found.strip() or f"workflows: actionlint and zizmor find nothing in {count} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
