"""Builds images with deploy/image and moves them with skopeo and umoci."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from keelson_harness.paths import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "image"
VERSION = "1.2.3"
# 2026-01-01T00:00:00Z
TIME = 1767225600

sys.path.insert(0, str(FOLDER))
import debian  # noqa: E402


def build(binary: Path, output: Path, cwd: Path = CHECKOUT, **env: str) -> str:
    """Returns the digest that build.py prints."""
    command = [sys.executable, FOLDER / "build.py", "--binary", binary, "--output", output, "--version", VERSION]
    return run(*command, cwd=cwd, env={"SOURCE_DATE_EPOCH": str(TIME), **env})


def skopeo(*arguments: str | Path) -> str:
    program, env = debian.tool("skopeo")
    return run(program, "--insecure-policy", *arguments, env=env)


def push(name: str, archives: list[Path], *options: str) -> dict[str, str]:
    """Pushes the images of several architectures as the release does; returns what the script says: name and digest."""
    program, env = debian.tool("skopeo")
    env |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "SKOPEO_OPTIONS": " ".join(options)}
    said = run(FOLDER.parent / "release" / "push-image.sh", name, VERSION, *archives, env=env)
    return dict(line.split("=", 1) for line in said.splitlines())


def pack(layout: Path, archive: Path) -> Path:
    run("tar", "-C", layout, "-cf", archive, ".")
    return archive


def unpack(layout: Path, bundle: Path) -> Path:
    """Returns the root filesystem."""
    program, env = debian.tool("umoci")
    owners = [] if os.geteuid() == 0 else ["--rootless"]
    run(program, "unpack", *owners, "--image", f"{layout}:{VERSION}", bundle, env=env)
    return bundle / "rootfs"


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(map(str, command))}: {result.stderr}"
    return result.stdout.strip()


@dataclass(frozen=True)
class Image:
    """An image in an OCI layout."""

    layout: Path

    def blob(self, digest: str) -> dict:
        return json.loads((self.layout / "blobs" / digest.replace(":", "/")).read_text())

    @property
    def digest(self) -> str:
        (descriptor,) = json.loads((self.layout / "index.json").read_text())["manifests"]
        return descriptor["digest"]

    @property
    def config(self) -> dict:
        return self.blob(self.blob(self.digest)["config"]["digest"])

    def layers(self) -> list[list[tarfile.TarInfo]]:
        """The entries of each layer."""
        found = []
        for descriptor in self.blob(self.digest)["layers"]:
            with tarfile.open(self.layout / "blobs" / descriptor["digest"].replace(":", "/")) as archive:
                found.append(archive.getmembers())
        return found

    def as_architecture(self, architecture: str, layout: Path) -> Image:
        """A copy whose config names another architecture."""
        shutil.copytree(self.layout, layout)
        index = json.loads((layout / "index.json").read_text())
        manifest = self.blob(self.digest)
        manifest["config"] |= store(layout, {**self.config, "architecture": architecture})
        index["manifests"][0] |= store(layout, manifest)
        (layout / "index.json").write_text(json.dumps(index))
        return Image(layout)


def store(layout: Path, content: dict) -> dict:
    blob = json.dumps(content).encode()
    digest = hashlib.sha256(blob).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(blob)
    return {"digest": f"sha256:{digest}", "size": len(blob)}
