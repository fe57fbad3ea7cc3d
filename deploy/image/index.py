#!/usr/bin/env python3
"""Joins images of several architectures into one OCI layout, whose tag is an image index: every node pulls the image of its own.

    deploy/image/index.py --output target/index target/image-amd64 target/image-arm64
    skopeo copy --all oci:target/index:0.1.0 docker://registry.example.com/keelson:0.1.0

The same images, in any order, give the same digest. Prints it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
TAG = "org.opencontainers.image.ref.name"


def read(layout: Path, descriptor: dict) -> dict:
    return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text())


def join(layouts: list[Path], output: Path) -> str:
    """Returns the index's digest."""
    found = {}
    for layout in layouts:
        (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
        config = read(layout, read(layout, descriptor)["config"])
        platform = {"architecture": config["architecture"], "os": config["os"]}
        tag, name = descriptor["annotations"][TAG], f"{config['os']}/{config['architecture']}"
        if name in found:
            sys.exit(f"{layout} is the second image for {name}")
        plain = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        found[name] = (tag, {**plain, "platform": platform})
        shutil.copytree(layout / "blobs", output / "blobs", dirs_exist_ok=True)
    tags = {tag for tag, _ in found.values()}
    if len(tags) != 1:
        sys.exit(f"the images have several versions: {', '.join(sorted(tags))}")
    manifests = [descriptor for _, (_, descriptor) in sorted(found.items())]
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, separators=(",", ":")).encode()
    digest = hashlib.sha256(content).hexdigest()
    (output / "blobs" / "sha256" / digest).write_bytes(content)
    entry = {"mediaType": INDEX, "digest": f"sha256:{digest}", "size": len(content), "annotations": {TAG: tags.pop()}}
    (output / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (output / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return entry["digest"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the OCI layout; must not exist")
    parser.add_argument("layouts", type=Path, nargs="+", help="OCI layouts of `make image`")
    options = parser.parse_args()
    if options.output.exists():
        sys.exit(f"{options.output} exists already")
    print(join(options.layouts, options.output))


if __name__ == "__main__":
    main()
