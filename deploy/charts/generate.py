"""Writes the parts of the Helm chart that have another source: `make chart`. With --check it only compares (`e2e/tests/test_chart.py`).

    templates/generated/   CRDs, roles, admission policies, alerts: from crds/ and deploy/, whose text stays, comments included; dashboards
    values.schema.json     its descriptions: from the comments of values.yaml
    README.md              its table: from values.yaml
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHARTS = Path(__file__).resolve().parent
CHECKOUT = CHARTS.parents[1]
CHART = CHARTS / "keelson"
GENERATED = CHART / "templates" / "generated"
# The namespace of the kustomize base.
NAMESPACE = "keelson-system"
# Argo CD's, in the component that registers clusters there.
ARGOCD = "argocd"
LABELS = '    {{- include "keelson.labels" . | nindent 4 }}\n'
RULE_LABELS = "    {{- with .Values.metrics.prometheusRule.labels }}\n    {{- toYaml . | nindent 4 }}\n    {{- end }}\n"
PART_OF = "    app.kubernetes.io/part-of: keelson\n"
KEEP = "  annotations:\n    helm.sh/resource-policy: keep\n"
KEEP_CRD = f"  {{{{- if .Values.crds.keep }}}}\n{KEEP}  {{{{- end }}}}\n"
# Stand for an action of a template until the text of the source is escaped.
IF, END = "@if", "@end"
# Rules of deploy/rbac.yaml that the operator needs only with a value, by their resource.
OPTIONAL_RULES = {
    "leases": ".Values.operator.leaderElection",
    "tokenreviews": ".Values.metrics.authorization",
    "subjectaccessreviews": ".Values.metrics.authorization",
}
TABLE = re.compile(r"(<!-- values -->\n).*?(<!-- end of values -->)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A manifest outside the chart, and the value that includes it."""

    path: str
    condition: str
    name: str = ""

    def target(self) -> Path:
        return GENERATED / (self.name or Path(self.path).name)


def sources() -> list[Source]:
    """All manifests that become templates."""
    crds = [Source(f"crds/{path.name}", ".Values.crds.install", f"crd-{path.name}") for path in sorted((CHECKOUT / "crds").glob("*.yaml"))]
    policies = sorted((CHECKOUT / "deploy").glob("admission-*.yaml"))
    return [
        *crds,
        Source("deploy/namespace.yaml", ".Values.namespace.create"),
        Source("deploy/rbac.yaml", ".Values.rbac.create"),
        Source("deploy/metrics-reader.yaml", ".Values.rbac.create"),
        Source("deploy/rbac-users.yaml", ".Values.rbac.users"),
        Source("deploy/argocd-registration/rbac.yaml", ".Values.operator.argocd.namespace", "argocd-registration.yaml"),
        Source("deploy/ui/rbac.yaml", "and .Values.ui.enabled .Values.rbac.create", "ui-rbac.yaml"),
        Source("deploy/secrets-cluster-wide/rbac.yaml", ".Values.secrets.clusterWide", "secrets-cluster-wide.yaml"),
        *(Source(f"deploy/{path.name}", ".Values.admissionPolicies.enabled") for path in policies),
        Source("deploy/monitoring/prometheus-rule.yaml", ".Values.metrics.prometheusRule.enabled"),
        Source("deploy/monitoring/service-account.yaml", "and .Values.metrics.authorization .Values.metrics.scrape.createToken", "metrics-token.yaml"),
        Source("deploy/require-account-ref/admission-policy.yaml", ".Values.admissionPolicies.requireAccountRef", "require-account-ref.yaml"),
    ]


def template(source: Source) -> str:
    """The manifest as a template: with the release's namespace, and the chart's labels."""
    text = (CHECKOUT / source.path).read_text()
    if source.path == "deploy/rbac.yaml":
        text = with_optional_rules(text)
    objects = "---\n".join(as_template(part) for part in re.split(r"^---\n", text, flags=re.MULTILINE))
    header = f"{{{{- /* Generated from {source.path} by deploy/charts/generate.py: do not edit. */}}}}\n"
    return f"{header}{{{{- if {source.condition} }}}}\n{objects}{{{{- end }}}}\n"


def with_optional_rules(roles: str) -> str:
    """The roles, with a condition around each rule that only some installations need."""
    for resource, condition in OPTIONAL_RULES.items():
        rule = rf"((?:  #.*\n)*  - apiGroups: .*\n    resources: \[{resource}\]\n(?:    .*\n)+)"
        roles, count = re.subn(rule, lambda found, value=condition: f"  {IF} {value} -\n{found[1]}  {END}\n", roles)
        if not count:
            raise ValueError(f"deploy/rbac.yaml has no rule for {resource}")
    return roles


