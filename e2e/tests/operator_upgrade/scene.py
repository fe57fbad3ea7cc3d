"""A platform team's management cluster: clusters under every change policy, and one pending change of each kind."""

from __future__ import annotations

import yaml

from fleet.account import fresh_account
from fleet.manifests import account, cluster, existing, flux, node_group, secret
from fleet.environment import Environment
from fleet.upgrading import far_window
from keelson_harness.aws import ACCOUNT

ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
PATH = "clusters/whole"
# One minor older than the version that the edit asks for.
OLD, NEW = "1.33", "1.34"


class Scene:
    """`apply` creates the clusters, `edit` makes changes that stay pending."""

    def __init__(self, on: Environment):
        self.on = on
        self.account = on.account(fresh_account())
        operator = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        role = self.account.role("keelson", operator, "AdministratorAccess")
        reader = self.account.role("reader", {"Service": "pods.eks.amazonaws.com"})
        self.repository = on.cloud.git.repository("whole")
        greeting = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting", "namespace": "default"}}
        self.repository.commit({f"{PATH}/greeting.yaml": yaml.safe_dump(greeting)})
        tags = {"tags": {"cost-center": "4711"}, "enforcedTags": {"data-class": "internal"}}
        self.accounts = [account("prod", self.account.id, roleArn=role, **tags)]
        of = {"accountRef": {"name": "prod"}}
        lent = {**of, "network": existing(*self.account.network()), "addons": [{"name": "vpc-cni"}], "oidcProvider": False}
        gitops = flux(self.repository.url, PATH, interval="2s", secretRef={"name": "reader"})
        self.secret = secret("reader", username="reader", password="of-the-recording-2d8f")
        self.whole = cluster(
            "whole",
            version=NEW,
            network={"vpc": {"zoneCount": 2, "endpoints": ["s3"]}},
            logging=["api", "audit"],
            tags={"team": "shop"},
            access={"entries": [{"principalArn": reader, "policies": [{"policyArn": ADMIN}]}]},
            podIdentities=[{"namespace": "default", "serviceAccount": "reader", "roleArn": reader}],
            gitops=gitops,
            **of,
        )
        self.approving = cluster("approving", version=NEW, **lent)
        self.observed = cluster("observed", version=NEW, **lent)
        self.waiting = cluster("waiting", version=OLD, upgrade={"windows": [far_window()]}, **lent)
        self.groups = [
            node_group("whole", labels={"pool": "default"}, tags={"pool": "default"}),
            node_group("whole", "whole-spot", capacityType="Spot", instanceTypes=["m7i.large", "m7a.large"]),
            node_group("waiting", "waiting-nodes"),
        ]
        self.clusters = [self.whole, self.approving, self.observed, self.waiting]

    def apply(self) -> None:
        self.on.apply(self.secret, *self.accounts, *self.clusters, *self.groups)
        self.on.ready(*self.clusters, *self.groups, timeout=180)

    def edit(self) -> None:
        """One change waits for approval, one for a maintenance window, and one is only reported."""
        self._edit("approving", changePolicy="Approval", logging=["audit"])
        self._edit("observed", changePolicy="Observe", logging=["audit"])
        self._edit("waiting", version=NEW)
        self.on.await_condition(self.approving, reason="WaitingForApproval", status="False")
        self.on.await_condition(self.observed, "InSync", "False")
        self.on.await_condition(self.waiting, reason="OutsideMaintenanceWindow", status="False")

    def _edit(self, name: str, **spec: object) -> None:
        self.on.api.patch("keelson.dev/v1alpha1", "EksCluster", name, {"spec": spec})
