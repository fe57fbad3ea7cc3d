"""Every kind of source and of credentials that Flux can have: with the real source-controller, against real servers.

One cluster follows one after the other, so each step is also the change from the one before it.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
import yaml

from fleet.manifests import cluster, key_of, secret
from fleet.environment import Environment, environment, until
from keelson_harness import confidential
from keelson_harness.git import GitServer, Repository
from keelson_harness.pki import Authority
from keelson_harness.paths import tools
from keelson_harness.registry import Registry
from keelson_harness.ssh import SshServer
from sources import age, sops
from sources.ecr import KEY_ID, Ecr
from sources.github import github
from sources.signing import Author, Cosigner

FLUX = "flux-system"
SOURCE = "source.toolkit.fluxcd.io/v1"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"
PATH = "clusters/sources"
BRANCH = {"branch": "main"}
COMPONENTS = ["source-controller", "kustomize-controller"]
USER, PASSWORD = "reader", "password-8d1f"
BEARER = "bearer-3e9a7c"
APP_TOKEN = "ghs_app-token-52d0"
PULLER, PULL = "puller", "pull-5f3a"
# Of that password, by bcrypt: the registry takes nothing else.
HTPASSWD = "puller:$2b$05$keelsonkeelsonkeelson.zLsOYN3yguS0gNxXr4YP0NKrxZQ4RHW"
DOCKER = "kubernetes.io/dockerconfigjson"


class Follower:
    """The cluster, whose source is exchanged."""

    def __init__(self, on: Environment):
        self.on = on
        self.item = self.with_source({})
        self._hurried = time.monotonic()

    def with_source(self, source: dict, addons: list | None = None, **flux: object) -> dict:
        for kind in source.values():
            kind.setdefault("interval", "2s")
        agent = {"components": COMPONENTS, "source": source, "path": PATH, **flux}
        item = cluster("sources", addons=addons or [{"name": "vpc-cni"}], gitops={"flux": agent})
        self.item = item
        return item

    def follow(self, source: dict, revision: str, *secrets: dict, **flux: object) -> dict:
        """Until that revision is applied from there; returns status.gitops."""
        self.on.apply(*secrets, self.with_source(source, **flux))
        url = next(iter(source.values()))["url"]

        def applied() -> dict | None:
            self.hurry()
            found = self.on.status(self.item).get("gitops", {})
            at = found.get("lastAppliedRevision", "")
            return found if found.get("url") == url and revision in at else None

        try:
            return until(applied, 40, f"{revision} of {url}")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.on.describe(self.item)}") from None

    def fails(
        self, source: dict, *words: str, secrets: tuple[dict, ...] = (), **flux: object
    ) -> str:
        """Until GitOpsReady says SyncFailed in these words; returns the message."""
        self.on.apply(*secrets)
        self.with_source(source, **flux)
        return self.fails_as_it_is(*words)

    def fails_as_it_is(self, *words: str) -> str:
        self.on.apply(self.item)

        def told() -> str:
            self.hurry()
            found = self.on.condition(self.item, "GitOpsReady")
            message = found.get("message", "")
            as_told = found.get("reason") == "SyncFailed" and all(word in message for word in words)
            return message if as_told else ""

        try:
            return until(told, 40, f"SyncFailed with {words}")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.on.describe(self.item)}") from None

    def hurry(self) -> None:
        """As `flux reconcile source` does, and its like of ours: after failures both pause before they look again."""
        now = time.monotonic()
        if now - self._hurried < 2:
            return
        self._hurried = now
        self.on.api.patch(*key_of(self.item)[:3], annotation("keelson.dev/reconcile-at", now))
        for kind in ("GitRepository", "OCIRepository"):
            if self.source(kind):
                asked = annotation("reconcile.fluxcd.io/requestedAt", now)
                self.on.cloud.workload.api.patch(SOURCE, kind, FLUX, asked, FLUX)

    def workload(self, kind: str, name: str = FLUX, version: str = "v1") -> dict | None:
        return self.on.cloud.workload.api.find(version, kind, name, FLUX)

    def source(self, kind: str = "GitRepository") -> dict | None:
        return self.workload(kind, version=SOURCE)

    def kustomization(self) -> dict:
        return self.workload("Kustomization", version=KUSTOMIZE)

    def word(self) -> str:
        """What the manifests from the source say in the cluster."""
        found = self.on.cloud.workload.api.find("v1", "ConfigMap", "word", "default")
        return found["data"]["word"] if found else ""


def annotation(name: str, value: object) -> dict:
    return {"metadata": {"annotations": {name: str(value)}}}


def manifests(word: str) -> dict[str, str]:
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "word", "namespace": "default"},
        "data": {"word": word},
    }
    return {f"{PATH}/word.yaml": yaml.safe_dump(item)}


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        started.start("--drift-interval=2s")
        yield started


@pytest.fixture(scope="module")
def cluster_(on) -> Follower:
    return Follower(on)


@pytest.fixture(scope="module")
def authority(on) -> Authority:
    return Authority(on.cloud.directory / "private-ca", "private-authority")


@pytest.fixture
def served(on, authority, request):
    """A function that starts a Git server over TLS and returns a repository on it."""
    started: list[GitServer] = []

    def serve(name: str, **options: object) -> Repository:
        tls = authority.serving(name)
        server = GitServer(on.cloud.directory / f"git-{name}", tls=tls, **options)
        started.append(server)
        return server.repository(name)

    yield serve
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def registry(on):
    """Open to all, over the loopback's plain HTTP."""
    running = Registry(registry_tool(), on.cloud.directory / "registry")
    running.wait_ready()
    yield running
    running.stop()


