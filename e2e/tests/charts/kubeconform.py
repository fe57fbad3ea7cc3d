"""Runs the real kubeconform, with the schemas of an API server and of CRDs. It downloads none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from keelson_harness.kubeapi import KubeApi
from keelson_harness.paths import tools

TEMPLATE = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"
# Types that YAML may write as a number or a text.
NUMBER_OR_TEXT = {"type": ["string", "integer", "number"]}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


class Kubeconform:
    """crds: of kinds that the API server does not serve."""

    def __init__(self, directory: Path, api: KubeApi, crds: list[dict]):
        self._tool = tools("kubeconform")["kubeconform"]
        self._schemas = directory / "schemas"
        self._schemas.mkdir()
        self._definitions = api.request("GET", "/openapi/v2").json()["definitions"]
        for definition in self._definitions.values():
            for kind in definition.get("x-kubernetes-group-version-kind", []):
                self._write(kind["group"], kind["version"], kind["kind"], definition)
        for crd in crds:
            for version in crd["spec"]["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                self._write(crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"], schema)

    def check(self, items: list[dict]) -> dict:
        """Its report: `resources` that are not valid, and a `summary`."""
        command = [self._tool, "-strict", "-output", "json", "-summary", "-schema-location", f"{self._schemas}/{TEMPLATE}", "-"]
        result = subprocess.run(command, input="\n---\n".join(map(json.dumps, items)), capture_output=True, text=True, timeout=120, check=False)
        assert result.stdout, result.stderr
        return json.loads(result.stdout)

    def _write(self, group: str, version: str, kind: str, schema: dict) -> None:
        # Of the core group, `.Group` is the version.
        path = self._schemas / f"{group or version}_{version}_{kind.lower()}.json"
        path.write_text(json.dumps(self._strict(schema, (), top=True)))

    def _strict(self, schema: dict, within: tuple[str, ...], top: bool = False) -> dict:
        """A JSON schema without references that rejects unknown fields, as the API server does with strict validation."""
        if reference := schema.get("$ref", "").rpartition("/")[2]:
            if reference == QUANTITY:
                return NUMBER_OR_TEXT
            # Only the schemas of schemas contain themselves.
            return {} if reference in within else self._strict(self._definitions[reference], (*within, reference))
        if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
            return NUMBER_OR_TEXT
        strict = {key: value for key, value in schema.items() if key in ("type", "enum", "required", "pattern", "minimum", "maximum")}
        if fields := schema.get("properties"):
            strict["properties"] = {name: self._strict(field, within) for name, field in fields.items()}
            strict["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
            if top:
                strict["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        elif isinstance(values := schema.get("additionalProperties"), dict):
            strict["additionalProperties"] = self._strict(values, within)
        if items := schema.get("items"):
            strict["items"] = self._strict(items, within)
        # A null is no value for the API server.
        if isinstance(kind := strict.get("type"), str) and not top:
            strict["type"] = [kind, "null"]
            if "enum" in strict:
                strict["enum"] = [*strict["enum"], None]
        return strict
