"""What a run costs: list prices of what it creates. Pure.

AWS's price lists change, and differ by region: the table has its date and its sources, and a region that is not in it is estimated
with the highest price of each row.
"""

from __future__ import annotations

from dataclasses import dataclass

# When the table was written, without access to the pages: compare it with them when you change it.
PRICES_OF = "2026-11-29"
SOURCES = {
    "control plane": "https://aws.amazon.com/eks/pricing/",
    "NAT gateway": "https://aws.amazon.com/vpc/pricing/",
    "public IPv4 address": "https://aws.amazon.com/vpc/pricing/",
    "node": "https://aws.amazon.com/ec2/pricing/on-demand/",
    "volume of a node": "https://aws.amazon.com/ebs/pricing/",
}
# US dollars per hour: on demand, Linux, without tax, support and traffic.
PRICES: dict[str, dict[str, float]] = {
    "control plane": {"us-east-1": 0.10, "us-west-2": 0.10, "eu-west-1": 0.10, "eu-central-1": 0.10},
    "NAT gateway": {"us-east-1": 0.045, "us-west-2": 0.045, "eu-west-1": 0.048, "eu-central-1": 0.052},
    "public IPv4 address": {"us-east-1": 0.005, "us-west-2": 0.005, "eu-west-1": 0.005, "eu-central-1": 0.005},
    # t3.medium
    "node": {"us-east-1": 0.0416, "us-west-2": 0.0416, "eu-west-1": 0.0456, "eu-central-1": 0.048},
    # 20 GiB of gp3, a month of 730 hours.
    "volume of a node": {"us-east-1": 20 * 0.08 / 730, "us-west-2": 20 * 0.08 / 730, "eu-west-1": 20 * 0.088 / 730, "eu-central-1": 20 * 0.0952 / 730},
}
# Per GB through a NAT gateway: the nodes pull their images.
NAT_PER_GB = 0.052
IMAGES_GB = 3
INSTANCE_TYPE = "t3.medium"


@dataclass(frozen=True)
class Estimate:
    """lines: (what, number, dollars per hour of all of them)."""

    region: str
    hours: float
    lines: tuple[tuple[str, int, float], ...]
    listed: bool

    @property
    def per_hour(self) -> float:
        return sum(dollars for _, _, dollars in self.lines)

    @property
    def total(self) -> float:
        return self.per_hour * self.hours + IMAGES_GB * NAT_PER_GB

    def describe(self) -> str:
        shown = [f"  {number} x {what:20} {dollars:7.3f} $/h   {SOURCES[what]}" for what, number, dollars in self.lines]
        where = f"list prices of {self.region}" if self.listed else f"{self.region} is not in the table: the highest list price of each row"
        shown.append(f"  together                 {self.per_hour:7.3f} $/h")
        shown.append(f"  about {self.total:.2f} $ for {self.hours:.1f} h with {IMAGES_GB} GB of images; {where}, as of {PRICES_OF}, to be checked on these pages")
        shown.append(f"  what is not deleted costs {self.per_hour * 24:.2f} $ a day until the janitor runs")
        return "\n".join(shown)


def estimate(region: str, numbers: dict[str, int], hours: float) -> Estimate:
    """numbers: how many of each row of the table exist at most at the same time."""
    listed = all(region in PRICES[what] for what in numbers)
    lines = tuple((what, n, n * (PRICES[what][region] if listed else max(PRICES[what].values()))) for what, n in numbers.items())
    return Estimate(region, hours, lines, listed)
