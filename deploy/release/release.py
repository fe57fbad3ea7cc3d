#!/usr/bin/env python3
"""What the release workflow writes. Run from anywhere; needs only Python.

release.py check TAG             # the tag, Cargo.toml, the chart and the changelog name one version; prints `version=VERSION`
release.py notes VERSION         # that section of CHANGELOG.md
release.py chart IMAGE@DIGEST URL
                                 # the chart of this checkout runs that image, and its links lead to that repository
release.py files VERSION IMAGE@DIGEST URL ARTIFACTS FOLDER
                                 # collects archives and SBOM, writes krew manifest, kustomization.yaml and SHA256SUMS
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = re.compile(r"(?P<name>[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._-]+)+)@(?P<digest>sha256:[0-9a-f]{64})")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
# What a release must have, from each job that builds.
ARCHIVES = ("keelson-linux-amd64.tar.gz", "keelson-linux-arm64.tar.gz", "keelson-darwin-arm64.tar.gz")
SBOM = "keelson.cdx.json"
# Stands for the repository in links, such as those from alerts to their runbooks.
REPOSITORY = "https://github.com/OWNER/keelson"
KUSTOMIZATION = """\
# Keelson {version}, by digest. The CRDs first: kubectl apply --server-side -k '{url}//crds?ref=v{version}'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - {url}//deploy?ref=v{version}
images:
  - name: keelson
    newName: {name}
    digest: {digest}
"""


class Invalid(Exception):
    """The message says what to correct."""


def package_version() -> str:
    return tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["package"]["version"]


def check(tag: str) -> str:
    version = package_version()
    found = {"Cargo.toml": version}
    chart = CHECKOUT / "deploy/charts/keelson/Chart.yaml"
    if chart.exists():
        for key in ("version", "appVersion"):
            found[f"Chart.yaml's {key}"] = only(rf"^{key}: [\"']?([^\"'\n]+)[\"']?$", chart.read_text(), f"{chart.name}: {key}")
    wrong = [f"{name} has {value}" for name, value in found.items() if f"v{value}" != tag]
    if wrong:
        raise Invalid(f"the tag is {tag}, but {', '.join(wrong)}")
    notes(version)
    return f"version={version}"


def only(pattern: str, text: str, what: str) -> str:
    matches = re.findall(pattern, text, re.MULTILINE)
    if len(matches) != 1:
        raise Invalid(f"{what}: expected once, found {len(matches)} times")
    return matches[0]


def notes(version: str) -> str:
    """The section `## VERSION - DATE` of the changelog."""
    parts = HEADING.split((CHECKOUT / "CHANGELOG.md").read_text())
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = [
        text for heading, text in sections.items() if re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d{{2}}-\d{{2}}", heading)
    ]
    if len(found) != 1:
        raise Invalid(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`: rename `## Unreleased`, and begin a new one")
    if not found[0].strip():
        raise Invalid(f"CHANGELOG.md says nothing about {version}")
    return found[0].strip()


def image_of(text: str) -> re.Match[str]:
    matched = IMAGE.fullmatch(text)
    if not matched:
        raise Invalid(f"{text} is not REGISTRY/NAME@sha256:...")
    return matched


def replace_once(path: Path, pattern: str, new: str | Callable[[re.Match[str]], str]) -> None:
    text, count = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise Invalid(f"{path}: `{pattern}` matches {count} times, not once")
    path.write_text(text)


def chart(image: str, url: str) -> str:
    name, digest = image_of(image).group("name", "digest")
    folder = CHECKOUT / "deploy/charts/keelson"

    def pinned(block: re.Match[str]) -> str:
        text, names = re.subn(r"^  repository: .*$", f"  repository: {name}", block[0], flags=re.MULTILINE)
        text, digests = re.subn(r"^  digest: .*$", f'  digest: "{digest}"', text, flags=re.MULTILINE)
        if (names, digests) != (1, 1):
            raise Invalid("values.yaml: image has no `repository` or no `digest`")
        return text

    replace_once(folder / "values.yaml", r"^image:\n(?:(?:  .*)?\n)+", pinned)
    replace_once(folder / "Chart.yaml", r"^(      image: )keelson:\S+$", rf"\g<1>{image}")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_text()
        if REPOSITORY in text:
            path.write_text(text.replace(REPOSITORY, url))
    return f"chart: {image}"


def krew(version: str, url: str, sums: dict[str, str]) -> str:
    """The manifest from deploy/krew/keelson.yaml, without its comment."""
    template = (CHECKOUT / "deploy/krew/keelson.yaml").read_text()
    text = "".join(line for line in template.splitlines(keepends=True) if not line.startswith("#"))
    values = {
        f"SHA256_{archive.split('.')[0].removeprefix('keelson-').replace('-', '_').upper()}": sums[archive]
        for archive in ARCHIVES
    }
    for placeholder, value in {**values, "VERSION": version, "URL": url}.items():
        if not re.search(rf"\b(v?){placeholder}\b", text):
            raise Invalid(f"deploy/krew/keelson.yaml has no {placeholder}")
        text = re.sub(rf"\b(v?){placeholder}\b", rf"\g<1>{value}", text)
    return text


def collect(version: str, image: str, url: str, artifacts: Path, folder: Path) -> str:
    name, digest = image_of(image).group("name", "digest")
    folder.mkdir(parents=True)
    for file in (*ARCHIVES, SBOM):
        found = sorted(artifacts.glob(f"*/{file}"))
        if not found:
            raise Invalid(f"{artifacts} has no {file}")
        # One SBOM for each architecture; amd64's is the first.
        shutil.copyfile(found[0], folder / file)
    sums = {file: sha256(folder / file) for file in ARCHIVES}
    (folder / "krew.yaml").write_text(krew(version, url, sums))
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION.format(version=version, url=url, name=name, digest=digest))
    files = sorted(path.name for path in folder.iterdir())
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(folder / file)}  {file}\n" for file in files))
    return "\n".join([*files, "SHA256SUMS"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["check", tag]:
                print(check(tag))
            case ["notes", version]:
                print(notes(version))
            case ["chart", image, url]:
                print(chart(image, url))
            case ["files", version, image, url, artifacts, folder]:
                print(collect(version, image, url, Path(artifacts), Path(folder)))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Invalid as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
