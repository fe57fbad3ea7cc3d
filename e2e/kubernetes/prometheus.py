#!/usr/bin/env python3
"""Finds Prometheus and promtool for the tests: in PATH, in the cache, or in Debian's package, which is unpacked and not installed.

Progress goes to stderr; `--json` prints {tool: path}. apt verifies the package against the signed index of its archive.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from build import locked, log, tools_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "image"))
import debian  # noqa: E402

NAMES = ("prometheus", "promtool")
PACKAGE = "prometheus"
MISSING = (
    "prometheus: neither in PATH nor in the cache, and {why}.\n"
    "Install Prometheus 2.42 or newer, so that prometheus and promtool are in PATH: https://prometheus.io/download"
)


def in_path() -> dict[str, Path] | None:
    found = {name: shutil.which(name) for name in NAMES}
    return {name: Path(path) for name, path in found.items()} if all(found.values()) else None


def cached() -> dict[str, Path] | None:
    """The newest of the cache."""
    for folder in sorted(tools_dir().glob(f"{PACKAGE}-debian-*"), key=lambda path: path.stat().st_mtime, reverse=True):
        paths = {name: folder / name for name in NAMES}
        if all(os.access(path, os.X_OK) for path in paths.values()):
            return paths
    return None


def run(*command: str, cwd: Path) -> None:
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        sys.exit(MISSING.format(why=f"`{' '.join(command)}` failed:\n{result.stdout}"))


def download() -> dict[str, Path]:
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            sys.exit(MISSING.format(why=f"there is no {program} to download Debian's package with"))
    with tempfile.TemporaryDirectory(dir=tools_dir()) as name:
        folder = Path(name)
        # apt's own user writes here.
        folder.chmod(0o755)
        if error := debian.download([PACKAGE], folder):
            sys.exit(MISSING.format(why=f"apt-get cannot download Debian's package:\n{error}"))
        (package,) = folder.glob("*.deb")
        run("dpkg-deb", "--extract", package.name, "unpacked", cwd=folder)
        # PACKAGE_VERSION_ARCHITECTURE.deb
        target = tools_dir() / f"{PACKAGE}-debian-{package.name.split('_')[1].replace('%3a', '-')}"
        unfinished = folder / "finished"
        unfinished.mkdir()
        for name in NAMES:
            (folder / "unpacked" / "usr" / "bin" / name).rename(unfinished / name)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    log(f"  {PACKAGE}: {target.name} from Debian's package")
    return {name: target / name for name in NAMES}


def ensure() -> dict[str, Path]:
    found = in_path() or cached()
    if found:
        return found
    with locked(PACKAGE):
        return cached() or download()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print {tool: path}")
    args = parser.parse_args()
    paths = ensure()
    if args.json:
        print(json.dumps({name: str(path) for name, path in paths.items()}))


if __name__ == "__main__":
    main()
