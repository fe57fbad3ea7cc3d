"""Traces as text, as `make dev` writes them."""

from keelson_harness.collector import INTERNAL, Span
from keelson_harness.trace_text import trace_text

OBJECT = {"k8s.namespace.name": "default", "keelson.object.name": "demo"}


def span(trace: str, name: str, start: float, end: float, number: str, parent: str = "", error: str = "", **attributes: str) -> Span:
    of = {key.replace("__", "."): value for key, value in attributes.items()}
    return Span(trace, number, parent, name, INTERNAL, start, end, {**OBJECT, **of}, error, {})


def root(trace: str, start: float) -> Span:
    return span(trace, "Update EksCluster", start, start, "root", keelson__change__type="Update")


def test_change_is_a_line_and_below_it_the_tree_of_its_spans():
    ended = span("a", "change EksCluster", 100, 121.5, "change", "root", keelson__change__type="Update", keelson__change__outcome="Ready")
    spans = [
        root("a", 100), ended, span("a", "reconcile EksCluster", 101, 101.4, "1", "root"),
        span("a", "eks/UpdateClusterVersion", 101.1, 101.2, "2", "1", "AccessDenied"), span("a", "VersionUpdate cluster", 101, 110, "3", "root"),
    ]
    assert trace_text({"a": spans}).splitlines() == [
        "Update EksCluster default/demo: Ready after 21.5 s",
        "     1.0 s      0.4 s  reconcile EksCluster",
        "     1.1 s      0.1 s    eks/UpdateClusterVersion: AccessDenied",
        "     1.0 s      9.0 s  VersionUpdate cluster",
    ]


def test_changes_in_progress_and_corrections_of_drift_are_distinguished_and_in_order():
    drift = [span("b", "reconcile EksCluster", 300, 301, "1")]
    text = trace_text({"b": drift, "a": [root("a", 200), span("a", "reconcile EksCluster", 200, 201, "1", "lost")]})
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "Update EksCluster default/demo: in progress", "", "reconcile EksCluster default/demo",
    ]
    assert text.count("  reconcile EksCluster") == 2, "also one whose parent was not exported"