def registry_tool() -> Path:
    return tools("registry")["registry"]


def git(repository: Repository, **more: object) -> dict:
    return {"git": {"url": repository.url, "ref": BRANCH, **more}}


def oci(registry: Registry, repository: str = "fleet", **more: object) -> dict:
    return {"oci": {"url": registry.url(repository), "ref": {"tag": "prod"}, **more}}


def named(name: str) -> dict:
    return {"secretRef": {"name": name}}


# Git, over HTTPS with an authority of one's own.


def test_a_private_authority_and_a_password(cluster_, served, authority):
    repository = served("password", credentials=(USER, PASSWORD))
    commit = repository.commit(manifests("by password"))
    keys = {"username": USER, "password": PASSWORD}
    without = secret("reader", **keys)
    cluster_.fails(git(repository, **named("reader")), "certificate", secrets=(without,))
    with_authority = secret("reader", **keys, **{"ca.crt": authority.cert_file.read_text()})
    cluster_.follow(git(repository, **named("reader")), commit, with_authority)
    assert cluster_.word() == "by password"


def test_a_bearer_token(cluster_, served, authority):
    repository = served("bearer", authorization=f"Bearer {BEARER}")
    commit = repository.commit(manifests("by bearer token"))
    token = secret("token", bearerToken=BEARER, **{"ca.crt": authority.cert_file.read_text()})
    cluster_.follow(git(repository, **named("token")), commit, token)
    assert cluster_.word() == "by bearer token"


def test_a_github_app(cluster_, served, authority):
    repository = served("app", credentials=("x-access-token", APP_TOKEN))
    commit = repository.commit(manifests("by GitHub App"))
    confidential.add(APP_TOKEN)
    with github(APP_TOKEN) as hub:
        app = secret("app", **hub.secret(), **{"ca.crt": authority.cert_file.read_text()})
        cluster_.follow(git(repository, **named("app")), commit, app)
        assert hub.asked
    assert cluster_.source()["spec"]["provider"] == "github"
    assert cluster_.word() == "by GitHub App"


# Git, over SSH.


def test_ssh_with_the_hosts_key(on, cluster_):
    repository = on.cloud.git.repository("by-ssh")
    commit = repository.commit(manifests("by SSH"))
    server = SshServer(on.cloud.git.directory / "served")
    source = {"git": {"url": server.url("by-ssh"), "ref": BRANCH, **named("deploy-key")}}
    try:
        wrong = secret("deploy-key", identity=server.identity, known_hosts=server.wrong_known_hosts())
        cluster_.fails(source, "knownhosts: key mismatch", secrets=(wrong,))
        right = secret("deploy-key", identity=server.identity, known_hosts=server.known_hosts)
        cluster_.follow(source, commit, right)
    finally:
        server.stop()
    assert cluster_.word() == "by SSH"
    assert "provider" not in cluster_.source()["spec"]


