"""Paths: the checkout, run directories, built binaries."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
CRDS = CHECKOUT / "crds"
DEPLOY = CHECKOUT / "deploy"
EXAMPLES = CHECKOUT / "examples"
AWS_PACKAGE = CHECKOUT / "e2e" / "aws"
BUILD_SCRIPT = CHECKOUT / "e2e" / "kubernetes" / "build.py"


class NotBuilt(Exception):
    """A binary or file of the local cloud is missing; the message says how to build it."""


def tools(*names: str) -> dict[str, Path]:
    """Paths of the Kubernetes, Flux and Argo CD binaries; builds the missing ones first."""
    output = subprocess.run(
        [sys.executable, str(BUILD_SCRIPT), "--json", *names],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if output.returncode:
        raise NotBuilt(f"{BUILD_SCRIPT} could not build {', '.join(names) or 'the tools'}")
    return {name: Path(path) for name, path in json.loads(output.stdout).items()}


def keelson_binary() -> Path:
    """KEELSON_BIN, or the newer of cargo's release and debug builds."""
    chosen = os.environ.get("KEELSON_BIN")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise NotBuilt(f"KEELSON_BIN={chosen} is not an executable file")
        return Path(chosen)
    target = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target"))
    built = [target / profile / "keelson" for profile in ("release", "debug")]
    built = [path for path in built if os.access(path, os.X_OK)]
    if not built:
        raise NotBuilt(f"no keelson binary under {target}: run `cargo build`, or set KEELSON_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


class TooLong(Exception):
    """The run directory is too long; the message says what to set."""


# Linux takes 107 bytes and a zero for the path of a Unix socket.
SOCKET_BYTES = 107


def run_directory(prefix: str = "keelson-", socket_bytes: int = 0) -> Path:
    """A new directory under TMPDIR for one run's data, keys and logs.

    socket_bytes: of the longest path below it of a Unix socket. A program whose socket has too long a path ends, and nothing says why.
    """
    path = Path(tempfile.mkdtemp(prefix=prefix))
    length = len(os.fsencode(path))
    if socket_bytes and length + socket_bytes > SOCKET_BYTES:
        path.rmdir()
        most = SOCKET_BYTES - socket_bytes - (length - len(os.fsencode(path.parent)))
        raise TooLong(
            f"TMPDIR={path.parent} has {len(os.fsencode(path.parent))} bytes, and sockets below it would have a longer path than the"
            f" {SOCKET_BYTES} bytes that the system takes: set TMPDIR to a directory of at most {most} bytes, such as /tmp"
        )
    return path
