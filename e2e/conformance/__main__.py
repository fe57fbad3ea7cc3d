"""The conformance programs: `run`, `janitor`, `check`. See docs/conformance.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from keelson_harness.paths import NotBuilt

from . import fixtures, tags
from .account import AwsAccount, Refused, choose_region, confirm
from .costs import INSTANCE_TYPE
from .janitor import Janitor
from .run import report_other_kinds, run
from .tagged import any_run, expired


def janitor(options: argparse.Namespace) -> int:
    """Deletes what runs left behind and is expired."""
    account = AwsAccount(choose_region(options.region))
    print(f"account {account.id}, region {account.region}")
    at = tags.now()
    worker = Janitor(account, expired(at))
    found = worker.find()
    for resource in Janitor(account, any_run).find():
        if resource not in found:
            print(f"keeps     {resource}: run {resource.tags[tags.RUN]!r} expires {resource.tags.get(tags.EXPIRES, 'never')}")
    for resource in found:
        print(f"expired   {resource}: run {resource.tags[tags.RUN]}, {resource.tags[tags.EXPIRES]}")
    if not found:
        print("nothing is expired")
        return 0 if report_other_kinds(account, expired(at)) else 1
    if options.dry_run:
        return 0
    confirm(account.id, options.yes, f"delete these {len(found)} resources")
    result = worker.run()
    print(f"deleted {len(result.deleted)}, failed {len(result.failed)}")
    complete = report_other_kinds(account, expired(at))
    return 1 if result.failed or not complete else 0


def check(options: argparse.Namespace) -> int:
    """Holds a recording against the fixtures."""
    result = fixtures.compare(fixtures.load(options.fixtures), fixtures.load(options.recording))
    for problem in result.problems:
        print(problem, file=sys.stderr)
    print(f"{result.compared} answers compared, {len(result.problems)} differences, {len(result.not_seen)} answers of fixtures not in the recording")
    return 1 if result.problems or not result.compared else 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("run", help="create, change, upgrade and delete a cluster in the account of the default credentials")
    command.set_defaults(action=run)
    _account_options(command)
    command.add_argument("--lifetime", type=tags.parse_duration, default="4h", help="after which the janitor may delete what is left (default: 4h)")
    scale = os.environ.get("TIME_SCALE")
    command.add_argument("--time-scale", type=float, default=float(scale) if scale else 0, help="factor of all timeouts (default: 30; 1 with AWS_ENDPOINT_URL)")
    command.add_argument("--permissions-boundary", default="", metavar="ARN", help="boundary of the roles; the shipped IAM policies require one")
    command.add_argument("--instance-type", default=INSTANCE_TYPE, help=f"of the nodes (default: {INSTANCE_TYPE}, which the prices are for)")
    command.add_argument("--git-url", default="", metavar="URL", help="a repository that the cluster can read: Flux applies it (default: no agent)")
    command.add_argument("--git-branch", default="main", help="its branch (default: main)")
    command.add_argument("--git-path", default="", help="the path in it")
    command.add_argument("--record", type=Path, metavar="FOLDER", help=f"write the recorded answers there, such as {_relative(fixtures.FOLDER)}")
    command.add_argument("--select", default="", metavar="EXPRESSION", help="only these scenarios, as pytest -k")

    command = commands.add_parser("janitor", help="delete what runs left behind, once it is expired")
    command.set_defaults(action=janitor)
    _account_options(command)
    command.add_argument("--dry-run", action="store_true", help="only list it")

    command = commands.add_parser("check", help="hold a recording against the fixtures")
    command.set_defaults(action=check)
    command.add_argument("recording", type=Path, help="a folder that `run --record` wrote")
    command.add_argument("--fixtures", type=Path, default=fixtures.FOLDER, help=f"(default: {_relative(fixtures.FOLDER)})")
    return parser


def _account_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--region", default="", help="(default: AWS_REGION, or the profile's)")
    command.add_argument("--yes", metavar="ACCOUNT", help="do not ask; refused if the credentials are of another account")


def _relative(path: Path) -> str:
    return os.path.relpath(path)


def main() -> int:
    options = arguments().parse_args()
    if getattr(options, "git_url", "") and not options.git_path:
        print("--git-url needs --git-path", file=sys.stderr)
        return 2
    try:
        return options.action(options)
    except (Refused, NotBuilt) as error:
        print(error, file=sys.stderr)
        return 2
    except (BotoCoreError, ClientError) as error:
        print(f"AWS refused a call of this program: {error}\ndocs/conformance.md lists the permissions that it needs.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped while it cleaned up: what is left is deleted by make conformance-janitor once it is expired", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