# Signatures of commits.


def test_only_what_the_author_signed_is_applied(on, cluster_):
    repository = on.cloud.git.repository("signed")
    author, other = (Author(on.cloud.directory, name) for name in ("author", "other"))
    keys = secret("authors", use="verification", **{"author.sshpub": author.public})
    source = git(repository, verify={"mode": "HEAD", **named("authors")})
    repository.signing_key = other.key_file
    repository.commit(manifests("signed by another"))
    cluster_.fails(source, "signature", secrets=(keys,))
    repository.signing_key = author.key_file
    commit = repository.commit(manifests("signed by the author"), tag="v1.0.0")
    cluster_.follow(source, commit)
    assert cluster_.word() == "signed by the author"
    assert cluster_.source()["spec"]["verify"] == {"mode": "HEAD", "secretRef": {"name": "authors"}}


def test_tag_and_commit_must_be_signed_where_both_are_asked_for(on, cluster_):
    repository = on.cloud.git.repository("tagged")
    author = Author(on.cloud.directory, "tagger")
    keys = secret("authors", use="verification", **{"author.sshpub": author.public})
    both = {"mode": "TagAndHEAD", **named("authors")}
    source = {"git": {"url": repository.url, "ref": {"semver": "1.x"}, "verify": both}}
    repository.signing_key = author.key_file
    commit = repository.commit(manifests("a signed tag"), tag="v1.0.0")
    cluster_.follow(source, commit, keys)
    repository.signing_key = None
    repository.commit(manifests("an unsigned tag"), tag="v1.1.0")
    cluster_.fails(source, "v1.1.0")
    assert cluster_.word() == "a signed tag"


# OCI artifacts.

CHILD = {
    "apiVersion": KUSTOMIZE,
    "kind": "Kustomization",
    "metadata": {"name": "child", "namespace": FLUX},
    "spec": {
        "interval": "10m",
        "path": f"./{PATH}",
        "prune": False,
        "suspend": True,
        "sourceRef": {"kind": "GitRepository", "name": FLUX},
    },
}


def test_an_artifact_takes_the_place_of_a_repository_and_gives_it_back(on, cluster_, registry):
    repository = on.cloud.git.repository("before")
    commit = repository.commit(manifests("from Git"))
    cluster_.follow(git(repository), commit)
    # Somebody's own, from the same repository.
    on.cloud.workload.api.apply(CHILD)
    digest = registry.push("fleet", "prod", manifests("from an artifact"))
    cluster_.follow(oci(registry), digest)
    assert cluster_.word() == "from an artifact"
    reference = cluster_.kustomization()["spec"]["sourceRef"]
    assert reference == {"kind": "OCIRepository", "name": FLUX}
    assert "insecure" not in cluster_.source("OCIRepository")["spec"]
    on.ready(cluster_.item)
    assert cluster_.source(), "it went while something refers to it"
    on.cloud.workload.api.delete(KUSTOMIZE, "Kustomization", "child", FLUX)

    def gone() -> bool:
        cluster_.hurry()
        return cluster_.source() is None

    until(gone, 20, "the repository that nothing refers to any more to go")

    digest = registry.push("fleet", "prod", manifests("the next artifact"))
    cluster_.follow(oci(registry), digest)
    on.ready(cluster_.item)

    cluster_.follow(git(repository), commit)
    assert cluster_.word() == "from Git"
    until(lambda: cluster_.source("OCIRepository") is None, 20, "the artifact's source to go")


def test_an_artifact_by_range_and_by_digest(cluster_, registry):
    old = registry.push("versions", "1.0.0", manifests("one"))
    new = registry.push("versions", "1.4.0", manifests("one and a bit"))
    registry.push("versions", "2.0.0", manifests("two"))
    url = registry.url("versions")
    cluster_.follow({"oci": {"url": url, "ref": {"semver": ">=1.0.0 <2.0.0"}}}, new)
    assert cluster_.word() == "one and a bit"
    cluster_.follow({"oci": {"url": url, "ref": {"digest": old}}}, old)
    assert cluster_.word() == "one"


