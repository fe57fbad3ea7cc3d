"""Client of the pool of control planes (`control_plane_pool.py`).

I/O: a Unix socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

# The socket of the pool; `run_all.py` starts one for all test files.
POOL = "KEELSON_CONTROL_PLANES"
RELEASED = b"released\n"


@dataclass(frozen=True)
class Pooled:
    """Where a control plane of the pool is. `directory` has its certificate authority and its logs; `url` is that of its etcd."""

    name: str
    url: str
    port: int
    directory: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


@contextlib.contextmanager
def acquire(path: Path) -> Iterator[Pooled]:
    """A control plane with the CRDs installed that nobody else uses, until the end of the block.

    After an exception it is not used again.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with connection.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            raise ConnectionError(f"the pool that listens on {path} could not start a control plane")
        yield Pooled(**json.loads(line))
        connection.sendall(RELEASED)


def pool_from_environment() -> Path | None:
    path = os.environ.get(POOL)
    return Path(path) if path else None
