"""A figure with its goal and its peers', and how the table of them looks. Pure.

The peers were measured on the same emulator: Terraform's AWS provider 5.100, Cluster API AWS 2.13 and
ACK 1.20, each making one cluster of the same shape.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

PEERS = ("Terraform", "Cluster API AWS", "ACK")


@dataclass
class Figure:
    """One row of the table. `met` is None where there is no goal to meet by a number."""

    name: str
    measured: str
    goal: str = ""
    met: bool | None = None
    # In the order of PEERS.
    peers: tuple[str, str, str] = ("", "", "")
    # How it was measured, and what of it needs explaining.
    note: str = ""
    # The numbers behind it, for machines.
    numbers: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict:
        return {**asdict(self), "peers": dict(zip(PEERS, self.peers, strict=True))}


def table(figures: list[Figure]) -> str:
    """The figures side by side, then the notes."""
    head = ["figure", *PEERS, "goal", "Keelson", "met"]
    rows = [head]
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.met]
        rows.append([figure.name, *figure.peers, figure.goal, figure.measured, met])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]

    def line(row: list[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    lines = [line(head), rule, *(line(row) for row in rows[1:])]
    notes = [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, "", *notes])


def by_service(calls: list[dict]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for call in calls:
        counted[call["service"]] = counted.get(call["service"], 0) + 1
    return dict(sorted(counted.items()))


def by_action(calls: list[dict]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for call in calls:
        name = f"{call['service']}:{call['action']}"
        counted[name] = counted.get(name, 0) + 1
    return dict(sorted(counted.items(), key=lambda item: -item[1]))
