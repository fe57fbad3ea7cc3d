"""Mistakes that the API server rejects: nothing is stored, so AWS is not touched."""

from __future__ import annotations

from fleet.manifests import account, cluster, flux

from . import Mistake


def vpc(**fields: object) -> dict:
    return {"vpc": fields}


def source(url: str) -> dict:
    return cluster("source", gitops=flux(url))


REJECTED = [
    Mistake(
        "CIDR too small",
        cluster("small", network=vpc(cidr="10.0.0.0/28")),
        ("spec.network.vpc.cidr", "from /16 to /24"),
    ),
    Mistake(
        "service range overlaps the VPC",
        cluster(
            "overlap",
            network=vpc(cidr="10.0.0.0/16"),
            kubernetesNetwork={"serviceCidr": "10.0.128.0/20"},
        ),
        ("spec.kubernetesNetwork.serviceCidr", "overlap"),
    ),
    Mistake(
        "one zone only",
        cluster("one-zone", network=vpc(zoneCount=1)),
        ("spec.network.vpc.zoneCount", "two availability zones"),
    ),
    Mistake(
        "one zone only, by name",
        cluster("one-zone", network=vpc(zones=["eu-west-1a"])),
        ("spec.network.vpc.zones", "two availability zones"),
    ),
    Mistake(
        "metadata URL as Git source",
        source("http://169.254.169.254/latest/meta-data"),
        ("spec.gitops.flux.source.git.url", "metadata address"),
    ),
    Mistake(
        "file URL as Git source",
        source("file:///etc/passwd"),
        ("spec.gitops.flux.source.git.url", "https://<host>/<path>"),
    ),
    Mistake(
        "password in the Git URL",
        source("https://me:token@github.com/acme/fleet"),
        ("spec.gitops.flux.source.git.url", "secretRef"),
    ),
    Mistake(
        "account id and role of two accounts",
        account("two", "111111111111", roleArn="arn:aws:iam::222222222222:role/keelson"),
        ("spec.roleArn", "account"),
    ),
    Mistake("no version", cluster("latest", version="latest"), ("spec.version", "1.34")),
]
