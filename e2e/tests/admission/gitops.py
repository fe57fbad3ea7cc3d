"""EksCluster, spec.gitops: sources and options of the agent."""

from . import Accepted, Rejected, at, merged

GIT = "gitops.flux.source.git"
ARTIFACT = {"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}}
BASE = {
    "region": "eu-west-1",
    "version": "1.34",
    "gitops": {
        "flux": {
            "source": {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}},
            "path": "clusters/demo",
        }
    },
}


def flux(path: str, value: object, advice: str) -> Rejected:
    return Rejected(at(f"gitops.flux.{path}", value), f"spec.gitops.flux.{path}", advice)


def url(value: str, advice: str) -> Rejected:
    return flux("source.git.url", value, advice)


def ref(advice: str, where: str = "", **fields: object) -> Rejected:
    change = at(f"{GIT}.ref", {"branch": None, **fields})
    return Rejected(change, f"spec.{GIT}.ref{where}", advice)


def oci(advice: str, where: str, **fields: object) -> Rejected:
    source = {**ARTIFACT, **fields}
    return Rejected(
        at("gitops.flux.source", {"git": None, "oci": source}),
        f"spec.gitops.flux.source.oci{where}",
        advice,
    )


KEYS = {"secretRef": {"name": "public-keys"}}
ANYBODY = [{"issuer": ".*", "subject": ".*"}]
ADDRESS = "link-local or metadata address"
SHAPE = "must be https://<host>/<path> or ssh://<user>@<host>/<path>"
PASSWORD = "must not contain a password or token"
ARGOCD = {
    "source": {"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}},
    "path": "clusters/demo",
}

FETCH = ({"timeout": "2m"}, {"sparseCheckout": ["clusters/demo"]}, {"recurseSubmodules": True})

# 169.254.169.254 and other metadata addresses, also in the notations that resolvers accept.
METADATA_HOSTS = [
    "169.254.169.254",
    "169.254.169.254:80",
    "169.254.170.2",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "user@169.254.169.254",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:169.254.169.254]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "metadata",
    "instance-data.ec2.internal",
    "instance-data",
    "0.0.0.0",
    "0",
    "224.0.0.1",
    "255.255.255.255",
]

INVALID = [
    *(url(f"https://{host}/latest/meta-data", ADDRESS) for host in METADATA_HOSTS),
    url("http://169.254.169.254/latest/meta-data", ADDRESS),
    url("ssh://git@169.254.169.254/acme/fleet", ADDRESS),
    url("file:///etc/passwd", SHAPE),
    url("git://github.com/acme/fleet", SHAPE),
    url("git@github.com:acme/fleet", "is written ssh://git@<host>/<path>"),
    url("ssh://git@github.com:acme/fleet", SHAPE),
    url("/srv/git/fleet", SHAPE),
    url("https://github.com", SHAPE),
    url("https:///fleet", SHAPE),
    url("https://%31%36%39.254.169.254/fleet", SHAPE),
    url("https://１６９.254.169.254/fleet", SHAPE),
    url("ssh://-oProxyCommand=id/fleet", SHAPE),
    url("ssh://-oProxyCommand=id@github.com/fleet", SHAPE),
    url("ext::sh -c id", SHAPE),
    url("https://github.com/acme/$(id)", SHAPE),
    url("https://github.com/acme/fleet?x=1#y", SHAPE),
    url("https://github.com/acme/fleet\n", SHAPE),
    url("https://me:token@github.com/acme/fleet", PASSWORD),
    url("https://:token@github.com/acme/fleet", PASSWORD),
    url("https://github.com/" + "a" * 2048, "Too long"),
    flux("path", "/clusters/demo", "relative"),
    flux("path", "../other", "without '..'"),
    flux("path", "clusters/../../other", "without '..'"),
    flux("path", "clusters\\demo", "relative"),
    flux("path", "clusters/demo; id", "relative"),
    flux("path", "", "relative"),
    flux("interval", "10", "such as 30s"),
    flux("interval", "0s", "at least 1s"),
    flux("source.git.interval", "10ms", "at least 1s"),
    flux("source.git.timeout", "1h", "such as 90s or 2m"),
    flux("source.git.timeout", "10ms", "at least 1s"),
    *(
        flux("source.git.sparseCheckout", [directory], "must be a directory inside the repository")
        for directory in ("../other", "clusters/../../other", "/clusters", "clusters/$(id)")
    ),
    oci("such as 90s or 2m", ".timeout", timeout="1h"),
    *(
        Rejected(
            at("gitops", {"flux": None, "argocd": {**ARGOCD, "source": source}}),
            "spec.gitops.argocd.source",
            "are Flux's",
        )
        for source in (
            *({"git": {**ARGOCD["source"]["git"], **field}} for field in FETCH),
            {"oci": {**ARTIFACT, "timeout": "2m"}},
        )
    ),
    flux("version", "2.9.5", "such as v2.9.5"),
    flux("registry", "https://ghcr.io/fluxcd/", "without scheme"),
    flux("components", ["source-controller"], "list both"),
    *(
        flux("components", ["source-controller", "kustomize-controller", name], "remove any other entry")
        for name in ("image-reflector-controller", "image-automation-controller", "source-watcher", "Helm-controller", "x; id")
    ),
    flux("imagePullSecretRef", {"name": "other/secret"}, "name of a Kubernetes object"),
    flux("source.git.secretRef", {"name": "../secret"}, "name of a Kubernetes object"),
    flux("source.git.secretRef", {}, "Required value"),
    flux("source", {"git": None}, "exactly one of git, oci must be set"),
    ref("exactly one of branch, tag, semver, commit, name must be set"),
    ref("exactly one of", branch="main", tag="v1"),
    ref("must be the name of a branch or tag", ".branch", branch="--upload-pack=id"),
    ref("must be the name of a branch or tag", ".branch", branch="a..b"),
    ref("must be the name of a branch or tag", ".tag", tag="a b"),
    ref("full SHA", ".commit", commit="abc1234"),
    ref("such as refs/heads/main", ".name", name="main"),
    ref("range of semantic versions", ".semver", semver="`id`"),
    oci("must be oci://<host>/<path>", ".url", url="https://ghcr.io/acme/fleet"),
    oci("must be oci://<host>/<path>", ".url", url="oci://ghcr.io/acme/fleet:prod"),
    oci(ADDRESS, ".url", url="oci://169.254.169.254/acme/fleet"),
    oci("exactly one of tag, semver, digest", ".ref", ref={"tag": "a", "semver": "1.x"}),
    oci("must be a tag", ".ref.tag", ref={"tag": "a b"}),
    oci("sha256: and 64", ".ref.digest", ref={"digest": "sha256:12"}),
    oci("takes the place of the provider's login", ".secretRef", provider="aws", **KEYS),
    oci("name the trusted signers", ".verify", verify={}),
    oci("name the trusted signers", ".verify", verify={**KEYS, "matchOIDCIdentity": ANYBODY}),
    oci("name the trusted signers", ".verify", verify={"matchOIDCIdentity": []}),
    oci(
        "name the trusted signers",
        ".verify",
        verify={"provider": "notation", "matchOIDCIdentity": ANYBODY},
    ),
    oci("must be cosign or notation", ".verify.provider", verify={"provider": "gpg", **KEYS}),
    flux("source.git.verify", {"mode": "HEAD"}, "Required value"),
    flux("source.git.verify", {"mode": "None", **KEYS}, "Unsupported value"),
    flux("source.git.verify", {"mode": "Tag", **KEYS}, "this mode verifies a tag"),
    flux("source.git.verify", {"mode": "TagAndHEAD", **KEYS}, "this mode verifies a tag"),
    Rejected(at("gitops.argocd", ARGOCD), "spec.gitops", "at most one of flux, argocd may be set"),
]

