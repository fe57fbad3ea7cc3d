"""Traces as text: a line for each change, and below it its spans as a tree, with when each started and how long it lasted. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from .collector import Span


def trace_text(traces: dict[str, list[Span]]) -> str:
    """The traces of a collector, in the order of their starts."""
    ordered = sorted(traces.values(), key=lambda spans: spans[0].start)
    return "\n".join("\n".join([headline(spans), *tree(spans)]) + "\n" for spans in ordered)


def headline(spans: list[Span]) -> str:
    """What changed, and how it ended; the root's own span lasts no time."""
    root = next((span for span in spans if not span.parent), spans[0])
    ended = next((span for span in spans if is_change(span)), None)
    name = f"{root.name} {root['k8s.namespace.name']}/{root['keelson.object.name']}"
    if ended:
        return f"{name}: {ended['keelson.change.outcome']} after {ended.end - ended.start:.1f} s"
    return f"{name}: in progress" if is_root_of_change(root) else name


def tree(spans: list[Span]) -> Iterator[str]:
    shown = [span for span in spans if not is_change(span) and not is_root_of_change(span)]
    known = {span.id for span in shown}
    below: dict[str, list[Span]] = defaultdict(list)
    for span in shown:
        below[span.parent if span.parent in known else ""].append(span)

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in below[parent]:
            error = f": {span.error}" if span.error else ""
            yield f"{span.start - spans[0].start:8.1f} s {span.end - span.start:8.1f} s  {'  ' * depth}{span.name}{error}"
            yield from lines(span.id, depth + 1)

    return lines("", 0)


def is_change(span: Span) -> bool:
    return span.name.startswith("change ")


def is_root_of_change(span: Span) -> bool:
    return not span.parent and span["keelson.change.type"] is not None
