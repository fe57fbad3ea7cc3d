"""The crash row: runs the crash test of `make test` once, for its numbers."""

from __future__ import annotations

from fleet.killing import killed_at
from fleet.environment import environment
from test_crash import LIFE, Pair

from .figures import Figure


def rows(say) -> list[Figure]:
    with environment(workload=False, git=False, durations=LIFE) as on:
        made = Pair(on)
        made.apply()
        create = killed_at(on, made.account.id, made.ready)
        made.assert_one_of_each()
        say(create.summary("create"))
        made.request_deletion()
        delete = killed_at(on, made.account.id, made.gone)
        made.assert_nothing_left()
        say(delete.summary("delete"))
    points, writes = (
        [len(getattr(run, what)) for run in (create, delete)] for what in ("points", "writes")
    )
    return [
        Figure(
            "killed with SIGKILL at random during create",
            f"{points[0]} of {writes[0]} writes, {points[1]} of {writes[1]} of the deletion: nothing lost",
            "every write, nothing lost",
            points == writes,
            ("0 of 10 runs clean", "orphan route tables", "2 of 3 clusters stuck"),
            "killed after each AWS write in turn, before the response; exactly one of each resource, then an empty account",
            {"create": points[0], "delete": points[1], "writes": writes},
        )
    ]
