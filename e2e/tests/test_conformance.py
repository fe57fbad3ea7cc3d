"""The conformance program, run against the emulator through its public endpoint: it asks, creates, deletes, records; the janitor deletes what is expired only.

The emulator is to this program what a real account is: it gets an endpoint and credentials, and nothing else.
"""

from __future__ import annotations

import datetime
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import requests

from conformance import costs, fixtures, scrub, tags
from conformance.account import AwsAccount
from conformance.fixtures import Fixture, Reply, compare
from conformance.proxy import Endpoint, RecordingProxy
from conformance.recorder import Recorder
from conformance.settings import Settings
from conformance.shapes import contradictions
from conformance_runs import E2E, Leftovers, conformance, conformance_on_terminal, counts, environment_of, start
from fleet.account import fresh_account
from fleet.environment import QUICK, until
from fleet.policy import actions, statements_of
from keelson_harness.aws import REGION, SECRET_KEY, Aws
from keelson_harness.cloud import LocalCloud
from keelson_harness.processes import Process

RUN_SECONDS = 200
PAST, FUTURE = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The account's AWS, with an API server that answers for its clusters."""
    with LocalCloud(git=False, flux=False, durations=QUICK) as cloud:
        yield cloud.aws


@dataclass
class Runs:
    """Three runs, each in its own account, concurrently: one to its end, one with Ctrl-C and one with kill -9 once its cluster existed."""

    folder: Path
    complete: str
    interrupted: str
    killed: str
    processes: dict[str, Process]

    def output(self, account: str) -> str:
        """The output of a run that has ended."""
        until(lambda: not self.processes[account].alive, RUN_SECONDS, "the end of the run")
        return (self.folder / account).read_text()


