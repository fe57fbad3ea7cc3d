#!/usr/bin/env python3
"""Debian packages without installing them: those of the image, pinned in packages.txt, and the tools that build it.

    deploy/image/debian.py --update    # pin the newest packages (`make image-packages`)

apt verifies every download against the signed index of its archive; a pinned one must have its checksum as well. Needs apt, not
root.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

PINS = Path(__file__).resolve().parent / "packages.txt"
ARCHITECTURES = ("amd64", "arm64")
# gcc-12-base: the licence of libgcc-s1.
IMAGE_PACKAGES = ("base-files", "ca-certificates", "gcc-12-base", "libc6", "libgcc-s1")
# Tools, with the libraries that a small Debian lacks.
TOOLS = {"umoci": ("umoci",), "skopeo": ("skopeo", "libgpgme11", "libassuan0", "libdevmapper1.02.1")}
MISSING = (
    "{what}.\nThe image is made of Debian's packages: build it on Debian 12 or newer, or in a Debian 12 root"
    " (deploy/image/debian-root.sh)."
)


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    architecture: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """A downloaded package."""

    path: Path
    name: str
    version: str

    def files(self) -> tarfile.TarFile:
        return tarfile.open(fileobj=io.BytesIO(output("dpkg-deb", "--fsys-tarfile", self.path)))

    def control(self) -> bytes:
        return output("dpkg-deb", "--field", self.path)


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "keelson"


def output(*command: str | Path) -> bytes:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def pins(architecture: str) -> dict[str, Pin]:
    lines = (line.split() for line in PINS.read_text().splitlines() if line and not line.startswith("#"))
    return {pin.name: pin for pin in (Pin(*fields) for fields in lines) if pin.architecture in (architecture, "all")}


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            sys.exit(MISSING.format(what=f"{program} is missing"))


def apt(*command: str, own_index: bool, cwd: Path) -> subprocess.CompletedProcess:
    """own_index: with an index in the cache, which needs no root to update, instead of the machine's."""
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
    if own_index:
        state = cache() / "apt"
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        options += ["-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]
    program, *arguments = command
    return subprocess.run(
        [program, *options, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def download(names: list[str], folder: Path) -> str:
    """Downloads all of `names` (NAME or NAME=VERSION) into the folder; returns apt's error message, empty if it succeeded."""
    need("apt-get", "dpkg-deb")
    # The machine's index may be old or missing.
    for own_index in (False, True):
        if own_index:
            apt("apt-get", "-qq", "update", own_index=True, cwd=folder)
        result = apt("apt-get", "-qq", "download", *names, own_index=own_index, cwd=folder)
        if result.returncode == 0:
            return ""
    return result.stdout.strip() or f"apt-get failed with {result.returncode}"


def image_packages(architecture: str, strict: bool) -> list[Package]:
    """The packages of packages.txt, from the cache or the archive. If the archive has only newer versions, these, unless strict."""
    pinned = pins(architecture)
    folder = cache() / "debian"
    folder.mkdir(parents=True, exist_ok=True)
    packages = []
    for name in IMAGE_PACKAGES:
        pin = pinned.get(name)
        if pin is None:
            sys.exit(f"{PINS.name} has no {name} for {architecture}: run `make image-packages`")
        path = folder / f"{pin.name}_{pin.version}_{pin.architecture}.deb"
        if path.exists() and sha256(path) == pin.sha256:
            packages.append(Package(path, pin.name, pin.version))
        else:
            packages.append(fetch(pin, path, strict))
    return packages


def fetch(pin: Pin, path: Path, strict: bool) -> Package:
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        error = download([f"{pin.name}={pin.version}"], folder)
        if not error:
            (found,) = folder.glob("*.deb")
            if sha256(found) != pin.sha256:
                sys.exit(f"{pin.name} {pin.version}: SHA256 {sha256(found)}, but {PINS.name} has {pin.sha256}")
            found.replace(path)
            return Package(path, pin.name, pin.version)
        if strict:
            sys.exit(
                MISSING.format(
                    what=f"{pin.name} {pin.version} is not in the archive any more: run `make image-packages`\n{error}"
                )
            )
        error = download([pin.name], folder)
        if error:
            sys.exit(MISSING.format(what=f"{pin.name} cannot be downloaded: {error}"))
        (found,) = folder.glob("*.deb")
        version = output("dpkg-deb", "--field", found, "Version").decode().strip()
        log(
            f"image: {pin.name} {version} instead of {pin.version}, which is not in the archive any more; to pin it: make image-packages"
        )
        target = path.with_name(f"{pin.name}_{version}_{pin.architecture}.deb")
        found.replace(target)
        return Package(target, pin.name, version)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tool(name: str) -> tuple[Path, dict[str, str]]:
    """A program of Debian, and the environment that it needs: in PATH, in the cache, or unpacked into the cache."""
    if found := shutil.which(name):
        return Path(found), {}
    target = cache() / "tools" / f"{name}-debian"
    program = target / "usr" / "bin" / name
    if not os.access(program, os.X_OK):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            folder = Path(temporary)
            error = download(list(TOOLS[name]), folder)
            if error:
                sys.exit(MISSING.format(what=f"{name} is neither in PATH nor can be downloaded: {error}"))
            for package in folder.glob("*.deb"):
                output("dpkg-deb", "--extract", package, folder / "root")
            shutil.rmtree(target, ignore_errors=True)
            (folder / "root").rename(target)
        log(f"image: {name} from Debian's package")
    libraries = [str(path) for path in (*target.glob("usr/lib/*-linux-gnu"), *target.glob("lib/*-linux-gnu"))]
    return program, {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}


def update() -> None:
    need("apt-get", "apt-cache")
    with tempfile.TemporaryDirectory() as name:
        every = ["-o", f"APT::Architectures={','.join(ARCHITECTURES)}"]
        refreshed = apt("apt-get", *every, "-qq", "update", own_index=True, cwd=Path(name))
        # Other archives of this machine may lack an architecture: what counts is whether the packages are found.
        queries = [f"{package}:{architecture}" for package in IMAGE_PACKAGES for architecture in ARCHITECTURES] + [
            *IMAGE_PACKAGES
        ]
        shown = apt("apt-cache", *every, "show", "--no-all-versions", *queries, own_index=True, cwd=Path(name)).stdout
    lines = set()
    for record in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|SHA256): (\S+)$", record, re.MULTILINE))
        if len(fields) == 4:
            lines.add(f"{fields['Package']} {fields['Version']} {fields['Architecture']} {fields['SHA256']}")
    found = {tuple(line.split()[::2]) for line in lines}
    for package, architecture in ((package, architecture) for package in IMAGE_PACKAGES for architecture in ARCHITECTURES):
        if not {(package, architecture), (package, "all")} & found:
            sys.exit(MISSING.format(what=f"apt knows no {package} for {architecture}: {refreshed.stdout}"))
    comments = [line for line in PINS.read_text().splitlines() if line.startswith("#")]
    PINS.write_text("\n".join([*comments, *sorted(lines)]) + "\n")
    log(f"image: pinned {len(lines)} packages in {PINS}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    update()
