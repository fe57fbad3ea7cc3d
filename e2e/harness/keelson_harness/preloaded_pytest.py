"""Forks pytest processes: `python -m keelson_harness.preloaded_pytest SOCKET`. Imports are a fifth of what a test file costs.

I/O: that of the tests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

# Imported for its children, which most test files need.
import boto3  # noqa: F401
import pytest
from keelson_aws import fork_server

from . import cloud, processor_time  # noqa: F401
from .aws import Aws
from .processes import PR_SET_PDEATHSIG


# To parse the description of EC2's API takes 0.1 s; boto3's default session keeps it.
SERVICES = ("ec2", "eks", "iam")


def load() -> None:
    # pytest imports its plugins when it parses its configuration.
    pytest.main(["--version"])
    for service in SERVICES:
        Aws.create_client("http://127.0.0.1:0", service)


def main(arguments: list[str], _client: socket.socket) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    code = pytest.main(arguments)
    if folder := os.environ.get(processor_time.FOLDER):
        processor_time.write(folder)
    sys.exit(int(code))


if __name__ == "__main__":
    fork_server.serve(Path(sys.argv[1]), load, main)
