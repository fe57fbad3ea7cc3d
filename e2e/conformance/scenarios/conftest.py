"""What the scenarios stand on: the run's account, a real management API server, the real operator.

`python -m conformance run` passes its settings. Started directly, they run on an emulator of their own, or with `--aws real --yes ACCOUNT` on the
account of the default credentials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from conformance import tags
from conformance.account import AwsAccount, choose_region, confirm
from conformance.run import SETTINGS
from conformance.settings import REAL_TIME_SCALE, Settings
from conformance.stand import Stand, standing
from keelson_harness.aws import REGION
from keelson_harness.cloud import LocalCloud
from fleet.environment import QUICK


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--aws", choices=("emulator", "real"), default="emulator", help="what the scenarios run on")
    parser.addoption("--yes", default=None, metavar="ACCOUNT", help="with --aws real: the account in which resources may be created")


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Iterator[Settings]:
    given = pytestconfig.stash.get(SETTINGS, None)
    if given is not None:
        yield given
        return
    expires = tags.now() + tags.parse_duration("4h")
    if pytestconfig.getoption("aws") == "real":
        account = AwsAccount(choose_region(""))
        confirm(account.id, pytestconfig.getoption("yes"), "create resources in it")
        scale = 1.0 if account.is_emulated else REAL_TIME_SCALE
        yield Settings(account, tags.new_run_id(), expires, float(os.environ.get("TIME_SCALE", scale)))
        return
    with LocalCloud(flux=False, git=False, durations=QUICK) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.aws.env().items():
            patch.setenv(name, value)
        yield Settings(AwsAccount(REGION), tags.new_run_id(), expires, float(os.environ.get("TIME_SCALE", "1")))


@pytest.fixture(scope="module")
def stand(settings: Settings) -> Iterator[Stand]:
    with standing(settings) as started:
        yield started