@pytest.fixture(scope="module")
def runs(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    accounts = [fresh_account() for _ in range(3)]
    more = (["--record", str(folder / "recorded")], [], ["--lifetime", "1s"])
    processes = {a: start(aws, a, folder / a, "run", "--yes", a, *options) for a, options in zip(accounts, more, strict=True)}
    found = Runs(folder, *accounts, processes)
    for account, number in ((found.interrupted, signal.SIGINT), (found.killed, signal.SIGKILL)):
        until(lambda account=account: "clusters" in counts(aws, account), RUN_SECONDS, "a cluster")
        processes[account].signal(number)
    yield found
    for process in processes.values():
        process.stop(RUN_SECONDS)


# The program


def test_nothing_is_created_without_the_right_account_id(aws):
    account = fresh_account()
    nobody_to_ask = conformance(aws, account, "run")
    wrong = conformance(aws, account, "run", "--yes", "999999999999")
    assert (nobody_to_ask.returncode, wrong.returncode) == (2, 2)
    assert f"--yes {account}" in nobody_to_ask.stderr and "nothing was done" in wrong.stderr
    shown = nobody_to_ask.stdout
    for expected in (account, REGION, "control plane", "NAT gateway", "$ a day", costs.PRICES_OF, "https://aws.amazon.com/eks/pricing/", tags.EXPIRES):
        assert expected in shown, shown
    assert [call for call in aws.calls(account=account) if call["write"]] == []


def test_missing_credentials_are_named(aws):
    done = conformance(aws, "", "run", "--yes", "123456789012")
    assert done.returncode == 2 and "no valid AWS credentials" in done.stderr, done.stderr


def test_run_passes_leaves_nothing_and_its_answers_match_the_fixtures(aws, runs):
    account, folder = runs.complete, runs.folder / "recorded"
    output = runs.output(account)
    assert runs.processes[account].returncode == 0, output[-6000:]
    assert " passed" in output and "failed" not in output, output[-3000:]
    assert counts(aws, account) == {}
    calls = aws.calls(account=account)
    assert {"CreateCluster", "CreateNodegroup", "UpdateClusterVersion", "UpdateNodegroupVersion", "DeleteCluster"} <= {c["action"] for c in calls}
    recorded = fixtures.load(folder)
    assert {f.recorded_from for f in recorded} == {"emulator"}
    assert [p for f in recorded for p in contradictions(f)] == []
    written = "".join(path.read_text() for path in folder.rglob("*.json"))
    assert SECRET_KEY not in written and account not in written
    checked = conformance(aws, account, "check", str(folder))
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith(f"{answers_in_both(recorded)} answers compared, 0 differences"), checked.stdout


def answers_in_both(recorded: list[Fixture]) -> int:
    """Answers that the stored fixtures have too."""
    stored = {(f.service, f.operation): {reply.key for reply in f.answers} for f in fixtures.load(fixtures.FOLDER)}
    return sum(reply.key in stored.get((f.service, f.operation), ()) for f in recorded for reply in f.answers)


def test_interrupted_run_deletes_what_it_created(aws, runs):
    output = runs.output(runs.interrupted)
    assert runs.processes[runs.interrupted].returncode not in (0, None), output[-3000:]
    assert "CreateCluster" in {call["action"] for call in aws.calls(account=runs.interrupted)}
    assert counts(aws, runs.interrupted) == {}, output[-3000:]


def test_janitor_deletes_what_a_killed_run_left(aws, runs):
    account = runs.killed
    assert runs.processes[account].returncode == -signal.SIGKILL
    assert counts(aws, account)["vpcs"] == 1
    done = conformance(aws, account, "janitor", "--yes", account)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(aws, account) == {}


def test_what_the_operator_left_is_deleted_and_fails_the_run(aws, monkeypatch, capsys):
    from conformance.run import delete_leftovers

    account = fresh_account()
    for name, value in environment_of(aws, account).items():
        monkeypatch.setenv(name, value)
    settings = Settings(AwsAccount(REGION), tags.new_run_id(), tags.now() + datetime.timedelta(hours=1), 1)
    assert delete_leftovers(settings)
    Leftovers(aws, account, settings.tags, "left").network()
    assert not delete_leftovers(settings)
    assert "FAILED: the operator left" in capsys.readouterr().out
    assert counts(aws, account) == {}


# The janitor


def test_janitor_deletes_only_what_is_tagged_and_expired(aws):
    account = fresh_account()
    expired = Leftovers(aws, account, {tags.RUN: "0a1b2c3d", tags.EXPIRES: PAST}, "conformance-0a1b2c3d")
    _, subnets = expired.network()
    expired.cluster(subnets)
    half = counts(aws, account)
    assert {half[kind] for kind in ("clusters", "nodegroups", "addons", "fargateProfiles", "natGateways", "flowLogs", "logGroups", "oidcProviders")} == {1}
    Leftovers(aws, account, {tags.RUN: "99999999", tags.EXPIRES: FUTURE}, "conformance-99999999").network()
    Leftovers(aws, account, {}, "untagged").network()
    # Neither is a run's: one tag alone, a run id that no run has, a time without a zone.
    for number, odd in enumerate(({tags.EXPIRES: PAST}, {tags.RUN: "mine", tags.EXPIRES: PAST}, {tags.RUN: "0a1b2c3d", tags.EXPIRES: "2026-01-01"})):
        Leftovers(aws, account, odd, f"odd-{number}").role("eks.amazonaws.com")
    until(lambda: counts(aws, account).get("instances"), 30, "the node of the group that is being created")
    before = counts(aws, account)

    shown = conformance(aws, account, "janitor", "--dry-run")
    assert shown.returncode == 0 and "expired   cluster conformance-0a1b2c3d" in shown.stdout and "keeps     VPC" in shown.stdout
    assert conformance(aws, account, "janitor").returncode == 2
    code, output = conformance_on_terminal(aws, account, "123", "janitor")
    assert code == 2 and "nothing was done" in output
    assert counts(aws, account) == before

    mark = aws.last_call()
    code, output = conformance_on_terminal(aws, account, account, "janitor")
    assert code == 0, output
    called = {f"{call['service'].replace('tagging', 'tag')}:{call['action']}" for call in aws.calls(mark, account)}
    # No interface here is attached, and no subnet of others uses a route table of the run.
    assert allowed() - called == {"ec2:DetachNetworkInterface", "ec2:DisassociateRouteTable"}
    assert called - allowed() == set()
    networks = {"vpcs": 2, "subnets": 4, "internetGateways": 2, "addresses": 2, "natGateways": 2, "routeTables": 2, "vpcEndpoints": 2, "flowLogs": 2}
    others = {"securityGroups": 4, "launchTemplates": 2, "roles": 3}
    left = counts(aws, account)
    assert {kind: left.get(kind) for kind in (*networks, *others)} == {**networks, **others}
    assert not {"clusters", "nodegroups", "addons", "fargateProfiles", "oidcProviders", "logGroups"} & left.keys()


def allowed() -> set[str]:
    """The actions of the janitor's policy."""
    return {action for statement in statements_of(E2E / "conformance" / "iam-policy.json") for action in actions(statement)}


def test_janitor_names_what_it_cannot_delete(aws):
    account = fresh_account()
    mine = Leftovers(aws, account, {tags.RUN: "0a1b2c3d", tags.EXPIRES: PAST}, "conformance-0a1b2c3d")
    mine.ec2.create_internet_gateway(**mine.of("internet-gateway"))
    vpc = mine.ec2.create_vpc(CidrBlock="10.0.0.0/16", **mine.of("vpc"))["Vpc"]["VpcId"]
    # Of a kind that the janitor does not delete.
    volume = mine.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, **mine.of("volume"))["VolumeId"]
    aws.add_fault({"account": account, "action": "DeleteVpc"}, {"deny": "service control policy"})
    done = conformance(aws, account, "janitor", "--yes", account)
    assert done.returncode == 1
    assert f"cannot delete VPC {vpc}: UnauthorizedOperation" in done.stdout and volume in done.stdout
    assert counts(aws, account) == {"vpcs": 1, "volumes": 1}
    aws.clear_faults()


