"""Downloads the kube-apiserver and etcd that controller-tools publishes for envtest.

Saves minutes of compiling. If GitHub is unreachable, it reports that and gives up within
seconds. An archive is used only if its SHA-512 matches the index.
"""

import functools
import hashlib
import io
import os
import platform
import re
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

INDEX = (
    "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
)
CONNECT_SECONDS = 3
DOWNLOAD_SECONDS = 60
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def folder(tools: Path, version: str) -> Path:
    return tools / f"envtest-{minor(version)}"


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def cached(tools: Path, version: str, name: str) -> Path | None:
    candidate = folder(tools, version) / name
    return candidate if os.access(candidate, os.X_OK) else None


def entries(index: str) -> dict[str, tuple[str, str]]:
    """{archive name: (url, sha512)} of the index, parsed without a YAML library."""
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in index.splitlines():
        if match := re.match(r"\s+(envtest-\S+\.tar\.gz):\s*$", line):
            name = match[1]
        elif name and (match := re.match(r"\s+(hash|selfLink):\s*(\S+)", line)):
            found.setdefault(name, {})[match[1]] = match[2]
    return {
        key: (value["selfLink"], value["hash"]) for key, value in found.items() if len(value) == 2
    }


def newest(index: str, version: str) -> tuple[str, str] | None:
    """The newest patch release of that minor version in the index, for this machine."""
    arch = MACHINES.get(platform.machine(), platform.machine())
    pattern = rf"envtest-{re.escape(minor(version))}\.(\d+)-{sys.platform}-{arch}\.tar\.gz"
    known = entries(index)
    patches = {int(m[1]): name for name in known if (m := re.fullmatch(pattern, name))}
    return known[patches[max(patches)]] if patches else None


@functools.cache  # one attempt per run, for all tools
def download(tools: Path, version: str, log) -> None:
    if folder(tools, version).exists():
        return
    try:
        with urllib.request.urlopen(
            os.environ.get("KEELSON_ENVTEST_INDEX", INDEX), timeout=CONNECT_SECONDS
        ) as answer:
            choice = newest(answer.read().decode(), version)
        if not choice:
            log(f"  envtest has no {minor(version)} for this machine")
            return
        url, expected = choice
        log(f"  envtest: downloading {url}")
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as answer:
            archive = answer.read()
    except (urllib.error.URLError, OSError) as error:
        log(f"  envtest's downloads cannot be reached ({error})")
        return
    if hashlib.sha512(archive).hexdigest() != expected:
        log(f"  envtest: {url} does not match the SHA-512 of the index, not used")
        return
    unpack(archive, folder(tools, version))


def unpack(archive: bytes, target: Path) -> None:
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isfile():
                path = unfinished / Path(member.name).name
                path.write_bytes(tar.extractfile(member).read())
                path.chmod(0o755)
    unfinished.rename(target)