def test_a_registry_with_a_login_and_an_authority_of_its_own(on, cluster_, authority):
    tls = authority.serving("registry")
    login, ca_file = (PULLER, PULL), authority.cert_file
    directory = on.cloud.directory / "closed"
    running = Registry(registry_tool(), directory, tls, HTPASSWD, login, ca_file)
    running.wait_ready()
    try:
        digest = running.push("fleet", "prod", manifests("by login"))
        certificate = secret("registry-ca", use="registry", **{"ca.crt": authority.cert_file.read_text()})
        trusted = {"certSecretRef": {"name": "registry-ca"}}
        cluster_.fails(oci(running, **trusted), "UNAUTHORIZED", secrets=(certificate,))
        login = base64.b64encode(f"{PULLER}:{PULL}".encode()).decode()
        config = json.dumps({"auths": {running.address: {"auth": login}}})
        pull = secret("pull", use="registry", **{".dockerconfigjson": config}) | {"type": DOCKER}
        cluster_.follow(oci(running, **trusted, **named("pull")), digest, pull)
    finally:
        running.stop()
    assert cluster_.word() == "by login"
    assert cluster_.workload("Secret", "pull")["type"] == DOCKER


def test_only_an_artifact_that_is_signed_is_applied(cluster_, registry):
    signer, other = Cosigner(), Cosigner()
    keys = secret("signers", use="verification", **{"signer.pub": signer.public})
    source = oci(registry, "signed", verify={"provider": "cosign", **named("signers")})
    digest = registry.push("signed", "prod", manifests("signed by another"))
    other.sign(registry, "signed", digest)
    cluster_.fails(source, "signature", secrets=(keys,))
    digest = registry.push("signed", "prod", manifests("signed"))
    signer.sign(registry, "signed", digest)
    cluster_.follow(source, digest)
    assert cluster_.word() == "signed"


# Secrets kept in the source.


def test_an_encrypted_secret_is_there_in_the_open(on, cluster_):
    repository = on.cloud.git.repository("encrypted")
    hidden = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hidden", "namespace": "default"},
        "stringData": {"word": "in the open only here"},
    }
    sealed = sops.encrypt(hidden, 7)
    assert "in the open" not in json.dumps(sealed)
    files = {f"{PATH}/hidden.yaml": yaml.safe_dump(sealed, sort_keys=False)}
    commit = repository.commit(files)
    key = secret("sops-age", use="decryption", **{"keys.agekey": age.identity(7)})
    decryption = {"provider": "sops", "secretRef": {"name": "sops-age"}}
    cluster_.follow(git(repository), commit, key, decryption=decryption)
    found = on.cloud.workload.api.get("v1", "Secret", "hidden", "default")
    assert base64.b64decode(found["data"]["word"]) == b"in the open only here"


# Every field.


ASKED = {
    "url": "https://git.invalid/fleet",
    "ref": {"name": "refs/heads/main"},
    "interval": "3s",
    "secretRef": {"name": FLUX},
    "proxySecretRef": {"name": "egress-proxy"},
    "verify": {"mode": "HEAD", "secretRef": {"name": "authors"}},
}
# That it must be there is the default of Flux's own schema.
FACTS = {"kind": "ConfigMap", "name": "keelson-cluster-facts", "optional": False}
ROOT = {
    "interval": "7m",
    "retryInterval": "1m",
    "path": f"./{PATH}",
    "prune": False,
    "deletionPolicy": "Orphan",
    "sourceRef": {"kind": "GitRepository", "name": FLUX},
    "postBuild": {"substituteFrom": [FACTS]},
    "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
}