def test_expiry_needs_both_tags_of_a_run():
    at = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
    good = {tags.RUN: "0a1b2c3d", tags.EXPIRES: PAST}
    assert tags.is_expired(good, at) and not tags.is_expired({**good, tags.EXPIRES: FUTURE}, at)
    assert tags.is_expired(tags.of_run("0a1b2c3d", at), at)
    for bad in ({}, {tags.RUN: "0a1b2c3d"}, {tags.EXPIRES: PAST}, {**good, tags.RUN: "x"}, {**good, tags.EXPIRES: "soon"}, {**good, tags.EXPIRES: "2026-01-01"}):
        assert not tags.is_expired(bad, at), bad


# The recorder

ACCESS_KEY, SECRET, TOKEN = "ASIAQWERTYUIOP123456", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz", "FwoGZXIvYXdzEJr" + "a" * 60
OWN_ACCOUNT = "987654321098"
CONFIDENTIAL = [ACCESS_KEY, SECRET, TOKEN, OWN_ACCOUNT]


def recorder() -> Recorder:
    return Recorder("aws", "2026-11-29", lambda: CONFIDENTIAL)


def test_nothing_confidential_is_stored(tmp_path):
    """In every place where an answer can have it: members, lists, keys and values of maps, headers, errors."""
    made = recorder()
    private = {
        "arn": f"arn:aws:eks:eu-west-1:{OWN_ACCOUNT}:cluster/payments", "endpoint": "https://0A1B.gr7.eu-west-1.eks.amazonaws.com", "version": "1.34",
        "certificateAuthority": {"data": "LS0tLS1CRUdJTiBDRVJU" + "Q" * 40}, "createdAt": 1764400000.1, "name": "payments", "status": "ACTIVE",
        "tags": {f"secret-{OWN_ACCOUNT}": TOKEN, "team": SECRET}, "resourcesVpcConfig": {"publicAccessCidrs": ["198.51.100.7/32"], "vpcId": "vpc-0123456789abcdef0"},
    }
    headers = {"content-type": "application/json", "x-amzn-requestid": "11111111-2222-3333-4444-555555555555", "set-cookie": TOKEN}
    made.record("eks", "DescribeCluster", ["name"], ["payments"], 200, headers, json.dumps({"cluster": private}).encode())
    denied = f"User: arn:aws:sts::{OWN_ACCOUNT}:assumed-role/jane/{ACCESS_KEY} is not authorized to perform: eks:DescribeCluster on payments from 198.51.100.7"
    made.record("eks", "DescribeCluster", ["name"], ["payments"], 403, {**headers, "x-amzn-errortype": "AccessDeniedException"}, json.dumps({"message": denied}).encode())
    credentials = f"<Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>"
    session = f"<AssumeRoleResponse><AssumeRoleResult>{credentials}<Expiration>2026-11-29T10:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    made.record("sts", "AssumeRole", ["RoleArn"], [], 200, {"content-type": "text/xml"}, session.encode())
    made.write(tmp_path)
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    private_texts = [*CONFIDENTIAL, "payments", "198.51.100.7", "0A1B.gr7", "0123456789abcdef0", "LS0tLS1", "jane", "11111111-2222", "1764400000", "team"]
    assert [text for text in private_texts if text in written] == []
    # What the comparison needs is still there.
    kept = Fixture.read((tmp_path / "eks" / "DescribeCluster.json").read_text())
    assert kept.answers[0].example["cluster"]["status"] == "ACTIVE" and kept.answers[0].members["cluster.createdAt"] == "timestamp"
    assert kept.answers[1].message == "User: <arn> is not authorized to perform: eks:DescribeCluster on <name> from <ip>"


