"""Runs the AWS emulator as a process; client of its control API: call log, faults, inventory."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import boto3

from .light_http import Client, answers
from .paths import AWS_PACKAGE
from .processes import Process, free_port

REGION = "eu-west-1"
# The emulator treats a 12-digit access key as that account's administrator. It knows this
# secret, so it can verify for which cluster a token was signed.
ACCOUNT = "123456789012"
SECRET_KEY = "keelson-harness-secret-key-5c1f"
# The socket of a process that forks emulators; `run_all.py` starts one for all test files.
PRELOADED = "KEELSON_AWS_PRELOADED"
# Higher than the number of any call.
NEVER_REACHED = 10**12


@dataclass(frozen=True)
class Durations:
    """How long AWS takes for each operation, in seconds."""

    cluster_create: float = 6
    cluster_update: float = 6
    cluster_delete: float = 3
    nodegroup: float = 3
    addon: float = 1
    nat: float = 2

    def env(self) -> dict[str, str]:
        return {
            "CLUSTER_CREATE_SECONDS": str(self.cluster_create),
            "CLUSTER_UPDATE_SECONDS": str(self.cluster_update),
            "CLUSTER_DELETE_SECONDS": str(self.cluster_delete),
            "NODEGROUP_SECONDS": str(self.nodegroup),
            "ADDON_SECONDS": str(self.addon),
            "NAT_SECONDS": str(self.nat),
        }


class Aws:
    """The emulator of `e2e/aws`, with its control API under /_keelson/."""

    def __init__(
        self, directory: Path, durations: Durations | None = None, env: dict[str, str] | None = None
    ):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._control = Client(f"{self.url}/_keelson/")
        self.call_log = directory / "aws-calls.jsonl"
        path = os.pathsep.join(filter(None, [str(AWS_PACKAGE), os.environ.get("PYTHONPATH")]))
        self.process = Process(
            "AWS emulator",
            [sys.executable, "-m", "keelson_aws", "--port", str(self.port)],
            directory / "aws.log",
            fork_from=Path(server) if (server := os.environ.get(PRELOADED)) else None,
            env={
                "PYTHONPATH": path,
                "CALL_LOG": str(self.call_log),
                # Most tests save NAT gateways and endpoints; those about networks turn it on.
                "NODES_NEED_NETWORK": "0",
                **(durations or Durations()).env(),
                **(env or {}),
            },
        )

    @property
    def token_review_url(self) -> str:
        return f"{self.url}/tokenreview"

    def wait_ready(self) -> float:
        return self.process.wait_ready(lambda: answers(f"{self.url}/_keelson/health"))

    def stop(self) -> None:
        self.process.kill()

    def env(self) -> dict[str, str]:
        """Environment variables that point the AWS SDKs at the emulator only."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, region: str = REGION, account: str = ACCOUNT):
        """A boto3 client: reads the account independently of the operator."""
        return self.create_client(self.url, service, region, account)

    @staticmethod
    def create_client(url: str, service: str, region: str = REGION, account: str = ACCOUNT):
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=url,
            aws_access_key_id=account,
            aws_secret_access_key=SECRET_KEY,
        )

    def control(self, method: str, path: str, **options) -> dict:
        """Calls the control API under /_keelson/ (see `keelson_aws/control.py`)."""
        answer = self._control.request(method, path, **options)
        if not answer.ok:
            raise RuntimeError(f"emulator: {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def calls(self, since: int = 0, account: str | None = None) -> list[dict]:
        """Every call with a number above `since`: time, account, region, service, action, resource, status, write."""
        filters = {"account": account} if account else {}
        return self.control("GET", "calls", params={"since": since, **filters})["calls"]

    def last_call(self) -> int:
        """The number of the newest call."""
        return self.control("GET", "calls", params={"since": NEVER_REACHED})["last"]

    def writes(self, since: int = 0) -> list[dict]:
        return [call for call in self.calls(since) if call["write"]]

    def inventory(self) -> dict:
        """What remains to be deleted in every account: `empty`, `accounts`."""
        return self.control("GET", "inventory")

    def add_fault(self, match: dict, then: dict) -> int:
        """Posts a rule (see `keelson_aws/faults.py`); returns its id."""
        rules = self.control("POST", "faults", json={"match": match, "then": then})["faults"]
        return rules[0]["id"]

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def publish(self, **release) -> None:
        """Publishes an AMI release, an add-on version or other support dates (`keelson_aws/catalog.py`)."""
        self.control("POST", "releases", json=release)

    def nodes(self, account: str) -> list[dict]:
        """Each cluster of an account with its version and the kubelet versions of its nodes, as one consistent snapshot."""
        return self.control("GET", "nodes", params={"account": account})["clusters"]

    def reset_account(self, account: str) -> None:
        """Empties EKS of one account, so that its nodes leave the shared workload cluster."""
        self.control("POST", "reset", params={"account": account})

    def reset(self) -> None:
        """Empties all accounts and removes all faults."""
        self.control("POST", "reset")
