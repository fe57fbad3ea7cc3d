"""Tables of what the API server must refuse, and with which words; `test_admission.py` runs them."""

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
class Refused:
    """`change` of a spec is refused: the message names `where` and says `advice`.

    Without `start` the change is made at creation; with it, on an object created with `start`.
    """

    change: dict
    where: str
    advice: str
    start: dict | None = None
    name: str = "demo"
    # What the operator has written to status before the edit.
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


def wrong(path: str, value: object, advice: str) -> Refused:
    """A value that is refused wherever it comes from."""
    return Refused(at(path, value), f"spec.{path}", advice)


def edit(path: str, old: object, new: object, advice: str) -> Refused:
    """A change of one field that is refused; None is the field left out."""
    start = {} if old is None else at(path, old)
    return Refused(at(path, new), f"spec.{path}", advice, start)


def change(path: str, old: object, new: object) -> Accepted:
    """A change of one field that is accepted."""
    return Accepted(at(path, new), {} if old is None else at(path, old))


def version_refused(runs: str, old: str | None, new: str, advice: str) -> Refused:
    """A version that is refused as an edit, where `runs` is what AWS has."""
    start = {} if old is None else {"version": old}
    return Refused({"version": new}, "spec.version", advice, start, status={"version": runs})


def version_accepted(runs: str, old: str | None, new: str | None) -> Accepted:
    """One that is accepted."""
    start = {} if old is None else {"version": old}
    return Accepted({"version": new}, start, {"version": runs})
