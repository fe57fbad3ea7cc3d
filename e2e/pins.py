"""`make pins`: checks that every external reference is pinned: every `uses:` of a workflow to a commit, with its version, every `FROM` of a
Dockerfile and every image of the agents' manifests to a digest. Needs only Python.

    python3 e2e/pins.py            # allows what unpinned.txt lists; anything else fails
    python3 e2e/pins.py --strict   # allows no exception; also with KEELSON_RELEASE=1

To pin an image, look up its digest, write `NAME:TAG@sha256:...`, and remove its line from unpinned.txt:

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
# A commit alone says nothing to a reader: the version follows it.
UNVERSIONED = re.compile(r"uses:\s*([^@\s]+@[0-9a-f]{40})['\"]?(?!\s+# v\d+\.\d+\.\d+\s*$).*$", re.MULTILINE)
USES = re.compile(r"^\s*(?:-\s+)?uses:\s*['\"]?([^'\"\s#]+)", re.MULTILINE)
FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.MULTILINE | re.IGNORECASE)
IMAGE = re.compile(r"[\"']?\bimage[\"']?:\s*[\"']?([\w.\-/]+:[\w.\-@:]+)")
# Keelson's own image: built by the user who installs it.
OWN = re.compile(r"keelson[:@]")


@dataclass(frozen=True)
class Reference:
    """An external action or image, fetched by name."""

    path: str
    name: str
    pinned: bool


def references() -> Iterator[Reference]:
    """All external references, with the file that contains them."""
    for path in workflows():
        for name in USES.findall(path.read_text()):
            # An action of this repository is fixed by the commit.
            yield Reference(relative(path), name, name.startswith("./") or COMMIT.fullmatch(name) is not None)
    for path in dockerfiles():
        stages: set[str] = set()
        for name, stage in FROM.findall(path.read_text()):
            if name not in stages and name != "scratch":
                yield Reference(relative(path), name, DIGEST.fullmatch(name) is not None)
            stages.add(stage)
    for path in manifests():
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        for name in sorted(set(IMAGE.findall(text))):
            if not OWN.match(name):
                yield Reference(relative(path), name, DIGEST.fullmatch(name) is not None)


def workflows() -> list[Path]:
    """Our own, and those that people copy."""
    return sorted([*(CHECKOUT / ".github").rglob("*.y*ml"), *(CHECKOUT / "examples" / "github").glob("*.y*ml")])


def dockerfiles() -> list[Path]:
    folders = ("deploy", "e2e")
    return sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("Dockerfile*"))


def manifests() -> list[Path]:
    deploy = CHECKOUT / "deploy"
    return sorted([*deploy.glob("*.yaml"), *deploy.glob("flux/*/*.yaml"), *deploy.glob("argocd/*.jsonl.gz")])


def relative(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def exempt() -> set[str]:
    """The names that unpinned.txt lists."""
    lines = UNPINNED.read_text().splitlines() if UNPINNED.exists() else []
    return {line for line in map(str.strip, lines) if line and not line.startswith("#")}


def problems(strict: bool) -> list[str]:
    """Error messages: unpinned references, and entries of unpinned.txt that are not needed."""
    found, listed = list(references()), exempt()
    unpinned = {reference.name: reference.path for reference in found if not reference.pinned}
    wrong = [
        f"{path}: {name} is not pinned to a {'commit' if path.startswith('.github') else 'digest'}"
        for name, path in sorted(unpinned.items())
        if strict or name not in listed
    ]
    for path in workflows():
        wrong += [f"{relative(path)}: {name} has no comment with its version, such as `# v1.2.3`" for name in UNVERSIONED.findall(path.read_text())]
    return wrong + [f"{relative(UNPINNED)}: {name} is pinned or unused: remove it" for name in sorted(listed - set(unpinned))]


def main(arguments: list[str]) -> int:
    strict = "--strict" in arguments or os.environ.get("KEELSON_RELEASE", "") not in ("", "0")
    found = problems(strict)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        exceptions = "" if strict else f", except {len(exempt())} in {relative(UNPINNED)}"
        print(f"pins: all actions, base images and images of agents are pinned{exceptions}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
