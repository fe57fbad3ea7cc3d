"""A value other than the default for each value of the chart, and what it changes in the rendered objects.

A new value in values.yaml fails the tests until it has a line here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .rendering import merged, nested

DIGEST = f"sha256:{'a' * 64}"
ROLE = "arn:aws:iam::123456789012:role/keelson"
CONTAINER = "Deployment/keelson spec.template.spec.containers[0]"
POD = "Deployment/keelson spec.template.spec"
SERVICE_MONITOR = {"metrics": {"serviceMonitor": {"enabled": True}}}
TOKEN_SECRET = {"metrics": {"scrape": {"tokenSecret": {"name": "token"}}}}
NOTIFICATIONS = {"operator": {"notifications": {"secret": {"name": "notifications"}}}}
UI = {"ui": {"enabled": True}}
CRDS = {"crds": {"install": True}}


@dataclass(frozen=True)
class Change:
    """value: other than the default. fact: part of a fact that it adds or removes. given: other values that it needs."""

    value: object
    fact: str
    given: dict = field(default_factory=dict)


def flag(value: object, argument: str) -> Change:
    return Change(value, f"={argument}")


CHANGES = {
    "image.repository": Change("registry.example.com/keelson", f"{CONTAINER}.image=registry.example.com/keelson:0.1.0"),
    "image.tag": Change("0.1.0-rc.1", f"{CONTAINER}.image=keelson:0.1.0-rc.1"),
    "image.digest": Change(DIGEST, f"{CONTAINER}.image=keelson@{DIGEST}"),
    "image.pullPolicy": Change("Always", f"{CONTAINER}.imagePullPolicy=Always"),
    "imagePullSecrets": Change([{"name": "registry"}], f"{POD}.imagePullSecrets[0].name=registry"),
    "replicas": Change(3, "Deployment/keelson spec.replicas=3"),
    "namespace.create": Change(True, "Namespace/keelson-system metadata.labels.pod-security.kubernetes.io/enforce=restricted"),
    "crds.install": Change(True, "CustomResourceDefinition/eksclusters.keelson.dev spec.group=keelson.dev"),
    "crds.keep": Change(False, "CustomResourceDefinition/nodegroups.keelson.dev metadata.annotations.helm.sh/resource-policy=keep", CRDS),
    "aws.roleArn": Change(ROLE, f"ServiceAccount/keelson metadata.annotations.eks.amazonaws.com/role-arn={ROLE}"),
    "aws.region": Change("eu-west-1", f"{CONTAINER}.env[2].value=eu-west-1"),
    "serviceAccount.annotations": Change({"example.com/owner": "platform"}, "ServiceAccount/keelson metadata.annotations.example.com/owner=platform"),
    "operator.listen": Change("[::]:9090", f"{CONTAINER}.ports[0].containerPort=9090"),
    "operator.leaderElection": Change(False, "Deployment/keelson spec.strategy.type=Recreate", {"replicas": 1}),
    "operator.leaseDuration": flag("30s", "--lease-duration=30s"),
    "operator.renewDeadline": flag("8s", "--renew-deadline=8s"),
    "operator.retryPeriod": flag("1s", "--retry-period=1s"),
    "operator.driftInterval": flag("1h30m", "--drift-interval=1h30m"),
    "operator.eventQueue.url": flag(
        "https://sqs.eu-west-1.amazonaws.com/123456789012/keelson-events",
        "--event-queue-url=https://sqs.eu-west-1.amazonaws.com/123456789012/keelson-events",
    ),
    "operator.eventQueue.senderIds": flag(["AIDAEXAMPLE", "AROAEXAMPLE"], "--event-queue-sender-id=AIDAEXAMPLE,AROAEXAMPLE"),
    "operator.argocd.namespace": Change("argocd", "RoleBinding/keelson-argocd-registration metadata.namespace=argocd"),
    "operator.argocd.clusterLabels": flag(["team", "acme.example/*"], "--argocd-cluster-labels=team,acme.example/*"),
    "operator.loadBalancerTimeout": flag("5m", "--load-balancer-timeout=5m"),
    "operator.readAfterWriteWindow": flag("20s", "--read-after-write-window=20s"),
    "operator.maxDeletions": flag(0, "--max-deletions=0"),
    "operator.maxDeletionsTotal": flag(5, "--max-deletions-total=5"),
    "operator.maxNodeGroupDeletions": flag(0, "--max-node-group-deletions=0"),
    "operator.maxNodeGroupDeletionsTotal": flag(5, "--max-node-group-deletions-total=5"),
    "operator.requireApprovalObjects": flag(True, "--require-approval-objects"),
    "operator.allowAmbientAccount": Change(True, f"{CONTAINER}.env[2].name=KEELSON_ALLOW_AMBIENT_ACCOUNT"),
    "operator.installationId": flag("0a1b2c3d", "--installation-id=0a1b2c3d"),
    "operator.maxWatches": flag(0, "--max-watches=0"),
    "operator.concurrency": flag(1000, "--concurrency=1000"),
    "operator.workloadProxy.url": flag("http://proxy.example.com:3128", "--workload-proxy=http://proxy.example.com:3128"),
    "operator.workloadProxy.secret.name": Change("proxy", f"{CONTAINER}.env[2].valueFrom.secretKeyRef.name=proxy"),
    "operator.workloadProxy.secret.key": Change(
        "address", f"{CONTAINER}.env[2].valueFrom.secretKeyRef.key=address", {"operator": {"workloadProxy": {"secret": {"name": "proxy"}}}}
    ),
    "operator.otlp.endpoint": flag("http://otel-collector.monitoring:4318", "--otlp-endpoint=http://otel-collector.monitoring:4318"),
    "operator.notifications.url": Change("https://hooks.example.com/keelson", "=--notify-url=https://hooks.example.com/keelson", NOTIFICATIONS),
    "operator.notifications.secret.name": Change("notifications", f"{POD}.volumes[0].secret.secretName=notifications"),
    "operator.notifications.secret.key": Change("whsec", f"{POD}.volumes[0].secret.items[0].key=whsec", NOTIFICATIONS),
    "operator.log.format": flag("text", "--log-format=text"),
    "operator.log.level": flag("keelson=debug,kube=info", "--log-level=keelson=debug,kube=info"),
    "rbac.create": Change(False, "ClusterRoleBinding/keelson roleRef.name=keelson"),
    "rbac.users": Change(False, "ClusterRole/keelson-view metadata.labels.rbac.authorization.k8s.io/aggregate-to-view=true"),
    "secrets.namespaces": Change(["team-a", "team-b"], "RoleBinding/keelson-secrets metadata.namespace=team-b"),
    "jobs.namespaces": Change(["team-a", "team-b"], "RoleBinding/keelson-jobs metadata.namespace=team-b"),
    "secrets.clusterWide": Change(True, "ClusterRoleBinding/keelson-secrets-watch roleRef.name=keelson-secrets-watch"),
    "admissionPolicies.enabled": Change(False, "ValidatingAdmissionPolicyBinding/keelson-limits spec.policyName=keelson-limits"),
    "admissionPolicies.requireAccountRef": Change(True, "ValidatingAdmissionPolicyBinding/keelson-require-account-ref spec.validationActions[0]=Deny"),
    "metrics.authorization": flag(False, "--metrics-auth=false"),
    "metrics.readers": Change([{"namespace": "monitoring", "name": "prometheus"}], "ClusterRoleBinding/keelson-metrics-reader subjects[0].name=prometheus"),
    "metrics.serviceMonitor.enabled": Change(True, "ServiceMonitor/keelson spec.endpoints[0].port=metrics"),
    "metrics.podMonitor.enabled": Change(True, "PodMonitor/keelson spec.podMetricsEndpoints[0].port=http", TOKEN_SECRET),
    "metrics.prometheusRule.enabled": Change(True, "PrometheusRule/keelson spec.groups[0].name=keelson-clusters"),
    "metrics.prometheusRule.labels": Change(
        {"release": "prometheus"}, "PrometheusRule/keelson metadata.labels.release=prometheus", {"metrics": {"prometheusRule": {"enabled": True}}}
    ),
    "metrics.dashboards.enabled": Change(True, "ConfigMap/keelson-dashboards metadata.labels.grafana_dashboard=1"),
    "metrics.scrape.labels": Change({"release": "prometheus"}, "ServiceMonitor/keelson metadata.labels.release=prometheus", SERVICE_MONITOR),
    "metrics.scrape.interval": Change("1m", "ServiceMonitor/keelson spec.endpoints[0].interval=1m", SERVICE_MONITOR),
    "metrics.scrape.timeout": Change("5s", "ServiceMonitor/keelson spec.endpoints[0].scrapeTimeout=5s", SERVICE_MONITOR),
    "metrics.scrape.createToken": Change(
        True, "ServiceMonitor/keelson spec.endpoints[0].authorization.credentials.name=keelson-metrics-token", SERVICE_MONITOR
    ),
    "metrics.scrape.tokenFile": Change("/token", "ServiceMonitor/keelson spec.endpoints[0].bearerTokenFile=/token", SERVICE_MONITOR),
    "metrics.scrape.tokenSecret.name": Change(
        "token", "ServiceMonitor/keelson spec.endpoints[0].authorization.credentials.name=token", SERVICE_MONITOR
    ),
    "metrics.scrape.tokenSecret.key": Change(
        "value",
        "ServiceMonitor/keelson spec.endpoints[0].authorization.credentials.key=value",
        {"metrics": {"serviceMonitor": {"enabled": True}, "scrape": {"tokenSecret": {"name": "token"}}}},
    ),
    "ui.enabled": Change(True, "Deployment/keelson-ui spec.template.spec.serviceAccountName=keelson-ui"),
    "ui.hosts": Change(
        ["fleet.example.com", "fleet"], "Deployment/keelson-ui spec.template.spec.containers[0].args[3]=--ui-host=fleet.example.com,fleet", UI
    ),
    "ui.allowFrom": Change(
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "NetworkPolicy/keelson-ui spec.ingress[0].from[0].namespaceSelector.matchLabels.kubernetes.io/metadata.name=ingress",
        UI,
    ),
    "ui.memoryLimit": Change("1Gi", "Deployment/keelson-ui spec.template.spec.containers[0].resources.limits.memory=1Gi", UI),
    "networkPolicy.enabled": Change(False, "NetworkPolicy/keelson spec.policyTypes[0]=Ingress"),
    "networkPolicy.defaultDeny": Change(False, "NetworkPolicy/default-deny spec.policyTypes[0]=Ingress"),
    "networkPolicy.metricsFrom": Change(
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "NetworkPolicy/keelson spec.ingress[0].from[0].namespaceSelector.matchLabels.kubernetes.io/metadata.name=monitoring",
    ),
    "networkPolicy.extraEgress": Change([{"ports": [{"protocol": "TCP", "port": 3128}]}], "NetworkPolicy/keelson spec.egress[3].ports[0].port=3128"),
    "podDisruptionBudget.enabled": Change(False, "PodDisruptionBudget/keelson spec.minAvailable=1"),
    "podDisruptionBudget.minAvailable": Change("50%", "PodDisruptionBudget/keelson spec.minAvailable=50%"),
    "resources.requests.cpu": Change("200m", f"{CONTAINER}.resources.requests.cpu=200m"),
    "resources.requests.memory": Change("128Mi", f"{CONTAINER}.resources.requests.memory=128Mi"),
    "resources.limits.cpu": Change(2, f"{CONTAINER}.resources.limits.cpu=2"),
    "resources.limits.memory": Change("1Gi", f"{CONTAINER}.resources.limits.memory=1Gi"),
    "priorityClassName": Change("system-cluster-critical", f"{POD}.priorityClassName=system-cluster-critical"),
    "nodeSelector": Change({"kubernetes.io/arch": "arm64"}, f"{POD}.nodeSelector.kubernetes.io/arch=arm64"),
    "tolerations": Change([{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}], f"{POD}.tolerations[0].key=dedicated"),
    "affinity": Change(
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "eks.amazonaws.com/nodegroup", "operator": "In", "values": ["system"]}]}]
                }
            }
        },
        f"{POD}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]=system",
    ),
    "topologySpreadConstraints": Change(
        [{"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
        f"{POD}.topologySpreadConstraints[0].maxSkew=2",
    ),
    "podAnnotations": Change({"example.com/note": "x"}, "Deployment/keelson spec.template.metadata.annotations.example.com/note=x"),
    "podLabels": Change({"team": "platform"}, "Deployment/keelson spec.template.metadata.labels.team=platform"),
    "commonLabels": Change({"team": "platform"}, "ClusterRole/keelson metadata.labels.team=platform"),
    "extraArgs": flag(["--allow-http-git"], "--allow-http-git"),
    "extraEnv": Change([{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}], f"{CONTAINER}.env[2].name=HTTPS_PROXY"),
    "extraEnvFrom": Change([{"secretRef": {"name": "aws-credentials"}}], f"{CONTAINER}.envFrom[0].secretRef.name=aws-credentials"),
    "extraVolumes": Change([{"name": "ca", "configMap": {"name": "ca"}}], f"{POD}.volumes[0].configMap.name=ca"),
    "extraVolumeMounts": Change([{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}], f"{CONTAINER}.volumeMounts[0].mountPath=/etc/ca"),
}

# Values whose change removes objects.
REMOVING = ("operator.workloadProxy.url", "networkPolicy.enabled", "podDisruptionBudget.enabled", "operator.leaderElection", "admissionPolicies.enabled")


def all_changed() -> dict:
    """Values that render as much as can be: the value of the table for each, but for those that remove objects."""
    values: dict = {}
    for path, change in CHANGES.items():
        if path not in REMOVING:
            values = merged(values, nested(tuple(path.split(".")), change.value))
    return values
