"""Formats the API server's printer columns as `kubectl get` does. Pure."""

from __future__ import annotations


def format_table(answer: dict, wide: bool) -> str:
    """A Table of meta.k8s.io/v1, aligned; wide: with the columns of `-o wide`."""
    shown = [
        index
        for index, column in enumerate(answer["columnDefinitions"])
        if wide or not column.get("priority")
    ]
    rows = [[answer["columnDefinitions"][index]["name"].upper() for index in shown]]
    for row in answer.get("rows") or []:
        cells = row["cells"]
        rows.append(["<none>" if cells[i] in (None, "") else str(cells[i]) for i in shown])
    widths = [max(len(row[column]) for row in rows) for column in range(len(shown))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