def test_recording_with_a_confidential_value_is_not_stored(tmp_path):
    made = recorder()
    # A secret that looks like a word of a message.
    made._confidential = lambda: ["hunter2"]
    body = json.dumps({"message": "the password is hunter2"}).encode()
    headers = {"content-type": "application/json", "x-amzn-errortype": "InvalidRequestException"}
    made.record("eks", "DescribeAddon", [], [], 400, headers, body)
    with pytest.raises(scrub.NotScrubbed):
        made.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_proxy_forwards_only_the_signed_calls_of_its_operator(aws, monkeypatch):
    account = fresh_account()
    for name, value in environment_of(aws, account).items():
        monkeypatch.setenv(name, value)
    made = Recorder("emulator", "2026-11-29")
    proxy = RecordingProxy(boto3.Session(), REGION, made)
    try:
        client = boto3.client("ec2", region_name=REGION, endpoint_url=proxy.url)
        vpc = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        assert counts(aws, account) == {"vpcs": 1} and made.fixtures()[0].operation == "CreateVpc"
        assert vpc not in made.fixtures()[0].text()
        before = aws.last_call()
        signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={account}/20261129/{REGION}/eks/aws4_request"}
        without_path = requests.get(f"{proxy.url.rpartition('/')[0]}/clusters", headers=signed, timeout=5)
        unsigned = requests.get(f"{proxy.url}/clusters", timeout=5)
        assert (without_path.status_code, unsigned.status_code) == (403, 403)
        assert aws.last_call() == before
        assert requests.get(f"{proxy.url}/clusters", headers=signed, timeout=5).json() == {"clusters": []}
        # STS is called directly: a token is valid for its own host only.
        assert proxy.operator_env() == {"AWS_ENDPOINT_URL": proxy.url, "AWS_ENDPOINT_URL_STS": aws.url}
    finally:
        proxy.close()


