"""The gates: what blocks or holds an upgrade."""

from __future__ import annotations

import datetime

from . import Gate, GateScenario

NOW = datetime.datetime.now(datetime.timezone.utc)
# A window in the night before the first of a month at least a month away; Berlin is one or two hours ahead of UTC.
FAR_MONTH = (NOW + datetime.timedelta(days=70)).month
CLOSED_WINDOW = {"schedule": f"0 3 1 {FAR_MONTH} *", "duration": "1h", "timeZone": "Europe/Berlin"}
INSIGHT = "Deprecated APIs removed"
UPDATE_FAILURE = {"code": "Unknown", "message": "the control plane did not come up"}
EVICTION_FAILURE = {"code": "PodEvictionFailure", "message": "Reached max retries while trying to evict pods"}


def bad_insight(scenario: GateScenario) -> None:
    scenario.insight(INSIGHT, "ERROR")


def fixed_insight(scenario: GateScenario) -> None:
    """Its cause is fixed; EKS shows that only after its next refresh."""
    scenario.insight(INSIGHT, "ERROR")
    scenario.insight(INSIGHT, "PASSING", atRefresh=True)


def support_ends(days: int):
    def publish(scenario: GateScenario) -> None:
        end = (NOW + datetime.timedelta(days=days)).date().isoformat()
        scenario.on.aws.publish(
            account=scenario.account.id, version=scenario.gate.at, endOfStandardSupportDate=end
        )

    return publish


def fill_the_subnets(scenario: GateScenario) -> None:
    """Uses all addresses but three for other network interfaces."""
    ec2 = scenario.account.ec2
    for subnet in ec2.describe_subnets()["Subnets"]:
        for _ in range(subnet["AvailableIpAddressCount"] - 3):
            ec2.create_network_interface(SubnetId=subnet["SubnetId"])


def opens_soon(seconds: float) -> dict:
    """A window that opens at the next full minute that is at least that far away."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    at = at.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    # UTC, as no time zone is set.
    return {"schedule": f"{at.minute} {at.hour} {at.day} {at.month} *", "duration": "30m"}


def opening(window: dict) -> datetime.datetime:
    """When a window of `opens_soon` opens, or opened: yesterday, today or tomorrow, also at New Year."""
    minute, hour, day, month, _ = window["schedule"].split()
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = [(now + datetime.timedelta(days=days)).date() for days in (-1, 0, 1)]
    (date,) = [date for date in dates if (date.month, date.day) == (int(month), int(day))]
    return datetime.datetime.combine(date, datetime.time(int(hour), int(minute)), datetime.timezone.utc)


SCENES = [
    Gate("insight-block", before=bad_insight),
    Gate("insight-fixed", before=fixed_insight),
    Gate("insight-warn", {"insights": "Warn"}, before=bad_insight),
    Gate("insight-ignore", {"insights": "Ignore"}, before=bad_insight),
    Gate(
        "insight-of-later",
        before=lambda scenario: scenario.insight(INSIGHT, "ERROR", kubernetesVersion="1.35"),
    ),
    Gate("window-closed", {"windows": [CLOSED_WINDOW]}, addons=("kube-proxy",), groups=("web",)),
    # The other tests run until it opens; the first of them reads when.
    Gate("window-opens", also=lambda: {"upgrade": {"windows": [opens_soon(20)]}}),
    Gate("soaking", {"soak": "6s"}, at="1.32"),
    Gate("addons-manual", {"addons": "Manual"}, addons=("kube-proxy",)),
    # A typo of 1.36, or of 1.34.
    Gate("typo", to="1.63"),
    Gate("nodes-manual", {"nodeGroups": "Manual"}, groups=("web",)),
    Gate("not-offered", at="1.36", to="1.37"),
    Gate("no-addresses", small_subnets=True, before=fill_the_subnets),
    Gate("failing", faults=(({"action": "UpdateClusterVersion"}, {"health_issue": UPDATE_FAILURE}),)),
    Gate(
        "evicting",
        groups=("web",),
        faults=(({"action": "UpdateNodegroupVersion"}, {"health_issue": EVICTION_FAILURE}),),
    ),
    Gate("rolled-back", groups=("web",)),
]
# These two are not upgraded: the end of support of their version is near.
ENDING_SUPPORT = [
    Gate("ends-in-60-days", first=support_ends(60)),
    Gate("ends-in-20-days", first=support_ends(20)),
]
