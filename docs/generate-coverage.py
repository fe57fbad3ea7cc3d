"""Writes docs/coverage.md from docs/coverage.yaml, crds/ and the EKS client in Cargo.lock; with --check, fails when it is stale.

    $(e2e/harness/venv.sh) docs/generate-coverage.py

Fails for an input member without a decision, so that a newer client brings none unnoticed.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
DECISIONS = CHECKOUT / "docs" / "coverage.yaml"
PAGE = CHECKOUT / "docs" / "coverage.md"
CRATE = "aws-sdk-eks"
KINDS = {"EksCluster": "eksclusters", "NodeGroup": "nodegroups"}
OUTCOMES = ("field", "by", "planned", "out")
# Operations with another verb need a section.
READS = ("describe_", "list_")
# The decision on all members of an operation.
ALL = "*"


class Incomplete(Exception):
    """What docs/coverage.yaml lacks, or says wrongly."""


# The client's model


def crate_version() -> str:
    lock = (CHECKOUT / "Cargo.lock").read_text()
    return re.search(rf'name = "{CRATE}"\nversion = "([^"]+)"', lock)[1]


def crate_source() -> Path:
    """The source of the client that the operator is built with, downloaded if need be."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    pattern = f"registry/src/*/{CRATE}-{crate_version()}/src"
    found = list(home.glob(pattern))
    if not found:
        subprocess.run(["cargo", "fetch", "--locked"], cwd=CHECKOUT, check=True)
        found = list(home.glob(pattern))
    if not found:
        raise Incomplete(f"no {pattern} under {home}")
    return found[0]


def camel(name: str) -> str:
    """The name in the API of a Rust field."""
    first, *rest = name.removeprefix("r#").split("_")
    return first + "".join(part.capitalize() for part in rest)


@dataclass
class Model:
    """Input members by operation: the path of each that contains no others, with the values that it can have if it is an enum."""

    operations: dict[str, dict[str, tuple[str, ...]]]

    @classmethod
    def read(cls, source: Path) -> "Model":
        types = {}
        for path in (source / "types").glob("_*.rs"):
            text = path.read_text()
            if found := re.search(r"^pub (struct|enum) (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
                types[found[2]] = (found[1], found[3], text)

        def members(body: str, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
            for name, kind in re.findall(r"^    pub ((?:r#)?\w+): (.*),$", body, re.MULTILINE):
                here = path + camel(name)
                named = re.search(r"crate::types::(\w+)", kind)
                if not named:
                    yield here, ()
                    continue
                form, inner, text = types[named[1]]
                if form == "struct":
                    yield from members(inner, f"{here}.")
                elif values := re.findall(rf"{named[1]}::\w+ => \"(.+?)\",", text):
                    yield here, tuple(values)
                else:
                    raise Incomplete(f"{here} is a union: teach {Path(__file__).name} to read it")

        operations = {}
        for folder in sorted((source / "operation").iterdir()):
            if not folder.is_dir() or folder.name.startswith(READS):
                continue
            text = (folder / f"_{folder.name}_input.rs").read_text()
            body = re.search(r"^pub struct \w+Input \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)[1]
            name = camel(folder.name)
            operations[name[0].upper() + name[1:]] = dict(members(body, ""))
        return cls(operations)


# Our API


@cache
def schema_of(kind: str) -> dict:
    crd = yaml.safe_load((CHECKOUT / "crds" / f"{KINDS[kind]}.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def schema_at(kind: str, path: str) -> dict | None:
    """The schema of a field such as `spec.addons[].name`."""
    found = schema_of(kind)
    for part in path.split("."):
        found = found.get("properties", {}).get(part.removesuffix("[]"))
        if found is None:
            return None
        if part.endswith("[]"):
            found = found.get("items", {})
    return found


@cache
def requests() -> str:
    """The code that sends requests to EKS, without its tests."""
    resources = CHECKOUT / "src" / "resources"
    files = [resources / "tag_calls.rs", *sorted((resources / "eks").rglob("*.rs"))]
    return "".join(path.read_text().partition("#[cfg(test)]")[0] for path in files if not path.stem.endswith("tests"))


@cache
def is_sent(member: str) -> bool:
    """Whether a request sets a member of that name. What is called without a value reads one."""
    name = re.sub("([A-Z])", r"_\1", member.rpartition(".")[2]).lower()
    return re.search(rf"\.(?:set_|r#)?{name}\((?!\))", requests()) is not None


def plain(value: str) -> str:
    """The same for AWS's and our way to write a value: CAPACITY_BLOCK, CapacityBlock."""
    return value.replace("_", "").lower()


# Decisions


@dataclass
class Decision:
    """What becomes of a member, and of what is in it."""

    kind: str
    said: dict
    members: list[tuple[str, str]] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        return next(one for one in OUTCOMES if one in self.said)

    @property
    def fields(self) -> list[str]:
        found = self.said.get("field", [])
        return [found] if isinstance(found, str) else found

    @property
    def holds_below(self) -> bool:
        """Whether it holds for all in a structure: of a field, each member is decided on."""
        return self.outcome in ("planned", "out")

    def mistakes(self, where: str, reasons: dict[str, str]) -> Iterator[str]:
        if unknown := set(self.said) - {*OUTCOMES, "why", "note", "without"}:
            yield f"{where}: {', '.join(sorted(unknown))} means nothing"
        if not set(self.said) & set(OUTCOMES):
            yield f"{where}: say one of {', '.join(OUTCOMES)}"
            return
        for path in self.fields:
            if schema_at(self.kind, path) is None:
                yield f"{where}: {self.kind} has no field {path}"
        coming = self.said.get("planned", "")
        if coming.startswith("spec.") and schema_at(self.kind, coming):
            yield f"{where}: {self.kind} has {coming} now: write it under field"
        if self.outcome == "out" and (self.said["out"] not in reasons or "why" not in self.said):
            yield f"{where}: out needs one of {', '.join(reasons)}, and why"

    def lacks(self, values: tuple[str, ...]) -> tuple[set[str], set[str]]:
        """The values of the member that the field does not take: undecided ones, and decisions on values that it takes."""
        listed = [schema_at(self.kind, path) or {} for path in self.fields]
        listed = [one.get("enum") or one.get("items", {}).get("enum") for one in listed]
        taken = {plain(value) for one in listed if one for value in one}
        lacking = {value for value in values if taken and plain(value) not in taken}
        decided = set(self.said.get("without", {}))
        return lacking - decided, decided - lacking

    def text(self) -> str:
        said = self.said
        also = [f"planned: {code(said['planned'])}"] if "planned" in said and self.outcome != "planned" else []
        also += [said["note"]] if "note" in said else []
        also += [f"not `{value}` ({text_of_value(why)})" for value, why in said.get("without", {}).items()]
        main = {
            "field": ", ".join(code(path) for path in self.fields),
            "by": f"**Keelson**: {said.get('by')}",
            "planned": f"**planned**: {code(said.get('planned', ''))}",
            "out": f"**left out**, {said.get('out')}: {said.get('why')}",
        }[self.outcome]
        return "; ".join([main, *also])


def code(text: str) -> str:
    return f"`{text}`" if re.fullmatch(r"[\w.\[\]]+", text) else text


def text_of_value(said: dict) -> str:
    return f"planned: {code(said['planned'])}" if "planned" in said else f"{said['out']}: {said['why']}"


def covering(path: str) -> Iterator[str]:
    """The path and those of the structures that it is in, the innermost first."""
    parts = path.split(".")
    yield from (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    yield ALL


@dataclass
class Coverage:
    """All decisions, held against the model and the CRDs."""

    model: Model
    data: dict
    # By section: the decisions in their order, by path.
    sections: list[tuple[str, dict[tuple[str, str], Decision]]] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, data: dict) -> "Coverage":
        made = cls(model, data)
        mistakes = [*made.decide(), *made.verify()]
        if mistakes:
            raise Incomplete("\n".join(mistakes))
        return made

    def decide(self) -> Iterator[str]:
        """Gives each member its decision."""
        without_section = set(self.model.operations)
        unused = set(self.data["everywhere"])
        for section in self.data["sections"]:
            decisions = {("", path): Decision(section["kind"], said) for path, said in section["members"].items()}
            for operation, only in section.get("only", {}).items():
                decisions |= {(operation, path): Decision(section["kind"], said) for path, said in only.items()}
            shared = {path: Decision(section["kind"], said) for path, said in self.data["everywhere"].items()}
            for operation in section["operations"]:
                if operation not in without_section:
                    yield f"{section['title']}: {operation} does not exist, or is in two sections"
                    continue
                without_section.remove(operation)
                for path in self.model.operations[operation]:
                    keys = [(of, at) for of in (operation, "") for at in covering(path)]
                    holds = (decisions[key] for key in keys if key in decisions and (key[1] == path or decisions[key].holds_below))
                    found = next(holds, None)
                    if not found and path in shared:
                        found = shared[path]
                        unused.discard(path)
                        decisions.setdefault(("everywhere", path), found)
                    if found:
                        found.members.append((operation, path))
                    else:
                        yield f"{operation}.{path} of {CRATE} {crate_version()}: nobody decided on it in {DECISIONS.name}"
            self.sections.append((section["title"], decisions))
        yield from (f"{operation} of {CRATE} {crate_version()}: in no section of {DECISIONS.name}" for operation in sorted(without_section))
        yield from (f"everywhere.{path}: no operation has it" for path in sorted(unused))

    def verify(self) -> Iterator[str]:
        """Decisions that hold for nothing, or are not true."""
        for title, decisions in self.sections:
            for (operation, path), decision in decisions.items():
                where = ": ".join(part for part in (title, operation, path) if part)
                if not decision.members:
                    yield f"{where}: no operation has it"
                yield from decision.mistakes(where, self.data["reasons"])
                for at, name in decision.members:
                    if not decision.holds_below and not is_sent(name):
                        yield f"{where}: nothing in src/resources sends {name} of {at}"
                    undecided, stale = decision.lacks(self.model.operations[at][name])
                    for value in sorted(undecided):
                        yield f"{where}: nobody decided on the value {value} of {at}.{name}, which {', '.join(decision.fields)} does not take: say it under without"
                    for value in sorted(stale):
                        yield f"{where}: {value} is not a value of {at}.{name} that the field does not take"
        rare = self.count("out", "rare")
        if rare > self.data["most_rare"]:
            yield f"{rare} members are left out as rare: find a better reason, or build them"

    def decisions(self) -> Iterator[Decision]:
        yield from (decision for _, decisions in self.sections for decision in decisions.values())

    def count(self, outcome: str, reason: str | None = None) -> int:
        chosen = (one for one in self.decisions() if one.outcome == outcome and reason in (None, one.said.get("out")))
        return sum(len(one.members) for one in chosen)


# The page


def head(coverage: Coverage) -> Iterator[str]:
    operations = coverage.model.operations
    total = sum(len(members) for members in operations.values())
    yield "# Coverage of the EKS API\n"
    yield "Generated from `docs/coverage.yaml` by `docs/generate-coverage.py`: do not edit.\n"
    yield (
        f"EKS has {len(operations)} operations that write, with {total} input members, as `{CRATE}` {crate_version()} knows them. For each member, this page\n"
        "says which field of a manifest sets it, or why none does. A structure counts as its members. A test fails when a newer client brings an\n"
        "operation, a member or a value that nobody decided on.\n"
    )
    yield "| | members |"
    yield "|---|---|"
    yield f"| a field | {coverage.count('field')} |"
    yield f"| set by Keelson | {coverage.count('by')} |"
    yield f"| planned: no manifest can say it yet | {coverage.count('planned')} |"
    for reason, meaning in coverage.data["reasons"].items():
        yield f"| left out, {reason}: {meaning[0].lower()}{meaning[1:].removesuffix('.')} | {coverage.count('out', reason)} |"


def rows(decisions: dict[tuple[str, str], Decision]) -> Iterator[str]:
    yield "| member | of | comes from |"
    yield "|---|---|---|"
    for (_, path), decision in decisions.items():
        # As a dict, which keeps the order.
        operations = dict.fromkeys(operation for operation, _ in decision.members)
        names = dict.fromkeys(name for _, name in decision.members)
        shown = ", ".join(f"`{name if path == ALL else name.removeprefix(f'{path}.')}`" for name in names)
        shown = f"`{path}`: {shown}" if path != ALL and list(names) != [path] else shown
        yield f"| {shown} | {', '.join(f'`{name}`' for name in operations)} | {decision.text()} |"


def page(coverage: Coverage) -> str:
    lines = list(head(coverage))
    for section, (title, decisions) in zip(coverage.data["sections"], coverage.sections, strict=True):
        fields = any(decision.outcome == "field" for decision in decisions.values())
        lines += [f"\n## {title}\n", *([f"Fields of {section['kind']}.\n"] if fields else []), *rows(decisions)]
    return "\n".join(lines) + "\n"


def main() -> None:
    try:
        made = page(Coverage.of(Model.read(crate_source()), yaml.safe_load(DECISIONS.read_text())))
    except Incomplete as why:
        sys.exit(str(why))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made)
    elif PAGE.read_text() != made:
        sys.exit(f"{PAGE} is stale: run docs/generate-coverage.py with the Python of e2e/harness/venv.sh")


if __name__ == "__main__":
    main()