def as_template(manifest: str) -> str:
    # What Helm would evaluate.
    manifest = manifest.replace("{{", '{{ "{{" }}')
    manifest = re.sub(rf"{IF} (\S+) -", r"{{- if \1 }}", manifest).replace(END, "{{- end }}")
    (kind,) = re.findall(r"^kind: (\w+)$", manifest, re.MULTILINE)
    # The ConfigMap with the id of the installation is in the namespace.
    kept = {"CustomResourceDefinition": KEEP_CRD, "Namespace": KEEP}.get(kind, "")
    manifest = re.sub(rf"^( *namespace): {ARGOCD}$", r"\1: {{ .Values.operator.argocd.namespace }}", manifest, flags=re.MULTILINE)
    manifest = re.sub(rf"^( *(?:- )?namespace): {NAMESPACE}$", r"\1: {{ .Release.Namespace }}", manifest, flags=re.MULTILINE)
    if kind == "Namespace":
        manifest = manifest.replace(f"  name: {NAMESPACE}\n", "  name: {{ .Release.Namespace }}\n")
    head, metadata, rest = divide(manifest)
    metadata = metadata.replace(PART_OF, "")
    if kind == "PrometheusRule":
        metadata = metadata.replace("  labels:\n", f"  labels:\n{RULE_LABELS}")
    if "  labels:\n" in metadata:
        metadata = metadata.replace("  labels:\n", f"  labels:\n{LABELS}")
    else:
        metadata += f"  labels:\n{LABELS}"
    return head + metadata + kept + rest


def dashboards() -> str:
    """A ConfigMap with the dashboards of deploy/monitoring, as a template."""
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: keelson-dashboards\n  namespace: {NAMESPACE}\n"
    text += '  labels:\n    grafana_dashboard: "1"\ndata:\n'
    for path in sorted((CHECKOUT / "deploy" / "monitoring" / "dashboards").glob("*.json")):
        text += f"  {path.name}: |\n" + "".join(f"    {line}\n" for line in path.read_text().splitlines())
    header = "{{- /* Generated from deploy/monitoring/dashboards by deploy/charts/generate.py: do not edit. */}}\n"
    return f"{header}{{{{- if .Values.metrics.dashboards.enabled }}}}\n{as_template(text)}{{{{- end }}}}\n"


def divide(manifest: str) -> tuple[str, str, str]:
    """The text up to `metadata:`, the block of metadata, the rest."""
    found = re.search(r"^metadata:\n(?:(?: +.*)?\n)+?(?=\S|\Z)", manifest, re.MULTILINE)
    if not found:
        raise ValueError(f"no metadata: {manifest[:80]}")
    return manifest[: found.start()], found[0], manifest[found.end() :]


# Values


def values_text() -> str:
    return (CHART / "values.yaml").read_text()


def leaves(values: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each value that is no group of values, with its default."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def comments(text: str) -> dict[tuple[str, ...], str]:
    """The comment right above each key."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []
    block: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            block.append(stripped.removeprefix("#").strip())
            continue
        if key := re.match(r"( *)([\w-]+):", line):
            path = [*((depth, name) for depth, name in path if depth < len(key[1])), (len(key[1]), key[2])]
            if block:
                found[tuple(name for _, name in path)] = " ".join(block)
        block = []
    return found


def schema() -> str:
    """values.schema.json with the comments of values.yaml as descriptions."""
    document = json.loads((CHART / "values.schema.json").read_text())
    described = comments(values_text())

    def describe(node: dict, path: tuple[str, ...]) -> None:
        for key, child in node.get("properties", {}).items():
            here = (*path, key)
            child.pop("description", None)
            if here in described:
                child["description"] = described[here]
            describe(child, here)

    describe(document, ())
    return json.dumps(document, indent=2) + "\n"


def readme() -> str:
    """README.md with the table of values."""
    text = values_text()
    described = comments(text)
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for path, default in leaves(yaml.safe_load(text)):
        shown = "" if default is None else f"`{json.dumps(default)}`"
        rows.append(f"| `{'.'.join(path)}` | {shown} | {described.get(path, '').replace('|', chr(92) + '|')} |")
    table = "\n".join(rows)
    return TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", (CHART / "README.md").read_text())


def generated() -> dict[Path, str]:
    """The text of each generated file."""
    files = {source.target(): template(source) for source in sources()}
    files[GENERATED / "dashboards.yaml"] = dashboards()
    return files | {CHART / "values.schema.json": schema(), CHART / "README.md": readme()}


def outdated() -> list[str]:
    """Generated files that differ from their sources, and templates without a source."""
    files = generated()
    changed = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in GENERATED.glob("*") if path not in files]
    return sorted(str(path.relative_to(CHECKOUT)) for path in [*changed, *extra])


def main() -> int:
    if "--check" in sys.argv[1:]:
        found = outdated()
        print("\n".join(f"{path}: outdated, run `make chart`" for path in found))
        return 1 if found else 0
    GENERATED.mkdir(parents=True, exist_ok=True)
    files = generated()
    for path in set(GENERATED.glob("*")) - files.keys():
        path.unlink()
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
