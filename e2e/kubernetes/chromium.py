#!/usr/bin/env python3
"""Finds a Chromium without a window for the tests of the fleet page: in PATH, in the cache, or in Debian's packages, which are unpacked and not
installed, with the libraries and the fonts that this machine lacks.

Progress goes to stderr; `--json` prints {"executable": path}. apt verifies the packages against the signed index of its archive.
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

NAME = "chromium"
IN_PATH = ("chromium-headless-shell", "chromium", "google-chrome")
PACKAGE = "chromium-headless-shell"
FONTS = ("fonts-inter", "fonts-liberation")
MISSING = (
    "chromium: neither in PATH nor in the cache, and {why}.\n"
    "Install Chromium, so that chromium is in PATH: apt install chromium"
)
# The libraries are found first where they were unpacked, and so are the fonts.
START = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="{libraries}" FONTCONFIG_FILE="$here/fonts.conf"
exec "{program}" "$@"
"""
FONT_CONFIGURATION = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts</dir>
<dir>{fonts}</dir>
<cachedir>{cache}</cachedir>
<alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias><family>sans-serif</family><prefer><family>Liberation Sans</family></prefer></alias>
<alias><family>monospace</family><prefer><family>Liberation Mono</family></prefer></alias>
</fontconfig>
"""


def in_path() -> Path | None:
    found = next((path for name in IN_PATH if (path := shutil.which(name))), None)
    return Path(found) if found else None


def cached() -> Path | None:
    """The newest of the cache."""
    folders = sorted(tools_dir().glob(f"{NAME}-debian-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for folder in folders if os.access(path := folder / NAME, os.X_OK)), None)


def run(*command: str, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        sys.exit(MISSING.format(why=f"`{' '.join(command)}` failed:\n{result.stdout}"))
    return result.stdout


def needed(folder: Path) -> list[str]:
    """The package with what it needs and the machine lacks, as apt would install it."""
    plan = run("apt-get", "install", "--simulate", "--no-install-recommends", PACKAGE, *FONTS, cwd=folder)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    return sorted({*names, PACKAGE, *FONTS})


def download() -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            sys.exit(MISSING.format(why=f"there is no {program} to download Debian's packages with"))
    with tempfile.TemporaryDirectory(dir=tools_dir()) as name:
        folder = Path(name)
        # apt's own user writes here.
        folder.chmod(0o755)
        if error := debian.download(needed(folder), folder):
            sys.exit(MISSING.format(why=f"apt-get cannot download Debian's packages:\n{error}"))
        for package in folder.glob("*.deb"):
            run("dpkg-deb", "--extract", package.name, "unpacked", cwd=folder)
        (package,) = folder.glob(f"{PACKAGE}_*.deb")
        # PACKAGE_VERSION_ARCHITECTURE.deb
        target = tools_dir() / f"{NAME}-debian-{package.name.split('_')[1].replace('%3a', '-')}"
        prepare(folder / "unpacked", target)
        shutil.rmtree(target, ignore_errors=True)
        (folder / "unpacked").rename(target)
    log(f"  {NAME}: {target.name} from Debian's packages")
    return target / NAME


def prepare(unpacked: Path, target: Path) -> None:
    """Adds the program that starts it, which is at `target` later."""
    (program,) = (path for path in unpacked.rglob("*headless*shell*") if is_program(path))
    libraries = sorted({path.parent for path in unpacked.rglob("*.so*")})
    there = [str(target / path.relative_to(unpacked)) for path in libraries]
    start = START.format(libraries=":".join(there), program=target / program.relative_to(unpacked))
    (unpacked / NAME).write_text(start)
    (unpacked / NAME).chmod(0o755)
    configuration = FONT_CONFIGURATION.format(fonts=target / "usr" / "share" / "fonts", cache=target / "font-cache")
    (unpacked / "fonts.conf").write_text(configuration)


def is_program(path: Path) -> bool:
    """Debian's own starter of that name is a script."""
    if not path.is_file() or path.is_symlink() or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def ensure() -> Path:
    found = in_path() or cached()
    if found:
        return found
    with locked(NAME):
        return cached() or download()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help='print {"executable": path}')
    args = parser.parse_args()
    path = ensure()
    if args.json:
        print(json.dumps({"executable": str(path)}))


if __name__ == "__main__":
    main()
