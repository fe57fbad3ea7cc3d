"""A tenant: a service account in its own namespace, with exactly the roles that `deploy/` ships for people."""

from __future__ import annotations

from dataclasses import dataclass

import kustomize
from fleet import API
from fleet.environment import Environment
from keelson_harness.kubeapi import ApiError, KubeApi
from keelson_harness.paths import CHECKOUT

ROLES = ("keelson-view", "keelson-edit")
ADMISSION = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
RBAC = "rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Tenant:
    """A service account that may edit one namespace."""

    namespace: str
    api: KubeApi

    def object(self, kind: str, name: str, spec: dict, **metadata) -> dict:
        return {
            "apiVersion": API,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": spec,
        }

    def apply_error(self, item: dict) -> str | None:
        """Applies `item` as this tenant; returns the API server's error, or None if it is stored."""
        try:
            self.api.apply(item)
        except ApiError as error:
            return str(error)
        return None


def install_admission(environment: Environment, without: tuple[str, ...] = ()) -> None:
    """Installs the admission policies of `deploy/`; `without` some, to test that the operator is safe without them."""
    shipped = [item for item in kustomize.build(CHECKOUT / "deploy") if item["kind"] in ADMISSION]
    assert {item["metadata"]["name"] for item in shipped} >= set(without)
    environment.apply(*[item for item in shipped if item["metadata"]["name"] not in without])


def tenant(
    environment: Environment, namespace: str, roles: tuple[str, ...] = ROLES, name: str = "tenant"
) -> Tenant:
    """A service account in its own namespace, bound there to the shipped `roles` and to nothing else."""
    shipped = [
        item
        for item in kustomize.build(CHECKOUT / "deploy")
        if item["kind"] == "ClusterRole" and item["metadata"]["name"] in roles
    ]
    assert {item["metadata"]["name"] for item in shipped} == set(roles)
    account = {"name": name, "namespace": namespace}
    environment.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        *shipped,
        *[
            {
                "apiVersion": RBAC,
                "kind": "RoleBinding",
                "metadata": {"name": f"{name}-{role}", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
            for role in roles
        ],
    )
    management = environment.cloud.management
    token = environment.api.service_account_token(namespace, name)
    return Tenant(namespace, KubeApi(management.url, management.ca_file, token=token))