def test_proxy_signs_for_the_endpoints_of_aws(monkeypatch):
    """IAM is signed for its partition's one region, though the operator's SDK signs for the region of the cluster."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    proxy = RecordingProxy(boto3.Session(ACCESS_KEY, SECRET), REGION, recorder())
    try:
        found = {(s, r): proxy.endpoint(s, r) for s, r in (("iam", "eu-west-1"), ("iam", "cn-north-1"), ("ec2", "eu-west-1"), ("eks", "eu-west-1"))}
    finally:
        proxy.close()
    assert found == {
        ("iam", "eu-west-1"): Endpoint("https://iam.amazonaws.com", "iam", "us-east-1"),
        ("iam", "cn-north-1"): Endpoint("https://iam.cn-north-1.amazonaws.com.cn", "iam", "cn-north-1"),
        ("ec2", "eu-west-1"): Endpoint("https://ec2.eu-west-1.amazonaws.com", "ec2", "eu-west-1"),
        ("eks", "eu-west-1"): Endpoint("https://eks.eu-west-1.amazonaws.com", "eks", "eu-west-1"),
    }


def eks_answer(operation: str, body: dict) -> list[str]:
    made = Recorder("emulator", "2026-11-29")
    made.record("eks", operation, [], [], 200, {"content-type": "application/json"}, json.dumps(body).encode())
    return made.problems()


def ec2_answer(operation: str, xml: str) -> list[str]:
    made = Recorder("emulator", "2026-11-29")
    body = f"<{operation}Response>{xml}<requestId>r</requestId></{operation}Response>"
    made.record("ec2", operation, [], [], 200, {"content-type": "text/xml"}, body.encode())
    return made.problems()


def test_answers_that_contradict_the_model_are_found():
    assert eks_answer("DescribeCluster", {"cluster": {"name": "a", "status": "ACTIVE", "createdAt": 1.5, "tags": {"a": "b"}}}) == []
    assert "no member" in eks_answer("DescribeCluster", {"cluster": {"nmae": "a"}})[0]
    assert "it is status" in eks_answer("DescribeCluster", {"cluster": {"Status": "ACTIVE"}})[0]
    assert "not one of" in eks_answer("DescribeCluster", {"cluster": {"status": "READY"}})[0]
    assert "a string, and a structure" in eks_answer("DescribeCluster", {"cluster": {"identity": "oidc"}})[0]
    assert ec2_answer("DescribeVpcs", "<vpcSet><item><vpcId>v</vpcId><isDefault>false</isDefault><state>available</state></item></vpcSet>") == []
    assert "no boolean" in ec2_answer("DescribeVpcs", "<vpcSet><item><isDefault>no</isDefault></item></vpcSet>")[0]
    assert "no member" in ec2_answer("DescribeVpcs", "<vpcSet><item><VpcId>v</VpcId></item></vpcSet>")[0]
    assert "a structure, and a list" in ec2_answer("DescribeVpcs", "<vpcSet><member><vpcId>v</vpcId></member></vpcSet>")[0]
    made = Recorder("emulator", "2026-11-29")
    made.record("iam", "GetRole", [], [], 200, {}, b"<GetRoleResponse><GetRoleResult><Role><Path>/</Path></Role></GetRoleResult></GetRoleResponse>")
    assert "iam GetRole: Role.Arn is required and missing" in made.problems()
    made.record("iam", "GetRole", [], [], 200, {}, b"{}")
    assert made.unreadable


# The fixtures


def fixture(source: str, status: int = 200, error: str = "", members: dict[str, str] | None = None, sometimes: tuple[str, ...] = (), **headers: str) -> Fixture:
    found = members or {"cluster": "structure", "cluster.name": "string", "cluster.health": "structure"}
    return Fixture("eks", "DescribeCluster", source, "2026-11-29", [Reply(status, error, headers, "", {}, set(), found, list(sometimes))])


def differences(measure: Fixture, found: Fixture) -> list[str]:
    return compare([measure], [found]).problems


def test_comparison_with_answers_of_aws_is_strict():
    aws, less = fixture("aws"), {"cluster": "structure", "cluster.name": "string"}
    assert differences(aws, fixture("emulator")) == []
    assert "cluster.health is missing" in differences(aws, fixture("emulator", members=less))[0]
    assert differences(fixture("aws", sometimes=("cluster.health",)), fixture("emulator", members=less)) == []
    assert "AWS returned no cluster.id" in differences(aws, fixture("emulator", members={**aws.answers[0].members, "cluster.id": "string"}))[0]


def test_comparison_finds_names_types_statuses_and_headers_whatever_the_source():
    for source in ("aws", "emulator"):
        measure = fixture(source, **{"content-type": "application/json"})
        same = {"content-type": "application/json"}
        cased = {"cluster": "structure", "cluster.Name": "string", "cluster.health": "structure"}
        assert "written cluster.name" in differences(measure, fixture("emulator", members=cased, **same))[0]
        typed = {**measure.answers[0].members, "cluster.health": "string"}
        assert "is a string, and a structure" in differences(measure, fixture("emulator", members=typed, **same))[0]
        assert "content-type is missing" in differences(measure, fixture("emulator"))[0]
        refused, wrong = fixture(source, 404, "ResourceNotFoundException"), fixture("emulator", 400, "ResourceNotFoundException")
        assert "has status 400, and 404" in differences(refused, wrong)[0]
    assert differences(fixture("emulator"), fixture("emulator", members={"cluster": "structure", "cluster.name": "string"})) == []


def test_recording_of_the_emulator_does_not_replace_one_of_aws(tmp_path):
    fixtures.write(tmp_path, fixture("aws"))
    assert fixtures.merge(tmp_path, fixture("emulator")) is None
    merged = fixtures.merge(tmp_path, fixture("aws", 404, "ResourceNotFoundException"))
    assert [reply.status for reply in merged.answers] == [200, 404]


def test_stored_fixtures_are_scrubbed_name_their_source_and_agree_with_the_model():
    stored = fixtures.load(fixtures.FOLDER)
    assert len(stored) > 60
    for one in stored:
        assert one.recorded_from in ("aws", "emulator") and datetime.date.fromisoformat(one.recorded_at)
        scrub.require_clean(one.text(), [SECRET_KEY])
    of_emulator = [one for one in stored if one.recorded_from == "emulator"]
    assert [problem for one in of_emulator for problem in contradictions(one)] == []
    wrong = fixture("emulator", members={"cluster": "structure", "cluster.colour": "string"})
    assert contradictions(wrong) == ["eks DescribeCluster: success (200): cluster.colour is not in AWS's model"]


def test_estimate_counts_everything_and_says_where_its_prices_are_from():
    known = costs.estimate("us-east-1", {"control plane": 1, "NAT gateway": 2}, 2)
    assert known.per_hour == pytest.approx(0.10 + 2 * 0.045) and known.total > 2 * known.per_hour
    other = costs.estimate("ap-south-2", {"NAT gateway": 1}, 1)
    assert other.per_hour == max(costs.PRICES["NAT gateway"].values()) and "not in the table" in other.describe()
