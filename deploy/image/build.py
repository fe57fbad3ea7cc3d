#!/usr/bin/env python3
"""`make image`: builds the operator's image as an OCI layout, without Docker and without root.

    deploy/image/build.py --binary target/release/keelson --output target/image

The root filesystem has what deploy/Dockerfile's last stage has: the binary, the libraries it links, certificates, a user; nothing
else. USER, EXPOSE, ENTRYPOINT and CMD are read from that file. The same commit, binary and packages give the same digest
(SOURCE_DATE_EPOCH, by default the commit's time). Prints the digest.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import debian
import rootfs

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"
ENVIRONMENT = ("PATH=/", f"SSL_CERT_FILE={rootfs.CERTIFICATES}")


def dockerfile_config() -> dict[str, list[str]]:
    """The arguments of `umoci config` for the last stage of deploy/Dockerfile."""
    stage = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)[-1]
    said = dict(re.findall(r"^(USER|EXPOSE|ENTRYPOINT|CMD) (.+)$", stage, re.MULTILINE))
    return {
        "--config.user": [said["USER"]],
        "--config.exposedports": [f"{port}/tcp" for port in said["EXPOSE"].split()],
        "--config.entrypoint": json.loads(said["ENTRYPOINT"]),
        "--config.cmd": json.loads(said["CMD"]),
    }


def git(*arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(CHECKOUT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return result.stdout.strip()


def build_time() -> int:
    """In seconds since 1970."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")
    if not given:
        sys.exit("SOURCE_DATE_EPOCH is not set, and this is no Git checkout: the image's date is unknown")
    return int(given)


def labels(version: str, created: str) -> dict[str, str]:
    package = tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["package"]
    found = {
        "title": "keelson",
        "description": package["description"],
        "version": version,
        "licenses": package["license"],
        "created": created,
        "revision": git("rev-parse", "HEAD"),
        # GitHub Actions sets both.
        "source": "/".join(filter(None, (os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")))),
    }
    return {f"org.opencontainers.image.{name}": value for name, value in found.items() if value}


class Umoci:
    def __init__(self, layout: Path, tag: str, created: str):
        self._program, self._env = debian.tool("umoci")
        self._layout, self._image = layout, f"{layout}:{tag}"
        self._created = created

    def run(self, *command: str | Path) -> None:
        result = subprocess.run(
            [self._program, *command],
            env={**os.environ, **self._env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode:
            sys.exit(f"umoci {' '.join(map(str, command))}: {result.stdout.strip()}")

    def new(self) -> None:
        self.run("init", "--layout", self._layout)
        self.run("new", "--image", self._image)

    def add_layer(self, archive: Path, comment: str) -> None:
        history = ["--history.created", self._created, "--history.author", "", "--history.created_by", comment]
        self.run("raw", "add-layer", "--image", self._image, *history, archive)

    def configure(self, options: dict[str, list[str]]) -> None:
        arguments = [part for name, values in options.items() for value in values for part in (name, value)]
        self.run("config", "--image", self._image, "--no-history", "--created", self._created, *arguments)
        # The intermediate manifests.
        self.run("gc", "--layout", self._layout)


def build(binary: Path, layout: Path, version: str, strict: bool) -> str:
    """Returns the manifest's digest."""
    debian.need("readelf", "dpkg-deb")
    elf = rootfs.Elf.read(binary)
    architecture = rootfs.MACHINES.get(elf.machine) or sys.exit(f"{binary}: no image for {elf.machine}")
    packages = debian.image_packages(architecture, strict)
    (libc,) = [package for package in packages if package.name == "libc6"]
    if elf.glibc > rootfs.version_numbers(libc.version):
        needed = ".".join(map(str, elf.glibc))
        sys.exit(f"{binary} was linked with a newer libc than the image has: it needs {needed}, and the image has {libc.version}")
    created = datetime.datetime.fromtimestamp(build_time(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A binary that could not run in the image is refused here, before anything is written.
        base = rootfs.base_layer(packages, elf, folder).archive(build_time())
        own = rootfs.binary_layer(binary).archive(build_time())
        umoci = Umoci(layout, version, created)
        umoci.new()
        archive = folder / "layer.tar"
        for content, comment in (
            (base, "Debian: " + ", ".join(f"{each.name} {each.version}" for each in packages)),
            (own, "keelson"),
        ):
            archive.write_bytes(content)
            umoci.add_layer(archive, comment)
    said = [f"{name}={value}" for name, value in labels(version, created).items()]
    platform = {"--os": ["linux"], "--architecture": [architecture]}
    umoci.configure({**dockerfile_config(), **platform, "--config.env": list(ENVIRONMENT), "--config.label": said})
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    print(f"image: {version} for {architecture}, {len(packages)} packages of Debian, libc {libc.version}", file=sys.stderr)
    return manifest["digest"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True, help="a dynamically linked `keelson` for Linux")
    parser.add_argument("--output", type=Path, required=True, help="folder of the OCI layout; must not exist")
    parser.add_argument("--version", help="label and tag (default: of Cargo.toml)")
    strict = os.environ.get("KEELSON_RELEASE", "") not in ("", "0")
    parser.add_argument(
        "--strict", action="store_true", default=strict, help="exactly the packages of packages.txt; also with KEELSON_RELEASE=1"
    )
    options = parser.parse_args()
    if options.output.exists():
        sys.exit(f"{options.output} exists already")
    version = options.version or tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["package"]["version"]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    print(build(options.binary, options.output, version, options.strict))


if __name__ == "__main__":
    main()
