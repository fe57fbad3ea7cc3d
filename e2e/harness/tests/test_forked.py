"""Emulators forked from a process that has loaded the emulator."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keelson_harness import aws, processor_time
from keelson_harness.aws import Aws
from keelson_harness.paths import AWS_PACKAGE
from keelson_harness.processes import Process

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
HARNESS = Path(__file__).resolve().parents[1]
PARENT = """
import sys, time
from pathlib import Path
from keelson_harness.aws import Aws
emulator = Aws(Path(sys.argv[1]))
emulator.wait_ready()
print(emulator.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("preloaded")
    socket = directory / "socket"
    argv = [sys.executable, "-m", "keelson_aws.preloaded", socket]
    process = Process("preloaded", argv, directory / "log", env={"PYTHONPATH": str(AWS_PACKAGE)})
    yield socket
    process.stop()


@pytest.fixture
def preloaded(server, monkeypatch):
    monkeypatch.setenv(aws.PRELOADED, str(server))
    return server


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_emulators_have_their_own_state_settings_and_ids(preloaded, tmp_path):
    found = []
    for name in ("one", "two"):
        emulator = Aws(tmp_path / name, aws.Durations(nat=7))
        emulator.wait_ready()
        found.append(emulator.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"])
        assert [vpc["VpcId"] for vpc in emulator.client("ec2").describe_vpcs()["Vpcs"]] == found[-1:]
        assert emulator.control("GET", "settings")["nat_seconds"] == 7
        assert len(emulator.call_log.read_text().splitlines()) == 2
        assert "keelson-aws ready" in (tmp_path / name / "aws.log").read_text()
        emulator.stop()
    assert found[0] != found[1]


def test_killed_emulator_reports_its_exit_and_processor_time(preloaded, tmp_path):
    before = processor_time._seconds["keelson_aws"]
    emulator = Aws(tmp_path)
    emulator.wait_ready()
    assert emulator.process.alive
    emulator.stop()
    assert emulator.process.returncode == -signal.SIGKILL
    assert not exists(emulator.process.pid)
    assert processor_time._seconds["keelson_aws"] > before


def test_emulator_ends_when_its_harness_is_killed(preloaded, tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(HARNESS)})
    emulator = int(parent.stdout.readline())
    assert exists(emulator)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while exists(emulator):
        assert time.monotonic() < deadline, f"emulator {emulator} outlived its harness"
        time.sleep(0.05)
