"""`make conformance-aws`: asks, runs the scenarios on the account, deletes everything, says what is left. I/O: everything."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from keelson_harness.cloud import KUBERNETES_TOOLS
from keelson_harness.paths import keelson_binary, tools

from . import fixtures, tags
from .account import AwsAccount, choose_region, confirm
from .costs import SOURCES, estimate
from .janitor import Janitor
from .proxy import RecordingProxy
from .recorder import Recorder
from .settings import REAL_TIME_SCALE, Settings, versions_to_upgrade
from .tagged import TagFilter, of_run, other_kinds

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
SCENARIOS = Path(__file__).resolve().parent / "scenarios"
# Of each row of the prices, at most at the same time: an upgrade replaces two nodes with four.
NUMBERS = {"control plane": 1, "NAT gateway": 1, "public IPv4 address": 1, "node": 4, "volume of a node": 4}
assert NUMBERS.keys() == SOURCES.keys()
REAL_HOURS = 1.5
CREATED = (
    "1 EKS cluster with 5 add-ons and 1 access entry for its nodes, 1 node group with 1 to 4 {instance}, 1 VPC with 4 subnets, 3 route tables,\n"
    "  1 internet gateway, 1 NAT gateway, 1 Elastic IP, 2 IAM roles, 1 OIDC provider; the cluster is upgraded from {start} to {goal}"
)


class _Plugin:
    """Gives the scenarios their settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SETTINGS] = self._settings


def run(options: SimpleNamespace) -> int:
    # Missing binaries are an error before anything is asked.
    keelson_binary()
    tools(*KUBERNETES_TOOLS)
    region = choose_region(options.region)
    source = fixtures.EMULATOR if os.environ.get("AWS_ENDPOINT_URL") else fixtures.AWS
    recorder = Recorder(source, tags.now().strftime("%Y-%m-%d"), lambda: confidential(account))
    account = AwsAccount(region, recorder)
    default_scale = 1.0 if account.is_emulated else REAL_TIME_SCALE
    settings = Settings(
        account,
        tags.new_run_id(),
        tags.now() + options.lifetime,
        options.time_scale or default_scale,
        permissions_boundary=options.permissions_boundary,
        instance_type=options.instance_type,
        git_url=options.git_url,
        git_branch=options.git_branch,
        git_path=options.git_path,
    )
    print_plan(settings)
    confirm(account.id, options.yes, "create all that")
    proxy = RecordingProxy(account.session, region, recorder)
    settings.operator_env = proxy.operator_env()
    # A shell starts background processes with SIGINT ignored, and CI ends jobs with SIGTERM: both clean up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    arguments = ["-v", "-p", "no:cacheprovider", "-c", str(SCENARIOS / "pytest.ini"), "--rootdir", str(SCENARIOS), str(SCENARIOS)]
    code = 1
    try:
        code = int(pytest.main([*arguments, *(["-k", options.select] if options.select else [])], plugins=[_Plugin(settings)]))
    finally:
        proxy.close()
        clean = delete_leftovers(settings)
    checked = write_recording(recorder, options.record, proxy)
    return code or (0 if clean and checked else 1)


def confidential(account: AwsAccount) -> list[str]:
    found = account.session.get_credentials().get_frozen_credentials()
    return [value for value in (found.access_key, found.secret_key, found.token, account.id) if value]


def print_plan(settings: Settings) -> None:
    account = settings.account
    start, goal = versions_to_upgrade(account)
    print(f"account   {account.id}, as {account.identity['arn']}")
    print(f"region    {account.region}" + (f", at {account.endpoint}: not AWS itself" if account.is_emulated else ""))
    print(f"creates   {CREATED.format(instance=settings.instance_type, start=start, goal=goal)}")
    expected = estimate(account.region, NUMBERS, REAL_HOURS)
    print(f"costs, at most at the same time:\n{expected.describe()}")
    print(f"tags      {', '.join(f'{key}={value}' for key, value in settings.tags.items())}")
    print("ends      by deleting all of it, also after Ctrl-C. After kill -9 or a lost machine run: make conformance-janitor", flush=True)


def delete_leftovers(settings: Settings) -> bool:
    """Deletes what the operator left of this run, and says so: that is a failure. Returns whether there was nothing."""
    wanted = of_run(settings.run)
    janitor = Janitor(settings.account, wanted, patience=settings.seconds(60), retry=settings.seconds(10))
    left = janitor.find()
    if not left:
        print(f"\nnothing in the account carries the tags of run {settings.run}")
        return report_other_kinds(settings.account, wanted)
    print(f"\nFAILED: the operator left {len(left)} resources of run {settings.run}; they are deleted now")
    result = janitor.run()
    if result.failed:
        print(f"{len(result.failed)} remain until somebody deletes them; from {settings.tags[tags.EXPIRES]} on, make conformance-janitor tries it again")
    report_other_kinds(settings.account, wanted)
    return False


def report_other_kinds(account: AwsAccount, wanted: TagFilter) -> bool:
    """Names tagged resources of kinds that are not deleted here. Returns whether there are none."""
    try:
        found = other_kinds(account, wanted)
    except ClientError as error:
        print(f"resources of other kinds were not searched: {error.response['Error']['Code']} (allow tag:GetResources)")
        return True
    for arn in found:
        print(f"not deleted, a kind that is not ours: {arn}")
    return not found


def write_recording(recorder: Recorder, folder: Path | None, proxy: RecordingProxy) -> bool:
    recorded = recorder.fixtures()
    print(f"recorded {len(recorded)} operations, {proxy.calls} calls of the operator")
    if recorder.source == fixtures.AWS:
        # AWS is ahead of its models at times.
        for problem in recorder.problems():
            print(f"AWS differs from its model in this botocore: {problem}")
    else:
        for problem in recorder.problems():
            print(f"FAILED: the emulator contradicts AWS's model: {problem}", file=sys.stderr)
    for call in sorted(proxy.not_recorded):
        print(f"not recorded, unknown to botocore: {call}")
    if folder:
        print(f"{len(recorder.write(folder))} fixtures written to {folder}")
    return recorder.source == fixtures.AWS or not recorder.problems()
