"""What a reader of the pages has: a management cluster with the operator of the chart, an account of AWS, and a folder with a shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from fleet.account import Account
from fleet.environment import Environment
from fleet.page_examples import page_examples
from fleet.shell import Shell
from keelson_harness.aws import ACCOUNT
from keelson_harness.paths import CHECKOUT, keelson_binary, tools

# What the pages name relative to a checkout.
OF_CHECKOUT = ("deploy", "crds", "examples")
BIN, WORK = "bin", "work"
# The AWS CLI 1 asks SQS at the address of AWS whatever AWS_ENDPOINT_URL says.
AWS = """#!/bin/sh
case "$1" in sqs) set -- --endpoint-url "$AWS_ENDPOINT_URL" "$@" ;; esac
exec {aws} "$@"
"""
YAML = re.compile(r"^```(yaml|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """folder: where the reader is; a checkout, as far as commands need one."""

    on: Environment
    shell: Shell
    folder: Path

    @classmethod
    def start(cls, on: Environment, directory: Path, **variables: str) -> Reader:
        programs, folder = directory / BIN, directory / WORK
        for path in (programs, folder):
            path.mkdir(parents=True)
        for name in OF_CHECKOUT:
            (folder / name).symlink_to(CHECKOUT / name)
        (programs / "keelson").symlink_to(keelson_binary().resolve())
        (programs / "helm").symlink_to(tools("helm")["helm"])
        (programs / "aws").write_text(AWS.format(aws=shutil.which("aws")))
        (programs / "aws").chmod(0o755)
        kubeconfig = shutil.copy(on.cloud.management.kubeconfig, directory / "kubeconfig")
        environment = {
            **os.environ,
            **on.cloud.operator_env(),
            # AWS CLI 1 reads only this one.
            "AWS_DEFAULT_REGION": on.cloud.operator_env()["AWS_REGION"],
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_PAGER": "",
            "HELM_CACHE_HOME": str(directory / "helm-cache"),
            "HELM_CONFIG_HOME": str(directory / "helm-config"),
            "HELM_DATA_HOME": str(directory / "helm-data"),
            "KEELSON_ALLOW_HTTP_GIT": "true",
            "KUBECACHEDIR": str(directory / "kube-cache"),
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TERM": "dumb",
            **variables,
        }
        environment.pop("AWS_PROFILE", None)
        return cls(on, Shell(directory, environment, folder), folder)

    @property
    def account(self) -> Account:
        return self.on.account(ACCOUNT)

    def run(self, commands: str) -> str:
        return self.shell.run(commands)

    def run_in(self, account: str, commands: str) -> str:
        """With credentials of another account."""
        return self.shell.run(f"(export AWS_ACCESS_KEY_ID={shlex.quote(account)}\n{commands}\n)")

    def write(self, name: str, *items: dict) -> None:
        (self.folder / name).write_text(yaml.safe_dump_all(items, sort_keys=False))

    def read(self, name: str) -> list[dict]:
        return [item for item in yaml.safe_load_all((self.folder / name).read_text()) if item]


def file_blocks(page: str, part: str) -> list[str]:
    """The YAML and JSON of a page with that text."""
    return [text for _, text in YAML.findall((CHECKOUT / page).read_text()) if part in text]


def first_manifest(page: str) -> list[dict]:
    """The manifests of a page, below `docs`, without those that say the same object again."""
    found: dict[tuple[str, str], dict] = {}
    for item in page_examples(page):
        found.setdefault((item["kind"], item["metadata"]["name"]), item)
    return list(found.values())


def as_shown(shown: str, real: str) -> bool:
    """Whether the output is as shown, but for its columns; a line `...` stands for any number of lines."""

    def comparable(line: str) -> str:
        return " ".join(line.split())

    lines = [r"(?:.*\n)*?" if line.strip() == "..." else re.escape(comparable(line)) + r"\n" for line in shown.strip().splitlines()]
    return re.fullmatch("".join(lines), "".join(f"{comparable(line)}\n" for line in real.strip().splitlines())) is not None
