"""`make pins`: what others may change under the same name is pinned. Every `uses:` of a workflow is a commit, every `FROM` of a
Dockerfile and every image of the agents' manifests has a digest. Needs Python alone.

    python3 e2e/pins.py            # what unpinned.txt lists is let through; anything else fails
    python3 e2e/pins.py --strict   # nothing is let through; also with KEELSON_RELEASE=1

To pin an image, look up its digest where the registry can be reached, write `NAME:TAG@sha256:...`, and take its line out of unpinned.txt:

    docker buildx imagetools inspect gcr.io/distroless/cc-debian12:nonroot --format '{{.Manifest.Digest}}'
"""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
UNPINNED = CHECKOUT / "e2e" / "unpinned.txt"
COMMIT = re.compile(r"[^@\s]+@[0-9a-f]{40}")
DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")
USES = re.compile(r"^\s*(?:-\s+)?uses:\s*['\"]?([^'\"\s#]+)", re.MULTILINE)
FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.MULTILINE | re.IGNORECASE)
IMAGE = re.compile(r"[\"']?\bimage[\"']?:\s*[\"']?([\w.\-/]+:[\w.\-@:]+)")
# Of ours: built by whoever installs it.
OWN = re.compile(r"keelson[:@]")


@dataclass(frozen=True)
class Reference:
    """Something of others that is fetched by name."""

    path: str
    name: str
    pinned: bool


def references() -> Iterator[Reference]:
    """All of them, by the file that names them."""
    for path in sorted((CHECKOUT / ".github").rglob("*.y*ml")):
        for name in USES.findall(path.read_text()):
            # An action of this repository is as this commit has it.
            yield Reference(shown(path), name, name.startswith("./") or COMMIT.fullmatch(name) is not None)
    for path in dockerfiles():
        stages: set[str] = set()
        for name, stage in FROM.findall(path.read_text()):
            if name not in stages and name != "scratch":
                yield Reference(shown(path), name, DIGEST.fullmatch(name) is not None)
            stages.add(stage)
    for path in manifests():
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        for name in sorted(set(IMAGE.findall(text))):
            if not OWN.match(name):
                yield Reference(shown(path), name, DIGEST.fullmatch(name) is not None)


def dockerfiles() -> list[Path]:
    folders = ("deploy", "e2e")
    return sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("Dockerfile*"))


def manifests() -> list[Path]:
    deploy = CHECKOUT / "deploy"
    return sorted([*deploy.glob("*.yaml"), *deploy.glob("flux/*/*.yaml"), *deploy.glob("argocd/*.jsonl.gz")])


def shown(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def let_through() -> set[str]:
    """References whose digest nobody has looked up yet."""
    lines = UNPINNED.read_text().splitlines() if UNPINNED.exists() else []
    return {line for line in map(str.strip, lines) if line and not line.startswith("#")}


def problems(strict: bool) -> list[str]:
    """What is not as it should be, in words."""
    found, listed = list(references()), let_through()
    unpinned = {reference.name: reference.path for reference in found if not reference.pinned}
    wrong = [
        f"{path}: {name} is not pinned to a {'commit' if path.startswith('.github') else 'digest'}"
        for name, path in sorted(unpinned.items())
        if strict or name not in listed
    ]
    return wrong + [f"{shown(UNPINNED)}: {name} is pinned, or not used: take it out" for name in sorted(listed - set(unpinned))]


def main(arguments: list[str]) -> int:
    strict = "--strict" in arguments or os.environ.get("KEELSON_RELEASE", "") not in ("", "0")
    found = problems(strict)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        left = "" if strict else f", but for {len(let_through())} of {shown(UNPINNED)}"
        print(f"pins: all actions, base images and images of agents{left}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
