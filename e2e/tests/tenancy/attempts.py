"""The attempts of a tenant of the namespace `team-search`: against the account of `team-vault`, and anything else that a spec can name."""

from __future__ import annotations

from fleet.manifests import cluster, flux, node_group, secret

from . import Attempt

TENANT, VICTIM = "team-search", "team-vault"
OWN, THEIRS, CLOSED = "search", "vault", "closed"
HTTPS = "https://git.example.com/fleet"
PAYLOADS = ("$(id)", "`id`", "a; rm -rf /", "a\nb", "{{ .Values }}", "a' or '1'='1", "../../etc/passwd", "a\u0000b", "a b", "-o=x")
# Metadata and credential endpoints, files, commands and the machine itself, in notations that resolvers accept.
URLS = (
    "http://169.254.169.254/latest/meta-data/iam/security-credentials",
    "http://2852039166/latest/meta-data",
    "http://0xa9fea9fe/latest/meta-data",
    "http://169.254.43518/latest/meta-data",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://[::ffff:169.254.169.254]/latest/meta-data",
    "http://169.254.170.2/v2/credentials",
    "http://metadata.google.internal/computeMetadata/v1",
    "https://me@169.254.169.254/x",
    "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
    "/etc/passwd",
    "ext::sh -c id",
    "ssh://-oProxyCommand=id/x",
    "https://git.example.com/fleet --upload-pack=id",
    "gopher://127.0.0.1:6379/x",
)
LOCAL_URLS = ("http://127.0.0.1/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x")


def own(name: str, **spec: object) -> dict:
    """A cluster in the tenant's own namespace and, by default, its own account."""
    return cluster(name, TENANT, **{"accountRef": {"name": OWN}, **spec})


def without_account(name: str, **spec: object) -> dict:
    return cluster(name, TENANT, **spec)


def accounts() -> list[Attempt]:
    """Faults 47 and 48: an account or role that the namespace may not use; only the platform team can set an external id."""
    return [
        Attempt(
            "the account of another namespace",
            own("theirs", accountRef={"name": THEIRS}),
            (THEIRS, f'"{TENANT}"', "allowedNamespaces"),
            "AccessDenied",
        ),
        Attempt(
            "an account that allows no namespace",
            own("closed", accountRef={"name": CLOSED}),
            (CLOSED, f'"{TENANT}"', "allowedNamespaces"),
            "AccessDenied",
        ),
        Attempt(
            "an account that does not exist",
            own("nowhere", accountRef={"name": "nobodys"}),
            ("nobodys", "does not exist"),
            "AccessDenied",
        ),
        Attempt(
            "the operator's own credentials",
            without_account("ambient"),
            ("spec.accountRef is not set", 'AwsAccount "default"'),
            "AccessDenied",
        ),
        Attempt(
            "a region that the account does not allow",
            own("elsewhere", region="us-east-1"),
            (OWN, '"us-east-1"', "allowedRegions", "eu-west-1"),
            "AccessDenied",
        ),
        Attempt(
            "a node group in the cluster of another namespace",
            node_group("vault", "parasite", TENANT),
            (f"{TENANT}/vault",),
            "WaitingForCluster",
        ),
        Attempt(
            "a node group in the cluster of another namespace, by path",
            node_group(f"{VICTIM}/vault", "by-path", TENANT),
            ("spec.clusterRef.name", "name of a Kubernetes object"),
        ),
        Attempt(
            "an account's name with a path in it",
            own("path", accountRef={"name": "../vault"}),
            ("spec.accountRef.name", "name of a Kubernetes object"),
        ),
    ]


def sources() -> list[Attempt]:
    """Fault 49: a Git source that is a metadata service, a file, a command or the machine itself."""
    url = "spec.gitops.flux.source.git.url"
    found = [Attempt(f"Git from {u}", own(f"url-{n}", gitops=flux(u)), (url,)) for n, u in enumerate(URLS)]
    found += [
        Attempt(f"Git from {u}", own(f"local-{n}", gitops=flux(u)), (url,), "InvalidSpec")
        for n, u in enumerate(LOCAL_URLS)
    ]
    return found


def secrets() -> list[Attempt]:
    """Fault 50: a Secret of another namespace."""
    reference = "spec.gitops.flux.source.git.secretRef"

    def by(cluster_name: str, **secret_ref: str) -> dict:
        return own(cluster_name, gitops=flux(HTTPS, secretRef=secret_ref))

    return [
        Attempt(
            "a Secret that only another namespace has",
            by("secret-theirs", name="deploy-key"),
            (reference, f"{TENANT}/deploy-key"),
            "SyncFailed",
        ),
        Attempt("a Secret by path", by("secret-path", name=f"{VICTIM}/deploy-key"), (reference, "name of a Kubernetes object")),
        Attempt(
            "a Secret with a namespace",
            by("secret-namespace", name="deploy-key", namespace=VICTIM),
            (f"{reference}.namespace", "unknown field"),
        ),
        Attempt(
            "another namespace's token through an incomplete Secret of its own",
            by("secret-half", name="half"),
            (reference, f"{TENANT}/half", "username"),
            "SyncFailed",
            needs=(secret("half", TENANT, note="x"),),
        ),
    ]


def injections() -> list[Attempt]:
    """Fault 51: text that a shell, template, path or query would interpret, in every free-text field of a spec."""
    places = {
        "region": lambda text: {"region": text},
        "version": lambda text: {"version": text},
        "clusterName": lambda text: {"clusterName": text},
        "logging": lambda text: {"logging": [text]},
        "network.vpc.endpoints": lambda text: {"network": {"vpc": {"endpoints": [text]}}},
        "addons": lambda text: {"addons": [{"name": text}]},
        "fargateProfiles": lambda text: {"fargateProfiles": [{"name": "a", "selectors": [{"namespace": text}]}]},
        "podIdentities": lambda text: {
            "podIdentities": [{"namespace": text, "serviceAccount": "a", "roleArn": "arn:aws:iam::123456789012:role/a"}]
        },
        "path": lambda text: {"gitops": flux(HTTPS, path=text)},
        "branch": lambda text: {"gitops": {"flux": {"source": {"git": {"url": HTTPS, "ref": {"branch": text}}}, "path": "a"}}},
    }
    found = [
        Attempt(f"{text!r} as {place}", own("injection", **spec(text)), (place.rpartition(".")[2],))
        for place, spec in places.items()
        for text in PAYLOADS
    ]
    # AWS allows spaces, '/', '-' and '=' in tags.
    in_tags = [text for text in PAYLOADS if text not in ("a b", "../../etc/passwd", "-o=x")]
    for text in in_tags:
        found.append(Attempt(f"{text!r} as key of a tag", own("injection", tags={text: "x"}), ("spec.tags",)))
        found.append(Attempt(f"{text!r} as value of a tag", own("injection", tags={"team": text}), ("spec.tags",)))
    reserved = ("keelson.dev/owner", "keelson.dev/cluster", "aws:eks:cluster-name", "kubernetes.io/cluster/vault", "Name")
    found += [Attempt(f"the tag {key}", own("injection", tags={key: "x"}), ("spec.tags", "choose another key")) for key in reserved]
    return found
