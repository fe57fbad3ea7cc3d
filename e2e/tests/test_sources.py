"""Every kind of source and credentials that Flux supports: with the real source-controller, against real servers.

One cluster uses one source after another, so each test also covers the change from the previous source.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from fleet.manifests import secret
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
from sources.source_cluster import FLUX, KUSTOMIZE, PATH, SourceCluster, manifests

BRANCH = {"branch": "main"}
USER, PASSWORD = "reader", "password-8d1f"
BEARER = "bearer-3e9a7c"
APP_TOKEN = "ghs_app-token-52d0"
PULLER, PULL = "puller", "pull-5f3a"
# The bcrypt hash of that password: the registry accepts no other kind.
HTPASSWD = "puller:$2b$05$keelsonkeelsonkeelson.zLsOYN3yguS0gNxXr4YP0NKrxZQ4RHW"
DOCKER = "kubernetes.io/dockerconfigjson"


@pytest.fixture(scope="module")
def on():
    with environment() as started:
        started.start("--drift-interval=2s")
        yield started


@pytest.fixture(scope="module")
def source_cluster(on) -> SourceCluster:
    return SourceCluster(on)


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
    """Without authentication, over plain HTTP on loopback."""
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


def secret_ref(name: str) -> dict:
    return {"secretRef": {"name": name}}


# Git over HTTPS with a private CA


def test_git_over_https_with_private_ca_and_password(source_cluster, served, authority):
    repository = served("password", credentials=(USER, PASSWORD))
    commit = repository.commit(manifests("by password"))
    keys = {"username": USER, "password": PASSWORD}
    without = secret("reader", **keys)
    source_cluster.fails(git(repository, **secret_ref("reader")), "certificate", secrets=(without,))
    with_authority = secret("reader", **keys, **{"ca.crt": authority.cert_file.read_text()})
    source_cluster.sync_from(git(repository, **secret_ref("reader")), commit, with_authority)
    assert source_cluster.text() == "by password"


def test_git_with_bearer_token(source_cluster, served, authority):
    repository = served("bearer", authorization=f"Bearer {BEARER}")
    commit = repository.commit(manifests("by bearer token"))
    token = secret("token", bearerToken=BEARER, **{"ca.crt": authority.cert_file.read_text()})
    source_cluster.sync_from(git(repository, **secret_ref("token")), commit, token)
    assert source_cluster.text() == "by bearer token"


def test_git_with_github_app(source_cluster, served, authority):
    repository = served("app", credentials=("x-access-token", APP_TOKEN))
    commit = repository.commit(manifests("by GitHub App"))
    confidential.add(APP_TOKEN)
    with github(APP_TOKEN) as hub:
        app = secret("app", **hub.secret(), **{"ca.crt": authority.cert_file.read_text()})
        source_cluster.sync_from(git(repository, **secret_ref("app")), commit, app)
        assert hub.requested
    assert source_cluster.source()["spec"]["provider"] == "github"
    assert source_cluster.text() == "by GitHub App"


# Git over SSH


def test_git_over_ssh_with_host_key(on, source_cluster):
    repository = on.cloud.git.repository("by-ssh")
    commit = repository.commit(manifests("by SSH"))
    server = SshServer(on.cloud.git.directory / "served")
    source = {"git": {"url": server.url("by-ssh"), "ref": BRANCH, **secret_ref("deploy-key")}}
    try:
        wrong = secret("deploy-key", identity=server.identity, known_hosts=server.wrong_known_hosts())
        source_cluster.fails(source, "knownhosts: key mismatch", secrets=(wrong,))
        right = secret("deploy-key", identity=server.identity, known_hosts=server.known_hosts)
        source_cluster.sync_from(source, commit, right)
    finally:
        server.stop()
    assert source_cluster.text() == "by SSH"
    assert "provider" not in source_cluster.source()["spec"]


# Signatures of commits


def test_only_commits_signed_by_the_author_are_applied(on, source_cluster):
    repository = on.cloud.git.repository("signed")
    author, other = (Author(on.cloud.directory, name) for name in ("author", "other"))
    keys = secret("authors", use="verification", **{"author.sshpub": author.public})
    source = git(repository, verify={"mode": "HEAD", **secret_ref("authors")})
    repository.signing_key = other.key_file
    repository.commit(manifests("signed by another"))
    source_cluster.fails(source, "signature", secrets=(keys,))
    repository.signing_key = author.key_file
    commit = repository.commit(manifests("signed by the author"), tag="v1.0.0")
    source_cluster.sync_from(source, commit)
    assert source_cluster.text() == "signed by the author"
    assert source_cluster.source()["spec"]["verify"] == {"mode": "HEAD", "secretRef": {"name": "authors"}}


def test_tag_and_head_verification_requires_both_signatures(on, source_cluster):
    repository = on.cloud.git.repository("tagged")
    author = Author(on.cloud.directory, "tagger")
    keys = secret("authors", use="verification", **{"author.sshpub": author.public})
    both = {"mode": "TagAndHEAD", **secret_ref("authors")}
    source = {"git": {"url": repository.url, "ref": {"semver": "1.x"}, "verify": both}}
    repository.signing_key = author.key_file
    commit = repository.commit(manifests("a signed tag"), tag="v1.0.0")
    source_cluster.sync_from(source, commit, keys)
    repository.signing_key = None
    repository.commit(manifests("an unsigned tag"), tag="v1.1.0")
    source_cluster.fails(source, "v1.1.0")
    assert source_cluster.text() == "a signed tag"


# OCI artifacts

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


def test_source_changes_from_git_to_oci_and_back(on, source_cluster, registry):
    repository = on.cloud.git.repository("before")
    commit = repository.commit(manifests("from Git"))
    source_cluster.sync_from(git(repository), commit)
    # A user's own Kustomization that uses the same GitRepository.
    on.cloud.workload.api.apply(CHILD)
    digest = registry.push("fleet", "prod", manifests("from an artifact"))
    source_cluster.sync_from(oci(registry), digest)
    assert source_cluster.text() == "from an artifact"
    reference = source_cluster.kustomization()["spec"]["sourceRef"]
    assert reference == {"kind": "OCIRepository", "name": FLUX}
    assert "insecure" not in source_cluster.source("OCIRepository")["spec"]
    on.ready(source_cluster.item)
    assert source_cluster.source(), "deleted while another object refers to it"
    on.cloud.workload.api.delete(KUSTOMIZE, "Kustomization", "child", FLUX)

    def is_deleted() -> bool:
        source_cluster.request_reconcile()
        return source_cluster.source() is None

    until(is_deleted, 20, "the deletion of the GitRepository without references")

    digest = registry.push("fleet", "prod", manifests("the next artifact"))
    source_cluster.sync_from(oci(registry), digest)
    on.ready(source_cluster.item)

    source_cluster.sync_from(git(repository), commit)
    assert source_cluster.text() == "from Git"
    until(lambda: source_cluster.source("OCIRepository") is None, 20, "the deletion of the OCIRepository")


def test_oci_artifact_by_semver_range_and_digest(source_cluster, registry):
    old = registry.push("versions", "1.0.0", manifests("one"))
    new = registry.push("versions", "1.4.0", manifests("one and a bit"))
    registry.push("versions", "2.0.0", manifests("two"))
    url = registry.url("versions")
    source_cluster.sync_from({"oci": {"url": url, "ref": {"semver": ">=1.0.0 <2.0.0"}}}, new)
    assert source_cluster.text() == "one and a bit"
    source_cluster.sync_from({"oci": {"url": url, "ref": {"digest": old}}}, old)
    assert source_cluster.text() == "one"


def test_oci_registry_with_login_and_private_ca(on, source_cluster, authority):
    tls = authority.serving("registry")
    login, ca_file = (PULLER, PULL), authority.cert_file
    directory = on.cloud.directory / "closed"
    running = Registry(registry_tool(), directory, tls, HTPASSWD, login, ca_file)
    running.wait_ready()
    try:
        digest = running.push("fleet", "prod", manifests("by login"))
        certificate = secret("registry-ca", use="registry", **{"ca.crt": authority.cert_file.read_text()})
        trusted = {"certSecretRef": {"name": "registry-ca"}}
        source_cluster.fails(oci(running, **trusted), "UNAUTHORIZED", secrets=(certificate,))
        login = base64.b64encode(f"{PULLER}:{PULL}".encode()).decode()
        config = json.dumps({"auths": {running.address: {"auth": login}}})
        pull = secret("pull", use="registry", **{".dockerconfigjson": config}) | {"type": DOCKER}
        source_cluster.sync_from(oci(running, **trusted, **secret_ref("pull")), digest, pull)
    finally:
        running.stop()
    assert source_cluster.text() == "by login"
    assert source_cluster.workload("Secret", "pull")["type"] == DOCKER


def test_only_signed_artifacts_are_applied(source_cluster, registry):
    signer, other = Cosigner(), Cosigner()
    keys = secret("signers", use="verification", **{"signer.pub": signer.public})
    source = oci(registry, "signed", verify={"provider": "cosign", **secret_ref("signers")})
    digest = registry.push("signed", "prod", manifests("signed by another"))
    other.sign(registry, "signed", digest)
    source_cluster.fails(source, "signature", secrets=(keys,))
    digest = registry.push("signed", "prod", manifests("signed"))
    signer.sign(registry, "signed", digest)
    source_cluster.sync_from(source, digest)
    assert source_cluster.text() == "signed"


# Secrets in the source


def test_encrypted_secret_is_decrypted_in_the_cluster(on, source_cluster):
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
    source_cluster.sync_from(git(repository), commit, key, decryption=decryption)
    found = on.cloud.workload.api.get("v1", "Secret", "hidden", "default")
    assert base64.b64decode(found["data"]["word"]) == b"in the open only here"


# What is fetched


def test_only_the_listed_directories_are_checked_out(on, source_cluster):
    repository = on.cloud.git.repository("sparse")
    commit = repository.commit({**manifests("sparse"), "other/readme.md": "not for this cluster"})
    source_cluster.fails(git(repository, sparseCheckout=["other"]), "path not found")
    source_cluster.sync_from(git(repository, sparseCheckout=[PATH], timeout="20s"), commit)
    assert source_cluster.text() == "sparse"
    assert source_cluster.source()["status"]["observedSparseCheckout"] == [PATH]


# Every field


EXPECTED_SOURCE = {
    "url": "https://git.invalid/fleet",
    "ref": {"name": "refs/heads/main"},
    "interval": "3s",
    "timeout": "1m30s",
    "sparseCheckout": [PATH],
    "recurseSubmodules": True,
    "secretRef": {"name": FLUX},
    "proxySecretRef": {"name": "egress-proxy"},
    "verify": {"mode": "HEAD", "secretRef": {"name": "authors"}},
}
# `optional: False` is the default of Flux's schema.
FACTS_REFERENCE = {"kind": "ConfigMap", "name": "keelson-cluster-facts", "optional": False}
EXPECTED_ROOT = {
    "interval": "7m",
    "retryInterval": "1m",
    "path": f"./{PATH}",
    "prune": False,
    "deletionPolicy": "Orphan",
    "sourceRef": {"kind": "GitRepository", "name": FLUX},
    "postBuild": {"substituteFrom": [FACTS_REFERENCE]},
    "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
}


def test_every_field_is_set_in_flux_objects_and_removed_with_the_spec_field(on, source_cluster):
    source = {"git": {**EXPECTED_SOURCE, "secretRef": {"name": "reader"}}}
    decryption = {"provider": "sops", "secretRef": {"name": "sops-age"}}
    on.apply(
        secret("sops-age", use="decryption", **{"keys.agekey": age.identity(7)}),
        secret("egress-proxy", use="proxy", address="http://proxy.invalid:3128"),
        secret("authors", use="verification", **{"author.sshpub": "ssh-ed25519 AAAA"}),
        secret("reader", username=USER, password=PASSWORD),
    )
    on.apply(source_cluster.with_source(source, interval="7m", prune=False, decryption=decryption))

    def has(found: dict | None, wanted: dict) -> bool:
        return bool(found) and {key: found["spec"].get(key) for key in wanted} == wanted

    until(lambda: has(source_cluster.source(), EXPECTED_SOURCE), 30, "the GitRepository as in the spec")
    until(lambda: has(source_cluster.kustomization(), EXPECTED_ROOT), 20, "the root Kustomization as in the spec")
    assert source_cluster.workload("ConfigMap", "keelson-cluster-facts")["data"]["CLUSTER_NAME"] == "sources"
    copied = {"egress-proxy", "authors", "sops-age", FLUX}
    secrets = on.cloud.workload.api.list("v1", "Secret", FLUX)
    assert {one["metadata"]["name"] for one in secrets} == copied

    plain = {"git": {"url": EXPECTED_SOURCE["url"], "ref": BRANCH}}
    on.apply(source_cluster.with_source(plain, facts=False))
    removed_fields = {"postBuild", "decryption"}
    until(lambda: not removed_fields & set(source_cluster.kustomization()["spec"]), 20, "the removal of facts and decryption")
    assert source_cluster.kustomization()["spec"]["prune"] is True
    assert source_cluster.source()["spec"]["ref"] == BRANCH
    removed = {"secretRef", "proxySecretRef", "verify", "sparseCheckout", "recurseSubmodules"}
    assert not removed & set(source_cluster.source()["spec"])
    # The default of Flux's schema.
    assert source_cluster.source()["spec"]["timeout"] == "60s"
    until(lambda: on.cloud.workload.api.list("v1", "Secret", FLUX) == [], 20, "the deletion of the copies")


# ECR


@pytest.fixture(scope="module")
def ecr(on, authority):
    running = Ecr(registry_tool(), on.cloud.directory / "ecr", authority)
    yield running
    running.stop()


def associations(on: Environment) -> list[dict]:
    return on.account().eks.list_pod_identity_associations(clusterName="sources")["associations"]


def test_ecr_pull_uses_a_pod_identity_that_exists_only_with_the_source(
    on, source_cluster, authority, ecr
):
    on.cloud.source_identity = ecr.identity_where(lambda: associations(on))
    digest = ecr.registry.push("fleet", "prod", manifests("from ECR"))
    repository = on.cloud.git.repository("before-ecr")
    commit = repository.commit(manifests("before ECR"))
    # source-controller is already running, without credentials.
    source_cluster.sync_from(git(repository), commit)
    mark = on.mark()
    on.apply(
        secret("registry-ca", use="registry", **{"ca.crt": authority.cert_file.read_text()}),
        secret("way-to-ecr", use="proxy", address=ecr.proxy),
    )
    source = {"oci": {"url": ecr.url, "ref": {"tag": "prod"}, "provider": "aws"}}
    source["oci"] |= {"certSecretRef": {"name": "registry-ca"}, "proxySecretRef": {"name": "way-to-ecr"}}
    with_agent = [{"name": "vpc-cni"}, {"name": "eks-pod-identity-agent"}]

    on.apply(source_cluster.with_source(source))
    on.await_condition(source_cluster.item, "Stalled", reason="InvalidSpec")
    assert "eks-pod-identity-agent" in on.condition(source_cluster.item, "Stalled")["message"]
    assert on.writes(mark) == []

    source_cluster.sync_from(source, digest, addons=with_agent)
    assert source_cluster.text() == "from ECR"
    assert set(ecr.logins) == {KEY_ID}
    eks, iam = on.account().eks, on.account().iam
    (listed,) = associations(on)
    assert (listed["namespace"], listed["serviceAccount"]) == (FLUX, "source-controller")
    of = {"clusterName": "sources", "associationId": listed["associationId"]}
    role = eks.describe_pod_identity_association(**of)["association"]["roleArn"].rsplit("/", 1)[1]
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonEC2ContainerRegistryPullOnly"]

    source_cluster.sync_from(git(repository), commit, addons=with_agent)
    until(lambda: associations(on) == [], 20, "the deletion of the association")
    on.delete(source_cluster.item)
    assert role not in [one["RoleName"] for one in iam.list_roles()["Roles"]]
