"""Figures with their goals and the figures of other tools, and their table. Pure.

The other tools were measured on the same emulator: Terraform's AWS provider 5.100, Cluster API AWS 2.13 and
ACK 1.20, each creating one cluster of the same shape.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

OTHER_TOOLS = ("Terraform", "Cluster API AWS", "ACK")


@dataclass
class Figure:
    """One row of the table. `met` is None if there is no numeric goal."""

    name: str
    measured: str
    goal: str = ""
    met: bool | None = None
    # In the order of OTHER_TOOLS.
    peers: tuple[str, str, str] = ("", "", "")
    # How it was measured, and explanations.
    note: str = ""
    # The raw numbers, for the JSON output.
    numbers: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict:
        return {**asdict(self), "peers": dict(zip(OTHER_TOOLS, self.peers, strict=True))}


def table(figures: list[Figure]) -> str:
    """The table of figures, then the notes."""
    head = ["figure", *OTHER_TOOLS, "goal", "Keelson", "met"]
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
