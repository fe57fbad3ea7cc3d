"""Forks children from a process that has loaded what they need: imports are much of the processor time of a short-lived program.

A client connects to the Unix socket and sends one line: {"arguments", "environment"} as JSON, with the descriptor of its log
file. It receives a line {"pid"}, and when that child exits a line {"status", "seconds"}: its wait status and processor time.
"""

from __future__ import annotations

import gc
import json
import os
import random
import selectors
import socket
import sys
from collections.abc import Callable
from pathlib import Path

READ_BYTES = 1 << 16
BACKLOG = 128

# Runs the program with its arguments and the connection of its client, in the child.
Main = Callable[[list[str], socket.socket], object]


def serve(path: Path, load: Callable[[], None], main: Main) -> None:
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as events:
        listener.bind(str(path))
        # Clients that connect from now on wait until everything is loaded.
        listener.listen(BACKLOG)
        load()
        gc.collect()
        gc.freeze()
        events.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.data is None:
                    accept(listener, events, main)
                else:
                    events.unregister(key.fd)
                    report_exit(key.fd, *key.data)


def accept(listener: socket.socket, events: selectors.BaseSelector, main: Main) -> None:
    client, _ = listener.accept()
    line, descriptors, _, _ = socket.recv_fds(client, READ_BYTES, 1)
    if not descriptors:
        client.close()
        return
    while not line.endswith(b"\n"):
        line += client.recv(READ_BYTES)
    [log] = descriptors
    pid = os.fork()
    if pid == 0:
        close_all(events)
        run(json.loads(line), log, client, main)
    os.close(log)
    send(client, {"pid": pid})
    events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, client))


def close_all(events: selectors.BaseSelector) -> None:
    """Closes what belongs to this process and to its other children."""
    for key in list(events.get_map().values()):
        os.close(key.fd)
        if key.data:
            key.data[1].close()
    events.close()


def run(request: dict[str, object], log: int, client: socket.socket, main: Main) -> None:
    """The child; does not return."""
    code = 1
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        # Otherwise all children would draw the same numbers.
        random.seed()
        main(request["arguments"], client)  # type: ignore[arg-type]
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def report_exit(process: int, pid: int, client: socket.socket) -> None:
    os.close(process)
    _, status, usage = os.wait4(pid, 0)
    send(client, {"status": status, "seconds": usage.ru_utime + usage.ru_stime})
    client.close()


def send(client: socket.socket, message: dict[str, object]) -> None:
    try:
        client.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        # The client is gone, and its child is about to be.
        pass
