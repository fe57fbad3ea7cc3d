"""Mistakes that only the operator can detect: each results in a condition, before any write to AWS."""

from __future__ import annotations

from fleet.manifests import account, cluster, existing, flux, node_group, secret
from keelson_harness.aws import ACCOUNT

from . import Mistake

OTHER_ACCOUNT = "999999999999"
HTTPS = "https://github.com/acme/fleet"
SSH = "ssh://git@github.com/acme/fleet"
URL = "spec.gitops.flux.source.git.url"
SECRET = "spec.gitops.flux.source.git.secretRef"


def cluster_in(name: str, to: dict, **spec: object) -> dict:
    return cluster(name, accountRef={"name": to["metadata"]["name"]}, **spec)


WRONG_ID = account("wrong-id", OTHER_ACCOUNT)
NO_SUCH_ROLE = account("no-role", ACCOUNT, roleArn=f"arn:aws:iam::{ACCOUNT}:role/missing")
WRONG_EXTERNAL_ID = account(
    "wrong-external-id",
    ACCOUNT,
    roleArn=f"arn:aws:iam::{ACCOUNT}:role/guarded",
    externalId="guessed",
)
OTHERS_ONLY = account("others-only", ACCOUNT, allowedNamespaces=["team-payments"])
OTHER_REGION = account("other-region", ACCOUNT, allowedRegions=["eu-central-1"])


def mistakes(one_zone: list[str], full: list[str], of_taken: list[str]) -> list[Mistake]:
    """`one_zone`: subnets of one availability zone; `full`: without free addresses; `of_taken`: the subnets of cluster `taken`."""
    return [
        Mistake(
            "unknown version",
            cluster("version", version="1.20"),
            ("spec.version", "1.20", "1.35"),
            "InvalidSpec",
        ),
        Mistake(
            "CIDR too small for public subnets",
            cluster("small", network={"vpc": {"cidr": "10.0.0.0/24"}}),
            ("spec.network.vpc.cidr", "too small", "/22"),
            "InvalidSpec",
        ),
        Mistake(
            "one zone only, of an existing network",
            cluster("one-zone", network=existing(*one_zone)),
            ("network.existing", "one availability zone", "at least two"),
            "InvalidSpec",
        ),
        Mistake(
            "subnets without free addresses",
            cluster("full", network=existing(*full)),
            ("network.existing", "too few free addresses", full[0]),
            "InvalidSpec",
        ),
        Mistake(
            "missing subnet",
            cluster("nowhere", network=existing("subnet-0123456789abcdef0", *one_zone)),
            ("network.existing", "subnet-0123456789abcdef0"),
            "InvalidSpec",
        ),
        Mistake(
            "zone that the region does not have",
            cluster("zone", network={"vpc": {"zones": ["eu-west-1a", "eu-west-1z"]}}),
            ("spec.network.vpc.zones", "eu-west-1z", "eu-west-1b"),
            "InvalidSpec",
        ),
        Mistake(
            "missing Secret",
            cluster("no-secret", gitops=flux(HTTPS, secretRef={"name": "missing"})),
            (SECRET, "default/missing", "username"),
            "SyncFailed",
        ),
        Mistake(
            "Secret without known_hosts",
            cluster("half-secret", gitops=flux(SSH, secretRef={"name": "half"})),
            (SECRET, "default/half", "known_hosts"),
            "SyncFailed",
            needs=(secret("half", identity="not-a-real-key"),),
        ),
        Mistake(
            "ssh without a Secret",
            cluster("no-key", gitops=flux(SSH)),
            (SECRET, "identity", "known_hosts"),
            "InvalidSpec",
        ),
        Mistake(
            "http without the flag",
            cluster("plain-http", gitops=flux("http://git.example.com/fleet")),
            (URL, "https", "--allow-http-git"),
            "InvalidSpec",
        ),
        Mistake(
            "loopback as Git source",
            cluster("loopback", gitops=flux("https://127.0.0.1/fleet")),
            (URL, "loopback"),
            "InvalidSpec",
        ),
        Mistake(
            "wrong account id",
            cluster_in("wrong-id", WRONG_ID),
            (OTHER_ACCOUNT, ACCOUNT),
            "AccessDenied",
            needs=(WRONG_ID,),
        ),
        Mistake(
            "role that cannot be assumed",
            cluster_in("no-role", NO_SUCH_ROLE),
            ("AssumeRole", "role/missing", "trust policy"),
            "AccessDenied",
            needs=(NO_SUCH_ROLE,),
        ),
        Mistake(
            "wrong external id",
            cluster_in("wrong-external-id", WRONG_EXTERNAL_ID),
            ("AssumeRole", "role/guarded", "external id"),
            "AccessDenied",
            needs=(WRONG_EXTERNAL_ID,),
        ),
        Mistake(
            "missing account",
            cluster("no-account", accountRef={"name": "missing"}),
            ("AwsAccount", "missing", "create it"),
            "AccessDenied",
        ),
        Mistake(
            "account that does not allow the namespace",
            cluster_in("not-allowed", OTHERS_ONLY),
            ("others-only", '"default"', "allowedNamespaces"),
            "AccessDenied",
            needs=(OTHERS_ONLY,),
        ),
        Mistake(
            "account that does not allow the region",
            cluster_in("not-there", OTHER_REGION),
            ("other-region", "eu-west-1", "eu-central-1"),
            "AccessDenied",
            needs=(OTHER_REGION,),
        ),
        Mistake(
            "foreign cluster of that name",
            cluster("taken"),
            ("taken", "does not belong to this object"),
            "NotOwned",
        ),
        Mistake(
            "foreign cluster of that name, in its own network",
            cluster("taken-too", clusterName="taken", network=existing(*of_taken)),
            ("taken", "does not belong to this object"),
            "NotOwned",
        ),
        Mistake(
            "unsupported field of a node group",
            node_group(
                "version",
                "given-role",
                roleArn="arn:aws:iam::123456789012:role/own",
                additionalRolePolicies=["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"],
            ),
            ("spec.additionalRolePolicies", "not supported yet"),
            "InvalidSpec",
        ),
        Mistake(
            "node group of a missing cluster",
            node_group("missing", "orphan"),
            ("EksCluster", "default/missing"),
            "WaitingForCluster",
            stalled=False,
        ),
    ]
