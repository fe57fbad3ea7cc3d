"""Forks emulators: `python -m keelson_aws.preloaded SOCKET`. To import moto and parse its data is most of the processor time of
an emulator that lives for one test file, and this process does it once for all of them.

An emulator ends when its client closes the connection, or dies.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from . import fork_server
from .environment import prepare_environment

prepare_environment()

from moto.core.utils import get_service_model  # noqa: E402
from moto.moto_api._internal import mock_random  # noqa: E402

from . import server  # noqa: E402

# Loaded on the first call of each otherwise.
SERVICES = ("ec2", "iam", "sts", "sqs")


def load() -> None:
    server.load()
    for service in SERVICES:
        get_service_model(service)


def main(arguments: list[str], client: socket.socket) -> None:
    prepare_environment()
    # Otherwise all emulators would give the same ids.
    mock_random.seed()
    server.main(arguments, client)


if __name__ == "__main__":
    fork_server.serve(Path(sys.argv[1]), load, main)
