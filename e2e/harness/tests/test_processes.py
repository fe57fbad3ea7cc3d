"""Child processes never outlive their parent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keelson_harness.processes import NotReady, Process

HARNESS = Path(__file__).resolve().parents[1]
PARENT = """
import sys, threading, time
from pathlib import Path
from keelson_harness.processes import Process
def start():
    child = Process("sleeper", ["sleep", "600"], Path(sys.argv[1]) / "log")
    print(child.pid, flush=True)
thread = threading.Thread(target=start)
thread.start(); thread.join()
time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(PR_SET_PDEATHSIG)")
def test_killed_parent_leaves_no_child(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
    )
    child = int(parent.stdout.readline())
    # The thread that requested it has ended; the child still runs.
    assert running(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not running(child):
            return
        threading.Event().wait(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail(f"process {child} outlived its parent")


def test_failed_process_reports_the_end_of_its_log(tmp_path):
    process = Process("broken", ["sh", "-c", "echo out of coal; exit 3"], tmp_path / "log")
    with pytest.raises(NotReady, match="(?s)exited with 3.*out of coal"):
        process.wait_ready(lambda: False, timeout=10)


def test_stop_kills_a_process_that_ignores_sigterm(tmp_path):
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    process = Process("deaf", ["sh", "-c", script], tmp_path / "log")
    process.wait_ready(lambda: "up" in process.log.read_text())
    assert process.stop(timeout=0.3) == -signal.SIGKILL
    assert not process.alive
