"""Writes docs/api.md from crds/ and src/api/unsupported.rs; with --check, fails when it is stale.

    $(e2e/harness/venv.sh) docs/generate-api.py
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs" / "api.md"
KINDS = ("eksclusters", "nodegroups", "awsaccounts", "planapprovals", "fleetrollouts")
UNSUPPORTED = {"EksCluster": "of_cluster", "NodeGroup": "of_node_group"}

HEAD = """\
# API: every field

Generated from `crds/` by `docs/generate-api.py`: do not edit. [examples/full.yaml](../examples/full.yaml) shows all of it in
use, [examples/minimal.yaml](../examples/minimal.yaml) the least.

Group `keelson.dev`, version `v1alpha1`. What holds for all kinds:

- Defaults stand in the schema: `kubectl get -o yaml` shows what will happen.
- A field left out, where there is no default, is *not managed*: never written, and no other writer undone.
- What cannot change is refused at admission, with what to do instead.
- Secrets are named in the object's own namespace.
- **Later** marks a field that this version knows and does not act on: set to anything but its default, the object is
  `Stalled` with reason `InvalidSpec` naming the field. Nothing is accepted and ignored.
- The annotation `keelson.dev/reconcile-at`, set to any new value, asks for a look at AWS now.

Conditions and reasons are in [troubleshooting.md](troubleshooting.md).
"""


def unsupported(kind: str) -> set[str]:
    """Paths of the fields that an object of this kind cannot set yet, as the operator itself names them."""
    if kind not in UNSUPPORTED:
        return set()
    source = (CHECKOUT / "src/api/unsupported.rs").read_text()
    of_node_group = source.index("pub fn of_node_group")
    part = source[of_node_group:] if kind == "NodeGroup" else source[:of_node_group]
    return set(re.findall(r'"(spec\.[A-Za-z.]+)"', part))


def type_of(schema: dict) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "int or string"
    if values := schema.get("enum"):
        return " \\| ".join(f"`{value}`" for value in values if value is not None)
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_of(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {type_of(schema['additionalProperties'])}"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "any object"
    return kind


def fields(schema: dict, path: str) -> Iterator[tuple[str, dict, bool]]:
    """Path, schema and whether it is required, of every field below."""
    required = schema.get("required", [])
    for name, field in sorted(
        schema.get("properties", {}).items(), key=lambda item: (item[0] not in required, item[0])
    ):
        yield f"{path}{name}", field, name in required
        inner = field
        suffix = ""
        while inner.get("type") == "array":
            inner, suffix = inner["items"], suffix + "[]"
        yield from fields(inner, f"{path}{name}{suffix}.")


def rules(field: dict) -> list[str]:
    return [rule["message"] for rule in field.get("x-kubernetes-validations", [])]


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def row(path: str, field: dict, required: bool, later: bool) -> str:
    # The default has a column of its own.
    meaning = cell(re.sub(r" Default: `[^`]*`(, `[^`]*`)*\.$", "", field.get("description", "")))
    if later:
        meaning = f"**Later.** {meaning}"
    refused = [cell(message) for message in rules(field)]
    if field.get("type") == "array":
        refused += [cell(message) for message in rules(field["items"])]
    if refused:
        meaning += "<br>*Refused unless:* " + "; ".join(refused)
    default = "required" if required else ""
    if "default" in field:
        default = f"`{json.dumps(field['default'])}`" if field["default"] != "" else '`""`'
    return f"| `{path}` | {type_of(field)} | {cell(default)} | {meaning} |"


def table(schema: dict, root: str, later: set[str]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for path, field, required in fields(schema, ""):
        plain = f"{root}.{path}".replace("[]", "")
        yield row(path, field, required, any(plain == one or plain.startswith(f"{one}.") for one in later))


def kind_section(crd: dict) -> Iterator[str]:
    names = crd["spec"]["names"]
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    short = ", ".join(f"`{name}`" for name in names.get("shortNames", []))
    scope = "in a namespace" if crd["spec"]["scope"] == "Namespaced" else "for the whole cluster"
    yield f"\n## {names['kind']}\n"
    yield cell(schema["spec"].get("description", ""))
    yield f"\nPlural `{names['plural']}`{', short ' + short if short else ''}; {scope}.\n"
    columns = version.get("additionalPrinterColumns", [])
    usual = [column["name"].upper() for column in columns if not column.get("priority")]
    wide = [column["name"].upper() for column in columns if column.get("priority")]
    more = f"; with `-o wide` also {', '.join(wide)}" if wide else ""
    yield f"Columns of `kubectl get`: NAME, {', '.join(usual)}{more}.\n"
    if "scale" in version.get("subresources", {}):
        yield "It has the scale subresource.\n"
    of_spec = rules(schema["spec"])
    if of_spec:
        yield "Rules over several fields:\n"
        yield from (f"- {cell(rule)}" for rule in of_spec)
        yield ""
    yield f"### spec of {names['kind']}\n"
    yield from table(schema["spec"], "spec", unsupported(names["kind"]))
    yield f"\n### status of {names['kind']}\n"
    yield from table(schema["status"], "status", set())


def page() -> str:
    lines = [HEAD.rstrip()]
    for name in KINDS:
        crd = yaml.safe_load((CHECKOUT / "crds" / f"{name}.yaml").read_text())
        lines += kind_section(crd)
    return "\n".join(lines) + "\n"


def main() -> None:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit(f"{PAGE} is stale: run docs/generate-api.py with the Python of e2e/harness/venv.sh")


if __name__ == "__main__":
    main()