def test_every_field_is_in_the_objects_of_flux_and_leaves_them_with_the_spec(on, cluster_):
    source = {"git": {**ASKED, "secretRef": {"name": "reader"}}}
    decryption = {"provider": "sops", "secretRef": {"name": "sops-age"}}
    on.apply(
        secret("sops-age", use="decryption", **{"keys.agekey": age.identity(7)}),
        secret("egress-proxy", use="proxy", address="http://proxy.invalid:3128"),
        secret("authors", use="verification", **{"author.sshpub": "ssh-ed25519 AAAA"}),
        secret("reader", username=USER, password=PASSWORD),
    )
    on.apply(cluster_.with_source(source, interval="7m", prune=False, decryption=decryption))

    def has(found: dict | None, wanted: dict) -> bool:
        return bool(found) and {key: found["spec"].get(key) for key in wanted} == wanted

    until(lambda: has(cluster_.source(), ASKED), 30, "the repository as asked for")
    until(lambda: has(cluster_.kustomization(), ROOT), 20, "the root as asked for")
    assert cluster_.workload("ConfigMap", "keelson-cluster-facts")["data"]["CLUSTER_NAME"] == "sources"
    copied = {"egress-proxy", "authors", "sops-age", FLUX}
    secrets = on.cloud.workload.api.list("v1", "Secret", FLUX)
    assert {one["metadata"]["name"] for one in secrets} == copied

    plain = {"git": {"url": ASKED["url"], "ref": BRANCH}}
    on.apply(cluster_.with_source(plain, facts=False))
    left = {"postBuild", "decryption"}
    until(lambda: not left & set(cluster_.kustomization()["spec"]), 20, "facts and keys to be left out")
    assert cluster_.kustomization()["spec"]["prune"] is True
    assert cluster_.source()["spec"]["ref"] == BRANCH
    assert not {"secretRef", "proxySecretRef", "verify"} & set(cluster_.source()["spec"])
    until(lambda: on.cloud.workload.api.list("v1", "Secret", FLUX) == [], 20, "the copies to go")


# ECR.


@pytest.fixture(scope="module")
def ecr(on, authority):
    running = Ecr(registry_tool(), on.cloud.directory / "ecr", authority)
    yield running
    running.stop()


def associations(on: Environment) -> list[dict]:
    return on.account().eks.list_pod_identity_associations(clusterName="sources")["associations"]


def test_an_ecr_registry_is_pulled_from_by_an_identity_that_comes_and_goes_with_the_source(
    on, cluster_, authority, ecr
):
    on.cloud.source_identity = ecr.identity_where(lambda: associations(on))
    digest = ecr.registry.push("fleet", "prod", manifests("from ECR"))
    repository = on.cloud.git.repository("before-ecr")
    commit = repository.commit(manifests("before ECR"))
    # source-controller runs already, and has no identity.
    cluster_.follow(git(repository), commit)
    mark = on.mark()
    on.apply(
        secret("registry-ca", use="registry", **{"ca.crt": authority.cert_file.read_text()}),
        secret("way-to-ecr", use="proxy", address=ecr.proxy),
    )
    source = {"oci": {"url": ecr.url, "ref": {"tag": "prod"}, "provider": "aws"}}
    source["oci"] |= {"certSecretRef": {"name": "registry-ca"}, "proxySecretRef": {"name": "way-to-ecr"}}
    with_agent = [{"name": "vpc-cni"}, {"name": "eks-pod-identity-agent"}]

    on.apply(cluster_.with_source(source))
    on.await_condition(cluster_.item, "Stalled", reason="InvalidSpec")
    assert "eks-pod-identity-agent" in on.condition(cluster_.item, "Stalled")["message"]
    assert on.writes(mark) == []

    cluster_.follow(source, digest, addons=with_agent)
    assert cluster_.word() == "from ECR"
    assert set(ecr.logins) == {KEY_ID}
    eks, iam = on.account().eks, on.account().iam
    (listed,) = associations(on)
    assert (listed["namespace"], listed["serviceAccount"]) == (FLUX, "source-controller")
    of = {"clusterName": "sources", "associationId": listed["associationId"]}
    role = eks.describe_pod_identity_association(**of)["association"]["roleArn"].rsplit("/", 1)[1]
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonEC2ContainerRegistryPullOnly"]

    cluster_.follow(git(repository), commit, addons=with_agent)
    until(lambda: associations(on) == [], 20, "the association to go")
    on.delete(cluster_.item)
    assert role not in [one["RoleName"] for one in iam.list_roles()["Roles"]]
