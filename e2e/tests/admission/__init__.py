"""Tables of changes that the API server must reject or accept, and of the messages; `test_admission.py` runs them."""

from dataclasses import dataclass, field

API = "keelson.dev/v1alpha1"


def at(path: str, value: object) -> dict:
    """{"a": {"b": value}} for "a.b"."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def merged(base: dict, change: dict) -> dict:
    """A JSON merge patch applied."""
    result = dict(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@dataclass(frozen=True)
class Rejected:
    """`change` of a spec is rejected: the message contains `where` and `advice`.

    Without `start` the change is made at creation; with it, on an object created with `start`.
    """

    change: dict
    where: str
    advice: str
    start: dict | None = None
    name: str = "demo"
    # Status before the edit.
    status: dict = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.where}: {self.change}"[:90]


@dataclass(frozen=True)
class Accepted:
    """`change` of a spec is accepted, on an object created with `start`."""

    change: dict
    start: dict = field(default_factory=dict)
    status: dict = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.start} -> {self.change}"[:90]


def invalid(path: str, value: object, advice: str) -> Rejected:
    """A value that is rejected at creation."""
    return Rejected(at(path, value), f"spec.{path}", advice)


def edit(path: str, old: object, new: object, advice: str) -> Rejected:
    """A change of one field that is rejected; None omits the field."""
    start = {} if old is None else at(path, old)
    return Rejected(at(path, new), f"spec.{path}", advice, start)


def change(path: str, old: object, new: object) -> Accepted:
    """A change of one field that is accepted."""
    return Accepted(at(path, new), {} if old is None else at(path, old))


def version_rejected(running: str, old: str | None, new: str, advice: str) -> Rejected:
    """A version that is rejected as an edit, where `running` is the version in AWS."""
    start = {} if old is None else {"version": old}
    return Rejected({"version": new}, "spec.version", advice, start, status={"version": running})


def version_accepted(running: str, old: str | None, new: str | None) -> Accepted:
    """A version that is accepted as an edit."""
    start = {} if old is None else {"version": old}
    return Accepted({"version": new}, start, {"version": running})
