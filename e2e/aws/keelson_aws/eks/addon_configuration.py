"""Configuration values of add-ons: their JSON schemas and EKS's validation."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import yaml

from ..versions import Addon
from .state import bad_parameter

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
RESOURCES = {"type": "object", "properties": {"limits": {"type": "object"}, "requests": {"type": "object"}}, "additionalProperties": False}
TOLERATIONS = {"type": "array", "items": {"type": "object"}}
WORKLOAD: dict[str, Any] = {
    "affinity": {"type": ["object", "null"]}, "nodeSelector": STRINGS, "podAnnotations": STRINGS, "podLabels": STRINGS,
    "resources": RESOURCES, "tolerations": TOLERATIONS,
}
PROPERTIES: dict[str, dict[str, Any]] = {
    "vpc-cni": {
        **WORKLOAD, "env": STRINGS, "enableNetworkPolicy": {"type": "string"}, "enableWindowsIpam": {"type": "string"},
        "eniConfig": {"type": "object"}, "init": {"type": "object"}, "livenessProbeTimeoutSeconds": {"type": "integer"},
        "nodeAgent": {"type": "object"}, "readinessProbeTimeoutSeconds": {"type": "integer"},
    },
    "coredns": {
        **WORKLOAD, "replicaCount": {"type": "integer"}, "corefile": {"type": "string"}, "computeType": {"type": "string"},
        "autoScaling": {"type": "object"}, "podDisruptionBudget": {"type": "object"}, "topologySpreadConstraints": {"type": "array"},
    },
    "kube-proxy": {**WORKLOAD, "ipvs": {"type": "object"}, "mode": {"enum": ["iptables", "ipvs", "nftables"]}},
    "eks-pod-identity-agent": {
        **WORKLOAD, "agent": {"type": "object"}, "priorityClassName": {"type": "string"}, "updateStrategy": {"type": "object"},
    },
    "metrics-server": {
        **WORKLOAD, "replicas": {"type": "integer"}, "podDisruptionBudget": {"type": "object"}, "addonResizer": {"type": "object"},
    },
    "aws-ebs-csi-driver": {
        **WORKLOAD, "controller": {"type": "object"}, "node": {"type": "object"}, "sidecars": {"type": "object"},
        "defaultStorageClass": {"type": "object"}, "image": {"type": "object"}, "enableFIPS": {"type": "boolean"},
    },
}


def schema(addon: Addon) -> dict[str, Any]:
    found: dict[str, Any] = {"$schema": "http://json-schema.org/draft-06/schema#", "type": "object"}
    if addon.name in PROPERTIES:
        found["properties"] = PROPERTIES[addon.name]
        found["additionalProperties"] = False
    return found


def schema_text(addon: Addon) -> str:
    return json.dumps(schema(addon))


def check_configuration(addon: Addon, text: str | None, resource: dict[str, str]) -> None:
    """Configuration values are JSON or YAML and must match the add-on's schema."""
    if not text:
        return
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise bad_parameter("ConfigurationValue provided in request is not supported: Invalid JSON or YAML", **resource) from error
    if value is None:
        return
    try:
        jsonschema.validate(value, schema(addon))
    except jsonschema.ValidationError as error:
        path = "$" + "".join(f".{part}" for part in error.absolute_path)
        raise bad_parameter(
            f"ConfigurationValue provided in request is not supported: Json schema validation failed with error: [{path}: {error.message}]", **resource
        ) from error