IMMUTABLE = [
    Rejected(
        at("gitops.argocd.namespace", "argo"),
        "spec.gitops.argocd.namespace",
        "put the old one back",
        at("gitops", {"flux": None, "argocd": ARGOCD}),
    ),
]

CHANGEABLE = [
    *(
        Accepted(at(f"{GIT}.url", address))
        for address in (
            "https://github.com/acme/fleet.git",
            "https://git.example.com:8443/~me/fleet",
            "https://acme@dev.azure.com/acme/_git/fleet",
            "https://10.1.2.3/acme/fleet",
            "https://[2001:db8::1]/acme/fleet",
            "https://metadata.example.com/acme/fleet",
            "https://0x.example.com/acme/fleet",
            "ssh://git@github.com/acme/fleet",
            "ssh://git@10.1.2.3:2222/acme/fleet",
            # The operator itself refuses these unless it is started with a flag that allows them.
            "http://127.0.0.1:8080/fleet",
            "http://[::1]:8080/fleet",
        )
    ),
    *(
        Accepted(at(f"{GIT}.ref", {"branch": None, **kind}))
        for kind in (
            {"branch": "feature/x-1"},
            {"tag": "v1.2.0"},
            {"semver": ">=1.0.0 <2.0.0 || ~3.1"},
            {"commit": "76087da78cdcec69b25c1392f6c5948b0bd320f5"},
            {"name": "refs/pull/420/head"},
        )
    ),
    Accepted(at(f"{GIT}.verify", KEYS)),
    *(
        Accepted(at(GIT, {"ref": {"branch": None, **ref}, "verify": {"mode": mode, **KEYS}}))
        for ref in ({"tag": "v1.2.0"}, {"semver": "1.x"}, {"name": "refs/tags/v1.2.0"})
        for mode in ("HEAD", "Tag", "TagAndHEAD")
    ),
    *(
        Accepted(at("gitops.flux.source", {"git": None, "oci": {**ARTIFACT, **more}}))
        for more in (
            {"provider": "aws"},
            {"timeout": "2m"},
            {"certSecretRef": {"name": "ca"}, "proxySecretRef": {"name": "proxy"}, **KEYS},
            {"verify": KEYS},
            {"verify": {"matchOIDCIdentity": ANYBODY}},
            {"verify": {"provider": "notation", **KEYS}},
        )
    ),
    *(Accepted(at("gitops.flux.path", path)) for path in ("./clusters/demo", ".", "a/b_c/1.0")),
    *(Accepted(at(GIT, field)) for field in (*FETCH, {"timeout": "1m30s"}, {"sparseCheckout": ["./clusters", "base..d/x"]})),
    Accepted(at("gitops.flux.interval", "1h30m")),
    Accepted(at("gitops.flux.registry", "mirror.acme.internal:5000/fluxcd")),
    Accepted({"gitops": None}),
    Accepted(merged(at("gitops.flux", None), at("gitops.argocd", ARGOCD))),
]
