"""User data of a node group's launch template: the format that EKS accepts, and what it says about the kubelet.

- MIME multi-part for Amazon Linux, TOML for Bottlerocket, any with an own image: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html
- Otherwise the group fails with Ec2LaunchTemplateInvalidConfiguration: terraform-aws-modules/terraform-aws-eks#2059, #2872, #2955.
- NodeConfig: https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/. Several parts are merged, the later one wins.
"""

from __future__ import annotations

import email
import tomllib
from dataclasses import dataclass, field
from typing import Any

import yaml

NODE_CONFIG = "application/node.eks.aws"
# What nodeadm needs where EKS adds nothing: with an own image.
OF_CLUSTER = ("name", "apiServerEndpoint", "certificateAuthority", "cidr")


class FormatError(ValueError):
    """User data that EKS cannot merge with its own."""


@dataclass
class Kubelet:
    """What differs from the defaults of EKS."""

    labels: dict[str, str] = field(default_factory=dict)
    taints: list[dict[str, str]] = field(default_factory=list)
    max_pods: int | None = None
    # `spec.cluster` of the NodeConfig; None without a NodeConfig.
    cluster: dict[str, Any] | None = None


def text_of(data: dict[str, Any]) -> str:
    """Of a launch template's content."""
    encoded = data.get("UserData")
    return encoded.decode() if encoded is not None else ""


def check(ami_type: str, text: str) -> None:
    if not text or ami_type == "CUSTOM" or ami_type.startswith("WINDOWS"):
        return
    if ami_type.startswith("BOTTLEROCKET"):
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError("User data was not in the TOML format.") from error
    elif not email.message_from_string(text).is_multipart():
        raise FormatError("User data was not in the MIME multipart format.")


def kubelet_of(text: str) -> Kubelet:
    if not text:
        return Kubelet()
    found = Kubelet()
    for config in node_configs(text):
        spec = config.get("spec") or {}
        if spec.get("cluster") is not None:
            found.cluster = {**(found.cluster or {}), **spec["cluster"]}
        elif found.cluster is None:
            found.cluster = {}
        kubelet = spec.get("kubelet") or {}
        options = kubelet.get("config") or {}
        found.max_pods = options.get("maxPods", found.max_pods)
        found.taints += [{key: str(taint.get(key) or "") for key in ("key", "value", "effect")} for taint in options.get("registerWithTaints") or []]
        for flag in kubelet.get("flags") or []:
            name, _, value = flag.lstrip("-").partition("=")
            pairs = [pair.partition("=") for pair in value.split(",") if pair]
            if name == "node-labels":
                found.labels.update({key: label for key, _, label in pairs})
            if name == "register-with-taints":
                found.taints += [{"key": key, "value": rest.partition(":")[0], "effect": rest.partition(":")[2]} for key, _, rest in pairs]
            if name == "max-pods":
                found.max_pods = int(value)
    return merge_settings(found, text)


def node_configs(text: str) -> list[dict[str, Any]]:
    """The NodeConfigs in a MIME multi-part text, or in one that is nothing else."""
    message = email.message_from_string(text)
    parts = [part.get_payload() for part in message.walk() if part.get_content_type() == NODE_CONFIG] if message.is_multipart() else [text]
    configs = []
    for part in parts:
        try:
            configs += [one for one in yaml.safe_load_all(str(part)) if isinstance(one, dict) and one.get("kind") == "NodeConfig"]
        except yaml.YAMLError:
            continue
    return configs


def merge_settings(found: Kubelet, text: str) -> Kubelet:
    """Bottlerocket's settings.kubernetes."""
    try:
        settings = tomllib.loads(text).get("settings", {}).get("kubernetes", {})
    except (tomllib.TOMLDecodeError, AttributeError):
        return found
    found.labels.update({key: str(value) for key, value in (settings.get("node-labels") or {}).items()})
    for key, values in (settings.get("node-taints") or {}).items():
        for value in values if isinstance(values, list) else [values]:
            found.taints.append({"key": key, "value": str(value).partition(":")[0], "effect": str(value).partition(":")[2]})
    found.max_pods = settings.get("max-pods", found.max_pods)
    return found
